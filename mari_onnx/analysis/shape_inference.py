"""Shapes and element types of what no rule derives: the exporter's own word first, then onnx's inference.

onnx's inference runs at most once for the model, on a copy without weights, and only when something is asked that the
exporter did not say; what it leaves open it is asked of the node alone, with what the walk knows of its inputs. Where
it fails the answer is "unknown", which every rule understands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from mari_onnx.analysis.context import Op
from mari_onnx.document.graph_view import Model, Shape, shape_of
from mari_onnx.document.scopes import bodies
from mari_onnx.ir.axes import extents
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Value

SMALL = 1024
"""Bytes up to which a weight stays in the copy: shapes, axes and the like."""

TensorType: TypeAlias = "tuple[Sequence[Extent | None] | None, int]"
"""Shape, None where the rank or an extent is unknown, and element type, 0 where it is."""


class Inference:
    """What is known about outputs without a rule."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @cached_property
    def _inferred(self) -> dict[str, onnx.ValueInfoProto]:
        """What onnx infers of the whole model; once more where it was wrong about an Attention, without that node."""
        copy = self._without_weights()
        found = infer(copy)
        wrong = [node for node in copy.graph.node if node.op_type == "Attention" and _is_empty(found, node.output[0])]
        for node in wrong:
            node.op_type, info = "AttentionOfSomeWidth", found[node.output[0]]
            for extent in info.type.tensor_type.shape.dim:
                extent.Clear()
            copy.graph.value_info.append(info)
        return infer(copy) if wrong else found

    def _without_weights(self) -> onnx.ModelProto:
        """The model with the elements of small tensors alone, which may be shapes; inference reads no others."""
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

    def output(self, op: Op, i: int) -> tuple[Shape | None, int]:
        """Shape and element type of an output; symbols of onnx's own making (unk__0) are not symbols."""
        name = op.proto.output[i]
        if not name:
            return None, 0
        told = self.model.value_info.get(name)
        if told is not None and (shape := shape_of(told)) is not None:
            # torch.export writes 0 for extents that it does not know.
            return [None if e == 0 else e for e in shape], told.type.tensor_type.elem_type
        info = self._inferred.get(name)
        if info is None:
            return None, 0
        shape = shape_of(info)
        if shape is not None:
            shape = [None if isinstance(e, str) and e.startswith("unk__") else e for e in shape]
        return shape, info.type.tensor_type.elem_type

    def dtype(self, op: Op) -> int:
        """Element type of a node whose result is shape arithmetic."""
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


def types_of_one(op: Op) -> list[TensorType]:
    """The type of each output of a standard node, inferred by onnx from what the walk knows of its inputs.

    Extents are given to onnx as symbols, and come back; so do those that stand in a small tensor of integers. Example:
    the walk knows that the target of a Reshape is [2*B, 4]; onnx is told that, and infers the shape [2*B, 4].
    """
    nothing: list[TensorType] = [(None, 0)] * len(op.proto.output)
    if op.proto.domain not in ("", "ai.onnx") or any(True for _ in bodies(op.proto)):
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
    """A model of one node, for onnx to infer; `symbols` are the extents by the names that they have in it."""

    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    stored: list[TensorProto] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    symbols: dict[str, Extent] = field(default_factory=dict)

    def give(self, name: str, value: Value) -> None:
        """An input: its elements where they are known, else its shape."""
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
        """A list of extents, some of which are symbols: Concat of numbers and of Shapes of inputs [B], [L], ..."""
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
        """An input of which the shape is known; each extent that is no number is a symbol, by its own text."""
        self.symbols.update((repr(e), e) for e in shape or ())
        dims = None if shape is None else [e if isinstance(e, int) else repr(e) for e in shape]
        self.inputs.append(helper.make_tensor_value_info(name, dtype, dims))

    def _store(self, name: str, dtype: int, elements: Any, shape: tuple[int, ...]) -> None:
        """An input of which the elements are known: an initializer."""
        array = np.array(elements, helper.tensor_dtype_to_np_dtype(dtype)).reshape(shape)
        self.stored.append(numpy_helper.from_array(array, name))


def infer(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """What onnx infers, by name; nothing where it fails."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # it raises several unrelated types, all of which mean that nothing was learned
        return {}
    return {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}


def _is_empty(found: dict[str, onnx.ValueInfoProto], name: str) -> bool:
    """Whether an inferred extent is 0, which onnx says of Attention where it does not know the width of a head."""
    return name in found and 0 in (shape_of(found[name]) or ())
