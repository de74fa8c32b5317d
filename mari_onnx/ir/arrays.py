"""Operations on one stored array: transpose, repeat along an axis, cut, rename axes.

    lay      (B L D) stored as (L B D)                 the same elements in another order
    fill     (L D) of a value [B L D] as (B L D)       axes along which it repeats are written out
    cut      (B 320) as (B 64)                         a stretch of one axis
    natural  (L D) of a value [B L D] as [1 L D]       at the value's rank: what it lacks has extent 1

Each keeps the invariant of `forms`: the result evaluates to the value of its operand, or to the stated part of it.
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
"""Element types for which every runtime has a ReduceSum: float32, int32, int64, float64."""

# Laying out


def lay(b: Builder, array: Array, spec: Dims) -> Tensor:
    """The array's tensor with its axes arranged as in `spec`. A dimension of absent axes has extent 1.

    Example: (B L D) as [(L B) D] is a Transpose and a Reshape.
    """
    if array.layout == spec:
        return array.tensor
    stored_order = [a for a in flat(array.layout) if a.extent != 1]
    present = set(stored_order)
    wanted_order = [a for a in flat(spec) if a in present]
    assert len(wanted_order) == len(stored_order), "a layout must name every axis that is stored"
    t = array.tensor
    if wanted_order != stored_order:
        t = b.reshape(t, [array.stored_extent(a) for a in stored_order])
        t = b.transpose(t, [stored_order.index(a) for a in wanted_order])
    return b.reshape(t, [product(array.stored_extent(a) for a in d if a in present) for d in spec])


def natural(b: Builder, array: Array, dims: Dims) -> tuple[Tensor, Dims]:
    """The tensor at the rank of the value, with extent 1 for each axis that the array lacks, and its layout."""
    layout = tuple(tuple(a for a in d if array.state(a) != "absent") for d in dims)
    return lay(b, array, layout), layout


def in_order(array: Array, dims: Dims, fixed: Sequence[int]) -> Dims:
    """The dims in the order in which the array is stored, except for the positions `fixed`, which keep their place.

    The dims come back unchanged if axes of two dimensions are interleaved in the array. Example: dims [B L D] of an
    array stored as (L B D), with position 2 fixed, become [L B D], and no Transpose is needed.
    """
    place = {a: i for i, a in enumerate(flat(array.layout))}
    present = {i: [place[a] for a in d if a.extent != 1 and a in place] for i, d in enumerate(dims)}
    moved = [i for i, d in enumerate(dims) if i not in fixed and present[i]]
    reordered = list(dims)
    for i, source in zip(moved, sorted(moved, key=lambda i: present[i][0]), strict=True):
        reordered[i] = dims[source]
    stored = [place[a] for d in reordered for a in d if a.extent != 1 and a in place]
    return tuple(reordered) if stored == sorted(stored) else dims


def stored_shape(layout: Dims, via: Sequence[tuple[Axis, IndexMap]]) -> tuple[Extent, ...]:
    """The shape of a tensor with this layout. A mapped axis counts as many rows as its index map has."""
    rows = {a: m.rows for a, m in via}
    return tuple(product(rows.get(a, a.extent) for a in d) for d in layout)


# Writing out


def fill(b: Builder, array: Array, dims: Dims, axes: Iterable[Axis] | None = None) -> Array:
    """The same value with `axes` (default: all) stored row for row: Expand of absent ones, Gather of mapped ones."""
    order = flat(dims)
    to_write = order if axes is None else set(axes)
    missing = [a for a in order if a in to_write and a.extent != 1 and array.state(a) != "stored"]
    if not missing:
        return array
    # The layout has only axes that are stored or will be. Axes that stay absent would need a Reshape to extent 1.
    order = [a for a in order if a in missing or (a.extent != 1 and array.state(a) != "absent")]
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
    """The arrays with each of `axes` stored in the same way in all of them, for operators that do not broadcast.

    Where one array has an axis through an index map and the others lack it, all get that map, and its few rows are
    stored; otherwise the axis is written out. `dims` are those of each array's value.
    """
    result = list(arrays)
    for axis in axes:
        states = {array.state(axis) for array in result}
        maps = [s for s in states if isinstance(s, IndexMap)]
        if len(states) == 2 and "absent" in states and maps:
            result = [mapped(b, a, d, axis, maps[0]) for a, d in zip(result, dims, strict=True)]
        elif len(states) > 1:
            result = [fill(b, a, d, [axis]) for a, d in zip(result, dims, strict=True)]
    return result


def mapped(b: Builder, array: Array, dims: Dims, axis: Axis, rows: IndexMap) -> Array:
    """The array with an axis that it lacks stored through the index map `rows`.

    Its one row is stored `rows.rows` times. An array that has the axis comes back unchanged.
    """
    if array.state(axis) != "absent":
        return array
    order = flat(dims)
    t = lay(b, array, tuple((a,) for a in order))
    shape = [rows.rows if a is axis else e for a, e in zip(order, t.known_shape, strict=True)]
    layout = tuple((a,) if a is axis or array.state(a) != "absent" else () for a in order)
    return Array(b.expand(t, shape), layout, (*array.via, (axis, rows)), array.price)


def plain(b: Builder, value: Value) -> Tensor:
    """The tensor as the original graph has it, with every axis written out.

    For a value that the caller sends repeated there are two such tensors, and the plan chooses between them: the
    repeated row 0, and what was sent.
    """
    if value.dims is None:
        return value.array.tensor
    t = lay(b, fill(b, value.array, value.dims), value.dims)
    if value.written is None:
        return t
    as_sent = lay(b, fill(b, value.written, value.dims), value.dims)
    b.also(as_sent, t)
    return as_sent


# Taking less of it


def cut(b: Builder, array: Array, axis: Axis, start: Extent, stop: Extent, sub: Axis) -> Array:
    """Indices [start, stop) of one axis. `sub` is the axis of the result in its place.

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
    """The array without those of `axes` along which it stores row 0 alone.

    Such an axis has 1 row, or 0 in a call without candidates, where a Reshape to extent 1 would fail. A ReduceSum over
    the axis gives the row itself in the first case and zeros in the second.
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


# Renaming axes


def sub_array(mapping: Mapping[Axis, Axis], array: Array) -> Array:
    """The array with axes renamed one for one; nothing is moved."""
    layout = renamed(array.layout, {a: (new,) for a, new in mapping.items()})
    return Array(array.tensor, layout, tuple((mapping.get(a, a), m) for a, m in array.via), array.price)
