"""A whole measurement, with few calls: what is measured, and not how fast this machine is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx import optimize
from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.measurement import machine, procedure
from mari_onnx.measurement.calls import Pair
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.turns import CALLS, LEAST, Call, Turns
from mari_onnx.report.benchmark import Benchmark, Calls
from mari_onnx.verification.runtimes import openvino
from mari_onnx.verification.runtimes.onnxruntime import RunError
from tests.graphs import integers, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"


@pytest.fixture
def pair() -> Pair:
    tower = ranking("tiled", BODY, user="float[256]", w=integers(259, 32), b=integers(32))
    result = optimize(tower, user_inputs="user", verify=False)
    return Pair(as_document(tower), as_document(result.model), tiled=("user",), request=("user",))


Told = list[tuple[str, int, int]]


def measured(pair: Pair, told: Told | None = None, **given: Any) -> Benchmark:
    said: Told = [] if told is None else told
    return procedure.measure(pair, Options(**{"seconds": 1e-3, **given}), lambda *step: said.append(step))


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are made up: that of the reference is twice that of the other, and both grow with the rounds."""

    def in_turns(calls: list[list[Call]], seconds: float, rng: np.random.Generator) -> Turns:
        for both in calls:
            for call in both:
                call()
        rounds = np.arange(1, 201)[:, None, None] * np.ones((1, 2, CALLS))
        return Turns(rounds * np.array([2000.0, 1000.0])[None, :, None])

    monkeypatch.setattr(procedure, "in_turns", in_turns)


@pytest.mark.usefixtures("halves")
def test_what_is_made_of_times(pair: Pair) -> None:
    benchmark = measured(pair, batches=(10, 1), threads=(1,))
    first, second = benchmark.timings
    assert (first.batch, second.batch) == (1, 10)
    assert (second.threads, second.rounds) == (1, 200)
    assert (second.speedup, second.low, second.high) == (2, 2, 2)
    assert second.before == Calls(201, 360, 396, 10 / 201e-6, second.before.memory)
    assert second.after == Calls(100.5, 180, 198, 10 / 100.5e-6, second.after.memory)
    assert [(one.threads, one.batch) for one in benchmark.break_even] == [(1, 1)]


@pytest.mark.usefixtures("halves")
def test_every_number_of_candidates_on_every_number_of_threads(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 1)
    told: Told = []
    benchmark = measured(pair, told, batches=(1, 7), threads=(1, 2))
    assert [(one.threads, one.batch) for one in benchmark.timings] == [(1, 1), (1, 7), (2, 1), (2, 7)]
    assert [one.threads for one in benchmark.break_even] == [1, 2]
    assert benchmark.notes == ("2 threads share 1 cores",)
    assert [done for _, done, _ in told] == [0, 1, 2, 3, 4]
    assert {total for _, _, total in told} == {5}
    assert told[-1][0] == "7 candidates, 2 threads"
    assert [one.before.memory for one in benchmark.timings[:2]] == [one.before.memory for one in benchmark.timings[2:]]


def test_real_times(pair: Pair) -> None:
    benchmark = measured(pair, batches=(1, 64), profile=True)
    for one in benchmark.timings:
        assert one.low <= one.speedup <= one.high
        assert one.rounds >= LEAST
        assert 0 < one.before.median_us <= one.before.p90_us
        assert one.before.per_second == pytest.approx(one.batch / one.before.median_us * 1e6)
    assert benchmark.runtime.startswith("onnxruntime ")
    assert benchmark.confidence == 0.95
    assert benchmark.profile is not None
    assert benchmark.profile.batch == 64
    sides = [{node.side for node in nodes} for nodes in (benchmark.profile.before, benchmark.profile.after)]
    assert sides == [{"candidates"}, {"candidates", "request"}]


def test_few_calls_tell_no_share_of_99_in_100(pair: Pair) -> None:
    (timing,) = measured(pair, batches=(1,), seconds=1e-9).timings
    assert timing.rounds == LEAST
    assert timing.before.p99_us is None


def test_models_that_are_not_alike(pair: Pair) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(pair.optimized.proto)
    other.graph.output[0].name = other.graph.node[-1].output[0] = "z"
    with pytest.raises(UserError, match="output `y` is only in the reference model"):
        measured(Pair(pair.reference, as_document(other)))


class TestOpenVINO:
    def test_a_model_that_it_cannot_load(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        def unable(*_: object) -> Any:
            raise RunError("no such operator")

        monkeypatch.setattr(openvino, "calls_in_openvino", unable)
        with pytest.raises(UserError, match="openvino cannot load the models: no such operator"):
            measured(pair, runtime="openvino")

    def test_real_times(self, pair: Pair) -> None:
        pytest.importorskip("openvino")
        (timing,) = measured(pair, batches=(8,), runtime="openvino", threads=(2,)).timings
        assert timing.speedup > 0
