"""The Attention operator over one sequence of the user's tokens and the candidates', written out as products.

    Attention(q, k, v, mask)         = Softmax(Where(mask, q k' scale, -inf)) v
    with `softcap` c                 the scores are c tanh(q k' scale / c), before they are masked
    with `is_causal`                 and of a cache of P tokens, row i sees the columns up to P + i
    with `left_window_size` w        row i sees the columns from P + i - w on, and likewise on the right
    with past keys and values        k is Concat(past, k) along the tokens, which is also an output

The rules of products, elementwise operators and Softmax find out then what a mask proves (see `rules.blocks`). Example:
the keys of the history are a cache that the caller sends, and the candidates' keys are new. The rows of all candidates
meet the cache in one product, and no copy of it is made for each of them.

Holds for the standard's operator where its scores are no output, nor have a precision of their own; for
MultiHeadAttention of com.microsoft without a bias of the projections, where it has one mask at most; and for Attention
of com.microsoft, which has the projections too. In a row whose columns are all masked the standard's operator gives 0,
where Softmax gives NaN: such a row is replaced by 0, unless it is proved that there is none. Rounding: the order in
which a runtime adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from mari_onnx.analysis.context import BOOL, FLOAT, INT64, Context, Derived, Op, Rule
from mari_onnx.analysis.rules import along
from mari_onnx.analysis.rules.along import softmax
from mari_onnx.analysis.rules.columns import slice_
from mari_onnx.analysis.rules.concat import concat
from mari_onnx.analysis.rules.elementwise import cast, elementwise
from mari_onnx.analysis.rules.product import matmul
from mari_onnx.analysis.rules.ranges import range_
from mari_onnx.analysis.without_weight import live
from mari_onnx.ir.axes import Axis, Refused, extent_of, new_dims
from mari_onnx.ir.axes import reshape as recut
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import rename_value

RANGE, LESS_OR_EQUAL = 11, 12
"""The opsets from which ONNX has Range, and LessOrEqual."""


class _StopError(Exception):
    """A step of the written-out form was refused."""


def written_out(op: Op, ctx: Context, inputs: Sequence[Value | None]) -> list[Value] | None:
    """The first outputs of Attention from products; None unless the keys are in parts along the sequence.

    `inputs` are those of the node: q [B, heads, S, d] or [B, S, heads * d]; k and v with L tokens, and maybe fewer
    heads; a mask that broadcasts to [B, heads, S, P + L]; past keys and values [B, heads of k, P, d]. The outputs are y
    and, if the node has them, the keys and values with those of the past.
    """
    if any(op.proto.output[3:]) or _is_narrow(op):
        return None
    return _made(ctx, lambda: _Steps(op, ctx).attention(*inputs))


def projected(op: Op, ctx: Context, inputs: Sequence[Value | None], sizes: Sequence[int]) -> Value | None:
    """The result of com.microsoft's Attention from products; None unless its input is in parts along the sequence.

    `inputs` are the tokens [B, L, D]; the weight [D, n] and maybe the bias [n] of queries, keys and values, which have
    `sizes` columns; and maybe the mask [B, L] or [B, L, L], which is over 0 where a token is seen.
    """
    if op.attribute("do_rotary", 0):
        return None
    made = _made(ctx, lambda: _projections(op, ctx, *inputs, sizes=sizes))
    return None if made is None else made[0]


def _made(ctx: Context, steps: Callable[[], list[Value]]) -> list[Value] | None:
    """What the steps give, without the remarks on them, which are no nodes of the original; None if one is refused."""
    if ctx.opset < RANGE:
        return None
    said = len(ctx.remarks)
    try:
        return steps()
    except _StopError:
        return None
    finally:
        del ctx.remarks[said:]


def _projections(
    op: Op,
    ctx: Context,
    x: Value | None,
    weight: Value | None,
    bias: Value | None,
    mask: Value | None,
    *,
    sizes: Sequence[int],
) -> list[Value]:
    """The nodes that com.microsoft's Attention stands for: three products, and an attention with an added mask."""
    assert x is not None and weight is not None, "tokens and weight are required"
    if x.parts is None or x.known_dims[1] != (x.parts.axis,):
        raise _StopError
    names = {name: op.attribute(name) for name in ("num_heads", "scale") if name in op.attributes}
    causal = op.attribute("unidirectional", 0)
    proto = helper.make_node("MultiHeadAttention", [x.name], op.proto.output, op.proto.name, is_causal=causal, **names)
    steps, ends = _Steps(Op(proto, (x,), op.opset), ctx), list(accumulate(sizes))
    columns = zip(("queries", "keys", "values"), (0, *ends), ends, strict=False)
    q, k, v = (steps.projection(side, x, weight, bias, slice(start, stop)) for side, start, stop in columns)
    if mask is not None:
        mask = steps.filled(mask, op.attribute("mask_filter_value", -10000.0))
    return steps.attention(q, k, v, mask)


