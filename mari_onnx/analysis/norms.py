"""How large a number is at most that is divided by a norm of the row that it is part of.

    x / sqrt(mean(x^2) + epsilon)     sqrt(n) for rows of n: RMSNorm, also as x * (1 / sqrt(..)), or x * Reciprocal
    x / max(|x|, epsilon)             1: rows of length one

Each number has to be divided by the norm that it is part of. Of x [4, 4] the norms of the rows [4, 1], turned to
[1, 4], bound nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple, TypeAlias

import numpy as np

from mari_onnx.analysis.interval import Interval
from mari_onnx.ir.expressions import Tensor, is_reshape
from mari_onnx.ir.extents import Extent, divide, product

Of: TypeAlias = Callable[[Tensor], Interval]
"""The interval of a tensor."""


class _Norm(NamedTuple):
    """Norms of the rows of x, and the `largest` that x / norm can be.

    `reduced` has one for each row of `rows`, which are x or its squares, perhaps of another shape.
    """

    reduced: Tensor
    rows: Tensor
    x: Tensor
    largest: float


def normalized(t: Tensor, of: Of) -> float | None:
    """The largest magnitude of x / norm, or of x * (1 / norm); None for any other tensor."""
    if t.op_type not in ("Mul", "Div"):
        return None
    for x, scale in (t.node.inputs, t.node.inputs[::-1])[: 1 if t.op_type == "Div" else 2]:
        divisor = scale if t.op_type == "Div" else _inverted(scale, of)
        norm = _norm(divisor, of)
        if x is None or scale is None or norm is None or _unshaped(norm.x) is not _unshaped(x):
            continue
        if _shared(x, _repeated(scale)) == _shared(norm.rows, norm.reduced):
            return norm.largest
    return None


def _inverted(t: Tensor | None, of: Of) -> Tensor | None:
    """The x of 1 / x."""
    t = _unshaped(t)
    if t is None or t.op_type not in ("Reciprocal", "Div"):
        return None
    first, *rest = t.node.inputs
    if t.op_type == "Reciprocal":
        return first
    one = None if first is None else of(first)
    return rest[0] if one is not None and one.is_known and bool(np.all(one.low == 1)) else None


def _norm(t: Tensor | None, of: Of) -> _Norm | None:
    """The norm that a tensor is, or is at least."""
    t = _at_least(t, of)
    if t is None or not t.node.inputs or (first := t.node.inputs[0]) is None:
        return None
    if t.op_type == "ReduceL2":
        return _of_rows(t, first, 1.0)
    inner = _at_least(first, of) if t.op_type == "Sqrt" else None
    if inner is None or not inner.node.inputs or (squares := inner.node.inputs[0]) is None:
        return None
    if inner.op_type == "ReduceSumSquare":
        return _of_rows(inner, squares, 1.0)
    x = _squared(squares, of)
    if x is None or inner.op_type not in ("ReduceMean", "ReduceSum"):
        return None
    count = divide(product(squares.known_shape), product(inner.known_shape))
    if inner.op_type == "ReduceSum":
        return _of_rows(inner, squares, 1.0, x)
    return _of_rows(inner, squares, math.sqrt(count), x) if isinstance(count, int) else None


def _of_rows(reduced: Tensor, read: Tensor, largest: float, x: Tensor | None = None) -> _Norm | None:
    """The norm, of rows of x where `read` are their squares; None where a dimension is left out."""
    if len(reduced.known_shape) != len(read.known_shape):
        return None
    return _Norm(reduced, read, read if x is None else x, largest)


def _at_least(t: Tensor | None, of: Of) -> Tensor | None:
    """The tensor that this one is, is repeated from, or is at least: x of max(x, epsilon) and of x + epsilon."""
    t = _unexpanded(t)
    if t is None or t.op_type not in ("Add", "Max", "Clip"):
        return t
    first, *rest = t.node.inputs
    if t.op_type == "Clip":
        return _unexpanded(first) if len(rest) < 2 or rest[1] is None else None
    given = [i for i in (first, *rest) if i is not None]
    computed = [i for i in given if not i.constant]
    if len(computed) != 1 or any(np.any(of(i).low < 0) for i in given if i.constant):
        return None
    return _unexpanded(computed[0])


def _squared(t: Tensor, of: Of) -> Tensor | None:
    """The x of x * x, or of x to the power of 2."""
    t = _unshaped(t) or t
    if t.op_type not in ("Mul", "Pow"):
        return None
    base, other = t.node.inputs
    if t.op_type == "Mul":
        return base if other is base else None
    exponent = None if other is None else of(other)
    return base if exponent is not None and exponent.is_known and bool(np.all(exponent.low == 2)) else None


def _repeated(t: Tensor) -> Tensor:
    """The tensor that an Expand repeats to this one. It broadcasts as this one does; one that was reshaped need not."""
    while t.op_type == "Expand" and (first := t.node.inputs[0]) is not None:
        t = first
    return t


def _shared(x: Tensor, number: Tensor) -> list[tuple[Extent, bool]]:
    """How many elements of x in a row have one number, and how many a number each, where `number` broadcasts to x.

    Example: x [15, 2, 2, 4] and numbers [15, 2, 1, 1] have 30 with a number each, and 8 with one.
    """
    rank, shape = len(x.known_shape), number.known_shape
    numbers = (*(1,) * (rank - len(shape)), *shape[max(len(shape) - rank, 0) :])
    each = [(e, n == 1) for e, n in zip(x.known_shape, numbers, strict=True) if e != 1]
    return [(product([e for e, _ in run]), one) for one, run in groupby(each, key=lambda pair: pair[1])]


def _unshaped(t: Tensor | None) -> Tensor | None:
    """The tensor that was reshaped to this one."""
    while t is not None and is_reshape(t):
        t = t.node.inputs[0]
    return t


def _unexpanded(t: Tensor | None) -> Tensor | None:
    """The tensor that was reshaped, or repeated along an axis, to this one."""
    while t is not None and (is_reshape(t) or t.op_type == "Expand"):
        t = t.node.inputs[0]
    return t
