"""What a command may take, and what is said where it takes more."""

from __future__ import annotations

import gc
import time

import pytest

import mari_onnx
from mari_onnx import budget
from mari_onnx.budget import Budget, Limits, current, within
from mari_onnx.errors import UserError
from tests.graphs import ranking

MODEL = ranking("one", "x = Concat <axis = 1> (user, item) y = Relu (x)")


def test_a_budget_is_that_of_the_command_around() -> None:
    assert (current().timeout, current().max_memory) == (budget.TIMEOUT, budget.MAX_MEMORY)
    with within(timeout=5, max_memory=2):
        assert (current().timeout, current().max_memory) == (5, 2)
        assert 4 < current().left <= 5
    assert current().timeout == budget.TIMEOUT


def test_garbage_is_collected_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with within():
        assert gc.get_threshold() == (budget.OBJECTS, *before[1:])
    assert gc.get_threshold() == before


@pytest.mark.parametrize("limits", [{"timeout": 0}, {"timeout": float("nan")}, {"max_memory": -1}])
def test_a_budget_is_positive(limits: Limits) -> None:
    with pytest.raises(UserError, match=f"{next(iter(limits))} is .*, and nothing can be done in that"):
        mari_onnx.inspect(MODEL, **limits)


def test_what_is_over_says_so() -> None:
    Budget().check(lambda: "anything was done")
    over = Budget(timeout=3, start=time.monotonic() - 4)
    with pytest.raises(UserError, match="3 s were over before anything was done\n--timeout SECONDS allows more time"):
        over.check(lambda: "anything was done")
    with pytest.raises(UserError, match=r"more than 0\.001 GB of memory were taken before anything"):
        Budget(max_memory=0.001, memory=0).check(lambda: "anything was done")


def test_a_command_takes_the_time_of_all_its_steps() -> None:
    budget = Budget(timeout=3)
    time.sleep(0.002)
    budget.renew()
    assert budget.spent >= 0.002
    assert budget.left <= 3


def test_the_analysis_has_a_budget() -> None:
    with pytest.raises(UserError, match=r"1e-09 s were over before \w+ `\w+` was analysed"):
        mari_onnx.inspect(MODEL, timeout=1e-9)
    with pytest.raises(UserError, match=r"1e-09 s were over before \w+ `\w+` was analysed"):
        mari_onnx.optimize(MODEL, timeout=1e-9)
