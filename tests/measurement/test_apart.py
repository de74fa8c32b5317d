"""The measurement in a process of its own."""

from __future__ import annotations

import os

import pytest

from mari_onnx import worker
from mari_onnx.budget import within
from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.measurement import apart, procedure
from mari_onnx.measurement.calls import Pair
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.result import PROCESSES
from tests.graphs import parse

MODEL = parse("g (float[B, 4] item) => (float[B, 4] y) { y = Relu (item) }")
ENDLESS = parse(
    """g (float[B, 4] item) => (float[B, 4] y) {
        y = Loop (trips, yes, item) <body = g (int64 i, bool c, float[B, 4] s) => (bool d, float[B, 4] t) {
            d = Identity (c) t = Neg (s) }> }""",
    trips=2**62,
    yes=True,
)


def test_it_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, told = Pair(as_document(MODEL), as_document(MODEL)), list[str]()
    benchmark = apart.measure(pair, Options(batches=(3,), seconds=1e-3), lambda what, *_: told.append(what))
    assert [timing.batch for timing in benchmark.timings] == [3]
    assert told == ["making calls", *["3 candidates, 1 thread"] * PROCESSES]


def test_what_is_wrong_there_is_said_here() -> None:
    pair = Pair(as_document(MODEL), as_document(MODEL))
    with pytest.raises(UserError, match="no dynamic axis"):
        apart.measure(pair, Options(extents={"length": 3}))


def test_a_model_that_does_not_end() -> None:
    pair = Pair(as_document(ENDLESS), as_document(ENDLESS))
    with within(timeout=1.5), pytest.raises(UserError, match=r"nothing was measured: 1\.5 s were over") as caught:
        apart.measure(pair, Options(batches=(1,)))
    assert "--timeout" in str(caught.value.next_step)


def test_a_process_that_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure, "times", _dies)
    with pytest.raises(UserError, match="nothing was measured: onnxruntime stopped"):
        apart.measure(Pair(as_document(MODEL), as_document(MODEL)), Options())
    assert worker.run(os.getpid) != os.getpid()


def _dies(*_: object) -> None:
    os._exit(3)
