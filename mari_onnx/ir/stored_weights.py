"""Moves of weights that a Cast or a DequantizeLinear computes from stored constants.

The stored constants are moved instead, and the node is written once more on them:

    Slice(Cast(w))                              = Cast(Slice(w))
    Slice(DequantizeLinear(w, scale, zero))     = DequantizeLinear(Slice(w), Slice(scale), Slice(zero))

A quantized weight is never dequantized here: that would bloat the file, and runtimes fuse the node with the product
that reads it. There is one scale and zero point for the tensor, for each index of one axis, or for each block of
indices of one axis. In the last case they have the weight's rank, and fewer indices along that axis.

Holds where no block of indices is cut. Each function returns None where one is, and for any other tensor.
Rounding: none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, product


class Moves(Protocol):
    """The methods of `Builder` that move a tensor, and `make`, which writes the node that computes a weight."""

    def make(
        self,
        op_type: str,
        inputs: Sequence[Tensor],
        shape: tuple[Extent, ...],
        dtype: int | None = None,
        /,
        **attributes: Any,
    ) -> Tensor: ...

    def slice(self, t: Tensor, axis: int, start: int, stop: int) -> Tensor: ...

    def transpose(self, t: Tensor, perm: Sequence[int]) -> Tensor: ...

    def reshape(self, t: Tensor, shape: Sequence[Extent]) -> Tensor: ...

    def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor: ...

    def take(self, t: Tensor, indices: Tensor, axis: int = 0) -> Tensor: ...


@dataclass(frozen=True)
class Weight:
    """The weight `op_type(x, *scales)`, such as DequantizeLinear(x, scale, zero point).

    `axis` is the axis along which scales differ, None if there is one scale. `block` is how many indices of it share a
    scale, 0 for one each.
    """

    op_type: str
    attributes: dict[str, Any]
    x: Tensor
    scales: tuple[Tensor, ...] = ()
    axis: int | None = None
    block: int = 0

    @property
    def shape(self) -> tuple[Extent, ...]:
        return self.x.known_shape

    def tensor(self, b: Moves, like: Tensor) -> Tensor:
        """The output of the node, with the element type of `like`."""
        attributes = self.attributes if self.axis is None else {**self.attributes, "axis": self.axis}
        return b.make(self.op_type, [self.x, *self.scales], self.shape, like.dtype, **attributes)

    def moved(self, x: Tensor, scale: Callable[[Tensor], Tensor], axis: int | None) -> Weight:
        """The weight of a moved `x`; `scale` moves each scale, and `axis` is where their axis is then."""
        return replace(self, x=x, scales=tuple(map(scale, self.scales)), axis=axis)


def weight_of(t: Tensor) -> Weight | None:
    """The tensor as a weight that is computed from another one; None where it is anything else."""
    if not t.constant or t.op_type not in ("Cast", "DequantizeLinear"):
        return None
    x, *rest = (i for i in t.node.inputs if i is not None)
    attributes = dict(t.node.attributes)
    if t.op_type == "Cast":
        return Weight(t.op_type, attributes, x)
    axis, block = attributes.pop("axis", 1), attributes.get("block_size", 0)
    one = product(rest[0].known_shape) == 1 and not block
    return Weight(t.op_type, attributes, x, tuple(rest), None if one else axis % len(x.known_shape), block)


def sliced(b: Moves, t: Tensor, axis: int, start: int, stop: int) -> Tensor | None:
    """Indices [start, stop) of one axis."""
    weight = weight_of(t)
    if weight is None:
        return None
    x = b.slice(weight.x, axis, start, stop)
    if weight.axis is None or (weight.axis != axis and not weight.block):
        return weight.moved(x, lambda scale: scale, weight.axis).tensor(b, t)
    if weight.axis != axis or not weight.block:
        at = axis if weight.block else 0
        return weight.moved(x, lambda scale: b.slice(scale, at, start, stop), weight.axis).tensor(b, t)
    size = weight.block
    if start % size or (stop % size and stop != weight.shape[axis]):
        return None
    return weight.moved(x, lambda scale: b.slice(scale, axis, start // size, -(-stop // size)), axis).tensor(b, t)


def transposed(b: Moves, t: Tensor, perm: Sequence[int]) -> Tensor | None:
    """The Transpose of the weight."""
    weight = weight_of(t)
    if weight is None:
        return None
    axis = None if weight.axis is None else list(perm).index(weight.axis)
    x = b.transpose(weight.x, perm)
    return weight.moved(x, lambda s: b.transpose(s, perm) if weight.block else s, axis).tensor(b, t)


def reshaped(b: Moves, t: Tensor, shape: Sequence[Extent]) -> Tensor | None:
    """The weight in another shape. None where the Reshape cuts a block, or the axis that scales differ along."""
    weight = weight_of(t)
    if weight is None:
        return None
    x = b.reshape(weight.x, shape)
    if weight.axis is None:
        return weight.moved(x, lambda scale: scale, None).tensor(b, t)
    before, own, size = weight.shape[: weight.axis], weight.shape[weight.axis], weight.block
    ends = product((*before, own))
    axis = next((i for i, e in enumerate(shape) if product(shape[: i + 1]) == ends and e != 1), None)
    if axis is None or not isinstance(own, int) or not isinstance(width := shape[axis], int):
        return None
    if not size:
        return weight.moved(x, lambda scale: scale, axis).tensor(b, t) if width == own else None
    if own % size or width % size:
        return None
    blocks = (*shape[:axis], width // size, *shape[axis + 1 :])
    return weight.moved(x, lambda scale: b.reshape(scale, blocks), axis).tensor(b, t)


def joined(b: Moves, tensors: Sequence[Tensor], axis: int) -> Tensor | None:
    """The Concat of weights of one kind. Their scales are the same, or are concatenated as well."""
    weights = [weight_of(t) for t in tensors]
    first = weights[0]
    if first is None:
        return None
    same = []
    for weight in weights:
        if weight is None or (weight.op_type, weight.attributes) != (first.op_type, first.attributes):
            return None
        if weight.axis != first.axis or weight.x.dtype != first.x.dtype or len(weight.scales) != len(first.scales):
            return None
        same.append(weight)
    x = b.concat([weight.x for weight in same], axis)
    if first.axis is None or (first.axis != axis and not first.block):
        if any(weight.scales != first.scales for weight in same):
            return None
        return first.moved(x, lambda scale: scale, first.axis).tensor(b, tensors[0])
    if first.axis == axis and first.block and any(not _whole(weight, axis) for weight in same[:-1]):
        return None
    at = axis if first.block else 0
    scales = tuple(b.concat(list(column), at) for column in zip(*(w.scales for w in same), strict=True))
    return replace(first, x=x, scales=scales).tensor(b, tensors[0])


def _whole(weight: Weight, axis: int) -> bool:
    extent = weight.shape[axis]
    return isinstance(extent, int) and extent % weight.block == 0


def taken(b: Moves, t: Tensor, indices: Tensor, axis: int) -> Tensor | None:
    """Gather of constant indices along one axis."""
    weight = weight_of(t)
    if weight is None or not indices.stored or len(indices.known_shape) != 1:
        return None
    x = b.take(weight.x, indices, axis)
    if weight.axis is None or (weight.axis != axis and not weight.block):
        return weight.moved(x, lambda scale: scale, weight.axis).tensor(b, t)
    if weight.axis == axis and weight.block:
        return None
    at = axis if weight.block else 0
    return weight.moved(x, lambda scale: b.take(scale, indices, at), weight.axis).tensor(b, t)
