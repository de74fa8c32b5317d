"""Recurrent cells, whose batch dimension is not the first one: GRU, LSTM and RNN.

    GRU(x, h0)    lacks the axes of the batch that x, h0 and the lengths all lack

Example: a GRU over the user's history, which the model repeats for each candidate, runs once for the request. If h0 is
the candidate's, x is written out for all candidates.

Holds when the batches of a cell's inputs are proven equal. All dimensions but the batch are written out first.
Rounding: none.
"""

from __future__ import annotations

from collections.abc import Mapping

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.surplus_rows import harmless
from mari_onnx.ir.arrays import alike, fill, natural, plain, stored_shape
from mari_onnx.ir.axes import Dim, Dims, Refused, broadcast, dim, flat
from mari_onnx.ir.broadcasting import result_via
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import fresh, rename_value

LENGTHS = 4

BATCHED = {0: 1, LENGTHS: 0, 5: 1, 6: 1}
"""The dimension of the batch, by the position of the input: X, sequence_lens, initial_h and initial_c have one."""


def recurrent(op: Op, ctx: Context) -> Derived:
    """GRU, LSTM and RNN, on the batch axes that any input is stored along.

    X [length, batch, width] gives Y [length, directions, batch, hidden], and Y_h and Y_c [directions, batch, hidden].
    Refused for layout = 1, and if the batches of the inputs are not proven equal.
    """
    if op.attribute("layout", 0):
        return Refused(f"{op.op_type} with layout = 1")
    if op.data.dims is None or any(v is not None and v.dims is None for v in op.inputs):
        return Refused("the rank of an input is unknown")
    aligned = _with_common_batch(op, ctx)
    if isinstance(aligned, Refused):
        return aligned
    values, batch = aligned
    rows = _rows(op, ctx, values, batch)
    tensors = [
        None if v is None else natural(ctx.b, rows[i], values[i].known_dims)[0] if i in rows else plain(ctx.b, v)
        for i, v in enumerate(op.inputs)
    ]
    via = result_via(list(rows.values()), list(batch))
    outputs = _outputs(op, values[0].known_dims[0], batch)
    present = {a for a in batch if any(array.state(a) != "absent" for array in rows.values())}
    layouts = [tuple(tuple(a for a in d if a not in batch or a in present) for d in dims) for dims in outputs]
    shapes = [stored_shape(layout, via) for layout in layouts]
    results = ctx.again(op, tensors, shapes, [op.data.dtype] * len(outputs))
    return [
        ctx.result(op, dims, Array(t, layout, via), output=i)
        for i, (t, layout, dims) in enumerate(zip(results, layouts, outputs, strict=True))
    ]


def _with_common_batch(op: Op, ctx: Context) -> tuple[dict[int, Value], Dim] | Refused:
    """The inputs with a batch, by their positions, with common axes in the batch dimension; and this dimension."""
    # An axis may be the batch of one input and the width of another, so each further input gets new axes.
    present = {i: v for i, v in enumerate(op.inputs) if v is not None and i in BATCHED}
    values = {i: fresh(ctx.b, v) if i else v for i, v in present.items()}
    aligned = broadcast([(v.known_dims[BATCHED[i]],) for i, v in values.items()])
    if isinstance(aligned, Refused):
        return aligned
    (batch,), names = aligned
    return {i: rename_value(ctx.b, v, n) for (i, v), n in zip(values.items(), names, strict=True)}, batch


def _rows(op: Op, ctx: Context, values: Mapping[int, Value], batch: Dim) -> dict[int, Array]:
    """The inputs, written out in every dimension but the batch, and stored along the same axes of the batch."""
    arrays = [
        fill(ctx.b, v.array, v.known_dims, [a for a in flat(v.known_dims) if a not in batch]) for v in values.values()
    ]
    rows = dict(zip(values, alike(ctx.b, arrays, [v.known_dims for v in values.values()], batch), strict=True))
    if LENGTHS in rows:
        rows[LENGTHS] = harmless(op, ctx, LENGTHS, rows[LENGTHS], values[LENGTHS].known_dims)
    return rows


def _outputs(op: Op, length: Dim, batch: Dim) -> list[Dims]:
    """The dims of Y, Y_h and Y_c, as many as the node has."""
    hidden = dim(op.attribute("hidden_size"))
    directions = dim(2 if op.attribute("direction") == b"bidirectional" else 1)
    state: Dims = (directions, batch, hidden)
    return [(length, *state), state, state][: len(op.proto.output)]
