"""Nodes and tensors of the expression graph, which a `Builder` fills. Most of them are never written to a model.

Rules describe several forms of a value, and the plan chooses one: `MatMul(Concat(user, item), W)` and the sum of
`MatMul(user, W_user)` and `MatMul(item, W_item)` are both in the graph, and one of the two is written.
"""

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
    """One operation.

    `inputs` hold None for an optional input that is left out. `captures` are the tensors that bodies (of If, Loop and
    Scan) read by name. `proto` is the original node that this one repeats, perhaps on other inputs; it is None for a
    node that a rule made. `payload` is the value of a source: a constant's array, an initializer's TensorProto, the
    extents of a shape. `serial` counts nodes in the order in which they were made.
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
    """One output of a node.

    `shape` is None where the rank is unknown. `name` is set once and then kept. A `constant` tensor has the same
    elements in every call. A `stored` tensor is a constant that needs no arithmetic, and is written as one initializer:
    the transposed weight is stored, the dequantized weight is constant and not stored. A number that is expanded to 5e7
    is not stored either (see `Policy.stores`). `form_of` is the tensor that this one was named after, and which form of
    that tensor this one is, "" for the same form (see `name_after`).
    """

    node: Node
    index: int
    shape: tuple[Extent, ...] | None
    dtype: int
    constant: bool = False
    name: str | None = None
    stored: bool = False
    form_of: tuple[Tensor, str] | None = None

    def name_after(self, other: Tensor, form: str = "") -> None:
        """Take the name of another tensor, with the form of it that this one is: `scores.heads`.

        A tensor that has a name keeps it, and one without a name gives none.
        """
        if self.name is None and other.name is not None:
            self.name = f"{other.name}.{form}" if form else other.name
            self.form_of = (other, form)

    @property
    def op_type(self) -> str:
        return self.node.op_type

    @property
    def known_shape(self) -> tuple[Extent, ...]:
        assert self.shape is not None, "a tensor of unknown rank is never taken apart"
        return self.shape


def first_input(t: Tensor) -> Tensor:
    """The tensor whose data a node moves: the first input of a Reshape, Slice, Gather, Concat and the like."""
    first = t.node.inputs[0]
    assert first is not None
    return first


def is_selection(t: Tensor, axis: int) -> bool:
    """Whether a rule selected entries of another tensor along `axis`: Gather(x, [3, 0, 7]) with constant indices."""
    if t.op_type != "Gather" or t.node.proto is not None or t.node.attribute("axis") != axis:
        return False
    indices = t.node.inputs[1]
    return indices is not None and indices.op_type == "<constant>" and len(indices.known_shape) == 1


def is_slice(t: Tensor) -> bool:
    """Whether a rule cut the tensor from another one; a Slice of the original is no such slice."""
    return t.op_type == "Slice" and t.node.proto is None


def is_place(t: Tensor) -> bool:
    """Whether a rule took one index of an axis, which the tensor lacks then: Gather(x, 3) with a constant scalar."""
    if t.op_type != "Gather" or t.node.proto is not None:
        return False
    place = t.node.inputs[1]
    return place is not None and place.op_type == "<constant>" and place.known_shape == ()


def is_reshape(t: Tensor) -> bool:
    """Whether a rule reshaped another tensor to it; a Reshape of the original is no such Reshape."""
    return t.op_type == "Reshape" and t.node.proto is None


def fold(t: Tensor, array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The elements of a stored tensor. They are exact, because the nodes that make it only move data.

    Those of a product of two stored tensors (see `Builder.multiplied`) are rounded once, from float64.
    """
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
        case "<product>":
            folded = (first.astype(np.float64) @ inputs[1].astype(np.float64)).astype(first.dtype)
        case other:
            raise AssertionError(f"{other} is not folded")
    return folded
