"""What a kernel is given beside the node that it may replace, and what it offers instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Node, Tensor, first_input, fold
from mari_onnx.ir.operators import OPERATORS

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


@dataclass(frozen=True)
class Offer:
    """A tensor with the elements of a node's first output, and the nodes that it makes unnecessary, the last first.

    A runtime makes one node of the tensor's and those that are `fused`, which takes as long as the tensor's alone.
    """

    tensor: Tensor
    instead_of: Sequence[Node]
    fused: Sequence[Node] = ()


@dataclass
class Site:
    """The graph of a settled plan. `array_of` reads the elements of a stored tensor.

    `room` is how many bytes tables that are multiplied in advance may still take.
    """

    b: Builder
    opset: int
    array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]]
    room: int = 0

    def array(self, t: Tensor | None) -> npt.NDArray[Any] | None:
        """The elements of a stored tensor; None for any other tensor."""
        return fold(t, self.array_of) if t is not None and t.stored else None

    def number(self, t: Tensor | None) -> float | None:
        """The number in a stored tensor of one element; None for any other tensor."""
        array = self.array(t)
        return float(array.item()) if array is not None and array.size == 1 else None

    def like(self, t: Tensor, numbers: Any) -> Tensor:
        """A constant of the element type of a tensor."""
        return self.b.constant(np.array(numbers, onnx.helper.tensor_dtype_to_np_dtype(t.dtype)))

    def reduced(self, node: Node) -> int | None:
        """The one axis along which a reduction works, counted from the front; None where there are none or several."""
        x = first_input(node.outputs[0])
        given = dict(node.attributes).get("axes")
        if given is None and len(node.inputs) > 1:
            array = self.array(node.inputs[1])
            given = None if array is None else array.ravel().tolist()
        if given is None or len(given) != 1 or x.shape is None:
            return None
        return int(given[0]) % len(x.shape)


Kernel: TypeAlias = Callable[[Site, Node], Iterator[Offer]]
"""Offers tensors instead of a node's first output, none where the node is not the kernel's."""


def is_ours(node: Node, op_type: str) -> bool:
    """Whether a node is an operator of ONNX's own domain, and of this type."""
    return node.op_type == op_type and (node.proto is None or node.proto.domain in ("", "ai.onnx"))


def is_elementwise(node: Node) -> bool:
    """Whether a node computes each element of one result from one element of each operand."""
    traits = OPERATORS.get(node.op_type)
    if traits is None or not traits.elementwise or not is_ours(node, node.op_type):
        return False
    return len(node.outputs) == 1 and len(node.inputs) <= traits.operands
