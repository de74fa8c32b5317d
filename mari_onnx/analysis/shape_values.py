"""Shape arithmetic, evaluated on extents.

Exporters compute shapes in the graph, by chains of Shape, Gather, Mul by -1, Equal, Where, Concat and others. They are
evaluated here on integers and symbols. Where such a tensor is still needed, it is written as a short chain from the
shapes of graph inputs. A content is an array of extents and bools; None stands for an element that is not known.

Example: Concat(Gather(Shape(x), 0), [-1]) of x [B, 50, 8] has the content [B, -1], whatever x is computed from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from mari_onnx.analysis.context import Context, Op
from mari_onnx.ir.axes import extents, infer_shape
from mari_onnx.ir.extents import compare, divide, is_within, ordered, product
from mari_onnx.ir.operators import OPERATORS

Content: TypeAlias = npt.NDArray[Any]

MAX_ELEMENTS = 256
"""Tensors of more elements have no content: shapes are short, and long tensors are data."""

LARGEST: dict[int, int] = {TensorProto.INT32: 2**31 - 1, TensorProto.INT64: 2**63 - 1}
"""The largest number of each element type that shapes are computed in."""


def content(op: Op, ctx: Context) -> Content | None:
    """The content of the node's first output, or None where it is not known in any element."""
    evaluate = EVALUATORS.get(op.op_type)
    if evaluate is None or op.proto.domain not in ("", "ai.onnx") or len(op.proto.output) != 1:
        return None
    try:
        evaluated = evaluate(op, ctx)
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        return None  # some element is unknown, or the node would fail at run time too
    if evaluated is None:
        return None
    result = np.asarray(evaluated, object)  # numpy returns a scalar instead of an array of rank 0
    largest = LARGEST.get(op.data.dtype, LARGEST[TensorProto.INT64])
    if not all(is_within(e, largest) for e in result.flat if e is not None):
        return None  # the result overflows in a runtime
    unknown = result.size > 0 and all(e is None for e in result.flat)
    return None if unknown or result.size > MAX_ELEMENTS else result


def as_content(array: npt.NDArray[Any]) -> Content | None:
    """The content of a constant: plain ints and bools."""
    if array.size > MAX_ELEMENTS or array.dtype.kind not in "iub":
        return None
    return array.astype(object)


def _given(op: Op, i: int) -> Content:
    """The content of input i; raises ValueError, which `content` answers with None, where it is not known."""
    value = op.input(i)
    if value is None or value.content is None:
        raise ValueError("unknown")
    return value.content


def _objects(elements: list[Any], shape: tuple[int, ...] | None = None) -> Content:
    """A content of these elements, as a list or in this shape."""
    out = np.empty(len(elements), object)
    out[:] = elements
    return out if shape is None else out.reshape(shape)


def _ints(content: Content) -> list[int]:
    """The elements as a list, where all of them are numbers; raises ValueError where one is a symbol or unknown."""
    if not all(type(e) is int for e in content.flat):
        raise ValueError("not numbers")
    return [int(e) for e in content.flat]


def _axes(op: Op, i: int) -> list[int] | None:
    """Axes that are an input in newer operator versions and an attribute in older ones; None where left out."""
    if op.input(i) is not None:
        return _ints(_given(op, i))
    axes = op.attribute("axes")
    return None if axes is None else list(axes)


def _broadcast(*contents: Content) -> list[Content]:
    """The contents in their common shape; raises ValueError where that is too large."""
    _check_size(math.prod(np.broadcast_shapes(*(each.shape for each in contents))))
    return list(np.broadcast_arrays(*contents))


def _check_size(elements: int) -> None:
    """Raise ValueError for a content that is too large, before it is made: a Tile may repeat an element 1e10 times."""
    if elements > MAX_ELEMENTS:
        raise ValueError("too long")


def _each(function: Callable[..., Any]) -> Callable[[Op, Context], Content]:
    """The evaluator of an elementwise operator: an unknown operand gives an unknown element."""

    def apply(op: Op, ctx: Context) -> Content:
        arrays = _broadcast(*(_given(op, i) for i in range(len(op.inputs))))
        rows = zip(*(a.flat for a in arrays), strict=True)
        results = [None if any(e is None for e in row) else function(*row) for row in rows]
        return _objects(results, arrays[0].shape)

    return apply


def _shape(op: Op, ctx: Context) -> Content | None:
    if op.data.dims is None:
        return None
    shape = list(extents(op.data.dims))
    return _objects(shape[op.attribute("start", 0) : op.attribute("end", len(shape))])


