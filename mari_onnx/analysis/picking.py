"""Rows or columns at constant places of an array, and the kinds of rows of a value in parts.

pick     rows 3, 0 and 4 of (5 8)                          as (3 8)
kinds_of rows [user user item user item] of a value        the user's rows [0 1 3] and the item's [2 4]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mari_onnx.analysis.context import Context
from mari_onnx.ir.arrays import cut, natural
from mari_onnx.ir.axes import Axis, Dim, Dims, renamed
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.parts import bounds, groups, merge


@dataclass(frozen=True)
class Places:
    """Constant `indices` into dimension `position`; the selected entries have the axis `new` in this dimension."""

    position: int
    indices: Sequence[int]
    new: Axis

    @property
    def dim(self) -> Dim:
        return (self.new,)


def pick(ctx: Context, array: Array, dims: Dims, places: Places) -> Array:
    """The entries of an array at constant places of a dimension that has one axis."""
    axis, indices, new = dims[places.position][0], list(places.indices), places.new
    if array.state(axis) == "absent":
        return array
    if axis.extent == 1:
        return replace(array, layout=renamed(array.layout, {axis: ()}))
    if indices == list(range(indices[0], indices[-1] + 1)):
        return cut(ctx.b, array, axis, indices[0], indices[-1] + 1, new)
    # The stored order is kept where it can be: x[:, places] is exported as Transpose, GatherND and Transpose.
    alone = (axis,) in array.layout
    tensor, layout = (array.tensor, array.layout) if alone else natural(ctx.b, array, dims)
    taken = ctx.take_columns(tensor, indices, layout.index((axis,)) if alone else places.position)
    return Array(taken, renamed(layout, {axis: (new,)}), array.via, array.price)


@dataclass(frozen=True)
class Kind:
    """Rows of one side that are stored along the same axes, as one array: the user's rows, or the item's.

    `offsets` maps the position of a row on its side to the position in the array.
    """

    sub: Axis
    array: Array
    offsets: dict[int, int]


def kinds_of(ctx: Context, value: Value, axis: Axis) -> list[Kind]:
    """The rows, or columns, of a side, by the axes that they are stored along; one kind if the side is not in parts."""
    edges = bounds(value.parts) if value.parts is not None and value.parts.axis is axis else None
    if value.parts is None or edges is None:
        return [Kind(axis, value.array, {i: i for i in range(int(str(axis.extent)))})]
    pieces = value.parts.pieces
    kinds = []
    for members in groups([array.names() - {(sub, "stored")} for sub, array in pieces]).values():
        positions = [i for k in members for i in range(edges[k], edges[k + 1])]
        sub, array = merge(ctx.b, [pieces[k] for k in members], axis, value.known_dims)
        kinds.append(Kind(sub, array, {i: n for n, i in enumerate(positions)}))
    return kinds
