"""How a random graph gets its operators: each function writes one, with whatever it needs, or does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.ir.extents import Extent, Poly, divide, evaluate, product
from tests.property.graphs import BOOL, FLOAT, INT64, LARGEST, LOCAL, B, L, Made, R, UnfitError, Writer

Maker = Callable[[Writer], object]

INT8, UINT8, INT32 = TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32


def times(*spans: tuple[int, int]) -> tuple[int, int]:
    low, high = 1, 1
    for a, b in spans:
        ends = (low * a, low * b, high * a, high * b)
        low, high = min(ends), max(ends)
    return low, high


def count(extents: Sequence[Extent]) -> int:
    return evaluate(product(extents), LARGEST, 7)


def span(made: Made) -> tuple[int, int]:
    return made.low, made.high


def hull(*tensors: Made) -> tuple[int, int]:
    return min(m.low for m in tensors), max(m.high for m in tensors)


def broadcast(*shapes: Sequence[Extent]) -> tuple[Extent, ...] | None:
    rank = max(map(len, shapes))
    out: list[Extent] = []
    for here in zip(*((1,) * (rank - len(s)) + tuple(s) for s in shapes), strict=True):
        wide = {e for e in here if e != 1}
        if len(wide) > 1:
            return None
        out.append(wide.pop() if wide else 1)
    return tuple(out)


# Elementwise


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
SINCE = {"Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20}
ONLY = {"Swish": 24}
"""Operators for which onnxruntime has a kernel in one opset alone."""


def unary_rough(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.size <= 9)
    here = [op for op, opset in ONLY.items() if opset == w.opset]
    op = w.choice(here if here and w.chance(50) else [op for op in ROUGH.split() if SINCE.get(op, 0) <= w.opset])
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
    to = w.choice([d for d in (FLOAT, INT64, BOOL, TensorProto.FLOAT, INT64) if d != x.dtype])
    if x.size > w.exact and to == FLOAT:
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


# Shapes


def expand(w: Writer) -> None:
    x = w.pick(lambda m: m.rank <= 3, rough=True)
    if w.chance(40):
        y = w.pick(lambda m: broadcast(m.shape, x.shape) is not None, rough=True)
        shape = broadcast(x.shape, y.shape)
        assert shape is not None
        target = w.write("Shape", [y], [y.rank], (0, 10**6), INT64)
        w.write("Expand", [x, target], shape, span(x))
        return
    shape = tuple(e if e != 1 or w.chance(30) else w.choice([B, L, 3, R]) for e in x.shape)
    if w.chance(40) or shape == x.shape:
        shape = (w.choice([B, B, L, 2]), *shape)
    new = len(shape) - x.rank
    kept = [1 if e == own and e != 1 and w.chance(40) else e for e, own in zip(shape[new:], x.shape, strict=True)]
    asked = [*shape[:new], *kept]
    w.write("Expand", [x, w.shape_chain(asked)], shape, span(x))


def tile(w: Writer) -> None:
    x = w.pick(lambda m: 0 < m.rank <= 4, rough=True)
    repeats: list[Extent] = [w.choice([1, B, L, 2] if e == 1 else [1, 1, 1, 2]) for e in x.shape]
    w.write("Tile", [x, w.shape_chain(repeats)], [e * r for e, r in zip(x.shape, repeats, strict=True)], span(x))


def reshape(w: Writer) -> None:
    x = w.pick(lambda m: m.rank > 0 and 0 not in m.shape, rough=True)
    shape: list[Extent] = list(x.shape)
    for _ in range(w.between(1, 3)):
        i = w.between(0, len(shape) - 1) if shape else 0
        kind = w.between(0, 4)
        if kind <= 1 and len(shape) >= 2:  # merge
            i = min(i, len(shape) - 2)
            shape[i : i + 2] = [shape[i] * shape[i + 1]]
        elif kind <= 3 and shape:  # cut
            inner = w.choice([L, B, 2, 3, 4, 1])
            outer = divide(shape[i], inner)
            if outer is not None and outer != 0:
                shape[i : i + 1] = [outer, inner]
        else:
            shape.insert(i, 1)
    if len(shape) > 5:
        raise UnfitError
    target: list[Extent] = list(shape)
    if w.chance(60) and target:
        free = [i for i, e in enumerate(target) if isinstance(e, Poly)] or list(range(len(target)))
        target[w.choice(free)] = -1
    target = [0 if i < x.rank and e == x.shape[i] and w.chance(25) else e for i, e in enumerate(target)]
    if not target:
        w.write("Reshape", [x, w.ints([])], shape, span(x))
        return
    w.write("Reshape", [x, w.shape_chain(target, may_infer=True)], shape, span(x))


def flatten(w: Writer) -> None:
    x = w.floats(1)
    axis = w.between(-x.rank, x.rank) if w.chance(50) else 1
    cut = axis + x.rank if axis < 0 else axis
    w.write("Flatten", [x], [product(x.shape[:cut]), product(x.shape[cut:])], span(x), axis=axis)


def squeeze(w: Writer) -> None:
    x = w.pick(lambda m: 1 in m.shape, rough=True)
    units = [i for i, e in enumerate(x.shape) if e == 1]
    if w.chance(20) and not any(isinstance(e, Poly) for e in x.shape):
        w.write("Squeeze", [x], [e for e in x.shape if e != 1], span(x))
        return
    axis = w.choice(units)
    inputs, attributes = w.axes_form([axis - x.rank if w.chance(50) else axis], 13)
    w.write("Squeeze", [x, *inputs], [e for i, e in enumerate(x.shape) if i != axis], span(x), **attributes)


def unsqueeze(w: Writer) -> None:
    x = w.pick(lambda m: m.rank <= 3, rough=True)
    axis = w.between(0, x.rank)
    inputs, attributes = w.axes_form([axis - x.rank - 1 if w.chance(50) else axis], 13)
    w.write("Unsqueeze", [x, *inputs], [*x.shape[:axis], 1, *x.shape[axis:]], span(x), **attributes)


def transpose(w: Writer) -> None:
    x = w.pick(lambda m: m.rank >= 2, rough=True)
    perm = list(range(x.rank))
    for i in range(x.rank - 1):
        j = w.between(i, x.rank - 1)
        perm[i], perm[j] = perm[j], perm[i]
    if w.chance(15):
        w.write("Transpose", [x], x.shape[::-1], span(x))
    else:
        w.write("Transpose", [x], [x.shape[p] for p in perm], span(x), perm=perm)


def constant_of_shape(w: Writer) -> None:
    x = w.pick(lambda m: 0 < m.rank <= 3)
    value = numpy_helper.from_array(np.array([w.between(-2, 2)], np.float32))
    shape = w.write("Shape", [x], [x.rank], (0, 10**6), INT64)
    w.write("ConstantOfShape", [shape], x.shape, (-2, 2), FLOAT, value=value)


def shape_as_data(w: Writer) -> None:
    x = w.floats(1)
    axis = w.between(0, x.rank - 1)
    if isinstance(x.shape[axis], int):
        raise UnfitError
    shape = w.write("Shape", [x], [x.rank], (0, 7**5), INT64)
    scalar = w.write("Gather", [shape, w.constant(np.array(axis, np.int64))], [], (0, 7**5), INT64)
    number = w.write("Cast", [scalar], [], (0, count(x.shape[axis : axis + 1])), FLOAT, to=FLOAT)
    w.write("Mul", [x, number], x.shape, times(span(x), (0, count(x.shape[axis : axis + 1]))))


# Columns


def concat(w: Writer) -> None:
    first = w.pick(lambda m: m.rank > 0, rough=True)
    axis = w.between(0, first.rank - 1) if w.chance(30) else first.rank - 1

    def fits(m: Made) -> bool:
        return (
            m.rank == first.rank
            and m.dtype == first.dtype
            and all(i == axis or a == b for i, (a, b) in enumerate(zip(m.shape, first.shape, strict=True)))
        )

    tensors = [first, *(w.pick(fits, rough=True) for _ in range(w.between(1, 3)))]
    rest = [e for i, e in enumerate(first.shape) if i != axis]
    if w.chance(15) and first.dtype == FLOAT and all(isinstance(e, int) for e in rest):
        tensors.append(w.numbers([int(str(e)) for e in (*rest[:axis], w.between(1, 2), *rest[axis:])]))
    tensors = tensors[1:] + tensors[:1] if w.chance(50) else tensors
    width = sum((m.shape[axis] for m in tensors), start=0)
    shape = [*first.shape[:axis], width, *first.shape[axis + 1 :]]
    w.write("Concat", tensors, shape, hull(*tensors), axis=axis - first.rank if w.chance(30) else axis)


def _numbered(w: Writer, at_least: int) -> tuple[Made, int, int]:
    """A tensor and a dimension of it whose extent is a number."""
    x = w.pick(lambda m: any(isinstance(e, int) and e >= at_least for e in m.shape), rough=True)
    axis = w.choice([i for i, e in enumerate(x.shape) if isinstance(e, int) and e >= at_least])
    extent = x.shape[axis]
    assert isinstance(extent, int)
    return x, axis, extent


def slice_(w: Writer) -> None:
    x, axis, extent = _numbered(w, 2)
    start = w.between(0, extent - 1)
    stop = w.between(start + 1, extent)
    said = start - extent if w.chance(40) else start, stop if stop < extent or w.chance(30) else 2**63 - 1
    if w.chance(10):  # backwards, or each second one
        step = w.choice([2, -1])
        first, last = (0, 2**31) if step > 0 else (-1, -(2**31))
        inputs = [w.ints([first]), w.ints([last]), w.ints([axis]), w.ints([step])]
        shape = [*x.shape[:axis], len(range(0, extent, abs(step))), *x.shape[axis + 1 :]]
        w.write("Slice", [x, *inputs], shape, span(x))
        return
    if stop < extent and w.chance(30):
        said = said[0], stop - extent
    axes = [axis - x.rank if w.chance(30) else axis]
    inputs = [w.ints([said[0]]), w.ints([said[1]]), w.ints(axes)]
    if w.chance(20):
        inputs.append(w.ints([1]))
    w.write("Slice", [x, *inputs], [*x.shape[:axis], stop - start, *x.shape[axis + 1 :]], span(x))


def slice_several(w: Writer) -> None:
    """Of several dimensions at once, by the default axes."""
    x = w.pick(lambda m: m.rank > 0 and isinstance(m.shape[0], int) and m.shape[0] > 1, rough=True)
    numbers = 1 if x.rank == 1 or not isinstance(x.shape[1], int) else 2
    cuts = [(w.between(0, int(str(e)) - 1), int(str(e))) for e in x.shape[:numbers]]
    starts, ends = ([c[i] for c in cuts] for i in (0, 1))
    shape = [*(b - a for a, b in cuts), *x.shape[numbers:]]
    w.write("Slice", [x, w.ints(starts), w.ints(ends)], shape, span(x))


def slice_symbolic(w: Writer) -> None:
    x = w.pick(lambda m: m.rank > 0 and isinstance(m.shape[0], Poly), rough=True)
    w.write("Slice", [x, w.ints([0]), w.ints([2**31 - 1]), w.ints([0])], x.shape, span(x))


def split(w: Writer) -> None:
    x, axis, extent = _numbered(w, 2)
    widths: list[int] = []
    while sum(widths) < extent:
        widths.append(w.between(1, extent - sum(widths)))
    equal = len(set(widths)) == 1 and w.chance(60)
    inputs: list[Made | None] = [x]
    attributes: dict[str, Any] = {"axis": axis - x.rank if w.chance(30) else axis}
    if not equal and w.opset >= 13:
        inputs.append(w.ints(widths))
    elif not equal:
        attributes["split"] = widths
    elif w.opset >= 18:
        attributes["num_outputs"] = len(widths)
    outputs = [((*x.shape[:axis], width, *x.shape[axis + 1 :]), span(x), x.dtype) for width in widths]
    w.write_all("Split", inputs, outputs, **attributes)


def select(w: Writer) -> None:
    x, axis, extent = _numbered(w, 1)
    rest = (x.shape[:axis], x.shape[axis + 1 :])
    if w.chance(30):
        index = w.constant(np.array(w.between(-extent, extent - 1), np.int64))
        shape = [*rest[0], *rest[1]]
    else:
        start = w.between(0, extent - 1)
        picked = list(range(start, extent))
        if w.chance(50):
            picked = [w.between(-extent, extent - 1) for _ in range(w.between(1, 3))]
        index = w.ints(picked)
        shape = [*rest[0], len(picked), *rest[1]]
    w.write("Gather", [x, index], shape, span(x), axis=axis)


# Lookups


def embedding(w: Writer) -> None:
    ids = w.pick(lambda m: m.dtype == INT64 and m.low >= -9 and m.high <= 40 and m.rank <= 3 and not m.is_index)
    rows = max(ids.high + 1, -ids.low)
    width = w.choice([1, 2, 4])
    if w.chance(15):
        w.write("Gather", [w.numbers([width, rows]), ids], [width, *ids.shape], (-2, 2), FLOAT, axis=1)
        return
    shape: list[Extent] = [rows, width]
    if w.chance(20):
        shape = [rows]
    w.write("Gather", [w.numbers([int(str(e)) for e in shape]), ids], [*ids.shape, *shape[1:]], (-2, 2), FLOAT)


def of_request(w: Writer) -> None:
    """Rows of requests, one for each candidate."""
    index = w.pick(lambda m: m.is_index)
    rows = w.pick(lambda m: m.rank > 0 and m.shape[0] == R, rough=True)
    shape = (B, *rows.shape[1:])
    if w.chance(30):
        axes, attributes = w.axes_form([1], 13)
        column = w.write("Unsqueeze", [index, *axes], [B, 1], (0, 0), **attributes)
        w.write("GatherND", [rows, column], shape, span(rows), rows.dtype)
    else:
        w.write("Gather", [rows, index], shape, span(rows), rows.dtype, axis=0)


def only_row(w: Writer) -> None:
    """The one row there is, for each candidate."""
    x = w.pick(lambda m: m.rank > 0 and m.shape[0] == 1, rough=True)
    like = w.pick(lambda m: m.shape == (B,) or m.shape[:1] == (B,))
    zeros = w.write(
        "ConstantOfShape",
        [w.shape_chain([like.shape[0]])],
        [B],
        (0, 0),
        INT64,
        value=numpy_helper.from_array(np.array([0], np.int64)),
    )
    w.write("Gather", [x, zeros], [B, *x.shape[1:]], span(x), x.dtype)


def masked(w: Writer) -> None:
    """y = data, y[mask] = f(x[mask]): rows that a mask selects, and back where they came from."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank > 0 and isinstance(m.shape[0], Poly))
    data = w.pick(lambda m: m.dtype == FLOAT and m.shape == x.shape)
    gate = w.pick(lambda m: m.dtype == FLOAT and m.rank > 0 and m.shape[0] == x.shape[0])
    if gate.rank > 1:
        axes = list(range(1, gate.rank))
        inputs, attributes = w.axes_form(axes, 18)
        gate = w.write("ReduceMax", [gate, *inputs], gate.shape[:1], span(gate), keepdims=0, **attributes)
    threshold = w.constant(np.array(w.between(-2, 2), np.float32))
    mask = w.write("Greater", [gate, threshold], gate.shape, (0, 1), BOOL)
    every_place = x.rank > 1 and w.chance(40)
    if every_place:
        inputs, attributes = w.axes_form(list(range(1, x.rank)), 13)
        column = w.write("Unsqueeze", [mask, *inputs], [x.shape[0], *[1] * (x.rank - 1)], (0, 1), **attributes)
        mask = w.write("Expand", [column, w.shape_chain(x.shape)], x.shape, (0, 1))
    # The number of rows has no symbol that a run could be sized by: these tensors are for this chain alone.
    found = w.hidden("NonZero", [mask.name])
    places = w.hidden("Transpose", [found], perm=[1, 0])
    rows = w.hidden("GatherND", [x.name, places])
    low, high = span(x)
    for _ in range(w.between(0, 2)):
        if w.chance(50):
            rows, (low, high) = w.hidden("Neg", [rows]), (-high, -low)
        elif every_place or w.chance(50):
            rows, (low, high) = w.hidden("Relu", [rows]), (max(low, 0), max(high, 0))
        else:
            other = w.pick(lambda m: m.dtype == FLOAT and m.shape == x.shape)
            others = w.hidden("GatherND", [other.name, places])
            rows = w.hidden("Add", [rows, others])
            low, high = low + other.low, high + other.high
    bounds = min(low, data.low), max(high, data.high)
    placed = replace(x, name=places, dtype=INT64)
    w.write("ScatterND", [data, placed, replace(x, name=rows)], data.shape, bounds)


