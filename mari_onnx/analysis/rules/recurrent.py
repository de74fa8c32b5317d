"""Operators with a batch dimension of their own: GRU, LSTM, RNN, Conv.

    GRU(x, h0)    runs on one row where x and h0 have one; what one of them has, the others get
    Conv(x, w)    lacks the axes of the batch that x lacks

Holds when the batches of a cell's inputs are proven equal, and spatial extents are numbers. Everything but the batch is
written out first. Rounding: none.
"""

from __future__ import annotations

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.ir.arrays import alike, fill, natural, plain, stored_shape
from mari_onnx.ir.axes import Axis, Dims, Refused, broadcast, dim, flat
from mari_onnx.ir.broadcasting import result_via
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.forms import Array
from mari_onnx.ir.renaming import fresh, rename_value

BATCHED = {0: 1, 4: 0, 5: 1, 6: 1}
"""Where the batch is, in each input of a recurrent cell that has one."""


def recurrent(op: Op, ctx: Context) -> Derived:
    """X [length, batch, width] -> Y [length, directions, batch, hidden], Y_h and Y_c [directions, batch, hidden]."""
    if op.attribute("layout", 0):
        return Refused(f"{op.op_type} with layout = 1")
    if op.data.dims is None or any(v is not None and v.dims is None for v in op.inputs):
        return Refused("the rank of an input is unknown")
    # What is batch in one input may be width in another: the transposed product of a square, say.
    named = {i: v for i, v in enumerate(op.inputs) if v is not None and i in BATCHED}
    given = {i: fresh(ctx.b, v) if i else v for i, v in named.items()}
    aligned = broadcast([(v.known_dims[BATCHED[i]],) for i, v in given.items()])
    if isinstance(aligned, Refused):
        return aligned
    (batch,), names = aligned
    values = {i: rename_value(ctx.b, v, n) for (i, v), n in zip(given.items(), names, strict=True)}
    arrays = {
        i: fill(ctx.b, v.array, v.known_dims, [a for a in flat(v.known_dims) if a not in batch])
        for i, v in values.items()
    }
    rows = dict(
        zip(arrays, alike(ctx.b, list(arrays.values()), [values[i].known_dims for i in arrays], batch), strict=True)
    )
    tensors: list[Tensor | None] = []
    for i, value in enumerate(op.inputs):
        if value is None:
            tensors.append(None)
        elif i in rows:
            tensors.append(natural(ctx.b, rows[i], values[i].known_dims)[0])
        else:
            tensors.append(plain(ctx.b, value))
    via = result_via(list(rows.values()), list(batch))
    hidden = dim(op.attribute("hidden_size"))
    directions = dim(2 if op.attribute("direction") == b"bidirectional" else 1)
    length = values[0].known_dims[0]
    state: Dims = (directions, batch, hidden)
    outputs: list[Dims] = [(length, *state), state, state][: len(op.proto.output)]
    present = {a for a in batch if any(array.state(a) != "absent" for array in rows.values())}
    layouts = [tuple(tuple(a for a in d if a not in batch or a in present) for d in dims) for dims in outputs]
    results = ctx.again(op, tensors, [stored_shape(lay, via) for lay in layouts], [op.data.dtype] * len(outputs))
    return [
        ctx.result(op, dims, Array(t, layout, via), output=i)
        for i, (t, layout, dims) in enumerate(zip(results, layouts, outputs, strict=True))
    ]


def conv(op: Op, ctx: Context) -> Derived:
    """X [batch, channels, ...] with constant weights; the spatial extents must be numbers."""
    x, w = op.data, op.inputs[1]
    if x.dims is None or w is None or w.dims is None:
        return Refused("the rank of an input of Conv is unknown")
    spatial = [d[0].extent if len(d) == 1 else 1 if not d else None for d in x.dims[2:]]
    kernel = [d[0].extent if d else 1 for d in w.dims[2:]]
    lengths, n = [e for e in spatial if isinstance(e, int)], len(spatial)
    if len(lengths) < n or not all(isinstance(e, int) for e in kernel):
        return Refused("Conv with spatial extents that are not numbers")
    pads, strides = op.attribute("pads", [0] * 2 * n), op.attribute("strides", [1] * n)
    dilations = op.attribute("dilations", [1] * n)
    if op.attribute("auto_pad", b"NOTSET").startswith(b"SAME"):  # as many as the strides leave, however it is padded
        out = [-(-s // stride) for s, stride in zip(lengths, strides, strict=True)]
    else:
        out = [
            (s + pads[i] + pads[n + i] - dilations[i] * (k - 1) - 1) // strides[i] + 1
            for i, (s, k) in enumerate(zip(lengths, kernel, strict=True))
        ]
    array = fill(ctx.b, x.array, x.dims, [a for d in x.dims[1:] for a in d])
    tensor, layout = natural(ctx.b, array, x.dims)
    features = tuple(Axis(a.extent, a.name) for a in w.dims[0])
    dims: Dims = (x.dims[0], features, *(dim(e) for e in out))
    stored = (layout[0], *dims[1:])
    rest = [None if v is None else plain(ctx.b, v) for v in op.inputs[1:]]
    result = ctx.again(op, [tensor, *rest], [stored_shape(stored, array.via)], [x.dtype])[0]
    return [ctx.result(op, dims, Array(result, stored, array.via))]
