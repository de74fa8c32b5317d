"""What is run with each effort, and what is left out when time is over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.errors import UserError
from mari_onnx.verification.comparison import Comparison
from mari_onnx.verification.inputs.cases import EFFORTS, Batches, Case, plan
from tests.notes import said
from tests.verification import models
from tests.verification.models import verify


def cases(effort: str) -> list[tuple[str, int]]:
    given = EFFORTS[effort]
    batches = Batches(given.batches, 500, given.further)
    return [(case.name, case.batch) for case in plan(given, batches, 0, ["zeros", "large"])]


def test_plans() -> None:
    usual = [("drawn", batch) for batch in (1, 2, 7, 64, 500)]
    edges = [("zeros", 7), ("large", 64)]
    further = [("drawn", batch) for batch in (3, 63, 65, 128)]
    assert cases("quick") == [("drawn", 1), ("drawn", 7), ("drawn", 500)]
    assert cases("standard") == [*usual, *edges, *further]
    thorough = cases("thorough")
    assert thorough[:11] == [*usual, *edges, *further]
    assert len(thorough) == 11 + 3 * 5


def test_every_case_has_a_seed_of_its_own() -> None:
    planned = plan(EFFORTS["thorough"], Batches((1, 2, 7, 64, 500), 65, (3, 65)), 3, ["zeros", "large"])
    assert len({case.seed for case in planned}) == len(planned)


def test_one_batch_alone() -> None:
    assert [c.batch for c in plan(EFFORTS["standard"], Batches((3,)), 0, ["zeros"])] == [3, 3]
    assert [c.batch for c in plan(EFFORTS["standard"], Batches((0,)), 0, ["zeros"])] == [0]


def test_when_time_is_over_the_batches_are_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 11))
    monkeypatch.setattr("mari_onnx.verification.comparison.time.monotonic", lambda: float(next(now)))
    verification = verify(models.tower(), models.tower(), batch=500)
    assert verification.passed
    assert [d.batch for d in verification.differences] == [1, 2, 7, 64]
    assert said(verification.notes) == (
        "left out, because 10 s were over: batch 500, zeros, large, not finite, far, batch 3, batch 63, batch 65, "
        "batch 128 (more --effort runs them)",
    )


def test_what_would_take_too_long_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each candidate takes 0.03 s, and 500 of them longer than all that there is; the others are run."""
    now = [0.0]
    monkeypatch.setattr("mari_onnx.verification.comparison.time.monotonic", lambda: now[0])
    compare = Comparison.compare

    def slowly(self: Comparison, case: Case, *found: Any) -> None:
        now[0] += 0.03 * case.batch
        compare(self, case, *found)

    monkeypatch.setattr(Comparison, "compare", slowly)
    verification = verify(models.tower(), models.tower(), batch=500)
    assert [d.batch for d in verification.differences] == [1, 2, 7, 64, 7, 64, 64, 64, 3]
    assert said(verification.notes) == (
        "left out, because 10 s would not do: batch 500, batch 63, batch 65, batch 128 (more --effort runs them)",
    )


def test_the_batch_that_is_meant() -> None:
    """The optimized model is wrong with more than 128 candidates."""
    cut = models.parse(
        f"""tower (float[B, {models.USER}] user, float[B, {models.ITEM}] item) => (float[B, 1] score) {{
            x = Concat <axis = 1> (user, item) h = Gemm (x, w, bias) a = Relu (h) z = MatMul (a, out)
            s = Shape (user) b = Gather (s, zero) r = Range (zero_, b, one) g = Less (r, most) f = Cast <to = 1> (g)
            c = Unsqueeze (f, last) d = Mul (z, c) score = Sigmoid (d)
        }}""",
        w=models.W, bias=models.BIAS, out=models.OUT, zero=np.int64(0), zero_=np.int64(0), one=np.int64(1),
        most=np.int64(128), last=np.array([1]),
    )  # fmt: skip
    assert verify(models.tower(), cut).passed
    assert not verify(models.tower(), cut, batch=500).passed


@pytest.mark.parametrize("batch", [3, 63, 65, 128])
def test_around_powers_of_two(batch: int) -> None:
    """The optimized model is wrong with this many candidates."""
    wrong = models.parse(
        """f (float[B, 4] x) => (float[B, 4] y) {
            s = Shape (x) b = Gather (s, zero) e = Equal (b, batch) f = Cast <to = 1> (e) y = Add (x, f) }""",
        zero=np.int64(0), batch=np.int64(batch),
    )  # fmt: skip
    right = models.parse("f (float[B, 4] x) => (float[B, 4] y) { y = Identity (x) }")
    failed = [one for one in verify(right, wrong).differences if not one.passed]
    assert [one.batch for one in failed] == [batch]


def test_a_batch_that_would_not_fit() -> None:
    verification = verify(models.tower(), models.tower(), batch=1_000_000)
    assert max(one.batch for one in verification.differences) == 2_000
    assert said(verification.notes) == (
        "run with 2,000 candidates at most, and not with 1,000,000; verify --batch 1000000 does that",
    )


def test_batches_that_are_given_are_all() -> None:
    verification = verify(models.tower(), models.tower(), batch=500, batches=(2, 5))
    assert {one.batch for one in verification.differences if one.case == "drawn"} == {2, 5}


def test_no_such_effort() -> None:
    with pytest.raises(UserError, match="no effort 'hard'"):
        verify(models.tower(), models.tower(), effort="hard")
