"""Entries that indices name, in each row by itself: GatherElements, ScatterElements, GatherND with batch dimensions.

    GatherElements(x, i)         lacks the axes that x and i both lack, along all dimensions but one
    ScatterElements(x, i, u)     likewise, where u lacks them too
    GatherND(x (b ...), i (b k)) lacks those of b that both lack, those that i has, and those of x that are taken whole
    ReverseSequence(x, lengths)  lacks what x and the lengths both lack, and all but two of the dimensions of x

What one input has and another lacks along a common dimension is written out: these operators do not broadcast. Example:
GatherElements of the user's scores (L), the same for all candidates, by indices (B k) has B rows; by indices of the
user (k) it has one.

Holds when common extents are proven equal. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, extent_of, refine
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.layout import alike, fill, fresh, rename_value
from mari_onnx.ir.unbatch import natural, stored_shape


@dataclass(frozen=True)
class Rows:
    """Inputs with their common dimensions stored alike: for each its value, its array, and a tensor with its layout."""

    values: list[Value]
    arrays: list[Array]
    tensors: list[Tensor]
    layouts: list[Dims]


def gather_elements(op: Op, ctx: Context) -> Derived:
    """Entries along one axis: on the other axes that the value and its indices have."""
    x, indices = op.data, op.inputs[1]
    if x.dims is None or indices is None or indices.dims is None or len(x.dims) != len(indices.dims):
        return Refused("the rank of an input of GatherElements is unknown")
    axis = op.axis % len(x.dims)
    ctx.note_selected_rows(x, indices, axis)
    rows = _in_common(op, ctx, [x, indices], [(i, i) for i in range(len(x.dims)) if i != axis], [[axis]] * 2)
    return rows if isinstance(rows, Refused) else _result(op, ctx, rows, 1)


def scatter_elements(op: Op, ctx: Context) -> Derived:
    """Entries along one axis that are replaced, or added to: on the other axes that any input has."""
    values = [v for v in op.inputs if v is not None]
    if any(v.dims is None or len(v.dims) != len(values[0].known_dims) for v in values):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    rank = len(values[0].known_dims)
    axis = op.axis % rank
    rows = _in_common(op, ctx, values, [(i,) * 3 for i in range(rank) if i != axis], [[axis]] * 3)
    return rows if isinstance(rows, Refused) else _result(op, ctx, rows, 0)


def reverse_sequence(op: Op, ctx: Context) -> Derived:
    """The first entries along the dimension of time, as many as the lengths say, the other way round."""
    x, lengths = op.data, op.inputs[1]
    if x.dims is None or lengths is None or lengths.dims is None:
        return Refused("the rank of an input of ReverseSequence is unknown")
    batch, time = (op.attribute(name, default) for name, default in (("batch_axis", 1), ("time_axis", 0)))
    rows = _in_common(op, ctx, [x, lengths], [(batch, 0)], [[time], []])
    return rows if isinstance(rows, Refused) else _result(op, ctx, rows, 0)


def gather_nd(op: Op, ctx: Context) -> Derived:
    """Entries or rows, in each member of the leading dimensions by itself."""
    data, indices = op.data, op.inputs[1]
    assert indices is not None
    shared, width = op.attribute("batch_dims", 0), extent_of(indices.known_dims[-1])
    if not isinstance(width, int):
        return Refused("GatherND by as many indices as the model computes")
    own = range(shared, shared + width)
    last = len(indices.known_dims) - 1
    rows = _in_common(op, ctx, [data, indices], [(i, i) for i in range(shared)], [own, [last]])
    if isinstance(rows, Refused):
        return rows
    (x, i), (x_layout, i_layout) = rows.values, rows.layouts
    dims = (*i.known_dims[:-1], *x.known_dims[shared + width :])
    layout = (*i_layout[:-1], *x_layout[shared + width :])
    present = {a for d in layout for a in d}
    via = tuple((a, m) for a, m in {**dict(rows.arrays[0].via), **dict(rows.arrays[1].via)}.items() if a in present)
    tensor = ctx.again(op, rows.tensors, [stored_shape(layout, via)], [data.dtype])[0]
    return [ctx.result(op, dims, Array(tensor, layout, via))]


def _in_common(
    op: Op, ctx: Context, values: list[Value], common: list[tuple[int, ...]], own: Sequence[Sequence[int]]
) -> Rows | Refused:
    """The inputs, each with the dimensions `own[i]` written out, and stored alike in those that they have in common.

    Each entry of `common` is one dimension that the inputs share: its position in each of them.
    """
    # What is one dimension here may be another there.
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
        fill(ctx.b, v.array, v.known_dims, [a for i in mine for a in v.known_dims[i]])
        for v, mine in zip(out, own, strict=True)
    ]
    arrays = alike(ctx.b, arrays, [v.known_dims for v in out], shared)
    laid = [natural(ctx.b, array, v.known_dims) for array, v in zip(arrays, out, strict=True)]
    return Rows(out, arrays, [t for t, _ in laid], [layout for _, layout in laid])


def _result(op: Op, ctx: Context, rows: Rows, like: int) -> Derived:
    """The node's result, which has the shape of input `like`."""
    layout, via = rows.layouts[like], rows.arrays[like].via
    tensor = ctx.again(op, rows.tensors, [stored_shape(layout, via)], [op.data.dtype])[0]
    return [ctx.result(op, rows.values[like].known_dims, Array(tensor, layout, via))]
