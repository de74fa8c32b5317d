"""Writing: what was chosen becomes ONNX nodes, each once, grafted onto the original document.

Only what the graph's outputs need is written. A node on the same inputs as before is the original, byte for byte;
inputs, outputs, functions, doc strings and metadata are the original's, with one entry more that says where each new
tensor comes from (see `document.provenance`). Only standard operators of the model's own
opset are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model
from mari_onnx.document.provenance import stamp
from mari_onnx.emission.graft import graft
from mari_onnx.emission.names import label, name_tensors
from mari_onnx.emission.nodes import write_node
from mari_onnx.emission.order import needed
from mari_onnx.emission.origins import origins
from mari_onnx.emission.protos import new_node
from mari_onnx.emission.shapes import single_extents
from mari_onnx.emission.state import Emission, append_ours
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.layout import plain

__all__ = ["Written", "emit", "planned", "results", "write"]

MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity", "MaxPool"})
"""What onnxruntime moves a QuantizeLinear before."""


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
    outputs = {value.name: tensor for value, tensor in zip(program.outputs, results(program), strict=True)}
    proto = graft(emission)
    stamp(proto, origins(emission, outputs))
    return Written(proto, tensors, single_extents(emission))


def _write_nodes(program: Program, model: Model) -> tuple[Emission, list[Node]]:
    emission = Emission(program, model, taken=set(model.names))
    outputs = results(program)
    nodes = needed(program, outputs)
    emission.apart = _rewritten_by_runtimes(nodes, outputs)
    name_tensors(emission, nodes, outputs)
    for node in nodes:
        write_node(emission, node)
    for value, tensor in zip(program.outputs, outputs, strict=True):
        if emission.names[tensor] != value.name:
            append_ours(emission, new_node("Identity", value.name, [emission.names[tensor]], value.name))
    label(emission)
    return emission, nodes


def _rewritten_by_runtimes(nodes: Sequence[Node], outputs: Sequence[Tensor]) -> set[Tensor]:
    """Outputs that onnxruntime 1.32 overlooks where one node alone reads them; beside an Identity it sees them.

    Transpose, a product without a bias and Transpose become one Gemm, and what is between them is not found: the model
    does not load. What is moved and then quantized it quantizes before it is moved, the output too: a rounded score.
    """
    readers: dict[Tensor, list[Node]] = {}
    for node in nodes:
        for tensor in (*node.inputs, *(t for _, t in node.captures)):
            if tensor is not None:
                readers.setdefault(tensor, []).append(node)

    def overlooked(output: Tensor) -> bool:
        made, reader = output.node, readers[output][0]
        if made.op_type == "Gemm" and reader.op_type == "Transpose" and all(t is None for t in made.inputs[2:]):
            return any(t is not None and t.op_type == "Transpose" for t in made.inputs)
        behind, quantized = [reader] if reader.op_type in MOVES else [], False
        while behind and not quantized:
            found = readers.get(behind.pop().outputs[0], [])
            quantized = any(node.op_type == "QuantizeLinear" for node in found)
            behind.extend(node for node in found if node.op_type in MOVES)
        return quantized

    computed = (t for t in outputs if not (t.node.is_source or t.stored))
    return {t for t in computed if len(readers.get(t, ())) == 1 and overlooked(t)}
