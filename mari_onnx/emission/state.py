"""The state of an emission: the nodes, constants and names that have been written so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import onnx
from onnx import helper

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model
from mari_onnx.emission.lower import Lowered
from mari_onnx.emission.shape_arithmetic import Instruction, Integers
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent

NO_SYMBOLS: Mapping[Extent, str] = MappingProxyType({})


@dataclass
class Emission:
    """The written part of a lowered program.

    `names` has the name of each tensor, and `extents` has those of shape arithmetic and its integers. `taken` are the
    names in the original. `infos` are the shapes of new tensors that are written down, by name. Among `initializers`, a
    `Tensor` is a new constant, whose elements are computed last (see `constants.folded`).
    """

    lowered: Lowered
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[Tensor | onnx.TensorProto] = field(default_factory=list)
    infos: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)
    names: dict[Tensor, str] = field(default_factory=dict)
    extents: dict[Integers | Instruction, str] = field(default_factory=dict)

    @property
    def program(self) -> Program:
        return self.lowered.program

    @property
    def model(self) -> Model:
        return self.lowered.model

    def is_written(self, original: onnx.NodeProto) -> bool:
        """Whether a node of the original is written, on whatever inputs."""
        return id(original) in self._written

    @cached_property
    def _written(self) -> set[int]:
        return {id(node.proto) for node in self.lowered.nodes if node.proto is not None}

    @property
    def taken(self) -> set[str]:
        return self.model.names


def append_ours(emission: Emission, node: onnx.NodeProto) -> None:
    """Append a node of shape arithmetic, or an Identity: the first input of both has rank 1 for `append`."""
    append(emission, node, rank=1)


def append(emission: Emission, node: onnx.NodeProto, rank: int | None = None) -> None:
    """Append a node, or the node of the original that does the same: that has a name, documentation and metadata.

    `rank` is the rank of the first input of a new node. It is None where that is not known, and for a node that was
    copied from the original.
    """
    original = emission.model.makers.get(tuple(node.output))
    emission.nodes.append(original if original is not None and _is(emission, original, node, rank) else node)


def _is(emission: Emission, original: onnx.NodeProto, node: onnx.NodeProto, rank: int | None) -> bool:
    """Whether two nodes do the same. With a `rank`, attributes are compared without regard to how they are written.

    An attribute may be left out if it has its default, and an axis may be counted from the end.
    """
    if original.op_type != node.op_type or list(original.input) != list(node.input):
        return False
    if original.domain != node.domain and {original.domain, node.domain} != {"", "ai.onnx"}:
        return False
    if any(attribute.ref_attr_name for attribute in original.attribute):
        return False

    def attributes(of: onnx.NodeProto) -> dict[str, Any]:
        values: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in of.attribute}
        if rank is None:
            return values
        known = onnx.defs.get_schema(of.op_type, emission.model.opset).attributes.items()
        values = {n: helper.get_attribute_value(a.default_value) for n, a in known if a.default_value.name} | values
        if rank and "axis" in values:  # a scalar has none, and no operator runs on it that needs one
            values["axis"] %= rank
        if of.op_type == "Transpose":
            values.setdefault("perm", [*reversed(range(rank))])
        elif "axes" in values:
            rank_after = rank + len(values["axes"]) if of.op_type == "Unsqueeze" else rank
            values["axes"] = sorted(axis % rank_after for axis in values["axes"])
        return values

    return attributes(original) == attributes(node)


def describe(emission: Emission, tensor: Tensor, ours: Mapping[Extent, str] = NO_SYMBOLS) -> None:
    """Write down the shape of a tensor; an extent has a name if an input of the model has it, or if it is in `ours`."""
    if tensor.shape is None or not tensor.dtype:
        return
    known = emission.model.input_symbols
    shape = [e if isinstance(e, int) else ours.get(e, str(e) if str(e) in known else None) for e in tensor.shape]
    name = emission.names[tensor]
    emission.infos[name] = helper.make_tensor_value_info(name, tensor.dtype, shape)