def gather_computed(w: Writer) -> None:
    """Elements of a computed tensor, by computed ids."""
    x, axis, extent = _numbered(w, 2)
    ids = w.pick(lambda m: m.dtype == INT64 and m.low >= -extent and m.high < extent and m.rank <= 2 and not m.is_index)
    w.write("Gather", [x, ids], [*x.shape[:axis], *ids.shape, *x.shape[axis + 1 :]], span(x), x.dtype, axis=axis)


def one_hot(w: Writer) -> None:
    ids = w.pick(lambda m: m.dtype == INT64 and m.low >= 0 and m.high <= 6 and 1 <= m.rank <= 3 and not m.is_index)
    depth = w.between(1, 5)
    inputs = [ids, w.constant(np.array(depth, np.int64)), w.constant(np.array([0, 2], np.float32))]
    axis = w.between(0, ids.rank)
    shape = [*ids.shape[:axis], depth, *ids.shape[axis:]]
    w.write("OneHot", inputs, shape, (0, 2), FLOAT, axis=-1 if axis == ids.rank and w.chance(60) else axis)


# Products


def _product(x: Made, y: Made, extent: Extent) -> tuple[int, int]:
    bound = x.size * y.size * count([extent])
    return -bound, bound


def linear(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int), rough=True)
    n = w.between(1, 3)
    width = x.shape[-1]
    assert isinstance(width, int)
    weight = w.numbers([width, n])
    if w.chance(20):
        weight = w.write("Transpose", [w.numbers([n, width])], [width, n], (-2, 2), perm=[1, 0])
    y = w.write("MatMul", [x, weight], [*x.shape[:-1], n], _product(x, weight, width))
    if w.chance(60):
        bias = w.numbers([n])
        operands = [bias, y] if w.chance(50) else [y, bias]
        w.write("Add", operands, y.shape, (y.low - 2, y.high + 2))


