"""The benchmark that follows from the times of several processes.

A process has its own places in memory, by which a model is half a percent faster or slower in it than in another. Each
process gives one speed-up, the median of its rounds, and the result is the median of the processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mari_onnx.measurement import machine
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.procedure import Memory, Prepared
from mari_onnx.measurement.statistics import CONFIDENCE, FEWEST, break_even, median_interval, quantile
from mari_onnx.measurement.turns import Turns
from mari_onnx.report.benchmark import Benchmark, BreakEven, Calls, Timing
from mari_onnx.report.note import Note

PROCESSES = 6
"""The fewest whose median has an interval."""


def benchmark(prepared: Prepared, processes: Sequence[Sequence[Turns]], options: Options) -> Benchmark:
    """The result; `processes` has the times in each setting on each number of threads, process by process."""
    places = [(threads, i) for threads in options.threads for i in range(len(prepared.settings))]
    timings = tuple(
        _timing(turns, prepared.settings[i].batch, threads, prepared.memory[i])
        for (threads, i), turns in zip(places, zip(*processes, strict=True), strict=True)
    )
    many = [n for n in options.threads if n > machine.cores()]
    said = f"more threads than cores, of which there are {machine.cores()}: {', '.join(map(str, many))}"
    notes = [Note("threads-many", said)] if many else []
    return Benchmark(
        prepared.runtime, machine.described(), timings, _break_even(timings), CONFIDENCE, options.seed,
        None if options.inputs is None else str(options.inputs), prepared.profile, (*prepared.notes, *notes),
    )  # fmt: skip


def _timing(processes: Sequence[Turns], batch: int, threads: int, memories: Memory) -> Timing:
    """Both models in one setting."""
    ratios = [turns.ratios(0, base=1) for turns in processes]  # how much more time the reference takes, in each round
    speedups = [float(np.median(each)) for each in ratios]
    low, high = median_interval(speedups)
    before, after = (
        _calls(np.concatenate([turns.of(k) for turns in processes]) / 1e3, batch, memories[k]) for k in range(2)
    )
    return Timing(batch, threads, sum(map(len, ratios)), float(np.median(speedups)), low, high, before, after)


def _calls(microseconds: npt.NDArray[np.float64], batch: int, used: int | None) -> Calls:
    median = float(np.median(microseconds))
    p99 = quantile(microseconds, 0.99) if len(microseconds) >= FEWEST else None
    return Calls(median, quantile(microseconds, 0.9), p99, batch / median * 1e6, used)


def _break_even(timings: Sequence[Timing]) -> tuple[BreakEven, ...]:
    threads = dict.fromkeys(timing.threads for timing in timings)
    alike = {n: [(t.batch, not t.is_slower) for t in timings if t.threads == n] for n in threads}
    return tuple(BreakEven(n, break_even(found)) for n, found in alike.items())
