"""Lowering: the nodes that are needed, as operators of the model's own opset, with the shapes that they take.

    Expand(x, [B, 4]) of the expression graph    is Expand(x, Concat(Shape(user)[0:1], [4]))
    Expand before opset 8                        is Tile(x, Concat(Shape(user)[0:1], [1]))
    Slice(x, axis 1, 2 to 5)                     has attributes before opset 10, and inputs from there on

What is lowered has no names and is no protobuf message yet: a plan is priced by it, and the best plan's is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx import TensorProto, helper

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model
from mari_onnx.emission.opset import EXPAND, lacking
from mari_onnx.emission.order import needed
from mari_onnx.emission.runtime_quirks import adds_units, needs_unsqueeze, overlooked
from mari_onnx.emission.shape_arithmetic import Instruction, Integers, Operand, ShapeArithmetic
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import ROW, Extent, Poly, divide, symbols
from mari_onnx.ir.operators import OPERATORS
from mari_onnx.ir.validate import check_expressions

ALLOWZERO = 14
"""The opset from which a Reshape can be told that 0 is an extent, and not that of its input."""


@dataclass
class Lowered:
    """A program as it would be written: its outputs, the nodes behind them, and the code that computes these.

    Outputs that are `apart` have names of their own, and an Identity gives them the output's. `stands` are the operands
    in place of extents that no node computes as they are. `lacking` says what the model's opset has not of it, "" where
    all of it can be written.
    """

    program: Program
    model: Model
    outputs: list[Tensor]
    nodes: list[Node]
    apart: set[Tensor]
    arithmetic: ShapeArithmetic
    stands: dict[Tensor, Operand] = field(default_factory=dict)
    lacking: str = ""

    @property
    def code(self) -> Sequence[Node | Integers | Instruction]:
        return self.arithmetic.code

    @property
    def computing(self) -> list[Node]:
        """The nodes that compute something in every call."""
        return [node for node in self.nodes if not (node.is_source or node.outputs[0].constant)]

    @property
    def shape_nodes(self) -> list[tuple[str, int]]:
        """Operator and number of operands of each node that computes a shape, or gives an output its name."""
        made = [(i.op_type, len(i.operands)) for i in self.code if isinstance(i, Instruction) and i.arithmetic]
        return [*made, *[("Identity", 1)] * len(self._renamed())]

    def _renamed(self) -> list[Tensor]:
        """Outputs whose tensor is called otherwise: a stored one, or one that is another output already."""
        seen: set[Tensor] = set()
        found = []
        for value, tensor in zip(self.program.outputs, self.outputs, strict=True):
            there = tensor.node.is_source or tensor.stored
            own = tensor.name == value.name if there else tensor not in self.apart and tensor not in seen
            seen.add(tensor)
            if not own:
                found.append(tensor)
        return found


def lower(program: Program, model: Model) -> Lowered:
    """The nodes behind the program's outputs, lowered."""
    b = program.context.b
    outputs = [b.resolve(plain(b, value)) for value in program.outputs]
    check_expressions("planning, before emission", outputs)
    nodes = needed(program, outputs)
    arithmetic = ShapeArithmetic(program.providers, model.opset)
    lowered = Lowered(program, model, outputs, nodes, overlooked(nodes, outputs), arithmetic)
    for node in nodes:
        _lower(lowered, node)
    lowered.lacking = lacking(arithmetic.code, model.opset)
    return lowered


def _lower(lowered: Lowered, node: Node) -> None:
    tensor = node.outputs[0]
    if node.op_type == "<input>":
        return
    if node.op_type == "<extents>" and not tensor.stored:
        _extents(lowered, tensor)
    elif tensor.stored or node.proto is not None:
        lowered.arithmetic.code.append(node)
    else:
        op_type, operands, attributes = _operator(lowered, node)
        lowered.arithmetic.code.append(Instruction(op_type, tuple(operands), attributes, node))


def _extents(lowered: Lowered, tensor: Tensor) -> None:
    """A tensor of extents: its elements in one dimension, and a Reshape where it has more or none."""
    content, arithmetic = tensor.node.payload, lowered.arithmetic
    flat = arithmetic.shape(list(content.flat), tensor.dtype, None)
    if content.ndim == 1:
        lowered.stands[tensor] = flat
    else:
        shape = arithmetic.integers(content.shape)
        arithmetic.code.append(Instruction("Reshape", (flat, shape), of=tensor.node, arithmetic=True))


_Operator = tuple[str, list[Operand], dict[str, Any]]