QUANTIZED_UNTIL = 27
"""The newest opset for which onnxruntime quantizes."""


def quantized_weight(w: Writer) -> None:
    """A product with a weight that is stored in 8 bits; its scales are for the tensor or for one of its axes."""
    if w.opset > QUANTIZED_UNTIL:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int))
    shape, n = x.shape, w.between(1, 3)
    width = int(str(shape[-1]))
    axis = w.between(0, 1) if w.opset >= 13 and w.chance(60) else None
    extents = [] if axis is None else [(width, n)[axis]]
    dtype = w.choice([np.int8, np.uint8])
    stored = np.array([w.between(0, 3) for _ in range(width * n)]).astype(dtype).reshape(width, n)
    scale = np.array([w.between(1, 2) for _ in range(int(np.prod(extents)))], np.float32).reshape(extents)
    zero = np.array([w.between(0, 2) for _ in range(scale.size)]).astype(dtype).reshape(extents)
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis - 2 if w.chance(30) else axis}
    inputs = [w.constant(a) for a in (stored, scale, zero)]
    weight = w.write("DequantizeLinear", inputs, [width, n], (-4, 6), FLOAT, **attributes)
    w.write("MatMul", [x, weight], [*shape[:-1], n], _product(x, weight, width))


def quantize(w: Writer) -> None:
    """To 8 bits and back, or to a product of integers: once, as onnxruntime makes two of them into another one."""
    if w.opset > QUANTIZED_UNTIL or any(node.op_type == "QuantizeLinear" for node in w.nodes):
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int))
    width = int(str(x.shape[-1]))
    axis = x.rank - 1 if w.opset >= 13 and w.chance(40) else None
    scale = np.array([w.choice([1, 2]) for _ in range(1 if axis is None else width)], np.float32)
    zero = np.array([w.between(0, 2) for _ in range(scale.size)]).astype(np.int8)
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    inputs = [w.constant(scale), w.constant(zero)]
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    q = w.write("QuantizeLinear", [x, *inputs], x.shape, (-128, 127), INT8, **attributes)
    if w.chance(60):
        w.write("DequantizeLinear", [q, *inputs], x.shape, (-260, 254), FLOAT, **attributes)
        return
    n = w.between(1, 3)
    weight = w.constant(np.array([w.between(-2, 2) for _ in range(width * n)]).astype(np.int8).reshape(width, n))
    point = [w.constant(np.array(w.between(0, 2)).astype(np.int8))] if w.chance(60) else []
    if axis is None and w.chance(30):
        scales = [*inputs, weight, *inputs, *inputs]
        made = w.write("QLinearMatMul", [q, *scales], [*x.shape[:-1], n], (-128, 127), INT8, exact=False)
        w.write("DequantizeLinear", [made, *inputs], made.shape, (-260, 254), FLOAT, exact=False)
        return
    bound = 130 * 2 * width
    made = w.write("MatMulInteger", [q, weight, *point], [*x.shape[:-1], n], (-bound, bound), INT32)
    w.write("Cast", [made], made.shape, span(made), FLOAT, to=FLOAT)


