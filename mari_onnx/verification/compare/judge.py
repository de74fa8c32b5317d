"""The judgement of outputs by two questions: is it the same function, and is it as accurate?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from mari_onnx.report.model import Difference, Failure
from mari_onnx.verification.inputs.cases import Case
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME
from mari_onnx.verification.runtimes.onnxruntime import Array

SAME_FUNCTION = 1e-10
"""Largest difference in float64, in units of the output's scale, between models that store the same constants.

Float64 rounds to 1e-16. Sums in another order, over the hundreds of operations between an input and a score, come to
at most 3e-14 in the models that this was measured on; the mildest mistake that matters is a million times as large.
"""

COMBINED_CONSTANTS = 16.0
"""How many roundings of their type combined constants may be off: 1e-6 of a value in float32, 0.8 % in float16.

What such an error does to an output is measured. Where it cannot be measured, this share of the output's scale is
allowed.
"""

WITHIN_FLOAT32 = 1e-5
"""Largest difference in float64, in units of the output's scale, where some operator had to stay in float32."""

ACCURACY_FACTOR = 3.0
"""How many times the original's own rounding error the optimized model may have."""

UNUSUAL_FACTOR = 30.0
"""The factor for features of unusual size, whose error is that of the one or two scores with the most cancellation."""

ACCURACY_FLOOR = 4
"""Units in the last place, at the output's scale, that are allowed whatever the original's error."""

FLOOR_WITHOUT_FLOAT64 = 64
"""The floor where there is no float64 result, so that the original's own error is unknown."""

TIES = 0.05
"""The share of an output that may differ where float64 agrees on all of it and the values are chosen by a hair.

An integer output is a choice, for example of an ArgMax, between scores that are equal to within rounding. A model that
rounds on the way chooses between two steps (see `steps`).
"""

LARGE_OWN_ERROR = 0.02
"""An error of the original itself, as a share of the output's scale, beside which accuracy cannot be judged.

Rounding in half precision is less. The original decided a choice (TopK, Greater) otherwise than in float64, or its
values left the range of their type.
"""


@dataclass(frozen=True)
class Tolerance:
    """A plain comparison in place of the two questions: |optimized - reference| <= atol + rtol * max|reference|."""

    rtol: float
    atol: float


@dataclass(frozen=True)
class Observation:
    """One output of both models in one case, in their own precision.

    `exact` is the output of both in float64, None where that could not be had.
    """

    case: Case
    output: str
    reference: Array
    optimized: Array
    exact: tuple[Array, Array] | None = None


def judge(
    observations: Sequence[Observation],
    tolerance: Tolerance | None = None,
    same: float = SAME_FUNCTION,
    constants: Mapping[str, float] = MappingProxyType({}),
    *,
    rounds: bool = False,
) -> list[Difference]:
    """Judge the observations of one output in all cases; one `Difference` for each.

    Without a `tolerance` two questions are asked, each about the largest difference of any element:

    1. Is it the same function? In float64 the two models differ by at most `same` times the output's scale, plus the
       distance that `constants` has for the case's group.
    2. Is it as accurate? The distance of the optimized output to the float64 result is at most `ACCURACY_FACTOR` times
       the reference's own distance to it, plus `ACCURACY_FLOOR` units in the last place at the output's scale. That is
       the `bound` reported. Without a float64 result, the two outputs may be `FLOOR_WITHOUT_FLOAT64` units apart.

    The output's scale (its largest magnitude) and the reference's own error are taken over all cases of a group,
    because both vary by chance from one candidate to another. Integers and booleans must be equal, and NaN and
    infinities must be at the same places. In a second runtime neither question is asked where that computes the
    reference itself otherwise than onnxruntime: such a case fails.

    Of the cases "far" and "centred" only the second question is asked (see `_is_of_accuracy_alone`).

    A model that `rounds` on the way moves a value by a whole step where that stands on an edge, and the reference's own
    error is 0 where none of its values happened to. So a share of `TIES` of a group's values, or one, may be less
    accurate.
    """
    judged = []
    for seen in observations:
        if _is_of_accuracy_alone(seen.case) and not _has_own_error(seen):
            continue
        alike = [other for other in observations if other.case.group == seen.case.group]
        otherwise = _otherwise(seen, observations)
        scale = scale_of(alike)
        if seen.case.style != "centred":
            # Large features may saturate every score, for example to 0; then the scale of the usual cases counts.
            # Where features are centred it does not: scores are large when the mean is taken from usual features.
            scale = max(scale, scale_of([other for other in observations if other.case.usual]))
        found = otherwise or _judge(
            seen, tolerance, scale, _own_error(alike), same * scale + constants.get(seen.case.group, 0)
        )
        judged.append(_or_on_edges(found, seen, alike) if rounds and tolerance is None else found)
    return judged


