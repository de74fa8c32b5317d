"""Policies hold or fail by the setting in which the model gains least."""

from __future__ import annotations

import pytest

from mari_onnx.measurement.options import Options
from mari_onnx.measurement.policies import judged
from mari_onnx.report.benchmark import Calls, Policy, Timing

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
    assert judged(Options(min_speedup=limit), timings) == (Policy("min-speedup", limit, met, message),)


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
    assert judged(Options(max_slowdown=limit), timings) == (Policy("max-slowdown", limit, met, message),)


def test_none_and_both() -> None:
    assert judged(Options(), TIMINGS) == ()
    assert [one.name for one in judged(Options(min_speedup=1, max_slowdown=1), TIMINGS)] == [
        "min-speedup",
        "max-slowdown",
    ]
