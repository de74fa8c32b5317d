"""Splits whose models send each other half precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mari_onnx
from mari_onnx import UserError
from tests.graphs import integers, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Sigmoid (h)"
WIDE: dict[str, Any] = {"b": integers(32) / 8}


def cut(scale: float = 100, **options: Any) -> mari_onnx.SplitModels:
    weights = (integers(259, 32) / scale).astype(np.float32)
    model = ranking("one", BODY, user="float[256]", w=weights, **WIDE)
    return mari_onnx.split(model, user_inputs=["user*"], crossing="float16", **options)


def test_how_far_scores_move_is_told() -> None:
    report = cut().report
    assert report.split is not None
    assert report.passed
    assert (report.split.crossing, [one.bytes for one in report.split.crossings]) == ("float16", [64])
    assert report.split.moved is not None
    assert 1e-6 < report.split.moved < 1e-2
    assert report.verification is not None
    assert all(each.float64 is None or each.float64 < 1e-9 for each in report.verification.differences)
    assert "but for float16, which moves scores by up to" in mari_onnx.render(report, "text")


def test_without_verification_nothing_is_said() -> None:
    report = cut(verify=False).report
    assert report.split is not None
    assert (report.split.crossing, report.split.moved) == ("float16", None)


def test_numbers_that_half_precision_does_not_hold() -> None:
    """A product of over 65,504 is infinite, and a score that moves too far is not the original's."""
    report = cut(scale=1e-6).report
    assert not report.passed
    assert report.split is not None
    assert "scores move too far: leave --crossing out" in report.split.choice[-1]


def test_another_type() -> None:
    with pytest.raises(UserError, match="nothing crosses in 'int8'"):
        mari_onnx.split(ranking("one", BODY, user="float[256]", w=integers(259, 32), **WIDE), crossing="int8")  # type: ignore[arg-type]
