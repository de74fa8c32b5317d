"""What pays."""

from __future__ import annotations

import pytest

from mari_onnx.ir.policy import POLICY


def test_a_plan_that_spares_a_single_candidate_is_not_handicapped() -> None:
    assert POLICY.handicap(before=10_000, after=9_000) == 1
    assert POLICY.handicap(before=10_000, after=10_000 * POLICY.single) == 1


def test_twice_as_slow_for_one_has_to_make_many_a_twelfth_faster() -> None:
    """The eighth root of 2 is 1.09."""
    assert POLICY.handicap(before=10_000, after=20_000 * POLICY.single) == pytest.approx(1.0905, abs=1e-3)


@pytest.mark.parametrize(
    ("macs", "time", "pays"),
    [
        ((1000, 500), (100.0, 98.0), True),
        ((1000, 500), (100.0, 99.5), False),  # nobody could measure it
        ((1000, 1000), (100.0, 94.0), True),
        ((1000, 1000), (100.0, 96.0), False),  # fewer nodes, and estimates are not that good
        ((1000, 1001), (100.0, 10.0), False),  # never more arithmetic
    ],
)
def test_what_is_worth_having(macs: tuple[int, int], time: tuple[float, float], pays: bool) -> None:
    assert POLICY.pays(macs=macs, time=time) is pays


def test_a_part_of_a_matrix_product_needs_no_sum_of_its_own() -> None:
    """Gemm adds it; in three dimensions Add does."""
    assert POLICY.launches(2) < POLICY.launches(3) == POLICY.launches(4)


def test_a_call_costs_more_with_more_inputs() -> None:
    assert POLICY.call(0) == POLICY.ns_per_call
    assert POLICY.call(3) - POLICY.call(2) == POLICY.ns_per_input
