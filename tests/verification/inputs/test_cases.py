"""What is run with each effort, and what is left out when time is over."""

from __future__ import annotations

import pytest

from mari_onnx.errors import UserError
from mari_onnx.verification.inputs.cases import EFFORTS, plan
from tests.verification import models
from tests.verification.models import verify


def cases(effort: str) -> list[tuple[str, int]]:
    return [(case.name, case.batch) for case in plan(EFFORTS[effort], EFFORTS[effort].batches, 0, ["zeros", "large"])]


def test_plans() -> None:
    usual = [("drawn", 1), ("drawn", 2), ("drawn", 7), ("drawn", 64), ("zeros", 7), ("large", 64)]
    assert cases("quick") == [("drawn", 1), ("drawn", 7)]
    assert cases("standard") == usual
    thorough = cases("thorough")
    assert thorough[:5] == [*usual[:4], ("drawn", 500)]
    assert len(thorough) == 5 + 2 + 3 * 5


def test_every_case_has_a_seed_of_its_own() -> None:
    planned = plan(EFFORTS["thorough"], (1, 2, 7, 64, 500), 3, ["zeros", "large"])
    assert len({case.seed for case in planned}) == len(planned)


def test_one_batch_alone() -> None:
    assert [c.batch for c in plan(EFFORTS["standard"], (3,), 0, ["zeros"])] == [3, 3]
    assert [c.batch for c in plan(EFFORTS["standard"], (0,), 0, ["zeros"])] == [0]


def test_when_time_is_over_the_batches_are_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 11))
    monkeypatch.setattr("mari_onnx.verification.comparison.time.monotonic", lambda: float(next(now)))
    verification = verify(models.tower(), models.tower())
    assert verification.passed
    assert [d.batch for d in verification.differences] == [1, 2, 7, 64]
    assert verification.notes == (
        "left out, because 10 s were over: zeros, large, not finite (more --effort runs them)",
    )


def test_no_such_effort() -> None:
    with pytest.raises(UserError, match="no effort 'hard'"):
        verify(models.tower(), models.tower(), effort="hard")
