"""Elements that are moved, and triangles of them: of each window what numpy gives for every extent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from mari_onnx.analysis.interval_moves import of_stored
from mari_onnx.analysis.intervals import Intervals
from mari_onnx.analysis.positions import Index, Stretch, Window, whole
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, evaluate, symbol

L = symbol("L")
LONGEST = 9

HISTORY, ITEM = Stretch(0, Index(L, 0)), Stretch(L, Index(1, 1))
WINDOWS: dict[str, Window] = {
    "the candidate": (HISTORY, ITEM),
    "the first column": (HISTORY, Stretch(0, Index(1, 1))),
    "the history": (HISTORY, Stretch(0, Index(L, 1))),
    "the candidate's row": (Stretch(L, Index(1, 0)), Stretch(0, Index(L, 1))),
    "the next to last row": (Stretch(L - 1, Index(1, 0)), ITEM),
}
TRI = np.tri(LONGEST)
STORED = {
    "lower": TRI,
    "upper": TRI.T,
    "behind": np.tri(LONGEST, k=-1),
    "one ahead": np.tri(LONGEST, k=1),
    "strictly above": 1 - TRI,
    "distances": np.where(TRI == 1, -np.abs(np.subtract.outer(np.arange(LONGEST), np.arange(LONGEST))), -np.inf),
    "a leak": np.where(np.indices(TRI.shape).sum(0) == 7, 1, TRI),
    "one number": np.ones_like(TRI),
}
DECIDED = {("lower", "the candidate"), ("strictly above", "the candidate"), ("lower", "the first column"),
           ("behind", "the candidate"), ("distances", "the candidate")}  # fmt: skip
"""Where the numbers of a window are all alike, and that is seen."""


def sizes(window: Window) -> list[int]:
    """Extents at which the window is within the stored matrix, and has an element."""
    found = []
    for size in range(LONGEST):
        starts = [evaluate(s.start, {"L": size}, 0) for s in window]
        stops = [evaluate(s.stop, {"L": size}, 0) for s in window]
        if all(0 <= a < b <= LONGEST for a, b in zip(starts, stops, strict=True)):
            found.append(size)
    return found


def at(array: Any, window: Window, size: int) -> Any:
    values = {"L": size}
    return array[tuple(slice(evaluate(s.start, values, 0), evaluate(s.stop, values, 0)) for s in window)]


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("place", WINDOWS)
def test_a_stored_matrix_in_a_window(name: str, place: str) -> None:
    window = WINDOWS[place]
    found = of_stored(STORED[name], window)
    for size in sizes(window):
        there = at(STORED[name], window, size)
        assert found.low.min() <= there.min()
        assert there.max() <= found.high.max()
    if (name, place) in DECIDED:
        assert found.is_known


def test_a_stored_matrix_for_each_head() -> None:
    """Each head has its own numbers below the diagonal, and all have one above."""
    heads = np.stack([STORED["distances"], STORED["distances"] * 2])
    window = (*whole((2,)), HISTORY, ITEM)
    assert of_stored(heads, window).high.max() == -np.inf
    heads[1, 0, 5] = 0
    assert of_stored(heads, window).high.max() == 0


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-1, 0, 1, 2])
@pytest.mark.parametrize("place", WINDOWS)
def test_a_triangle_in_a_window(upper: int, k: int, place: str) -> None:
    b, window = Builder(), WINDOWS[place]
    x = b.expand(b.constant(np.array([[7.0]])), (L + 1, L + 1))
    found = Intervals(numpy_helper.to_array, 17).of(_triangle(b, x, (L + 1, L + 1), upper, k), window)
    for size in sizes(window):
        full = np.full((size + 1, size + 1), 7.0)
        there = at(np.triu(full, k) if upper else np.tril(full, k), window, size)
        assert found.low.min() <= there.min(initial=7)
        assert there.max(initial=0) <= found.high.max()
    if place == "the candidate" and (upper == (k <= 1)):
        assert found.is_known or (upper, k) == (0, 2)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-1, 0, 2])
def test_a_triangle_element_by_element(upper: int, k: int) -> None:
    b = Builder()
    x = np.arange(1.0, 13).reshape(3, 4)
    found = Intervals(numpy_helper.to_array, 17).of(_triangle(b, b.constant(x), (3, 4), upper, k))
    np.testing.assert_array_equal(found.low, np.triu(x, k) if upper else np.tril(x, k))
    assert found.is_known


def _triangle(b: Builder, x: Tensor, shape: tuple[Extent, ...], upper: int, k: int) -> Tensor:
    node = helper.make_node("Trilu", ["x", "k"], ["y"], upper=upper)
    return b.again(node, [x, b.constant(np.array(k))], [(shape, x.dtype)])[0]


def test_numbers_that_are_joined() -> None:
    """Ids that may be anything stand before ones: column L is known."""
    b = Builder()
    ids = b.input("ids", (1, L), 1)
    joined = b.concat([ids, b.constant(np.ones((1, 1), np.float32))], 1)
    known = Intervals(numpy_helper.to_array, 17)
    row = whole((1,))[0]
    assert known.of(joined, (row, ITEM)).is_known
    assert known.of(joined, (row, HISTORY)).high.max() == np.inf
    assert known.of(b.slice(joined, 1, L, L + 1)).is_known
