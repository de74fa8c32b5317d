"""Compare what two models computed: is it the same function, and is it as accurate?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mari_onnx.report.model import Difference
from mari_onnx.verification.runtime import Array

SAME_FUNCTION = 1e-6
"""Largest difference in float64, in units of the output's scale.

Algebra that is right agrees to about 1e-12; constants that were combined and stored in float32 add some 1e-8.
"""

SAME_RECURRENCE = 1e-5
"""The same for a model of which a part, its recurrence, is in float32 even then."""

ACCURACY_FACTOR = 4.0
"""How many times the original's own rounding error the optimized model may have."""

ACCURACY_FLOOR = 8
"""Units in the last place, at the output's scale, that are allowed whatever the original's error."""

UNGUARDED_FLOOR = 64
"""The same where no float64 result is to be had, so that the original's own error is unknown."""


HARDLY_JUDGED = 0.02
"""An own error of the original, in units of the output's scale, next to which accuracy cannot be judged.

It is more than rounding in half precision: a choice (TopK, Greater) fell otherwise, or values left the range.
"""


@dataclass(frozen=True)
class Tolerance:
    """|optimized - reference| <= atol + rtol * max|reference|, in place of the two questions."""

    rtol: float
    atol: float


@dataclass(frozen=True)
class Observation:
    """One output at one batch of both models, in their own precision and, where it could be had, in float64."""

    batch: int
    output: str
    reference: Array
    optimized: Array
    exact: tuple[Array, Array] | None = None


def judge(
    observations: Sequence[Observation], tolerance: Tolerance | None = None, same: float = SAME_FUNCTION
) -> list[Difference]:
    """Judge each observation. The observations are of one output, at all batches.

    Without a `tolerance` two questions are asked, in the max-norm:

    1. Is it the same function? In float64 the two differ by at most `same` of the output's scale.
    2. Is it as accurate? The optimized output is at most `ACCURACY_FACTOR` times as far from the float64 result as
       the reference is itself, plus `ACCURACY_FLOOR` units in the last place at the output's scale. That is the
       `bound` reported. Without a float64 result, the bound is `UNGUARDED_FLOOR` units, on the distance of the two.

    The output's scale (its largest magnitude) and the reference's own error are those over all batches: what one
    candidate shows of them is luck. Integers and booleans must be equal, NaN and infinities at the same places.
    """
    scale = _scale(observations)
    error = own_error(observations) * scale
    return [_judge(seen, tolerance, scale, error, same * scale) for seen in observations]


def own_error(observations: Sequence[Observation]) -> float:
    """The reference's own distance to its float64 result, in units of the output's scale."""
    error = max((_distance(seen.reference, seen.exact[0]) for seen in observations if seen.exact), default=0.0)
    return error / (_scale(observations) or 1.0)


def failure(batch: int, outputs: Iterable[str], message: str) -> list[Difference]:
    """Report that the optimized model gave nothing to compare."""
    return [Difference(batch, output, math.inf, math.inf, 0.0, False, message) for output in outputs]


def _judge(
    seen: Observation, tolerance: Tolerance | None, scale: float, reference_error: float, same: float
) -> Difference:
    a, b = seen.reference, seen.optimized
    for what, of_a, of_b in (("shape", list(a.shape), list(b.shape)), ("type", a.dtype, b.dtype)):
        if of_a != of_b:
            return failure(seen.batch, [seen.output], f"{what} {of_b}, but the reference has {of_a}")[0]

    distance = _distance(a, b)
    magnitude = _magnitude(a)
    relative = distance / magnitude if magnitude else math.inf if distance else 0.0
    bound, problem = 0.0, ""
    if not np.issubdtype(a.dtype, np.floating):
        unequal = int(np.count_nonzero(a != b))
        problem = f"{unequal} of {a.size} values are not equal" if unequal else ""
    elif place := _misplaced(a, b):
        problem = place
    elif tolerance is not None:
        bound = tolerance.atol + tolerance.rtol * magnitude
        if distance > bound:
            problem = f"differs by {distance:.3g} at {_worst(a, b)}; atol {distance:.3g} would have passed"
    elif seen.exact is None:
        bound = UNGUARDED_FLOOR * _ulp(scale, a.dtype)
        if distance > bound:
            problem = f"differs by {distance:.3g} at {_worst(a, b)}; at most {bound:.3g} is rounding"
    else:
        problem = _same_function(*seen.exact, same)
        error = _distance(b, seen.exact[0])
        # A model in float64 is its own float64 result: its error cannot be measured, and was just bounded.
        measured = a.dtype.itemsize < 8
        bound = ACCURACY_FACTOR * reference_error + ACCURACY_FLOOR * _ulp(scale, a.dtype) if measured else same
        if not problem and error > bound:
            problem = (
                f"less accurate: {error:.3g} from the float64 result at {_worst(b, seen.exact[0])}, "
                f"where the reference is within {reference_error:.3g} and {bound:.3g} is allowed"
            )
    return Difference(seen.batch, seen.output, distance, relative, bound, not problem, problem)


def _same_function(reference: Array, optimized: Array, bound: float) -> str:
    if reference.shape != optimized.shape:
        return f"in float64, shape {list(optimized.shape)}, but the reference has {list(reference.shape)}"
    if place := _misplaced(reference, optimized):
        return f"in float64, {place}"
    distance = _distance(reference, optimized)
    if distance <= bound:
        return ""
    return (
        f"not the same function: in float64 it differs by {distance:.3g} at {_worst(reference, optimized)}, "
        f"where {bound:.3g} is allowed"
    )


def _misplaced(reference: Array, optimized: Array) -> str:
    for what, test in (("NaN", np.isnan), ("inf", np.isposinf), ("-inf", np.isneginf)):
        unequal = np.argwhere(test(reference) != test(optimized))
        if len(unequal):
            return f"{what} in only one of the two at {unequal[0].tolist()} ({len(unequal)} of {reference.size} values)"
    return ""


def _distances(a: Array, b: Array) -> Array:
    """|a - b|, and 0 where one of the two is not finite."""
    if a.dtype.kind not in "fiub":
        return np.asarray(a != b, np.float64)
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    distances: Array = np.abs(np.where(finite, a, 0) - np.where(finite, b, 0))
    return distances


def _distance(a: Array, b: Array) -> float:
    return float(_distances(a, b).max(initial=0.0)) if a.shape == b.shape else math.inf


def _worst(a: Array, b: Array) -> list[int]:
    return [int(i) for i in np.unravel_index(np.argmax(_distances(a, b)), a.shape)]


def _scale(observations: Sequence[Observation]) -> float:
    return max((_magnitude(seen.reference) for seen in observations), default=0.0)


def _magnitude(a: Array) -> float:
    return _distance(a, np.zeros_like(a)) if a.dtype.kind in "fiub" else 0.0


def _ulp(scale: float, dtype: np.dtype[np.generic]) -> float:
    return float(np.spacing(np.asarray(scale, dtype)))
