"""Rows that are declared identical are compared in the graph: of every type, with NaN in them, of several requests."""

from __future__ import annotations

import numpy as np
import pytest

import mari_onnx
from mari_onnx.serving.guard import Guard, NanGuard, OutputGuard
from mari_onnx.serving.names import GuardName
from mari_onnx.serving.tiled import Tiled, TiledByKey
from tests.graphs import evaluate, integers, parse
from tests.serving.models import TYPES, assert_equal, call, numbers, ranker, served, speaks


@pytest.mark.parametrize("guard", [NanGuard(), OutputGuard()], ids=str)
@pytest.mark.parametrize("opset", [11, 12, 13, 18, 21])
@pytest.mark.parametrize("kind", ["float", "double", "float16", "int64", "int32", "int8", "uint8", "bool", "string"])
def test_guard(kind: str, opset: int, guard: Guard) -> None:
    model = ranker(f"{kind}[B, 2] user_x, {kind}[B] user_y, {TYPES}", opset=opset)
    result = served(model, Tiled(guard=guard))
    for batch in (0, 1, 2, 7):
        one = {"user_x": np.full((batch, 2), 1), "user_y": np.full(batch, 1)}
        typed = {
            name: a.astype(str).astype(object) if kind == "string" else a.astype(_dtype(kind))
            for name, a in one.items()
        }
        sent = call(batch, **typed)
        assert not speaks(result, sent) or batch == 0
        assert_equal(evaluate(result, sent)[:1], evaluate(model, sent))
        for name in typed if batch > 1 else ():
            wrong = typed[name].copy()
            wrong.reshape(batch, -1)[-1, -1] = "0" if kind == "string" else 0
            assert speaks(result, {**sent, name: wrong})


def _dtype(kind: str) -> type:
    return {"float": np.float32, "double": np.float64, "bool": np.bool_}.get(kind) or getattr(np, kind)


@pytest.mark.parametrize("mode", [Tiled(guard=OutputGuard()), TiledByKey(("user_id",), guard=OutputGuard())], ids=str)
def test_nan_is_the_same_as_nan(mode: Tiled) -> None:
    model = ranker(f"float[B, 2] user_x, int64[B] user_id, {TYPES}")
    result = served(model, mode)
    sent = call(7, user_id=np.full(7, 4), user_x=np.full((7, 2), np.nan, np.float32))
    assert not speaks(result, sent)
    half = sent["user_x"].copy()
    half[3, 1] = 0
    assert speaks(result, {**sent, "user_x": half})
    assert speaks(result, {**sent, "user_x": half[::-1].copy()})


CAUSAL = np.tri(6, dtype=np.bool_)
ATTENTION = """one_token = Unsqueeze (item, one) x = Concat <axis = 1> (user, one_token)
    k = Mul (x, scale) kt = Transpose <perm = [0, 2, 1]> (k) s = MatMul (x, kt) m = Add (s, mask)
    p = Softmax <axis = -1> (m) c = MatMul (p, x) h = Add (x, c) all = ReduceMean <axes = [1]> (h)"""


@pytest.mark.parametrize("guard", ["nan", "output"])
def test_scores_that_are_larger_than_was_vouched_for(guard: GuardName) -> None:
    """The candidate's feature of 1e3 makes a score of 3e4 with the user's tokens, far above a mask of -1e4."""
    mask = np.where(CAUSAL, 0, -1e4).astype(np.float32)
    text = f"g (float[B, 5, 4] user, float[B, 4] item) => (float[B, 1, 4] all) {{ {ATTENTION} }}"
    model = parse(text, one=[1], mask=mask, scale=np.float32(30))
    result = mari_onnx.optimize(model, user_inputs="user", assume_masked=True, guard=guard)
    assert result.report.assumed == ("p",)
    assert any("4,000" in sentence for sentence in result.report.calls)
    for batch in (0, 1, 3):
        sent = {"user": np.ones((batch, 5, 4), np.float32), "item": integers(batch, 4)}
        assert not speaks(result.model, sent) or not batch
        for found, wanted in zip(evaluate(result.model, sent), evaluate(model, sent), strict=False):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
    sent["item"][2, 1] = np.nan
    assert not np.isnan(evaluate(result.model, sent)[0][:2]).any()
    sent["item"][2, 1] = 1e3
    assert speaks(result.model, sent)


def test_zeros_of_either_sign_are_the_same() -> None:
    model = ranker()
    result = served(model, Tiled(guard=NanGuard()))
    sent = call(2, user=np.array([[0, 1, 2, 3], [-0.0, 1, 2, 3]], np.float32))
    assert not speaks(result, sent)


def test_a_guard_of_several_requests() -> None:
    model = ranker(f"int64[B] user_id, string[B] user_name, {TYPES}")
    result = served(model, TiledByKey(("user_id",), guard=NanGuard()))
    which = np.array([2, 0, 2, 1, 0, 0, 1])
    sent = {
        "user_id": which * 7, "user_name": which.astype(str).astype(object),
        "user": integers(3, 4)[which], "item": numbers(7, 3),
    }  # fmt: skip
    assert not speaks(result, sent)
    assert_equal(evaluate(result, sent), evaluate(model, sent))
    for name, other in (("user", 9), ("user_name", "other")):
        wrong = sent[name].copy()
        wrong.reshape(7, -1)[6, -1] = other
        assert speaks(result, {**sent, name: wrong})
