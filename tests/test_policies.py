"""Policies hold or fail: each in both ways, with what was found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mari_onnx.errors import UserError
from mari_onnx.policies import Gain, of_times
from mari_onnx.report.benchmark import Calls, Policy, Timing
from tests.report import reports

CALLS = Calls(1.0, 1.0, None, 1.0)
TIMINGS = (
    Timing(1, 1, 15, 0.8, 0.75, 0.9, CALLS, CALLS),
    Timing(500, 1, 15, 2.0, 1.9, 2.1, CALLS, CALLS),
    Timing(500, 4, 15, 1.6, 1.5, 1.7, CALLS, CALLS),
)


@pytest.mark.parametrize(
    ("limit", "timings", "met", "message"),
    [
        (0.8, TIMINGS, True, "0.800 (0.750 to 0.900) at 1 candidate"),
        (0.81, TIMINGS, False, "0.800 (0.750 to 0.900) at 1 candidate"),
        (1.6, TIMINGS[1:], True, "1.600 (1.500 to 1.700) at 500 candidates on 4 threads"),
        (1.61, TIMINGS[1:], False, "1.600 (1.500 to 1.700) at 500 candidates on 4 threads"),
        (1.0, (), True, "1, because nothing was rewritten"),
        (1.01, (), False, "1, because nothing was rewritten"),
    ],
)
def test_min_speedup(limit: float, timings: tuple[Timing, ...], met: bool, message: str) -> None:
    assert of_times(timings, min_speedup=limit) == (Policy("min-speedup", limit, met, message),)


@pytest.mark.parametrize(
    ("limit", "timings", "met", "message"),
    [
        (1.25, TIMINGS, True, "1.250 (1.111 to 1.333) at 1 candidate"),
        (1.24, TIMINGS, False, "1.250 (1.111 to 1.333) at 1 candidate"),
        (0.5, TIMINGS[1:2], True, "0.500 (0.476 to 0.526) at 500 candidates"),
        (1.0, (), True, "1, because nothing was rewritten"),
    ],
)
def test_max_slowdown(limit: float, timings: tuple[Timing, ...], met: bool, message: str) -> None:
    assert of_times(timings, max_slowdown=limit) == (Policy("max-slowdown", limit, met, message),)


def test_none_and_both() -> None:
    assert of_times(TIMINGS) == ()
    assert [one.name for one in of_times(TIMINGS, 1, 1)] == [
        "min-speedup",
        "max-slowdown",
    ]


ARITHMETIC, SIZE = "24.1 M → 8 M multiply-adds", "(1.64 MB → 1.64 MB)"


@pytest.mark.parametrize(
    ("asked", "changed", "expected"),
    [
        ({"min_gain": 3.0}, True, Policy("min-gain", 3.0, True, f"3.01 ({ARITHMETIC})")),
        ({"min_gain": 3.1}, True, Policy("min-gain", 3.1, False, f"3.01 ({ARITHMETIC})")),
        ({"min_gain": 1.0}, False, Policy("min-gain", 1.0, True, "1 (24.1 M → 24.1 M multiply-adds)")),
        ({"min_gain": 1.1}, False, Policy("min-gain", 1.1, False, "1 (24.1 M → 24.1 M multiply-adds)")),
        ({"require_gain": True}, True, Policy("require-gain", None, True, f"{ARITHMETIC}, 142 → 139 nodes")),
        (
            {"require_gain": True},
            False,
            Policy("require-gain", None, False, "24.1 M → 24.1 M multiply-adds, 142 → 142 nodes"),
        ),
        ({"max_size_growth": 1.01}, True, Policy("max-size-growth", 1.01, True, f"1 {SIZE}")),
        ({"max_size_growth": 1.0}, True, Policy("max-size-growth", 1.0, False, f"1 {SIZE}")),
        ({"max_size_growth": 1.0}, False, Policy("max-size-growth", 1.0, True, f"1 {SIZE}")),
    ],
)
def test_gain(asked: dict[str, Any], changed: bool, expected: Policy) -> None:
    assert Gain(**asked).judged(replace(reports.OPTIMIZED, changed=changed)) == (expected,)


def test_a_model_without_arithmetic() -> None:
    nothing = replace(reports.BEFORE, macs=0)
    empty = replace(reports.OPTIMIZED, cost_before=nothing, cost_after=nothing)
    assert Gain(min_gain=1).judged(empty)[0].met
    assert not Gain(min_gain=1.1).judged(empty)[0].met
    left = replace(reports.OPTIMIZED, cost_after=nothing)
    assert Gain(min_gain=1e9).judged(left)[0].met


@pytest.mark.parametrize("asked", [{"min_gain": 0.0}, {"max_size_growth": -1.0}, {"min_gain": float("nan")}])
def test_limits_that_are_none(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="Give a number larger than 0"):
        Gain(**asked)