def quantize_dynamically(w: Writer) -> None:
    if w.opset > QUANTIZED_UNTIL:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1)
    outputs = [(x.shape, (0, 255), UINT8), ((), (0, 99), FLOAT), ((), (0, 255), UINT8)]
    q, scale, zero = w.write_all("DynamicQuantizeLinear", [x], outputs)
    w.inexact.add(scale.name)
    w.made.remove(scale)  # not an integer
    w.write("DequantizeLinear", [q, scale, zero], x.shape, span(x), FLOAT, exact=False)


def gemm(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2, rough=True)
    trans_a = int(w.chance(15))
    m, k = x.shape[::-1] if trans_a else x.shape
    trans_b = int(w.chance(50))
    if isinstance(k, int) and w.chance(80):
        n: Extent = w.between(1, 3)
        assert isinstance(n, int)
        y = w.numbers([n, k] if trans_b else [k, n])
    else:
        y = w.pick(lambda t: t.dtype == FLOAT and t.rank == 2 and t.shape[trans_b] == k, rough=True)
        n = y.shape[1 - trans_b]
    alpha, beta = w.choice([1.0, 1.0, 2.0, -1.0]), w.choice([1.0, 1.0, 2.0, -1.0])
    bias = None
    kind = w.between(0, 5)
    if kind <= 1 and isinstance(n, int):
        bias = w.numbers(w.choice([[n], [1, n], [1], [], [1, 1]]))
    elif kind <= 3:
        bias = w.pick(lambda t: t.dtype == FLOAT and t.rank <= 2 and broadcast(t.shape, (m, n)) == (m, n), rough=True)
    bound = int(abs(alpha)) * _product(x, y, k)[1] + int(abs(beta)) * (bias.size if bias else 0)
    attributes = {"alpha": alpha, "beta": beta, "transA": trans_a, "transB": trans_b}
    said = {name: v for name, v in attributes.items() if v != (1.0 if name in ("alpha", "beta") else 0) or w.chance(30)}
    w.write("Gemm", [x, y] if bias is None else [x, y, bias], [m, n], (-bound, bound), **said)


