"""One stored array: laid out otherwise, written out along axes that it lacks, cut, called by other axes.

    lay      (B L D) stored as (L B D)                 the same elements in another order
    fill     (L D) of a value [B L D] as (B L D)       axes along which it repeats are written out
    cut      (B 320) as (B 64)                         a stretch of one axis
    natural  (L D) of a value [B L D] as [1 L D]       at the value's rank: what it lacks has extent 1

Each keeps the invariant of `forms`: what comes back evaluates to what went in, or to the stated part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mari_onnx.ir.axes import Axis, Dims, flat, renamed
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, product
from mari_onnx.ir.forms import Array, IndexMap, Value

SUMMED = (1, 6, 7, 11)
"""Element types for which every runtime has a ReduceSum."""

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


def natural(b: Builder, array: Array, dims: Dims) -> tuple[Tensor, Dims]:
    """The tensor at the value's own rank, absent axes at extent 1, and its layout."""
    layout = tuple(tuple(a for a in d if array.state(a) != "absent") for d in dims)
    return lay(b, array, layout), layout


def in_order(array: Array, dims: Dims, own: Sequence[int]) -> Dims:
    """The dims with those not in `own` in the order in which the array is stored, if that is whole dims in turn."""
    at = {a: i for i, a in enumerate(flat(array.layout))}
    present = {i: [at[a] for a in d if a.extent != 1 and a in at] for i, d in enumerate(dims)}
    moved = [i for i, d in enumerate(dims) if i not in own and present[i]]
    out = list(dims)
    for i, source in zip(moved, sorted(moved, key=lambda i: present[i][0]), strict=True):
        out[i] = dims[source]
    stored = [at[a] for d in out for a in d if a.extent != 1 and a in at]
    return tuple(out) if stored == sorted(stored) else dims


def stored_shape(layout: Dims, via: Sequence[tuple[Axis, IndexMap]]) -> tuple[Extent, ...]:
    """The shape of a tensor of this layout, mapped axes at the extent that they are stored at."""
    rows = {a: m.rows for a, m in via}
    return tuple(product(rows.get(a, a.extent) for a in d) for d in layout)


# Writing out


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


# Taking less of it


def cut(b: Builder, array: Array, axis: Axis, start: int, stop: int, sub: Axis) -> Array:
    """[start, stop) of one axis, which is called `sub` then.

    (F D) with D 16     is cut along F in steps of 16
    (L F D)             becomes [L, (F D)] first: F is outermost in a dimension
    (F B)               becomes [F, B] first: in steps of a symbol nothing is cut
    """
    if array.state(axis) == "absent":
        return array
    layout = list(array.layout)
    p = next(i for i, d in enumerate(layout) if axis in d)
    at = layout[p].index(axis)
    before, after = layout[p][:at], layout[p][at + 1 :]
    t = array.tensor
    if any(a.extent != 1 for a in before):
        layout[p : p + 1] = [before, (axis, *after)]
        t, p = lay(b, array, tuple(layout)), p + 1
    step = product(array.stored_extent(a) for a in after)
    if not isinstance(step, int):
        layout[p : p + 1] = [(axis,), after]
        t, step = lay(b, replace(array, tensor=t), tuple(layout)), 1
    t = b.slice(t, p, start * step, stop * step)
    return Array(t, renamed(tuple(layout), {axis: (sub,)}), array.via, array.price)


def one_row(b: Builder, array: Array, axes: Sequence[Axis]) -> Array:
    """The array without axes of which it has row 0 alone.

    Their sum is that row, and zeros for a call without candidates, where there is no row 0: a Reshape would fail.
    """
    for axis in axes:
        rows = array.state(axis)
        if not isinstance(rows, IndexMap) or rows.index is not None or array.tensor.dtype not in SUMMED:
            continue
        order = [(axis,), *((a,) for a in flat(array.layout) if a is not axis)]
        t = lay(b, array, tuple(order))
        t = b.make("ReduceSum", [t], t.known_shape[1:], axes=(0,), keepdims=0)
        via = tuple((a, m) for a, m in array.via if a is not axis)
        array = Array(t, tuple(order[1:]), via, array.price)
    return array


# Calling axes otherwise


def sub_array(mapping: Mapping[Axis, Axis], array: Array) -> Array:
    """The array with some axes called otherwise."""
    return replace(
        array,
        layout=renamed(array.layout, {a: (new,) for a, new in mapping.items()}),
        via=tuple((mapping.get(a, a), m) for a, m in array.via),
    )
