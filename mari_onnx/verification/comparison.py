"""Two models, run on the same inputs, with their outputs kept for the judgement."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module

import numpy as np

from mari_onnx.report.model import Difference, Moved, Ranking, Verification
from mari_onnx.report.note import Note
from mari_onnx.verification.compare.allowance import Allowance, allowance
from mari_onnx.verification.compare.judge import (
    LARGE_OWN_ERROR,
    SAME_FUNCTION,
    WITHIN_FLOAT32,
    Observation,
    Problem,
    Tolerance,
    failure,
    judge,
    own_error,
)
from mari_onnx.verification.compare.ranking import rankings
from mari_onnx.verification.compare.steps import moved, rounds
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.float64.recurrent import RECURRENT
from mari_onnx.verification.inputs.calls import Drawn, Given
from mari_onnx.verification.inputs.cases import Case
from mari_onnx.verification.inputs.draw import Input
from mari_onnx.verification.inputs.vouched import Vouched
from mari_onnx.verification.notes import noted
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME, SECOND_RUNTIMES
from mari_onnx.verification.runtimes.answers import answering
from mari_onnx.verification.runtimes.onnxruntime import Run, RunError, Source, Values
from mari_onnx.verification.runtimes.providers import provider_of, run_in_provider

Progress = Callable[[str, int, int], None]


@dataclass
class _LeftOut:
    """The cases that there is no time for, and how long those took that were run."""

    seconds: float
    over: list[Case] = field(default_factory=list)
    too_long: list[Case] = field(default_factory=list)
    for_each: float = 0.0
    """The least time that a candidate took in any case, in seconds: what many take is about as many times that."""

    def takes(self, case: Case, spent: float) -> bool:
        """Whether the case is left out, when so many seconds are spent."""
        if spent > self.seconds:
            self.over.append(case)
        elif spent + self.for_each * case.batch > self.seconds:
            self.too_long.append(case)
        else:
            return False
        return True

    def took(self, case: Case, seconds: float) -> None:
        """Remember how long a case took."""
        each = seconds / max(case.batch, 1)
        self.for_each = min(self.for_each or each, each)

    def notes(self) -> list[Note]:
        """What was left out, and why."""
        reasons = {f"{self.seconds:g} s were over": self.over, f"{self.seconds:g} s would not do": self.too_long}
        return [
            Note(
                "case-left-out",
                f"left out, because {why}: {', '.join(dict.fromkeys(map(_named, cases)))} (more --effort runs them)",
            )
            for why, cases in reasons.items()
            if cases
        ]


def _named(case: Case) -> str:
    """A case in a list: those that are drawn by their candidates."""
    return case.where if case.name == "drawn" else case.name


@dataclass
class Comparison:
    """Both models, run case by case, and their outputs.

    `models` and `runs` are the reference and the optimized model, in this order. `requests` are the symbols of leading
    axes that count requests. `moved` says that the optimized model's constants are the reference's, at most moved.
    `observations` are the outputs by name, `differences` the failures that leave nothing to judge, such as a model that
    does not run. `seen` are the cases that were run, with their inputs, by label and number of candidates. `exact` are
    both models in float64, None where that cannot be had. `second` is a second runtime: its name and both models in it.
    `vouched` are the scores of attention that the caller says are small, None where nobody did. `order` is the first
    output that is in another place, and a sentence about it; None where the order is the same.
    """

    models: tuple[Source, Source]
    runs: tuple[Run, Run]
    inputs: Sequence[Input]
    requests: frozenset[str]
    notes: list[Note]
    tolerance: Tolerance | None
    moved: bool
    order: tuple[str, str] | None = None
    observations: dict[str, list[Observation]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    seen: dict[tuple[str, int], tuple[Case, Values]] = field(default_factory=dict)
    exact: tuple[Exact, Exact] | None = None
    second: tuple[str, Run, Run] | None = None
    vouched: Vouched | None = None

    def __post_init__(self) -> None:
        try:
            self.exact = Exact(self.models[0]), Exact(self.models[1])
        except RunError as error:
            self.notes.append(Note("float32-only", f"compared in the model's own precision only: {error}"))

    def run(self, calls: Drawn | Given, say: Progress) -> None:
        """Run the first `calls.needed` cases, and the others until `calls.seconds` are over; a note names the rest."""
        start, cases, left = time.monotonic(), calls.cases(), _LeftOut(calls.seconds)
        for done, case in enumerate(cases, 1):
            say(case.where, done, len(cases) + 1)
            begun = time.monotonic()
            if done > calls.needed and left.takes(case, begun - start):
                continue
            if self._safe(calls, case) and (found := calls.run(case, self.runs[0])) is not None:
                if self.vouched is not None:
                    found = self.vouched.inputs(calls, case, found, self.runs, self.notes)
                if found is not None:
                    if not self.seen:
                        self._call_again(case, *found)
                    self.compare(case, *found)
            left.took(case, time.monotonic() - begun)
        self.notes += left.notes()

    def _safe(self, calls: Drawn | Given, case: Case) -> bool:
        """Whether a case is safe to run: the GRU of onnxruntime crashes the process when every sequence is empty.

        The float64 run, which raises RunError there, tells.
        """
        if case.style not in ("padding", "zeros", "given") or not self.with_lengths:
            return True
        try:
            if self.exact is None:
                raise RunError("its sequences may all be empty")
            self.exact[0](calls.feeds(case))
        except RunError as error:
            self.notes.append(Note("case-skipped", f"{case.where} was skipped: onnxruntime may crash on it ({error})"))
            return False
        return True

    def _call_again(self, case: Case, feeds: Values, expected: Values) -> None:
        """Call the reference once more, and note an output that is another one then.

        A Dropout in training mode draws numbers. A BatchNormalization in training mode has its statistics overwritten.
        """
        try:
            again = self.runs[0](feeds)
        except RunError:
            return
        for name in expected.keys() & again.keys():
            if not np.array_equal(expected[name], again[name], equal_nan=expected[name].dtype.kind == "f"):
                said = f"output `{name}` of the reference is another one when it is called again ({case.where})"
                self.notes.append(Note("reference-varies", f"{said}: export the model in evaluation mode"))

    @property
    def with_lengths(self) -> bool:
        """Whether the reference has recurrent nodes whose sequences have lengths, which may all be 0."""
        return any(node.op_type in RECURRENT and len(node.input) > 4 for node in self.models[0].proto.graph.node)

    def vouch(self, assumed: Collection[str]) -> None:
        """Ask on each input whether the scores before these Softmaxes are as small as the caller vouched for."""
        try:
            self.vouched = Vouched(self.models[0], assumed)
        except RunError as error:
            said = f"whether attention scores were small (--assume-masked) was not looked into: {error}"
            self.notes.append(Note("scores-large", said))

    def compare(self, case: Case, feeds: Values, expected: Values) -> None:
        """Run the optimized model on `feeds`, and both models in float64. `expected` are the reference's outputs."""
        exactly = self._exactly(case, feeds)
        self._observe(case, self.runs[1], feeds, expected, exactly)
        if self.second is None or case.style not in ("drawn", "given"):
            return
        # In the second runtime both models have rounding errors of their own, so the second question is asked again.
        runtime, *runs = self.second
        try:
            also = runs[0](feeds)
        except RunError as error:
            said = f"{case.where} was not compared in {runtime}: the reference does not run ({error})"
            self.notes.append(Note("runtime-lacking", said))
            return
        self._observe(replace(case, runtime=runtime), runs[1], feeds, also, exactly)

    def _observe(
        self, case: Case, run: Run, feeds: Values, expected: Values, exactly: tuple[Values, Values] | None
    ) -> None:
        self.seen[case.label, case.batch] = (case, feeds)
        try:
            got = run(feeds)
        except RunError as error:
            self.differences += failure(
                case, expected, Problem("does not run", f"the optimized model does not run: {error}")
            )
            return
        if alone := sorted(expected.keys() ^ got.keys()):  # tensors in a sequence or a map
            problem = Problem("shape", f"{', '.join(alone)} in only one of the two")
            self.differences += failure(case, alone, problem)
        for name in (name for name in expected if name in got):
            pair = (
                None
                if exactly is None or any(name not in each for each in exactly)
                else (exactly[0][name], exactly[1][name])
            )
            if exactly is not None and pair is None:
                said = f"output `{name}`: compared in the model's own precision only, float64 does not give it"
                self._note_once(Note("float32-only", said))
            self.observations.setdefault(name, []).append(Observation(case, name, expected[name], got[name], pair))

    def _note_once(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def add_runtime(self, runtime: str) -> None:
        """Compare drawn and recorded inputs in a second runtime as well. Raises UserError when it is not installed."""
        load: Callable[[Source], Run]
        if runtime in SECOND_RUNTIMES:
            load = getattr(import_module(f"mari_onnx.verification.runtimes.{runtime}"), SECOND_RUNTIMES[runtime])
        else:
            runtime = provider_of(runtime)
            load = partial(run_in_provider, provider=runtime)
        try:
            self.second = (runtime, load(self.models[0]), load(self.models[1]))
        except RunError as error:
            said = f"not compared in {runtime}, which cannot load the models: {error}"
            self.notes.append(Note("runtime-lacking", said))

    def _exactly(self, case: Case, feeds: Values) -> tuple[Values, Values] | None:
        if self.exact is None or self.tolerance is not None:
            return None
        try:
            return self.exact[0](feeds), self.exact[1](feeds)
        except RunError as error:
            said = f"{case.where}: compared in the model's own precision only, float64 does not run ({error})"
            self.notes.append(Note("float32-only", said))
            return None

    def verdict(self, seed: int, effort: str) -> Verification:
        """Judge the observations. `seed` and `effort` are only copied into the result."""
        allowed, rounded = self._allowed(), rounds(self.models[0].proto)
        for name, seen in self.observations.items():
            of_constants = allowed.constants.get(name, {})
            self.differences += judge(seen, self.tolerance, allowed.same, of_constants, rounds=rounded)
            usual = [each for each in seen if each.case.usual and each.case.runtime == DEFAULT_RUNTIME]
            if (off := own_error(usual)) > LARGE_OWN_ERROR:
                said = f"output `{name}`: the reference is {off:.1%} off its own float64 result, so this tells little"
                self.notes.append(Note("reference-inexact", said))
        if self.order is not None and self.seen:
            output, words = self.order
            self.differences += failure(next(iter(self.seen.values()))[0], [output], Problem("order", words))
        ranked: tuple[Ranking, ...] = ()
        with noted(self.notes, "what becomes of the order of the candidates could not be found"):
            ranked = self.rankings()
        if not self.differences:
            self.notes.append(Note("nothing-compared", "nothing was compared: the reference ran at no batch"))
        reported = self.tolerance or Tolerance(allowed.same, 0.0)
        order = list(self.seen)
        self.differences.sort(key=lambda d: order.index((d.case, d.batch)))
        return Verification(
            passed=bool(self.differences) and all(d.passed for d in self.differences),
            seed=seed,
            rtol=reported.rtol,
            atol=reported.atol,
            differences=tuple(self.differences),
            notes=tuple(self.notes),
            basis=allowed.basis,
            effort=effort,
            runtime="onnxruntime" if self.second is None else f"onnxruntime and {self.second[0]}",
            rankings=ranked,
            moved=self._moved() if rounded else (),
        )

    def _allowed(self) -> Allowance:
        if self.tolerance is not None:
            return Allowance(SAME_FUNCTION, "tolerances that were given")
        if self.exact is None:
            return Allowance(WITHIN_FLOAT32, "float64 could not be had")
        runs = [(case, feeds) for case, feeds in self.seen.values() if case.runtime == DEFAULT_RUNTIME]
        allowed = allowance(self.models, self.exact, runs, self.observations, moved=self.moved)
        self.notes += allowed.notes
        return allowed

    def _moved(self) -> tuple[Moved, ...]:
        """What moved by a step of the model's rounding, beside what the runtime's optimizations move."""
        drawn = {n: [e for e in seen if e.case.style in ("drawn", "given")] for n, seen in self.observations.items()}
        with noted(self.notes, "what the runtime's own optimizations move could not be found"):
            plain = [answering(model.runner(model.variant(model.proto))) for model in self.models]

            def without(case: Case) -> tuple[Values, Values]:
                _, feeds = self.seen[case.label, case.batch]
                return plain[0](feeds), plain[1](feeds)

            return moved({name: seen for name, seen in drawn.items() if seen}, without)
        return ()

    def rankings(self) -> tuple[Ranking, ...]:
        """How the order of the candidates changes. Edge cases are left out, because most of their scores are equal."""
        seen = [each for per in self.observations.values() for each in per if each.case.style in ("drawn", "given")]
        scores = [(each.output, each.reference, each.optimized) for each in seen]
        return rankings(scores, [each.case.batch for each in seen])