def matmul(w: Writer) -> None:
    """Of two computed values, the second transposed first where that is what fits."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1, rough=True)

    def fits(m: Made) -> bool:
        return (
            m.dtype == FLOAT
            and m.rank >= 1
            and x.shape[-1] in m.shape[-2:]
            and broadcast((1, *x.shape[:-2]), (1, *m.shape[:-2])) is not None
        )

    y = w.pick(fits, rough=True)
    if y.rank >= 2 and y.shape[-2] != x.shape[-1]:
        perm = [*range(y.rank - 2), y.rank - 1, y.rank - 2]
        y = w.write("Transpose", [y], [y.shape[p] for p in perm], span(y), perm=perm)
    if y.rank == 1 and y.shape[0] != x.shape[-1]:
        raise UnfitError
    lead = broadcast((1, *x.shape[:-2]), (1, *y.shape[:-2]))
    assert lead is not None
    lead = lead if max(x.rank, y.rank) > len(lead) + 1 else lead[len(lead) + 2 - max(x.rank, y.rank, 2) :]
    shape = [*lead, *x.shape[-2:-1], *(y.shape[-1:] if y.rank >= 2 else [])]
    w.write("MatMul", [x, y], shape, _product(x, y, x.shape[-1]))


def einsum(w: Writer) -> None:
    if w.opset < 12:
        raise UnfitError
    letters: dict[str, Extent] = {}
    tensors = [w.floats(1) for _ in range(w.between(1, 2))]
    if len(tensors) == 2 and isinstance(tensors[0].shape[-1], int) and w.chance(30):
        tensors[1] = w.numbers([tensors[0].shape[-1], *(w.between(1, 3) for _ in range(w.between(1, 2)))])
    terms = []
    for made in tensors:
        term = ""
        for extent in made.shape:
            same = [a for a, e in letters.items() if e == extent and a not in term]
            if same and w.chance(70):
                term += w.choice(same)
            else:
                term += "abcdefghij"[len(letters)]
                letters[term[-1]] = extent
        terms.append(term)
    left = [a for a in letters if w.chance(65)]
    if w.chance(40):
        left.reverse()
    gone = [letters[a] for a in letters if a not in left]
    bound = int(np.prod([m.size for m in tensors], dtype=object)) * count(gone)
    equation = ",".join(terms) + "->" + "".join(left)
    w.write("Einsum", tensors, [letters[a] for a in left], (-bound, bound), equation=equation)


# Along dimensions


REDUCTIONS = """
    ReduceSum ReduceSum ReduceMax ReduceMin ReduceMean ReduceSumSquare ReduceL1 ReduceL2 ReduceProd ReduceLogSum
    ReduceLogSumExp
"""


def reduce(w: Writer) -> None:
    x = w.floats(1)
    op = w.choice(REDUCTIONS.split())
    if op == "ReduceLogSum":  # of what is positive
        if not x.exact and x.size > 9:
            raise UnfitError  # so much more than it is that little of it is left
        above = w.constant(np.array(x.size + 1, np.float32))
        x = w.write("Add", [x, above], x.shape, (1, 2 * x.size + 1))
    elif op == "ReduceLogSumExp" and x.size > 9:
        raise UnfitError
    axes = sorted({w.between(0, x.rank - 1) for _ in range(w.between(1, 2))})
    keep = int(w.chance(50))
    since = 13 if op == "ReduceSum" else 18
    said = [a - x.rank if w.chance(40) else a for a in axes]
    inputs, attributes = w.axes_form(said, since)
    if w.chance(10):
        axes, inputs, attributes = list(range(x.rank)), [], {}
        if w.opset >= since and w.chance(50):
            attributes["noop_with_empty_axes"] = 1
            inputs = [w.ints([])] if w.chance(50) else []
            axes, keep = [], 1
    shape = [1 if i in axes else e for i, e in enumerate(x.shape) if keep or i not in axes]
    n = count([x.shape[a] for a in axes])
    match op:
        case "ReduceSum":
            bounds = (n * min(x.low, 0), n * max(x.high, 0))
        case "ReduceSumSquare":
            bounds = (0, n * x.size**2)
        case "ReduceL1" | "ReduceL2":
            bounds = (0, n * x.size)
        case "ReduceProd":
            bounds = (-(max(x.size, 1) ** n), max(x.size, 1) ** n)
        case "ReduceLogSum" | "ReduceLogSumExp":
            bounds = (-9999, 9999)
        case _:
            bounds = span(x)
    if not axes and op in ("ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"):
        raise UnfitError  # runtimes disagree whether the elements are squared then
    rough = ("ReduceMean", "ReduceL2", "ReduceLogSumExp", "ReduceLogSum")
    w.write(op, [x, *inputs], shape, bounds, exact=op not in rough, keepdims=keep, **attributes)


def softmax(w: Writer) -> None:
    x = w.floats(1, rough=False)
    op = w.choice(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LayerNormalization", "RMSNormalization"])
    attributes = {"axis": w.between(-x.rank, x.rank - 1)} if w.chance(80) or w.opset < 13 else {}
    if op == "LpNormalization":
        w.write(op, [w.write("Add", [x, w.constant(np.array(x.size + 1, np.float32))], x.shape, (1, 2 * x.size + 1))],
                x.shape, (-1, 1), exact=False, **attributes)  # fmt: skip
    elif op == "LayerNormalization":
        width = x.shape[-1]
        if w.opset < 17 or not isinstance(width, int):
            raise UnfitError
        w.write(op, [x, w.numbers([width]), w.numbers([width])], x.shape, (-99, 99), exact=False, epsilon=1.0)
    elif op == "RMSNormalization":
        width = x.shape[-1]
        if w.opset < 23 or not isinstance(width, int):
            raise UnfitError
        w.write(op, [x, w.numbers([width])], x.shape, (-99, 99), exact=False, epsilon=1.0)
    else:
        w.write(op, [x], x.shape, (-9999, 1), exact=op == "Hardmax", **attributes)


def normalized_columns(w: Writer) -> None:
    """LayerNormalization between columns and a layer."""
    if w.opset < 17:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int) and m.size <= 30)
    y = w.pick(
        lambda m: m.dtype == FLOAT and m.shape[:-1] == x.shape[:-1] and isinstance(m.shape[-1], int) and m.size <= 30
    )
    width = int(str(x.shape[-1])) + int(str(y.shape[-1]))
    both = w.write("Concat", [x, y], [*x.shape[:-1], width], hull(x, y), axis=x.rank - 1)
    scale = [w.numbers([width])] + ([w.numbers([width])] if w.chance(70) else [])
    z = w.write("LayerNormalization", [both, *scale], both.shape, (-99, 99), exact=False, epsilon=1.0)
    n = w.choice([2, 32])
    bound = 2 * width * 99
    w.write("MatMul", [z, w.numbers([width, n])], [*x.shape[:-1], n], (-bound, bound), exact=False)


def cumsum(w: Writer) -> None:
    x = w.floats(1)
    axis = w.between(0, x.rank - 1)
    n = count([x.shape[axis]])
    said = w.constant(np.array(axis - x.rank if w.chance(40) else axis, np.int64))
    attributes: dict[str, Any] = {"exclusive": int(w.chance(30)), "reverse": int(w.chance(30))}
    w.write("CumSum", [x, said], x.shape, (n * min(x.low, 0), n * max(x.high, 0)), **attributes)


def gather_elements(w: Writer) -> None:
    """Along one axis, by positions of the value's rank: those of a TopK, or some of a table for everybody."""
    x, axis, extent = _numbered(w, 1)

    def fits(m: Made) -> bool:
        if m.dtype != INT64 or m.is_index or m.rank != x.rank or m.low < -extent or m.high >= extent:
            return False
        return all(i == axis or a == b for i, (a, b) in enumerate(zip(m.shape, x.shape, strict=True)))

    ids = w.pick(fits)
    w.write("GatherElements", [x, ids], ids.shape, span(x), x.dtype, axis=axis - x.rank if w.chance(30) else axis)


