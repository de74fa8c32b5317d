"""Weights that a node computes from stored constants, element by element: moving one is moving what is stored.

    Slice(Cast(w))                              = Cast(Slice(w))
    Slice(DequantizeLinear(w, scale, zero))     = DequantizeLinear(Slice(w), Slice(scale), Slice(zero))

A quantized weight is never dequantized here: that would bloat the file, and runtimes fuse the node with the product
that reads it. Scale and zero point are one for the tensor, one for each index of an axis, or one for each block of
indices of it; then they have the weight's shape but for that axis.

Holds where blocks stay whole; what does not keep them so moves the result. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, product


class Moves(Protocol):
    """What moves a stored tensor, and what writes the node that computes a weight from it: a `Builder`."""

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
    """`op_type(x, *scales)`; `axis` is the one that scales differ along, if any, in blocks of `block` if not 0."""

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
        """The node; `like` has its element type."""
        attributes = self.attributes if self.axis is None else {**self.attributes, "axis": self.axis}
        return b.make(self.op_type, [self.x, *self.scales], self.shape, like.dtype, **attributes)

    def moved(self, x: Tensor, scale: Callable[[Tensor], Tensor], axis: int | None) -> Weight:
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
    """[start, stop) of one axis."""
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
    """The axes in another order."""
    weight = weight_of(t)
    if weight is None:
        return None
    axis = None if weight.axis is None else list(perm).index(weight.axis)
    x = b.transpose(weight.x, perm)
    return weight.moved(x, lambda s: b.transpose(s, perm) if weight.block else s, axis).tensor(b, t)


def reshaped(b: Moves, t: Tensor, shape: Sequence[Extent]) -> Tensor | None:
    """The axes cut at other places, where the one that scales differ along, or its blocks, stay whole."""
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
    """Weights of one kind side by side: with the same scales, or with scales side by side as well."""
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
    """Indices of one axis, by a constant."""
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
