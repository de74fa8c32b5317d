"""Results are saved where they passed, and with everything that belongs to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import FailedError, Optimized, UserError, pipeline
from tests.graphs import assert_same, integers, parse, ranking
from tests.report import reports

BODY = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
MODEL = ranking("tiled", BODY, user="float[256]", w=integers(259, 32), b=integers(32))


@pytest.fixture(scope="module")
def result() -> Optimized:
    return mari_onnx.optimize(MODEL, user_inputs="user")


def test_a_result_is_saved(result: Optimized, tmp_path: Path) -> None:
    path = tmp_path / "fast.onnx"
    result.save(path)
    assert_same(MODEL, onnx.load(path))
    with pytest.raises(UserError, match="already exists"):
        result.save(str(path))
    result.save(path, overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == ["fast.onnx"]


def test_external_data_is_taken_along(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source, copy = tmp_path / "in/model.onnx", onnx.ModelProto()
    copy.CopyFrom(MODEL)
    onnx.save_model(copy, source, save_as_external_data=True, location="w.data", size_threshold=0)
    result = mari_onnx.optimize(source, user_inputs="user", verify=False)
    result.save(tmp_path / "out/fast.onnx")
    assert_same(MODEL, onnx.load(tmp_path / "out/fast.onnx"))
    with pytest.raises(UserError, match="is the model that is read"):
        result.save(source, overwrite=True)


def test_what_did_not_pass_is_not_saved(result: Optimized, tmp_path: Path) -> None:
    wrong = replace(result, report=reports.WRONG)
    with pytest.raises(FailedError, match="The predictions differ") as caught:
        wrong.save(tmp_path / "fast.onnx")
    assert caught.value.report is reports.WRONG
    assert list(tmp_path.iterdir()) == []
    wrong.save(tmp_path / "fast.onnx", failed=True)
    assert (tmp_path / "fast.onnx").exists()


def test_parts_are_saved_together(tmp_path: Path) -> None:
    parts = mari_onnx.split(MODEL, user_inputs="user", verify=False)
    with pytest.raises(UserError, match="there are paths for user\nGive one for each of user, rank"):
        parts.save({"user": tmp_path / "user.onnx"})
    parts.save({"user": tmp_path / "user.onnx", "rank": tmp_path / "rank.onnx"})
    user, rank = (onnx.load(tmp_path / f"{role}.onnx") for role in ("user", "rank"))
    assert (user, rank) == (parts.models["user"], parts.models["rank"])
    failed = replace(parts, report=reports.WRONG)
    with pytest.raises(FailedError):
        failed.save({"user": tmp_path / "user.onnx", "rank": tmp_path / "rank.onnx"}, overwrite=True)


def test_a_failure_is_raised_where_that_is_asked_for() -> None:
    passed = mari_onnx.optimize(MODEL, user_inputs="user", on_failure="raise", min_gain=2, verify=False)
    assert [policy.met for policy in passed.report.policies] == [True]
    with pytest.raises(FailedError, match=r"Not met: min-gain 1000: [\d.]+ \(") as caught:
        mari_onnx.optimize(MODEL, user_inputs="user", on_failure="raise", min_gain=1000, verify=False)
    assert "render" in str(caught.value.next_step)
    assert "min-gain" in mari_onnx.render(caught.value.report, "text")
    told = mari_onnx.optimize(MODEL, user_inputs="user", min_gain=1000, verify=False)
    assert not told.report.passed


def test_a_split_that_fails_is_raised_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pipeline.split

    def failing(*given: object, **named: object) -> object:
        made = plain(*given, **named)  # type: ignore[arg-type]
        return replace(made, report=replace(made.report, verification=reports.WRONG.verification))

    monkeypatch.setattr(pipeline, "split", failing)
    with pytest.raises(FailedError):
        mari_onnx.split(MODEL, user_inputs="user", on_failure="raise", verify=False)
    assert not mari_onnx.split(MODEL, user_inputs="user", verify=False).report.passed


def test_a_model_that_stays_as_it_is_gains_nothing() -> None:
    alone = parse("g (float[B, 3] item) => (float[B, 2] y) { y = MatMul (item, w) }", w=np.ones((3, 2), np.float32))
    policies = mari_onnx.optimize(alone, require_gain=True, max_size_growth=1.0).report.policies
    assert [(policy.name, policy.met) for policy in policies] == [("require-gain", False), ("max-size-growth", True)]
