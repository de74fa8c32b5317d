"""Selecting entries within each row: GatherElements, ScatterElements, ReverseSequence, GatherND with batch dimensions.

    GatherElements(x, i)         lacks the axes that x and i both lack, in every dimension but the selected one
    ScatterElements(x, i, u)     lacks the axes that x, i and u all lack, in every dimension but the selected one
    GatherND(x (b ...), i (b k)) lacks the axes of b that x and i both lack, and further axes that x or i lacks
    ReverseSequence(x, lengths)  lacks the batch axes that x and lengths both lack, and further axes that x lacks

These operators do not broadcast. If one input has an axis of a common dimension and another lacks the axis, the other
is written out along the axis. Example: GatherElements selects the user's scores (L), which are the same for all
candidates. By indices (B k) the result has B rows. By indices (k), which are the user's as well, it has one row.

Holds when the extents of common dimensions are proven equal. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.surplus_rows import harmless, never_without_rows
from mari_onnx.ir.arrays import alike, fill, natural, stored_shape
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, extent_of, refine
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import fresh, rename_value


@dataclass(frozen=True)
class Rows:
    """Inputs whose common dimensions are stored along the same axes.

    Each input has an entry in each list: its value, its array, its tensor at the input's rank, and the tensor's layout.
    """

    values: list[Value]
    arrays: list[Array]
    tensors: list[Tensor]
    layouts: list[Dims]


def gather_elements(op: Op, ctx: Context) -> Derived:
    """GatherElements: entries along one dimension, on the axes that x or the indices have in the other dimensions."""
    x, indices = op.data, op.inputs[1]
    if x.dims is None or indices is None or indices.dims is None or len(x.dims) != len(indices.dims):
        return Refused("the rank of an input of GatherElements is unknown")
    axis = op.axis % len(x.dims)
    ctx.note_selected_rows(x, indices, axis)
    rows = _in_common(op, ctx, [x, indices], [(i, i) for i in range(len(x.dims)) if i != axis], [[axis]] * 2)
    return rows if isinstance(rows, Refused) else _result(op, ctx, rows, 1)


def scatter_elements(op: Op, ctx: Context) -> Derived:
    """ScatterElements: new entries along one dimension, on the axes that any input has in the other dimensions."""
    values = [v for v in op.inputs if v is not None]
    if any(v.dims is None or len(v.dims) != len(values[0].known_dims) for v in values):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    rank = len(values[0].known_dims)
    axis = op.axis % rank
    rows = _in_common(op, ctx, values, [(i,) * 3 for i in range(rank) if i != axis], [[axis]] * 3)
    return rows if isinstance(rows, Refused) else _result(op, ctx, rows, 0)


def reverse_sequence(op: Op, ctx: Context) -> Derived:
    """ReverseSequence: in each row, the first `lengths` entries along the time dimension in reverse order."""
    x, lengths = op.data, op.inputs[1]
    if x.dims is None or lengths is None or lengths.dims is None:
        return Refused("the rank of an input of ReverseSequence is unknown")
    batch, time = (op.attribute(name, default) for name, default in (("batch_axis", 1), ("time_axis", 0)))
    rows = _in_common(op, ctx, [x, lengths], [(batch, 0)], [[time], []])
    return rows if isinstance(rows, Refused) else _result(op, ctx, rows, 0)


def gather_nd(op: Op, ctx: Context) -> Derived:
    """GatherND: entries or rows, which are selected independently for each position of the batch dimensions."""
    data, indices = op.data, op.inputs[1]
    assert indices is not None
    batch_dims, width = op.attribute("batch_dims", 0), extent_of(indices.known_dims[-1])
    if not isinstance(width, int):
        return Refused("GatherND by as many indices as the model computes")
    selected = range(batch_dims, batch_dims + width)
    last = len(indices.known_dims) - 1
    rows = _in_common(op, ctx, [data, indices], [(i, i) for i in range(batch_dims)], [selected, [last]])
    if isinstance(rows, Refused):
        return rows
    (x, i), (x_layout, i_layout) = rows.values, rows.layouts
    dims = (*i.known_dims[:-1], *x.known_dims[batch_dims + width :])
    layout = (*i_layout[:-1], *x_layout[batch_dims + width :])
    present = {a for d in layout for a in d}
    via = tuple((a, m) for a, m in {**dict(rows.arrays[0].via), **dict(rows.arrays[1].via)}.items() if a in present)
    tensor = ctx.again(op, rows.tensors, [stored_shape(layout, via)], [data.dtype])[0]
    return [ctx.result(op, dims, Array(tensor, layout, via))]


def _in_common(
    op: Op, ctx: Context, values: list[Value], common: list[tuple[int, ...]], written: Sequence[Sequence[int]]
) -> Rows | Refused:
    """The inputs, stored along the same axes in the dimensions that they have in common.

    Each entry of `common` is one such dimension: its position in each input. Input i is also written out along the
    dimensions `written[i]`. Refused if the extents of a common dimension are not proven equal.
    """
    # An axis of one input may be an axis of another input in another dimension. New axes keep them apart.
    out = [values[0], *(fresh(ctx.b, v) for v in values[1:])]
    for k in range(1, len(out)):
        names: dict[Axis, Dim] = {}
        for positions in common:
            left, right = out[0].known_dims[positions[0]], out[k].known_dims[positions[k]]
            refined = refine(left, right)
            if refined is None or refined[1]:
                return Refused(
                    f"{op.op_type} of inputs whose extents {extent_of(left)} and {extent_of(right)} may differ"
                )
            names.update(refined[2])
        out[k] = rename_value(ctx.b, out[k], names)
    shared = [a for positions in common for a in out[0].known_dims[positions[0]]]
    arrays = [
        fill(ctx.b, v.array, v.known_dims, [a for i in positions for a in v.known_dims[i]])
        for v, positions in zip(out, written, strict=True)
    ]
    arrays = alike(ctx.b, arrays, [v.known_dims for v in out], shared)
    arrays[1] = harmless(op, ctx, 1, arrays[1], out[1].known_dims)
    laid = [natural(ctx.b, array, v.known_dims) for array, v in zip(arrays, out, strict=True)]
    tensors = [t for t, _ in laid]
    if op.op_type in ("GatherElements", "GatherND"):
        tensors[0] = never_without_rows(ctx, tensors[0], arrays[1], out[1].known_dims, written[0])
    return Rows(out, arrays, tensors, [layout for _, layout in laid])


def _result(op: Op, ctx: Context, rows: Rows, like: int) -> Derived:
    """The node's result, which has the shape of input `like`."""
    layout, via = rows.layouts[like], rows.arrays[like].via
    tensor = ctx.again(op, rows.tensors, [stored_shape(layout, via)], [op.data.dtype])[0]
    return [ctx.result(op, rows.values[like].known_dims, Array(tensor, layout, via))]
