"""Gather, GatherND and OneHot: lookups in tables, columns, and rows of requests.

    Gather(table, ids)             lacks the axes that the ids lack
    Gather(table, [a b])           = [Gather(table, a) Gather(table, b)], and so it is block by block (see `blocks`)
    Gather(x, [2, 0])              is columns of x (see `columns`)
    GatherND(table, ids (... 1))   = Gather(table, ids (...))
    GatherND(x, [[0, 1], [0, 2]])  is columns of x with its two leading dimensions as one
    Gather(rows, index)            is stored as `rows`, through the index: one row for each request
    rows[i][j]                     = rows[i[j]]
    Gather(x, i)                   is x with the axes of i, along which it repeats, if all rows of x are the same
    OneHot(ids)                    lacks the axes that the ids lack

Example: ids = Concat(user_ids (1 20), item_ids (B 5)) are looked up in one table. The user's 20 rows are looked up once
and the item's B times, and the result is in the same two parts.

Holds for a table that is a constant, or a computed value; a computed one is written out along the dimension that is
looked up. Rounding: none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from mari_onnx.analysis.context import INT64, Context, Derived, Op
from mari_onnx.analysis.facts import Selection
from mari_onnx.analysis.picking import Places, pick
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.rules import blocks, elements
from mari_onnx.analysis.rules.selected import place, select
from mari_onnx.analysis.surplus_rows import harmless, never_without_rows
from mari_onnx.analysis.tiled_inputs import remember_lookup_as_sent
from mari_onnx.ir.arrays import fill, lay, natural, plain, stored_shape, sub_array
from mari_onnx.ir.axes import Axis, Dims, Refused, Renaming, dim, extent_of, extents, flat, renamed, require_proof
from mari_onnx.ir.expressions import fold
from mari_onnx.ir.extents import Poly, claimed, product
from mari_onnx.ir.forms import Array, IndexMap, Value
from mari_onnx.ir.part_by_part import part_by_part
from mari_onnx.ir.renaming import fresh, fuse

STRING_BY_STRING = "look the strings up before they are gathered, or gather along the last axis"


def gather(op: Op, ctx: Context) -> Derived:
    """Gather, as a selection of columns, as rows of requests, or as a lookup in a table."""
    data, indices = op.data, op.inputs[1]
    assert indices is not None
    if not data.dims or indices.dims is None:  # or the data is a number, and the node does not run
        return Refused("the rank of an input of Gather is unknown")
    if 0 in extents(indices.dims):  # stored without that dimension, an index would be looked up, and may be too large
        return Refused("Gather looks nothing up: its indices have an extent of 0")
    axis = op.axis % len(data.dims)
    if data.dtype == TensorProto.STRING and product(extents(data.dims[axis + 1 :])) != 1:
        return Refused(
            "Gather of several strings at once, of which onnxruntime gives the first alone", STRING_BY_STRING
        )
    if not data.constant and (not data.dims[axis] or any(indices.dims)) and _same_rows(ctx, data, axis):
        return [_any_row(op, data, indices.dims, axis)]
    chosen = None if len(indices.dims) > 1 else _numbers(ctx, indices)
    if chosen is not None and chosen.size:
        selected = select(op, ctx, data, axis, chosen.flatten().tolist(), scalar=not indices.dims)
        if selected is not None:
            return selected
    index = indices.content.item() if not indices.dims and indices.content is not None else None
    if isinstance(index, Poly) and (selected := place(op, ctx, data, axis, index)) is not None:
        return selected
    if axis == 0 and _by_request(data, indices):
        return [_through(op, ctx, data, indices)]
    ctx.note_selected_rows(data, indices, axis)
    return _lookup(op, ctx, data, indices, axis)


def _numbers(ctx: Context, indices: Value) -> npt.NDArray[np.int64] | None:
    """The indices, if they are the same in every call; None if the model computes them."""
    if indices.content is not None:
        known = all(type(i) is int for i in indices.content.flat)
        return indices.content.astype(np.int64) if known else None
    array = indices.array
    return fold(array.tensor, ctx.array_of) if array.tensor.stored and array.layout == indices.dims else None


def _same_rows(ctx: Context, data: Value, axis: int) -> bool:
    """Whether any row along the axis may stand for the one that an index names.

    Not in a body that runs on one row of the candidates: the index stays, and another row than 0 is not there. Nor
    where rows of two inputs are one dimension, each of which keeps row 0 of its own.
    """
    here = data.known_dims[axis]
    kept = [a for a in here if data.array.state(a) != "absent"]
    return data.repeats(axis) and len(kept) < 2 and not (ctx.on_one_row and any(map(ctx.is_candidate, here)))


def _any_row(op: Op, data: Value, rows: Dims, axis: int) -> Value:
    """Rows of data whose rows are all the same: the result repeats along the axes of the index, whatever that holds.

    Example: index_select(user, zeros(batch)) has the user's row for each candidate. So do the user's rows at the
    positions of a mask. An index out of range fails in the original, so its elements need not be checked.
    """
    rows = tuple(tuple(Axis(a.extent, a.name) for a in d) for d in rows)
    dims = (*data.known_dims[:axis], *rows, *data.known_dims[axis + 1 :])
    array = data.array
    carrier = next((a for d in rows for a in d), None)
    mapped = [a for a in data.known_dims[axis] if array.state(a) != "absent"]
    if mapped and carrier is not None:
        array = sub_array({mapped[0]: carrier}, array)
    value = data.with_dims(dims) if not data.known_dims[axis] else data.stored_as(array, dims)
    return value.named(op.name)


def _by_request(data: Value, indices: Value) -> bool:
    """Whether the Gather gives each candidate the row of its request.

    That is so if the indices have one axis and the data have another one, and both extents are symbols.
    """
    return (
        not data.constant
        and len(indices.known_dims) == 1
        and len(indices.known_dims[0]) == 1
        and len(data.known_dims[0]) == 1
        and isinstance(indices.known_dims[0][0].extent, Poly)
        and isinstance(data.known_dims[0][0].extent, Poly)
        and indices.array.state(indices.known_dims[0][0]) == "stored"
        and data.array.state(data.known_dims[0][0]) != "absent"
    )


def _through(op: Op, ctx: Context, data: Value, indices: Value) -> Value:
    """The rows of `data` as they are stored, one for each request. The index maps each candidate to the row."""
    axis, index = indices.known_dims[0][0], lay(ctx.b, indices.array, indices.known_dims)
    rows = data.known_dims[0][0]
    if not ctx.facts.is_selected(axis):
        ctx.note_selected_rows(data, indices, 0)
    if claimed(axis.extent) != claimed(rows.extent):
        # Rows that one index selects are rows of the same requests, and are computed together.
        require_proof(ctx.indexed.setdefault(index, rows.extent), rows.extent)
    candidates = Axis(axis.extent, axis.name)
    dims = ((candidates,), *data.known_dims[1:])
    layout = renamed(data.array.layout, {rows: (candidates,)})
    # rows[i][j] = rows[i[j]]
    through, extent = index, rows.extent
    if isinstance(before := data.array.state(rows), IndexMap) and before.index is not None:
        through, extent = ctx.b.take(before.index, index), before.rows
    via = tuple((a, m) for a, m in data.array.via if a is not rows)
    array = Array(data.array.tensor, layout, (*via, (candidates, IndexMap(through, extent))))
    return ctx.result(op, dims, array)


def gather_nd(op: Op, ctx: Context) -> Derived:
    """GatherND by constants is a selection of columns, and by numbers of rows it is a Gather along axis 0.

    Any other GatherND selects entries within each row (see `elements`).
    """
    data, indices = op.data, op.inputs[1]
    assert indices is not None
    if data.dims is None or indices.dims is None:
        return Refused("the rank of an input of GatherND is unknown")
    width = extent_of(indices.dims[-1]) if indices.dims else 0
    least = op.attribute("batch_dims", 0) + (width if isinstance(width, int) else 1)
    if not indices.dims or not data.dims or least > len(data.dims):  # runtimes load it, and do not run it
        return Refused("GatherND by more indices than there are dimensions")
    selection = ctx.facts.selection(indices)
    if selection is not None and selection.within:
        return _every_place(op, ctx, data, selection)
    if (chosen := _numbers(ctx, indices)) is not None and not op.attribute("batch_dims", 0):
        return _entries(op, ctx, data, chosen)
    if selection is None:
        ctx.note_selected_rows(data, indices, op.attribute("batch_dims", 0))
    if op.attribute("batch_dims", 0) or width != 1:
        return elements.gather_nd(op, ctx)
    rows = _rows(op, ctx, data, indices.with_dims(indices.dims[:-1]))
    return _lookup(op, ctx, data, indices, 0) if rows is None else [rows]


def _entries(op: Op, ctx: Context, data: Value, places: npt.NDArray[np.int64]) -> Derived:
    """GatherND by constants: columns of x with its leading dimensions as one. x[i, j] of x (3, 4) is column 4 i + j."""
    count = places.shape[-1]
    lead = extents(data.known_dims)[:count]
    numbers = [e for e in lead if isinstance(e, int)]
    if len(numbers) < count or places.ndim != 2:
        return Refused(f"GatherND by constants from axes of extents {', '.join(map(str, lead))}")
    flat_places = np.ravel_multi_index(tuple((places % numbers).T), numbers).tolist()
    merged = data.with_dims((tuple(flat(data.known_dims[:count])), *data.known_dims[count:]))
    selected = select(op, ctx, merged, 0, flat_places)
    if selected is not None:
        return selected
    merged = fuse(ctx.b, merged, 0)
    (new,) = chosen = dim(len(flat_places), str(len(flat_places)))
    array = pick(ctx, merged.array, merged.known_dims, Places(0, flat_places, new))
    return [ctx.result(op, (chosen, *merged.known_dims[1:]), array)]


def _rows(op: Op, ctx: Context, data: Value, indices: Value) -> Value | None:
    """GatherND by one index for each row, of rows that are all the same, or are those of requests; None of others."""
    if any(indices.known_dims) and _same_rows(ctx, data, 0):
        return _any_row(op, data, indices.known_dims, 0)
    return _through(op, ctx, data, indices) if _by_request(data, indices) else None


def _every_place(op: Op, ctx: Context, data: Value, selection: Selection) -> Derived:
    """x[mask] for a mask of x's shape that selects whole rows: the elements of the selected rows, as one dimension."""
    count = 1 + len(selection.within)
    if extents(data.known_dims)[1:count] != selection.within:
        return Refused("GatherND of some places in each of the rows that a mask selects")
    dims = (dim(selection.rows, str(selection.rows)),)
    taken = _rows(op, ctx, data, Value("", dims, INT64, Array(ctx.b.reshape(selection.index, extents(dims)), dims)))
    if taken is None:
        return Refused("GatherND of a value that does not have one row for each request")
    return [taken.with_dims((tuple(flat(taken.known_dims[:count])), *taken.known_dims[count:]))]


