"""What has been written so far."""

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
    """What has been written so far of a program that was lowered.

    `names` are those of its tensors, and `extents` those of stored integers and of shape arithmetic. `taken` are the
    names of the original, `infos` the shapes that are written down. Stored tensors are folded last.
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
    """A node that computes a shape or gives something its name."""
    append(emission, node, rank=1)


def append(emission: Emission, node: onnx.NodeProto, rank: int | None = None) -> None:
    """A node; the original if there is one that does just this, which has a name, documentation and metadata.

    `rank` is that of the first input of a node of our own.
    """
    original = emission.model.makers.get(tuple(node.output))
    emission.nodes.append(original if original is not None and _is(emission, original, node, rank) else node)


def _is(emission: Emission, original: onnx.NodeProto, node: onnx.NodeProto, rank: int | None) -> bool:
    """Whether they do the same: attributes of our own nodes may be left out, and axes counted from the end."""
    if original.op_type != node.op_type or list(original.input) != list(node.input):
        return False
    if original.domain != node.domain and {original.domain, node.domain} != {"", "ai.onnx"}:
        return False

    def attributes(of: onnx.NodeProto) -> dict[str, Any]:
        said: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in of.attribute}
        if rank is None:
            return said
        known = onnx.defs.get_schema(of.op_type, emission.model.opset).attributes.items()
        said = {n: helper.get_attribute_value(a.default_value) for n, a in known if a.default_value.name} | said
        if "axis" in said:
            said["axis"] %= rank
        if of.op_type == "Transpose":
            said.setdefault("perm", [*reversed(range(rank))])
        elif "axes" in said:
            after = rank + len(said["axes"]) if of.op_type == "Unsqueeze" else rank
            said["axes"] = sorted(axis % after for axis in said["axes"])
        return said

    return attributes(original) == attributes(node)


def describe(emission: Emission, tensor: Tensor, ours: Mapping[Extent, str] = NO_SYMBOLS) -> None:
    """Write down the shape of a tensor, with the symbols of the model's own inputs and those that are `ours`."""
    if tensor.shape is None or not tensor.dtype:
        return
    known = emission.model.input_symbols
    shape = [e if isinstance(e, int) else ours.get(e, str(e) if str(e) in known else None) for e in tensor.shape]
    name = emission.names[tensor]
    emission.infos[name] = helper.make_tensor_value_info(name, tensor.dtype, shape)
