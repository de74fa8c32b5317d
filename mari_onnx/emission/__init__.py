"""Emission: the chosen expressions become ONNX nodes, which replace those of the original document.

    lower    expressions -> operators of the model's opset, still without names; a plan is priced by them
    write    operators with names -> nodes and initializers, grafted onto the original document

Each expression is written once, and only if an output of the graph needs it. A node whose inputs did not change is
written as the original has it, byte for byte. Inputs, outputs, metadata, functions and doc strings are also those of
the original; further entries of the metadata say where new tensors and nodes come from. New nodes are standard
operators of the model's own opset.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from mari_onnx.document.provenance import stamp, stamp_nodes
from mari_onnx.emission.graft import graft
from mari_onnx.emission.lower import Lowered, lower
from mari_onnx.emission.names import label, name_tensors
from mari_onnx.emission.nodes import write_code
from mari_onnx.emission.origins import origins
from mari_onnx.emission.shape_arithmetic import Instruction
from mari_onnx.emission.state import Emission
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.validate import check_names

__all__ = ["Lowered", "Written", "lower", "write"]


@dataclass(frozen=True)
class Written:
    """A written model, and facts about its tensors.

    `tensors` has the expression of each tensor by name. `extents` are the names of tensors of shape [1] that hold one
    extent, as shape arithmetic computes it.
    """

    model: onnx.ModelProto
    tensors: dict[str, Tensor]
    extents: frozenset[str]

    def macs(self, cost: CostModel) -> dict[str, int]:
        """The multiply-adds of the nodes, by their first output."""
        return {name: cost.node_macs(tensor.node) for name, tensor in self.tensors.items() if tensor.index == 0}


def write(lowered: Lowered) -> Written:
    """The model of a lowered program, with facts about its tensors.

    Raises InvalidError, if checks are enabled, where two tensors have the same name.
    """
    emission = Emission(lowered)
    name_tensors(emission, lowered.nodes, lowered.outputs)
    write_code(emission)
    label(emission)
    check_names(emission.names)
    outputs = {value.name: t for value, t in zip(lowered.program.outputs, lowered.outputs, strict=True)}
    proto = graft(emission)
    found = origins(emission, outputs)
    stamp(proto, found)
    stamp_nodes(proto.graph, found, emission.model.graph)
    tensors = {name: tensor for tensor, name in emission.names.items() if name}
    return Written(proto, tensors, _single_extents(emission))


def _single_extents(emission: Emission) -> frozenset[str]:
    """The names of tensors that hold one extent each."""
    holds_one = emission.lowered.arithmetic.is_one_extent
    return frozenset(name for i, name in emission.extents.items() if isinstance(i, Instruction) and holds_one(i))
