"""Mutation testing of the verification: `python -m tests.verification.mutate` (`make mutate`).

Every sample model is optimized and damaged in each of the ways of `mutations`, at a few places each. A damaged model
is *wrong* when some score, over 1,565 candidates that the verification knows nothing of, is further from the
original's float64 result than the original is itself: by more than the model's own rounding. The verification has to
see each of these. What it does not see is listed in survivors.md, with how far off it is and why that is right.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.calls import call, declared
from benchmarks.models import samples
from mari_onnx import optimize
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.verification.compare.judge import ACCURACY_FACTOR, ACCURACY_FLOOR, distance, misplaced
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source
from tests.verification.models import judged
from tests.verification.mutations import MUTATIONS, Patient

NOT_SEEN = "NOT SEEN"
SURVIVORS = Path(__file__).parent / "survivors.md"
CALLS = ((500, 0), (500, 1), (500, 2), (64, 3), (1, 4))
"""Candidates and seed of the calls by which the damage is measured."""


@dataclass(frozen=True)
class Sample:
    """A sample model, its optimized form, and what the original makes of the calls: in float64, and its own error."""

    original: onnx.ModelProto
    optimized: onnx.ModelProto
    tiled: tuple[str, ...]
    calls: tuple[dict[str, Any], ...]
    exact: tuple[dict[str, Any], ...]
    rounding: float

    @property
    def allowed(self) -> float:
        """What the second question allows, in units of the rounding."""
        scale = max(float(np.abs(value).max()) for values in self.exact for value in values.values())
        return ACCURACY_FACTOR + ACCURACY_FLOOR * float(np.spacing(np.float32(scale))) / self.rounding


@dataclass(frozen=True)
class Mutant:
    """A damaged model, and what became of it.

    `damage` is in units of the original's own rounding, as are what is left of it in float64 and what is `allowed` of
    an output's accuracy where the two are the same function.
    """

    sample: str
    mutation: str
    place: str
    damage: float
    in_float64: float
    allowed: float
    seen: bool
    by_thorough: bool = False


@cache
def sample(name: str) -> Sample:
    ((path, meta),) = [(path, meta) for each, path, meta in samples() if each == name]
    model = onnx.load(path)
    users = declared(meta, model)
    optimized = optimize(model, user_inputs=users, verify=False).model
    tiled = roles_of(Model(as_document(model)), users, 500).tiled
    calls = tuple(call(meta, model, batch, seed) for batch, seed in CALLS)
    source = Source("reference", as_document(model))
    raised, run = Exact(source), source.runner(source.session())
    exact = tuple(raised(feeds) for feeds in calls)
    rounding = max(distance(run(f)[n], e[n]) for f, e in zip(calls, exact, strict=True) for n in e)
    return Sample(model, optimized, tiled, calls, exact, rounding)


def damage(given: Sample, model: onnx.ModelProto) -> tuple[float, float]:
    """How far off a model is, in its own precision and in float64, in units of the original's own rounding."""
    try:
        source = Source("damaged", as_document(model))
        run, raised = source.runner(source.session()), Exact(source)
        off = [0.0, 0.0]
        for feeds, exact in zip(given.calls, given.exact, strict=True):
            for i, found in enumerate((run(feeds), raised(feeds))):
                for name, value in exact.items():
                    other = found[name]
                    apart = value.shape != other.shape or misplaced(value, other)
                    far = np.inf if apart else distance(value, other)
                    off[i] = max(off[i], far)
    except (RunError, UserError):
        return np.inf, np.inf
    return off[0] / given.rounding, off[1] / given.rounding


def mutants(name: str, places: int, only: Sequence[str] = (), effort: str = "standard") -> Iterator[Mutant]:
    """Every mutation of one sample, at several places each."""
    given = sample(name)
    for mutation, function in MUTATIONS.items():
        if only and mutation not in only:
            continue
        known = set()
        for k in range(places):
            patient = Patient(given.optimized)
            place = function(patient, np.random.default_rng([zlib.crc32(f"{name} {mutation}".encode()), k]))
            if place is None or place in known:
                continue
            known.add(place)
            own, exact = damage(given, patient.model)
            found = Mutant(name, mutation, place, own, exact, given.allowed, seen(given, patient.model, effort))
            if not found.seen and argument(found) == NOT_SEEN:
                found = replace(found, by_thorough=seen(given, patient.model, "thorough"))
            yield found


def seen(given: Sample, model: onnx.ModelProto, effort: str) -> bool:
    """Whether the verification tells the damaged model from the original."""
    try:
        return not judged(given.original, model, tiled=given.tiled, effort=effort).passed
    except UserError:  # it is not even a model
        return True


def argument(mutant: Mutant) -> str:
    """Why it is right that a damaged model was not seen."""
    if mutant.damage <= 1:
        return "no score is off by more than the original's own rounding"
    if mutant.in_float64 < 1e-3 and mutant.damage <= mutant.allowed:
        return f"the same function; less accurate by no more than the {mutant.allowed:.1f} roundings that are allowed"
    if mutant.in_float64 < 1e-3 and mutant.by_thorough:
        return "the same function, and rarely less accurate: it takes the candidates of --effort thorough to see it"
    return NOT_SEEN


def report(found: Sequence[Mutant]) -> str:
    """The list of survivors, as a document."""
    wrong = [m for m in found if m.damage > 1]
    alive = [m for m in found if not m.seen]
    escaped = [m for m in alive if argument(m) == NOT_SEEN]
    per = Counter(m.mutation.replace("_", " ") for m in found)
    lines = [
        "# Damaged models that the verification does not tell from the original",
        "",
        "Written by `make mutate`. The damage is how far the worst of 1,565 candidates is from the original's",
        "float64 result, in units of how far the original itself is at most.",
        "",
        f"{len(found)} damaged models of {len({m.sample for m in found})} samples in {len(per)} ways, {len(wrong)} of",
        f"them wrong by more than the original's own rounding. {len(found) - len(alive)} were seen, {len(alive)} were",
        f"not; of those, {len(escaped)} should have been.",
        "",
        "| sample | damage | where | own precision | float64 | why that is right |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    for m in sorted(alive, key=lambda m: (-m.damage, m.sample, m.mutation)):
        what, where = m.mutation.replace("_", " "), m.place.replace("|", "\\|")
        lines.append(f"| {m.sample} | {what} | `{where}` | {m.damage:.2g} | {m.in_float64:.2g} | {argument(m)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("names", nargs="*", help="samples; all of them by default")
    parser.add_argument("--places", type=int, default=2, help="places at which each kind of damage is done")
    parser.add_argument("--write", action="store_true", help=f"write {SURVIVORS.name}")
    given = parser.parse_args()
    found: list[Mutant] = []
    start = time.monotonic()
    for name in given.names or [name for name, *_ in samples()]:
        found += mutants(name, given.places)
        sys.stderr.write(f"{name}: {len(found)} damaged models after {time.monotonic() - start:.0f} s\n")
    text = report(found)
    if given.write:
        SURVIVORS.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return any(not m.seen and argument(m) == NOT_SEEN for m in found)


if __name__ == "__main__":
    sys.exit(main())
