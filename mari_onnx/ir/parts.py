"""Parts of a value along one axis: taken between two places, and written out side by side.

    join             [user (D1), item (B D2)] is the array (B D1+D2)
    merge            some neighbours of them are one part
    pieces_between   columns 3 to 7, those of the parts that they fall on

Nothing is computed here: parts are moved, and repeated along axes that others of them are stored along.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby, pairwise
from typing import TypeAlias, TypeVar

from mari_onnx.ir.arrays import alike, cut, fill, lay, sub_array
from mari_onnx.ir.axes import Axis, Dim, Dims, flat, renamed
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import total
from mari_onnx.ir.forms import Array, Parts

Piece: TypeAlias = tuple[Axis, Array]
"""A part and the axis that stands for it in the place of the whole one."""

Key = TypeVar("Key", bound=Hashable)


def join(b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims) -> Array:
    """The pieces of a value written out along `axis`; `dims` are the value's.

    Neighbours that repeat along the same axes are joined before they are written out along them: of
    [user (D1), user (D2), item (B D3)] the first two are one (D1+D2), which is repeated for the candidates once.
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
    """The other axes that not all of the pieces have in the same way."""
    others = (a for a in flat(dims) if a is not axis and a.extent != 1)
    return [a for a in others if len({array.state(a) for _, array in pieces}) > 1]


def _stored_alike(
    b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims, differing: Sequence[Axis]
) -> list[Piece]:
    """The pieces with the differing axes stored alike in all of them, and each with its own written out."""
    subs = [sub for sub, _ in pieces]
    own_dims = [renamed(dims, {axis: (sub,)}) for sub in subs]
    arrays = alike(b, [array for _, array in pieces], own_dims, differing)
    filled = [fill(b, array, own, [sub]) for sub, array, own in zip(subs, arrays, own_dims, strict=True)]
    return list(zip(subs, filled, strict=True))


def _joined_as_stored(b: Builder, pieces: Sequence[Piece], axis: Axis) -> Array | None:
    """In the order of axes in which all of them are stored: none is transposed. None if those orders differ."""
    layouts = {renamed(array.layout, {sub: (axis,)}) for sub, array in pieces}
    common = layouts.pop()
    if layouts or (axis,) not in common:
        return None
    return Array(b.concat([array.tensor for _, array in pieces], common.index((axis,))), common, pieces[0][1].via)


def _joined_in_order(b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims) -> Array:
    """In the order of the value's dims, with the joined axis outermost in its dimension: (F D) is cut before D."""
    layout: list[Dim] = []
    at = 0
    for d in dims:
        if axis not in d:
            layout.append(d)
            continue
        before, after = d[: d.index(axis)], d[d.index(axis) :]
        layout.extend([before, after] if before else [after])
        at = len(layout) - 1
    tensors = [lay(b, array, renamed(tuple(layout), {axis: (sub,)})) for sub, array in pieces]
    first = pieces[0][1]
    present = {a for a in flat(dims) if a is axis or (a.extent != 1 and first.state(a) != "absent")}
    via = tuple((a, m) for a, m in first.via if a in present)
    return Array(b.concat(tensors, at), tuple(tuple(a for a in d if a in present) for d in layout), via)


def merge(b: Builder, pieces: Sequence[Piece], axis: Axis, dims: Dims) -> Piece:
    """Several pieces as one piece."""
    if len(pieces) == 1:
        return pieces[0]
    whole = Axis(total(sub.extent for sub, _ in pieces), axis.name)
    return whole, join(b, pieces, whole, renamed(dims, {axis: (whole,)}))


def bounds(parts: Parts) -> list[int] | None:
    """Where the pieces begin, and the end of the last; None when some width is not a number."""
    out = [0]
    for sub, _ in parts.pieces:
        if not isinstance(sub.extent, int):
            return None
        out.append(out[-1] + sub.extent)
    return out


def pieces_between(b: Builder, parts: Parts, start: int, stop: int) -> list[Piece]:
    """The pieces of [start, stop), those at its ends cut."""
    edges = bounds(parts)
    assert edges is not None
    out = []
    for (sub, array), (low, high) in zip(parts.pieces, pairwise(edges), strict=True):
        first, last = max(start, low), min(stop, high)
        if first < last:
            whole = (first, last) == (low, high)
            new = sub if whole else Axis(last - first, sub.name)
            out.append((new, array if whole else cut(b, array, sub, first - low, last - low, new)))
    return out


def groups(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Positions by key, in order of first appearance."""
    out: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        out.setdefault(key, []).append(i)
    return out
