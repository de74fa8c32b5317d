"""However a model is served, it gives the outputs of the original, bit for bit."""

from __future__ import annotations

from hypothesis import given, settings

from tests.property.graphs import Case, cases
from tests.property.serving import check_served


@settings(max_examples=150)
@given(cases)
def test_each_way_of_serving_gives_the_outputs_of_the_original(case: Case) -> None:
    check_served(case)
