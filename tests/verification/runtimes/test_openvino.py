"""The comparison in a second runtime, where that is installed."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from mari_onnx.errors import UserError
from mari_onnx.verification.runtimes import openvino
from mari_onnx.verification.runtimes.onnxruntime import Feeds, Run, RunError, Source, Values
from tests.notes import said
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
    assert "not compared in openvino, which cannot load the models: no such operator" in said(verification.notes)


@pytest.mark.parametrize("what", ["y", "n", "nan"])
@pytest.mark.parametrize("tolerance", [None, 1e3])
def test_a_runtime_that_computes_the_reference_otherwise(
    monkeypatch: pytest.MonkeyPatch, what: str, tolerance: float | None
) -> None:
    """OpenVINO takes the Mod of integers in float32: wrong above 2**24, of both models alike."""

    def off(source: Source) -> Run:
        right = source.runner(source.session())

        def run(feeds: Feeds) -> Values:
            y, n = right(feeds).values()
            return {"y": y * (1.05 if what == "y" else np.nan if what == "nan" else 1), "n": n + (what == "n")}

        return run

    monkeypatch.setattr(openvino, "run_in_openvino", off)
    model = models.parse("f (float[B, 2] x) => (float[B, 2] y, int64[B, 2] n) { y = Neg (x) n = Cast <to = 7> (x) }")
    verification = verify(model, model, runtime="openvino", batches=(1, 7), atol=tolerance)
    assert not verification.passed
    assert verification.divergence is None
    bad = [d for d in verification.differences if not d.passed]
    output = "n" if what == "n" else "y"
    assert {(d.output, d.case, d.failure) for d in bad} == {(output, "drawn, openvino", "another runtime")}
    assert bad[0].message.startswith("openvino computes the reference itself otherwise than onnxruntime: output")
    assert not [note for note in said(verification.notes) if "its own float64 result" in note]


def test_a_runtime_that_rounds_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own rounding is what the optimized model is measured by there."""

    def rounded(source: Source) -> Run:
        run = source.runner(source.session())
        return lambda feeds: {name: a.astype(np.float16).astype(np.float32) for name, a in run(feeds).items()}

    monkeypatch.setattr(openvino, "run_in_openvino", rounded)
    assert verify(models.tower(), models.split_tower(), runtime="openvino", batches=(1, 7)).passed
