"""Writing: what was chosen becomes ONNX nodes, each once, grafted onto the original document.

Only what the graph's outputs need is written. A node on the same inputs as before is the original, byte for byte;
inputs, outputs, metadata, functions and doc strings are the original's. Only standard operators of the model's own
opset are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model
from mari_onnx.emission.graft import graft
from mari_onnx.emission.names import label, name_tensors
from mari_onnx.emission.nodes import write_node
from mari_onnx.emission.order import needed
from mari_onnx.emission.protos import new_node
from mari_onnx.emission.runtime_quirks import overlooked
from mari_onnx.emission.shapes import single_extents
from mari_onnx.emission.state import Emission, append_ours
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.layout import plain

__all__ = ["Written", "emit", "planned", "results", "write"]


def planned(program: Program, model: Model) -> tuple[list[Node], list[onnx.NodeProto]]:
    """What `emit` would write: the nodes that compute, and the shape arithmetic beside them."""
    emission, nodes = _write_nodes(program, model)
    return [node for node in nodes if not (node.is_source or node.outputs[0].constant)], emission.arithmetic


@dataclass(frozen=True)
class Written:
    """The model, and what is known of its tensors: their expressions by name; the extents are integers of shape [1]."""

    model: onnx.ModelProto
    tensors: dict[str, Tensor]
    extents: frozenset[str]


def results(program: Program) -> list[Tensor]:
    """The tensors that are the program's outputs."""
    b = program.context.b
    return [b.resolve(plain(b, value)) for value in program.outputs]


def emit(program: Program, model: Model) -> onnx.ModelProto:
    """The model that computes the chosen forms of the program's outputs."""
    return write(program, model).model


def write(program: Program, model: Model) -> Written:
    """The same, with what was known about each tensor."""
    emission, _ = _write_nodes(program, model)
    tensors = {name: tensor for tensor, name in emission.names.items() if name}
    return Written(graft(emission), tensors, single_extents(emission))


def _write_nodes(program: Program, model: Model) -> tuple[Emission, list[Node]]:
    emission = Emission(program, model, taken=set(model.names))
    outputs = results(program)
    nodes = needed(program, outputs)
    emission.apart = overlooked(nodes, outputs)
    name_tensors(emission, nodes, outputs)
    for node in nodes:
        write_node(emission, node)
    for value, tensor in zip(program.outputs, outputs, strict=True):
        if emission.names[tensor] != value.name:
            append_ours(emission, new_node("Identity", value.name, [emission.names[tensor]], value.name))
    label(emission)
    return emission, nodes
