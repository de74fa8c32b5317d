"""Integers that are computed from positions: compared for every extent at once."""

from __future__ import annotations

import pytest

from mari_onnx.analysis.positions import (
    BEYOND,
    Affine,
    Index,
    Stretch,
    Window,
    along,
    constant,
    is_whole,
    never_negative,
    whole,
)
from mari_onnx.ir.extents import Extent, evaluate, symbol

L, S = symbol("L"), symbol("S")

HISTORY, FIRST, ITEM, ITEMS = (
    Stretch(0, Index(L, 0)),
    Stretch(0, Index(1, 1)),
    Stretch(L, Index(1, 1)),
    Stretch(L, Index(S, 1)),
)
OTHER = Stretch(0, Index(L, 1))
"""As long as the history, and another index."""


@pytest.mark.parametrize(
    ("rows", "columns", "behind"),
    [
        (HISTORY, ITEM, True),
        (HISTORY, ITEMS, True),
        (HISTORY, FIRST, False),
        (HISTORY, OTHER, False),
        (HISTORY, HISTORY, False),
        (ITEM, OTHER, False),
    ],
)
def test_whether_all_columns_are_behind_the_rows(rows: Stretch, columns: Stretch, behind: bool) -> None:
    ahead = along(columns) - along(rows) - constant(1)
    assert never_negative(ahead, (rows, columns)) == behind


def test_a_diagonal_is_one_index() -> None:
    assert along(HISTORY) - along(HISTORY) == constant(0)
    assert along(HISTORY) - along(OTHER) != constant(0)


def test_a_window_has_an_element() -> None:
    """L - 1 is negative for a history of no tokens, of which no row is there."""
    last = constant(L - 1)
    assert never_negative(last, (HISTORY,))
    assert not never_negative(last, (FIRST,))
    shorter = Stretch(0, Index(L - 2, 0))
    assert never_negative(constant(L - 3), (shorter,))
    assert not never_negative(constant(L - 4), (shorter,))


def test_an_extent_of_two_symbols_tells_nothing_of_either() -> None:
    assert not never_negative(constant(L - 1), (Stretch(0, Index(L + S, 0)),))
    assert not never_negative(constant(L - 1), (Stretch(0, Index(L * S, 0)),))


@pytest.mark.parametrize(("start", "step", "extent"), [(0, 1, L), (L, -2, 4), (3, 3, S), (-1, 0, L)])
def test_the_least_and_the_largest(start: Extent, step: int, extent: Extent) -> None:
    number = constant(5) - along(Stretch(start, Index(extent, 0)), step)
    for size in (1, 2, 7):
        values = {"L": size, "S": size}
        here, most = evaluate(start, values, 0), evaluate(extent, values, 0)
        numbers = [5 - step * (here + i) for i in range(most)]
        assert evaluate(number.least, values, 0) == min(numbers)
        assert evaluate(number.largest, values, 0) == max(numbers)


def test_arithmetic() -> None:
    i, j = HISTORY.index, OTHER.index
    assert along(HISTORY).times(3) + along(OTHER) == Affine(0, {i: 3, j: 1})
    assert along(HISTORY).times(0) == constant(0)
    assert along(ITEM) == constant(L)


def test_the_whole_of_a_tensor() -> None:
    window: Window = whole((L, 4))
    assert [s.index.place for s in window] == [-2, -1]
    assert is_whole(window[0], L)
    assert not is_whole(window[1], L)
    assert not is_whole(ITEM.moved(-1), 1)
    assert ITEM.stop == L + 1


@pytest.mark.parametrize(("rows", "columns"), [(HISTORY, "beyond"), ("beyond", HISTORY)])
def test_one_side_of_the_diagonal(rows: Stretch | str, columns: Stretch | str) -> None:
    """The places behind each place: 1 and one more index are added to it."""
    beyond = Stretch(1, HISTORY.index, Index(L - 1, BEYOND))
    first, second = (beyond if isinstance(s, str) else s for s in (rows, columns))
    ahead = along(second) - along(first)
    window = (first, second)
    assert never_negative(ahead - constant(1), window) == (second is beyond)
    assert never_negative(ahead.times(-1) - constant(1), window) == (first is beyond)
    assert not is_whole(beyond, L)
    assert beyond.stop == 2 * L - 1
