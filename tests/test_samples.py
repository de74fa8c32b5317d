"""Every sample model: optimized, verified, and run on a description's own calls beside the original."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from benchmarks.calls import call, declared
from benchmarks.models import samples
from benchmarks.timing import session
from mari_onnx import Optimized, optimize
from tests.reasons import unexplained

SAMPLES = {name: (path, meta) for name, path, meta in samples()}


@cache
def user_inputs(name: str) -> list[str]:
    path, meta = SAMPLES[name]
    return declared(meta, onnx.load(path))


@cache
def optimized_once(name: str) -> Optimized:
    """The sample, optimized and not verified: several tests look at it, and none changes it."""
    return optimize(SAMPLES[name][0], user_inputs=user_inputs(name), verify=False)


@pytest.mark.parametrize("name", SAMPLES)
def test_cheaper_and_the_same(name: str) -> None:
    path, meta = SAMPLES[name]
    model = onnx.load(path)
    optimized = optimize(path, user_inputs=declared(meta, model))
    report = optimized.report
    assert optimized.changed
    assert report.verification is not None
    assert report.verification.passed, report.verification
    assert report.cost_before is not None
    assert report.cost_after is not None
    assert report.cost_after.macs < report.cost_before.macs
    assert_agree(model, optimized.model, meta)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_stays_is_explained(name: str) -> None:
    assert unexplained(optimized_once(name).report, onnx.load(SAMPLES[name][0])) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_second_run_changes_nothing(name: str) -> None:
    once = optimized_once(name).model
    assert not optimize(once, user_inputs=user_inputs(name), verify=False).changed


@pytest.mark.parametrize("name", SAMPLES)
def test_the_runtimes_own_optimization_first_loses_nothing(name: str, tmp_path: Path) -> None:
    """onnxruntime's offline optimization of level basic, which pipelines run after the export."""
    path, meta = SAMPLES[name]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "basic.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    direct = optimized_once(name)
    after = optimize(tmp_path / "basic.onnx", user_inputs=user_inputs(name), verify=False)
    assert after.report.cost_after is not None
    assert direct.report.cost_after is not None
    assert after.report.cost_after.macs <= 1.01 * direct.report.cost_after.macs
    assert_agree(onnx.load(path), after.model, meta)


def assert_agree(original: onnx.ModelProto, optimized: onnx.ModelProto, meta: dict[str, Any]) -> None:
    """The same scores as near as float32 says, at one candidate, at few and at many, for one seed each."""
    onnx.checker.check_model(optimized, full_check=True)
    first, second = session(original), session(optimized)
    for batch in (1, 2, 7, 64):
        feeds = call(meta, original, batch, seed=batch, requests=min(3, batch))
        for expected, got in zip(first.run(None, feeds), second.run(None, feeds), strict=True):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_what_nobody_declared_stays(tmp_path: Path) -> None:
    path, _ = SAMPLES["wide_deep_vanilla"]
    optimized = optimize(path, verify=False)
    assert not optimized.changed
    assert optimized.model == onnx.load(path)
