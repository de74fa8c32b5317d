"""Operators to which every axis is independent, and BatchNormalization."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.property.graphs import BOOL, FLOAT, INT64, Made, UnfitError, Writer
from tests.property.operators.ranges import broadcast, hull, span, times


def _second(w: Writer, x: Made) -> Made:
    """Something that broadcasts with x: another tensor, x itself, or a constant."""
    kind = w.between(0, 9)
    if kind <= 5:
        return w.pick(lambda m: m.dtype == x.dtype and broadcast(m.shape, x.shape) is not None, rough=not x.exact)
    if kind == 6:
        return x
    tail = [e if isinstance(e, int) and w.chance(70) else 1 for e in x.shape[w.between(0, x.rank) :]]
    numbers = [w.between(-2, 2) for _ in range(int(np.prod(tail)))]
    dtype = helper.tensor_dtype_to_np_dtype(x.dtype)
    return w.constant(np.array(numbers).astype(dtype).reshape(tail))


def arithmetic(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT or (m.dtype == INT64 and w.chance(30)), rough=w.chance(20))
    y = _second(w, x)
    if w.chance(50):
        x, y = y, x
    shape = broadcast(x.shape, y.shape)
    if shape is None:
        raise UnfitError
    extremes = ["Max", "Min"] if x.dtype == FLOAT or w.opset >= 12 else []
    match op := w.choice(["Add", "Add", "Sub", "Mul", "Mul", *extremes]):
        case "Add":
            bounds = (x.low + y.low, x.high + y.high)
        case "Sub":
            bounds = (x.low - y.high, x.high - y.low)
        case "Mul":
            bounds = times(span(x), span(y))
        case _:
            bounds = hull(x, y)
    w.write(op, [x, y], shape, bounds)


def variadic(w: Writer) -> None:
    x = w.floats()
    rest = [_second(w, x) for _ in range(w.between(0, 2))]
    shape = broadcast(x.shape, *(m.shape for m in rest))
    if shape is None:
        raise UnfitError
    op = w.choice(["Sum", "Max", "Min", "Mean"] if len(rest) == 1 else ["Sum", "Max", "Min"])
    tensors = [x, *rest]
    bounds = (sum(m.low for m in tensors), sum(m.high for m in tensors)) if op == "Sum" else hull(*tensors)
    w.write(op, tensors, shape, bounds, exact=op != "Mean")


def unary(w: Writer) -> None:
    x = w.floats()
    op = w.choice(["Neg", "Relu", "Abs", "Identity", "Dropout", "LeakyRelu", "Relu", "ThresholdedRelu", "Shrink"])
    match op:
        case "Neg":
            w.write(op, [x], x.shape, (-x.high, -x.low))
        case "Relu":
            w.write(op, [x], x.shape, (max(x.low, 0), max(x.high, 0)))
        case "LeakyRelu":
            w.write(op, [x], x.shape, (min(2 * x.low, 0), max(x.high, 0)), alpha=2.0)
        case "ThresholdedRelu":
            w.write(op, [x], x.shape, (min(0, x.low), max(0, x.high)), alpha=1.0)
        case "Abs":
            w.write(op, [x], x.shape, (0, x.size))
        case "Shrink":
            w.write(op, [x], x.shape, (min(x.low + 1, 0), max(x.high - 1, 0)), lambd=1.5, bias=1.0)
        case _:
            w.write(op, [x], x.shape, span(x))


ROUGH = """
    Acos Acosh Asin Asinh Atan Atanh Cos Cosh Elu Erf Exp HardSigmoid Log Reciprocal Selu Sigmoid Sin Sinh Softplus
    Softsign Sqrt Tan Tanh Celu HardSwish Mish Gelu
