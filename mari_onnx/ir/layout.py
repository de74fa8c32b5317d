"""Taking forms apart and putting them together: what has to be written for a consumer to have what it needs.

Everything here keeps the invariant of `forms`: what comes back evaluates to what went in, or to the stated part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, pairwise
from typing import Any

from mari_onnx.ir.axes import Axis, Dim, Dims, Renaming, dim, flat, renamed
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import divide, product, total
from mari_onnx.ir.forms import Array, IndexMap, Parts, Value

# Laying out


def lay(b: Builder, array: Array, spec: Dims) -> Tensor:
    """The array's tensor with its axes arranged as in `spec`; axes that it lacks are left out there."""
    have = [a for a in flat(array.layout) if a.extent != 1]
    there = set(have)
    want = [a for a in flat(spec) if a in there]
    assert len(want) == len(have), "a layout must name every axis that is stored"
    t = array.tensor
    if want != have:
        t = b.reshape(t, [array.stored_extent(a) for a in have])
        t = b.transpose(t, [have.index(a) for a in want])
    return b.reshape(t, [product(array.stored_extent(a) for a in d if a in there) for d in spec])


def fill(b: Builder, array: Array, dims: Dims, axes: Iterable[Axis] | None = None) -> Array:
    """The same values with `axes` (default: all) written out, stored one for one."""
    wanted = set(flat(dims) if axes is None else axes)
    missing = [a for a in flat(dims) if a in wanted and a.extent != 1 and array.state(a) != "stored"]
    if not missing:
        return array
    # Only what is stored and what is to be: axes that stay away need no dimension, and no Reshape to have one.
    order = [a for a in flat(dims) if a in missing or (a.extent != 1 and array.state(a) != "absent")]
    layout = tuple((a,) for a in order)
    t = lay(b, array, layout)
    shape = list(t.known_shape)
    for axis in missing:
        position = order.index(axis)
        state = array.state(axis)
        if isinstance(state, IndexMap) and state.index is not None:
            t = b.take(t, state.index, position)
        shape[position] = axis.extent
    t = b.expand(t, shape)
    via = tuple((a, m) for a, m in array.via if a not in missing)
    return Array(t, layout, via, array.price)


def alike(b: Builder, arrays: Sequence[Array], dims: Sequence[Dims], axes: Iterable[Axis]) -> list[Array]:
    """The arrays with each of `axes` stored alike in all of them, at as few rows as one of them needs.

    For operators that do not broadcast. `dims` are those of each array's value.
    """
    out = list(arrays)
    for axis in axes:
        states = {array.state(axis) for array in out}
        maps = [s for s in states if isinstance(s, IndexMap)]
        if len(states) == 2 and "absent" in states and maps:
            out = [mapped(b, a, d, axis, maps[0]) for a, d in zip(out, dims, strict=True)]
        elif len(states) > 1:
            out = [fill(b, a, d, [axis]) for a, d in zip(out, dims, strict=True)]
    return out


def mapped(b: Builder, array: Array, dims: Dims, axis: Axis, rows: IndexMap) -> Array:
    """An array without the axis, stored through an index map: the same row so many times."""
    if array.state(axis) != "absent":
        return array
    order = flat(dims)
    t = lay(b, array, tuple((a,) for a in order))
    shape = [rows.rows if a is axis else e for a, e in zip(order, t.known_shape, strict=True)]
    layout = tuple((a,) if a is axis or array.state(a) != "absent" else () for a in order)
    return Array(b.expand(t, shape), layout, (*array.via, (axis, rows)), array.price)


def plain(b: Builder, value: Value) -> Tensor:
    """The tensor of the original graph, written out in full."""
    if value.dims is None:
        return value.array.tensor
    t = lay(b, fill(b, value.array, value.dims), value.dims)
    if value.written is None:
        return t
    given = lay(b, fill(b, value.written, value.dims), value.dims)
    b.also(given, t)
    return given


