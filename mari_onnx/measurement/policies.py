"""What the caller asked of the measured times, and whether it is met: at every number of candidates and of threads."""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.measurement.options import Options
from mari_onnx.report.benchmark import Policy, Timing
from mari_onnx.report.benchmark_words import interval, where

MIN_SPEEDUP, MAX_SLOWDOWN = "min-speedup", "max-slowdown"


def judged(options: Options, timings: Sequence[Timing]) -> tuple[Policy, ...]:
    """The policies that were asked for. Without timings the model is as it was, and as fast."""
    slowest = min(timings, key=lambda one: one.speedup, default=None)
    reached = 1.0 if slowest is None else slowest.speedup
    found = []
    if (least := options.min_speedup) is not None:
        found.append(Policy(MIN_SPEEDUP, least, reached >= least, _said(slowest)))
    if (most := options.max_slowdown) is not None:
        found.append(Policy(MAX_SLOWDOWN, most, 1 / reached <= most, _said(slowest, slowdown=True)))
    return tuple(found)


def _said(slowest: Timing | None, *, slowdown: bool = False) -> str:
    """What was found where the model gains least."""
    if slowest is None:
        return "1, because nothing was rewritten"
    low, found, high = slowest.low, slowest.speedup, slowest.high
    if slowdown:
        low, found, high = 1 / high, 1 / found, 1 / low
    return f"{found:.3f} ({interval(low, high)}) at {where(slowest)}"
