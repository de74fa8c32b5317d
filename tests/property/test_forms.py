"""The one invariant: every form of a value evaluates to that value, for all legal inputs."""

from __future__ import annotations

from hypothesis import given

from tests.property.graphs import Case, cases
from tests.property.invariant import check_forms


@given(cases)
def test_every_form_evaluates_to_its_value(case: Case) -> None:
    check_forms(case)
