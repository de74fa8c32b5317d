"""The interval of a result from those of the operands, operator by operator (see `intervals`).

Where(causal, 0, -1e9)       [0 0] where `causal` is true, [-1e9 -1e9] where it is false
And(false, padding)          false, whatever `padding` is
x @ W                        at most the largest |x| times the sum of |W|, column by column
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import onnx

from mari_onnx.analysis import interval_moves
from mari_onnx.analysis.interval import (
    Interval,
    Numbers,
    add,
    around,
    between,
    both,
    either,
    equal,
    less,
    less_or_equal,
    multiply,
    negative,
    reciprocal,
    square,
    truth,
    underflow,
)
from mari_onnx.analysis.position_rules import exactly, is_of
from mari_onnx.analysis.positions import Affine, constant, never_negative
from mari_onnx.analysis.windows import Use
from mari_onnx.ir.extents import ROW, divide, positive, product, symbol

Rule: TypeAlias = Callable[[Use], Interval | None]


# Arithmetic


def _sum_of(use: Use) -> Interval:
    first, *rest = use.inputs
    for other in rest:
        first = add(first, other)
    return first


def _product_of(use: Use) -> Interval:
    if use.input(0) is use.input(1):
        return square(use.inputs[0])
    return multiply(*use.inputs)


def _quotient(use: Use) -> Interval:
    """Integers are divided without a rest."""
    found = multiply(use.inputs[0], reciprocal(use.inputs[1]))
    whole = onnx.helper.tensor_dtype_to_np_dtype(use.tensor.dtype).kind in "iu"
    return Interval(np.trunc(found.low), np.trunc(found.high)) if whole else found


def _power(use: Use) -> Interval | None:
    base, exponent = use.inputs
    return square(base) if exponent.is_known and np.all(exponent.low == 2) else None


def _monotone(function: Callable[[Numbers], Numbers]) -> Rule:
    """A function that never decreases."""
    return lambda use: Interval(function(use.inputs[0].low), function(use.inputs[0].high))


def _exponential(use: Use) -> Interval:
    """0 where the argument is far enough below 0; else up to a few digits that a runtime rounds."""
    x, most = use.inputs[0], underflow(use.tensor.dtype)
    low = np.where(x.low > 1 - most, np.exp(x.low) * (1 - ROUNDED), 0)
    return Interval(low, np.where(x.high <= -most, 0, np.exp(x.high) * (1 + ROUNDED)))


ROUNDED = 0.01
"""By how much a computed exponential may be off, in proportion: that of half precision is a few thousandths."""


def _within(low: float, high: float, *, zero: bool = False) -> Rule:
    """A function between two numbers; `zero` says that it is exactly 0 where its argument is."""

    def rule(use: Use) -> Interval:
        if zero and use.inputs[0].is_zero:
            return between(0, 0, use.rank)
        return between(low, high, use.rank)

    return rule


def _sigmoid(use: Use) -> Interval:
    """From 0 to 1; 0 where the argument is far enough below 0."""
    high = use.inputs[0].high
    return Interval(np.zeros(high.shape), np.where(high <= -underflow(use.tensor.dtype), 0, 1))


def _gated(use: Use) -> Interval:
    """A product x * g(x), with g from 0 to 1, such as Gelu and Swish; it is 0 where x is."""
    x = use.inputs[0]
    return Interval(np.minimum(x.low, 0), np.maximum(x.high, 0))


# Comparisons and logic: false is 0 and true is 1


def _compared(op_type: str, rule: Callable[[Interval, Interval], Interval]) -> Rule:
    """A comparison, of numbers or of positions."""

    def compared(use: Use) -> Interval:
        a, b = (exactly(use.input(i), interval) for i, interval in enumerate(use.inputs))
        if a is not None and b is not None and is_of(a - b, use.window):
            decided = _decided(op_type, a - b, use)
            if decided is not None:
                return between(decided, decided, use.rank)
        return rule(*use.inputs)

    return compared


def _decided(op_type: str, difference: Affine, use: Use) -> bool | None:
    """Whether a - b is such that the comparison holds: everywhere, nowhere (False), or None where that differs."""
    one = constant(1)
    signs = {
        "Greater": (difference - one, difference.times(-1)),
        "GreaterOrEqual": (difference, difference.times(-1) - one),
        "Less": (difference.times(-1) - one, difference),
        "LessOrEqual": (difference.times(-1), difference - one),
    }
    if op_type == "Equal":
        below, above = (never_negative(d, use.window) for d in (difference.times(-1) - one, difference - one))
        return True if difference == constant(0) else False if below or above else None
    always, never = (never_negative(d, use.window) for d in signs[op_type])
    return True if always else False if never else None


def _straight(rule: Callable[[Interval, Interval], Interval]) -> Rule:
    return lambda use: rule(use.inputs[0], use.inputs[1])


def _not(use: Use) -> Interval:
    return Interval(1 - use.inputs[0].high, 1 - use.inputs[0].low)


def _exclusive_or(a: Interval, b: Interval) -> Interval:
    same = equal(a, b)
    return Interval(1 - same.high, 1 - same.low)


def _where(use: Use) -> Interval:
    condition, yes, no = use.inputs
    low = np.minimum(np.where(condition.high > 0, yes.low, np.inf), np.where(condition.low < 1, no.low, np.inf))
    high = np.maximum(np.where(condition.high > 0, yes.high, -np.inf), np.where(condition.low < 1, no.high, -np.inf))
    return Interval(low, high)


def _extreme(function: Callable[[Numbers, Numbers], Numbers]) -> Rule:
    def rule(use: Use) -> Interval:
        low, high = use.inputs[0].low, use.inputs[0].high
        for other in use.inputs[1:]:
            low, high = function(low, other.low), function(high, other.high)
        return Interval(low, high)

    return rule


def _clip(use: Use) -> Interval | None:
    """Clip with bounds as inputs; both have to be there, as the place of one tells which it is."""
    if len(use.inputs) != 3:
        return None
    x, least, most = use.inputs
    low, high = least.low.min(), most.high.max()
    return Interval(np.minimum(np.maximum(x.low, low), high), np.minimum(np.maximum(x.high, low), high))


def _cast(use: Use) -> Interval:
    x, to = use.inputs[0], use.tensor.dtype
    if to == onnx.TensorProto.BOOL:
        return truth((x.low == 0) & (x.high == 0), (x.low > 0) | (x.high < 0))
    if onnx.helper.tensor_dtype_to_np_dtype(to).kind in "iu":
        return Interval(np.trunc(x.low), np.trunc(x.high))
    return x


def _quantized(use: Use) -> Interval | None:
    """The integer nearest to x / scale, plus the zero point, within those of the type; 0 is the zero point exactly.

    Of a quotient beside a half it is not known to which side a runtime rounds it.
    """
    by, limits = _by_one_scale(use), INTEGERS.get(use.tensor.dtype)
    if by is None or limits is None:
        return None if limits is None else between(*limits, use.rank)
    (scale, zero), x = by, use.inputs[0]
    low, high = (np.rint(side / scale) + zero for side in (x.low, x.high))
    low, high = np.where(x.low == 0, low, low - 1), np.where(x.high == 0, high, high + 1)
    return Interval(np.clip(low, *limits), np.clip(high, *limits))


def _dequantized(use: Use) -> Interval | None:
    """Within the steps of the type; the zero point is exactly 0."""
    by, limits = _by_one_scale(use), INTEGERS.get(use.input(0).dtype)
    if by is None or limits is None:
        return None
    (scale, zero), x = by, use.inputs[0]
    return Interval(*((np.clip(side, *limits) - zero) * scale for side in (x.low, x.high)))


def _quantized_dynamically(use: Use) -> Interval:
    """The integers, their scale, or the zero point: 255 steps from the least element to the largest, and over 0."""
    if use.tensor.index != 1:
        return between(0, 255, use.rank)
    x = use.inputs[0].whole(len(use.input(0).known_shape))
    steps = (np.maximum(x.high, 0) - np.minimum(x.low, 0)).max(initial=0) / 255
    return between(0, max(float(steps), 1.0), use.rank)  # 1 where all elements are 0


def _by_one_scale(use: Use) -> tuple[float, float] | None:
    """The scale and the zero point of a whole tensor; None where they are not known, or not positive."""
    scale, *zeros = use.inputs[1:]
    if any(x.low.size != 1 or not x.is_known for x in (scale, *zeros)) or not 0 < scale.low.item() < np.inf:
        return None
    return scale.low.item(), zeros[0].low.item() if zeros else 0.0


INTEGERS: Mapping[int, tuple[float, float]] = {
    onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name)): (float(np.iinfo(name).min), float(np.iinfo(name).max))
    for name in ("int8", "uint8", "int16", "uint16", "int32")
}
"""The least and the largest number of the types to which numbers are quantized."""


def _is_nan(use: Use) -> Interval:
    """A number that is known is none; of all others nothing is known."""
    x = use.inputs[0]
    return truth((x.low == x.high) & np.isfinite(x.low), np.zeros(x.low.shape, np.bool_))


# Products and normalizations


def _matrix_product(use: Use) -> Interval | None:
    """A sum of products, times alpha, and a third operand times beta."""
    if use.attribute("transA", 0) or use.attribute("alpha", 1.0) != 1.0:
        return None
    bound = _sum_of_products(use, *use.inputs[:2])
    if bound is None or len(use.inputs) < 3:
        return bound
    factor = between(float(use.attribute("beta", 1.0)), float(use.attribute("beta", 1.0)), 0)
    return add(bound, multiply(use.inputs[2], factor))


def _integer_product(use: Use) -> Interval | None:
    """A sum of products of integers less their zero points: one of the left side, or one for each row of it."""
    x, w, *zeros = use.inputs
    if zeros:
        x = add(x, negative(zeros[0].whole(use.rank)))
    if len(zeros) > 1:
        w = add(w, negative(zeros[1]))
    return _sum_of_products(use, x, w)


def _sum_of_products(use: Use, x: Interval, w: Interval) -> Interval | None:
    """A sum of as many products as the contracted extent, which has to be a number."""
    transposed, shape = use.attribute("transB", 0), use.input(1).known_shape
    contracted = shape[-1 if transposed else -2] if len(shape) > 1 else None
    if not isinstance(contracted, int):
        return None
    if not use.input(1).constant or len(shape) != 2:
        sizes = [side.magnitude.max(initial=0) for side in (x, w)]
        most = contracted * math.prod(sizes) if all(sizes) else 0.0
        return between(-most, most, use.rank)
    weight = w.magnitude.T if transposed else w.magnitude
    rows = x.over(range(len(x.low.shape) - 1)).magnitude.reshape(-1)
    full = np.broadcast_to(weight, (contracted, weight.shape[1]))
    columns = np.broadcast_to(rows, (contracted,)) @ full
    return around(np.nan_to_num(columns, nan=np.inf, posinf=np.inf).reshape(*(1,) * (use.rank - 1), -1))


def _einsum(use: Use) -> Interval | None:
    """A sum of as many products as there are indices that the result lacks, whose extents have to be numbers."""
    left, arrow, result = use.attribute("equation").decode().replace(" ", "").partition("->")
    terms = left.split(",")
    shapes = [use.input(i).known_shape for i in range(len(use.inputs))]
    if not arrow or "." in left or [len(t) for t in terms] != [len(shape) for shape in shapes]:
        return None
    pairs = [pair for term, shape in zip(terms, shapes, strict=True) for pair in zip(term, shape, strict=True)]
    extents = dict(sorted(pairs, key=lambda pair: pair[1] != 1))  # one of 1 broadcasts
    count = product(e for letter, e in extents.items() if letter not in result)
    sizes = [x.magnitude.max(initial=0) for x in use.inputs]
    if not isinstance(count, int):
        return None
    most = count * math.prod(sizes) if all(sizes) else 0.0
    return between(-most, most, use.rank)


def _standardized(use: Use) -> Interval | None:
    """The largest of n numbers whose squares have the mean 1 is sqrt(n), before scale and shift."""
    extents = use.input(0).known_shape[use.attribute("axis", -1) :]
    count = product(extents)
    if not isinstance(count, int):
        return None
    result = multiply(around(np.full((1,) * use.rank, math.sqrt(count))), use.inputs[1])
    return add(result, use.inputs[2]) if len(use.inputs) > 2 else result


def _summed(use: Use) -> Interval | None:
    """As many numbers as there are along the axes; a tiled input has one row, or none in a call without candidates."""
    if use.node.proto is None and all(use.input(0).known_shape[axis] == symbol(ROW) for axis in use.attribute("axes")):
        return Interval(*(x.squeeze(tuple(use.attribute("axes"))) for x in (use.inputs[0].low, use.inputs[0].high)))
    count = divide(product(use.input(0).known_shape), product(use.tensor.known_shape))
    if not isinstance(count, int):
        return None
    whole = use.inputs[0].whole(use.rank)
    return Interval(np.minimum(whole.low * count, 0), np.maximum(whole.high * count, 0))


def _of_elements(use: Use) -> Interval | None:
    """A number between those of the elements, if there is an element."""
    count = divide(product(use.input(0).known_shape), product(use.tensor.known_shape))
    return use.inputs[0].whole(use.rank) if count is not None and positive(count) else None


RULES: Mapping[str, Rule] = {
    "Add": _sum_of,
    "Sum": _sum_of,
    "Sub": lambda use: add(use.inputs[0], negative(use.inputs[1])),
    "Neg": lambda use: negative(use.inputs[0]),
    "Mul": _product_of,
    "Div": _quotient,
    "Reciprocal": lambda use: reciprocal(use.inputs[0]),
    "Pow": _power,
    "Abs": lambda use: Interval(np.sqrt(square(use.inputs[0]).low), use.inputs[0].magnitude),
    "Exp": _exponential,
    "Sqrt": _monotone(lambda x: np.sqrt(np.maximum(x, 0))),
    "Relu": _monotone(lambda x: np.maximum(x, 0)),
    "Identity": lambda use: use.inputs[0],
    **dict.fromkeys(("Softmax", "HardSigmoid"), _within(0, 1)),
    "Sigmoid": _sigmoid,
    **dict.fromkeys(("Tanh", "Erf", "Sin"), _within(-1, 1, zero=True)),
    "Cos": _within(-1, 1),
    **dict.fromkeys(("Gelu", "Swish", "HardSwish", "Mish", "QuickGelu"), _gated),
    "And": _straight(both),
    "Or": _straight(either),
    "Xor": _straight(_exclusive_or),
    "Not": _not,
    "Less": _compared("Less", less),
    "Greater": _compared("Greater", lambda a, b: less(b, a)),
    "LessOrEqual": _compared("LessOrEqual", less_or_equal),
    "GreaterOrEqual": _compared("GreaterOrEqual", lambda a, b: less_or_equal(b, a)),
    "Equal": _compared("Equal", equal),
    "Where": _where,
    "Max": _extreme(np.maximum),
    "Min": _extreme(np.minimum),
    "Clip": _clip,
    "Cast": _cast,
    "IsNaN": _is_nan,
    "QuantizeLinear": _quantized,
    "DequantizeLinear": _dequantized,
    "DynamicQuantizeLinear": _quantized_dynamically,
    **interval_moves.RULES,
    "MatMul": _matrix_product,
    "Gemm": _matrix_product,
    "MatMulInteger": _integer_product,
    "Einsum": _einsum,
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), _standardized),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin"), _of_elements),
    "ReduceSum": _summed,
}
"""By operator: the interval of the result from those of the inputs, None where nothing is known."""
