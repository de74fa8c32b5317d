"""The order of candidates: counted by hand, and against plain definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mari_onnx.report.histogram import Bin
from mari_onnx.verification.compare.ranking import MOST, Order, histogram, order, places, rankings
from tests.verification import models
from tests.verification.models import verify


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def test_the_same_order() -> None:
    assert order(scores(3, 1, 2), scores(30, 10, 20)) == Order(3, 2, 1.0, 1.0, 0, 0.0)


def test_two_neighbours_change_places() -> None:
    found = order(scores(4, 3, 2, 1), scores(4, 2, 3, 1))
    assert (found.move, found.gap) == (1, 1.0)
    assert found.tau == pytest.approx((5 - 1) / 6)
    assert found.overlap == 0.5  # of the best two, one is left


def test_the_order_is_turned() -> None:
    before = np.arange(30.0)
    found = order(before, -before)
    assert found == Order(30, 10, 0.0, -1.0, 29, 29.0)


def test_an_order_among_ties_is_no_change() -> None:
    found = order(scores(1, 1, 1, 0), scores(1, 1 - 1e-9, 1 + 1e-9, 0))
    assert (found.move, found.gap, found.overlap) == (0, 0.0, 1.0)
    assert order(scores(1, 1, 1), scores(1, 1, 1)) == Order(3, 2, 1.0, 1.0, 0, 0.0)


def test_a_tie_that_is_broken_lowers_tau_as_tau_b_does() -> None:
    found = order(scores(2, 1, 1), scores(3, 2, 1))
    assert found.tau == pytest.approx(2 / np.sqrt(2 * 3))
    assert found.move == 0


@pytest.mark.parametrize("seed", range(20))
def test_against_plain_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (2, 12)).astype(np.float64)
    concordant = discordant = ties_a = ties_b = 0
    for i, j in itertools.combinations(range(12), 2):
        product = (a[i] - a[j]) * (b[i] - b[j])
        concordant += product > 0
        discordant += product < 0
        ties_a += a[i] == a[j]
        ties_b += b[i] == b[j]
    pairs = 66
    tau = (concordant - discordant) / np.sqrt((pairs - ties_a) * (pairs - ties_b))
    assert order(a, b).tau == pytest.approx(tau)

    def places(x: np.ndarray, i: int) -> range:
        return range(int((x > x[i]).sum()), int((x >= x[i]).sum()))

    moves = [min(abs(p - q) for p in places(a, i) for q in places(b, i)) for i in range(12)]
    assert order(a, b).move == max(moves)


def test_more_candidates_than_can_be_paired() -> None:
    before = np.arange(5 * MOST, dtype=np.float64)
    assert order(before, before).candidates == MOST


def test_columns_are_ranked_apart_and_embeddings_are_not() -> None:
    rng = np.random.default_rng(0)
    tasks, vectors = rng.standard_normal((7, 2)), rng.standard_normal((7, 32))
    turned = np.stack([tasks[:, 0], -tasks[:, 1]], 1)
    found = rankings([("scores", tasks, turned), ("vector", vectors, vectors)], [7, 7])
    assert [each.output for each in found] == ["scores[0]", "scores[1]"]
    assert [each.tau for each in found] == [1.0, -1.0]
    assert found[1].quantiles[-1] == pytest.approx(np.abs(2 * tasks[:, 1]).max())


def test_the_worst_of_all_cases_is_reported() -> None:
    same, turned = scores(1, 2, 3), scores(3, 2, 1)
    (found,) = rankings([("s", same, same), ("s", same, turned)], [3, 3])
    assert (found.tau, found.move) == (-1.0, 2)


def test_of_models() -> None:
    (found,) = verify(models.tower(), models.split_tower(), batches=(1, 2, 7, 64)).rankings
    assert (found.candidates, found.top, found.overlap, found.tau, found.move) == (64, 10, 1.0, 1.0, 0)
    assert 0 < found.quantiles[-1] < 1e-6
    (wrong,) = verify(models.tower(), models.tower(w=np.roll(models.W, 1, axis=0))).rankings
    assert wrong.tau < 0.9
    assert wrong.move > 5


def test_histograms() -> None:
    """Each bin is twice as wide as the one before; equal values are counted apart."""
    assert histogram(scores(0, 0, 1, 1.5, 2, 7, 0.25)) == (
        Bin(0.0, 0.0, 2), Bin(0.25, 0.5, 1), Bin(1.0, 2.0, 2), Bin(2.0, 4.0, 1), Bin(4.0, 8.0, 1),
    )  # fmt: skip
    assert histogram(scores()) == ()
    assert histogram(scores(5e-324)) == (Bin(5e-324, 1e-323, 1),)


def test_histograms_are_those_of_all_cases() -> None:
    a, b = scores(4, 3, 2, 1), scores(4, 2, 3, 1)
    (found,) = rankings([("score", a[:, None], b[:, None]), ("score", a[:, None], a[:, None])], [4, 4])
    assert found.differences == (Bin(0.0, 0.0, 6), Bin(1.0, 2.0, 2))
    assert found.moves == (Bin(0.0, 0.0, 6), Bin(1.0, 2.0, 2))


@pytest.mark.parametrize("seed", range(30))
def test_places_are_those_of_sorted_lists(seed: int) -> None:
    """Scores with many ties, in which the order stays, changes among equals, or changes."""
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 6, 12).astype(np.float64)
    after = before + rng.integers(0, 2, 12) * rng.choice([0.0, 0.1, 1.0, 3.0])
    ranges = [[(int((x > v).sum()), int((x >= v).sum()) - 1) for v in x] for x in (before, after)]
    moved = max(max(b[0] - a[1], a[0] - b[1], 0) for a, b in zip(*ranges, strict=True))
    kept = min(6, sum(a[0] < 6 and b[0] < 6 for a, b in zip(*ranges, strict=True)))
    assert places(before, after) == (6, kept, moved)
