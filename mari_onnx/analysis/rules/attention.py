"""The Attention operator, with heads, masks and caches: softmax(q k^T + mask) v.

    Attention(q, k, v)                       lacks the candidates where q, k and v do
    Attention(q (B S D), k (L D), v (L D))   is one attention with rows q ((B S) D): candidates become rows

Holds when batches are proven equal; the second for keys and values of one request. With it the keys are read once, and
not once for each candidate. Rows do not see each other, so it does not hold with `is_causal`, with windows, with a
cache or with lengths for each row; a mask is written out for the rows. Everything but the batch is written out first.
Rounding: none, but for the order in which a runtime adds.
"""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.ir.arrays import alike, fill, lay, natural, one_row, stored_shape
from mari_onnx.ir.axes import Dim, Dims, Refused, broadcast, dim, extent_of, flat
from mari_onnx.ir.broadcasting import result_via
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import fresh, rename_value

Q, K, V, MASK, PAST_KEY, PAST_VALUE, LENGTHS, BIAS = range(8)
"""What each input is."""

ROLES = {
    "Attention": (Q, K, V, MASK, PAST_KEY, PAST_VALUE, LENGTHS),
    "MultiHeadAttention": (Q, K, V, BIAS, None, MASK),
}
BATCHED = (Q, K, V, PAST_KEY, PAST_VALUE, LENGTHS)
SEES_ROWS = {"is_causal": 0, "unidirectional": 0, "left_window_size": -1, "right_window_size": -1}
"""Attributes by which a row depends on where it is, and what says that they do not."""


def attention(op: Op, ctx: Context) -> Derived:
    """On the batches that its inputs have, or with the candidates as rows."""
    if any(v is not None and v.dims is None for v in op.inputs):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    since = ctx.b.count
    # What is batch in one input may be length in another.
    roles = ROLES[op.op_type]
    named = {i: v for i, v in enumerate(op.inputs) if v is not None}
    if any(i >= len(roles) or roles[i] is None for i in named):
        return Refused(f"{op.op_type} with lengths of the keys, or with a cache")
    # What is batch in one input may be length in another.
    given = {r: fresh(ctx.b, named[i]) if i else named[i] for i, r in enumerate(roles) if r is not None and i in named}
    if not {Q, K, V} <= set(given) or (op.op_type != "Attention" and len(op.proto.output) > 1):
        return Refused(f"{op.op_type} of packed keys and values, or with a cache")
    with_batch = [i for i, v in given.items() if i in BATCHED or (i == MASK and len(v.known_dims) == 4)]
    aligned = broadcast([(given[i].known_dims[0],) for i in with_batch])
    if isinstance(aligned, Refused):
        return aligned
    (batch,), names = aligned
    given |= {i: rename_value(ctx.b, given[i], n) for i, n in zip(with_batch, names, strict=True)}
    outputs = _outputs(op, given, batch)
    if isinstance(outputs, Refused):
        return outputs
    arrays = {
        i: fill(ctx.b, v.array, v.known_dims, [a for a in flat(v.known_dims) if a not in batch])
        for i, v in given.items()
    }
    results = _alike(op, ctx, given, arrays, batch, outputs)
    rows = _as_rows(op, ctx, given, arrays, batch, outputs[0])
    if rows is not None:
        tensors = [natural(ctx.b, array, outputs[0])[0] for array in (rows, results[0])]
        if ctx.price(tensors[:1], since) < ctx.price(tensors[1:], since):
            results = [rows]
    values = [
        ctx.result(op, dims, array, output=i)
        for i, (dims, array) in enumerate(zip(outputs, results, strict=True))
        if op.proto.output[i]
    ]
    # Scores and their sums: two products.
    length = extent_of(given[K].known_dims[-2]) * 2
    explain_product(op, ctx, values[0].changed(array=results[0]), given[Q], length, since)
    return values


