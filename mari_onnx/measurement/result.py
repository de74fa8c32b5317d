"""The benchmark that follows from the times of several processes.

A process has its own places in memory, by which a model is half a percent faster or slower in it than in another. Each
process gives one speed-up, the median of its rounds, and the result is the median of the processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mari_onnx.measurement import machine
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.procedure import Memory, Prepared
from mari_onnx.measurement.statistics import CONFIDENCE, FEWEST, break_even, median_interval, quantile
from mari_onnx.measurement.turns import Times
from mari_onnx.report.benchmark import Benchmark, BreakEven, Calls, PartTiming, Timing
from mari_onnx.report.note import Note
from mari_onnx.report.split import Role

PROCESSES = 6
"""The fewest whose median has an interval."""


def benchmark(prepared: Prepared, processes: Sequence[Sequence[Times]], options: Options) -> Benchmark:
    """The result; `processes` has the times in each setting, by `Options.places`, process by process."""
    places = [(*place, i) for place in options.places for i in range(len(prepared.settings))]
    timings = tuple(
        _timing(times, prepared.settings[i].batch, threads, callers, prepared.memory[i])
        for (threads, callers, i), times in zip(places, zip(*processes, strict=True), strict=True)
    )
    many = sorted({threads * callers for threads, callers in options.places if threads * callers > machine.cores()})
    said = f"more threads than cores, of which there are {machine.cores()}: {', '.join(map(str, many))}"
    notes = [Note("threads-many", said)] if many else []
    return Benchmark(
        prepared.runtime, machine.described(), timings, _break_even(timings), CONFIDENCE, options.seed,
        None if options.inputs is None else str(options.inputs), prepared.profile, (*prepared.notes, *notes),
    )  # fmt: skip


def _timing(processes: Sequence[Times], batch: int, threads: int, callers: int, memories: Memory) -> Timing:
    """Both models in one setting, and those of a split alone."""
    rounds = sum(len(times.ratios(0)) for times in processes)
    before, after = (_calls(processes, k, batch, memories[k]) for k in range(2))
    parts = tuple(
        PartTiming(role, _calls(processes, k, batch, None), *_speedup(processes, k))
        for k, role in enumerate(PARTS, 2)
        if k < processes[0].models
    )
    return Timing(batch, threads, callers, rounds, *_speedup(processes, 1), before, after, parts)


PARTS: tuple[Role, ...] = ("user", "rank")
"""What is timed of a split beside both in one call; see `measurement.loaded`."""


def _speedup(processes: Sequence[Times], k: int) -> tuple[float, float, float]:
    """By how much more time the reference takes than model k, and between which numbers that is."""
    of_processes = [float(np.median(times.ratios(0, base=k))) for times in processes]
    return float(np.median(of_processes)), *median_interval(of_processes)


def _calls(processes: Sequence[Times], k: int, batch: int, used: int | None) -> Calls:
    """The calls of model k."""
    microseconds = np.concatenate([times.of(k) for times in processes]) / 1e3
    p90, p95, p99 = (quantile(microseconds, share) for share in (0.9, 0.95, 0.99))
    rate = float(np.median([times.per_second(k) for times in processes]))
    known = len(microseconds) >= FEWEST
    return Calls(float(np.median(microseconds)), p90, p95, p99 if known else None, rate, batch * rate, used)


def _break_even(timings: Sequence[Timing]) -> tuple[BreakEven, ...]:
    places = dict.fromkeys((t.threads, t.concurrency) for t in timings)
    alike = {
        place: [(t.batch, not t.is_slower) for t in timings if (t.threads, t.concurrency) == place] for place in places
    }
    return tuple(BreakEven(threads, n, break_even(found)) for (threads, n), found in alike.items())
