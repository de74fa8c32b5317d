"""Writing: what was chosen becomes ONNX nodes, each once, grafted onto the original document.

Only what the graph's outputs need is written. A node on the same inputs as before is the original, byte for byte;
inputs, outputs, metadata, functions and doc strings are the original's. Only standard operators of the model's own
opset are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from mari_onnx.emission.graft import graft
from mari_onnx.emission.lower import Lowered, lower
from mari_onnx.emission.names import label, name_tensors
from mari_onnx.emission.nodes import write_code
from mari_onnx.emission.shape_arithmetic import Instruction
from mari_onnx.emission.state import Emission
from mari_onnx.ir.expressions import Tensor

__all__ = ["Lowered", "Written", "lower", "write"]


@dataclass(frozen=True)
class Written:
    """The model, and what is known of its tensors: their expressions by name; the extents are integers of shape [1]."""

    model: onnx.ModelProto
    tensors: dict[str, Tensor]
    extents: frozenset[str]


def write(lowered: Lowered) -> Written:
    """The model that computes what was lowered, and what is known of each of its tensors."""
    emission = Emission(lowered)
    name_tensors(emission, lowered.nodes, lowered.outputs)
    write_code(emission)
    label(emission)
    tensors = {name: tensor for tensor, name in emission.names.items() if name}
    return Written(graft(emission), tensors, _single_extents(emission))


def _single_extents(emission: Emission) -> frozenset[str]:
    """The names of tensors that hold one extent each."""
    holds_one = emission.lowered.arithmetic.is_one_extent
    return frozenset(name for i, name in emission.extents.items() if isinstance(i, Instruction) and holds_one(i))