def positions(w: Writer) -> None:
    """Small whole numbers of the shape of something: what GatherElements and lookups read."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1)
    small = w.write("Clip", [x, *(w.constant(np.array(n, np.float32)) for n in (0, 1))], x.shape, (0, 1))
    ids = w.write("Cast", [small], x.shape, (0, 1), INT64, to=INT64)
    like = [m for m in w.made if m.shape == x.shape and m.dtype == FLOAT and isinstance(m.shape[-1], int) and m.exact]
    if like and x.shape[-1] != 1:
        source = w.choice(like)
        w.write("GatherElements", [source, ids], ids.shape, span(source), FLOAT, axis=x.rank - 1)


def arg_extreme(w: Writer) -> None:
    x = w.floats(1, rough=False)
    axis, keep = w.between(0, x.rank - 1), int(w.chance(50))
    shape = [1 if i == axis else e for i, e in enumerate(x.shape) if keep or i != axis]
    bounds = (0, count([x.shape[axis]]) - 1)
    w.write(w.choice(["ArgMax", "ArgMin"]), [x], shape, bounds, INT64, axis=axis, keepdims=keep)


def top_k(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and any(isinstance(e, int) for e in m.shape))
    axis = w.choice([i for i, e in enumerate(x.shape) if isinstance(e, int)])
    extent = x.shape[axis]
    assert isinstance(extent, int)
    k = w.between(1, extent)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    outputs = [(shape, span(x), FLOAT), (shape, (0, extent - 1), INT64)]
    w.write_all("TopK", [x, w.ints([k])], outputs, axis=axis, largest=int(w.chance(60)))


# Operators with a batch of their own, bodies, and operators without a rule


def attention(w: Writer) -> None:
    if w.opset < 23:
        raise UnfitError

    def fits(m: Made) -> bool:
        return m.dtype == FLOAT and m.rank == 3 and m.size <= 16 and isinstance(m.shape[2], int)

    q = w.pick(fits)
    width = int(str(q.shape[2]))
    k = w.pick(lambda m: fits(m) and (m.shape[0], m.shape[2]) == (q.shape[0], width))
    v = w.pick(lambda m: fits(m) and m.shape == k.shape)
    inputs = [q, k, v]
    if isinstance(q.shape[1], int) and isinstance(k.shape[1], int) and w.chance(50):
        inputs.append(w.numbers([q.shape[1], k.shape[1]]))
    heads = 2 if width % 2 == 0 and w.chance(50) else 1
    attributes = {"is_causal": 1} if w.chance(20) else {}
    w.write("Attention", inputs, q.shape, span(v), exact=False, q_num_heads=heads, kv_num_heads=heads, **attributes)


def recurrent(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 3 and isinstance(m.shape[2], int) and m.size < 30, rough=True)
    if w.chance(60):
        x = w.write("Transpose", [x], [x.shape[1], x.shape[0], x.shape[2]], span(x), perm=[1, 0, 2])
    length, batch, width = x.shape
    op, gates = w.choice([("GRU", 3), ("LSTM", 4), ("RNN", 1)])
    hidden, bidirectional = 2, w.chance(30)
    d = 2 if bidirectional else 1
    assert isinstance(width, int)
    inputs: list[Made | None] = [x, w.numbers([d, gates * hidden, width]), w.numbers([d, gates * hidden, hidden])]
    start = [m for m in w.made if m.dtype == FLOAT and m.shape == (d, batch, hidden) and m.size < 30]
    if start and w.chance(60):
        inputs += [None, None, w.choice(start)]
    outputs = [([length, d, batch, hidden], (-1, 1), FLOAT), ([d, batch, hidden], (-1, 1), FLOAT)]
    attributes = {"direction": "bidirectional"} if bidirectional else {}
    w.write_all(op, inputs, outputs[: w.between(1, 2)], exact=False, hidden_size=hidden, **attributes)


def conv(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank in (3, 4) and isinstance(m.shape[1], int), rough=True)
    channels, spatial = x.shape[1], x.shape[2:]
    if not all(isinstance(e, int) for e in spatial):
        raise UnfitError
    assert isinstance(channels, int)
    kernel = [w.between(1, min(int(str(e)), 2)) for e in spatial]
    weight = w.numbers([w.between(1, 2), channels, *kernel])
    bound = x.size * 2 * channels * int(np.prod(kernel))
    if w.chance(30):
        strides = [w.between(1, 2) for _ in spatial]
        out = [-(-int(str(e)) // stride) for e, stride in zip(spatial, strides, strict=True)]
        attributes = {"auto_pad": w.choice(["SAME_UPPER", "SAME_LOWER"]), "strides": strides}
    else:
        pads = [w.between(0, 1) for _ in spatial]
        out = [int(str(e)) + 2 * p - k + 1 for e, p, k in zip(spatial, pads, kernel, strict=True)]
        attributes = {"pads": [*pads, *pads]}
    w.write("Conv", [x, weight], [x.shape[0], weight.shape[0], *out], (-bound, bound), **attributes)


def if_(w: Writer) -> None:
    """With a condition that follows from shapes, or from data, and branches that capture."""
    x = w.floats(1)
    if w.chance(40):
        first = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1)
        inputs, attributes = w.axes_form(list(range(first.rank)), 18)
        least = w.write("ReduceMin", [first, *inputs], [], span(first), keepdims=0, **attributes)
        condition = w.write("Greater", [least, w.constant(np.array(-1, np.float32))], [], (0, 1), BOOL)
    else:
        rank = w.write("Size", [w.write("Shape", [x], [x.rank], (0, 10**6), INT64)], [], (0, 9), INT64)
        other = w.constant(np.array(x.rank + w.between(0, 1), np.int64))
        condition = w.write("Equal", [rank, other], [], (0, 1), BOOL)
    bodies = []
    for op in ("Neg", "Relu"):
        w.count += 1
        name = f"b{w.count}"
        info = helper.make_tensor_value_info(name, x.dtype, [None] * x.rank)
        bodies.append(helper.make_graph([helper.make_node(op, [x.name], [name])], op, [], [info]))
    bounds, branches = (-x.size, x.size), {"then_branch": bodies[0], "else_branch": bodies[1]}
    w.write("If", [condition], x.shape, bounds, x.dtype, exact=x.exact, **branches)


def local_function(w: Writer) -> None:
    """A call of a function that the model defines."""
    x = w.floats()
    w.functions = True
    w.write("Twice", [x], x.shape, (2 * x.low, 2 * x.high), domain=LOCAL)


def scatter_elements(w: Writer) -> None:
    """The largest of each row, negated where they are."""
    x, axis, extent = _numbered(w, 1)
    if x.dtype != FLOAT or not x.exact:
        raise UnfitError
    k = w.between(1, extent)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    outputs = [(shape, span(x), FLOAT), (shape, (0, extent - 1), INT64)]
    top, places = w.write_all("TopK", [x, w.ints([k])], outputs, axis=axis)
    updates = w.write("Neg", [top], shape, (-x.high, -x.low))
    bounds = (min(x.low, -x.high), max(x.high, -x.low))
    w.write("ScatterElements", [x, places, updates], x.shape, bounds, FLOAT, axis=axis)


def by_member(w: Writer) -> None:
    """An entry of each member of the batch, or its first ones the other way round."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[1], int))
    extent = int(str(x.shape[1]))
    ids = w.pick(lambda m: m.dtype == INT64 and m.shape == x.shape[:1] and m.low >= 0 and m.high <= extent)
    if w.chance(50):
        w.write("ReverseSequence", [x, ids], x.shape, span(x), FLOAT, batch_axis=0, time_axis=1)
        return
    if ids.high == extent or w.opset < 12:
        raise UnfitError
    axes, attributes = w.axes_form([1], 13)
    column = w.write("Unsqueeze", [ids, *axes], [*ids.shape, 1], span(ids), **attributes)
    w.write("GatherND", [x, column], [x.shape[0], *x.shape[2:]], span(x), FLOAT, batch_dims=1)