def _operator(lowered: Lowered, node: Node) -> _Operator:
    """Operator, operands and attributes of a node of our own."""
    attributes, arithmetic = dict(node.attributes), lowered.arithmetic
    source = node.inputs[0]
    operands: list[Operand] = [t for t in node.inputs if t is not None]
    match node.op_type:
        case "Reshape" | "Expand" if 0 in attributes["shape"]:
            return _nothing(lowered, node)
        case "Reshape":
            return _reshape(lowered, node)
        case "Expand" if arithmetic.opset < EXPAND:
            assert source is not None
            pairs = zip(source.known_shape, attributes["shape"], strict=True)
            repeats = arithmetic.shape([1 if have == want else want for have, want in pairs], TensorProto.INT64, None)
            return "Tile", [*operands, repeats], {}
        case "Expand":
            shape = arithmetic.shape(list(attributes["shape"]), TensorProto.INT64, source)
            return "Expand", [*operands, shape], {}
        case "Slice":
            axis, start, stop = attributes["axis"], attributes["start"], attributes["stop"]
            if arithmetic.opset < OPERATORS["Slice"].axes_input_from:
                return "Slice", operands, {"axes": [axis], "starts": [start], "ends": [stop]}
            return "Slice", [*operands, *(arithmetic.integers([v]) for v in (start, stop, axis))], {}
        case op_type if "axes" in attributes and arithmetic.opset >= OPERATORS[op_type].axes_input_from:
            axes = arithmetic.integers(list(attributes.pop("axes")))
            return op_type, [*operands, axes], attributes
        case op_type:
            return op_type, operands, attributes


def _reshape(lowered: Lowered, node: Node) -> _Operator:
    source, shape, arithmetic = node.inputs[0], list(node.attribute("shape")), lowered.arithmetic
    assert source is not None
    if needs_unsqueeze(source, shape):
        return _unsqueeze(lowered, source, shape)
    if sum(not isinstance(e, int) for e in shape) <= 1:
        return "Reshape", [source, arithmetic.integers([e if isinstance(e, int) else -1 for e in shape])], {}
    if arithmetic.opset >= ALLOWZERO:
        return "Reshape", [source, arithmetic.shape(shape, TensorProto.INT64, source)], {"allowzero": 1}
    return _reshape_without_zeros(lowered, source, shape)


def _nothing(lowered: Lowered, node: Node) -> _Operator:
    """A result without elements, in as many zeros as there are.

    A Reshape to an extent of 0 is one to the input's own before opset 14, and onnxruntime takes the 0 of an Expand for
    a 1 where it removes an Expand that it has no use for.
    """
    shape = lowered.arithmetic.shape(list(node.attribute("shape")), TensorProto.INT64, node.inputs[0])
    return "ConstantOfShape", [shape], {"value": helper.make_tensor("", node.outputs[0].dtype, [1], [0])}


def _unsqueeze(lowered: Lowered, source: Tensor, shape: Sequence[Extent]) -> _Operator:
    """To this shape, of which the source has every extent but those of 1."""
    units = [i for i, e in enumerate(shape) if e == 1]
    if lowered.arithmetic.opset >= OPERATORS["Unsqueeze"].axes_input_from:
        return "Unsqueeze", [source, lowered.arithmetic.integers(units)], {}
    return "Unsqueeze", [source], {"axes": units}


def _reshape_without_zeros(lowered: Lowered, source: Tensor, shape: list[Extent]) -> _Operator:
    """A Reshape to several symbols before opset 14, where a 0 stands for the source's own extent at that position.

    That is the wrong one where no candidates are left and the source has something else there: -1 says it then.
    """
    have = source.known_shape
    if adds_units(source, shape):
        return _unsqueeze(lowered, source, shape)
    program = lowered.program
    counted = {
        s for s, (t, _) in program.providers.items() if t.op_type == "NonZero"
    }  # what a mask selects: none, perhaps
    candidates, leading = {*program.context.candidates, ROW}, set(lowered.model.leading_symbols.values())
    unknown = [i for i, e in enumerate(shape) if isinstance(e, Poly)]
    likely = ([i for i in unknown if symbols(shape[i]) & names] for names in (counted, candidates, leading))
    may_be_empty = next((found for found in likely if found), unknown)
    unlike = [i for i in may_be_empty if i >= len(have) or divide(have[i], shape[i]) is None]
    if unlike == may_be_empty:
        shape[unlike[0]] = -1
    return "Reshape", [source, lowered.arithmetic.shape(shape, TensorProto.INT64, source)], {}
