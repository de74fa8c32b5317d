"""One task of a replay: the requests of a row group, run through both models. It runs in a process of an engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mari_onnx.document.document import Document
from mari_onnx.traffic.cells import Array
from mari_onnx.traffic.findings import Bad, Example, Findings, Noted, Output, add
from mari_onnx.traffic.layout import Layout
from mari_onnx.traffic.plan import Task
from mari_onnx.traffic.requests import ALL, Chosen, Request, requests
from mari_onnx.verification.compare.judge import Tolerance, distances
from mari_onnx.verification.compare.ranking import columns, places
from mari_onnx.verification.runtimes.answers import answering
from mari_onnx.verification.runtimes.onnxruntime import Run, RunError, Source, Values


@dataclass(frozen=True)
class Replay:
    """What all tasks of a replay share.

    `optimized` has the inputs and outputs of the reference. `column` has the ids of requests. Within a call, rows with
    the same values of the inputs `keys` are one user's. `allowed` is the largest distance of the two models by output;
    in its place a plain `tolerance` may be given.
    """

    reference: Document
    optimized: Document
    layout: Layout
    column: str
    keys: tuple[str, ...] = ()
    allowed: Mapping[str, float] = field(default_factory=dict)
    tolerance: Tolerance | None = None
    chosen: Chosen = ALL
    threads: int = 1

    def opened(self) -> Callable[[Task], Findings]:
        """The function that does a task, with the models loaded. Raises UserError where one cannot be loaded."""
        sources = Source("reference", self.reference), Source("optimized", self.optimized)
        before, after = (answering(each.runner(each.session(self.threads))) for each in sources)
        return lambda task: _found(self, task, (before, after))


def _found(replay: Replay, task: Task, runs: tuple[Run, Run]) -> Findings:
    found = Findings()
    for request in requests(task, replay.layout, replay.column, replay.chosen):
        found.requests += 1
        found.rows += request.candidates
        found.largest = max(found.largest, request.candidates)
        broken = broken_promises(replay.layout, request, replay.keys)
        _compare(replay, found, request, Example((task.number, request.number), str(request.id)), runs, broken)
    return found


def broken_promises(layout: Layout, request: Request, keys: Sequence[str]) -> dict[str, tuple[int, str]]:
    """The inputs of which rows of one user are not identical: how many differ from the first, and an example.

    All rows of a request are one user's, or those with the same values of the inputs `keys`.
    """
    found: dict[str, tuple[int, str]] = {}
    if request.candidates < 2:
        return found
    first = _first_of_each(request, keys)
    for each in layout.inputs:
        if not each.is_requests or each.how.value is not None:
            continue
        rows = request.feeds[each.input.name].reshape(request.candidates, -1)
        wanted = rows[first]
        unequal = rows != wanted
        if rows.dtype.kind == "f" and unequal.any():
            unequal &= ~(np.isnan(rows) & np.isnan(wanted))
        if unequal.any():
            differ = unequal.any(axis=1)
            row = int(np.flatnonzero(differ)[0])
            at = int(np.flatnonzero(unequal[row])[0])
            where = f"row {first[row] + 1}" if keys else "the first row"
            words = f"{wanted[row, at]} in {where}, {rows[row, at]} in row {row + 1}"
            found[each.input.name] = (int(differ.sum()), words)
    return found


def _first_of_each(request: Request, keys: Sequence[str]) -> Array:
    """For each row the number of the first with its keys; without keys, that of the first row of all."""
    users = np.zeros(request.candidates, np.int64)
    for key in keys:
        for column in request.feeds[key].reshape(request.candidates, -1).T:
            _, number = np.unique(column, return_inverse=True)
            _, users = np.unique(users * (number.max(initial=0) + 1) + number, return_inverse=True)
    _, first = np.unique(users, return_index=True)
    return np.asarray(first[users])


def _compare(
    replay: Replay,
    found: Findings,
    request: Request,
    example: Example,
    runs: tuple[Run, Run],
    broken: Mapping[str, tuple[int, str]],
) -> None:
    """Run both models on one request, and count what is found. A request that breaks a promise only counts as that."""
    for name, (rows, words) in broken.items():
        found.broken.setdefault(name, Noted()).add(Example(example.at, example.id, words), rows)
    feeds = replay.layout.one_row(request.feeds)
    turns = (0, 1) if request.number % 2 == 0 else (1, 0)  # the first of two calls finds its inputs in no cache
    answers: dict[int, Values | RunError] = {}
    for turn in turns:
        answers[turn] = _timed(found, turn, runs[turn], feeds)
    before, after = answers[0], answers[1]
    if isinstance(before, RunError):
        found.unrunnable.add(Example(example.at, example.id, str(before)), request.candidates)
    elif isinstance(after, RunError):
        found.failing.add(Example(example.at, example.id, str(after)), request.candidates)
    elif not broken:
        if words := _incomparable(before, after):
            found.failing.add(Example(example.at, example.id, words), request.candidates)
            return
        found.compared += 1
        for name, expected in before.items():
            own = found.outputs.setdefault(name, Output())
            allowed = replay.allowed.get(name, 0.0)
            _count(own, expected, after[name], allowed if replay.tolerance is None else replay.tolerance, example)
            _rank(own, name, expected, after[name], request.candidates)


def _timed(found: Findings, turn: int, run: Run, feeds: Mapping[str, Array]) -> Values | RunError:
    """A model's answers, or why there are none; the time of the call is counted."""
    start = time.perf_counter_ns()
    try:
        return run(feeds)
    except RunError as error:
        return error
    finally:
        taken = time.perf_counter_ns() - start
        found.times[turn].add_one(taken)
        spent = list(found.nanoseconds)
        spent[turn] += taken
        found.nanoseconds = (spent[0], spent[1])


