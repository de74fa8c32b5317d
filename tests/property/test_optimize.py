"""What follows from the invariant: an optimized model gives the outputs of the original, bit for bit."""

from __future__ import annotations

from hypothesis import given

from tests.property.graphs import Case, cases
from tests.property.invariant import check_optimized


@given(cases)
def test_an_optimized_model_gives_the_outputs_of_the_original(case: Case) -> None:
    check_optimized(case)
