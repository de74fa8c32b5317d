"""The Attention operator, with heads, masks and caches: softmax(q k^T + mask) v.

    Attention(q, k, v)                       lacks the candidates where q, k and v do
    Attention(q (B S D), k (L D), v (L D))   is one attention with rows q ((B S) D): candidates become rows

B are the candidates, S the queries of each candidate, L the keys and D the width. Example: one query for each of 500
candidates meets the 50 steps of one user's history. The exported model reads the keys 500 times. As 500 rows of one
attention, the queries read the keys once.

Holds when the batches of all inputs are proven equal. The second identity needs keys and values of one request, and
rows whose results do not depend on their positions. So it does not hold with `is_causal`, with windows, with a cache or
with lengths for each row; a mask is written out for all rows. All dimensions but the batch are written out first.
GroupQueryAttention of com.microsoft is a causal Attention where it has no cache and its lengths are proven to be those
of the whole sequence; rotations and sinks of its own are left as they are. Attention of com.microsoft projects its one
input to queries, keys and values, and is one attention for what lacks the candidates. Rounding: none, but for the order
in which a runtime adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import helper

from mari_onnx.analysis.context import FLOAT, Context, Derived, Op
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules.attention_parts import projected, written_out
from mari_onnx.analysis.surplus_rows import harmless
from mari_onnx.ir.arrays import alike, fill, lay, natural, one_row, stored_shape
from mari_onnx.ir.axes import Dim, Dims, Refused, broadcast, dim, extent_of, flat
from mari_onnx.ir.broadcasting import result_via
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.operators import ONNXRUNTIME
from mari_onnx.ir.renaming import fresh, rename_value

Q, K, V, MASK, PAST_KEY, PAST_VALUE, LENGTHS, BIAS, TOTAL, WEIGHT, KEPT = range(11)
"""The roles of inputs: queries, keys, values, and so on; of `KEPT` are the tokens that a mask leaves."""

PROJECTING = (Q, WEIGHT, BIAS, KEPT)
"""The roles of the inputs of com.microsoft's Attention, whose first one is projected to queries, keys and values."""

ROLES = {
    "Attention": (Q, K, V, MASK, PAST_KEY, PAST_VALUE, LENGTHS),
    "MultiHeadAttention": (Q, K, V, BIAS, None, MASK),
    "GroupQueryAttention": (Q, K, V, None, None, LENGTHS, TOTAL),
}
"""The roles of the inputs of the others, by their positions; None for an input that is not supported."""

BATCHED = (Q, K, V, PAST_KEY, PAST_VALUE, LENGTHS, KEPT)
"""The inputs whose first dimension is always the batch."""

SEES_ROWS = {"is_causal": 0, "unidirectional": 0, "left_window_size": -1, "right_window_size": -1}
"""Attributes that make the result for a row depend on the row's position, each with the value that turns it off."""

PLAIN: Mapping[str, Sequence[Any]] = {
    "do_rotary": (0,),
    "rotary_interleaved": (0, 1),
    "causal": (1,),
    "smooth_softmax": (-1, 0),
    "qk_output": (0,),
}
"""Attributes of GroupQueryAttention with which it is a causal Attention."""

TAKEN_OVER = ("num_heads", "kv_num_heads", "scale", "softcap", "local_window_size")
"""Attributes of GroupQueryAttention that Attention has as well, if under another name."""


def _roles(op: Op) -> Sequence[int | None]:
    """The role of each input, by its position; None for an input that is not supported."""
    projects = op.op_type == "Attention" and op.proto.domain == ONNXRUNTIME
    return PROJECTING if projects else ROLES[op.op_type]


