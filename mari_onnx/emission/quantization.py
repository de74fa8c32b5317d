"""Quantized nodes that come to stand side by side, and that onnxruntime would take for one, or fail at.

    DequantizeLinear, QuantizeLinear        by two scales: one pair, with the finer of the two
    DequantizeLinear, MatMul or Gemm        MatMulNBits, whose other operand is rounded to 8 bits
    DequantizeLinear, Reshape               of int8: a model that is not loaded

Where the original has something between the two, they are kept apart: its scores would not be had otherwise. Where it
has them side by side as well, they are written as they are, and onnxruntime does the same with both models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model
from mari_onnx.document.scopes import reads
from mari_onnx.ir.axes import extents
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Node, Tensor, fold
from mari_onnx.ir.extents import Extent

NEUTRAL = frozenset({"Identity", "Dropout", "Cast", "Expand"})
"""Operators that onnxruntime removes where they change nothing."""

MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "MaxPool"})
"""Operators behind which onnxruntime quantizes again what was dequantized before them."""

MOVES_FAIL_FROM = 21
"""The opset from which QuantizeLinear says its type, which onnxruntime then gets wrong."""

GEMM = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
"""The attributes of a Gemm that is a MatMul and an Add."""

CLIPPING = frozenset({"Relu", "Clip"})
"""Operators that onnxruntime takes for a part of the product before them."""

BY_COLUMN = 13
"""The opset from which there is a scale for each column; before, there is one for the whole tensor."""

LEAST_BLOCK = 16
"""The fewest entries to a scale that MatMulNBits takes."""


def keep_apart(program: Program, model: Model, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> bool:
    """Keep apart what onnxruntime would take for one. Returns whether inputs of nodes were changed."""
    if not any(node.op_type == "DequantizeLinear" for node in nodes):
        return False
    b = program.context.b
    changed = [
        keep_scales_apart(b, nodes, model),
        keep_moves_apart(b, nodes, model),
        keep_unfused(b, nodes, outputs, program, model),
    ]
    return any(changed)


# Two scales


def keep_scales_apart(b: Builder, nodes: Sequence[Node], model: Model) -> bool:
    """Put something before each QuantizeLinear that only here comes to read a DequantizeLinear.

    The original has something between the two, such as the Concat of user and item. Returns whether there was such a
    node.
    """
    return _put_between(b, [n for n in nodes if n.op_type == "QuantizeLinear" and _rescales(n, model)], model)


def _rescales(quantize: Node, model: Model) -> bool:
    """Whether a QuantizeLinear reads what was quantized by another scale."""
    dequantize = _dequantized(quantize.inputs[0])
    if dequantize is None:
        return False
    return not all(_same(a, b, model) for a, b in zip_longest(quantize.inputs[1:], dequantize.inputs[1:]))


def _same(a: Tensor | None, b: Tensor | None, model: Model) -> bool:
    """Whether two scales, or two zero points, are the same tensor or the same stored numbers."""
    if a is b or a is None or b is None:
        return a is b
    return a.stored and b.stored and np.array_equal(fold(a, model.array_of), fold(b, model.array_of))


# Elements of int8 that are moved


def keep_moves_apart(b: Builder, nodes: Sequence[Node], model: Model) -> bool:
    """Put something before each node of `MOVES` that only here comes to read what was dequantized from int8.

    onnxruntime quantizes again behind such a node, from opset 21 on to another type than it says, and does not load the
    model. Returns whether there was such a node.
    """
    if model.opset < MOVES_FAIL_FROM:
        return False
    return _put_between(b, [n for n in nodes if n.op_type in MOVES and _is_moved_int8(n.inputs[0])], model)


def _is_moved_int8(t: Tensor | None) -> bool:
    """Whether a tensor was dequantized from int8 by one scale, and not from a constant."""
    dequantize = _dequantized(t)
    if dequantize is None or len(dequantize.inputs) < 3 or dequantize.outputs[0].constant:
        return False
    x, scale, zero = dequantize.inputs
    one = scale is not None and scale.shape in ((), (1,))
    return one and zero is not None and x is not None and x.dtype == onnx.TensorProto.INT8


# What is between the nodes of both


def _put_between(b: Builder, nodes: Sequence[Node], model: Model) -> bool:
    """Put between each node and what it reads a node that onnxruntime does not look through, if the original has one.

    Such a node is a Concat of one tensor, which onnxruntime runs on the quantized numbers; of a scalar there is none,
    and a Max of one stands there. Returns whether there was such a node.
    """
    makers = {name: node for node in model.graph.node for name in node.output} if nodes else {}
    found = [node for node in nodes if node.proto is None or not _reads_dequantized(node.proto, makers)]
    for node in found:
        source, *rest = node.inputs
        assert source is not None
        shape = source.known_shape
        axis = {"axis": len(shape) - 1} if shape else {}
        node.inputs = (b.make("Concat" if shape else "Max", [source], shape, **axis), *rest)
    return bool(found)


def _dequantized(t: Tensor | None) -> Node | None:
    """The DequantizeLinear that a tensor comes from, perhaps through operators of `NEUTRAL`.

    A tensor of unknown rank, which no Concat can take, is not looked at.
    """
    if t is None or t.shape is None:
        return None
    while t is not None and t.op_type in NEUTRAL:
        t = t.node.inputs[0]
    return t.node if t is not None and t.op_type == "DequantizeLinear" else None


def _reads_dequantized(proto: NodeProto, makers: Mapping[str, NodeProto]) -> bool:
    """Whether a node of the original itself reads a DequantizeLinear so."""
    node = makers.get(proto.input[0])
    while node is not None and node.op_type in NEUTRAL:
        node = makers.get(node.input[0])
    return node is not None and node.op_type == "DequantizeLinear"


# Products with quantized weights


def keep_unfused(b: Builder, nodes: Sequence[Node], outputs: Sequence[Tensor], program: Program, model: Model) -> bool:
    """Write weights so that onnxruntime does not fuse them with a product, where it does not in the original.

    It does not fuse a weight whose axis is counted from the end, and none with a scale of shape [1]. A weight that it
    fuses in the original is written so that it does here: with scales of its own. The product is much faster so, and
    loses a NaN in the same places. A weight that has the same neighbours as in the original stays as it is, because
    onnxruntime then does the same with both. Returns whether there was any other.
    """
    written, original = _of_nodes(nodes, outputs), _of_model(model, program)
    changed = False
    taken: set[Tensor] = set()
    for step in written.weights:
        (product,) = written.readers[step.output]
        x, weight, *addend = product.node.inputs
        if weight.shape is None:  # a Loop made it, say: no axis of it can be told
            continue
        names, made = _initializers(step.inputs[0]), weight
        originals = [each for each in original.weights if each.inputs[0] in names]
        if originals and all(map(original.is_fused, originals)):
            made = _with_scales_of_its_own(b, weight, taken) if model.opset >= BY_COLUMN else weight
        elif written.neighbours(step) not in map(original.neighbours, originals):
            made = _unfused(b, weight)
        if made is not weight:
            product.node.inputs, changed = (x, made, *addend), True
    return changed


def _with_scales_of_its_own(b: Builder, weight: Tensor, taken: set[Tensor]) -> Tensor:
    """The dequantized weight with copies of its scales, if they are in `taken`, to which they are added otherwise.

    Copies of one number are written for each column, because onnxruntime makes equal numbers one again, as it does with
    equal vectors of up to 8.
    """
    x, *scales = (t for t in weight.node.inputs if t is not None)
    if taken.isdisjoint(scales) or not all(t.op_type == "<initializer>" for t in scales):
        taken.update(scales)
        return weight
    copies = [b.initializer(t.node.payload) for t in scales]
    attributes, columns = dict(weight.node.attributes), weight.known_shape[1:]
    if all(t.known_shape == () for t in scales):
        copies = [b.expand(b.reshape(t, (1,)), columns) for t in copies]
        attributes["axis"] = 1
    made = b.make("DequantizeLinear", [x, *copies], weight.known_shape, weight.dtype, **attributes)
    made.name_after(weight)
    return made


def _unfused(b: Builder, weight: Tensor) -> Tensor:
    """The same dequantized weight, written so that onnxruntime does not fuse it."""
    x, *scales = (t for t in weight.node.inputs if t is not None)
    attributes = dict(weight.node.attributes)
    axis = attributes.pop("axis", 1)
    if all(scale.known_shape in ((), (1,)) for scale in scales):
        scales = [b.reshape(scale, (1,)) for scale in scales]
    else:
        attributes["axis"] = axis if axis < 0 else axis - len(x.known_shape)
    made = b.make("DequantizeLinear", [x, *scales], weight.known_shape, weight.dtype, **attributes)
    made.name_after(weight)
    return made


def _initializers(t: Tensor | None) -> set[str]:
    """The names of the original's stored tensors that a tensor is made of."""
    if t is None:
        return set()
    return {t.node.payload.name} if t.op_type == "<initializer>" else set().union(*map(_initializers, t.node.inputs))


