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
from mari_onnx.verification.runtimes import RUNTIMES, openvino
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


@pytest.fixture
def cut() -> Pair:
    """A model, and its split: the user's side is a sum, which is 3 times as large in the ranking model."""
    whole = "g (float[1, 2] u, float[B, 2] x) => (float[B, 2] y) { s = Add (u, u) t = Mul (s, c) y = Add (t, x) }"
    user = "g (float[1, 2] u) => (float[1, 2] s) { s = Add (u, u) }"
    rank = "g (float[1, 2] s, float[B, 2] x) => (float[B, 2] y) { t = Mul (s, c) y = Add (t, x) }"
    three = np.float32(3)
    reference, second = (as_document(parse(body, c=three)) for body in (whole, rank))
    return Pair(reference, second, user=as_document(parse(user)))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_split_is_both_models_in_one_call_and_each_alone(cut: Pair, runtime: str) -> None:
    pytest.importorskip(runtime)
    feeds = {"u": np.array([[1, 2]], np.float32), "x": ITEM}
    models = loaded(cut, runtime, 1, callers=2)
    assert [len(model) for model in models] == [2] * 4
    expected = [[7, 13]] * 3
    for caller in range(2):
        answers: list[Any] = [model[caller](feeds)() for model in models]
        reference, both, user, rank = (each[0].tolist() for each in answers)
        assert reference == both == rank == expected
        assert user == [[2, 4]]
    other = {**feeds, "u": np.zeros((1, 2), np.float32)}
    calls: list[Any] = [models[3][0](each) for each in (feeds, other)]  # what the user model computed for each is kept
    assert [call()[0].tolist() for call in calls] == [expected, [[1, 1]] * 3]


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
