"""The one invariant: every form of a value evaluates to that value, for all legal inputs."""

from __future__ import annotations

from random import Random

from hypothesis import given

from tests.property.graphs import Case, cases, write_case
from tests.property.invariant import check_forms
from tests.property.seen import Seen


@given(cases)
def test_every_form_evaluates_to_its_value(case: Case) -> None:
    check_forms(case)


def test_what_a_graph_exercises_is_counted() -> None:
    """The long run fails where an operator or a fact is never met, so both are counted."""
    seen = Seen()
    for seed in range(12, 17):
        check_forms(write_case(Random(seed)), seen)
    assert sum(seen.operators.values()) > 5
    assert sum(seen.forms.values()) > 0
    assert sum(seen.remembered.values()) > 0
