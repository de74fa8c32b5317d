"""Where the caller vouched for small scores of attention, models are compared on such; a note says what others do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx.document.read import as_document
from mari_onnx.report.words import judged
from mari_onnx.verification.inputs.vouched import Vouched
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source
from tests.graphs import integers, parse
from tests.notes import said
from tests.verification.models import verify

LENGTH = 5
CAUSAL = np.tri(LENGTH + 1, dtype=np.bool_)


def ranker(filler: float) -> onnx.ModelProto:
    """Attention over the user's tokens and the item, under a causal mask of a finite number; all rows are read."""
    body = """one_token = Unsqueeze (item, one) x = Concat <axis = 1> (user, one_token)
        k = Mul (x, scale) kt = Transpose <perm = [0, 2, 1]> (k) s = MatMul (x, kt)
        m = Add (s, mask) p = Softmax <axis = -1> (m) c = MatMul (p, x)
        o = MatMul (c, wo) h = Add (x, o) all = ReduceMean <axes = [1], keepdims = 0> (h) y = MatMul (all, w)"""
    text = f"g (float[B, {LENGTH}, 4] user, float[B, 4] item) => (float[B, 2] y) {{ {body} }}"
    weights: dict[str, Any] = {"w": integers(4, 2), "wo": integers(4, 4, seed=1), "scale": np.float32(30)}
    mask = np.where(CAUSAL, 0, filler).astype(np.float32)
    return parse(text, **weights, one=[1], mask=mask)


@pytest.fixture(scope="module")
def pair() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = ranker(-1e4)
    result = mari_onnx.optimize(model, user_inputs="user", assume_masked=True)
    assert result.report.assumed == ("p",)
    return model, result.model


def test_unusual_features_are_drawn_smaller(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    """Scores of 1e5 beside a mask of -1e4: the history sees the candidate, and the optimized model is another one."""
    found = verify(*pair, tiled=("user",), assumed=("p",))
    assert found.passed
    assert {"large", "large user"} <= {d.case for d in found.differences}
    (note,) = [note for note in said(found.notes) if note.startswith("large at batch 64")]
    assert "above the 4,000 of --assume-masked; outputs are " in note


def test_what_nobody_vouched_for_is_compared_as_it_is(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    found = verify(*pair, tiled=("user",))
    assert {d.case for d in found.differences if not d.passed} == {"large"}


def test_a_written_model_says_itself_what_it_relies_on(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    report = mari_onnx.verify(*pair, user_inputs="user")
    assert report.assumed == ("p",)
    assert "where attention scores are below 4,000 in magnitude (--assume-masked)" in judged(report)[2]


def test_recorded_inputs_are_compared_as_they_are(
    pair: tuple[onnx.ModelProto, onnx.ModelProto], tmp_path: Path
) -> None:
    """Of them what was vouched for is wrong, and the failure stays one."""
    user, item = np.ones((3, LENGTH, 4), np.float32), np.eye(3, 4, dtype=np.float32) * 1e3
    np.savez(tmp_path / "large.npz", user=user, item=item)
    found = verify(*pair, tiled=("user",), assumed=("p",), inputs=str(tmp_path / "large.npz"))
    assert any("large.npz" in note and "above the 4,000" in note for note in said(found.notes))
    assert not found.passed


def test_scores_that_are_no_tensors_of_the_model() -> None:
    with pytest.raises(RunError):
        Vouched(Source("reference", as_document(ranker(-1e4))), ("k",))


def test_scores_are_products() -> None:
    vouched = Vouched(Source("reference", as_document(ranker(-1e4))), ("p",))
    feeds = {"user": np.ones((1, LENGTH, 4), np.float32), "item": np.full((1, 4), 3, np.float32)}
    assert vouched.largest(feeds) == 30 * 36
