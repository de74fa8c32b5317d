"""What all views say of a replay, and of a model that was run over a table: tables as rows of text, and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mari_onnx.report.numbers import count, known, microseconds, ratio, size, small
from mari_onnx.report.precompute import Precomputed
from mari_onnx.report.replay import Replay, Singled
from mari_onnx.report.tables import Table


def tables(replay: Replay) -> Iterator[Table]:
    """The tables of a replay: differences, order, what went wrong, and latency."""
    allowed = "allowed" if any(each.allowed is not None for each in replay.outputs) else "scale"
    yield Table(
        "Differences", f"of {_requests(replay.compared)}, by quantile",
        ("half", "90 %", "99 %", "99.9 %", "all", allowed, "values", "over", "in requests", "output"),
        [
            (
                *map(small, each.quantiles), small(each.largest),
                known(each.allowed) if allowed == "allowed" else small(each.scale), count(each.values),
                f"{each.over:,}", f"{each.over_requests:,}", each.output,
            )
            for each in replay.outputs
        ],
        words=9,
    )  # fmt: skip
    if any(each.ranked for each in replay.outputs):
        yield Table(
            "Order", "of the candidates: requests in which some moved, and in which some of the best ten were lost",
            ("moved", "furthest", "best lost", "most", "of", "output"),
            [
                (
                    f"{each.reordered:,}", f"{each.furthest:,}", f"{each.fewer:,}", f"{each.lost:,}",
                    f"{each.ranked:,}", each.output,
                )
                for each in replay.outputs
                if each.ranked
            ],
            words=5,
        )  # fmt: skip
    if rows := list(_findings(replay)):
        yield Table("Found", "in the requests", ("requests", "rows", "", ""), rows, words=2)
    yield Table(
        "Latency", "of the calls, one for each request", ("half", "90 % within", "99 % within", "together", "model"),
        [
            (
                microseconds(each.median_us), microseconds(each.p90_us), microseconds(each.p99_us),
                f"{each.seconds:.3g} s", each.model,
            )
            for each in replay.latency
        ],
        words=4,
    )  # fmt: skip


def _findings(replay: Replay) -> Iterator[tuple[str, ...]]:
    """What was found in requests beside differences: the requests, the rows, what it is, and examples."""
    for each in replay.broken:
        yield _single(each.found, f"rows of `{each.input}` are not identical")
    if replay.failing.requests:
        yield _single(replay.failing, "the optimized model does not run, or gives other shapes")
    if replay.unrunnable.requests:
        yield _single(replay.unrunnable, "the reference does not run")
    for output in replay.outputs:
        if output.nan:
            yield "", f"{output.nan:,}", f"values of `{output.output}` are NaN in the reference", ""
        if output.misplaced:
            yield "", f"{output.misplaced:,}", f"values of `{output.output}` are not finite in only one of the two", ""
    for group in replay.stopped:
        yield "", "", f"{group.place} was not compared", group.reason


def _single(found: Singled, what: str) -> tuple[str, ...]:
    return f"{found.requests:,}", f"{found.rows:,}", what, "; ".join(found.examples)


def problems(replay: Replay) -> Iterator[str]:
    """A sentence on each finding for which a replay does not pass, or that has to be looked at."""
    of = f" of {_requests(replay.requests)}"
    for each in replay.broken:
        yield f"rows of `{each.input}` are not identical in {each.found.requests:,}{of}: {each.found.examples[0]}"
    if (failing := replay.failing).requests:
        yield f"the optimized model fails on {failing.requests:,}{of}: {failing.examples[0]}"
    for group in replay.stopped:
        yield f"{group.place} was not compared: {group.reason}"
    if (unrunnable := replay.unrunnable).requests:
        yield f"the reference does not run on {unrunnable.requests:,}{of}: {unrunnable.examples[0]}"


def failed(replay: Replay) -> str:
    """The sentence of the verdict on a replay that did not pass."""
    found = list(problems(replay))
    if not replay.compared and not found:
        return f"Nothing was compared: {'no request was drawn' if replay.recorded else 'the logs have no requests'}"
    said = found[0] if found else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    if replay.broken:
        return f"A promise is broken: {said}{more}"
    if not replay.compared:
        return f"Nothing was compared: {said}{more}"
    return f"{said[:1].upper()}{said[1:]}{more}"


def replayed(replay: Replay) -> str:
    """The sentence of the verdict on a replay that passed."""
    largest = max((each.largest / each.scale for each in replay.outputs if each.scale), default=0.0)
    said = f"{_requests(replay.compared)} with {count(replay.rows)} candidate{'s' * (replay.rows != 1)}"
    said += f", at most {small(largest)} of the scale apart"
    times = {each.model: each.seconds for each in replay.latency}
    if times.get("optimized"):
        said += f", in {ratio(times['reference'], times['optimized'])} time"
    if replay.unrunnable.requests:
        said += f"; {next(problems(replay))}"
    return said


def _requests(n: int) -> str:
    return f"{n:,} request{'s' * (n != 1)}"


def computed_tables(made: Precomputed) -> Iterator[Table]:
    """The tables of what a model computed of the rows of a table."""
    fingerprint = f", of the split {made.fingerprint}" if made.fingerprint else ""
    yield Table(
        "Stored", f"for each `{made.key}`{fingerprint}", ("numbers", "type", "output"),
        [(f"{math.prod(each.shape):,}", each.dtype, each.name) for each in made.outputs],
        words=1,
    )  # fmt: skip
    if made.stopped:
        yield Table("Left out", "", ("", ""), [(group.place, group.reason) for group in made.stopped], words=0)


def computed(made: Precomputed) -> str:
    """The sentence of the verdict on that."""
    if made.stopped:
        more = f" (and {len(made.stopped) - 1} more)" if len(made.stopped) > 1 else ""
        return f"{made.stopped[0].place} was not computed: {made.stopped[0].reason}{more}"
    kept = f", of which {made.kept:,} were there" if made.kept else ""
    files = f"{made.parts:,} file{'s' * (made.parts != 1)}"
    return f"{count(made.rows)} rows in {files}{kept}, {size(made.bytes)}: {made.folder}"
