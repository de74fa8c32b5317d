"""The comparison in a second runtime, where that is installed."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from mari_onnx.errors import UserError
from mari_onnx.verification.runtimes import openvino
from mari_onnx.verification.runtimes.onnxruntime import Run, RunError, Source
from tests.verification import models
from tests.verification.models import judged, verify


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *given: Any) -> Any:
        if name == "openvino":
            raise ImportError(name)
        return plain(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="not installed"):
        verify(models.tower(), models.tower(), runtime="openvino")


def test_a_runtime_that_nobody_knows() -> None:
    with pytest.raises(UserError, match="there is no runtime"):
        verify(models.tower(), models.tower(), runtime="tensorrt")


class TestOpenVINO:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("openvino")

    def test_both_are_compared_there_too(self) -> None:
        verification = verify(models.tower(), models.split_tower(), runtime="openvino", batches=(1, 7))
        assert verification.passed, verification
        assert verification.runtime == "onnxruntime and openvino"
        cases = [d.case for d in verification.differences]
        assert cases.count("drawn, openvino") == cases.count("drawn") == 2

    def test_a_mistake_fails_in_both(self) -> None:
        wrong = judged(models.tower(), models.split_tower(swapped=True), runtime="openvino", batches=(7,))
        assert {d.case for d in wrong.differences if not d.passed} >= {"drawn", "drawn, openvino"}


def test_a_model_that_the_second_runtime_cannot_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(source: Source) -> Run:
        raise RunError("no such operator")

    monkeypatch.setattr(openvino, "run_in_openvino", unable)
    verification = verify(models.tower(), models.tower(), runtime="openvino", batches=(2,))
    assert verification.passed
    assert verification.runtime == "onnxruntime"
    assert "not compared in openvino, which cannot load the models: no such operator" in verification.notes