def _size(op: Op, ctx: Context) -> Content | None:
    return None if op.data.dims is None else _objects([product(extents(op.data.dims))], ())


def _gather(op: Op, ctx: Context) -> Content:
    indices = _given(op, 1)
    return np.take(_given(op, 0), np.array(_ints(indices), int).reshape(indices.shape), op.axis)


def _slice(op: Op, ctx: Context) -> Content:
    x = _given(op, 0)
    if op.opset < OPERATORS["Slice"].axes_input_from:
        starts, ends = list(op.attribute("starts")), list(op.attribute("ends"))
        axes, steps = op.attribute("axes"), None
    else:
        starts, ends = _ints(_given(op, 1)), _ints(_given(op, 2))
        axes = _ints(_given(op, 3)) if op.input(3) is not None else None
        steps = _ints(_given(op, 4)) if op.input(4) is not None else None
    index = [slice(None)] * x.ndim
    for k, axis in enumerate(range(len(starts)) if axes is None else axes):
        index[axis] = bounded(starts[k], ends[k], 1 if steps is None else steps[k], x.shape[axis])
    return x[tuple(index)]


def bounded(start: int, end: int, step: int, extent: int) -> slice:
    """The Python slice of ONNX's start, end and step. A start before the first element means the first element.

    Python would select nothing for such a start with a negative step.
    """
    return slice(max(start, -extent), end, step)


def _reshape(op: Op, ctx: Context) -> Content:
    x = _given(op, 0)
    shape = infer_shape(_ints(_given(op, 1)), x.shape, bool(op.attribute("allowzero", 0)))
    if shape is None:
        raise ValueError("unknown")
    return x.reshape([int(e) for e in shape if isinstance(e, int)])


def _transpose(op: Op, ctx: Context) -> Content:
    return np.transpose(_given(op, 0), op.attribute("perm"))


def _squeeze(op: Op, ctx: Context) -> Content:
    axes = _axes(op, 1)
    return np.squeeze(_given(op, 0), None if axes is None else tuple(axes))


def _unsqueeze(op: Op, ctx: Context) -> Content:
    axes = _axes(op, 1)
    assert axes is not None
    return np.expand_dims(_given(op, 0), tuple(axes))


def _concat(op: Op, ctx: Context) -> Content:
    return np.concatenate([_given(op, i) for i in range(len(op.inputs))], op.axis)


def _constant_of_shape(op: Op, ctx: Context) -> Content | None:
    fill = op.attribute("value")
    if fill is None:
        return None  # float zeros
    scalar = as_content(ctx.array_of(fill).reshape(()))
    shape = _ints(_given(op, 0))
    if scalar is None:
        return None
    _check_size(math.prod(shape))
    return np.full(shape, scalar.item(), object)


def _expand(op: Op, ctx: Context) -> Content:
    x, shape = _given(op, 0), _ints(_given(op, 1))
    target = np.broadcast_shapes(x.shape, tuple(shape))
    _check_size(math.prod(target))
    return np.broadcast_to(x, target)


def _tile(op: Op, ctx: Context) -> Content:
    x, repeats = _given(op, 0), _ints(_given(op, 1))
    _check_size(x.size * math.prod(repeats))
    return np.tile(x, repeats)


def _one_hot(op: Op, ctx: Context) -> Content:
    """TorchScript writes the repeats of repeat_interleave(int) as OneHot([axis], rank, [1, repeats])."""
    indices, depth, values = _given(op, 0), _ints(_given(op, 1))[0], _given(op, 2)
    if op.axis != -1:
        raise ValueError("only along a new last axis")
    _check_size(indices.size * depth)
    off, on = values
    rows = [[on if i % depth == k else off for k in range(depth)] for i in _ints(indices)]
    return _objects([e for row in rows for e in row], (*indices.shape, depth))


