"""Shapes and element types of outputs that no rule derives.

There are three sources, asked in this order:

    value_info of the model     the exporter wrote the shape down, or that of an Identity of the output
    onnx's inference            of the whole model, at most once, on a copy without weights
    `types_of_one`              onnx's inference of one node, with the shapes that the walk found for its inputs

Where all of them fail, the shape is None, which every rule can handle.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from mari_onnx.analysis.context import Op
from mari_onnx.document.graph_view import NO_NAME, Model, Shape, shape_of
from mari_onnx.document.scopes import all_nodes, bodies
from mari_onnx.document.unsafe_nodes import is_unsafe, unsafe_nodes
from mari_onnx.ir.axes import Dims, extents, new_dims
from mari_onnx.ir.extents import CLAIM, Extent, claim, rename, symbol, symbols
from mari_onnx.ir.forms import Value

SMALL = 1024
"""Bytes up to which a weight stays in the copy: shapes, axes and the like."""

LONG = 2**18
"""Elements up to which onnx may keep an object for each element of a vector: at 1e8 they would take 20 GB."""

MOST = 2**63
"""Extents below it are numbers to onnx; the sum of two may be more, and means nothing."""

NEGATIVE_AXES = 11
"""The opset from which on Squeeze and Unsqueeze may count axes from the end."""

TensorType: TypeAlias = "tuple[Sequence[Extent | None] | None, int]"
"""Shape and element type. The shape is None for an unknown rank, an extent is None if unknown, the type is then 0."""


class Inference:
    """Shapes and element types of outputs, from the model's value_info and from onnx's inference."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @cached_property
    def _inferred(self) -> dict[str, onnx.ValueInfoProto]:
        """The types that onnx infers for the whole model.

        onnx infers an extent 0 for some outputs of Attention. Inference then runs again with these nodes replaced by an
        unknown operator, of whose output the rank alone is stated.

        Below opset 11 onnx infers the shape of its input for a Squeeze or an Unsqueeze of a negative axis. The
        standard has no negative axis there, and onnxruntime runs it. Such a node is unknown from the start, as one is
        over which onnx would end the process.
        """
        copy = self._without_weights()
        if self.model.opset < NEGATIVE_AXES:
            for node in filter(_has_negative_axis, all_nodes(copy.graph)):
                node.op_type += "OfNegativeAxis"
        for node in unsafe_nodes(copy):
            node.op_type += "OutOfRange"
        found = infer(copy)
        wrong = [node for node in copy.graph.node if node.op_type == "Attention" and _is_empty(found, node.output[0])]
        for node in wrong:
            node.op_type, info = "AttentionOfSomeWidth", found[node.output[0]]
            for extent in info.type.tensor_type.shape.dim:
                extent.Clear()
            copy.graph.value_info.append(info)
        return infer(copy) if wrong else found

    @cached_property
    def claimed(self) -> set[str]:
        """The exporter's names of axes of inputs that are equal where an operator needs that."""
        return {claim(s) for s in self.model.symbols.values() if CLAIM in s}

    @cached_property
    def named(self) -> dict[str, str]:
        """By the symbol of an input's axis that has an ambiguous name, this name, where it says something."""
        shapes = {info.name: shape_of(info) or [] for info in self.model.inputs}
        found = {s: str(shapes[name][axis]) for (name, axis), s in self.model.symbols.items()}
        twice = {e for shape in shapes.values() for e in shape if isinstance(e, str) and shape.count(e) > 1}
        names = set(found.values()) - twice - {NO_NAME}
        return {s: name for s, name in {**found, **{name: name for name in names}}.items() if name in names}

    def _without_weights(self) -> onnx.ModelProto:
        """A copy of the model with the elements of small tensors alone: inference reads shapes, and no weights."""
        copy = onnx.ModelProto()
        source = self.model.proto
        copy.ir_version = source.ir_version
        copy.opset_import.extend(source.opset_import)
        copy.functions.extend(source.functions)
        copy.graph.node.extend(source.graph.node)
        copy.graph.input.extend(source.graph.input)
        copy.graph.output.extend(source.graph.output)
        for tensor in source.graph.initializer:
            small = tensor.ByteSize() <= SMALL
            alike = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            copy.graph.initializer.append(tensor if small else alike)
        return copy

    @cached_property
    def _renamed(self) -> dict[str, list[str]]:
        """By tensor, the outputs of the Identities that read it.

        Converters of trees write the shape of their result behind such an Identity alone.
        """
        found: dict[str, list[str]] = {}
        for node in self.model.graph.node:
            if node.op_type == "Identity":
                found.setdefault(node.input[0], []).append(node.output[0])
        return found

    def output(self, op: Op, i: int) -> tuple[Shape | None, int]:
        """Shape and element type of output i. Symbols that onnx made up (unk__0) come back as None."""
        name = op.proto.output[i]
        if not name:
            return None, 0
        for stated in (self.model.value_info.get(n) for n in (name, *self._renamed.get(name, ()))):
            if stated is not None and (shape := shape_of(stated)) is not None:
                # torch.export writes 0 for extents that it does not know.
                return [None if e == 0 else e for e in shape], stated.type.tensor_type.elem_type
        info = self._inferred.get(name)
        if info is None:
            return None, 0
        shape = shape_of(info)
        if shape is not None:
            shape = [None if isinstance(e, str) and e.startswith("unk__") else e for e in shape]
        return shape, info.type.tensor_type.elem_type

    def output_types(self, op: Op, known: Container[str], same: Mapping[str, str]) -> list[tuple[Dims | None, int]]:
        """Dims and element type of each output of a node; None for an unknown rank.

        `known` are the symbols that tensors before this node have. `same` maps each symbol to the one that represents
        all that are equal to it. An extent that no source knows becomes a new symbol: `scores.0` for the first of
        `scores`.
        """
        of_model = [self.output(op, i) for i in range(len(op.proto.output))]
        names = _Names(known, same, self.model.ambiguous, self.claimed, _claims(op, self.named))
        complete = all(shape and names.tell(shape) for shape, _ in of_model)
        of_node: list[TensorType] = [(None, 0)] * len(of_model) if complete else types_of_one(op)
        return [
            (_dims(name, shape, node_shape, names), dtype or node_dtype)
            for name, (shape, dtype), (node_shape, node_dtype) in zip(op.proto.output, of_model, of_node, strict=True)
        ]

    def dtype(self, op: Op) -> int:
        """Element type of the output of a node that `shape_values` evaluates."""
        match op.op_type:
            case "Shape" | "Size":
                return TensorProto.INT64
            case "Cast":
                return int(op.attribute("to"))
            case "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "Not" | "And" | "Or":
                return TensorProto.BOOL
            case "ConstantOfShape":
                return int(op.attribute("value").data_type)
            case "Where":
                return op.inputs[1].dtype if op.inputs[1] is not None else 0
            case _:
                return op.data.dtype


