"""Scores that move by a step of the model's own rounding are no failure if they are few, and the report counts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.verification.compare.steps import rounds
from tests.verification.models import parse, verify

rng = np.random.default_rng(0)
W = rng.normal(size=(64, 32)).astype(np.float32)
V = rng.normal(size=(32, 1)).astype(np.float32)
STEPS = 64
"""In how many steps a number of the hidden layer is rounded."""

ROUND = "s = Mul (h, k) r = Round (s) t = Div (r, k)"
TRUNCATED = "s = Mul (h, k) r = Floor (s) t = Div (r, k)"
QUANTIZED = "q = QuantizeLinear (h, scale) t = DequantizeLinear (q, scale)"
WHOLE = "x = Concat <axis = 1> (user, item) h = MatMul (x, w)"
SUM = "a = MatMul (user, w0) b = MatMul (item, w1) h = Add (a, b)"
COARSE = "a = MatMul (user, w0) b = MatMul (item, w1) c = Add (a, b) d = Add (c, far) h = Sub (d, far)"
"""The same in float64; in float32 13 digits are left behind the point."""


def ranker(body: str) -> onnx.ModelProto:
    text = f"g (float[B, 32] user, float[B, 32] item) => (float[B, 1] y) {{ {body} y = MatMul (t, v) }}"
    scales = {"k": np.float32(STEPS), "scale": np.float32(1 / STEPS), "far": np.float32(1024)}
    constants: dict[str, Any] = {"w": W, "w0": W[:32], "w1": W[32:], "v": V, **scales}
    return parse(text, **{name: a for name, a in constants.items() if name in body or name == "v"})


@pytest.mark.parametrize("seed", range(8))
def test_a_value_on_an_edge_falls_to_either_side(seed: int) -> None:
    """In some of these seeds the original's own values all stand away from the edges, and ours do not."""
    assert verify(ranker(f"{WHOLE} {ROUND}"), ranker(f"{SUM} {ROUND}"), seed=seed).passed


def test_how_many_moved_is_reported() -> None:
    found = verify(ranker(f"{WHOLE} {ROUND}"), ranker(f"{SUM} {ROUND}"), seed=0)
    (moved,) = found.moved
    assert (moved.output, moved.moved) == ("y", 1)
    assert 0 < moved.apart_without < 1e-3
    over = [d for d in found.differences if d.max_abs > d.bound]
    assert [(d.passed, d.failure) for d in over] == [(True, None)]
    assert over[0].message == f"1 of {over[0].batch} values fell to the other side of a rounding step"


def test_what_moves_many_values_is_a_failure() -> None:
    found = verify(ranker(f"{WHOLE} {ROUND}"), ranker(f"{COARSE} {ROUND}"), seed=0)
    assert {d.failure for d in found.differences if d.case == "drawn" and not d.passed} == {"accuracy"}


@pytest.mark.parametrize(("body", "expected"), [(ROUND, True), (QUANTIZED, True), (TRUNCATED, False)])
def test_which_models_round(body: str, expected: bool) -> None:
    assert rounds(ranker(f"{WHOLE} {body}")) == expected
