"""Rows that a mask selects, and their way back: NonZero, and ScatterND to the places that NonZero gives.

    x[mask]                lacks the axes that x lacks (see `lookup`)
    y = x, y[mask] = u     is Where(mask, u, x), if u is known for every row of x

Exporters write boolean indexing in this way, and libraries use boolean indexing to leave out empty histories. The
updates u are known for every row of x in two cases: all rows of u are one row of the request, or the rows of u were
selected by the same mask. Example: only candidates with a known brand (`mask`) get the row u of the user. All other
candidates keep x.

Holds for a mask of one dimension, and for a mask that repeats along all dimensions but the first. A result is also
computed for rows that the mask leaves out, and is not used; what operators would fail on there is replaced (see
`surplus_rows`). Rounding: none.
"""

from __future__ import annotations

from dataclasses import replace

from mari_onnx.analysis.context import BOOL, INT64, Context, Derived, Op
from mari_onnx.analysis.facts import Selection
from mari_onnx.analysis.rules.elementwise import Elementwise, with_forms
from mari_onnx.ir.arrays import plain, sub_array
from mari_onnx.ir.axes import Axis, Dims, Refused, Renaming, broadcast, dim, extent_of, extents, renamed
from mari_onnx.ir.axes import reshape as recut
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import product, symbol
from mari_onnx.ir.forms import Array, IndexMap, Value
from mari_onnx.ir.renaming import fresh, rename_value


def nonzero(op: Op, ctx: Context) -> Derived:
    """NonZero: the places where a mask is true, as [rank, places].

    The mask selects `rows` of its first dimension. Every place of the other dimensions, whose extents are `within`, is
    listed for each selected row. Refused if the mask differs along another dimension than the first.
    """
    if not op.data.dims:
        return Refused("NonZero of a number, or of an input of unknown rank")
    lead, *rest = op.data.dims
    if any(op.data.array.state(a) != "absent" for d in rest for a in d):
        return Refused("NonZero of a mask that differs along more than its first dimension")
    mask = op.data.with_dims((lead,))
    read, within = plain(ctx.b, mask), extents(tuple(rest))
    # Another NonZero of the same mask selects the same rows.
    before = (known.rows for known in ctx.facts.selections.values() if known.index.node.inputs[0] is read)
    rows = next(before, symbol(f"{op.name}.rows"))
    if rest:
        index = ctx.b.make("NonZero", [read], (1, rows), INT64)
        shape = (len(op.data.dims), index.known_shape[1] * product(within))
        tensor = ctx.again(op, [plain(ctx.b, op.data)], [shape], [INT64])[0]
    else:
        tensor = index = ctx.again(op, [read], [(1, rows)], [INT64])[0]
    selected = ctx.facts.selections.setdefault(tensor, Selection(mask, index, index.known_shape[1], within))
    if selected.rows == rows:
        ctx.providers.setdefault(str(rows), (index, 1))
        ctx.cost.assume(str(rows), (extent_of(lead),))
    places = (Axis(selected.rows, str(selected.rows)), *(Axis(a.extent, a.name) for d in rest for a in d))
    dims: Dims = (dim(len(op.data.dims)), places)
    return [ctx.result(op, dims, Array(tensor, dims), dtype=INT64)]


def scatter_nd(op: Op, ctx: Context) -> Derived:
    """ScatterND to the places of a mask, as Where(mask, updates, data): selected rows are put back in their places.

    Refused if the places are not those of a mask, and if the updates are known for the selected rows alone.
    """
    data, indices, updates = (v for v in op.inputs if v is not None)
    if data.dims is None or updates.dims is None or (selection := ctx.facts.selection(indices)) is None:
        return Refused("ScatterND to places that are computed, and are not those of a mask")
    if op.attribute("reduction", b"none") != b"none":
        return Refused("ScatterND that adds to what is there")
    shape, updates = extents(data.dims), fresh(ctx.b, updates)  # the updates may have an axis of the data elsewhere
    cut = recut(updates.known_dims, (selection.rows, *shape[1:]))
    if cut is None or shape[1 : 1 + len(selection.within)] != selection.within:
        return Refused("ScatterND of rows that are not proven to be those of its target")
    (rows, *inner), split = cut
    mask = selection.mask.with_dims((*selection.mask.known_dims, *((),) * (len(shape) - 1)))
    aligned = broadcast([data.dims, mask.known_dims, ((), *inner)])
    if isinstance(aligned, Refused) or aligned[0][0] != data.dims[0] or len(data.dims[0]) != 1 or len(rows) != 1:
        return Refused("ScatterND of rows that are not proven to be those of its target")
    updates = rename_value(ctx.b, updates, split)
    array = _put_back(ctx, updates.array, selection, rows[0], data.dims[0][0])
    if array is None:
        return Refused("ScatterND of rows that are known for the selected ones alone")
    dims, names = aligned
    since = ctx.b.count
    updates = Value("", (data.dims[0], *inner), updates.dtype, array)
    values = [rename_value(ctx.b, v, n) for v, n in zip((data, mask, updates), names, strict=True)]

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        old, where, new = arrays
        if mask.dtype != BOOL:
            where = pointwise(
                ctx.b, [where], [len(out)], out, lambda ts, shape: ctx.b.make("Cast", ts, shape, BOOL, to=BOOL)
            )
        return pointwise(
            ctx.b,
            [where, new, old],
            [len(out)] * 3,
            out,
            lambda ts, shape: ctx.b.make("Where", ts, shape, data.dtype),
        )

    return [with_forms(op, ctx, Elementwise(values, dims, data.dtype, run), since)]


def _put_back(ctx: Context, array: Array, selection: Selection, rows: Axis, target: Axis) -> Array | None:
    """An array of the selected `rows` as an array of all rows of the axis `target`; the other rows are arbitrary.

    None if the array has the selected rows alone.
    """
    match array.state(rows):
        case "stored":
            return None
        case IndexMap(index=Tensor() as index, rows=extent):
            via = tuple((a, m) for a, m in array.via if a is not rows)
            places = ctx.b.reshape(selection.index, (selection.rows,))
            source, by = index.node.inputs if index.op_type == "Gather" else (None, None)
            if index is places and extent == target.extent:
                array = replace(array, via=via)
            elif by is places and source is not None and source.shape == (target.extent,):
                # The array has rows of requests, and the index `source` has a request for every row of the target.
                array = replace(array, via=(*via, (rows, IndexMap(source, extent))))
            else:
                return None
    return sub_array({rows: target}, array)
