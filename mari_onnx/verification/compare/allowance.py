"""The bound of the first question: how far two models may be apart in float64, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from mari_onnx.report.note import Note
from mari_onnx.verification.compare.constants import combined, jittered
from mari_onnx.verification.compare.judge import (
    COMBINED_CONSTANTS,
    SAME_FUNCTION,
    WITHIN_FLOAT32,
    Observation,
    distance,
)
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.inputs.cases import Case
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source, Values

JITTERS = 2
"""How often the constants are perturbed at random, to measure what their rounding does to the outputs."""


@dataclass(frozen=True)
class Allowance:
    """What is allowed in float64.

    `same` is the largest distance, as a share of an output's scale, and `basis` says why in words. Where constants were
    combined, `constants` are distances that are allowed on top, by output and by group of cases (`Case.group`).
    """

    same: float
    basis: str
    constants: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def allowance(
    models: tuple[Source, Source],
    exact: tuple[Exact, Exact],
    runs: Sequence[tuple[Case, Values]],
    observations: Mapping[str, Sequence[Observation]],
    *,
    moved: bool,
) -> Allowance:
    """What two models may differ by, which depends on their constants and on the operators that stay in float32.

    `moved` says that the optimized model's constants are the reference's, so that nothing is allowed for them. `runs`
    are the cases that both models were run on, with their inputs.
    """
    constants = {} if moved else combined(*models)
    allowed = Allowance(SAME_FUNCTION, "both models store the same constants, so that only float64 rounds")
    if constants:
        allowed = _of_constants(models[1], constants, runs, observations)
    limits = {**exact[0].limits, **exact[1].limits}
    return _of_float32(allowed, limits) if limits else allowed


def _of_constants(
    optimized: Source,
    constants: Mapping[str, float],
    runs: Sequence[tuple[Case, Values]],
    observations: Mapping[str, Sequence[Observation]],
) -> Allowance:
    why = f"these constants are not the reference's, and may be {COMBINED_CONSTANTS:g} roundings off"
    basis = f"besides, {why}: {_few(constants)}"
    measured = _measured(optimized, constants, runs, observations)
    if measured is None:
        return Allowance(COMBINED_CONSTANTS * max(constants.values()), basis)
    return Allowance(SAME_FUNCTION, basis, measured)


def _of_float32(allowed: Allowance, limits: Mapping[str, str]) -> Allowance:
    """The allowance where some tensors stayed in float32; `limits` are their operators by name of the tensor."""
    operators = ", ".join(sorted(set(limits.values())))
    note = f"not raised to float64: {operators} at {_few(limits)}; what follows is compared as float32"
    basis = f"float32, in which these stayed: {_few(limits)}"
    return replace(allowed, same=max(allowed.same, WITHIN_FLOAT32), basis=basis, notes=(Note("float32-only", note),))


def _measured(
    optimized: Source,
    constants: Mapping[str, float],
    runs: Sequence[tuple[Case, Values]],
    observations: Mapping[str, Sequence[Observation]],
) -> dict[str, dict[str, float]] | None:
    """What the rounding of combined constants does to each output, by group of cases.

    It is measured in float64: each element of such a constant is moved by `COMBINED_CONSTANTS` roundings, up or down at
    random, and the largest change of an output counts. None where the model does not run so.
    """
    roundings = {name: COMBINED_CONSTANTS * roundoff for name, roundoff in constants.items()}
    found: dict[str, dict[str, float]] = {}
    for draw in range(JITTERS):
        rng = np.random.default_rng([JITTERS, draw])
        try:
            off = Exact(optimized, change=partial(jittered, roundings=roundings, rng=rng))
            for case, feeds in runs:
                moved = off(feeds)
                for name, seen in observations.items():
                    exact = next((each.exact for each in seen if each.case == case), None)
                    if exact is not None:
                        by = found.setdefault(name, {})
                        by[case.group] = max(by.get(case.group, 0.0), distance(moved[name], exact[1]))
        except RunError:
            return None
    return found


def _few(names: Collection[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"`{name}`" for name in list(names)[:3]) + more
