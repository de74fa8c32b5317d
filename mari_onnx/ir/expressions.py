"""Nodes and tensors that may never be written: the expression graph that a `Builder` fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from mari_onnx.ir.extents import Extent


@dataclass(eq=False, slots=True)
class Node:
    """One operation: `inputs` may hold None for optional ones, `captures` are what its bodies read by name.

    `proto` is the original node that it repeats, perhaps on other inputs; without one it is ours. `payload` is
    the value of a source: a constant's array, an initializer's TensorProto, the extents of a shape.
    """

    op_type: str
    attributes: tuple[tuple[str, Any], ...]
    inputs: tuple[Tensor | None, ...]
    serial: int
    proto: onnx.NodeProto | None = None
    captures: tuple[tuple[str, Tensor], ...] = ()
    payload: Any = None
    outputs: list[Tensor] = field(default_factory=list)

    @property
    def is_source(self) -> bool:
        return self.op_type in ("<input>", "<initializer>", "<constant>", "<extents>")

    def attribute(self, name: str) -> Any:
        return dict(self.attributes)[name]


@dataclass(eq=False, slots=True)
class Tensor:
    """One output of a node. `shape` is None where the rank is unknown; `name` is set once and then kept.

    What is `constant` is the same in every call. It is `stored` if it needs no arithmetic, and then written as one
    tensor; a dequantized weight is constant and not stored.
    """

    node: Node
    index: int
    shape: tuple[Extent, ...] | None
    dtype: int
    constant: bool = False
    name: str | None = None
    stored: bool = False

    @property
    def op_type(self) -> str:
        return self.node.op_type

    @property
    def known_shape(self) -> tuple[Extent, ...]:
        assert self.shape is not None, "a tensor of unknown rank is never taken apart"
        return self.shape


def first_input(t: Tensor) -> Tensor:
    """What a node that moves data was given."""
    first = t.node.inputs[0]
    assert first is not None
    return first


def is_selection(t: Tensor, axis: int) -> bool:
    """Whether it is columns of another tensor, by a constant that was made here."""
    if t.op_type != "Gather" or t.node.proto is not None or t.node.attribute("axis") != axis:
        return False
    indices = t.node.inputs[1]
    return indices is not None and indices.op_type == "<constant>" and len(indices.known_shape) == 1


def is_slice(t: Tensor) -> bool:
    """Whether it was cut from another tensor here."""
    return t.op_type == "Slice" and t.node.proto is None


def is_place(t: Tensor) -> bool:
    """Whether it is one place along an axis, which is gone then."""
    if t.op_type != "Gather" or t.node.proto is not None:
        return False
    place = t.node.inputs[1]
    return place is not None and place.op_type == "<constant>" and place.known_shape == ()


def is_reshape(t: Tensor) -> bool:
    """Whether its shape was changed here."""
    return t.op_type == "Reshape" and t.node.proto is None


def fold(t: Tensor, array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The value of a stored tensor, exactly: everything in it only moves data."""
    node = t.node
    if node.op_type == "<initializer>":
        return array_of(node.payload)
    if node.op_type == "<constant>":
        array: npt.NDArray[Any] = node.payload
        return array
    inputs: list[npt.NDArray[Any]] = [fold(i, array_of) for i in node.inputs if i is not None]
    first, folded = inputs[0], inputs[0]
    match node.op_type:
        case "Reshape":
            folded = first.reshape([e for e in t.known_shape if isinstance(e, int)])
        case "Expand":
            folded = np.broadcast_to(first, [e for e in t.known_shape if isinstance(e, int)])
        case "Transpose":
            folded = first.transpose(node.attribute("perm"))
        case "Concat":
            folded = np.concatenate(inputs, node.attribute("axis"))
        case "Gather":
            folded = first.take(inputs[1], node.attribute("axis"))
        case "Slice":
            index = [slice(None)] * first.ndim
            index[node.attribute("axis")] = slice(node.attribute("start"), node.attribute("stop"))
            folded = first[tuple(index)]
        case other:
            raise AssertionError(f"{other} is not folded")
    return folded
