"""The steps of a measurement: load both models, make the calls, measure memory, time, and on request nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnxruntime as ort

from mari_onnx.document.runtime import Session
from mari_onnx.errors import UserError
from mari_onnx.measurement import machine, memory
from mari_onnx.measurement.by_node import profiled
from mari_onnx.measurement.calls import Pair, Setting, settings
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.statistics import CONFIDENCE, FEWEST, break_even, median_interval, quantile
from mari_onnx.measurement.turns import Call, Turns, in_turns
from mari_onnx.report.benchmark import Benchmark, BreakEven, Calls, Profile, Timing
from mari_onnx.report.numbers import counted
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME
from mari_onnx.verification.runtimes.onnxruntime import Feeds, RunError, Source
from mari_onnx.worker import Progress, doing

Prepare = Callable[[Feeds], Call]
"""A loaded model: what calls it with given feeds."""

Memory = tuple[int | None, int | None]
"""The bytes that a call of each of the two models takes."""


def measure(pair: Pair, options: Options, progress: Progress) -> Benchmark:
    """Measure both models in this process.

    Raises UserError where a model cannot be loaded, where the two are not called alike, and where the reference runs on
    no call.
    """
    sources = Source("reference", pair.reference), Source("optimized", pair.optimized)
    steps = 1 + len(options.threads) * (1 if options.inputs is not None else len(options.batches))
    progress("loading", 0, steps)
    notes: list[str] = []
    chosen = settings(pair, options, notes)
    used: list[Memory] = []
    timings: list[Timing] = []
    for threads in dict.fromkeys(options.threads):
        if threads > machine.cores():
            notes.append(f"{threads} threads share {machine.cores()} cores")
        loaded = _loaded(sources, threads, options.runtime)
        used = used or _memory(loaded, chosen)
        for setting, memories in zip(chosen, used, strict=True):
            said = f"{counted(setting.batch)}, {threads} thread{'s' * (threads != 1)}"
            progress(said, 1 + len(timings), steps)
            doing(f"was timed with {said}")
            calls = [[prepare(feeds) for prepare, feeds in zip(loaded, both, strict=True)] for both in setting.feeds]
            rng = np.random.default_rng([options.seed, threads, setting.batch])
            turns = in_turns(calls, options.seconds, rng)
            timings.append(_timing(turns, setting.batch, threads, memories))
    profile = None
    if options.profile:
        progress("profiling", steps - 1, steps)
        largest = chosen[-1]
        nodes = [
            profiled(source, feeds, pair.request, options.threads[0])
            for source, feeds in zip(sources, largest.feeds[0], strict=True)
        ]
        profile = Profile(largest.batch, *nodes)
    return Benchmark(
        _version(options.runtime), machine.described(), tuple(timings), _break_even(timings), CONFIDENCE, options.seed,
        None if options.inputs is None else str(options.inputs), profile, tuple(notes),
    )  # fmt: skip


def _loaded(sources: Sequence[Source], threads: int, runtime: str) -> list[Prepare]:
    """The models on so many threads, which were not called yet."""
    if runtime == DEFAULT_RUNTIME:
        return [_calls_of(source.session(threads)) for source in sources]
    from mari_onnx.verification.runtimes.openvino import calls_in_openvino

    try:
        return [calls_in_openvino(source, threads) for source in sources]
    except RunError as error:
        raise UserError(
            f"{runtime} cannot load the models: {error}", f"Leave out --runtime: {DEFAULT_RUNTIME} runs them."
        ) from error


def _calls_of(session: Session) -> Prepare:
    return lambda feeds: partial(session.run, None, dict(feeds))


def _memory(loaded: Sequence[Prepare], chosen: Sequence[Setting]) -> list[Memory]:
    """The memory of a call in each setting, one model after the other, that with the fewest candidates first."""
    taken: list[list[int | None]] = []
    for k, prepare in enumerate(loaded):
        prepare(chosen[0].feeds[0][k])()  # a runtime makes in the first call what it keeps
        before = memory.now()
        taken.append([_largest([memory.peak(prepare(both[k]), before) for both in each.feeds]) for each in chosen])
    return list(zip(*taken, strict=True))


def _largest(found: Sequence[int | None]) -> int | None:
    """The largest number, None where one is not known."""
    known = [each for each in found if each is not None]
    return max(known) if len(known) == len(found) else None


def _timing(turns: Turns, batch: int, threads: int, memories: Memory) -> Timing:
    ratios = turns.ratios(0, base=1)  # how much more time the reference takes
    low, high = median_interval(ratios)
    calls = [_calls(turns.of(k) / 1e3, batch, memories[k]) for k in range(2)]
    return Timing(batch, threads, len(ratios), float(np.median(ratios)), low, high, *calls)


def _calls(microseconds: np.ndarray[tuple[int], np.dtype[np.float64]], batch: int, used: int | None) -> Calls:
    median = float(np.median(microseconds))
    p99 = quantile(microseconds, 0.99) if len(microseconds) >= FEWEST else None
    return Calls(median, quantile(microseconds, 0.9), p99, batch / median * 1e6, used)


def _break_even(timings: Sequence[Timing]) -> tuple[BreakEven, ...]:
    """A model is called slower where it is by the whole of the interval."""
    threads = dict.fromkeys(timing.threads for timing in timings)
    return tuple(BreakEven(n, break_even([(t.batch, t.high >= 1) for t in timings if t.threads == n])) for n in threads)


def _version(runtime: str) -> str:
    if runtime == DEFAULT_RUNTIME:
        return f"{runtime} {ort.__version__}"
    import openvino

    return f"{runtime} {openvino.__version__}"
