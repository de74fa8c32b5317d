"""What all views say of a benchmark: its tables as rows of text, and its part of the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mari_onnx.report.benchmark import Benchmark, BreakEven, NodeTime, Policy, Profile, Side, Timing
from mari_onnx.report.numbers import count, counted, microseconds, ratio, size
from mari_onnx.report.tables import Table

SHOWN = 8
"""How many nodes of each model are shown without `-v`; the others are counted."""

MEGABYTE = 1e6

SIDES: dict[Side, str] = {"request": "the request's side", "candidates": "the candidates' side"}


def tables(benchmark: Benchmark, shown: int | None = SHOWN) -> Iterator[Table]:
    """The tables of a benchmark, with so many nodes of each model at most."""
    of = "recorded calls" if benchmark.inputs else "a call"
    threads = any(t.threads != 1 for t in benchmark.timings)
    at_once = any(t.concurrency != 1 for t in benchmark.timings)
    place = ("candidates", *["threads"] * threads, *["at once"] * at_once)

    def numbers(timing: Timing) -> tuple[str, ...]:
        return (f"{timing.batch:,}", *[str(timing.threads)] * threads, *[str(timing.concurrency)] * at_once)

    together = ", which is of calls a second where several are made at once" if at_once else ""
    yield Table(
        "Time", f"of {of}: the median, and the speed-up in {benchmark.confidence:.0%} intervals{together}",
        (*place, "before", "after", "speed-up", "interval", "time"),
        [
            (
                *numbers(t), microseconds(t.before.median_us), microseconds(t.after.median_us),
                f"{t.speedup:.3f}", interval(t.low, t.high), ratio(t.speedup, 1),
            )
            for t in benchmark.timings
        ],
        words=len(place) + 4,
    )  # fmt: skip
    if any(t.parts for t in benchmark.timings):
        yield Table(
            "Models of the split", "each alone: the median, and the speed-up where the request's part is at hand",
            (*place, "user model", "ranking model", "speed-up", "interval", "time"),
            [(*numbers(t), *_parts(t)) for t in benchmark.timings],
            words=len(place) + 4,
        )  # fmt: skip
    yield Table(
        "Tail and memory", "before → after",
        (*place, "95 % within", "99 % within", "memory of a call"),
        [
            (
                *numbers(t), _both(t.before.p95_us, t.after.p95_us, microseconds),
                _both(t.before.p99_us, t.after.p99_us, microseconds), _both(t.before.memory, t.after.memory, _memory),
            )
            for t in benchmark.timings
        ],
        words=len(place),
    )  # fmt: skip
    how = "calls without a pause" if at_once else "calls one after the other"
    yield Table(
        "Throughput", f"before → after, in {how}",
        (*place, "calls/s", "candidates/s"),
        [
            (
                *numbers(t), _both(t.before.calls_per_second, t.after.calls_per_second, count),
                _both(t.before.per_second, t.after.per_second, count),
            )
            for t in benchmark.timings
        ],
        words=len(place),
    )  # fmt: skip
    if benchmark.profile is not None:
        yield _by_side(benchmark.profile)
        yield _by_node("before", benchmark.profile.before, shown)
        yield _by_node("after", benchmark.profile.after, shown)


def _parts(timing: Timing) -> tuple[str, ...]:
    """The models of a split: the time of each, and by how much the ranking model is faster than the reference."""
    user, rank = ({part.role: part for part in timing.parts}[role] for role in ("user", "rank"))
    times = microseconds(user.calls.median_us), microseconds(rank.calls.median_us)
    return *times, f"{rank.speedup:.3f}", interval(rank.low, rank.high), ratio(rank.speedup, 1)


def _both(before: float | None, after: float | None, form: Callable[[float], str]) -> str:
    if before is None or after is None:
        return "-"
    return f"{form(before)} → {form(after)}"


def _memory(number: float) -> str:
    """1234567 -> 1.23 MB. A process grows by pages, and uses what is free before: less than a megabyte says nothing."""
    return size(number) if number >= MEGABYTE else "< 1 MB"


def _by_side(profile: Profile) -> Table:
    def total(nodes: Sequence[NodeTime], side: Side) -> float:
        return sum(node.time_us for node in nodes if node.side == side)

    rows = []
    for side, words in SIDES.items():
        before, after = total(profile.before, side), total(profile.after, side)
        rows.append((microseconds(before), microseconds(after), words, ratio(before, after)))
    note = f"of the nodes that run with {counted(profile.batch)}, by the profiler"
    return Table("Time by side", note, ("before", "after", "", ""), rows, words=2)


def _by_node(which: str, nodes: Sequence[NodeTime], shown: int | None) -> Table:
    total = sum(node.time_us for node in nodes) or 1.0
    rows = [
        (microseconds(node.time_us), f"{node.time_us / total:.0%}", SIDES[node.side], node.op_type, node.node)
        for node in nodes[:shown]
    ]
    more = f", and {len(nodes) - len(rows)} more" if len(nodes) > len(rows) else ""
    return Table(f"Slowest nodes {which}", f"{len(rows)}{more}", ("time", "of all", "", "", ""), rows, words=2)


def interval(low: float, high: float) -> str:
    """1.981 to 2.034"""
    return f"{low:.3f} to {high:.3f}"


def where(timing: Timing) -> str:
    """At which numbers: `10 candidates`, `10 candidates on 2 threads`, `10 candidates in 4 calls at once`."""
    at_once = f" in {timing.concurrency} calls at once" if timing.concurrency != 1 else ""
    return counted(timing.batch) + _on(timing.threads) + at_once


def broken_even(found: BreakEven) -> str:
    """From where on the optimized model is no slower, in words."""
    said = "slower with the most candidates" if found.batch is None else f"no slower from {counted(found.batch)} on"
    at_once = f", {found.concurrency} calls at once" if found.concurrency != 1 else ""
    return f"{found.threads} thread{'s' * (found.threads != 1)}{at_once}: {said}"


def _on(threads: int) -> str:
    return f" on {threads} threads" if threads != 1 else ""


def asked(policy: Policy) -> str:
    """A policy and what was found: `min-speedup 1.5: 1.21 (1.19 to 1.23) at 10 candidates`."""
    limit = "" if policy.limit is None else f" {policy.limit:g}"
    return f"{policy.name}{limit}: {policy.message}"


def timed(benchmark: Benchmark) -> tuple[bool | None, str]:
    """Whether the model is faster, None where it is neither faster nor slower, and the sentence of the verdict."""
    slowest = min(benchmark.timings, key=lambda one: one.speedup)
    fastest = max(benchmark.timings, key=lambda one: one.speedup)
    said = f"{_less(fastest)} at {where(fastest)}"
    if slowest.speedup != fastest.speedup:
        said += f", {_less(slowest)} at {where(slowest)}"
    if any(one.is_slower for one in benchmark.timings):
        return False, f"Slower in some calls: {said}"
    return (True if any(one.is_faster for one in benchmark.timings) else None), said[:1].upper() + said[1:]


def _less(timing: Timing) -> str:
    """2.1 times less time, 4% more time, the same time"""
    return f"{ratio(timing.speedup, 1)} time"