@dataclass(frozen=True)
class _Names:
    """What the exporter's names of extents stand for.

    `known` and `same` are those of `Inference.output_types`. A name in `ambiguous` is that of axes whose extents may
    differ, and one in `claimed` is that of axes which are equal where an operator needs that. `claims` has those that
    the node's inputs have of one axis alone, with the symbol of the axis.
    """

    known: Container[str]
    same: Mapping[str, str]
    ambiguous: Container[str]
    claimed: Container[str]
    claims: Mapping[str, str]

    def tell(self, shape: Shape) -> bool:
        """Whether all extents of a shape are numbers, or names that stand for something."""
        return all(e is not None and (e not in self.ambiguous or e in self.claims) for e in shape)

    def extent(self, name: str, position: int, stated: str | None, inferred: Extent | None) -> Extent:
        """The extent of an axis of the output `name`, of which the model says `stated`, and its node `inferred`."""
        if stated is not None and stated in self.claims:
            return symbol(self.claims[stated])
        if stated is not None and stated in self.known and stated not in self.ambiguous:
            return rename(symbol(stated), self.same)
        if inferred is not None:
            return inferred
        new = f"{name}.{position}"
        return rename(symbol(f"{stated}{CLAIM}{new}" if stated in self.claimed else new), self.same)


def _claims(op: Op, named: Mapping[str, str]) -> dict[str, str]:
    """By the exporter's name, the symbol of this name that the inputs of a node have; none where they have several."""
    found: dict[str, set[str]] = {}
    for value in op.inputs:
        for s in {s for extent in extents(value.dims or ()) for s in symbols(extent)} if value is not None else ():
            name = claim(s) if CLAIM in s else named.get(s)
            if name is not None:
                found.setdefault(name, set()).add(s)
    return {name: several.pop() for name, several in found.items() if len(several) == 1}


def _dims(name: str, of_model: Shape | None, of_node: Sequence[Extent | None] | None, names: _Names) -> Dims | None:
    """The dims of output `name`; None where both shapes are unknown.

    `of_model` is the shape in the model, `of_node` the shape that follows from the node's inputs. A shape without
    extents may be a number's, and is also written where none is known: runtimes go by the node.
    """
    of_model = None if of_node and not of_model else of_model
    if of_model is None and of_node is None:
        return None
    rank = len(of_node or ()) if of_model is None else len(of_model)
    if of_node is None or len(of_node) != rank:
        of_node = [None] * rank
    shape: list[Extent] = []
    for position, (stated, inferred) in enumerate(zip(of_model or [None] * rank, of_node, strict=True)):
        shape.append(stated if isinstance(stated, int) else names.extent(name, position, stated, inferred))
    return new_dims(shape)