def cut(b: Builder, array: Array, axis: Axis, start: int, stop: int, sub: Axis) -> Array:
    """[start, stop) of one axis, which is called `sub` then."""
    if array.state(axis) == "absent":
        return array
    layout = list(array.layout)
    p = next(i for i, d in enumerate(layout) if axis in d)
    before = layout[p][: layout[p].index(axis)]
    t = array.tensor
    if [a for a in before if a.extent != 1]:
        layout[p : p + 1] = [before, layout[p][len(before) :]]
        t, p = lay(b, array, tuple(layout)), p + 1
    inner = product(array.stored_extent(a) for a in layout[p] if a is not axis and a not in before)
    if not isinstance(inner, int):
        rest = tuple(a for a in layout[p] if a is not axis and a not in before)
        layout[p : p + 1] = [(axis,), rest]
        t, inner = lay(b, replace(array, tensor=t), tuple(layout)), 1
    t = b.slice(t, p, start * inner, stop * inner)
    return Array(t, renamed(tuple(layout), {axis: (sub,)}), array.via, array.price)


def join(b: Builder, pieces: Sequence[tuple[Axis, Array]], axis: Axis, dims: Dims) -> Array:
    """The pieces of a value written out along `axis`; `dims` are the value's.

    Neighbours that repeat along the same axes are joined before they are written out along them.
    """
    sub, first = pieces[0]
    if len(pieces) == 1:
        return sub_array({sub: axis}, first)
    if all(array.state(s) == "absent" and array == first for s, array in pieces):
        return first
    others = [a for a in flat(dims) if a is not axis and a.extent != 1]
    states = {a: {array.state(a) for _, array in pieces} for a in others}
    differing = [a for a in others if len(states[a]) > 1]
    if differing:
        runs = [list(run) for _, run in groupby(pieces, key=lambda piece: [piece[1].state(a) for a in differing])]
        if 1 < len(runs) < len(pieces):
            merged = [merge(b, run, axis, dims) for run in runs]
            return join(b, merged, axis, dims)
    layout: list[Dim] = []
    at = 0
    for d in dims:
        if axis in d:
            q = d.index(axis)
            if q:
                layout.append(d[:q])
            at = len(layout)
            layout.append(d[q:])
        else:
            layout.append(d)
    own_dims = [renamed(dims, {axis: (sub,)}) for sub, _ in pieces]
    arrays = alike(b, [array for _, array in pieces], own_dims, differing)
    subs = [sub for sub, _ in pieces]
    arrays = [fill(b, array, own, [sub]) for sub, array, own in zip(subs, arrays, own_dims, strict=True)]
    stored = {renamed(array.layout, {sub: (axis,)}) for sub, array in zip(subs, arrays, strict=True)}
    if len(stored) == 1 and (axis,) in (common := stored.pop()):  # in whatever order that is: none is transposed
        return Array(b.concat([array.tensor for array in arrays], common.index((axis,))), common, arrays[0].via)
    tensors = [lay(b, a, renamed(tuple(layout), {axis: (sub,)})) for sub, a in zip(subs, arrays, strict=True)]
    present = {a for a in others if arrays[0].state(a) != "absent"} | {axis}
    via = tuple((a, m) for a, m in arrays[0].via if a in present)
    return Array(b.concat(tensors, at), tuple(tuple(a for a in d if a in present) for d in layout), via)


def merge(b: Builder, pieces: Sequence[tuple[Axis, Array]], axis: Axis, dims: Dims) -> tuple[Axis, Array]:
    """Several pieces as one piece."""
    if len(pieces) == 1:
        return pieces[0]
    whole = Axis(total(sub.extent for sub, _ in pieces), axis.name)
    return whole, join(b, pieces, whole, renamed(dims, {axis: (whole,)}))


# Renaming


def rename_array(b: Builder, array: Array, dims: Dims, names: Renaming) -> Array:
    """The same stored tensor under other axes; a mapped axis is written out where it has to be cut."""
    if not names:
        return array
    cut_apart = {a for a, _ in array.via if len(names.get(a, (a,))) != 1}
    array = fill(b, array, dims, cut_apart)
    via = tuple((names[a][0] if a in names else a, m) for a, m in array.via if a not in cut_apart)
    return replace(array, layout=renamed(array.layout, names), via=via)