def _or_on_edges(found: Difference, seen: Observation, alike: Sequence[Observation]) -> Difference:
    """The difference as one that passed, where few values of the group are past its bound and float64 agrees on all."""
    comparable = all(each.exact is not None and not misplaced(each.reference, each.optimized) for each in alike)
    if found.failure != "accuracy" or not comparable:
        return found
    past = [_past(each, found.bound) for each in alike]
    if sum(past) > max(1, TIES * sum(each.optimized.size for each in alike)):
        return found
    words = f"{_past(seen, found.bound)} of {seen.optimized.size} values fell to the other side of a rounding step"
    return replace(found, passed=True, failure=None, message=words)


def _past(seen: Observation, bound: float) -> int:
    """How many values are further from the float64 result than the bound."""
    assert seen.exact is not None
    return int(np.count_nonzero(distances(seen.optimized, seen.exact[0]) > bound))


def _is_of_accuracy_alone(case: Case) -> bool:
    """Whether only the second question is asked: where features differ little beside their size.

    Float64 itself loses digits there, and choices and overflows turn on digits that are lost.
    """
    return case.style in ("far", "centred")


def _has_own_error(seen: Observation) -> bool:
    """Whether the reference's own error can be told: of floats that have a float64 result beside their own."""
    return seen.exact is not None and seen.reference.dtype.kind == "f" and seen.reference.dtype.itemsize < 8


def own_error(observations: Sequence[Observation]) -> float:
    """The reference's own distance to its float64 result, as a share of the output's scale."""
    return _own_error(observations) / (scale_of(observations) or 1.0)


@dataclass(frozen=True)
class Problem:
    """What is wrong with an output: the kind of failure, and a description in words."""

    kind: Failure
    words: str


def failure(case: Case, outputs: Iterable[str], problem: Problem) -> list[Difference]:
    """The differences of a case in which the optimized model gave no outputs that can be compared, one an output."""
    kind, words = problem.kind, problem.words
    return [
        Difference(case.batch, output, math.inf, math.inf, 0.0, False, words, case=case.label, failure=kind)
        for output in outputs
    ]


def _otherwise(seen: Observation, observations: Sequence[Observation]) -> Difference | None:
    """The failure of a case in a second runtime whose own result for the reference is not onnxruntime's.

    None where it is, and where the result of onnxruntime itself is far from that in float64.
    """
    case = replace(seen.case, runtime=DEFAULT_RUNTIME)
    first = next((other for other in observations if other.case == case), seen)
    alike = [other for other in observations if other.case.group == case.group]
    if first is seen or own_error(alike) > LARGE_OWN_ERROR:
        return None
    a, b = first.reference, seen.reference
    found, bound = distance(a, b), LARGE_OWN_ERROR * scale_of(alike)
    if a.dtype.kind != "f":
        differs = a.shape != b.shape or int(np.count_nonzero(a != b)) > TIES * a.size
    else:
        differs = found > bound or bool(misplaced(a, b))
    if not differs:
        return None
    words = f"{seen.case.runtime} computes the reference itself otherwise than onnxruntime"
    return Difference(
        case.batch, seen.output, found, found / (_magnitude(a) or 1.0), bound, False,
        f"{words}: output `{seen.output}` at {case.where} is {found:.3g} off, and a comparison there tells nothing",
        case=seen.case.label, failure="another runtime",
    )  # fmt: skip


def _judge(
    seen: Observation, tolerance: Tolerance | None, scale: float, reference_error: float, same: float
) -> Difference:
    a, b = seen.reference, seen.optimized
    if (problem := _incomparable(a, b)) is not None:
        return failure(seen.case, [seen.output], problem)[0]

    found, magnitude = distance(a, b), _magnitude(a)
    relative = found / magnitude if magnitude else math.inf if found else 0.0
    exact = seen.exact
    in_float64 = None if exact is None or _is_of_accuracy_alone(seen.case) else distance(*exact)
    error = None if exact is None else distance(b, exact[0])
    bound = 0.0
    if np.issubdtype(a.dtype, np.floating):
        bound = _bound(seen, tolerance, scale, reference_error, same)
    problem = _problem(seen, exact, bound, reference_error, same)
    words = "" if problem is None else problem.words
    if problem and math.isfinite(found) and found > 0 and bound:
        words += f"; {_would_pass(found, magnitude)}"
    return Difference(
        seen.case.batch, seen.output, found, relative, bound, problem is None, words, case=seen.case.label,
        float64=in_float64, float64_bound=None if in_float64 is None else same, error=error,
        failure=None if problem is None else problem.kind,
    )  # fmt: skip


def _incomparable(a: Array, b: Array) -> Problem | None:
    if a.shape != b.shape:
        return Problem("shape", misplaced(a, b))
    if a.dtype != b.dtype:
        return Problem("type", f"type {b.dtype}, but the reference has {a.dtype}")
    return None


def _bound(seen: Observation, tolerance: Tolerance | None, scale: float, reference_error: float, same: float) -> float:
    """How far the output may be: from the float64 result where there is one, else from the reference's."""
    dtype = seen.reference.dtype
    if tolerance is not None:
        return tolerance.atol + tolerance.rtol * _magnitude(seen.reference)
    if seen.exact is None:
        return FLOOR_WITHOUT_FLOAT64 * ulp(scale, dtype)
    # A model in float64 is its own float64 result. Its error cannot be measured; the first question bounds it.
    ordinary = seen.case.usual or seen.case.style in ("given", "centred")
    factor = ACCURACY_FACTOR if ordinary else UNUSUAL_FACTOR
    return factor * reference_error + ACCURACY_FLOOR * ulp(scale, dtype) if dtype.itemsize < 8 else same