@dataclass(frozen=True)
class _Inputs:
    """The inputs of an attention by role: their values, and the array of each value that is read.

    `batch` is the batch dimension, whose axes are the same in all inputs.
    """

    op: Op
    ctx: Context
    values: Mapping[int, Value]
    arrays: Mapping[int, Array]
    batch: Dim

    def dims(self, role: int) -> Dims:
        return self.values[role].known_dims

    def tensor(self, role: int, array: Array) -> Tensor:
        """The tensor of an array for the input in this role: it has the rank of the input."""
        return natural(self.ctx.b, array, self.dims(role))[0]

    def in_order(self, tensors: Mapping[int, Tensor]) -> Sequence[Tensor | None]:
        """The tensors in the order of the operator's inputs; None for an input that is left out."""
        roles = _roles(self.op)[: len(self.op.inputs)]
        return [None if role is None else tensors.get(role) for role in roles]

    def varies(self, array: Array) -> bool:
        """Whether the array is stored along an axis of the batch."""
        return any(array.state(a) != "absent" for a in self.batch)


def attention(op: Op, ctx: Context) -> Derived:
    """Attention and MultiHeadAttention: on the batch axes that any input has, or with the candidates as rows."""
    since = ctx.b.count
    inputs = _inputs(op, ctx)
    if isinstance(inputs, Refused):
        return inputs
    outputs = _outputs(op, inputs)
    if isinstance(outputs, Refused):
        return outputs
    inputs = _written_out(inputs)
    results = _on_own_batch(inputs, outputs)
    rows = _as_rows(inputs, outputs[0])
    if rows is not None:
        as_rows, as_given = (natural(ctx.b, array, outputs[0])[0] for array in (rows, results[0]))
        if ctx.cost.price([as_rows], since) < ctx.cost.price([as_given], since):
            results = [rows]
    values = [
        ctx.result(op, dims, array, output=i)
        for i, (dims, array) in enumerate(zip(outputs, results, strict=True))
        if op.proto.output[i]
    ]
    values = _or_written_out(op, ctx, inputs, values, since)
    # The scores q k^T and the weighted sum of v are two products.
    keys = sum((extent_of(inputs.dims(role)[-2]) for role in (K, PAST_KEY) if role in inputs.values), start=0)
    length = keys * 2
    explain_product(op, ctx, values[0].changed(array=results[0]), inputs.values[Q], length, since)
    return values


def grouped_queries(op: Op, ctx: Context) -> Derived:
    """GroupQueryAttention, where it is a causal Attention; what else it computes is left as it is."""
    refused = _unlike_attention(op, ctx)
    return attention(op, ctx) if refused is None else refused


def _unlike_attention(op: Op, ctx: Context) -> Refused | None:
    """Why a GroupQueryAttention is no causal Attention over all tokens of each row of the batch; None if it is one.

    Rows behind a length that is shorter than the sequence hold what the runtime left there.
    """
    if any(v is not None and v.dims is None for v in op.inputs):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    window, cap = op.attribute("local_window_size", -1), op.attribute("softcap", 0.0)
    odd = [name for name, a in op.attributes.items() if name not in TAKEN_OVER and a not in PLAIN.get(name, ())]
    if odd or window < -1 or window == 0 or cap < 0:
        what = odd[0] if odd else "softcap" if cap < 0 else "local_window_size"
        return Refused(f"{op.op_type} with `{what}` of {op.attribute(what)}")
    if [i for i, v in enumerate(op.inputs) if v is not None] != [0, 1, 2, 5, 6]:
        return Refused(f"{op.op_type} with a cache, of packed inputs, or with more than queries, keys and values")
    q, k, v, _, _, lengths, _ = (op.input(i) for i in range(7))
    assert q is not None and k is not None and v is not None and lengths is not None
    if any(len(x.known_dims) != 3 or x.dtype != FLOAT for x in (q, k, v)):
        return Refused(f"{op.op_type} of heads that are no columns, or not of float32")
    rows, known = extent_of(q.known_dims[1]), ctx.intervals.of(lengths.array.tensor)
    if rows != extent_of(k.known_dims[1]) or rows != extent_of(v.known_dims[1]) or not isinstance(rows, int):
        return Refused(f"{op.op_type} of lengths that are not proven equal, or are no numbers")
    if not known.is_known or np.any(known.low != rows - 1):
        return Refused(f"{op.op_type} whose `seqlens_k` is not proven to be {rows - 1}, the last token, in all rows")
    return None