def _range(op: Op, ctx: Context) -> Content:
    start, stop, step = (_ints(_given(op, i))[0] for i in range(3))
    if step:
        _check_size(abs((stop - start) // step))
    return _objects(list(range(start, stop, step)))


def _cast(op: Op, ctx: Context) -> Content | None:
    to = op.attribute("to")
    x = _given(op, 0)
    if to == TensorProto.BOOL:
        return _objects([None if e is None else _decided(compare(e, 0), (-1, 1)) for e in x.flat], x.shape)
    if to not in LARGEST:
        return None
    numbers = [int(e) if isinstance(e, bool) else e for e in x.flat]
    return _objects([None if isinstance(e, int) and abs(e) > LARGEST[to] else e for e in numbers], x.shape)


def _decided(sign: int | None, accepted: tuple[int, ...]) -> bool | None:
    """Whether the sign of a - b is one of `accepted`; None where the sign is not known."""
    return None if sign is None else sign in accepted


def _where(op: Op, ctx: Context) -> Content:
    """The chosen elements. Where the condition is not known, the element is known if both sides have the same."""
    condition, x, y = _broadcast(*(_given(op, i) for i in range(3)))
    chosen = [
        (a if c else b) if c is not None else a if a is not None and a == b else None
        for c, a, b in zip(condition.flat, x.flat, y.flat, strict=True)
    ]
    return _objects(chosen, condition.shape)


def _divide(a: Any, b: Any) -> Any:
    """The quotient. Integers are truncated, as ONNX divides them; symbols have to divide without remainder: 6*B / 2."""
    if type(a) is int and type(b) is int:
        return int(np.trunc(a / b)) if abs(a) < 2**53 and abs(b) < 2**53 else None
    return divide(a, b)


def _extreme(sign: int) -> Callable[..., Any]:
    """A function that picks the largest (1) or smallest (-1) element; None where symbols cannot be compared."""

    def pick(*elements: Any) -> Any:
        for e in elements:
            pairs = [ordered(e, other) for other in elements]
            if all(pair is not None and pair[sign > 0] == e for pair in pairs):
                return e
        return None

    return pick


def _clip(op: Op, ctx: Context) -> Content:
    """Older versions have bounds that are attributes, and take floats only."""
    result = _given(op, 0)
    for i, sign in ((1, 1), (2, -1)):
        if op.input(i) is not None:
            bound, pick = _given(op, i).item(), _extreme(sign)
            elements = [None if e is None or bound is None else pick(e, bound) for e in result.flat]
            result = _objects(elements, result.shape)
    return result


def _reduce(function: Callable[[list[Any]], Any]) -> Callable[[Op, Context], Content | None]:
    """The evaluator of a reduction, of a list to a number."""

    def apply(op: Op, ctx: Context) -> Content | None:
        x, axes = _given(op, 0), _axes(op, 1)
        if not axes and op.attribute("noop_with_empty_axes", 0):
            return x
        if x.ndim != 1 or any(e is None for e in x.flat) or axes not in (None, [], [0], [-1]):
            return None
        return _objects([function(list(x.flat))], (1,) if op.attribute("keepdims", 1) else ())

    return apply


def _identity(op: Op, ctx: Context) -> Content:
    return _given(op, 0)


def _abs(e: Any) -> Any:
    sign = compare(e, 0)
    return None if sign is None else e if sign >= 0 else -e


def _mod(a: Any, b: Any) -> Any:
    return a % b if type(a) is int and type(b) is int and b > 0 and a >= 0 else None


EVALUATORS: dict[str, Callable[[Op, Context], Content | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Tile": _tile,
    "OneHot": _one_hot,
    "Range": _range,
    "Cast": _cast,
    "Where": _where,
    "ReduceProd": _reduce(product),
    "ReduceMax": _reduce(lambda elements: _extreme(1)(*elements)),
    "ReduceMin": _reduce(lambda elements: _extreme(-1)(*elements)),
    "Clip": _clip,
    "Identity": _identity,
    "Add": _each(lambda a, b: a + b),
    "Sub": _each(lambda a, b: a - b),
    "Mul": _each(lambda a, b: a * b),
    "Div": _each(_divide),
    "Mod": _each(_mod),
    "Neg": _each(lambda a: -a),
    "Abs": _each(_abs),
    "Max": _each(_extreme(1)),
    "Min": _each(_extreme(-1)),
    "Equal": _each(lambda a, b: _decided(compare(a, b), (0,))),
    "Greater": _each(lambda a, b: _decided(compare(a, b), (1,))),
    "Less": _each(lambda a, b: _decided(compare(a, b), (-1,))),
    "GreaterOrEqual": _each(lambda a, b: _decided(compare(a, b), (0, 1))),
    "LessOrEqual": _each(lambda a, b: _decided(compare(a, b), (-1, 0))),
    "Not": _each(lambda a: not a),
    "And": _each(lambda a, b: a and b),
    "Or": _each(lambda a, b: a or b),
}
"""The evaluator of each operator. The outputs of all other operators have no content."""