"""


ONLY = {"Swish": 24}
"""Operators for which onnxruntime has a kernel in one opset alone."""


def unary_rough(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.size <= 9)
    here = [op for op, opset in ONLY.items() if opset == w.opset]
    op = w.choice(here if here and w.chance(50) else [op for op in ROUGH.split() if onnx.defs.has(op, w.opset)])
    if op in ("Acos", "Asin", "Atanh"):
        x = w.write("Mul", [x, w.constant(np.array(1 / 16, np.float32))], x.shape, (-1, 1), exact=False)
    elif op in ("Acosh", "Log", "Reciprocal", "Sqrt"):
        x = w.write(
            "Add", [w.write("Abs", [x], x.shape, (0, x.size)), w.constant(np.array(1, np.float32))], x.shape, (1, 10)
        )
    w.write(op, [x], x.shape, (-9999, 9999), exact=False)


def integers(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == INT64 and m.low >= 0)
    y = w.constant(np.array(w.between(1, 3), np.int64))
    w.write(w.choice(["Div", "Mod"]), [x, y], x.shape, (0, max(x.high, 3)))


def bits(w: Writer) -> None:
    """Of unsigned numbers where it shifts them: a mask packed into an integer."""
    x = w.pick(lambda m: m.dtype == INT64 and m.low >= 0 and m.high <= 60)
    if w.opset < 18 or w.chance(40):
        unsigned = w.write("Cast", [x], x.shape, span(x), TensorProto.UINT64, to=TensorProto.UINT64)
        by = w.constant(np.array(w.between(0, 2), np.uint64))
        left = w.chance(50)
        shifted = w.write(
            "BitShift", [unsigned, by], x.shape, (0, x.high * (4 if left else 1)),
            direction="LEFT" if left else "RIGHT",
        )  # fmt: skip
        w.write("Cast", [shifted], shifted.shape, span(shifted), INT64, to=INT64)
        return
    if w.chance(30):
        w.write("BitwiseNot", [x], x.shape, (-x.high - 1, -x.low - 1))
        return
    y = w.pick(lambda m: m.dtype == INT64 and m.low >= 0 and m.high <= 60 and broadcast(m.shape, x.shape) is not None)
    shape = broadcast(x.shape, y.shape)
    assert shape is not None
    w.write(w.choice(["BitwiseAnd", "BitwiseOr", "BitwiseXor"]), [x, y], shape, (0, 63))


def cast_like(w: Writer) -> None:
    if w.opset < 15:
        raise UnfitError
    x = w.pick(lambda m: m.dtype in (FLOAT, INT64, BOOL) and m.size <= w.exact)
    like = w.pick(lambda m: m.dtype in (FLOAT, INT64, BOOL), rough=True)
    bounds = (0, 1) if like.dtype == BOOL else span(x)
    w.write_all("CastLike", [x, like], [(x.shape, bounds, like.dtype)], exact=x.exact)


def unary_exact(w: Writer) -> None:
    x = w.floats(rough=False)
    match op := w.choice(["Sign", "Floor", "Ceil", "Round", "IsNaN", "IsInf", "Pow", "Div"]):
        case "IsNaN" | "IsInf":
            w.write(op, [x], x.shape, (0, 1), BOOL)
        case "Pow":
            w.write(op, [x, w.constant(np.array(2, np.float32))], x.shape, (0, x.size**2))
        case "Div":  # 2 / (1 or 2), as x / 2 need not be an integer
            w.write(op, [w.constant(np.array(2, np.float32)), _one_or_two(w, x)], x.shape, (1, 2))
        case _:
            w.write(op, [x], x.shape, (-1, 1) if op == "Sign" else span(x))


def _one_or_two(w: Writer, x: Made) -> Made:
    return w.write("Clip", [x, *(w.constant(np.array(n, np.float32)) for n in (1, 2))], x.shape, (1, 2))


def clip(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and (m.size > 3 or w.chance(30)), rough=True)
    limits: list[Made | None] = [w.constant(np.array(-3, np.float32)), w.constant(np.array(3, np.float32))]
    if x.exact and w.chance(20):
        limits[0] = None
    low = x.low if limits[0] is None else max(-3, min(x.low, 3))
    w.write("Clip", [x, *limits], x.shape, (min(low, 3), min(max(x.high, -3), 3)))


def prelu(w: Writer) -> None:
    x = w.floats(rough=False)
    if w.chance(40):
        slope = w.pick(lambda m: m.dtype == FLOAT and broadcast(m.shape, x.shape) == x.shape and m.rank <= x.rank)
    else:
        tail = [e if isinstance(e, int) and w.chance(70) else 1 for e in x.shape[w.between(0, x.rank) :]]
        slope = w.numbers(tail)
    bound = x.size * max(slope.size, 1)
    w.write("PRelu", [x, slope], x.shape, (-bound, bound))


def compare(w: Writer) -> None:
    x = w.floats(rough=False)
    y = _second(w, x)
    shape = broadcast(x.shape, y.shape)
    if shape is None or not y.exact:
        raise UnfitError
    names = ["Greater", "Less", "Equal"] + (["GreaterOrEqual", "LessOrEqual"] if w.opset >= 12 else [])
    w.write(w.choice(names), [x, y], shape, (0, 1), BOOL)


def logic(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == BOOL)
    if w.chance(30):
        w.write("Not", [x], x.shape, (0, 1))
        return
    y = w.pick(lambda m: m.dtype == BOOL and broadcast(m.shape, x.shape) is not None)
    shape = broadcast(x.shape, y.shape)
    assert shape is not None
    w.write(w.choice(["And", "Or", "Xor"]), [x, y], shape, (0, 1))


def where(w: Writer) -> None:
    x = w.floats()
    if not any(m.dtype == BOOL for m in w.made) or w.chance(20):
        compare(w)
    y = _second(w, x)
    mask = w.pick(lambda m: m.dtype == BOOL and broadcast(m.shape, x.shape, y.shape) is not None)
    shape = broadcast(mask.shape, x.shape, y.shape)
    if shape is None:
        raise UnfitError
    w.write("Where", [mask, x, y], shape, hull(x, y), x.dtype)


def cast(w: Writer) -> None:
    x = w.pick(lambda m: m.rank > 0)
    to = x.dtype if w.chance(30) else w.choice([FLOAT, INT64, BOOL, FLOAT, INT64])
    if x.size > w.exact and to == FLOAT and x.dtype != FLOAT:
        raise UnfitError
    w.write("Cast", [x], x.shape, (0, 1) if to == BOOL else span(x), to, to=to)


def batch_normalization(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[1], int), rough=True)
    channels = [int(e) for e in x.shape[1:2] if isinstance(e, int)]
    scale = w.constant(np.array([2 * w.between(-1, 1) for _ in range(channels[0])], np.float32))
    shift, mean = w.numbers(channels), w.numbers(channels)
    variance = w.constant(np.array([w.choice([1, 4]) for _ in range(channels[0])], np.float32))
    bound = 2 * (x.size + 2) + 2
    w.write("BatchNormalization", [x, scale, shift, mean, variance], x.shape, (-bound, bound), epsilon=0.0)