def _as_attention(op: Op) -> Op:
    """The standard's operator that a GroupQueryAttention stands for; any other as it is."""
    if op.op_type != "GroupQueryAttention":
        return op
    left = max(op.attribute("local_window_size", -1) - 1, -1)
    proto = helper.make_node(
        "Attention", op.proto.input[:3], op.proto.output, op.proto.name,
        q_num_heads=op.attribute("num_heads"), kv_num_heads=op.attribute("kv_num_heads"), is_causal=1,
        scale=op.attribute("scale", 0.0), softcap=op.attribute("softcap", 0.0), left_window_size=left,
    )  # fmt: skip
    return Op(proto, op.inputs[:3], op.opset)


def _or_written_out(op: Op, ctx: Context, inputs: _Inputs, whole: list[Value], since: int) -> list[Value]:
    """The results, also as products where the keys are in parts along the sequence (see `attention_parts`)."""
    given = [inputs.values.get(role) for role in (Q, K, V, MASK, PAST_KEY, PAST_VALUE)]
    unlike = {LENGTHS, BIAS} & set(inputs.values) and op.op_type != "GroupQueryAttention"
    others = None if unlike else written_out(_as_attention(op), ctx, given)
    if others is None:
        return whole
    inherited = sum(value.array.price for value in inputs.values.values())
    return [_either(ctx, one, other, since, inherited) for one, other in zip(whole, others, strict=True)]


def _either(ctx: Context, whole: Value, other: Value, since: int, inherited: float) -> Value:
    """One value of two that hold the same: the cheaper array, and the parts of the other."""
    array = priced(ctx.cost, whole.array, since, inherited)
    aligned = broadcast([whole.known_dims, other.known_dims])
    assert not isinstance(aligned, Refused), "both have the shape of the node's output"
    _, (of_whole, of_other) = aligned
    whole = rename_value(ctx.b, whole.changed(array=array), of_whole)
    other = rename_value(ctx.b, other, of_other)
    return whole.changed(array=min(whole.array, other.array, key=lambda a: a.price), parts=other.parts)


def _inputs(op: Op, ctx: Context) -> _Inputs | Refused:
    """The inputs by role. Refused if an input has no known role, or if the batches are not proven equal."""
    if any(v is not None and v.dims is None for v in op.inputs):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    roles = _roles(op)
    named = {i: v for i, v in enumerate(op.inputs) if v is not None}
    if any(i >= len(roles) or roles[i] is None for i in named):
        return Refused(f"{op.op_type} with lengths of the keys, or with a cache")
    # An axis that is the batch of one input may be the length of another, so each input gets new axes.
    given = {r: fresh(ctx.b, named[i]) if i else named[i] for i, r in enumerate(roles) if r is not None and i in named}
    fused = roles is PROJECTING or op.op_type == "MultiHeadAttention"
    if not {Q, K, V} & set(roles) <= set(given) or (fused and len(op.proto.output) > 1):
        return Refused(f"{op.op_type} of packed keys and values, or with a cache")
    with_batch = [i for i, v in given.items() if i in BATCHED or (i == MASK and len(v.known_dims) == 4)]
    aligned = broadcast([(given[i].known_dims[0],) for i in with_batch])
    if isinstance(aligned, Refused):
        return aligned
    (batch,), names = aligned
    if batch and not all(given[i].known_dims[0] for i in with_batch if i in BATCHED):
        # Keys of 1 row are no keys for each of B queries: the model only runs where B is 1, whatever B rows stand for.
        return Refused(
            f"the batches of the inputs of {op.op_type} are 1 and {extent_of(batch)}",
            "expand the inputs to one batch before the node",
        )
    given |= {i: rename_value(ctx.b, given[i], n) for i, n in zip(with_batch, names, strict=True)}
    return _Inputs(op, ctx, given, {i: v.array for i, v in given.items()}, batch)


