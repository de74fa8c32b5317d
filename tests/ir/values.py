"""Stored arrays of small integers, values of them, and what they amount to."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Axis, Dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.forms import Array, Parts, Terms, Value
from mari_onnx.ir.parts import join
from tests.graphs import integers

F, D, L = Axis(2, "F"), Axis(3, "D"), Axis(5, "L")
Numbers = npt.NDArray[np.float32]


def never(_: object) -> Numbers:
    raise AssertionError("there are no initializers")


def numbers(t: Tensor) -> Numbers:
    return fold(t, never)


def stored(b: Builder, *layout: tuple[Axis, ...], seed: int = 0) -> Array:
    shape = [prod(int(str(a.extent)) for a in d) for d in layout]
    return Array(b.constant(integers(*shape, seed=seed)), layout)


def value(array: Array, *dims: tuple[Axis, ...], parts: Parts | None = None, terms: Terms | None = None) -> Value:
    return Value("v", dims, 1, array, parts, terms)


def written(b: Builder, array: Array, dims: Dims) -> Numbers:
    return numbers(plain(b, value(array, *dims)))


def two_parts(b: Builder) -> tuple[Value, Numbers]:
    """[one row for all | a row each], 2 and 3 wide."""
    left, right, whole = Axis(2), Axis(3), Axis(5)
    user, item = stored(b, (left,)), stored(b, (L,), (right,), seed=1)
    pieces = ((left, user), (right, item))
    array = join(b, pieces, whole, ((L,), (whole,)))
    expected = np.concatenate([np.tile(numbers(user.tensor), (5, 1)), numbers(item.tensor)], 1)
    return value(array, (L,), (whole,), parts=Parts(whole, pieces)), expected
