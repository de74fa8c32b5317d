"""The verification of an optimized model against the one it was made from."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from mari_onnx.document import ModelLike, as_document
from mari_onnx.errors import UserError
from mari_onnx.report.model import Difference, Verification
from mari_onnx.verification.cases import DEFAULT_EFFORT, EFFORTS, Case, Effort, plan
from mari_onnx.verification.compare import (
    COMBINED_CONSTANTS,
    HARDLY_JUDGED,
    SAME_FUNCTION,
    WITHIN_FLOAT32,
    Observation,
    Tolerance,
    failure,
    judge,
    own_error,
)
from mari_onnx.verification.constants import combined
from mari_onnx.verification.exact import Exact
from mari_onnx.verification.inputs import (
    Input,
    draw,
    edges,
    extents,
    inputs_of,
)
from mari_onnx.verification.ranges import Trace, trace
from mari_onnx.verification.recurrent import RECURRENT
from mari_onnx.verification.runtime import Array, Run, RunError, Source, runner

Values = dict[str, Array]
Progress = Callable[[str, int, int], None]


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    *,
    tiled: Collection[str] = (),
    batches: Sequence[int] | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    effort: str = DEFAULT_EFFORT,
    moved: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Run both models on drawn inputs at each number of candidates, and compare every output.

    The rows of `tiled` inputs are identical, as their callers repeat them. Without tolerances the two questions of
    `compare.judge` are asked, the first of them in float64; `Verification.rtol` is then that question's bound. With
    `rtol` or `atol` (the other is 0), outputs pass when |optimized - reference| <= atol + rtol * max|reference|.
    `moved` says that the optimized model's constants are known to be the reference's, at most moved.
    `effort` is one of `cases.EFFORTS`; `batches` replace the numbers of candidates that it has.
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
    drawn = Drawn(inputs, traced, tiled, seed, EFFORTS[effort], batches, notes)
    comparison = Comparison(models, (runner(sessions[0]), runner(sessions[1])), notes, tolerance, moved)
    comparison.run(drawn, say)
    return comparison.verdict(seed, effort)


@dataclass
class Drawn:
    """Inputs made up for each case, that the reference is not known to refuse."""

    inputs: Sequence[Input]
    traced: Trace
    tiled: Collection[str]
    seed: int
    effort: Effort
    batches: Sequence[int]
    notes: list[str]

    def cases(self) -> list[Case]:
        styles = edges(self.inputs, self.traced.bounds, extents(self.inputs, 2, self.traced.requests), self.tiled)
        return plan(self.effort, self.batches, self.seed, styles)

    def feeds(self, case: Case, *, largest_id: int | None = None, nonnegative: bool = False) -> Values:
        sizes = extents(self.inputs, case.batch, self.traced.requests)
        return draw(
            self.inputs,
            self.traced.bounds,
            sizes,
            np.random.default_rng(case.seed),
            style=case.style,
            tiled=self.tiled,
            largest_id=largest_id,
            nonnegative=nonnegative,
        )

    def run(self, case: Case, run: Run) -> tuple[Values, Values] | None:
        """Inputs that the reference can run, and what it makes of them; None, and a note, when there are none."""

        def attempt(largest_id: int | None, *, nonnegative: bool) -> tuple[Values, Values] | RunError:
            feeds = self.feeds(case, largest_id=largest_id, nonnegative=nonnegative)
            try:
                return feeds, run(feeds)
            except RunError as error:
                return error

        usual, where, largest_id = case.style == "drawn", _where(case), None
        found = attempt(largest_id, nonnegative=False)
        if isinstance(found, RunError):
            problem, largest_id = found, 1
            found = attempt(largest_id, nonnegative=False)
            if isinstance(found, RunError):
                self.notes.append(f"{where} was skipped: the reference does not run ({problem})")
                return None
            self.notes.append(
                f"{where}: only ids 0 and 1, because the reference does not run on larger ones ({problem})"
            )
        if usual and not _finite(found[1]):  # the logarithm or the root of a negative feature tells nothing
            again = attempt(largest_id, nonnegative=True)
            found = again if not isinstance(again, RunError) and _finite(again[1]) else found
        for name, value in found[1].items():
            if usual and value.size and value.dtype.kind == "f" and not np.isfinite(value).any():
                self.notes.append(f"{where}: output `{name}` of the reference is nowhere finite, so this tells little")
        return found


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
    order: list[str] = field(default_factory=list)
    exact: tuple[Exact, Exact] | None = None

    def __post_init__(self) -> None:
        try:
            self.exact = Exact(self.models[0]), Exact(self.models[1])
        except RunError as error:
            self.notes.append(f"compared in the model's own precision only: {error}")

    def run(self, drawn: Drawn, say: Progress) -> None:
        """Run every case, as long as there is time for those that may be left out."""
        start, cases = time.monotonic(), drawn.cases()
        for done, case in enumerate(cases, 1):
            say(_where(case), done, len(cases) + 1)
            if done > len(drawn.batches) and time.monotonic() - start > drawn.effort.seconds:
                left = ", ".join(dict.fromkeys(each.name for each in cases[done - 1 :]))
                self.notes.append(
                    f"left out, because {drawn.effort.seconds:g} s were over: {left} (more --effort runs them)"
                )
                return
            if self._safe(drawn, case) and (found := drawn.run(case, self.runs[0])) is not None:
                self.compare(case, *found)

    def _safe(self, drawn: Drawn, case: Case) -> bool:
        """Whether onnxruntime survives a case: its GRU takes the process down when every sequence is empty."""
        recurrent = any(node.op_type in RECURRENT and len(node.input) > 4 for node in self.models[0].proto.graph.node)
        if case.style not in ("padding", "zeros") or not recurrent:
            return True
        try:
            if self.exact is None:
                raise RunError("its sequences may all be empty")
            self.exact[0](drawn.feeds(case))
        except RunError as error:
            self.notes.append(f"{_where(case)} was skipped: onnxruntime may crash on it ({error})")
            return False
        return True

    def compare(self, case: Case, feeds: Values, expected: Values) -> None:
        """Run the optimized model, and both in float64, on inputs of which the reference's outputs are known."""
        self.order.append(_where(case))
        try:
            got = self.runs[1](feeds)
        except RunError as error:
            self.differences += failure(case, expected, f"the optimized model does not run: {error}")
            return
        exactly = self._exactly(case, feeds)
        for name, value in expected.items():
            pair = None if exactly is None else (exactly[0][name], exactly[1][name])
            self.observations.setdefault(name, []).append(Observation(case, name, value, got[name], pair))

    def _exactly(self, case: Case, feeds: Values) -> tuple[Values, Values] | None:
        if self.exact is None:
            return None
        try:
            return self.exact[0](feeds), self.exact[1](feeds)
        except RunError as error:
            where = _where(case)
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
            worst = max(constants.values())
            bound = max(bound, COMBINED_CONSTANTS * worst)
            why = f"because constants are not the reference's: {_few(constants)}"
            basis = f"{COMBINED_CONSTANTS:g} roundings of 2^{np.log2(worst):.0f}, {why}"
        if limits:
            bound = max(bound, WITHIN_FLOAT32)
            basis = f"float32, in which these stayed: {_few(limits)}"
            operators = ", ".join(sorted(set(limits.values())))
            self.notes.append(
                f"not raised to float64: {operators} at {_few(limits)}; what follows is compared as float32"
            )
        return bound, basis

    def verdict(self, seed: int, effort: str) -> Verification:
        same, basis = self.bound()
        for name, seen in self.observations.items():
            self.differences += judge(seen, self.tolerance, same)
            if (off := own_error([each for each in seen if each.case.scale == "drawn"])) > HARDLY_JUDGED:
                self.notes.append(
                    f"output `{name}`: the reference is {off:.1%} off its own float64 result, so this tells little"
                )
        if not self.differences:
            self.notes.append("nothing was compared: the reference ran at no batch")
        reported = self.tolerance or Tolerance(same, 0.0)
        self.differences.sort(key=lambda d: self.order.index(_named(d.case, d.batch)))
        return Verification(
            passed=bool(self.differences) and all(d.passed for d in self.differences),
            seed=seed,
            rtol=reported.rtol,
            atol=reported.atol,
            differences=tuple(self.differences),
            notes=tuple(self.notes),
            basis=basis if self.tolerance is None else "tolerances that were given",
            effort=effort,
        )


def _where(case: Case) -> str:
    return _named(case.name, case.batch)


def _named(case: str, batch: int) -> str:
    return f"batch {batch}" if case == "drawn" else f"{case} at batch {batch}"


def _few(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in list(names)[:3]) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


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


def _finite(outputs: Values) -> bool:
    return all(np.isfinite(value).all() for value in outputs.values() if value.dtype.kind == "f")