def _lookup(op: Op, ctx: Context, data: Value, indices: Value, axis: int) -> Derived:
    """Rows of a table: one lookup for each stored index. The result lacks the axes along which the indices repeat."""
    since = ctx.b.count
    data = fresh(ctx.b, data.stored_as(fill(ctx.b, data.array, data.known_dims, data.known_dims[axis])))
    table, stored = natural(ctx.b, data.array, data.known_dims)
    before, after = data.known_dims[:axis], data.known_dims[axis + 1 :]
    rank = len(indices.known_dims) - (op.op_type == "GatherND")  # whose ids have one more dimension, of extent 1
    dims: Dims = (*before, *indices.known_dims[:rank], *after)

    def run(arrays: list[Array], part: Renaming) -> Array:
        of_ids = renamed(indices.known_dims, part)
        rows = harmless(op, ctx, 1, arrays[0], of_ids)
        ids, layout = natural(ctx.b, rows, of_ids)
        whole, via = (*stored[:axis], *layout[:rank], *stored[axis + 1 :]), (*data.array.via, *rows.via)
        some = never_without_rows(ctx, table, rows, of_ids, [axis])
        return Array(ctx.again(op, [some, ids], [stored_shape(whole, via)], [data.dtype])[0], whole, via)

    array = priced(ctx.cost, run([indices.array], {}), since, data.array.price + indices.array.price)
    parts = part_by_part(ctx.b, [indices], dims, run)
    if parts is not None and indices.parts is not None:
        parts = priced(ctx.cost, parts, since, data.array.price + indices.parts.price)
    made = None
    if (cut := blocks.blocks_of(ctx, indices)) is not None:
        around = cut.around
        made = cut.each(lambda rows, r, c: run([rows], around(r, c)))
        made = priced(ctx.cost, made, since, data.array.price + cut.price)
    written = run([indices.written], {}) if indices.written is not None and data.constant else None
    if written is not None and parts is not None:
        remember_lookup_as_sent(ctx, written, parts, dims)
    return [ctx.result(op, dims, array, parts=parts, blocks=made).changed(written=written)]


def one_hot(op: Op, ctx: Context) -> Derived:
    """OneHot, with a new axis whose extent is the depth. Refused if the model computes the depth."""
    indices, depth, values = op.inputs
    assert depth is not None and values is not None
    if op.data.dims is None or depth.content is None or not isinstance(depth.content.item(), int):
        return Refused("the depth of OneHot is computed by the model")
    assert indices is not None
    rank = len(op.data.dims) + 1
    axis = op.axis % rank
    ids, layout = natural(ctx.b, op.data.array, op.data.dims)
    new = dim(depth.content.item())
    dims = (*op.data.dims[:axis], new, *op.data.dims[axis:])
    out = (*layout[:axis], new, *layout[axis:])
    shape = stored_shape(out, op.data.array.via)
    inputs = [ids, plain(ctx.b, depth), plain(ctx.b, values)]
    tensor = ctx.again(op, inputs, [shape], [values.dtype])[0]
    return [ctx.result(op, dims, Array(tensor, out, op.data.array.via), dtype=values.dtype)]
