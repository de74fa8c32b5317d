"""The calls that both models get: drawn from a seed, or recorded by a service."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mari_onnx.report.note import Note
from mari_onnx.verification.inputs import recorded as data
from mari_onnx.verification.inputs.cases import Batches, Case, Effort, plan
from mari_onnx.verification.inputs.draw import Input, by_key, draw, edges, extents
from mari_onnx.verification.inputs.ranges import Trace
from mari_onnx.verification.runtimes.onnxruntime import Array, Run, RunError, Values


@dataclass
class Drawn:
    """Calls whose inputs are drawn, so that the reference can run on them."""

    inputs: Sequence[Input]
    traced: Trace
    tiled: Collection[str]
    keys: Collection[str]
    seed: int
    effort: Effort
    batches: Batches
    notes: list[Note]
    chosen: Mapping[str, Array] = field(default_factory=dict)
    """By input, the ids that the case "changed rows" draws from: rows of tables that the optimized model changed."""

    centres: Mapping[str, Array] = field(default_factory=dict)
    """By input, what the model takes from each element of a row."""

    @property
    def seconds(self) -> float:
        """The seconds after which the cases beyond the first `needed` are left out."""
        return self.effort.seconds

    @property
    def needed(self) -> int:
        """How many cases, from the first on, are always run."""
        return len(set(self.batches.needed))

    def cases(self) -> list[Case]:
        """The cases in the order in which they are run."""
        styles = edges(self.inputs, self.traced.bounds, extents(self.inputs, 2, self.traced.requests), self.tiled)
        if self.chosen:
            styles.insert(0, "changed rows")
        if self.centres:
            styles.append("centred")
        return plan(self.effort, self.batches, self.seed, styles)

    def feeds(self, case: Case, *, largest_id: int | None = None, nonnegative: bool = False) -> Values:
        """The inputs of a case."""
        sizes = extents(self.inputs, case.batch, self.traced.requests)
        rng = np.random.default_rng(case.seed)
        feeds = draw(
            self.inputs,
            self.traced.bounds,
            sizes,
            rng,
            style=case.style,
            chosen=self.chosen,
            centres=self.centres,
            tiled=() if self.keys else self.tiled,
            largest_id=largest_id,
            nonnegative=nonnegative,
        )
        return by_key(feeds, self.tiled, self.keys, rng) if self.keys else feeds

    def run(self, case: Case, run: Run) -> tuple[Values, Values] | None:
        """Inputs on which the reference runs, and its outputs; None, with a note, where no such inputs are found.

        Where the reference does not run on the inputs as drawn, ids of 0 and 1 are tried. Where its outputs are not
        finite, features without negative numbers are tried.
        """

        def attempt(largest_id: int | None, *, nonnegative: bool) -> tuple[Values, Values] | RunError:
            feeds = self.feeds(case, largest_id=largest_id, nonnegative=nonnegative)
            try:
                return feeds, run(feeds)
            except RunError as error:
                return error

        usual, where, largest_id = case.style == "drawn", case.where, None
        found = attempt(largest_id, nonnegative=False)
        if isinstance(found, RunError):
            problem, largest_id = found, 1
            found = attempt(largest_id, nonnegative=False)
            if isinstance(found, RunError):
                self.notes.append(Note("case-skipped", f"{where} was skipped: the reference does not run ({problem})"))
                return None
            said = f"{where}: only ids 0 and 1, because the reference does not run on larger ones ({problem})"
            self.notes.append(Note("inputs-drawn", said))
        if usual and not _is_finite(found[1]):  # perhaps the model takes the logarithm or the root of a feature
            again = attempt(largest_id, nonnegative=True)
            found = again if not isinstance(again, RunError) and _is_finite(again[1]) else found
        for name, value in found[1].items():
            if usual and value.size and value.dtype.kind == "f" and not np.isfinite(value).any():
                said = f"{where}: output `{name}` of the reference is nowhere finite, so this tells little"
                self.notes.append(Note("reference-inexact", said))
        return found


@dataclass
class Given:
    """Calls whose inputs were recorded, in a file or a folder at `path`."""

    inputs: Sequence[Input]
    traced: Trace
    tiled: Collection[str]
    notes: list[Note]
    path: Path
    seconds: float = math.inf
    needed: int = 0
    calls: dict[Case, Values] = field(default_factory=dict)

    def cases(self) -> list[Case]:
        """A case for each recorded call. A note is added for a call whose rows of a tiled input differ."""
        for name, feeds in data.read(self.path, self.inputs):
            case = Case(name, data.candidates(self.inputs, feeds, self.traced.requests), "given")
            self.calls[case] = feeds
            for each in self.tiled:
                if (feeds[each] != feeds[each][:1]).any():
                    said = f"{name}: the rows of `{each}` differ, and only the first of them counts"
                    self.notes.append(Note("rows-differ", said))
        return list(self.calls)

    def feeds(self, case: Case) -> Values:
        """The inputs of a case."""
        return self.calls[case]

    def run(self, case: Case, run: Run) -> tuple[Values, Values] | None:
        """The inputs and the reference's outputs; None, with a note, where the reference does not run."""
        try:
            return self.calls[case], run(self.calls[case])
        except RunError as error:
            said = f"{case.where} was skipped: the reference does not run ({error})"
            self.notes.append(Note("case-skipped", said))
            return None


def _is_finite(outputs: Values) -> bool:
    return all(np.isfinite(value).all() for value in outputs.values() if value.dtype.kind == "f")
