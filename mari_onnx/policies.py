"""Policies: what the caller asked of a result, and whether it is met.

min-gain          the arithmetic before is at least so many times that after
require-gain      there is less arithmetic, or there are fewer nodes
max-size-growth   the model after has at most so many times the bytes of the one before
require-verified  the result was verified, or is the model as it was
allow-notes       the verification has no notes but those with these codes
min-speedup       the time before is at least so many times that after, in every setting that was measured
max-slowdown      the time after is at most so many times that before, in every setting
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from mari_onnx.arguments import flag, names
from mari_onnx.errors import UserError
from mari_onnx.report.benchmark import Policy, Timing
from mari_onnx.report.benchmark_words import interval, where
from mari_onnx.report.model import Report
from mari_onnx.report.note import CODES
from mari_onnx.report.numbers import count, size


@dataclass(frozen=True)
class Gain:
    """What is asked of an optimized model; None and False ask for nothing. Raises UserError for limits up to 0."""

    min_gain: float | None = None
    require_gain: bool = False
    max_size_growth: float | None = None

    def __post_init__(self) -> None:
        for name, limit in (("min_gain", self.min_gain), ("max_size_growth", self.max_size_growth)):
            if limit is not None and not limit > 0:
                raise UserError(f"{name} is {limit:g}", "Give a number larger than 0.")

    def judged(self, report: Report) -> tuple[Policy, ...]:
        """The policies that were asked for. A model that stays as it was gains nothing."""
        before = report.cost_before
        after = report.cost_after if report.changed else before
        found = []
        if self.min_gain is not None and before is not None and after is not None:
            gain = before.macs / after.macs if after.macs else float("inf") if before.macs else 1.0
            said = f"{gain:.3g} ({count(before.macs)} → {count(after.macs)} multiply-adds)"
            found.append(Policy("min-gain", self.min_gain, gain >= self.min_gain, said))
        if self.require_gain and before is not None and after is not None:
            gained = after.macs < before.macs or after.nodes < before.nodes
            said = f"{count(before.macs)} → {count(after.macs)} multiply-adds, {before.nodes:,} → {after.nodes:,} nodes"
            found.append(Policy("require-gain", None, gained, said))
        if self.max_size_growth is not None:
            own = report.model.bytes
            made = report.optimized.bytes if report.changed and report.optimized else own
            said = f"{made / own:.3g} ({size(own)} → {size(made)})"
            found.append(Policy("max-size-growth", self.max_size_growth, made <= own * self.max_size_growth, said))
        return tuple(found)


@dataclass(frozen=True)
class Trust:
    """What is asked of a verification; False and None ask for nothing, and () allows no note.

    Raises UserError for a code of notes that there is not.
    """

    require_verified: bool = False
    allow_notes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        flag("require_verified", self.require_verified)
        if self.allow_notes is not None:
            for code in names("allow_notes", self.allow_notes):
                if code not in CODES:
                    raise UserError(f"there is no code {code!r} of notes", f"The codes are {', '.join(CODES)}.")

    def judged(self, report: Report) -> tuple[Policy, ...]:
        """The policies that were asked for. A model that stays as it was needs no verification."""
        found, verification = [], report.verification
        if self.require_verified:
            if verification is not None:
                met, said = verification.passed, f"{len(verification.differences)} comparisons"
            else:
                met, said = not report.changed, "nothing was verified" if report.changed else "the model is as it was"
            found.append(Policy("require-verified", None, met, said))
        if self.allow_notes is not None:
            notes = dict.fromkeys(note.code for note in verification.notes) if verification is not None else {}
            allowed = names("allow_notes", self.allow_notes)
            others = [code for code in notes if code not in allowed]
            but = f" but {', '.join(allowed)}" if allowed else ""
            said = f"there are notes: {', '.join(others)}" if others else f"there are no notes{but}"
            found.append(Policy("allow-notes", None, not others, said))
        return tuple(found)


class TrustFields(TypedDict, total=False):
    """The fields of `Trust` as keywords, for `mari_onnx.optimize` and `mari_onnx.split`."""

    require_verified: bool
    allow_notes: Sequence[str] | None


class GainFields(TypedDict, total=False):
    """The fields of `Gain` as keywords, for `mari_onnx.optimize`."""

    min_gain: float | None
    require_gain: bool
    max_size_growth: float | None


def of_times(
    timings: Sequence[Timing], min_speedup: float | None = None, max_slowdown: float | None = None
) -> tuple[Policy, ...]:
    """The policies that were asked for. Without timings the model is as it was, and as fast."""
    slowest = min(timings, key=lambda one: one.speedup, default=None)
    reached = 1.0 if slowest is None else slowest.speedup
    found = []
    if min_speedup is not None:
        found.append(Policy("min-speedup", min_speedup, reached >= min_speedup, _said(slowest)))
    if max_slowdown is not None:
        found.append(Policy("max-slowdown", max_slowdown, 1 / reached <= max_slowdown, _said(slowest, slowdown=True)))
    return tuple(found)


def _said(slowest: Timing | None, *, slowdown: bool = False) -> str:
    """What was found where the model gains least."""
    if slowest is None:
        return "1, because nothing was rewritten"
    low, found, high = slowest.low, slowest.speedup, slowest.high
    if slowdown:
        low, found, high = 1 / high, 1 / found, 1 / low
    return f"{found:.3f} ({interval(low, high)}) at {where(slowest)}"