def _is_narrow(op: Op) -> bool:
    """Whether the Softmax is asked for in fewer digits than the elements have."""
    asked = op.attribute("softmax_precision", 0) or op.data.dtype
    sizes = [helper.tensor_dtype_to_np_dtype(dtype).itemsize for dtype in (asked, op.data.dtype)]
    return sizes[0] < sizes[1]


class _Steps:
    """The nodes that an Attention stands for; each is derived by its own rule."""

    def __init__(self, op: Op, ctx: Context) -> None:
        self.op, self.ctx = op, ctx

    def attention(
        self,
        q: Value | None,
        k: Value | None,
        v: Value | None,
        mask: Value | None = None,
        past_k: Value | None = None,
        past_v: Value | None = None,
    ) -> list[Value]:
        assert q is not None and k is not None and v is not None, "queries, keys and values are required"
        one = self.op.attribute("num_heads")
        heads, groups = (self.op.attribute(name, one) for name in ("q_num_heads", "kv_num_heads"))
        merged = len(q.known_dims) == 3
        if merged:
            q, k, v = self._heads(q, heads), self._heads(k, groups), self._heads(v, groups)
        before: Extent = 0
        if past_k is not None and past_v is not None:
            before = extent_of(past_k.known_dims[2])
            k = self._step(concat, "Concat", "all_keys", past_k, k, axis=2)
            v = self._step(concat, "Concat", "all_values", past_v, v, axis=2)
        if k.parts is None or k.known_dims[2] != (k.parts.axis,):
            raise _StopError
        caches = [k, v]
        k, v = self._repeated(k, q), self._repeated(v, q)
        q, k = self._scaled("queries", q), self._scaled("keys", k)
        dims = k.known_dims
        scores = self._step(matmul, "MatMul", "scores", q, k.with_dims((*dims[:-2], dims[-1], dims[-2])))
        asking, asked = extent_of(q.known_dims[2]), extent_of(dims[2])
        if self.op.attribute("unidirectional", 0) and (mask is not None or asking != asked):
            raise _StopError  # a row may have no column: what it attends to then is the runtime's choice
        mask = self._mask(self._seen(asking, asked, before), mask, scores.dtype)
        scores = self._capped(scores)
        if mask is not None:
            scores = self._masked(scores, mask)
        weights = self._step(softmax, "Softmax", "weights", scores, axis=-1)
        if mask is not None and self.op.op_type == "Attention":
            weights = self._of_live_rows(weights, mask)
        y = self._step(matmul, "MatMul", "heads" if merged else "", weights, v)
        if merged:
            batch, of_heads, rows, columns = y.known_dims
            y = y.with_dims((batch, rows, (*of_heads, *columns)))
        names = self.op.proto.output
        return [value.named(name) for value, name in zip([y, *caches], names, strict=False) if name]

    def projection(self, side: str, x: Value, weight: Value, bias: Value | None, columns: slice) -> Value:
        """Tokens times some columns of a weight, with a bias."""
        weight = self._columns(f"weight_of_{side}", weight, columns)
        product = self._step(matmul, "MatMul", f"product_of_{side}", x, weight)
        if bias is None:
            return product
        return self._step(
            elementwise, "Add", f"biased_{side}", product, self._columns(f"bias_of_{side}", bias, columns)
        )

    def _columns(self, suffix: str, x: Value, columns: slice) -> Value:
        """Columns of a weight or a bias, which are said to come from that, as no tensor of the model has them alone."""
        bounds = (self._integers(np.array([e], object)) for e in (columns.start, columns.stop))
        return self._step(slice_, "Slice", suffix, x, *bounds, self._axes(-1)).named(x.name)

    def filled(self, mask: Value, filler: float) -> Value:
        """A mask of integers [B, L] or [B, L, L] as numbers to be added [B, 1, 1, L] or [B, 1, L, L]."""
        if len(mask.known_dims) not in (2, 3):
            raise _StopError
        zero = Value("", (), mask.dtype, Array(self.ctx.b.extents(np.array(0, object), mask.dtype), ()))
        seen = self._step(elementwise, "Greater", "kept", mask, zero)
        added = self._step(elementwise, "Where", "filled", seen, self._number(0, FLOAT), self._number(filler, FLOAT))
        batch, *rest = added.known_dims
        return added.with_dims((batch, *((),) * (3 - len(rest)), *rest))

    def _step(self, rule: Rule, op_type: str, suffix: str, *inputs: Value, **attributes: Any) -> Value:
        """The output of one node; its name is that of the Attention with a suffix."""
        name = f"{self.op.name}.{suffix}" if suffix else self.op.name
        proto = helper.make_node(op_type, [v.name for v in inputs], [name], **attributes)
        derived: Derived = rule(Op(proto, inputs, self.ctx.opset), self.ctx)
        if isinstance(derived, Refused):
            raise _StopError
        return derived[0]

    def _scaled(self, side: str, x: Value) -> Value:
        """Queries or keys times the root of the scale, which onnxruntime takes in float32, also in a float64 model."""
        width = extent_of(x.known_dims[-1])
        if not isinstance(width, int):
            raise _StopError
        # One over the root of 6, rounded once, is another number than when the root is rounded first.
        root = np.sqrt(np.float32(self.op.attribute("scale") or np.float32(1) / np.sqrt(np.float32(width))))
        return self._step(elementwise, "Mul", side, x, self._number(float(root), x.dtype))

    def _number(self, number: float, dtype: int) -> Value:
        scalar = np.array(number, helper.tensor_dtype_to_np_dtype(dtype))
        return Value("", (), dtype, Array(self.ctx.b.constant(scalar), ()))

    def _heads(self, x: Value, heads: int | None) -> Value:
        """[B, S, heads * d] as [B, heads, S, d]."""
        batch, rows, columns = x.known_dims
        width = extent_of(columns)
        if not heads or not isinstance(width, int):
            raise _StopError
        shape = [extent_of(batch), extent_of(rows), heads, width // heads]
        new = recut(x.known_dims, shape)
        if new is None:
            raise _StopError
        dims, split = new
        return rename_value(self.ctx.b, x, split).with_dims((dims[0], dims[2], dims[1], dims[3]))

    def _repeated(self, x: Value, q: Value) -> Value:
        """Keys of fewer heads than the queries: each is repeated for a group of neighbouring heads of queries."""
        batch, groups, *rest = x.known_dims
        of_q, of_x = extent_of(q.known_dims[1]), extent_of(groups)
        if of_q == of_x:
            return x
        if not isinstance(of_q, int) or not isinstance(of_x, int) or of_q % of_x:
            raise _StopError
        times = Axis(of_q // of_x, str(of_q // of_x))
        return x.with_dims((batch, (*groups, times), *rest))

    def _capped(self, scores: Value) -> Value:
        """The scores within the cap on both sides, which the operator applies before its masks."""
        if not (cap := self.op.attribute("softcap", 0.0)):
            return scores
        number = self._number(cap, scores.dtype)
        within = self._step(elementwise, "Tanh", "bent", self._step(elementwise, "Div", "of_cap", scores, number))
        return self._step(elementwise, "Mul", "capped", within, number)

    def _seen(self, rows: Extent, columns: Extent, before: Extent) -> Value | None:
        """Which columns each row may see by its position, [rows columns]; None where it may see all of them.

        Row i is the token `before` + i, behind the tokens of the past.
        """
        left, right = (self.op.attribute(f"{side}_window_size", -1) for side in ("left", "right"))
        right = 0 if self.op.attribute("is_causal", 0) or self.op.attribute("unidirectional", 0) else right
        own, other = self._positions(before, rows), self._positions(0, columns)
        own = own.with_dims((*own.known_dims, ()))
        seen = []
        if right >= 0:
            seen.append(self._at_most("to_the_right", other, self._moved(own, right)))
        if left >= 0:
            seen.append(self._at_most("to_the_left", self._moved(own, -left), other))
        return reduce(self._both, seen) if seen else None

    def _at_most(self, suffix: str, a: Value, b: Value) -> Value:
        if self.ctx.opset >= LESS_OR_EQUAL:
            return self._step(elementwise, "LessOrEqual", suffix, a, b)
        return self._step(elementwise, "Not", suffix, self._step(elementwise, "Greater", f"not_{suffix}", a, b))

    def _positions(self, start: Extent, count: Extent) -> Value:
        """The positions start, start + 1, ..."""
        if isinstance(start, int) and isinstance(count, int):
            return self._integers(np.arange(start, start + count).astype(object))
        limits = (self._integers(np.array(e, object)) for e in (start, start + count, 1))
        return self._step(range_, "Range", "positions", *limits)

    def _moved(self, positions: Value, by: int) -> Value:
        return (
            self._step(elementwise, "Add", "moved", positions, self._integers(np.array(by, object)))
            if by
            else positions
        )

    def _both(self, a: Value, b: Value) -> Value:
        return self._step(elementwise, "And", "both", a, b)

    def _mask(self, seen: Value | None, mask: Value | None, dtype: int) -> Value | None:
        """What both masks leave; None where there is none."""
        if seen is None or mask is None:
            return seen if mask is None else mask
        if mask.dtype == BOOL:
            return self._both(mask, seen)
        return self._step(elementwise, "Where", "mask_of_seen", seen, mask, self._number(-np.inf, dtype))

    def _masked(self, scores: Value, mask: Value) -> Value:
        if mask.dtype != BOOL:
            return self._step(elementwise, "Add", "masked", scores, mask)
        nothing = self._number(-np.inf, scores.dtype)
        return self._step(elementwise, "Where", "masked", mask, scores, nothing)

    def _of_live_rows(self, weights: Value, mask: Value) -> Value:
        """The weights, with 0 in the rows that the mask leaves no column."""
        *_, rows, columns = ((), *mask.known_dims)
        if len(columns) == 1 and len(rows) < 2:
            lows = live(self.ctx.intervals, mask.array, rows[0] if rows else None, columns[0])
            least = 1 if mask.dtype == BOOL else -1e30
            if lows and np.all(reduce(np.maximum, lows) >= least):
                return weights
        if mask.dtype == BOOL:
            mask = self._step(cast, "Cast", "mask", mask, to=FLOAT)
            limit = self._number(0, FLOAT)
        else:
            limit = self._number(-np.inf, mask.dtype)
        largest = self._step(along.reduce, "ReduceMax", "live", mask, self._axes(-1), keepdims=1)
        rows_left = self._step(elementwise, "Greater", "rows", largest, limit)
        return self._step(elementwise, "Where", "of_live", rows_left, weights, self._number(0, weights.dtype))

    def _axes(self, *axes: int) -> Value:
        return self._integers(np.array(axes, object))

    def _integers(self, content: npt.NDArray[Any]) -> Value:
        dims = new_dims(content.shape)
        return Value("", dims, INT64, Array(self.ctx.b.extents(content, INT64), dims), content=content)