def _incomparable(before: Values, after: Values) -> str:
    """In what the outputs cannot be compared, in words; "" where they can."""
    if before.keys() != after.keys():
        return f"{', '.join(sorted(before.keys() ^ after.keys()))} in only one of the two"
    for name, a in before.items():
        b = after[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"output `{name}` is {b.dtype} {list(b.shape)}, and the reference's is {a.dtype} {list(a.shape)}"
    return ""


def _count(own: Output, a: Array, b: Array, allowed: float | Tolerance, example: Example) -> None:
    """Count the differences of one output in one request."""
    own.values += a.size
    same = np.array_equal(a, b)  # also false where both are NaN
    apart = np.zeros(a.shape) if same else distances(a, b)
    own.differences.add(apart)
    largest, score = _magnitude(a), float(apart.max(initial=0.0))
    misplaced = 0
    if not same and a.dtype.kind == "f" and not (np.isfinite(a) & np.isfinite(b)).all():
        nan = np.isnan(a)
        own.nan += int(nan.sum())
        infinite = (np.isinf(a) | np.isinf(b)) & (a != b)
        misplaced = int(((nan != np.isnan(b)) | (infinite & ~nan & ~np.isnan(b))).sum())
        own.misplaced += misplaced
    if isinstance(allowed, Tolerance):
        allowed = allowed.atol + allowed.rtol * largest
    over = int(np.count_nonzero(apart > (allowed if a.dtype.kind == "f" else 0))) + misplaced
    own.over += over
    own.over_requests += over > 0
    own.scale = max(own.scale, largest)
    own.keep(Bad(float("inf") if misplaced else score, example.at, example.id), Bad(largest, example.at, example.id))


def _magnitude(a: Array) -> float:
    """The largest magnitude of a finite element."""
    if a.dtype.kind not in "fiu" or not a.size:
        return 0.0
    largest = float(np.abs(a).max())
    return largest if np.isfinite(largest) else float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def _rank(own: Output, name: str, a: Array, b: Array, candidates: int) -> None:
    """Count how far candidates moved, and how many of the best were lost, in the worst of the output's columns."""
    moved = lost = -1
    if np.array_equal(a, b):
        if any(True for _ in columns(name, a, a, candidates)):
            moved = lost = 0
    else:
        for _, before, after in columns(name, a, b, candidates):
            top, kept, move = places(before, after)
            moved, lost = max(moved, move), max(lost, top - kept)
    if moved >= 0:
        add(own.moved, {moved: 1})
        add(own.lost, {lost: 1})
