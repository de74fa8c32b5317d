"""What an interpretation takes for granted, and what its cost model counts."""

from __future__ import annotations

from mari_onnx.analysis.premises import NOTHING, Premises
from mari_onnx.ir.extents import ROW
from mari_onnx.ir.policy import POLICY

SOME = Premises(tiled=("user",), repeated=("N",), candidates=("B",), requests=("R",))


def test_symbols_that_count_candidates_are_the_batch() -> None:
    """Those of the rows that the caller repeats are candidates, too."""
    cost = SOME.cost_model(300)
    assert cost.batch == 300
    assert (cost.reference["B"], cost.reference["N"]) == (300, 300)


def test_requests_are_a_few_and_row_0_is_one() -> None:
    cost = SOME.cost_model(300)
    assert cost.reference["R"] == POLICY.requests == 4
    assert cost.reference[ROW] == 1


def test_beside_it_stands_a_call_with_a_single_candidate() -> None:
    """Of a single request."""
    cost = SOME.cost_model(300)
    assert cost.alone is not None
    assert (cost.alone.batch, cost.alone.reference) == (1, {"B": 1, "N": 1, "R": 1, ROW: 1})
    assert cost.emphasis == 0


def test_a_symbol_that_counts_both_is_of_the_candidates() -> None:
    assert Premises(candidates=("B",), requests=("B",)).cost_model(300).reference["B"] == 300


def test_without_premises_nothing_is_known_of_any_symbol() -> None:
    assert NOTHING.cost_model(300).reference == {ROW: 1}
