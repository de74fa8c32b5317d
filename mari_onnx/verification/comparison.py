"""The verification of an optimized model against the one it was made from."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime as ort

from mari_onnx.document.document import ModelLike
from mari_onnx.document.read import as_document
from mari_onnx.document.save import write_file
from mari_onnx.errors import UserError
from mari_onnx.report.model import Difference, Divergence, Ranking, Verification
from mari_onnx.verification.compare.constants import changed_rows, combined, jittered
from mari_onnx.verification.compare.judge import (
    COMBINED_CONSTANTS,
    HARDLY_JUDGED,
    SAME_FUNCTION,
    WITHIN_FLOAT32,
    Observation,
    Tolerance,
    distance,
    distances,
    failure,
    judge,
    misplaced,
    own_error,
)
from mari_onnx.verification.compare.localize import Fails, divergence, smallest
from mari_onnx.verification.compare.ranking import rankings
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.float64.recurrent import RECURRENT
from mari_onnx.verification.inputs import recorded as data
from mari_onnx.verification.inputs.calls import Drawn, Given
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EFFORTS, Case
from mari_onnx.verification.inputs.draw import Input, batch_symbols, inputs_of
from mari_onnx.verification.inputs.ranges import Trace, trace
from mari_onnx.verification.runtimes.onnxruntime import Array, Run, RunError, Source, Values, runner
from mari_onnx.verification.runtimes.openvino import run_in_openvino

Progress = Callable[[str, int, int], None]


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    *,
    tiled: Collection[str] = (),
    keys: Collection[str] = (),
    batches: Sequence[int] | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    effort: str = DEFAULT_EFFORT,
    runtime: str = "onnxruntime",
    moved: bool = False,
    given: Path | None = None,
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    failing: Path | None = None,
    locate: bool = True,
    progress: Progress | None = None,
) -> Verification:
    """Run both models on drawn inputs at each number of candidates, and compare every output.

    The rows of `tiled` inputs are identical, as their callers repeat them; those of one entry of `keys`, inputs that
    tell several requests apart, where there are any. Without tolerances the two questions of
    `compare.judge` are asked, the first of them in float64; `Verification.rtol` is then that question's bound. With
    `rtol` or `atol` (the other is 0), outputs pass when |optimized - reference| <= atol + rtol * max|reference|.
    `moved` says that the optimized model's constants are known to be the reference's, at most moved.
    With a `runtime` other than onnxruntime, drawn and given inputs are compared there too.
    `effort` is one of `cases.EFFORTS`; `batches` replace the numbers of candidates that it has. `given` are inputs that
    are run instead of drawn ones, in one of the formats of `data`. `ranges` are the least and the largest value to
    draw for an input, in place of what was traced. When a failure was found, the smallest inputs that still fail are
    written to `failing` as .npz; without `locate` nobody looks for them, nor for where the failure begins.
    A case that the reference itself cannot run is skipped, with a note; when none is left, verification fails.
    `progress` is called with what is done next, and how many steps of how many are behind.

    Raises UserError when a model cannot be loaded, and when the two cannot be called alike.
    """
    if batches is not None and (not batches or min(batches) < 0):
        raise UserError("There is nothing to verify at.", "Give one batch or more, each 0 or larger.")
    if effort not in EFFORTS:
        raise UserError(f"There is no effort {effort!r}.", f"Choose one of {', '.join(EFFORTS)}.")
    tolerance = None if rtol is None and atol is None else Tolerance(rtol or 0.0, atol or 0.0)
    models = Source("reference", as_document(reference)), Source("optimized", as_document(optimized))
    sessions = models[0].session(), models[1].session()
    _same_signature(*sessions)
    inputs = inputs_of(sessions[0])
    if unknown := sorted(set(tiled) - {each.name for each in inputs}):
        raise UserError(
            f"The model has no input `{unknown[0]}` to be tiled.",
            f"Its inputs are: {', '.join(each.name for each in inputs)}.",
        )

    say = progress or (lambda *_: None)
    say("tracing inputs", 0, 1)
    notes: list[str] = []
    traced = _trace(models[0], inputs, notes)
    batches = _batches(inputs, batches or EFFORTS[effort].batches, notes)
    traced = traced.overridden(ranges, inputs)
    chosen = {} if moved else _changed_ids(models, traced)
    calls: Drawn | Given = Drawn(inputs, traced, tiled, keys, seed, EFFORTS[effort], batches, notes, chosen)
    if given is not None:
        calls = Given(inputs, traced, () if keys else tiled, notes, given)
    comparison = Comparison(models, (runner(sessions[0]), runner(sessions[1])), notes, tolerance, moved)
    if runtime != "onnxruntime":
        comparison.also(runtime)
    comparison.run(calls, say)
    verification = comparison.verdict(seed, effort)
    if verification.passed or not comparison.seen or not locate:
        return verification
    say("looking for where it begins", 1, 2)
    return replace(verification, divergence=comparison.explained(verification, inputs, traced, failing))


JITTERS = 2
"""How often constants are made to be off, to see what that does."""

RUNTIMES: dict[str, Callable[[Source], Run]] = {"openvino": run_in_openvino}
"""The runtimes in which models can be compared besides."""


@dataclass
class Comparison:
    """Both models, run side by side, and what was seen of them."""

    models: tuple[Source, Source]
    runs: tuple[Run, Run]
    notes: list[str]
    tolerance: Tolerance | None
    moved: bool
    observations: dict[str, list[Observation]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    seen: dict[tuple[str, int], tuple[Case, Values]] = field(default_factory=dict)
    exact: tuple[Exact, Exact] | None = None
    second: tuple[str, Run, Run] | None = None
    extra: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.exact = Exact(self.models[0]), Exact(self.models[1])
        except RunError as error:
            self.notes.append(f"compared in the model's own precision only: {error}")

    def run(self, calls: Drawn | Given, say: Progress) -> None:
        """Run every case, as long as there is time for those that may be left out."""
        start, cases = time.monotonic(), calls.cases()
        for done, case in enumerate(cases, 1):
            say(case.where, done, len(cases) + 1)
            if done > calls.needed and time.monotonic() - start > calls.seconds:
                left = ", ".join(dict.fromkeys(each.name for each in cases[done - 1 :]))
                self.notes.append(f"left out, because {calls.seconds:g} s were over: {left} (more --effort runs them)")
                return
            if self._safe(calls, case) and (found := calls.run(case, self.runs[0])) is not None:
                self.compare(case, *found)

    def _safe(self, calls: Drawn | Given, case: Case) -> bool:
        """Whether onnxruntime survives a case: its GRU takes the process down when every sequence is empty."""
        if case.style not in ("padding", "zeros", "given") or not self._with_lengths():
            return True
        try:
            if self.exact is None:
                raise RunError("its sequences may all be empty")
            self.exact[0](calls.feeds(case))
        except RunError as error:
            self.notes.append(f"{case.where} was skipped: onnxruntime may crash on it ({error})")
            return False
        return True

    def _with_lengths(self) -> bool:
        """Whether sequences have lengths, which may all be 0."""
        return any(node.op_type in RECURRENT and len(node.input) > 4 for node in self.models[0].proto.graph.node)

    def compare(self, case: Case, feeds: Values, expected: Values) -> None:
        """Run the optimized model, and both in float64, on inputs of which the reference's outputs are known."""
        exactly = self._exactly(case, feeds)
        self._observe(case, self.runs[1], feeds, expected, exactly)
        if self.second is None or case.style not in ("drawn", "given"):
            return
        # The second question once more, in another runtime: there too, each has an error of its own.
        runtime, *runs = self.second
        try:
            also = runs[0](feeds)
        except RunError as error:
            self.notes.append(f"{case.where} was not compared in {runtime}: the reference does not run ({error})")
            return
        self._observe(replace(case, runtime=runtime), runs[1], feeds, also, exactly)

    def _observe(
        self, case: Case, run: Run, feeds: Values, expected: Values, exactly: tuple[Values, Values] | None
    ) -> None:
        self.seen[case.label, case.batch] = (case, feeds)
        try:
            got = run(feeds)
        except RunError as error:
            self.differences += failure(case, expected, f"the optimized model does not run: {error}")
            return
        for name, value in expected.items():
            pair = None if exactly is None else (exactly[0][name], exactly[1][name])
            self.observations.setdefault(name, []).append(Observation(case, name, value, got[name], pair))

    def also(self, runtime: str) -> None:
        """Run drawn and given inputs in a second runtime, too. Raises UserError when it is not there."""
        if runtime not in RUNTIMES:
            raise UserError(f"There is no runtime {runtime!r} here.", f"Choose one of {', '.join(RUNTIMES)}.")
        try:
            self.second = (runtime, RUNTIMES[runtime](self.models[0]), RUNTIMES[runtime](self.models[1]))
        except RunError as error:
            self.notes.append(f"not compared in {runtime}, which cannot load the models: {error}")

    def _exactly(self, case: Case, feeds: Values) -> tuple[Values, Values] | None:
        if self.exact is None or self.tolerance is not None:
            return None
        try:
            return self.exact[0](feeds), self.exact[1](feeds)
        except RunError as error:
            where = case.where
            self.notes.append(f"{where}: compared in the model's own precision only, float64 does not run ({error})")
            return None

    def bound(self) -> tuple[float, str]:
        """How far the two may be apart in float64, in units of an output's scale, and why."""
        if self.exact is None:
            return WITHIN_FLOAT32, "float64 could not be had"
        limits = {**self.exact[0].limits, **self.exact[1].limits}
        constants = {} if self.moved else combined(*self.models)
        bound, basis = SAME_FUNCTION, "both models store the same constants, so that only float64 rounds"
        if constants:
            rounded = self._rounded(constants)
            self.extra = rounded or {}
            why = f"these constants are not the reference's, and may be {COMBINED_CONSTANTS:g} roundings off"
            basis = f"besides, {why}: {_few(constants)}"
            if rounded is None:
                bound = COMBINED_CONSTANTS * max(constants.values())
        if limits:
            bound = max(bound, WITHIN_FLOAT32)
            basis = f"float32, in which these stayed: {_few(limits)}"
            operators = ", ".join(sorted(set(limits.values())))
            self.notes.append(
                f"not raised to float64: {operators} at {_few(limits)}; what follows is compared as float32"
            )
        return bound, basis

    def _rounded(self, constants: Mapping[str, float]) -> dict[str, dict[str, float]] | None:
        """What the rounding of constants that were combined does to each output, by kinds of cases.

        Measured, in float64, by having each of them off by so many roundings, up or down at random. None where that
        does not run.
        """
        roundings = {name: COMBINED_CONSTANTS * roundoff for name, roundoff in constants.items()}
        found: dict[str, dict[str, float]] = {}
        for draw in range(JITTERS):
            rng = np.random.default_rng([JITTERS, draw])
            try:
                off = Exact(self.models[1], change=partial(jittered, roundings=roundings, rng=rng))
                for case, feeds in self.seen.values():
                    moved = off(feeds)
                    for name, seen in self.observations.items():
                        exact = next((each.exact for each in seen if each.case == case), None)
                        if exact is not None and case.runtime == "onnxruntime":
                            by = found.setdefault(name, {})
                            by[case.scale] = max(by.get(case.scale, 0.0), distance(moved[name], exact[1]))
            except RunError:
                return None
        return found

    def verdict(self, seed: int, effort: str) -> Verification:
        same, basis = self.bound() if self.tolerance is None else (SAME_FUNCTION, "tolerances that were given")
        for name, seen in self.observations.items():
            self.differences += judge(seen, self.tolerance, same, self.extra.get(name, {}))
            if (off := own_error([each for each in seen if each.case.usual])) > HARDLY_JUDGED:
                self.notes.append(
                    f"output `{name}`: the reference is {off:.1%} off its own float64 result, so this tells little"
                )
        if not self.differences:
            self.notes.append("nothing was compared: the reference ran at no batch")
        reported = self.tolerance or Tolerance(same, 0.0)
        order = list(self.seen)
        self.differences.sort(key=lambda d: order.index((d.case, d.batch)))
        return Verification(
            passed=bool(self.differences) and all(d.passed for d in self.differences),
            seed=seed,
            rtol=reported.rtol,
            atol=reported.atol,
            differences=tuple(self.differences),
            notes=tuple(self.notes),
            basis=basis,
            effort=effort,
            runtime="onnxruntime" if self.second is None else f"onnxruntime and {self.second[0]}",
            rankings=self.rankings(),
        )

    def rankings(self) -> tuple[Ranking, ...]:
        """What becomes of the order of the candidates, edge cases apart: there, most scores are alike."""
        seen = [each for per in self.observations.values() for each in per if each.case.style in ("drawn", "given")]
        scores = [(each.output, each.reference, each.optimized) for each in seen]
        return rankings(scores, [each.case.batch for each in seen])

    def explained(
        self, verification: Verification, inputs: Sequence[Input], traced: Trace, failing: Path | None
    ) -> Divergence:
        """Where the worst failure begins, and the least that still fails."""
        failed = [one for one in verification.differences if not one.passed]
        drawn = [one for one in failed if self.seen[one.case, one.batch][0].style in ("drawn", "given")]
        worst = max(drawn or failed, key=lambda one: one.max_abs / one.bound if one.bound else math.inf)
        case, feeds = self.seen[worst.case, worst.batch]
        small: Values = dict(feeds)
        if self.exact is not None or not self._with_lengths():
            symbols = batch_symbols(inputs, traced.requests)
            small = smallest(feeds, inputs, symbols, self._fails(worst), self._first(worst))
        same = verification.rtol if worst.in_float64 else SAME_FUNCTION
        found = divergence(self.models, small, same, exactly=worst.in_float64)
        found = found or Divergence(worst.output, worst.max_abs, worst.in_float64, "", "", 0)
        if failing is not None:
            out = io.BytesIO()
            arrays: dict[str, Any] = {n: a.astype(np.str_) if a.dtype == object else a for n, a in small.items()}
            np.savez(out, **arrays)
            write_file(failing, out.getvalue())
        return replace(
            found,
            output=worst.output,
            case=case.label,
            batch=case.batch,
            candidates=data.candidates(inputs, small, traced.requests),
            inputs=None if failing is None else str(failing),
        )

    def _first(self, worst: Difference) -> int:
        """The candidate that is the furthest off."""
        for seen in self.observations.get(worst.output, ()):
            if (seen.case.label, seen.case.batch) != (worst.case, worst.batch):
                continue
            a, b = seen.exact if worst.in_float64 and seen.exact else (seen.reference, seen.optimized)
            if a.shape == b.shape and a.shape[:1] == (worst.batch,) and a.size and a.dtype.kind == "f":
                off = np.where(np.isfinite(a) == np.isfinite(b), distances(a, b), np.inf)
                return int(np.argmax(off.reshape(worst.batch, -1).max(axis=1)))
        return 0

    def _fails(self, worst: Difference) -> Fails:
        """Whether other inputs fail as one comparison did, by the bounds that it had."""
        case, _ = self.seen[worst.case, worst.batch]
        second = self.second is not None and case.runtime == self.second[0]
        first, other = self.second[1:] if self.second is not None and second else self.runs

        def fails(feeds: Mapping[str, Array]) -> bool:
            try:  # float64 first: it knows on what onnxruntime would crash
                exact = None if self.exact is None else (self.exact[0](feeds), self.exact[1](feeds))
                expected = first(feeds)[worst.output]
            except RunError:
                return False
            try:
                got = other(feeds)[worst.output]
            except RunError:
                return "does not run" in worst.message
            if expected.shape != got.shape:
                return True
            if exact is None or self.tolerance is not None:
                return bool(misplaced(expected, got)) or distance(expected, got) > worst.bound
            a, b = exact[0][worst.output], exact[1][worst.output]
            if worst.in_float64:
                return bool(misplaced(a, b)) or distance(a, b) > (worst.float64_bound or 0.0)
            return bool(misplaced(expected, got)) or distance(got, a) > worst.bound

        return fails


