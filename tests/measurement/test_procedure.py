"""What is done in the processes of a measurement: what is measured, and not how fast this machine is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx import optimize
from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.measurement import procedure
from mari_onnx.measurement.at_once import AtOnce
from mari_onnx.measurement.calls import Pair, Setting
from mari_onnx.measurement.loaded import loaded
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.procedure import Prepared, prepare
from mari_onnx.measurement.turns import CALLS, LEAST, Turns
from tests.graphs import integers, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"


@pytest.fixture
def pair() -> Pair:
    tower = ranking("tiled", BODY, user="float[256]", w=integers(259, 32), b=integers(32))
    result = optimize(tower, user_inputs="user", verify=False)
    return Pair(as_document(tower), as_document(result.model), tiled=("user",), request=("user",))


Told = list[tuple[str, int, int]]


def timed(pair: Pair, prepared: Prepared, told: Told | None = None, process: int = 0, **given: Any) -> list[Any]:
    said: Told = [] if told is None else told
    options = Options(**given)
    return procedure.times(pair, prepared.settings, options, 1e-9, process, lambda *step: said.append(step))


def test_every_number_of_candidates_on_every_number_of_threads(pair: Pair) -> None:
    told: Told = []
    given: dict[str, Any] = {"batches": (7, 1), "threads": (1, 2)}
    prepared = prepare(pair, Options(**given))
    assert [each.batch for each in prepared.settings] == [1, 7]
    found = timed(pair, prepared, told, **given)
    assert told == [
        ("1 candidate, 1 thread", 0, 4),
        ("7 candidates, 1 thread", 1, 4),
        ("1 candidate, 2 threads", 2, 4),
        ("7 candidates, 2 threads", 3, 4),
    ]
    assert [turns.nanoseconds.shape for turns in found] == [(LEAST, 2, CALLS)] * 4
    assert all((turns.nanoseconds > 0).all() for turns in found)


def test_models_that_answer_otherwise(pair: Pair) -> None:
    """They are timed, and a note says that this tells nothing."""
    assert prepare(pair, Options(batches=(7,))).notes == []
    other = onnx.ModelProto()
    other.CopyFrom(pair.optimized.proto)
    other.graph.node[-1].op_type = "Neg"
    (note,) = prepare(replace(pair, optimized=as_document(other)), Options(batches=(7,))).notes
    assert note.code == "outputs-differ"
    assert note.text.startswith("output `y` of the two models differs in onnxruntime at 7 candidates: ")
    assert note.text.endswith(" apart (mari-onnx verify)")


def test_calls_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mari_onnx.measurement.at_once.TURN", 1e-4)
    told: Told = []
    given: dict[str, Any] = {"batches": (7,), "concurrency": (1, 3)}
    alone, together = timed(pair, prepare(pair, Options(**given)), told, **given)
    assert told == [("7 candidates, 1 thread", 0, 2), ("7 candidates, 1 thread, 3 calls at once", 1, 2)]
    assert isinstance(alone, Turns)
    assert isinstance(together, AtOnce)
    assert together.rates.shape == (LEAST, 2)
    assert (together.rates > 0).all()


def test_each_process_draws_its_own_order(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def in_turns(_calls: object, _seconds: float, rng: np.random.Generator) -> None:
        drawn.append(int(rng.integers(2**60)))

    monkeypatch.setattr(procedure, "in_turns", in_turns)
    prepared = prepare(pair, Options(batches=(1, 2)))
    for process in (0, 1, 0):
        timed(pair, prepared, process=process, batches=(1, 2))
    assert drawn[:2] == drawn[4:]
    assert len(set(drawn)) == 4


def test_what_is_known_before_anything_is_timed(pair: Pair) -> None:
    prepared = prepare(pair, Options(batches=(1, 5000), profile=True))
    assert prepared.runtime.startswith("onnxruntime ")
    assert prepared.notes == []
    few, many = prepared.memory
    assert all(a is None or b is None or a <= b for a, b in zip(few, many, strict=True))
    assert prepared.profile is not None
    assert prepared.profile.batch == 5000
    sides = [{node.side for node in nodes} for nodes in (prepared.profile.before, prepared.profile.after)]
    assert sides == [{"candidates"}, {"candidates", "request"}]


def test_the_memory_of_recorded_calls_is_that_of_the_largest(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mari_onnx.measurement.memory.peak", lambda call, before: len(call.args[1]["item"]))
    prepared = prepare(pair, Options(batches=(3,)))
    (setting,) = prepared.settings
    larger = prepare(pair, Options(batches=(9,))).settings[0]
    both = Setting(3, [*setting.feeds, *larger.feeds])
    assert procedure._memory([each for (each,) in loaded(pair, "onnxruntime", 1)], [both]) == [(9, 9)]
    monkeypatch.setattr("mari_onnx.measurement.memory.peak", lambda call, before: None)
    assert prepare(pair, Options(batches=(3,))).memory == [(None, None)]


def test_models_that_are_not_alike(pair: Pair) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(pair.optimized.proto)
    other.graph.output[0].name = other.graph.node[-1].output[0] = "z"
    with pytest.raises(UserError, match="output `y` is only in the reference model"):
        prepare(Pair(pair.reference, as_document(other)), Options())


def test_it_is_called_in_openvino(pair: Pair) -> None:
    pytest.importorskip("openvino")
    given: dict[str, Any] = {"batches": (8,), "runtime": "openvino", "threads": (2,)}
    prepared = prepare(pair, Options(**given))
    assert prepared.runtime.startswith("openvino ")
    (turns,) = timed(pair, prepared, **given)
    assert (turns.nanoseconds > 0).all()