def _problem(
    seen: Observation, exact: tuple[Array, Array] | None, bound: float, reference_error: float, same: float
) -> Problem | None:
    """What is wrong with the output; None when nothing is."""
    a, b = seen.reference, seen.optimized
    if not np.issubdtype(a.dtype, np.floating):
        return _unequal(seen)
    if not _is_of_accuracy_alone(seen.case):
        if exact is not None and (problem := _same_function(*exact, same)):
            return problem
        if place := misplaced(a, b):
            return Problem("accuracy", place)
    error = distance(b, a if exact is None else exact[0])
    if error <= bound:
        return None
    if exact is None:
        return Problem("accuracy", f"differs by {error:.3g} at {_worst(a, b)}, where {bound:.3g} is allowed")
    return Problem(
        "accuracy",
        f"less accurate: {error:.3g} from the float64 result at {_worst(b, exact[0])}, "
        f"where the reference is within {reference_error:.3g} and {bound:.3g} is allowed",
    )


def _own_error(observations: Sequence[Observation]) -> float:
    return max((distance(seen.reference, seen.exact[0]) for seen in observations if seen.exact), default=0.0)


def _unequal(seen: Observation) -> Problem | None:
    """What is wrong with an output of integers, booleans or strings, which have to be equal.

    Where float64 agrees on all values, a share of `TIES` may differ.
    """
    unequal = int(np.count_nonzero(seen.reference != seen.optimized))
    words = f"of {seen.reference.size} values are not equal"
    in_float64 = 0 if seen.exact is None else int(np.count_nonzero(seen.exact[0] != seen.exact[1]))
    if in_float64:
        return Problem("another function", f"not the same function: in float64 {in_float64} {words}")
    allowed = 0 if seen.exact is None else TIES * seen.reference.size
    return Problem("accuracy", f"{unequal} {words}") if unequal > allowed else None


def _would_pass(found: float, magnitude: float) -> str:
    """The plain tolerances that accept this difference, as options of the command line."""
    atol = f"--atol {_above(found)}"
    return f"{atol} or --rtol {_above(found / magnitude)} would pass" if magnitude else f"{atol} would pass"


def _above(number: float) -> str:
    """The number in two digits, rounded up."""
    if not number or not math.isfinite(number):
        return f"{number:g}"
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{(math.floor(number / unit) + 1) * unit:.2g}"


def _same_function(reference: Array, optimized: Array, bound: float) -> Problem | None:
    if place := misplaced(reference, optimized):
        return Problem("another function", f"in float64, {place}")
    found = distance(reference, optimized)
    if found <= bound:
        return None
    return Problem(
        "another function",
        f"not the same function: in float64 it differs by {found:.3g} at {_worst(reference, optimized)}, "
        f"where {bound:.3g} is allowed",
    )


def misplaced(reference: Array, optimized: Array) -> str:
    """A place where only one of the two is NaN, or the same infinity, in words; "" where there is none.

    Arrays of two shapes have no places in common, and the words name the shapes.
    """
    if reference.shape != optimized.shape:
        return f"shape {list(optimized.shape)}, but the reference has {list(reference.shape)}"
    if reference.dtype.kind != "f":
        return ""
    for what, test in (("NaN", np.isnan), ("inf", np.isposinf), ("-inf", np.isneginf)):
        unequal = np.argwhere(test(reference) != test(optimized))
        if len(unequal):
            return f"{what} in only one of the two at {unequal[0].tolist()} ({len(unequal)} of {reference.size} values)"
    return ""


def distances(a: Array, b: Array) -> Array:
    """|a - b| of each element, in float64; 0 where one of the two is not finite, and 1 for strings that differ."""
    if a.dtype.kind not in "fiub":
        return np.asarray(a != b, np.float64)
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    found: Array = np.abs(np.where(finite, a, 0) - np.where(finite, b, 0))
    return found


def distance(a: Array, b: Array) -> float:
    """The largest element of `distances`; inf for arrays of different shapes."""
    return float(distances(a, b).max(initial=0.0)) if a.shape == b.shape else math.inf


def _worst(a: Array, b: Array) -> list[int]:
    return [int(i) for i in np.unravel_index(np.argmax(distances(a, b)), a.shape)]


def scale_of(observations: Sequence[Observation]) -> float:
    """The largest magnitude of the reference's output in all cases."""
    return max((_magnitude(seen.reference) for seen in observations), default=0.0)


def _magnitude(a: Array) -> float:
    return distance(a, np.zeros_like(a)) if a.dtype.kind in "fiub" else 0.0


def ulp(scale: float, dtype: np.dtype[np.generic]) -> float:
    """The unit in the last place of numbers of this size."""
    return float(np.spacing(np.asarray(scale, dtype)))