def scan(w: Writer) -> None:
    """The largest so far, along the first dimension."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2)
    states = [m for m in w.made if m.dtype == FLOAT and m.shape == x.shape[1:]]
    if states:
        h = w.choice(states)
    else:
        axes, attributes = w.axes_form([0], 18)
        h = w.write("ReduceMax", [x, *axes], x.shape[1:], span(x), keepdims=0, **attributes)
    w.count += 1
    names = [f"b{w.count}_{n}" for n in ("h", "x", "o", "p")]
    infos = [helper.make_tensor_value_info(name, FLOAT, [None] * (x.rank - 1)) for name in names]
    nodes = [helper.make_node("Max", names[:2], names[2:3]), helper.make_node("Neg", names[1:2], names[3:])]
    body = helper.make_graph(nodes, "largest", infos[:2], infos[2:])
    outputs = [(h.shape, hull(h, x), FLOAT), (x.shape, (-x.high, -x.low), FLOAT)]
    w.write_all("Scan", [h, x], outputs, num_scan_inputs=1, body=body)


def loop(w: Writer) -> None:
    """The largest so far of what the body reads by name, for some steps, or until one of all is large."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[0], int))
    times, until = w.between(1, int(str(x.shape[0]))), w.chance(30)
    states = [m for m in w.made if m.dtype == FLOAT and m.shape == x.shape[1:]]
    axes, attributes = w.axes_form([0], 18)
    start = w.write("ReduceMax", [x, *axes], x.shape[1:], span(x), keepdims=0, **attributes)
    h = w.choice([*states, start])
    limit = w.constant(np.array(w.between(1, 4), np.float32))
    w.count += 1
    i, go, state, on, step, largest, found = (f"b{w.count}_{n}" for n in ("i", "go", "h", "on", "x", "o", "p"))
    nodes = [
        helper.make_node("Gather", [x.name, i], [step], axis=0),
        helper.make_node("Max", [state, step], [largest]),
        helper.make_node("Neg", [step], [found]),
    ]
    if until:
        nodes.append(helper.make_node("ReduceMax", [largest], [f"{on}_"], keepdims=0))
        nodes.append(helper.make_node("Less", [f"{on}_", limit.name], [on]))
    else:
        nodes.append(helper.make_node("Identity", [go], [on]))

    def info(name: str, dtype: int = FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, [None] * (x.rank - 1) if dtype == FLOAT else [])

    given, results = [info(i, INT64), info(go, BOOL), info(state)], [info(on, BOOL), info(largest)]
    outputs = [(h.shape, hull(h, x), FLOAT)]
    if not until:  # it would be of unknown length
        results.append(info(found))
        outputs.append(((times, *x.shape[1:]), (-x.high, -x.low), FLOAT))
    body = helper.make_graph(nodes, "largest", given, results)
    trips, yes = w.constant(np.array(times, np.int64)), w.constant(np.array(True))
    w.write_all("Loop", [trips, yes, h], outputs, body=body)


def pad(w: Writer) -> None:
    x, axis, extent = _numbered(w, 1)
    if x.dtype != FLOAT:
        raise UnfitError
    before, after = w.between(0, 1), w.between(0, 2)
    pads = [0] * (2 * x.rank)
    pads[axis], pads[x.rank + axis] = before, after
    shape = [*x.shape[:axis], extent + before + after, *x.shape[axis + 1 :]]
    w.write("Pad", [x, w.ints(pads)], shape, (min(x.low, 0), max(x.high, 0)))


POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
NORMALIZED = ("InstanceNormalization", "GroupNormalization", "LRN", "MeanVarianceNormalization")


def image(w: Writer) -> None:
    """What libraries do to images: on channels and two dimensions of places."""
    x = w.pick(
        lambda m: (
            m.dtype == FLOAT and m.rank in (2, 3) and m.size <= 30 and all(isinstance(e, int) for e in m.shape[1:])
        )
    )
    added = [3] if x.rank == 3 else [2, 3] if w.chance(60) else [1, 3]
    axes, attributes = w.axes_form(added, 13)
    shape = [*x.shape, 1] if x.rank == 3 else [x.shape[0], *((x.shape[1], 1) if 2 in added else (1, x.shape[1])), 1]
    x = w.write("Unsqueeze", [x, *axes], shape, span(x), **attributes)
    lead, channels, places, _ = x.shape
    c, n = int(str(channels)), int(str(places))
    match op := w.choice([*POOLS, *NORMALIZED, "DepthToSpace", "SpaceToDepth", "Resize", "Compress", "ConvTranspose"]):
        case "MaxPool" | "AveragePool" | "LpPool":
            kernel = w.between(1, n)
            exact = {"p": 1} if op == "LpPool" else {}
            bounds = span(x) if op == "MaxPool" else (-x.size * n, x.size * n)
            shape = [lead, c, n - kernel + 1, 1]
            w.write(op, [x], shape, bounds, exact=op == "MaxPool", kernel_shape=[kernel, 1], **exact)
        case "GlobalMaxPool" | "GlobalAveragePool" | "GlobalLpPool":
            if op == "GlobalLpPool" and w.opset >= 22:  # onnxruntime has none
                raise UnfitError
            w.write(op, [x], [lead, c, 1, 1], (-x.size * n, x.size * n), exact=op == "GlobalMaxPool")
        case "LRN":
            w.write(op, [x], x.shape, (-999, 999), exact=False, size=3)
        case "MeanVarianceNormalization":
            if w.half:  # what onnx says that it is made of has a constant in float32
                raise UnfitError
            shifted = w.write("Add", [x, w.numbers([c, n, 1])], x.shape, (x.low - 2, x.high + 2))
            w.write(op, [shifted], x.shape, (-999, 999), exact=False, axes=[0, 2, 3] if w.chance(50) else [1, 2])
        case "InstanceNormalization" | "GroupNormalization":
            if op == "GroupNormalization" and w.opset < 21:
                raise UnfitError
            groups = {"num_groups": 1} if op == "GroupNormalization" else {}
            scales = [w.numbers([c]), w.numbers([c])]
            w.write(op, [x, *scales], x.shape, (-999, 999), exact=False, epsilon=1.0, **groups)
        case "DepthToSpace":
            if c % 4:
                raise UnfitError
            w.write(op, [x], [lead, c // 4, n * 2, 2], span(x), blocksize=2)
        case "SpaceToDepth":
            w.write(op, [x], x.shape, span(x), blocksize=1)
        case "Resize":
            factors = w.constant(np.array([1, 1, 2, 1], np.float32))
            region = w.constant(np.array([], np.float32))
            w.write(op, [x, region, factors], [lead, c, n * 2, 1], span(x), mode="nearest")
        case "Compress":
            chosen = [w.chance(50) for _ in range(n - 1)] + [True]
            w.write(op, [x, w.constant(np.array(chosen))], [lead, c, sum(chosen), 1], span(x), axis=2)
        case "ConvTranspose":
            bound = x.size * 2 * c
            w.write(op, [x, w.numbers([c, 2, 1, 1])], [lead, 2, n, 1], (-bound, bound))


def triangle(w: Writer) -> None:
    if w.opset < 14:
        raise UnfitError
    x = w.floats(2, rough=False)
    w.write("Trilu", [x], x.shape, (min(x.low, 0), max(x.high, 0)), upper=w.between(0, 1))


def without_rule(w: Writer) -> None:
    match w.choice(["EyeLike", "Range"]):
        case "EyeLike":
            x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2)
            w.write("EyeLike", [x], x.shape, (0, 1))
        case "Range":  # positions
            extent = w.choice([B, L])
            start, step = (w.constant(np.array(v, np.int64)) for v in (0, 1))
            end = w.write("Gather", [w.extent(extent), start], [], (0, 7), INT64)
            w.write("Range", [start, end, step], [extent], (0, 6), INT64)


OPERATORS: dict[Maker, int] = {
    arithmetic: 12,
    variadic: 2,
    unary: 5,
    unary_exact: 4,
    unary_rough: 9,
    integers: 2,
    bits: 3,
    cast_like: 2,
    clip: 3,
    prelu: 2,
    compare: 2,
    logic: 3,
    where: 3,
    cast: 2,
    batch_normalization: 3,
    expand: 7,
    tile: 2,
    reshape: 7,
    flatten: 2,
    squeeze: 2,
    unsqueeze: 3,
    transpose: 4,
    constant_of_shape: 1,
    shape_as_data: 1,
    concat: 12,
    slice_: 4,
    slice_several: 1,
    slice_symbolic: 1,
    split: 3,
    select: 4,
    embedding: 6,
    of_request: 8,
    only_row: 2,
    gather_computed: 2,
    masked: 3,
    one_hot: 1,
    linear: 7,
    quantized_weight: 2,
    quantize: 3,
    quantize_dynamically: 1,
    gemm: 7,
    matmul: 6,
    einsum: 4,
    reduce: 8,
    softmax: 4,
    normalized_columns: 1,
    cumsum: 2,
    gather_elements: 1,
    positions: 2,
    arg_extreme: 1,
    top_k: 2,
    attention: 3,
    recurrent: 2,
    conv: 1,
    if_: 1,
    scatter_elements: 1,
    by_member: 2,
    scan: 1,
    loop: 2,
    pad: 2,
    triangle: 1,
    local_function: 1,
    image: 7,
    without_rule: 1,
}
"""What writes an operator, and how often it is chosen."""
