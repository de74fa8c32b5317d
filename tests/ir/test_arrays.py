"""One array laid out, written out and cut: it evaluates to the same value, or to the stated part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mari_onnx.ir.arrays import cut, fill, lay, plain
from mari_onnx.ir.axes import Axis, Dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.forms import Array, IndexMap
from tests.ir.values import D, F, L, Numbers, numbers, stored, value, written

# Laying out


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (((L,), (F, D)), lambda x: x),
        (((F,), (D,), (L,)), lambda x: x.reshape(5, 2, 3).transpose(1, 2, 0)),
        (((D, L), (F,)), lambda x: x.reshape(5, 2, 3).transpose(2, 0, 1).reshape(15, 2)),
        (((), (L, F), (D,)), lambda x: x.reshape(1, 10, 3)),
    ],
)
def test_lay(b: Builder, spec: Dims, expected: Callable[[Numbers], Numbers]) -> None:
    array = stored(b, (L,), (F, D))
    np.testing.assert_array_equal(numbers(lay(b, array, spec)), expected(numbers(array.tensor)))


def test_lay_leaves_out_what_is_absent(b: Builder) -> None:
    assert lay(b, stored(b, (D,)), ((L,), (F, D))).shape == (1, 3)


def test_a_layout_that_misses_a_stored_axis_is_a_bug(b: Builder) -> None:
    with pytest.raises(AssertionError, match="every axis that is stored"):
        lay(b, stored(b, (L, D)), ((D,),))


# Writing out


def test_absent_axes_repeat(b: Builder) -> None:
    array = stored(b, (D,))
    np.testing.assert_array_equal(written(b, array, ((L,), (D,))), np.tile(numbers(array.tensor), (5, 1)))


def test_rows_through_an_index(b: Builder) -> None:
    index = np.array([0, 1, 0, 1, 1])
    rows = stored(b, (F,), (D,))
    array = Array(rows.tensor, ((L,), (D,)), ((L, IndexMap(b.constant(index), 2)),))
    np.testing.assert_array_equal(written(b, array, ((L,), (D,))), numbers(rows.tensor)[index])


def test_row_zero_for_all(b: Builder) -> None:
    row = stored(b, (Axis(1),), (D,))
    array = Array(row.tensor, ((L,), (D,)), ((L, IndexMap(None, 1)),))
    np.testing.assert_array_equal(written(b, array, ((L,), (D,))), np.repeat(numbers(row.tensor), 5, 0))


def test_only_the_axes_that_are_asked_for(b: Builder) -> None:
    array = fill(b, stored(b, (D,)), ((L,), (F,), (D,)), [F])
    assert [array.state(a) for a in (L, F, D)] == ["absent", "stored", "stored"]
    assert fill(b, array, ((L,), (F,), (D,)), [F]) is array


def test_a_tensor_that_exists_anyway_is_taken(b: Builder) -> None:
    there = b.input("x", (5, 3), 1)
    assert plain(b, replace(value(stored(b, (D,)), (L,), (D,)), written=Array(there, ((L,), (D,))))) is there


# Cutting


@pytest.mark.parametrize(
    "layout", [((D,), (L,)), ((L,), (D,)), ((F, D), (L,)), ((L,), (F, D)), ((L, F, D),), ((D, L),)]
)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 3), (2, 3), (0, 3)])
def test_cut(b: Builder, layout: Dims, start: int, stop: int) -> None:
    array = stored(b, *layout)
    order = tuple((a,) for a in (L, F, D) if array.state(a) != "absent")
    whole = written(b, array, order)
    sub = Axis(stop - start)
    piece = cut(b, array, D, start, stop, sub)
    dims = tuple((sub,) if d == (D,) else d for d in order)
    axis = order.index((D,))
    np.testing.assert_array_equal(
        written(b, piece, dims).reshape(np.take(whole, range(start, stop), axis).shape),
        np.take(whole, range(start, stop), axis),
    )


def test_cut_of_what_is_absent_is_nothing(b: Builder) -> None:
    array = stored(b, (L,))
    assert cut(b, array, D, 0, 2, Axis(2)) is array
