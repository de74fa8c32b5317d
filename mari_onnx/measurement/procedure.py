"""What is done in the processes of a measurement: make the calls, measure memory and nodes, and time both models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mari_onnx.measurement import memory
from mari_onnx.measurement.at_once import at_once
from mari_onnx.measurement.by_node import profiled
from mari_onnx.measurement.calls import Pair, Setting, settings
from mari_onnx.measurement.loaded import Prepare, loaded, values, version
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.turns import Times, in_turns
from mari_onnx.report.benchmark import Profile
from mari_onnx.report.note import Note
from mari_onnx.report.numbers import counted
from mari_onnx.verification.compare.judge import distance
from mari_onnx.verification.runtimes.onnxruntime import Feeds, Source
from mari_onnx.worker import Progress, doing, say

APART = 0.1
"""Outputs that are further apart, in units of their largest magnitude, are not those of one model. Rounding is less."""

Memory = tuple[int | None, int | None]
"""The bytes that a call of each of the two models takes."""


@dataclass(frozen=True)
class Prepared:
    """What is known before anything is timed. `memory` is that of a call in each of the settings."""

    settings: Sequence[Setting]
    memory: Sequence[Memory]
    profile: Profile | None
    runtime: str
    notes: Sequence[Note]


def prepare(pair: Pair, options: Options) -> Prepared:
    """Make the calls, and measure all that is not their time.

    Raises UserError where a model cannot be loaded, where the two are not called alike, and where the reference runs on
    no call.
    """
    notes: list[Note] = []
    chosen = settings(pair, options, notes)
    models = loaded(pair, options.runtime, options.threads[0], notes=notes)[:2]
    used = _memory([callers[0] for callers in models], chosen)
    notes += _apart(pair, [callers[0] for callers in models], chosen[-1], options.runtime)
    profile = _profile(pair, chosen[-1], options.threads[0]) if options.profile else None
    return Prepared(chosen, used, profile, version(options.runtime), notes)


def _apart(pair: Pair, models: Sequence[Prepare], setting: Setting, runtime: str) -> Iterator[Note]:
    """A note on each output of which the two models give something else altogether, so that their times tell nothing.

    OpenVINO 2026.4 may give no scores at all where several weights are multiplied by one matrix of a dynamic extent.
    """
    before, after = (
        values(make(feeds)(), [output.name for output in source.proto.graph.output])
        for make, feeds, source in zip(models, setting.feeds[0], pair.sources, strict=True)
    )
    for name, a in before.items():
        b = after[name]
        if getattr(a, "dtype", np.dtype(object)).kind != "f":  # a sequence has none
            continue
        off, scale = distance(a, b), distance(a, np.zeros_like(a))
        if off > APART * scale:
            how = f"shape {list(b.shape)} beside {list(a.shape)}" if a.shape != b.shape else f"{off:.2g} apart"
            where = f"in {runtime} at {counted(setting.batch)}"
            yield Note("outputs-differ", f"output `{name}` of the two models differs {where}: {how} (mari-onnx verify)")


def _profile(pair: Pair, setting: Setting, threads: int) -> Profile:
    """The time by node in the first call of a setting; of a split, that of the nodes of both models."""
    reference, optimized = pair.sources
    feeds, sent = setting.feeds[0]
    before = profiled(reference, feeds, pair.request, threads)
    if pair.user is None:
        return Profile(setting.batch, before, profiled(optimized, sent, pair.request, threads))
    user = Source("user", pair.user)
    taken, own = ({i.name for i in source.proto.graph.input} for source in (user, optimized))
    first = {name: value for name, value in sent.items() if name in taken}
    crossing = user.runner(user.session(threads))(first)
    second = {name: value for name, value in sent.items() if name in own} | crossing
    nodes = (
        *profiled(user, first, pair.request, threads),
        *profiled(optimized, second, {*pair.request, *crossing}, threads),
    )
    return Profile(setting.batch, before, tuple(sorted(nodes, key=lambda node: -node.time_us)))


def times(
    pair: Pair, chosen: Sequence[Setting], options: Options, seconds: float, process: int, progress: Progress = say
) -> list[Times]:
    """The times of both models in each setting, by `Options.places`, for so many seconds each.

    Of a split, those of the user model alone and of the ranking model alone follow; see `measurement.loaded`.
    `process` is the number of this process among those that do the same.
    """
    found: list[Times] = []
    total = len(options.places) * len(chosen)
    for threads, callers in options.places:
        models = loaded(pair, options.runtime, threads, callers)
        for setting in chosen:
            where = f"{counted(setting.batch)}, {threads} thread{'s' * (threads != 1)}"
            progress(where + f", {callers} calls at once" * (callers != 1), len(found), total)
            doing("was timed")
            calls = [
                [[make(sent if k else feeds) for make in model] for k, model in enumerate(models)]
                for feeds, sent in setting.feeds
            ]
            rng = np.random.default_rng([options.seed, process, threads, callers, setting.batch])
            if callers == 1:
                found.append(in_turns([[own for (own,) in alike] for alike in calls], seconds, rng))
            else:
                found.append(at_once(calls, seconds, rng))
    return found


def _memory(loaded: Sequence[Prepare], chosen: Sequence[Setting]) -> list[Memory]:
    """The memory of a call in each setting, one model after the other, that with the fewest candidates first."""
    first, second = (
        _memory_of(make, [[both[k] for both in each.feeds] for each in chosen]) for k, make in enumerate(loaded)
    )
    return list(zip(first, second, strict=True))


def _memory_of(make: Prepare, feeds: Sequence[Sequence[Feeds]]) -> list[int | None]:
    make(feeds[0][0])()  # a runtime makes in the first call what it keeps
    before = memory.now()
    return [_largest([memory.peak(make(each), before) for each in alike]) for alike in feeds]


def _largest(found: Sequence[int | None]) -> int | None:
    """The largest number, None where one is not known."""
    known = [each for each in found if each is not None]
    return max(known) if len(known) == len(found) else None
