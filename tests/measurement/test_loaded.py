"""Models in the runtime in which they are measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.measurement.calls import Pair
from mari_onnx.measurement.loaded import loaded, version
from mari_onnx.report.note import Note
from mari_onnx.verification.runtimes import openvino
from mari_onnx.verification.runtimes.onnxruntime import RunError
from tests.graphs import parse

ITEM = np.ones((3, 2), np.float32)


@pytest.fixture
def pair() -> Pair:
    bodies = (f"g (float[B, 2] x) => (float[B, 2] y) {{ y = {op} (x) }}" for op in ("Abs", "Neg"))
    reference, optimized = (as_document(parse(body)) for body in bodies)
    return Pair(reference, optimized)


def test_a_provider(pair: Pair) -> None:
    notes: list[Note] = []
    models = loaded(pair, "cpu", 1, callers=2, notes=notes)
    assert notes == []
    for model, sign in zip(models, (1, -1), strict=True):
        calls: list[Any] = [make({"x": ITEM}) for make in model]
        assert all((call()[0] == sign * ITEM).all() for call in calls)
    assert version("cpu").endswith(" (CPUExecutionProvider)")


def test_callers_share_a_session(pair: Pair) -> None:
    models = loaded(pair, "onnxruntime", 1, callers=3)
    assert [len(model) for model in models] == [3, 3]
    for model, sign in zip(models, (1, -1), strict=True):
        calls: list[Any] = [make({"x": ITEM}) for make in model]
        assert len({id(call.func.__self__) for call in calls}) == 1
        assert all((call()[0] == sign * ITEM).all() for call in calls)
    assert version("onnxruntime").startswith("onnxruntime 1.")


class TestOpenVINO:
    def test_a_model_that_it_cannot_load(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        def unable(*_: object) -> Any:
            raise RunError("no such operator")

        monkeypatch.setattr(openvino, "calls_in_openvino", unable)
        with pytest.raises(UserError, match="openvino cannot load the models: no such operator"):
            loaded(pair, "openvino", 1)

    def test_callers_have_a_request_each(self, pair: Pair) -> None:
        pytest.importorskip("openvino")
        for model, sign in zip(loaded(pair, "openvino", 1, callers=2), (1, -1), strict=True):
            calls = [make({"x": ITEM}) for make in model]
            assert len({id(call.func.__self__) for call in calls}) == 2  # type: ignore[attr-defined]
            assert all((call()[0] == sign * ITEM).all() for call in calls)  # type: ignore[index]
        assert version("openvino").startswith("openvino ")
