"""Putting columns together and taking them apart: Concat, Slice, Split, and Gather by a constant.

    Concat(a, b)                  is Parts [a b]; nothing is copied until somebody needs it whole
    Concat(x, x, x)               is x along one more axis, outside its own, that nothing is stored along
    Concat([a; b], [c; d])        is [Concat(a, c); Concat(b, d)]
    Slice, Split of [a b c]       are the pieces that they fall on; of terms, those of each
    Slice of (F D) in steps of D  is a slice of F
    Gather([a b c], [2, 0])       is [c a]

Holds when widths and positions are numbers; a Slice with a step, or of an axis of which the extent is not known, works
along its axes (see `along`). Rounding: none.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.rules import pairs
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.analysis.shape_values import bounded
from mari_onnx.analysis.tensor_facts import Picked
from mari_onnx.analysis.tiled_columns import concat_as_given
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, Renaming, dim, extent_of, extents, flat, refine, renamed
from mari_onnx.ir.extents import Extent, Poly, divide, symbol, total
from mari_onnx.ir.forms import Array, Factors, IndexMap, Parts, Terms, Value
from mari_onnx.ir.layout import (
    bounds,
    cut,
    fresh,
    fuse,
    groups,
    join,
    lay,
    merge,
    pieces_between,
    rename_value,
    sub_array,
)
from mari_onnx.ir.unbatch import natural, part_by_part


def concat(op: Op, ctx: Context) -> Derived:
    """Parts of all inputs in order; parts of an input that is in parts itself stay apart."""
    values = [v for v in op.inputs if v is not None]
    if any(v.dims is None for v in values):
        return Refused("the rank of an input of Concat is unknown")
    rank = len(values[0].known_dims)
    position = op.axis % rank
    if all(_same(v, values[0]) for v in values):
        return [_repeated(op, values[0], position, len(values))]
    values = _distinct(ctx, values)
    lengths = {extent_of(v.known_dims[position]) for v in values}
    if len(lengths) == 1 and isinstance(lengths.pop(), Poly):
        return _stack(op, ctx, values, position)
    since = ctx.b.count
    aligned = _align(ctx, [fuse(ctx.b, v, position) for v in values], position)
    if isinstance(aligned, Refused):
        return aligned
    subs = _axes_at(aligned, position)
    width = total(sub.extent for sub in subs)
    pieces: list[tuple[Axis, Array]] = []
    apart: list[Terms | Factors | None] = []
    counts: list[int] = []
    for value, sub in zip(aligned, subs, strict=True):
        if value.parts is not None and value.parts.axis is sub:
            pieces.extend(value.parts.pieces)
            apart.extend(value.parts.apart or (None,) * len(value.parts.pieces))
        else:
            pieces.append((sub, value.array))
            apart.append(value.terms or value.factors)
        counts.append(len(pieces) - sum(counts))
    # One input may come twice, and a piece's axis stands for that piece alone.
    own = [{s: Axis(s.extent, s.name)} for s, _ in pieces]
    pieces = [(names[s], sub_array(names, a)) for (s, a), names in zip(pieces, own, strict=True)]
    apart = [form and form.each(partial(sub_array, names)) for form, names in zip(apart, own, strict=True)]
    axis = Axis(width, str(width))
    first = aligned[0].known_dims
    dims = (*first[:position], (axis,) if width != 1 else (), *first[position + 1 :])
    around = (*first[:position], (axis,), *first[position + 1 :])
    array = join(ctx.b, pieces, axis, around)
    inherited = sum(v.parts.price if v.parts is not None else v.array.price for v in aligned)
    array = replace(array, price=inherited + ctx.price([array.tensor], since))
    if len(pieces) > len(aligned):  # what is in many pieces may be cheaper to have as a whole
        whole = join(ctx.b, [(sub, v.array) for sub, v in zip(subs, aligned, strict=True)], axis, around)
        whole = replace(whole, price=sum(v.array.price for v in aligned) + ctx.price([whole.tensor], since))
        array = min(array, whole, key=lambda a: a.price)
    written = concat_as_given(ctx, aligned, subs, pieces, counts, axis, around)
    if written is not None and written.names() == array.names():
        written = replace(written, price=sum((v.written or v.array).price for v in aligned))
        written = replace(written, price=written.price + ctx.price([written.tensor], since))
        array, other = sorted((array, written), key=lambda a: a.price)
        ctx.b.also(array.tensor, lay(ctx.b, other, array.layout))
    # Of no and one column there is one: no axis, and nothing apart.
    parts = Parts(axis, tuple(pieces), inherited, tuple(apart)) if len(pieces) > 1 and width != 1 else None
    if len({a.names() - {(s, "stored")} for s, a in pieces}) == 1:
        parts = _across(ctx, aligned, position, axis, since) or parts
    return [replace(ctx.result(op, dims, array, parts=parts), written=written)]


def _axes_at(values: list[Value], position: int) -> list[Axis]:
    """The one axis that each of the values has there, or may have: an extent of 1 needs none."""
    return [v.known_dims[position][0] if v.known_dims[position] else Axis(1) for v in values]


def _across(ctx: Context, values: list[Value], position: int, axis: Axis, since: int) -> Parts | None:
    """Concat([a; b], [c; d]) = [Concat(a, c); Concat(b, d)]: histories and targets that were looked up together."""
    subs = _axes_at(values, position)
    first = values[0].known_dims
    dims = (*first[:position], (axis,), *first[position + 1 :])

    def run(arrays: list[Array], part: Renaming) -> Array:
        return join(ctx.b, list(zip(subs, arrays, strict=True)), axis, renamed(dims, part))

    parts = part_by_part(ctx.b, values, dims, run)
    if parts is None:
        return None
    inherited = sum(v.parts.price if v.parts is not None else v.array.price for v in values)
    return replace(parts, price=inherited + ctx.price([a.tensor for _, a in parts.pieces], since))


def _repeated(op: Op, value: Value, position: int, times: int) -> Value:
    """Concat(x, x, x) is a Tile: one more axis that nothing is stored along."""
    dims = value.known_dims
    group = (*dim(times, str(times)), *dims[position])
    dims = (*dims[:position], group, *dims[position + 1 :])
    return replace(value, name=op.name, dims=dims, content=None)


def _same(value: Value, other: Value) -> bool:
    """Whether two values are one, which may have been computed twice."""
    names = dict(zip(flat(value.known_dims), flat(other.known_dims), strict=False))
    if renamed(value.known_dims, {a: (new,) for a, new in names.items()}) != other.known_dims:
        return False
    array = sub_array(names, value.array)
    return extents(value.known_dims) == extents(other.known_dims) and (
        (array.tensor, array.layout, set(array.via)) == (other.array.tensor, other.array.layout, set(other.array.via))
    )


def _stack(op: Op, ctx: Context, values: list[Value], position: int) -> Derived:
    """Pieces of one extent that is a symbol: tf2onnx writes attention heads as [(head batch) length width]."""
    since = ctx.b.count
    aligned = _align(ctx, values, None)
    if isinstance(aligned, Refused):
        return aligned
    heads = Axis(len(values), str(len(values)))
    pieces = [(Axis(1), v.array) for v in aligned]
    dims = aligned[0].known_dims
    dims = (*dims[:position], (heads, *dims[position]), *dims[position + 1 :])
    array = join(ctx.b, pieces, heads, dims)
    inherited = sum(v.array.price for v in aligned)
    array = replace(array, price=inherited + ctx.price([array.tensor], since))
    return [ctx.result(op, dims, array, parts=Parts(heads, tuple(pieces), inherited))]


def _distinct(ctx: Context, values: list[Value]) -> list[Value]:
    """The values, with axes of its own for one that has an axis in another dimension than those before it."""
    out: list[Value] = []
    place: dict[Axis, int] = {}
    for value in values:
        if any(place.get(a, i) != i for i, d in enumerate(value.known_dims) for a in d):
            value = fresh(ctx.b, value)
        place.update((a, i) for i, d in enumerate(value.known_dims) for a in d)
        out.append(value)
    return out


def _align(ctx: Context, values: list[Value], position: int | None) -> list[Value] | Refused:
    """The values with the axes of the first, in every dimension but `position`."""
    out = [values[0]]
    for value in values[1:]:
        names: dict[Axis, Dim] = {}
        for i, right in enumerate(value.known_dims):
            left = out[0].known_dims[i]
            if i == position:
                continue
            refined = refine(left, right)
            if refined is None:
                # Concat itself proves it: on inputs where the extents differ, the original fails.
                ctx.equal.append((extent_of(left), extent_of(right)))
                return Refused(f"extents {extent_of(left)} and {extent_of(right)} are not known to be equal")
            names.update(refined[2])
            if refined[1]:
                out = [rename_value(ctx.b, v, refined[1]) for v in out]
        out.append(rename_value(ctx.b, value, names))
    return out


def _take(op: Op, ctx: Context, value: Value, position: int, start: Extent, stop: Extent, output: int = 0) -> Value:
    """[start, stop) of one dimension; of (F D) in steps of D its outermost axis is cut, else it becomes one axis."""
    inner = extent_of(value.known_dims[position][1:])
    first, last = divide(start, inner), divide(stop, inner)
    if not isinstance(first, int) or not isinstance(last, int) or not value.known_dims[position]:
        value = _whole_axis(ctx, value, position)
        first, last = start, stop
    assert isinstance(first, int) and isinstance(last, int)
    return _cut(op, ctx, value, position, first, last, output)


def _cut(op: Op, ctx: Context, value: Value, position: int, start: int, stop: int, output: int) -> Value:
    """[start, stop) of the outermost axis of a dimension."""
    axis, *inner = value.known_dims[position]
    new = Axis(stop - start, str(stop - start))
    rest = (new, *inner) if stop - start != 1 else tuple(inner)
    dims: Dims = (*value.known_dims[:position], rest, *value.known_dims[position + 1 :])
    around: Dims = (*value.known_dims[:position], (new, *inner), *value.known_dims[position + 1 :])
    array = cut(ctx.b, value.array, axis, start, stop, new)
    parts = None
    if value.parts is not None and value.parts.axis is axis:
        pieces = pieces_between(ctx.b, value.parts, start, stop)
        array = replace(join(ctx.b, pieces, new, around), price=0.0) if pieces else array
        parts = Parts(new, tuple(pieces)) if len(pieces) > 1 else None
    elif value.parts is not None:
        sub_pieces = [(s, cut(ctx.b, a, axis, start, stop, new)) for s, a in value.parts.pieces]
        parts = replace(value.parts, pieces=tuple(sub_pieces), apart=())
    terms = value.terms and value.terms.each(lambda a: cut(ctx.b, a, axis, start, stop, new))
    return ctx.result(op, dims, array, parts=parts, terms=terms, output=output)


def _whole_axis(ctx: Context, value: Value, position: int) -> Value:
    """The value with a dimension of one axis there, which need not be stored."""
    if not value.known_dims[position]:
        unit = (Axis(1),)
        return replace(value, dims=(*value.known_dims[:position], unit, *value.known_dims[position + 1 :]))
    return fuse(ctx.b, value, position)


def slice_(op: Op, ctx: Context) -> Derived:
    """The pieces that [start, end) falls on, in each axis that is cut."""
    value = op.data
    if value.dims is None:
        return Refused("the rank of the input is unknown")
    starts, ends = op.integers(1, "starts"), op.extents(2, "ends")
    axes, steps = op.integers(3, "axes"), op.integers(4, "steps")
    for given in (starts, ends, axes, steps):
        if isinstance(given, Refused):
            return given
    assert isinstance(starts, list) and isinstance(ends, list)
    axes = axes if isinstance(axes, list) else list(range(len(starts)))
    if isinstance(steps, list) and any(s != 1 for s in steps):
        return _stepped(op, ctx, starts, ends, [a % len(value.known_dims) for a in axes], steps)
    for axis, start, end in zip(axes, starts, ends, strict=True):
        position = axis % len(value.known_dims)
        extent = extent_of(value.known_dims[position])
        if start == 0 and (end == extent or (isinstance(end, int) and end >= 2**31 - 1)):
            continue
        if isinstance(extent, Poly) and (start, end) == (0, 1) and (row := _row_0(value, position)) is not None:
            value = row
            continue
        if isinstance(extent, Poly) and len(axes) == 1 and not any(map(ctx.is_candidate, value.known_dims[position])):
            return _of_some_length(op, ctx, position)
        if isinstance(extent, Poly):
            return Refused(f"Slice of an axis of extent {extent}, which is not a number")
        if not isinstance(end, int):
            return Refused(f"Slice up to {end}, which is not a number")
        first, last, _ = slice(start, end).indices(extent)
        if (first, last) != (0, extent):
            if last <= first:
                return Refused("Slice of nothing")
            value = _take(op, ctx, value, position, first, last)
    return [replace(value, name=op.name)]


def _row_0(value: Value, position: int) -> Value | None:
    """Row 0 of what is stored as row 0: one, or none without candidates."""
    (axis, *inner) = value.known_dims[position]
    rows = value.array.state(axis)
    if inner or not isinstance(rows, IndexMap) or rows.index is not None:
        return None
    row = Axis(rows.rows, str(rows.rows))
    via = tuple((a, m) for a, m in value.array.via if a is not axis)
    array = Array(value.array.tensor, renamed(value.array.layout, {axis: (row,)}), via)
    dims = renamed(value.known_dims, {axis: (row,)})
    return replace(value, dims=dims, array=array, parts=None, terms=None, content=None, written=None)


def _of_some_length(op: Op, ctx: Context, position: int) -> Derived:
    """The last step of so many: the original node, along that axis; how many are left has a name of its own."""
    left = symbol(name := f"{op.name}.{position}")
    dims = list(op.data.known_dims)
    dims[position] = dim(left, name)
    derived = run_along(op, ctx, [position], [(tuple(dims), op.data.dtype)], op.inputs[1:])
    if not isinstance(derived, Refused):
        tensor = derived[0].array.tensor
        ctx.providers.setdefault(name, (tensor, tensor.known_shape.index(left)))
    return derived


def _stepped(op: Op, ctx: Context, starts: list[int], ends: list[Extent], axes: list[int], steps: list[int]) -> Derived:
    """Backwards, or every other one: the original node, along the axes that it cuts."""
    dims = list(op.data.known_dims)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        extent = extent_of(dims[axis])
        if isinstance(extent, Poly) or isinstance(end, Poly):
            return Refused(f"Slice with a step of an axis of extent {extent}, which is not a number")
        dims[axis] = dim(len(range(*bounded(start, end, step, extent).indices(extent))))
    return run_along(op, ctx, axes, [(tuple(dims), op.data.dtype)], op.inputs[1:])


def split(op: Op, ctx: Context) -> Derived:
    """The pieces that each output falls on."""
    value = op.data
    if value.dims is None:
        return Refused("the rank of the input is unknown")
    position = op.axis % len(value.dims)
    extent = extent_of(value.dims[position])
    count = len(op.proto.output)
    given = op.input(1)
    widths: list[Extent | None]
    if given is not None:
        widths = [None] * count if given.content is None else list(given.content.flat)
    elif (attribute := op.attribute("split")) is not None:
        widths = list(attribute)
    elif isinstance(extent, int):
        size = -(-extent // count)
        widths = [min(size, extent - size * i) for i in range(count)]
    else:
        widths = [divide(extent, count)] * count
    inner = extent_of(value.dims[position][1:])
    outermost = extent if isinstance(extent, int) else divide(extent, inner)  # of (F L) it is F that is cut
    if isinstance(outermost, Poly) or any(
        w is None or not isinstance(w if isinstance(extent, int) else divide(w, inner), int) for w in widths
    ):
        return Refused(f"Split of an axis of extent {extent} into widths that are not numbers")
    if any(w == 0 for w in widths):
        return Refused("Split into nothing")
    out: list[Value] = []
    start: Extent = 0
    for i, width in enumerate(widths):
        assert width is not None
        out.append(_take(op, ctx, value, position, start, start + width, i))
        start = start + width
    return out


def select(op: Op, ctx: Context, value: Value, position: int, indices: list[int], scalar: bool) -> list[Value] | None:
    """Gather by constant indices: pieces in another order, or one row; None where it is a lookup like any other."""
    extent = extent_of(value.known_dims[position])
    if not isinstance(extent, int):
        return None
    indices = [i % extent for i in indices]
    if scalar:
        taken = _take(op, ctx, value, position, indices[0], indices[0] + 1)
        dims = taken.known_dims
        return [replace(taken, dims=dims[:position] + dims[position + 1 :])]
    runs: list[list[int]] = []
    for i in indices:
        if runs and runs[-1][-1] + 1 == i:
            runs[-1].append(i)
        else:
            runs.append([i])
    if len(runs) == 1:
        return [_take(op, ctx, value, position, runs[0][0], runs[0][-1] + 1)]
    whole = _whole_axis(ctx, value, position)
    picked = _reordered(op, ctx, whole, position, indices) or _entries(op, ctx, value, whole, position, indices)
    if picked is not None:
        ctx.picked[picked[0].array.tensor] = Picked(whole, whole.known_dims[position][0], tuple(indices))
    return picked


def _entries(
    op: Op, ctx: Context, all_pairs: Value, value: Value, position: int, indices: list[int]
) -> list[Value] | None:
    """Entries of a product of rows in parts; `value` has both its axes as one."""
    since = ctx.b.count
    new = Axis(len(indices), str(len(indices)))
    parts = pairs.entries(ctx, all_pairs, position, indices, new)
    if parts is None:
        return None
    array = pick(ctx, value.array, value.known_dims, position, indices, new)
    array = replace(array, price=ctx.pair_products[all_pairs.array.tensor].price + ctx.price([array.tensor], since))
    dims = (*value.known_dims[:position], (new,), *value.known_dims[position + 1 :])
    if len(parts.pieces) == 1:
        ((sub, only),) = parts.pieces
        array = min(array, replace(sub_array({sub: new}, only), price=parts.price), key=lambda a: a.price)
        return [ctx.result(op, dims, array)]
    return [ctx.result(op, dims, array, parts=parts)]


def _reordered(op: Op, ctx: Context, value: Value, position: int, indices: list[int]) -> list[Value] | None:
    """Columns of parts in any order, as often as they are wanted: one Gather for each set of stored axes."""
    axis, parts = value.known_dims[position][0], value.parts
    edges = None if parts is None or parts.axis is not axis else bounds(parts)
    if parts is None or edges is None:
        return None
    since = ctx.b.count
    new = Axis(len(indices), str(len(indices)))
    pieces: dict[int, tuple[Axis, Array]] = {}
    for members in groups([array.names() - {(sub, "stored")} for sub, array in parts.pieces]).values():
        columns = [c for k in members for c in range(edges[k], edges[k + 1])]
        offset = {c: n for n, c in enumerate(columns)}
        mine = [j for j, i in enumerate(indices) if i in offset]
        if not mine:
            continue
        sub, array = merge(ctx.b, [parts.pieces[k] for k in members], axis, value.known_dims)
        chosen = Axis(len(mine), new.name)
        own = renamed(value.known_dims, {axis: (sub,)})
        picked = pick(ctx, array, own, position, [offset[indices[j]] for j in mine], chosen)
        start = 0
        for n in range(1, len(mine) + 1):
            if n == len(mine) or mine[n] != mine[n - 1] + 1:
                run = Axis(n - start, new.name)
                pieces[mine[start]] = (run, cut(ctx.b, picked, chosen, start, n, run))
                start = n
    dims = (*value.known_dims[:position], (new,), *value.known_dims[position + 1 :])
    ordered = tuple(pieces[j] for j in sorted(pieces))
    price = parts.price + ctx.price([a.tensor for _, a in ordered], since)
    if len(ordered) == 1:
        ((whole, array),) = ordered
        return [ctx.result(op, dims, sub_array({whole: new}, array))]
    array = pick(ctx, value.array, value.known_dims, position, indices, new)
    array = replace(array, price=value.array.price + ctx.price([array.tensor], since))
    return [ctx.result(op, dims, array, parts=Parts(new, ordered, price))]


def pick(ctx: Context, array: Array, dims: Dims, position: int, indices: list[int], new: Axis) -> Array:
    """Columns of the one axis of a dimension, as the axis `new`."""
    axis = dims[position][0]
    if array.state(axis) == "absent":
        return array
    if axis.extent == 1:
        return replace(array, layout=renamed(array.layout, {axis: ()}))
    if indices == list(range(indices[0], indices[-1] + 1)):
        return cut(ctx.b, array, axis, indices[0], indices[-1] + 1, new)
    # However the dimensions are called now: x[:, places] is exported as Transpose, GatherND and Transpose.
    alone = (axis,) in array.layout
    tensor, layout = (array.tensor, array.layout) if alone else natural(ctx.b, array, dims)
    taken = ctx.columns(tensor, indices, layout.index((axis,)) if alone else position)
    return Array(taken, renamed(layout, {axis: (new,)}), array.via, array.price)
