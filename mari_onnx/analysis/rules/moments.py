"""LayerNormalization in single operators, as exporters write it before opset 17.

The rules follow each value in between as a function of a row x and the row's mean m:

    (a x + c m + k) r + b      m = ReduceMean(x), r a function of ReduceMean((x - m)^2); a, b, c, k constant

The value is a normalization with scale a and shift b if c = -a and k = 0. The order of the operators does not matter:

    (x - m) / sqrt(v + epsilon) * a + b            PyTorch
    x * (r * a) + (b - m * (r * a))                TensorFlow and Keras
    a * (x - m) / (sqrt(v n / (n - 1)) + epsilon) + b      by hand, with the unbiased deviation

Example: Sub(x, ReduceMean(x)) is followed as a = 1, c = -1. Div by Sqrt(variance + epsilon) adds r, and a Mul by the
constant gamma makes a = gamma, c = -gamma.

Holds along the last dimension, where x is in parts. This module writes nothing: a product that reads the normalized
value may be split (see `normalized`). Rounding: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.facts import Affine, Moments, Normalized, Scaling, Spread, Squares, Step
from mari_onnx.analysis.rules.normalized import DTYPES
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Axis, extents
from mari_onnx.ir.expressions import fold
from mari_onnx.ir.forms import Array, Value


def of_row(op: Op, ctx: Context) -> Moments | None:
    """The node's result as a function of a row and its mean; None if it is no such function.

    Example: Sub(x, ReduceMean(x)) is `Affine` with the coefficients 1 for the columns and -1 for the mean.
    """
    follow = FOLLOW.get(op.op_type)
    if follow is None or op.data.dtype not in DTYPES or len(op.inputs) > 2:
        return None
    return follow(op, ctx)


def remember(found: Moments, ctx: Context, y: Value) -> None:
    """Note for the readers of y which function of a row y is, and for products whether y is a normalization."""
    ctx.facts.moments[y.array.tensor] = found
    if isinstance(found, Affine) and (known := _normalized(ctx, found, y)) is not None:
        ctx.facts.normalized[y.array.tensor] = known


def _normalized(ctx: Context, found: Affine, y: Value) -> Normalized | None:
    """The normalization that gives y; None unless c = -a, k = 0, and the columns of x are in parts."""
    x, parts = found.x, found.x.parts
    if parts is None or found.scaling is None or not _rows_of(x, y) or len(y.known_dims[-1]) != 1:
        return None
    if x.known_dims[-1] != (parts.axis,):
        return None
    (sign, scale), (opposite, same) = (found.coefficients.get(of, (0, None)) for of in ("columns", "mean"))
    if "one" in found.coefficients or sign * opposite != -1 or scale is not same:
        return None
    scaling = found.scaling if sign == 1 else replace(found.scaling, steps=(*found.scaling.steps, Step("Neg")))
    axis = y.known_dims[-1][0]
    a, b = (None if v is None else _of_columns(ctx, v, axis) for v in (scale, found.shift))
    if (scale is not None and a is None) or (found.shift is not None and b is None):
        return None
    return Normalized(replace(parts, axis=axis), scaling, a, b)


def _of_columns(ctx: Context, constant: Value, axis: Axis) -> Array | None:
    """A constant [1, ..., n] as an array with one number for each column; None for a constant of another shape."""
    if constant.dims is None or extents(constant.dims) != (*(1,) * (len(constant.dims) - 1), axis.extent):
        return None
    return Array(ctx.b.reshape(plain(ctx.b, constant), (axis.extent,)), ((axis,),))


def _rows_of(x: Value, y: Value) -> bool:
    """Whether y has the rows of x: the same dimensions but the last."""
    return y.dims is not None and y.dims[:-1] == x.known_dims[:-1]


def _number(ctx: Context, value: Value) -> float | None:
    """The number in a constant of one element; None for any other value."""
    if not value.array.tensor.stored:
        return None
    array = fold(value.array.tensor, ctx.array_of)
    return float(array.item()) if array.size == 1 else None


def _known(ctx: Context, value: Value) -> Moments | None:
    """The function of a row that an operand is, as noted by the rule of the node that computes it."""
    found = ctx.facts.moments.get(value.array.tensor)
    return found if found is not None and _rows_of(found.x, value) else None


def _both(op: Op, ctx: Context) -> tuple[Moments | None, Moments | None]:
    """The functions of a row that both operands are.

    If one operand is a function of the columns x and the other operand is x itself, the other is the function 1 x.
    """
    left, right = op.inputs
    assert left is not None and right is not None
    a, b = _known(ctx, left), _known(ctx, right)
    if b is not None and _is(left, b.x):
        return Affine(b.x, {"columns": (1, None)}), b
    if a is not None and _is(right, a.x):
        return a, Affine(a.x, {"columns": (1, None)})
    return a, b


def _is(value: Value, x: Value) -> bool:
    """Whether two values are the same columns."""
    return value.array.tensor is x.array.tensor and value.dims == x.dims


def _constant(op: Op, ctx: Context) -> tuple[Moments | None, Value] | None:
    """The function that one operand is, and the other operand, which is a constant; None without a constant."""
    left, right = op.inputs
    assert left is not None and right is not None
    if right.constant:
        return _known(ctx, left), right
    return (_known(ctx, right), left) if left.constant else None


def _mean(op: Op, ctx: Context) -> Moments | None:
    """ReduceMean along the last dimension: the mean m of x, or the variance if its input is (x - m)^2."""
    x, last = op.data, len(op.data.known_dims) - 1
    if op.integers(1, "axes") not in ([-1], [last]):
        return None
    known = _known(ctx, x)
    return Spread(known.x) if isinstance(known, Squares) else Affine(x, {"mean": (1, None)})


def _step(op: Op, ctx: Context) -> Moments | None:
    """One more step from the variance v to the factor r: Sqrt(v), or with a number Add(v, epsilon)."""
    if len(op.inputs) == 1:
        known = _known(ctx, op.data)
        return replace(known, steps=(*known.steps, Step(op.op_type))) if isinstance(known, Spread) else None
    known, constant = _constant(op, ctx) or (None, None)
    number = _number(ctx, constant) if constant is not None else None
    if not isinstance(known, Spread) or number is None:
        return None
    return replace(known, steps=(*known.steps, Step(op.op_type, number, op.inputs[0] is constant)))


def _negated(known: Affine) -> Affine | None:
    """-(a x + c m + k) r; None if there is a shift b, which would have to be negated as well."""
    if known.shift is not None:
        return None
    return replace(known, coefficients={of: (-sign, c) for of, (sign, c) in known.coefficients.items()})


def _neg(op: Op, ctx: Context) -> Moments | None:
    """Neg of columns, or of a number made from the variance."""
    known = _known(ctx, op.data)
    return _negated(known) if isinstance(known, Affine) else _step(op, ctx)


def _sum(op: Op, ctx: Context) -> Moments | None:
    """Add and Sub: of a shift, or of two functions of one row with the same scaling and different coefficients."""
    minus = op.op_type == "Sub"
    if (found := _constant(op, ctx)) is not None:
        known, constant = found
        if not isinstance(known, Affine) or (minus and op.inputs[1] is constant):
            return _step(op, ctx)
        return _shifted(_negated(known) if minus else known, constant)
    a, b = _both(op, ctx)
    if not isinstance(a, Affine) or not isinstance(b, Affine) or not _is(a.x, b.x) or a.scaling != b.scaling:
        return None
    other = _negated(b) if minus else b
    if other is None or (a.shift is not None and other.shift is not None) or set(a.coefficients) & set(b.coefficients):
        return None
    return replace(a, coefficients=a.coefficients | other.coefficients, shift=a.shift or other.shift)


def _shifted(known: Affine | None, by: Value) -> Affine | None:
    """The function plus the constant `by` as its shift; None if there is no scaling yet, or already a shift."""
    if known is None or known.scaling is None or known.shift is not None:
        return None
    return replace(known, shift=by)


def _mul(op: Op, ctx: Context) -> Moments | None:
    """Mul: of columns by a constant scale, of centred columns by themselves, or of columns by a number for each row."""
    if (found := _constant(op, ctx)) is not None:
        known, constant = found
        if isinstance(known, Spread):
            return _step(op, ctx) or Affine(known.x, {"one": (1, constant)}, Scaling("Mul", known.steps))
        return _scaled(known, constant) if isinstance(known, Affine) else None
    a, b = _both(op, ctx)
    if a is None or b is None or not _is(a.x, b.x):
        return None
    if a is b:
        return _squared(a)
    for columns, row in ((a, b), (b, a)):
        if isinstance(columns, Affine) and columns.scaling is None and _is_row(row):
            return _by_row(columns, row)
    return None


def _is_row(known: Moments) -> TypeGuard[Affine | Spread]:
    """Whether the function is one number s for each row, or k r: such a number times a constant."""
    return isinstance(known, Spread) or (
        isinstance(known, Affine) and known.shift is None and set(known.coefficients) == {"one"}
    )


def _by_row(columns: Affine, row: Affine | Spread) -> Affine | None:
    """Columns times a number for each row: times s, or times k r, which scales the columns by k and then by r."""
    if isinstance(row, Spread):
        return replace(columns, scaling=Scaling("Mul", row.steps))
    sign, scale = row.coefficients["one"]
    scaled = columns if scale is None else _scaled(columns, scale)
    scaled = _negated(scaled) if scaled is not None and sign < 0 else scaled
    return None if scaled is None else replace(scaled, scaling=row.scaling)


def _scaled(known: Affine, by: Value) -> Affine | None:
    """The function times the constant `by`; None if it has a constant already: the product of both would be rounded."""
    if known.shift is not None or any(c is not None for _, c in known.coefficients.values()):
        return None
    return replace(known, coefficients={of: (sign, by) for of, (sign, _) in known.coefficients.items()})


def _squared(known: Moments | None) -> Moments | None:
    """(x - m)^2, if the function is x - m or m - x; None for any other function."""
    if not isinstance(known, Affine) or known.scaling is not None:
        return None
    columns, mean = (known.coefficients.get(of) for of in ("columns", "mean"))
    return Squares(known.x) if {columns, mean} == {(1, None), (-1, None)} else None


def _pow(op: Op, ctx: Context) -> Moments | None:
    """Pow: the square of centred columns, or a power of a number made from the variance."""
    exponent = op.inputs[1]
    assert exponent is not None
    squared = _squared(_known(ctx, op.data)) if exponent.constant and _number(ctx, exponent) == 2 else None
    return squared or _step(op, ctx)


def _div(op: Op, ctx: Context) -> Moments | None:
    """Div: of columns by a number for each row, or of a constant by such a number."""
    if (found := _constant(op, ctx)) is not None:
        known, constant = found
        if not isinstance(known, Spread) or op.data is not constant:
            return _step(op, ctx)
        return _step(op, ctx) or Affine(known.x, {"one": (1, constant)}, Scaling("Div", known.steps))
    a, b = _both(op, ctx)
    if not isinstance(a, Affine) or not isinstance(b, Spread) or not _is(a.x, b.x) or a.scaling is not None:
        return None
    return replace(a, scaling=Scaling("Div", b.steps))


FOLLOW: dict[str, Callable[[Op, Context], Moments | None]] = {
    "ReduceMean": _mean,
    "Neg": _neg,
    "Add": _sum,
    "Sub": _sum,
    "Mul": _mul,
    "Div": _div,
    "Pow": _pow,
    **dict.fromkeys(("Sqrt", "Reciprocal", "Max"), _step),
}
"""For each operator, how its result follows from the functions of a row that its operands are."""
