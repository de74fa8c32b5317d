"""The Attention operator over one sequence of the user's tokens and the candidates', written out as products.

    Attention(q, k, v, mask) = Softmax(Where(mask, q k' scale, -inf)) v

The rules of products, elementwise operators and Softmax find out then what a mask proves (see `rules.blocks`).

Holds for the standard's operator without a cache and without a cap of the scores. In a row whose columns are all masked
the operator gives 0, where Softmax gives NaN: such a row is replaced by 0, unless it is proved that there is none.
Rounding: the order in which a runtime adds.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from mari_onnx.analysis.context import BOOL, FLOAT, INT64, Context, Derived, Op, Rule
from mari_onnx.analysis.rules import along
from mari_onnx.analysis.rules.along import softmax
from mari_onnx.analysis.rules.elementwise import cast, elementwise
from mari_onnx.analysis.rules.product import matmul
from mari_onnx.analysis.rules.ranges import range_
from mari_onnx.analysis.without_weight import live
from mari_onnx.ir.axes import Axis, Dims, Refused, extent_of, new_dims
from mari_onnx.ir.axes import reshape as recut
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import rename_value

UNKNOWN_ATTRIBUTES = {"softcap": 0.0, "qk_matmul_output_mode": 0}
"""Attributes that change the scores, each with the value that turns it off."""


class _StopError(Exception):
    """A step of the written-out form was refused."""


def written_out(op: Op, ctx: Context, q: Value, k: Value, v: Value, mask: Value | None) -> Value | None:
    """The first output of Attention from products; None unless the keys are in parts along the sequence.

    q is [B, heads, S, d] or [B, S, heads * d]; k and v have L tokens, and maybe fewer heads; mask broadcasts to
    [B, heads, S, L].
    """
    whole = all(op.attribute(name, default) == default for name, default in UNKNOWN_ATTRIBUTES.items())
    if op.op_type != "Attention" or len(op.proto.output) > 1 or not whole:
        return None
    said = len(ctx.remarks)
    try:
        return _Steps(op, ctx).attention(q, k, v, mask)
    except _StopError:
        return None
    finally:
        del ctx.remarks[said:]  # those on the steps, which are no nodes of the original


class _Steps:
    """The nodes that an Attention stands for; each is derived by its own rule."""

    def __init__(self, op: Op, ctx: Context) -> None:
        self.op, self.ctx = op, ctx

    def attention(self, q: Value, k: Value, v: Value, mask: Value | None) -> Value:
        heads, groups = (self.op.attribute(name) for name in ("q_num_heads", "kv_num_heads"))
        merged = len(q.known_dims) == 3
        if merged:
            q, k, v = self._heads(q, heads), self._heads(k, groups), self._heads(v, groups)
        if k.parts is None or k.known_dims[2] != (k.parts.axis,):
            raise _StopError
        k, v = self._repeated(k, q), self._repeated(v, q)
        q, k = self._scaled("queries", q), self._scaled("keys", k)
        dims = k.known_dims
        scores = self._step(matmul, "MatMul", "scores", q, k.with_dims((*dims[:-2], dims[-1], dims[-2])))
        if self.op.attribute("is_causal", 0) and mask is not None:
            raise _StopError  # a row may have no column under both, and some under either
        if self.op.attribute("is_causal", 0):
            scores = self._masked(scores, self._causal(q, k))
        if mask is not None:
            scores = self._masked(scores, mask)
        weights = self._step(softmax, "Softmax", "weights", scores, axis=-1)
        if mask is not None:
            weights = self._of_live_rows(weights, mask)
        y = self._step(matmul, "MatMul", "heads" if merged else "", weights, v)
        if not merged:
            return y
        batch, of_heads, rows, columns = y.known_dims
        return y.with_dims((batch, rows, (*of_heads, *columns))).named(self.op.name)

    def _step(self, rule: Rule, op_type: str, suffix: str, *inputs: Value, **attributes: Any) -> Value:
        """The output of one node; its name is that of the Attention with a suffix."""
        name = f"{self.op.name}.{suffix}" if suffix else self.op.name
        proto = helper.make_node(op_type, [v.name for v in inputs], [name], **attributes)
        derived: Derived = rule(Op(proto, inputs, self.op.opset), self.ctx)
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

    def _causal(self, q: Value, k: Value) -> Value:
        """The mask of `is_causal`, for as many queries as keys."""
        rows, columns = extent_of(q.known_dims[2]), extent_of(k.known_dims[2])
        if rows != columns:
            raise _StopError
        if isinstance(rows, int):
            dims: Dims = ((Axis(rows),), (Axis(rows),))
            return Value("", dims, BOOL, Array(self.ctx.b.constant(np.tri(rows, dtype=np.bool_)), dims))
        limits = (self._integers(np.array(e, object)) for e in (0, rows, 1))
        own = self._step(range_, "Range", "positions", *limits)
        of_row = own.with_dims((*own.known_dims, ()))
        return self._step(elementwise, "LessOrEqual", "causal", own, of_row)

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
        if mask.dtype != BOOL:
            raise _StopError
        numbers = self._step(cast, "Cast", "mask", mask, to=FLOAT)
        largest = self._step(along.reduce, "ReduceMax", "live", numbers, self._axes(-1), keepdims=1)
        rows_left = self._step(cast, "Cast", "rows", largest, to=BOOL)
        return self._step(elementwise, "Where", "of_live", rows_left, weights, self._number(0, weights.dtype))

    def _axes(self, *axes: int) -> Value:
        return self._integers(np.array(axes, object))

    def _integers(self, content: npt.NDArray[Any]) -> Value:
        dims = new_dims(content.shape)
        return Value("", dims, INT64, Array(self.ctx.b.extents(content, INT64), dims), content=content)
