"""CumSum: running sums along an axis, also of parts along it.

    CumSum([a; b])      = [CumSum(a); sum a + CumSum(b)]

Example: linear attention sums up the products of keys and values, token by token. No token of the history has the
candidate's among those before it, so that the running sums of the history are the user's in every layer.

Holds for a sum from the first element on that has each element in its own sum. Rounding: the order in which the
elements of the parts before are added.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import helper

from mari_onnx.analysis.context import INT64, Context, Derived, Op, Rule
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.rules.along import reduce, run_along, without_axes
from mari_onnx.analysis.rules.elementwise import elementwise
from mari_onnx.ir.axes import Axis, Refused, renamed
from mari_onnx.ir.forms import Array, Parts, Value
from mari_onnx.ir.parts import join

AXES_ARE_AN_INPUT = 13
"""The opset from which the axes of ReduceSum are an input."""


def cumsum(op: Op, ctx: Context) -> Derived:
    """CumSum: along one axis, which input 1 names."""
    axis = op.integers(1, "axis")
    if not op.data.dims or not isinstance(axis, list):
        return axis if isinstance(axis, Refused) else without_axes(op)
    position, since = axis[0] % len(op.data.dims), ctx.b.count
    derived = run_along(op, ctx, [position], [(op.data.dims, op.data.dtype)], op.inputs[1:])
    parts = op.data.parts
    if isinstance(derived, Refused) or parts is None or op.data.dims[position] != (parts.axis,):
        return derived
    if op.attribute("exclusive", 0) or op.attribute("reverse", 0):
        return derived
    (whole,) = derived
    found = _of_parts(op, ctx, parts, position)
    if found is None:
        return derived
    found = priced(ctx.cost, found, since, parts.price)
    joined = priced(ctx.cost, join(ctx.b, found.pieces, parts.axis, op.data.dims), since, parts.price)
    array = priced(ctx.cost, whole.array, since, op.data.array.price)
    return [whole.changed(array=min(array, joined, key=lambda each: each.price), parts=found)]


def _of_parts(op: Op, ctx: Context, parts: Parts, position: int) -> Parts | None:
    """The running sums of each part, plus the sum of all parts before it; None where a step is refused."""
    before: Value | None = None
    pieces: list[tuple[Axis, Array]] = []
    for sub, array in parts.pieces:
        dims = renamed(op.data.known_dims, {parts.axis: (sub,)})
        piece = Value(op.data.name, dims, op.data.dtype, array)
        own = piece if sub.extent == 1 else _alone(op, ctx, piece, position)
        sums, total = _added(op, ctx, own, before), _added(op, ctx, _total(op, ctx, piece, position), before)
        if sums is None or total is None:
            return None
        pieces.append((sub, sums.array))
        before = total
    return Parts(parts.axis, tuple(pieces))


def _alone(op: Op, ctx: Context, piece: Value, position: int) -> Value | None:
    outputs = [(piece.known_dims, piece.dtype)]
    derived = run_along(replace(op, inputs=(piece, *op.inputs[1:])), ctx, [position], outputs, op.inputs[1:])
    return None if isinstance(derived, Refused) else derived[0]


def _total(op: Op, ctx: Context, piece: Value, position: int) -> Value | None:
    """The sum of all elements along the axis, which stays with the extent 1."""
    if ctx.opset < AXES_ARE_AN_INPUT:
        return _step(op, ctx, reduce, "ReduceSum", piece, axes=[position])
    content = np.array([position], object)
    axes = Value("", ((),), INT64, Array(ctx.b.extents(content, INT64), ((),)), content=content)
    return _step(op, ctx, reduce, "ReduceSum", piece, axes)


def _added(op: Op, ctx: Context, value: Value | None, before: Value | None) -> Value | None:
    return value if value is None or before is None else _step(op, ctx, elementwise, "Add", value, before)


def _step(op: Op, ctx: Context, rule: Rule, op_type: str, *inputs: Value, **attributes: Any) -> Value | None:
    """The output of one node, which is none of the original and gets no remark; None where it is refused."""
    proto = helper.make_node(op_type, [v.name for v in inputs], [f"{op.name}.before"], **attributes)
    said = len(ctx.remarks)
    derived: Derived = rule(Op(proto, inputs, ctx.opset), ctx)
    del ctx.remarks[said:]
    return None if isinstance(derived, Refused) else derived[0]