def types_of_one(op: Op) -> list[TensorType]:
    """The type of each output of a standard node, inferred by onnx from the types that the walk found for its inputs.

    Extents are passed to onnx as symbols, which come back in the result; so are the known elements of small integer
    tensors. Example: the walk knows that the target of a Reshape has the elements [2*B, 4]. onnx gets them, and infers
    the shape [2*B, 4].
    """
    nothing: list[TensorType] = [(None, 0)] * len(op.proto.output)
    if op.proto.domain not in ("", "ai.onnx") or bodies(op.proto) or is_unsafe(op.proto):
        return nothing
    one = _OneNode()
    for name, value in dict(zip(op.proto.input, op.inputs, strict=True)).items():
        if value is None:
            continue
        if not value.dtype:
            return nothing
        one.give(name, value)
    return one.types(op)


@dataclass
class _OneNode:
    """A model of one node, for onnx to infer. `symbols` maps the names of dimensions in it to our extents."""

    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    stored: list[TensorProto] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    symbols: dict[str, Extent] = field(default_factory=dict)

    def give(self, name: str, value: Value) -> None:
        """Add an input: with its elements where they are known, else with its shape."""
        content = value.content
        known = content is not None and all(e is not None for e in content.flat)
        if content is None or not known:
            self._describe(name, value.dtype, None if value.dims is None else extents(value.dims))
        elif all(isinstance(e, int) for e in content.flat):
            self._store(name, value.dtype, content.tolist(), content.shape)
        elif content.ndim == 1 and value.dtype == TensorProto.INT64:
            self._compute(name, list(content.flat))
        else:
            self._describe(name, value.dtype, content.shape)

    def _compute(self, name: str, elements: Sequence[Extent]) -> None:
        """Add an input of extents, some of which are symbols: a Concat of numbers and of Shapes of inputs [B], ..."""
        pieces = [f"{name}.{i}" for i in range(len(elements))]
        for piece, extent in zip(pieces, elements, strict=True):
            if isinstance(extent, int):
                self._store(piece, TensorProto.INT64, [extent], (1,))
            else:
                self._describe(f"{piece}.of", TensorProto.FLOAT, [extent])
                self.nodes.append(helper.make_node("Shape", [f"{piece}.of"], [piece]))
        self.nodes.append(helper.make_node("Concat", pieces, [name], axis=0))

    def types(self, op: Op) -> list[TensorType]:
        """The type of each output of the node, with symbols as the extents that they stand for."""
        outputs = [onnx.ValueInfoProto(name=name) for name in op.proto.output if name]
        graph = helper.make_graph([*self.nodes, op.proto], "one", self.inputs, outputs, self.stored)
        found = infer(helper.make_model(graph, opset_imports=[helper.make_opsetid("", op.opset)]))
        types: list[TensorType] = []
        for name in op.proto.output:
            info = found.get(name, onnx.ValueInfoProto())
            shape = shape_of(info)
            if shape is not None and op.op_type == "Attention":
                shape = [e or None for e in shape]  # 0 is what onnx does not know
            known = None if shape is None else [e if isinstance(e, int) else self.symbols.get(e or "") for e in shape]
            types.append((known, info.type.tensor_type.elem_type))
        return types

    def _describe(self, name: str, dtype: int, shape: Sequence[Extent] | None) -> None:
        """Add an input whose shape is known. An extent that is no number becomes a symbol of the text `2*B`, say."""
        self.symbols.update((repr(e), e) for e in shape or ())
        dims = None if shape is None else [e if isinstance(e, int) and e < MOST else repr(e) for e in shape]
        self.inputs.append(helper.make_tensor_value_info(name, dtype, dims))

    def _store(self, name: str, dtype: int, elements: Any, shape: tuple[int, ...]) -> None:
        """Add an input whose elements are known, as an initializer."""
        array = np.array(elements, helper.tensor_dtype_to_np_dtype(dtype)).reshape(shape)
        self.stored.append(numpy_helper.from_array(array, name))


def _has_negative_axis(node: onnx.NodeProto) -> bool:
    """Whether a node is a Squeeze or an Unsqueeze with a negative axis among its attributes."""
    return node.op_type in ("Squeeze", "Unsqueeze") and any(axis < 0 for a in node.attribute for axis in a.ints)


def infer(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """The types that onnx infers, by name; empty where inference fails.

    The elements of shapes are inferred too, unless a vector of the graph is too `LONG` for that.
    """
    found = _inferred_types(model, elements=False)
    if any(map(_is_long, (*found.values(), *model.graph.input))):
        return found
    return _inferred_types(model, elements=True)


def _inferred_types(model: onnx.ModelProto, *, elements: bool) -> dict[str, onnx.ValueInfoProto]:
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=elements)
    except Exception:  # onnx raises several unrelated types of errors here
        return {}
    return {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}


def _is_long(info: onnx.ValueInfoProto) -> bool:
    shape = shape_of(info)
    return shape is not None and len(shape) == 1 and isinstance(shape[0], int) and shape[0] > LONG


def _is_empty(found: dict[str, onnx.ValueInfoProto], name: str) -> bool:
    """Whether an inferred extent is 0. onnx infers that for Attention where it does not know the width of a head."""
    return name in found and 0 in (shape_of(found[name]) or ())