def rename_parts(b: Builder, parts: Parts, dims: Dims, names: Renaming) -> Parts | None:
    """The same pieces; None when the pieces' axis is split where the pieces are not."""
    new = names.get(parts.axis, (parts.axis,))
    inner = product(a.extent for a in new[1:])
    pieces = []
    apart = []
    for (sub, array), form in zip(parts.pieces, parts.apart or (None,) * len(parts.pieces), strict=True):
        outer = divide(sub.extent, inner)
        if outer is None:
            return None
        head = sub if len(new) == 1 else Axis(outer, sub.name)
        changes = dict(names) if len(new) == 1 else {**names, sub: (head, *new[1:])}
        own = renamed(dims, {parts.axis: (sub,)})
        pieces.append((head, rename_array(b, array, own, changes)))
        apart.append(form and form.each(partial(rename_array, b, dims=own, names=changes)))
    return Parts(new[0], tuple(pieces), parts.price, tuple(apart))


def rename_value(b: Builder, value: Value, names: Renaming) -> Value:
    """The value with all its forms under other axes."""
    if not names:
        return value
    dims, out = value.known_dims, renamed(value.known_dims, names)
    assert len(set(flat(out))) == len(flat(out)), "an axis stands in a value once"
    return value.each_form(
        out,
        arrays=lambda array: rename_array(b, array, dims, names),
        parts=lambda parts: rename_parts(b, parts, dims, names),
    )


def fresh(b: Builder, value: Value) -> Value:
    """The value with axes of its own: what meets itself in one result has each axis twice."""
    return rename_value(b, value, {a: (Axis(a.extent, a.name),) for a in flat(value.known_dims)})


def fuse(b: Builder, value: Value, position: int) -> Value:
    """The value with dimension `position` as one axis of its own: (F D) becomes (320).

    Parts survive along the outermost axis of the dimension, where they are contiguous.
    """
    dims = value.known_dims
    group = dims[position]
    if len(group) <= 1:
        return value
    whole = dim(product(a.extent for a in group), " ".join(map(str, group)))
    out = (*dims[:position], whole, *dims[position + 1 :])

    def fused(array: Array, group: Dim, dims: Dims, whole: Dim) -> Array:
        if all(array.state(a) == "absent" for a in group):
            return array
        array = fill(b, array, dims, group)
        spec = tuple(tuple(a for a in d if array.state(a) != "absent") for d in dims)
        layout = (*spec[:position], whole, *spec[position + 1 :])
        return Array(lay(b, array, spec), layout, array.via, array.price)

    def fused_parts(parts: Parts) -> Parts | None:
        if parts.axis is group[0]:
            pieces = []
            for sub, array in parts.pieces:
                inner = (sub, *group[1:])
                flat_sub = Axis(product(a.extent for a in inner), sub.name)
                there = (*dims[:position], inner, *dims[position + 1 :])
                pieces.append((flat_sub, fused(array, inner, there, (flat_sub,))))
            return Parts(whole[0], tuple(pieces), parts.price)
        if parts.axis in group:
            return None
        pieces = [(sub, fused(array, group, renamed(dims, {parts.axis: (sub,)}), whole)) for sub, array in parts.pieces]
        return replace(parts, pieces=tuple(pieces), apart=())

    return value.each_form(out, arrays=lambda array: fused(array, group, dims, whole), parts=fused_parts)


# Taking parts apart and together


def bounds(parts: Parts) -> list[int] | None:
    """Where the pieces begin, and the end of the last; None when some width is not a number."""
    out = [0]
    for sub, _ in parts.pieces:
        if not isinstance(sub.extent, int):
            return None
        out.append(out[-1] + sub.extent)
    return out


def pieces_between(b: Builder, parts: Parts, start: int, stop: int) -> list[tuple[Axis, Array]]:
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


def groups(keys: Sequence[Any]) -> dict[Any, list[int]]:
    """Positions by key, in order of first appearance."""
    out: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        out.setdefault(key, []).append(i)
    return out


def sub_array(mapping: Mapping[Axis, Axis], array: Array) -> Array:
    """The array with some axes called otherwise."""
    return replace(
        array,
        layout=renamed(array.layout, {a: (new,) for a, new in mapping.items()}),
        via=tuple((mapping.get(a, a), m) for a, m in array.via),
    )
