"""A replay: recorded requests, run through two models.

    the first requests      are verified, as `verify` does: what may the two models differ by?
    all requests            are run by an engine, a row group in each task, and what is found is added up
    the worst of them       are read again, written to a file and verified: that is the verdict

The verification asks for float64, which would take too long for all requests. A request in which the models differ by
more than in all others is among the worst, so that no difference passes unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from mari_onnx import pipeline
from mari_onnx.document.check import blaming
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.staging import write_file
from mari_onnx.measurement.machine import cores
from mari_onnx.pipeline import Progress
from mari_onnx.report.model import Difference, Report, Verification
from mari_onnx.report.note import Note
from mari_onnx.report.replay import Broken, Latency, Replay, Replayed, Singled, StoppedGroup
from mari_onnx.serving.recompose import together
from mari_onnx.traffic import engines
from mari_onnx.traffic.columns import read as read_map
from mari_onnx.traffic.engines.engine import Settings, Stopped
from mari_onnx.traffic.files import File, found
from mari_onnx.traffic.findings import At, Findings, Noted, Output
from mari_onnx.traffic.journal import Journal, journal
from mari_onnx.traffic.layout import Layout, inputs_of_model, layout
from mari_onnx.traffic.options import Options
from mari_onnx.traffic.plan import Plan, Task, check_ids, plan
from mari_onnx.traffic.quantiles import Spread
from mari_onnx.traffic.requests import Chosen, Request, requests
from mari_onnx.traffic.sort import in_order
from mari_onnx.traffic.task import Replay as Job
from mari_onnx.traffic.task import broken_promises
from mari_onnx.two_models import Called, Paired, Parts, configuration, described, paired
from mari_onnx.verification import verify
from mari_onnx.verification.compare.judge import ACCURACY_FACTOR, TIES, Tolerance
from mari_onnx.verification.compare.steps import rounds
from mari_onnx.verification.inputs.recorded import as_lines
from mari_onnx.verification.options import Known
from mari_onnx.verification.options import Options as Verifying
from mari_onnx.verification.runtimes.onnxruntime import Array, Source
from mari_onnx.version import __version__

FIRST, LONGEST, AMONG = 16, 2_000, 500
"""So many requests are verified first, those of the first `AMONG` that keep all promises, each cut to so many
candidates: more may not fit into memory in float64."""

FLOATS = ("float", "double", "float16", "bfloat16")
"""The types of outputs whose values are no steps, unless the model rounds on the way."""

SHARES = (0.5, 0.9, 0.99, 0.999)


def replay(reference: ModelLike, parts: Parts, called: Called, options: Options, progress: Progress | None) -> Report:
    """The report of `mari_onnx.replay`; where there are several `parts`, they are a split, with the ranking model last.

    Raises UserError as that does.
    """
    say = progress or pipeline.silent
    say("reading models", 0, 1)
    pair, notes = paired(reference, parts, called), list[Note]()
    with blaming(*pair.documents):
        whole = together(pair.reference, pair.parts, pair.mode)
        report = described(pair, whole if len(pair.parts) > 1 else pair.optimized, called, notes)
        verifying = _Verifying(pair.reference, whole, Known(pair.drawn.tiled, pair.drawn.keys, assumed=report.assumed))
        with TemporaryDirectory(prefix="mari-onnx-") as folder:
            rows = _Rows.of(pair, called.request_key, options, say, Path(folder))
            path = Path(folder, "requests.jsonl" if options.worst is None else Path(options.worst).name)
            return _replayed(report, rows, verifying, options, say, path, notes, called)


@dataclass(frozen=True)
class _Verifying:
    """The two models of a verification."""

    reference: Document
    optimized: Document
    known: Known

    def __call__(self, calls: Sequence[Mapping[str, Array]], path: Path, options: Options) -> Verification:
        """The verdict on some calls, which are written to the path."""
        write_file(path, as_lines(calls))
        given = Verifying(inputs=path, rtol=options.rtol, atol=options.atol)
        return verify(self.reference, self.optimized, self.known, given)


@dataclass(frozen=True)
class _Rows:
    """The logs: their files, how they hold the inputs, and the tasks."""

    files: Sequence[File]
    layout: Layout
    plan: Plan
    column: str
    keys: tuple[str, ...]

    @classmethod
    def of(cls, pair: Paired, keys: tuple[str, ...], options: Options, say: Progress, folder: Path) -> _Rows:
        say("looking for files", 0, 1)
        given = {} if options.columns is None else read_map(Path(options.columns))
        files = found(options.requests)
        check_ids(files, options.request_id)
        inputs = inputs_of_model(pair.reference)
        read = layout(inputs, pair.roles.inputs, given, files, pair.roles.listed)
        ordered = files
        if options.sort:
            say("sorting the logs", 0, 1)
            ordered = in_order(files, options.request_id, read, folder)
        say("reading the ids of requests", 0, 1)
        return cls(files, read, plan(ordered, options.request_id), options.request_id, keys)

    def read(self, task: Task, chosen: Chosen) -> Iterator[Request]:
        return requests(task, self.layout, self.column, chosen)

    def at(self, places: Collection[At]) -> list[dict[str, Array]]:
        """The calls at these places, read again, in the order of the logs."""
        numbers: dict[int, set[int]] = {}
        for task, number in places:
            numbers.setdefault(task, set()).add(number)
        return [
            self.layout.one_row(request.feeds)
            for task in self.plan.tasks
            if task.number in numbers
            for request in self.read(task, Chosen(numbers=numbers[task.number]))
        ]


def _replayed(
    report: Report, rows: _Rows, verifying: _Verifying, options: Options, say: Progress, path: Path, notes: list[Note],
    called: Called,
) -> Report:  # fmt: skip
    tolerance = None
    if options.rtol is not None or options.atol is not None:
        tolerance = Tolerance(options.rtol or 0.0, options.atol or 0.0)
    say("verifying the first requests", 0, 1)
    chosen = Chosen(options.sample)
    first = list(islice(_first(rows, chosen), FIRST))
    verified = verifying([rows.layout.one_row(each) for each in first], path, options) if first else None
    allowed = {} if verified is None else _allowed(verified)
    job = Job(
        verifying.reference,
        verifying.optimized,
        rows.layout,
        rows.column,
        rows.keys,
        allowed,
        tolerance,
        chosen,
        options.threads,
    )
    total, stopped = _run(job, rows, options, say)
    worst = sorted({bad.at for output in total.outputs.values() for bad in (*output.worst, *output.largest)})
    say("verifying the worst requests", 0, 1)
    verification = verifying(rows.at(worst), path, options) if worst else verified
    broken = {example.at for noted in total.broken.values() for example in noted.examples}
    written = None
    if options.worst is not None and (worst or broken):
        write_file(Path(options.worst), as_lines([*rows.at(worst), *rows.at(broken)]))
        written = str(options.worst)
    if verification is not None:
        verification = _on_edges(verification, total, _steps(report, verifying.reference))
        verification = replace(verification, notes=(*verification.notes, *notes))
    made = _section(rows, total, stopped, {} if tolerance else allowed, written)
    shown = {each.name: getattr(options, each.name) for each in fields(options)}
    shown = {name: str(value) if isinstance(value, Path) else value for name, value in shown.items()}
    return replace(
        report, command="replay", replay=made, verification=verification, configuration=configuration(called, shown)
    )


def _first(rows: _Rows, chosen: Chosen) -> Iterator[dict[str, Array]]:
    """The inputs of requests that can be verified at once, in the order of the logs."""
    found = (request for task in rows.plan.tasks for request in rows.read(task, chosen))
    for request in islice(found, AMONG):
        if request.candidates and not broken_promises(rows.layout, request, rows.keys):
            yield {name: values[:LONGEST] for name, values in request.feeds.items()}


def _allowed(verified: Verification) -> dict[str, float]:
    """How far the outputs of the two models may be apart, by output.

    A verification allows a distance of the optimized output from the float64 result, which is `ACCURACY_FACTOR` times
    the reference's own, and some units in the last place. The reference may be as far on the other side.
    """
    found: dict[str, float] = {}
    for each in verified.differences:
        factor = 1.0 if each.error is None else 1 + 1 / ACCURACY_FACTOR
        found[each.output] = max(found.get(each.output, 0.0), factor * each.bound)
    return found


def _steps(report: Report, reference: Document) -> frozenset[str]:
    """The outputs whose values are steps, of which rounding chooses one: whole numbers, or all of a model that rounds
    on the way.
    """
    rounded = rounds(Source("reference", reference).proto)
    return frozenset(each.name for each in report.model.outputs if rounded or each.dtype not in FLOATS)


def _on_edges(verification: Verification, total: Findings, steps: Collection[str]) -> Verification:
    """The verdict where values are steps: few of all may be on another one, and the worst requests are those few.

    What is few is said of all requests, as `judge` says it of the cases of a verification.
    """

    def judged(each: Difference) -> Difference:
        found = total.outputs.get(each.output)
        if each.failure != "accuracy" or each.output not in steps or found is None or found.misplaced:
            return each
        if found.over > TIES * found.values:
            return each
        words = f"{found.over:,} of {found.values:,} values fell to the other side of a rounding step"
        return replace(each, passed=True, failure=None, message=words)

    differences = tuple(map(judged, verification.differences))
    passed = bool(differences) and all(each.passed for each in differences)
    if passed == verification.passed:
        return verification
    return replace(verification, differences=differences, passed=passed, divergence=None)


def _run(job: Job, rows: _Rows, options: Options, say: Progress) -> tuple[Findings, list[StoppedGroup]]:
    """What all tasks find together, and the row groups that were not compared."""
    total, stopped = Findings(), dict[int, StoppedGroup]()
    tasks = {task.number: task for task in rows.plan.tasks}
    keeping = nullcontext(None) if options.journal is None else journal(
        Path(options.journal), _identity(job, rows, options), resume=options.resume
    )  # fmt: skip
    with keeping as kept:
        done = {} if kept is None else dict(kept.done)
        for result in done.values():
            total.merge(Findings.of_json(result))
        left = [task for number, task in tasks.items() if number not in done]
        rows_done = sum(task.rows for number, task in tasks.items() if number in done)
        settings = Settings(options.workers or cores())
        say("replaying rows", rows_done, rows.plan.rows)
        for task, result in engines.run(options.engine, job, left, settings):
            rows_done += task.rows
            say("replaying rows", rows_done, rows.plan.rows)
            if isinstance(result, Stopped):
                stopped[task.number] = StoppedGroup(str(task), f"{result.reason}; {result.next_step}")
            else:
                total.merge(result)
                _keep(kept, task, result)
        if kept is not None:
            kept.stays = bool(stopped)
    return total, [stopped[number] for number in sorted(stopped)]


def _keep(kept: Journal | None, task: Task, result: Findings) -> None:
    if kept is not None:
        kept.add(task.number, result.as_json())


def _identity(job: Job, rows: _Rows, options: Options) -> dict[str, object]:
    """What has to be the same where a replay goes on: the models, the logs, and what is asked of them."""
    return {
        "models": [[each.sha256, dict(each.data_sha256)] for each in (job.reference, job.optimized)],
        "logs": [[each.path, each.state] for each in rows.files],
        "columns": hashlib.sha256(repr(job.layout).encode()).hexdigest(),
        "request_id": job.column,
        "request_key": list(job.keys),
        "sample": options.sample,
        "sort": options.sort,
        "tolerances": [options.rtol, options.atol],
        "versions": [__version__, version("onnxruntime")],
    }


def _section(
    rows: _Rows, total: Findings, stopped: Sequence[StoppedGroup], allowed: Mapping[str, float], worst: str | None
) -> Replay:
    return Replay(
        files=len(rows.files),
        groups=sum(len(each.rows) for each in rows.files),
        recorded=rows.plan.requests,
        requests=total.requests,
        rows=total.rows,
        largest=total.largest,
        compared=total.compared,
        outputs=tuple(_output(name, each, allowed.get(name)) for name, each in sorted(total.outputs.items())),
        broken=tuple(Broken(name, _singled(noted)) for name, noted in sorted(total.broken.items())),
        unrunnable=_singled(total.unrunnable),
        failing=_singled(total.failing),
        stopped=tuple(stopped),
        latency=tuple(
            _latency(model, times, spent)
            for model, times, spent in zip(("reference", "optimized"), total.times, total.nanoseconds, strict=True)
        ),
        worst=worst,
    )


def _output(name: str, found: Output, allowed: float | None) -> Replayed:
    a, b, c, d = (found.differences.quantile(share) for share in SHARES)
    return Replayed(
        name, found.values, (a, b, c, d), found.differences.largest, found.scale, allowed, found.over,
        found.over_requests, found.nan, found.misplaced, sum(found.moved.values()),
        sum(n for moved, n in found.moved.items() if moved), max(found.moved, default=0),
        sum(n for lost, n in found.lost.items() if lost), max(found.lost, default=0),
    )  # fmt: skip


def _singled(noted: Noted) -> Singled:
    return Singled(noted.requests, noted.rows, tuple(f"request {e.id}: {e.words}" for e in noted.examples))


def _latency(model: str, times: Spread, nanoseconds: int) -> Latency:
    half, p90, p99 = (times.quantile(share) / 1000 for share in (0.5, 0.9, 0.99))
    return Latency(model, half, p90, p99, nanoseconds / 1e9)
