"""Operations on parts of a value along one axis: concatenate them, cut a range out of them.

    join             [user (D1), item (B D2)] as the array (B D1+D2)
    merge            several neighbouring parts as one part
    pieces_between   columns 3 to 7 of parts [5 4]: columns 3 and 4 of the first, 0 and 1 of the second

No arithmetic is done here. Parts are moved, and repeated along axes that other parts are stored along.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby, pairwise
from typing import TypeAlias, TypeVar

from mari_onnx.ir.arrays import alike, cut, fill, lay, sub_array
from mari_onnx.ir.axes import Axis, Dim, Dims, flat, renamed
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import Extent, at_most, total
from mari_onnx.ir.forms import Array, Parts

Piece: TypeAlias = tuple[Axis, Array]
"""A part, and its own axis, which stands in the place of the axis of the whole."""

Key = TypeVar("Key", bound=Hashable)


def join(b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims) -> Array:
    """The concatenation of the pieces along `axis`; `dims` are those of the value.

    Neighbours that lack the same axes are joined before they are repeated along these axes. Example: of
    [user (D1), user (D2), item (B D3)] the first two become one piece (D1+D2), which is repeated for the candidates
    once.
    """
    sub, first = pieces[0]
    if len(pieces) == 1:
        return sub_array({sub: axis}, first)
    if all(array.state(s) == "absent" and array == first for s, array in pieces):
        return first
    differing = _differing(pieces, axis, dims)
    runs = [list(run) for _, run in groupby(pieces, key=lambda piece: [piece[1].state(a) for a in differing])]
    if 1 < len(runs) < len(pieces):
        return join(b, [merge(b, run, axis, dims) for run in runs], axis, dims)
    stored = _stored_alike(b, pieces, axis, dims, differing)
    return _joined_as_stored(b, stored, axis) or _joined_in_order(b, stored, axis, dims)


def _differing(pieces: Sequence[Piece], axis: Axis, dims: Dims) -> list[Axis]:
    """The axes, other than `axis`, that some pieces have in another way than others: stored, absent or mapped."""
    others = (a for a in flat(dims) if a is not axis and a.extent != 1)
    return [a for a in others if len({array.state(a) for _, array in pieces}) > 1]


def _stored_alike(
    b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims, differing: Sequence[Axis]
) -> list[Piece]:
    """The pieces with the differing axes stored in the same way in all of them, and each one's own axis written out."""
    subs = [sub for sub, _ in pieces]
    own_dims = [renamed(dims, {axis: (sub,)}) for sub in subs]
    arrays = alike(b, [array for _, array in pieces], own_dims, differing)
    filled = [fill(b, array, d, [sub]) for sub, array, d in zip(subs, arrays, own_dims, strict=True)]
    return list(zip(subs, filled, strict=True))


def _joined_as_stored(b: Builder, pieces: Sequence[Piece], axis: Axis) -> Array | None:
    """The Concat in the order of axes in which all pieces are stored, without Transposes. None if the orders differ."""
    layouts = {renamed(array.layout, {sub: (axis,)}) for sub, array in pieces}
    common = layouts.pop()
    if layouts or (axis,) not in common:
        return None
    return Array(b.concat([array.tensor for _, array in pieces], common.index((axis,))), common, pieces[0][1].via)


def _joined_in_order(b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims) -> Array:
    """The Concat in the order of the value's dims.

    The joined axis has to be outermost in its dimension: with D joined, (F D) becomes two dimensions, F and D.
    """
    layout: list[Dim] = []
    joined_at = 0
    for d in dims:
        if axis not in d:
            layout.append(d)
            continue
        before, after = d[: d.index(axis)], d[d.index(axis) :]
        layout.extend([before, after] if before else [after])
        joined_at = len(layout) - 1
    tensors = [lay(b, array, renamed(tuple(layout), {axis: (sub,)})) for sub, array in pieces]
    first = pieces[0][1]
    present = {a for a in flat(dims) if a is axis or (a.extent != 1 and first.state(a) != "absent")}
    via = tuple((a, m) for a, m in first.via if a in present)
    return Array(b.concat(tensors, joined_at), tuple(tuple(a for a in d if a in present) for d in layout), via)


def merge(b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims) -> Piece:
    """Several neighbouring pieces as one piece, along a new axis."""
    if len(pieces) == 1:
        return pieces[0]
    whole = Axis(total(sub.extent for sub, _ in pieces), axis.name)
    return whole, join(b, pieces, whole, renamed(dims, {axis: (whole,)}))


def bounds(parts: Parts) -> list[int] | None:
    """The same as `edges`, None where a width is no number."""
    found = [e for e in edges(parts) if isinstance(e, int)]
    return found if len(found) > len(parts.pieces) else None


def edges(parts: Parts) -> list[Extent]:
    """Where each piece begins, and the end of the last: [0 2 5] of widths 2 and 3."""
    found: list[Extent] = [0]
    for sub, _ in parts.pieces:
        found.append(found[-1] + sub.extent)
    return found


def pieces_between(b: Builder, parts: Parts, start: Extent, stop: Extent) -> list[Piece] | None:
    """The pieces that cover [start, stop). The first and the last are cut where they reach beyond it.

    None where it depends on symbols which pieces do: [0, 1) of parts [length 1] is in the first or in the second.
    """
    pieces = []
    for (sub, array), (low, high) in zip(parts.pieces, pairwise(edges(parts)), strict=True):
        if at_most(stop, low) or at_most(high, start):
            continue
        first = start if at_most(low, start) else low
        last = stop if at_most(stop, high) else high
        if not (at_most(start, first) and at_most(last, stop)):
            return None
        whole = (first, last) == (low, high)
        new = sub if whole else Axis(last - first, sub.name)
        pieces.append((new, array if whole else cut(b, array, sub, first - low, last - low, new)))
    return pieces


def groups(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """The positions of each key, keys in order of first appearance: {u: [0, 2], i: [1]} of keys u, i, u."""
    positions: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        positions.setdefault(key, []).append(i)
    return positions
