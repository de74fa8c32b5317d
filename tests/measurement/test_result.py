"""What is made of times, with times that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from mari_onnx.measurement import machine
from mari_onnx.measurement.at_once import AtOnce
from mari_onnx.measurement.calls import Setting
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.procedure import Prepared
from mari_onnx.measurement.result import PROCESSES, benchmark
from mari_onnx.measurement.statistics import median_interval
from mari_onnx.measurement.turns import CALLS, Turns
from mari_onnx.report.benchmark import Benchmark, Calls
from mari_onnx.report.note import Note
from tests.notes import said


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "described", lambda: "a machine, 2 cores")


def turns(before: float, after: float, rounds: int = 20) -> Turns:
    """Rounds that get slower and slower, as those of a machine that gets busy; in microseconds."""
    pace = np.arange(1, rounds + 1)[:, None, None] * np.ones((1, 2, CALLS))
    return Turns(pace * np.array([before, after])[None, :, None] * 1e3)


def made(*settings: list[tuple[float, float]], batches: tuple[int, ...] = (10,), **given: object) -> Benchmark:
    """The benchmark of processes with these times, (before, after), in each setting."""
    prepared = Prepared(
        [Setting(n, []) for n in batches],
        [(1, None)] * len(batches),
        None,
        "onnxruntime 1",
        [Note("inputs-drawn", "a note")],
    )
    return benchmark(prepared, [[turns(*each) for each in process] for process in settings], Options(**given))  # type: ignore[arg-type]


def test_a_median_has_an_interval() -> None:
    median_interval(range(PROCESSES))
    with pytest.raises(ValueError, match="no interval"):
        median_interval(range(PROCESSES - 1))


def test_each_process_has_a_speed_up() -> None:
    found = made(*([(k, 1.0)] for k in (2.0, 2.2, 1.9, 2.1, 2.3, 5.0)))
    (timing,) = found.timings
    assert (timing.batch, timing.threads, timing.rounds) == (10, 1, 120)
    assert (timing.low, timing.high) == (1.9, 5.0)
    assert timing.speedup == pytest.approx(2.15)
    assert said(found.notes) == ("a note",)
    assert (found.confidence, found.seed, found.inputs, found.machine) == (0.95, 0, None, "a machine, 2 cores")


def test_latencies_are_those_of_all_processes() -> None:
    (timing,) = made(*([(2.0, 1.0)] for _ in range(PROCESSES))).timings
    assert timing.before == Calls(21, 36, 38, 40, 1e9 / 21e3, 10 * (1e9 / 21e3), 1)
    assert timing.after == Calls(10.5, 18, 19, 20, 1e9 / 10.5e3, 10 * (1e9 / 10.5e3), None)


def test_few_calls_tell_no_share_of_99_in_100() -> None:
    prepared = Prepared([Setting(1, [])], [(None, None)], None, "", [])
    (timing,) = benchmark(prepared, [[turns(1, 1, rounds=8)]] * PROCESSES, Options()).timings
    assert timing.before.p99_us is None  # 96 calls are no 100


def test_settings_on_threads() -> None:
    process = [(1.0, 2.0), (1.0, 1.001), (1.0, 0.5), (1.0, 1.1)]
    found = made(*[process] * PROCESSES, batches=(1, 50), threads=(1, 4))
    assert [(one.batch, one.threads, round(one.speedup, 2)) for one in found.timings] == [
        (1, 1, 0.5),
        (50, 1, 1.0),
        (1, 4, 2.0),
        (50, 4, 0.91),
    ]
    assert [(one.threads, one.batch) for one in found.break_even] == [(1, 50), (4, None)]
    assert said(found.notes) == ("a note", "more threads than cores, of which there are 2: 4")


def test_calls_at_once() -> None:
    process = [(1.0, 2.0), (1.0, 0.5), (1.0, 0.8), (1.0, 4.0)]
    found = made(*[process] * PROCESSES, threads=(1, 2), concurrency=(1, 3))
    assert [(one.threads, one.concurrency, round(one.speedup, 2)) for one in found.timings] == [
        (1, 1, 0.5), (1, 3, 2.0), (2, 1, 1.25), (2, 3, 0.25),
    ]  # fmt: skip
    assert [(one.threads, one.concurrency, one.batch) for one in found.break_even] == [
        (1, 1, None), (1, 3, 10), (2, 1, 10), (2, 3, None),
    ]  # fmt: skip
    assert said(found.notes) == ("a note", "more threads than cores, of which there are 2: 3, 6")


def test_the_models_of_a_split_alone() -> None:
    prepared = Prepared([Setting(10, [])], [(None, None)], None, "", [])
    times = Turns(np.array([8.0, 4.0, 1.0, 2.0])[None, :, None] * np.full((4, 1, CALLS), 1e3))
    (timing,) = benchmark(prepared, [[times]] * PROCESSES, Options()).timings
    assert (timing.speedup, timing.before.median_us, timing.after.median_us) == (2, 8, 4)
    assert [(each.role, each.calls.median_us, each.speedup, each.low, each.high) for each in timing.parts] == [
        ("user", 1, 8, 8, 8), ("rank", 2, 4, 4, 4),
    ]  # fmt: skip


def test_the_throughput_of_calls_at_once_is_that_which_was_counted() -> None:
    prepared = Prepared([Setting(10, [])], [(None, None)], None, "", [])
    times = AtOnce([np.array([4e3] * 100), np.array([2e3] * 100)], np.array([[500.0, 1500.0], [500, 2500]]))
    (timing,) = benchmark(prepared, [[times]] * PROCESSES, Options(concurrency=(2,))).timings
    assert timing.speedup == 4
    assert timing.before == Calls(4, 4, 4, 4, 500, 5000)
    assert timing.after == Calls(2, 2, 2, 2, 2000, 20_000)