def _written_out(inputs: _Inputs) -> _Inputs:
    """The inputs with all axes written out, except the axes of the batch."""
    arrays = {
        role: fill(inputs.ctx.b, v.array, v.known_dims, [a for a in flat(v.known_dims) if a not in inputs.batch])
        for role, v in inputs.values.items()
    }
    return replace(inputs, arrays=arrays)


def _outputs(op: Op, inputs: _Inputs) -> list[Dims] | Refused:
    """The dims of the outputs: of y, of both caches and of the scores, as many as the node has."""
    q, k, v = (inputs.dims(role) for role in (Q, K, V))
    of_k: Dims
    of_v: Dims
    if len(q) == 3:
        heads = op.attribute("q_num_heads", 0) or op.attribute("num_heads", 0)
        groups = op.attribute("kv_num_heads", 0) or op.attribute("num_heads", 0)
        widths = [extent_of(d[-1]) for d in (q, k, v)]
        if not heads or not groups or not all(isinstance(w, int) for w in widths):
            return Refused(f"{op.op_type} of widths or numbers of heads that are not known")
        size_k, size_v = (int(str(w)) // groups for w in widths[1:])
        y: Dims = (inputs.batch, q[1], dim(heads * size_v))
        of_q, of_k, of_v = dim(heads), (dim(groups), k[1], dim(size_k)), (dim(groups), v[1], dim(size_v))
    else:
        y = (inputs.batch, q[1], q[2], v[3])
        of_q, of_k, of_v = q[1], k[1:], v[1:]
    past = extent_of(inputs.dims(PAST_KEY)[-2]) if PAST_KEY in inputs.values else 0
    total = extent_of(of_k[1]) + past
    caches: list[Dims] = [(inputs.batch, d[0], dim(total, str(total)), d[2]) for d in (of_k, of_v)]
    scores: Dims = (inputs.batch, of_q, q[-2], dim(total, str(total)))
    return [y, *caches, scores][: len(op.proto.output)]


def _on_own_batch(inputs: _Inputs, outputs: list[Dims]) -> list[Array]:
    """The original node, with all inputs on the same batch: without the batch axes that every input lacks."""
    op, ctx, batch = inputs.op, inputs.ctx, inputs.batch
    # A mask that is the same for all of the batch broadcasts.
    batched = [i for i, array in inputs.arrays.items() if i != MASK or inputs.varies(array)]
    same = alike(ctx.b, [inputs.arrays[i] for i in batched], [inputs.dims(i) for i in batched], batch)
    arrays = {**inputs.arrays, **dict(zip(batched, same, strict=True))}
    if LENGTHS in arrays:
        arrays[LENGTHS] = harmless(op, ctx, _roles(op).index(LENGTHS), arrays[LENGTHS], inputs.dims(LENGTHS))
    tensors = inputs.in_order({i: inputs.tensor(i, arrays[i]) for i in inputs.values})
    via = result_via([arrays[Q]], list(batch))
    present = {a for a in batch if arrays[Q].state(a) != "absent"}
    layouts = [tuple(tuple(a for a in d if a not in batch or a in present) for d in dims) for dims in outputs]
    shapes = [stored_shape(layout, via) for layout in layouts]
    results = ctx.again(op, tensors, shapes, [op.data.dtype] * len(outputs))
    return [Array(t, layout, via) for t, layout in zip(results, layouts, strict=True)]


def _as_rows(inputs: _Inputs, y: Dims) -> Array | None:
    """The queries of all candidates as rows of one attention; None if the keys or values differ between candidates.

    `y` are the dims of the result.
    """
    op, ctx, q = inputs.op, inputs.ctx, inputs.arrays[Q]
    if not _rows_are_independent(inputs):
        return None
    k, v = (one_row(ctx.b, inputs.arrays[i], inputs.batch) for i in (K, V))
    if inputs.varies(k) or inputs.varies(v) or not inputs.varies(q):
        return None
    tensors = {i: inputs.tensor(i, array) for i, array in ((K, k), (V, v))}
    if BIAS in inputs.values:
        tensors[BIAS] = lay(ctx.b, inputs.arrays[BIAS], inputs.dims(BIAS))
    if MASK in inputs.values:
        mask = _mask_of_rows(inputs)
        if mask is None:
            return None
        tensors[MASK] = mask
        q = fill(ctx.b, q, inputs.dims(Q), inputs.batch)
    merged = tuple(a for a in (*inputs.batch, *inputs.dims(Q)[-2]) if q.state(a) != "absent")

    def layout(dims: Dims) -> Dims:
        return ((), *dims[1:-2], merged, dims[-1])

    tensors[Q] = lay(ctx.b, q, layout(inputs.dims(Q)))
    shape = stored_shape(layout(y), q.via)
    result = ctx.again(op, inputs.in_order(tensors), [shape], [op.data.dtype])[0]
    return Array(result, layout(y), q.via)


def _rows_are_independent(inputs: _Inputs) -> bool:
    """Whether the result for a query depends only on the query, its mask, the keys and the values."""
    op = inputs.op
    if len(op.proto.output) > 1 or not set(inputs.values) <= {Q, K, V, MASK, BIAS}:
        return False
    return all(op.attribute(name, default) == default for name, default in SEES_ROWS.items())


def _mask_of_rows(inputs: _Inputs) -> Tensor | None:
    """The mask [1, heads, (B S), L], with the candidates as rows; None if it cannot be aligned with the queries."""
    mask, sequence = inputs.values[MASK], inputs.dims(Q)[-2]
    mask = mask.with_dims((*((),) * (4 - len(mask.known_dims)), *mask.known_dims))
    aligned = broadcast([(inputs.batch, sequence), (mask.known_dims[0], mask.known_dims[2])])
    if isinstance(aligned, Refused) or aligned[1][0]:
        return None
    mask = rename_value(inputs.ctx.b, mask, aligned[1][1])
    rows = (inputs.batch, mask.known_dims[1], sequence, mask.known_dims[3])
    array = fill(inputs.ctx.b, mask.array, rows, [*inputs.batch, *sequence, *rows[3]])
    return lay(inputs.ctx.b, array, ((), rows[1], (*inputs.batch, *sequence), rows[3]))


def self_attention(op: Op, ctx: Context) -> Derived:
    """Attention of the domain com.microsoft, which also projects: on the batch axes that its input or its mask has."""
    since, (x, weight) = ctx.b.count, op.inputs[:2]
    if x is None or x.dims is None or len(x.dims) != 3 or weight is None or weight.dims is None:
        return Refused("Attention of an input of unknown rank")
    sizes, width = op.attribute("qkv_hidden_sizes"), extent_of(weight.known_dims[1])
    if not isinstance(width, int):
        return Refused("Attention of widths that are not numbers")
    inputs = _inputs(op, ctx)
    if isinstance(inputs, Refused):
        return inputs
    inputs = _written_out(inputs)
    q = inputs.dims(Q)
    out = (inputs.batch, q[1], dim(sizes[2] if sizes else width // 3))
    whole = ctx.result(op, out, _on_own_batch(inputs, [out])[0])
    other = projected(op, ctx, [inputs.values.get(role) for role in PROJECTING], sizes or [width // 3] * 3)
    inherited = sum(value.array.price for value in inputs.values.values())
    return [whole if other is None else _either(ctx, whole, other, since, inherited)]