@dataclass(frozen=True)
class _Step:
    """A node of the written graph or of the original's: tensors are expressions in the one, and names in the other.

    `reads` are its inputs, and what its bodies read by name.
    """

    op_type: str
    inputs: Sequence[Any]
    reads: Sequence[Any]
    output: Any
    attributes: Mapping[str, Any]
    node: Any


@dataclass(frozen=True)
class _Neighbours:
    """What stands around a weight: its product, the ranks of what is added there, and the node that follows.

    `following` is "" where there are several nodes, or none. `is_alone` says that no other node reads the scales.
    """

    op_type: str
    attributes: Mapping[str, Any]
    rank: int | None
    addends: Sequence[int | None]
    following: str
    is_read_once: bool
    is_alone: bool


class _Graph:
    """The written graph or the original's. `shapes` are those of the tensors whose rank is known.

    `weights` are the nodes DequantizeLinear that one product alone reads, as its right operand.
    """

    def __init__(self, steps: Sequence[_Step], outputs: Iterable[Any], shapes: Mapping[Any, Sequence[Extent]]) -> None:
        self.outputs, self.shapes = frozenset(outputs), shapes
        self.readers: defaultdict[Any, list[_Step]] = defaultdict(list)
        for step in steps:
            for t in step.reads:
                self.readers[t].append(step)
        self.weights = [step for step in steps if step.op_type == "DequantizeLinear" and self._is_weight(step)]

    def _is_weight(self, dequantize: _Step) -> bool:
        reader = self._reader(dequantize.output)
        return reader is not None and reader.op_type in ("MatMul", "Gemm") and reader.inputs[1] == dequantize.output

    def _reader(self, t: Any) -> _Step | None:
        """The one reader of a tensor; None if there are several, or if the tensor is an output of the graph."""
        readers = self.readers[t]
        return readers[0] if len(readers) == 1 and t not in self.outputs else None

    def is_fused(self, weight: _Step) -> bool:
        """Whether onnxruntime fuses a weight for certain.

        It does not if a Relu or a Clip with one reader follows the product, or if two weights have the same scales.
        """
        found = self.neighbours(weight)
        if any(rank != 1 for rank in found.addends) or not GEMM.items() >= found.attributes.items():
            return False
        kept = found.following in NEUTRAL or (found.following in CLIPPING and found.is_read_once)
        return found.is_alone and not kept and self._is_regular(weight)

    def neighbours(self, weight: _Step) -> _Neighbours:
        """What onnxruntime looks at when it fuses a weight, apart from the weight.

        A matrix product and an Add become one Gemm first.
        """
        (product,) = self.readers[weight.output]
        addends, reader = [t for t in product.inputs[2:] if t], self._reader(product.output)
        if reader is not None and reader.op_type == "Add" and product.op_type == "MatMul":
            addends = [t for t in reader.inputs if t != product.output]
            reader = self._reader(reader.output)
        return _Neighbours(
            product.op_type,
            product.attributes,
            self._rank(product.output),
            [self._rank(t) for t in addends],
            "" if reader is None else reader.op_type,
            reader is not None and self._reader(reader.output) is not None,
            all(len(self.readers[t]) == 1 for t in weight.inputs if t),
        )

    def _is_regular(self, weight: _Step) -> bool:
        """Whether the scales of a weight are such as MatMulNBits takes."""
        x, *scales = (tuple(self.shapes.get(t, ())) for t in weight.inputs if t)
        axis, block = weight.attributes.get("axis"), weight.attributes.get("block_size", 0)
        if len(x) != 2:
            return False
        if block:
            return axis == 0 and block >= LEAST_BLOCK and block & (block - 1) == 0
        return axis in (None, 1) and all(shape in ((), x[1:]) for shape in scales)

    def _rank(self, t: Any) -> int | None:
        return len(self.shapes[t]) if t in self.shapes else None


def _of_nodes(nodes: Sequence[Node], outputs: Sequence[Tensor]) -> _Graph:
    steps = [
        _Step(node.op_type, node.inputs, (*node.inputs, *(t for _, t in node.captures)), t, dict(node.attributes), node)
        for node in nodes
        for t in node.outputs[:1]
    ]
    read = {t for step in steps for t in step.reads if t is not None} | {step.output for step in steps}
    return _Graph(steps, outputs, {t: t.shape for t in read if t.shape is not None})


def _of_model(model: Model, program: Program) -> _Graph:
    steps = [
        _Step(
            node.op_type,
            node.input,
            reads(node),
            node.output[0],
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            node,
        )
        for node in model.graph.node
    ]
    shapes = {name: extents(value.dims) for name, value in program.values.items() if value.dims is not None}
    return _Graph(steps, [o.name for o in model.graph.output], shapes)
