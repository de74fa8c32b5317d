"""Two models, run side by side on the same inputs, and what was seen of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

from mari_onnx.report.model import Difference, Ranking, Verification
from mari_onnx.verification.compare.allowance import Allowance, allowance
from mari_onnx.verification.compare.judge import (
    HARDLY_JUDGED,
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
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.float64.recurrent import RECURRENT
from mari_onnx.verification.inputs.calls import Drawn, Given
from mari_onnx.verification.inputs.cases import Case
from mari_onnx.verification.inputs.draw import Input
from mari_onnx.verification.runtimes import BESIDES, DEFAULT_RUNTIME
from mari_onnx.verification.runtimes.onnxruntime import Run, RunError, Source, Values

Progress = Callable[[str, int, int], None]


@dataclass
class Comparison:
    """Both models, run side by side, and what was seen of them.

    `requests` are the symbols of leading axes that count requests. `seen` are the cases that were run, with their
    inputs, by label and number of candidates; `second` is another runtime, with both models in it.
    """

    models: tuple[Source, Source]
    runs: tuple[Run, Run]
    inputs: Sequence[Input]
    requests: frozenset[str]
    notes: list[str]
    tolerance: Tolerance | None
    moved: bool
    observations: dict[str, list[Observation]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    seen: dict[tuple[str, int], tuple[Case, Values]] = field(default_factory=dict)
    exact: tuple[Exact, Exact] | None = None
    second: tuple[str, Run, Run] | None = None

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
        if case.style not in ("padding", "zeros", "given") or not self.with_lengths:
            return True
        try:
            if self.exact is None:
                raise RunError("its sequences may all be empty")
            self.exact[0](calls.feeds(case))
        except RunError as error:
            self.notes.append(f"{case.where} was skipped: onnxruntime may crash on it ({error})")
            return False
        return True

    @property
    def with_lengths(self) -> bool:
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
                self._note_once(
                    f"output `{name}`: compared in the model's own precision only, float64 does not give it"
                )
            self.observations.setdefault(name, []).append(Observation(case, name, expected[name], got[name], pair))

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def also(self, runtime: str) -> None:
        """Run drawn and given inputs in a second runtime, too. Raises UserError when it is not installed."""
        load = getattr(import_module(f"mari_onnx.verification.runtimes.{runtime}"), BESIDES[runtime])
        try:
            self.second = (runtime, load(self.models[0]), load(self.models[1]))
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

    def verdict(self, seed: int, effort: str) -> Verification:
        """Judge what was seen; `seed` and `effort` are reported as they are."""
        allowed = self._allowed()
        for name, seen in self.observations.items():
            self.differences += judge(seen, self.tolerance, allowed.same, allowed.constants.get(name, {}))
            if (off := own_error([each for each in seen if each.case.usual])) > HARDLY_JUDGED:
                self.notes.append(
                    f"output `{name}`: the reference is {off:.1%} off its own float64 result, so this tells little"
                )
        if not self.differences:
            self.notes.append("nothing was compared: the reference ran at no batch")
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
            rankings=self.rankings(),
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

    def rankings(self) -> tuple[Ranking, ...]:
        """What becomes of the order of the candidates, edge cases apart: there, most scores are alike."""
        seen = [each for per in self.observations.values() for each in per if each.case.style in ("drawn", "given")]
        scores = [(each.output, each.reference, each.optimized) for each in seen]
        return rankings(scores, [each.case.batch for each in seen])