def _few(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in list(names)[:3]) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


def _changed_ids(models: tuple[Source, Source], traced: Trace) -> dict[str, Array]:
    """The ids, by input, of rows that the two models store differently."""
    found: dict[str, Array] = {}
    for name, tables in traced.tables.items():
        ids = [changed_rows(*models, table) - offset for table, offset in tables]
        if any(each.size for each in ids):
            found[name] = np.unique(np.concatenate(ids))
    return found


def _batches(inputs: Sequence[Input], batches: Sequence[int], notes: list[str]) -> Sequence[int]:
    if any(isinstance(dim, str) for each in inputs for dim in each.dims):
        return batches
    notes.append("no input has a dynamic axis: the model was run at its own number of candidates")
    return [max((each.dims[0] for each in inputs if each.dims and isinstance(each.dims[0], int)), default=1)]


def _same_signature(reference: ort.InferenceSession, optimized: ort.InferenceSession) -> None:
    """Raise UserError unless the two are called alike: the same names, types and ranks."""
    sides = (
        ("input", reference.get_inputs(), optimized.get_inputs()),
        ("output", reference.get_outputs(), optimized.get_outputs()),
    )
    for kind, expected, got in sides:
        a, b = {each.name: each for each in expected}, {each.name: each for each in got}
        for name in [*a, *b]:
            if name not in a or name not in b:
                where = "reference" if name in a else "optimized"
                problem = f"{kind} `{name}` is only in the {where} model"
            elif a[name].type != b[name].type:
                problem = f"{kind} `{name}` is {a[name].type} in the reference, {b[name].type} in the optimized model"
            elif kind == "input" and len(a[name].shape) != len(b[name].shape):
                of_a, of_b = a[name].shape, b[name].shape
                problem = f"{kind} `{name}` has shape {of_a} in the reference, {of_b} in the optimized model"
            else:
                continue
            raise UserError(
                f"The models cannot be compared: {problem}.",
                "Give a model and what was made of it, with the signature kept.",
            )


def _trace(source: Source, inputs: Sequence[Input], notes: list[str]) -> Trace:
    try:
        traced = trace(source, inputs)
    except RunError as error:
        notes.append(f"what the integer inputs index could not be traced ({error}): ids were drawn from 0 to 1")
        return Trace({})
    unknown = [each.name for each in inputs if each.dtype.kind in "iu" and each.name not in traced.bounds]
    if unknown:
        notes.append(f"index nothing that could be traced, drawn from 0 to 1: {', '.join(unknown)}")
    return traced
