"""Parts joined, and taken between two places, evaluate to what they are parts of."""

from __future__ import annotations

import numpy as np
import pytest

from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Axis
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.forms import Array, IndexMap, Parts
from mari_onnx.ir.parts import bounds, edges, groups, join, merge, pieces_between
from tests.ir.values import D, F, L, numbers, stored, two_parts, written


def test_join(b: Builder) -> None:
    joined, expected = two_parts(b)
    np.testing.assert_array_equal(numbers(plain(b, joined)), expected)


def test_join_of_what_repeats_alike_repeats(b: Builder) -> None:
    left, right, whole = Axis(2), Axis(3), Axis(5)
    array = join(b, [(left, stored(b, (left,))), (right, stored(b, (right,)))], whole, ((L,), (whole,)))
    assert array.state(L) == "absent"


def test_join_keeps_an_index_that_all_have(b: Builder) -> None:
    index = IndexMap(b.constant(np.array([0, 1, 0, 1, 1])), 2)
    left, right, whole = Axis(3), Axis(3), Axis(6)
    pieces = [
        (s, Array(stored(b, (F,), (s,), seed=i).tensor, ((L,), (s,)), ((L, index),)))
        for i, s in enumerate((left, right))
    ]
    array = join(b, pieces, whole, ((L,), (whole,)))
    assert array.state(L) == index
    assert array.tensor.shape == (2, 6)


@pytest.mark.parametrize(("start", "stop", "widths"), [(0, 5, [2, 3]), (1, 4, [1, 2]), (2, 5, [3]), (3, 4, [1])])
def test_pieces_between(b: Builder, start: int, stop: int, widths: list[int]) -> None:
    joined, expected = two_parts(b)
    assert joined.parts is not None
    assert bounds(joined.parts) == [0, 2, 5]
    pieces = pieces_between(b, joined.parts, start, stop)
    assert pieces is not None
    assert [sub.extent for sub, _ in pieces] == widths
    sub, array = merge(b, pieces, joined.parts.axis, joined.known_dims)
    np.testing.assert_array_equal(written(b, array, ((L,), (sub,))), expected[:, start:stop])


def test_widths_that_are_not_numbers_have_no_bounds(b: Builder) -> None:
    wide = Axis(symbol("K"))
    assert bounds(Parts(wide, ((wide, stored(b, (D,))),))) is None


def test_groups_keep_their_order() -> None:
    assert groups(["u", "i", "u", "k"]) == {"u": [0, 2], "i": [1], "k": [3]}


def test_pieces_between_symbols(b: Builder) -> None:
    """Of parts [length 1], the last one begins at the length, and what is in [0, 1) depends on it."""
    length = symbol("length")
    history, item = Axis(length), Axis(1)
    parts = Parts(Axis(length + 1), ((history, stored(b, (L,))), (item, stored(b, (L,)))))
    assert edges(parts) == [0, length, length + 1]
    last = pieces_between(b, parts, length, length + 1)
    assert last is not None
    assert [sub for sub, _ in last] == [item]
    assert [sub for sub, _ in pieces_between(b, parts, 0, length + 1) or ()] == [history, item]
    assert pieces_between(b, parts, 0, 1) is None
