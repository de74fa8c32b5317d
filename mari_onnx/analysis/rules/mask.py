"""Rows that a mask selects, and their way back: NonZero, and ScatterND to where NonZero says.

    x[mask]                lacks the axes that x lacks (see `lookup`)
    y = x, y[mask] = u     is Where(mask, u, x), where u is known for each row of x: what the request has once, or
                           rows that were taken from there by the same mask

This is how exporters write boolean indexing, by which libraries leave empty histories out. Example: only candidates
with a known brand (`mask`) are compared with the user's brands, by one row u of the user. All others keep x.

Holds for a mask of one dimension, or one that says the same along all others. For rows that the mask leaves out, a
result is computed and not used; lookups, which could fail on such a row, are done for the selected rows alone.
Rounding: none.
"""

from __future__ import annotations

from dataclasses import replace

from mari_onnx.analysis.context import BOOL, INT64, Context, Derived, Op
from mari_onnx.analysis.facts import Selection
from mari_onnx.analysis.rules.elementwise import Elementwise, with_forms
from mari_onnx.ir.axes import Axis, Dims, Refused, Renaming, broadcast, dim, extent_of, extents, renamed
from mari_onnx.ir.axes import reshape as recut
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import product, symbol
from mari_onnx.ir.forms import Array, IndexMap, Value
from mari_onnx.ir.layout import fresh, plain, rename_value, sub_array
from mari_onnx.ir.unbatch import pointwise


def nonzero(op: Op, ctx: Context) -> Derived:
    """The places [rank, rows * within] where a mask is true.

    They are the selected `rows` of the first dimension, each with every place of the other dimensions, `within`.
    """
    if not op.data.dims:
        return Refused("NonZero of a number, or of an input of unknown rank")
    lead, *rest = op.data.dims
    if any(op.data.array.state(a) != "absent" for d in rest for a in d):
        return Refused("NonZero of a mask that differs along more than its first dimension")
    mask = replace(op.data, dims=(lead,))
    rows, within = symbol(f"{op.name}.rows"), extents(tuple(rest))
    if rest:
        index = ctx.b.make("NonZero", [plain(ctx.b, mask)], (1, rows), INT64)
        shape = (len(op.data.dims), rows * product(within))
        tensor = ctx.again(op, [plain(ctx.b, op.data)], [shape], [INT64])[0]
    else:
        tensor = index = ctx.again(op, [plain(ctx.b, mask)], [(1, rows)], [INT64])[0]
    selected = ctx.facts.selections.setdefault(tensor, Selection(mask, index, index.known_shape[1], within))
    if selected.rows == rows:
        ctx.providers.setdefault(str(rows), (index, 1))
        ctx.cost.reference.setdefault(str(rows), ctx.cost.elements((extent_of(lead),)))
    places = (Axis(selected.rows, str(selected.rows)), *(Axis(a.extent, a.name) for d in rest for a in d))
    dims: Dims = (dim(len(op.data.dims)), places)
    return [ctx.result(op, dims, Array(tensor, dims), dtype=INT64)]


def scatter_nd(op: Op, ctx: Context) -> Derived:
    """ScatterND to the places of a mask is Where(mask, updates, data): selected rows are put back where they were."""
    data, indices, updates = (v for v in op.inputs if v is not None)
    if data.dims is None or updates.dims is None or (selection := ctx.facts.selection(indices)) is None:
        return Refused("ScatterND to places that are computed, and are not those of a mask")
    if op.attribute("reduction", b"none") != b"none":
        return Refused("ScatterND that adds to what is there")
    shape, updates = extents(data.dims), fresh(ctx.b, updates)  # rows of a square may be its columns as well
    cut = recut(updates.known_dims, (selection.rows, *shape[1:]))
    if cut is None or shape[1 : 1 + len(selection.within)] != selection.within:
        return Refused("ScatterND of rows that are not proven to be those of its target")
    (rows, *inner), split = cut
    mask = replace(selection.mask, dims=(*selection.mask.known_dims, *((),) * (len(shape) - 1)), content=None)
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
    """An array of selected rows as one of all rows, whose other rows are arbitrary; None where only those are known."""
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
                # rows of requests, which an index has for every row of the target
                array = replace(array, via=(*via, (rows, IndexMap(source, extent))))
            else:
                return None
    return sub_array({rows: target}, array)
