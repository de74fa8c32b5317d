"""Copies of models and nodes with other float types: raised to float64, or lowered to float32."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, numpy_helper
from onnx.external_data_helper import uses_external_data
from onnx.inliner import inline_local_functions

from mari_onnx.document.runtime import LOOKUPS
from mari_onnx.document.scopes import bodies, reads
from mari_onnx.verification.runtimes.onnxruntime import Array, Feeds

_LARGE = 1 << 26
NOTHING: Mapping[str, str] = MappingProxyType({})

_TYPE_ATTRIBUTES = {"to", "dtype", "output_dtype", "softmax_precision"}
_TRADITIONAL = "ai.onnx.ml"


def raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in which every float16, bfloat16 and float32 value is a float64, in bodies and functions too.

    External and large constants stay as they are stored and are cast inside the graph, so that the copy is never
    larger than what ONNX can hold. Of a table only the rows that are looked up are cast: cast as a whole, it would take
    twice its memory in every session. The copy need not be valid: some operators have no float64 form.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(inline_local_functions(model) if model.functions else model)
    _RAISE.graph(copy.graph)
    _cast_traditional(copy.graph)
    return copy


def lowered(node: NodeProto) -> NodeProto:
    """A copy of a node of a raised model, with every float64 in it a float32."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _LOWER.node(copy)
    return copy


def _as_stored(name: str) -> str:
    """The name of a tensor in the type in which it is stored."""
    return f"{name}.stored"


def raise_feeds(feeds: Feeds) -> dict[str, Array]:
    """Inputs for a raised model: floats become float64, without rounding, and other types stay."""
    return {name: _raised(value) for name, value in feeds.items()}


def _raised(value: Any) -> Any:
    """A tensor of floats in float64; what stands in a sequence or a map stays as it is."""
    floating = isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
    return value.astype(np.float64) if floating else value


def _cast_traditional(graph: GraphProto) -> None:
    """Cast what operators of traditional machine learning give in float32 whatever they are given, in place.

    The scores of trees are such tensors. The Cast has the name of the result, which is called `NAME.float32` before it.
    A ZipMap takes float32 alone, and reads that.
    """
    nodes: list[NodeProto] = []
    narrow: dict[str, str] = {}
    for node in graph.node:
        for body in bodies(node):
            _cast_traditional(body)
        if node.op_type == "ZipMap":
            node.input[0] = narrow.get(node.input[0], node.input[0])
        casts = []
        for i, name in enumerate(node.output):
            if name and _is_float32(node, i):
                node.output[i] = narrow[name] = f"{name}.float32"
                casts.append(onnx.helper.make_node("Cast", [node.output[i]], [name], to=TensorProto.DOUBLE))
        nodes += [node, *casts]
    if len(nodes) > len(graph.node):
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(nodes)


def _is_float32(node: NodeProto, output: int) -> bool:
    """Whether an output is float32 by the definition of the operator, or by what a LabelEncoder maps to."""
    if node.domain != _TRADITIONAL or not onnx.defs.has(node.op_type, _TRADITIONAL):
        return False
    if node.op_type == "LabelEncoder":
        return any(attribute.name == "values_floats" for attribute in node.attribute)
    return set(onnx.defs.get_schema(node.op_type, _TRADITIONAL).outputs[output].types) == {"tensor(float)"}


@dataclass(frozen=True)
class _Retyping:
    """A change of float types, in place: from the element types `sources` to the element type `target`."""

    sources: Collection[int]
    target: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(self.target))

    def graph(self, graph: GraphProto, outer: Mapping[str, str] = NOTHING) -> None:
        """`outer` are the names under which constants of outer graphs are stored, by the names that nodes read."""
        own = {}
        for tensor in graph.initializer:
            if tensor.data_type not in self.sources:
                continue
            if uses_external_data(tensor) or tensor.ByteSize() > _LARGE:
                own[tensor.name] = tensor.name = _as_stored(tensor.name)
            else:
                self.tensor(tensor)
        stored = {**outer, **own}
        for node in graph.node:
            self.node(node, stored)
        if stored:
            self._cast(graph, own, stored)
        del graph.value_info[:]
        for value in [*graph.input, *graph.output]:
            self.type(value.type)

    def _cast(self, graph: GraphProto, own: Mapping[str, str], stored: Mapping[str, str]) -> None:
        """Let lookups read what is stored and cast the rows that they find; all else reads a Cast of the whole."""
        nodes = []
        for node in graph.node:
            copy = NodeProto.FromString(node.SerializeToString())
            nodes.append(copy)
            if node.op_type in LOOKUPS and node.domain in ("", "ai.onnx") and node.input[0] in stored:
                copy.input[0], copy.output[0] = stored[node.input[0]], _as_stored(node.output[0])
                nodes.append(onnx.helper.make_node("Cast", copy.output, node.output, to=self.target))
        read = {name for node in nodes for name in reads(node)} | {output.name for output in graph.output}
        whole = [onnx.helper.make_node("Cast", [own[name]], [name], to=self.target) for name in own if name in read]
        del graph.node[:]
        graph.node.extend([*whole, *nodes])

    def node(self, node: NodeProto, stored: Mapping[str, str] = NOTHING) -> None:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                self.graph(attribute.g, stored)
            elif attribute.type == AttributeProto.TENSOR:
                self.tensor(attribute.t)
            elif attribute.name in _TYPE_ATTRIBUTES and attribute.i in self.sources:
                attribute.i = self.target
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                tensor = numpy_helper.from_array(np.asarray(values, self.dtype))
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, self.dtype))
            node.attribute.append(onnx.helper.make_attribute("value", zero))
        if node.op_type == "SequenceEmpty" and not node.attribute and TensorProto.FLOAT in self.sources:
            node.attribute.append(onnx.helper.make_attribute("dtype", self.target))

    def tensor(self, tensor: TensorProto) -> None:
        if tensor.data_type in self.sources:
            values = numpy_helper.to_array(tensor).astype(self.dtype)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    def type(self, type_: TypeProto) -> None:
        kind = type_.WhichOneof("value")
        if kind == "tensor_type" and type_.tensor_type.elem_type in self.sources:
            type_.tensor_type.elem_type = self.target
        elif kind in ("sequence_type", "optional_type"):
            self.type(getattr(type_, kind).elem_type)


_RAISE = _Retyping({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}, TensorProto.DOUBLE)
_LOWER = _Retyping({TensorProto.DOUBLE}, TensorProto.FLOAT)