def _outputs(op: Op, given: dict[int, Value], batch: Dim) -> list[Dims] | Refused:
    """The dims of y, of the caches and of the scores, as many as there are."""
    q, k, v = (given[i].known_dims for i in (Q, K, V))
    of_k: Dims
    of_v: Dims
    if len(q) == 3:
        heads = op.attribute("q_num_heads", 0) or op.attribute("num_heads", 0)
        groups = op.attribute("kv_num_heads", 0) or op.attribute("num_heads", 0)
        widths = [extent_of(d[-1]) for d in (q, k, v)]
        if not heads or not groups or not all(isinstance(w, int) for w in widths):
            return Refused(f"{op.op_type} of widths or numbers of heads that are not known")
        size_k, size_v = (int(str(w)) // groups for w in widths[1:])
        y: Dims = (batch, q[1], dim(heads * size_v))
        of_q, of_k, of_v = dim(heads), (dim(groups), k[1], dim(size_k)), (dim(groups), v[1], dim(size_v))
    else:
        y = (batch, q[1], q[2], v[3])
        of_q, of_k, of_v = q[1], k[1:], v[1:]
    past = extent_of(given[PAST_KEY].known_dims[-2]) if PAST_KEY in given else 0
    total = extent_of(of_k[1]) + past
    caches: list[Dims] = [(batch, d[0], dim(total, str(total)), d[2]) for d in (of_k, of_v)]
    scores: Dims = (batch, of_q, q[-2], dim(total, str(total)))
    return [y, *caches, scores][: len(op.proto.output)]


def _alike(
    op: Op, ctx: Context, given: dict[int, Value], arrays: dict[int, Array], batch: Dim, outputs: list[Dims]
) -> list[Array]:
    """All inputs on the same batch, which is that of the original but for axes that all of them lack."""
    # A mask for all of the batch broadcasts.
    own = [i for i in arrays if i != MASK or any(arrays[i].state(a) != "absent" for a in batch)]
    same = alike(ctx.b, [arrays[i] for i in own], [given[i].known_dims for i in own], batch)
    arrays = arrays | dict(zip(own, same, strict=True))
    tensors = _in_order(op, {i: natural(ctx.b, arrays[i], v.known_dims)[0] for i, v in given.items()})
    via = result_via([arrays[Q]], list(batch))
    present = {a for a in batch if arrays[Q].state(a) != "absent"}
    layouts = [tuple(tuple(a for a in d if a not in batch or a in present) for d in dims) for dims in outputs]
    shapes = [stored_shape(layout, via) for layout in layouts]
    results = ctx.again(op, tensors, shapes, [op.data.dtype] * len(outputs))
    return [Array(t, layout, via) for t, layout in zip(results, layouts, strict=True)]


def _as_rows(
    op: Op, ctx: Context, given: dict[int, Value], arrays: dict[int, Array], batch: Dim, y: Dims
) -> Array | None:
    """Queries of all candidates as rows of one attention, if keys and values are the same for all of them."""
    if len(op.proto.output) > 1 or not set(given) <= {Q, K, V, MASK, BIAS}:
        return None
    if any(op.attribute(name, default) != default for name, default in SEES_ROWS.items()):
        return None
    q = arrays[Q]
    k, v = (one_row(ctx.b, arrays[i], batch) for i in (K, V))
    if any(array.state(a) != "absent" for array in (k, v) for a in batch):
        return None
    if all(q.state(a) == "absent" for a in batch):
        return None
    sequence = given[Q].known_dims[-2]
    tensors = {i: natural(ctx.b, a, given[i].known_dims)[0] for i, a in ((K, k), (V, v))}
    if BIAS in given:
        tensors[BIAS] = lay(ctx.b, arrays[BIAS], given[BIAS].known_dims)
    if MASK in given:
        mask = given[MASK]
        mask = mask.with_dims((*((),) * (4 - len(mask.known_dims)), *mask.known_dims))
        aligned = broadcast([(batch, sequence), (mask.known_dims[0], mask.known_dims[2])])
        if isinstance(aligned, Refused) or aligned[1][0]:
            return None
        mask = rename_value(ctx.b, mask, aligned[1][1])
        rows = (batch, mask.known_dims[1], sequence, mask.known_dims[3])
        q = fill(ctx.b, q, given[Q].known_dims, batch)
        array = fill(ctx.b, mask.array, rows, [*batch, *sequence, *rows[3]])
        tensors[MASK] = lay(ctx.b, array, ((), rows[1], (*batch, *sequence), rows[3]))
    merged = tuple(a for a in (*batch, *sequence) if q.state(a) != "absent")

    def layout(dims: Dims) -> Dims:
        return ((), *dims[1:-2], merged, dims[-1])

    tensors[Q] = lay(ctx.b, q, layout(given[Q].known_dims))
    shape = stored_shape(layout(y), q.via)
    result = ctx.again(op, _in_order(op, tensors), [shape], [op.data.dtype])[0]
    return Array(result, layout(y), q.via)


def _in_order(op: Op, tensors: dict[int, Tensor]) -> Sequence[Tensor | None]:
    return [None if role is None else tensors.get(role) for role in ROLES[op.op_type][: len(op.inputs)]]


def self_attention(op: Op, ctx: Context) -> Derived:
    """Attention of the domain com.microsoft, with the weights of its projections: each member of a batch by itself."""
    x, weight = op.data, op.inputs[1]
    if x.dims is None or len(x.dims) != 3 or weight is None or len(op.proto.output) > 1:
        return Refused("Attention of an input of unknown rank, or with a cache")
    width = extent_of(weight.known_dims[1])
    sizes = op.attribute("qkv_hidden_sizes")
    if not isinstance(width, int):
        return Refused("Attention of widths that are not numbers")
    out = (*x.dims[:2], dim(sizes[2] if sizes else width // 3))
    return run_along(op, ctx, [1, 2], [(out, x.dtype)], op.inputs[1:])
