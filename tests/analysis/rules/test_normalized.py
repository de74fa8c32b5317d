"""Columns of user and items that are normalized together are multiplied apart."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import mari_onnx
from tests.graphs import STYLES, Array, Rewritten, assert_same, evaluate, integers, parse, ranking, rewrite

styles = pytest.mark.parametrize("style", STYLES)
USER, ITEM, HIDDEN = 192, 64, 128


def layer(
    style: str, product: str, *, node: str = "LayerNormalization (x, scale, shift)", columns: str = "user, item",
    user: str = f"float[{USER}]", item: str = f"float[{ITEM}]", width: int = USER + ITEM, **constants: Any,
) -> Rewritten:  # fmt: skip
    rng = np.random.default_rng(0)
    stored: dict[str, Any] = {
        "scale": rng.standard_normal(width, np.float32),
        "shift": rng.standard_normal(width, np.float32),
        "w": rng.standard_normal((HIDDEN, width) if "transB" in product else (width, HIDDEN), np.float32),
        "b": rng.standard_normal(HIDDEN, np.float32),
        **constants,
    }
    last = user.count(",") + 1
    body = f"x = Concat <axis = {last}> ({columns}) n = {node} {product}"
    used: dict[str, Any] = {k: v for k, v in stored.items() if re.search(rf"\b{k}\b", body)}
    output = "float[B, N] y" if last == 1 else "float[B, L, N] y"
    model = ranking(style, body, user=user, item=item, output=output, opset=18, **used)
    result = rewrite(model)
    assert_same(model, result.model, rtol=1e-4)
    return result


PRODUCTS = [
    "y = MatMul (n, w)",
    "y = Gemm (n, w, b)",
    "y = Gemm <transB = 1> (n, w, b)",
    "h = MatMul (n, w) y = Add (b, h)",
]


@styles
@pytest.mark.parametrize("product", PRODUCTS)
def test_the_layer_after_the_normalization(style: str, product: str) -> None:
    result = layer(style, product)
    assert "LayerNormalization" not in result.ops
    assert "Expand" not in result.ops
    assert result.ops.count("ReduceSumSquare") == 2


@styles
@pytest.mark.parametrize(
    "node", ["LayerNormalization (x, scale)", "LayerNormalization <axis = 1, epsilon = 0.5> (x, scale, shift)"]
)
def test_without_a_shift_and_with_an_epsilon(style: str, node: str) -> None:
    assert "LayerNormalization" not in layer(style, "y = MatMul (n, w)", node=node).ops


@styles
def test_interleaved_columns(style: str) -> None:
    result = layer(style, "y = MatMul (n, w)", columns="item, user, item, user", width=2 * (USER + ITEM))
    assert "LayerNormalization" not in result.ops


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_along_a_sequence(style: str) -> None:
    """(B L D), the user's columns without the candidates."""
    result = layer(style, "y = MatMul (n, w)", user=f"float[5, {USER}]", item=f"float[5, {ITEM}]")
    assert "LayerNormalization" not in result.ops


def test_far_from_zero() -> None:
    """A mean a thousand times the spread: each part is centred by its own, and no digits are lost."""
    rng = np.random.default_rng(1)
    constants: dict[str, Any] = {
        "scale": np.ones(256, np.float32), "shift": np.zeros(256, np.float32),
        "w": rng.standard_normal((256, 128), np.float32),
    }  # fmt: skip
    body = "x = Concat <axis = 1> (user, item) n = LayerNormalization (x, scale, shift) y = MatMul (n, w)"
    model = ranking("one", body, user="float[192]", item="float[64]", opset=18, **constants)
    result = rewrite(model)
    assert "LayerNormalization" not in result.ops
    inputs: dict[str, Array] = {
        "user_row": 1000 + rng.standard_normal((1, 192), np.float32),
        "item": 1000 + rng.standard_normal((7, 64), np.float32),
    }
    x = np.concatenate([np.repeat(inputs["user_row"], 7, 0), inputs["item"]], 1).astype(np.float64)
    centred = x - x.mean(1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) @ constants["w"].astype(np.float64)
    ours, theirs = (np.abs(evaluate(m, inputs)[0] - exact).max() for m in (result.model, model))
    assert ours <= 4 * theirs


def test_verified_in_float64() -> None:
    """The numbers of columns are whole, so that nothing is rounded before its time."""
    rng = np.random.default_rng(2)
    stored: dict[str, Any] = {
        "scale": rng.standard_normal(300, np.float32),
        "w": rng.standard_normal((300, 128), np.float32),
    }
    body = "x = Concat <axis = 1> (user, item) n = LayerNormalization (x, scale) y = MatMul (n, w)"
    model = ranking("one", body, user="float[200]", item="float[100]", opset=17, **stored)
    result = mari_onnx.optimize(model)
    assert result.changed
    assert result.report.verification is not None and result.report.verification.passed


# Where it stays one normalization


def test_few_columns_are_not_worth_it() -> None:
    result = layer("one", "y = MatMul (n, w)", user="float[4]", item="float[4]", width=8)
    assert "LayerNormalization" in result.ops


@pytest.mark.parametrize("style", ["one", "requests"])
def test_a_scale_that_is_computed(style: str) -> None:
    body = """x = Concat <axis = 1> (user, item) s = ReduceMax <keepdims = 0> (x, zero_)
              n = LayerNormalization (x, s) y = MatMul (n, w)"""
    model = ranking(style, body, user="float[96]", item="float[64]", opset=18, zero_=[0], w=integers(160, 32))
    result = rewrite(model)
    assert_same(model, result.model, rtol=1e-4)
    assert "LayerNormalization" in result.ops


def test_more_than_the_last_dimension() -> None:
    """Steps and columns together have one mean."""
    scale = np.random.default_rng(3).standard_normal((5, USER + ITEM), np.float32)
    node = "LayerNormalization <axis = 1> (x, scale)"
    types: dict[str, Any] = {"user": f"float[5, {USER}]", "item": f"float[5, {ITEM}]"}
    assert "LayerNormalization" in layer("one", "y = MatMul (n, w)", node=node, scale=scale, **types).ops


def test_more_columns_than_can_be_counted_exactly() -> None:
    sizes: dict[str, Any] = {"user": "float[3500]", "item": "float[600]", "width": 4100}
    assert "LayerNormalization" in layer("one", "y = MatMul (n, w)", **sizes).ops


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_another_precision(kind: str) -> None:
    """That of the statistics is float."""
    stored: dict[str, Any] = {"scale": np.ones(USER + ITEM, kind), "w": integers(USER + ITEM, HIDDEN).astype(kind)}
    body = "x = Concat <axis = 1> (user, item) n = LayerNormalization (x, scale) y = MatMul (n, w)"
    types: dict[str, Any] = {"user": f"{kind}[{USER}]", "item": f"{kind}[{ITEM}]", "output": f"{kind}[B, N] y"}
    result = rewrite(ranking("one", body, opset=18, **types, **stored))
    assert ("LayerNormalization" in result.ops) == (kind == "float16")


@pytest.mark.parametrize("style", ["one", "requests"])
def test_neither_of_which_lacks_what_the_other_has(style: str) -> None:
    """The user's have the steps, the candidate's the candidates."""
    body = """i = Unsqueeze (item, one) e = Expand (i, steps) x = Concat <axis = 2> (user, e)
              n = LayerNormalization (x, scale) y = MatMul (n, w)"""
    constants: dict[str, Any] = {
        "one": [1],
        "steps": [1, 5, 1],
        "scale": np.ones(256, np.float32),
        "w": integers(256, HIDDEN),
    }
    types: dict[str, Any] = {"user": "float[5, 192]", "item": "float[64]", "output": "float[B, 5, N] y"}
    model = ranking(style, body, opset=18, **types, **constants)
    result = rewrite(model)
    assert_same(model, result.model, rtol=1e-4)
    assert "LayerNormalization" in result.ops


def test_parts_of_three_kinds() -> None:
    """Of the request, of the candidate, and of both."""
    bounds: dict[str, Any] = {"from": [0], "to": [2]}
    model = parse(
        """g (float[1, 1, 96] user, float[B, 1, 64] item, float[1, 5, 64] seq) => (float[B, 5, 32] y) {
            m = Add (item, seq)
            s = Shape (m)
            lead = Slice (s, from, to)
            full = Concat <axis = 0> (lead, n96)
            full2 = Concat <axis = 0> (lead, n64)
            u = Expand (user, full)
            i = Expand (item, full2)
            x = Concat <axis = 2> (u, i, m)
            n = LayerNormalization (x, scale)
            y = MatMul (n, w)
        }""",
        **bounds,
        n96=[96],
        n64=[64],
        scale=np.ones(224, np.float32),
        w=integers(224, 32),
    )
    result = rewrite(model)
    assert_same(model, result.model, rtol=1e-4)
    assert "LayerNormalization" in result.ops


def test_the_products() -> None:
    """The user's columns once; the items' with one row more, by which the means differ."""
    result = layer("one", "y = MatMul (n, w)", node="LayerNormalization (x, scale)")
    assert [line for line in result.graph if "Gemm" in line] == [
        "user_row.gemm [1 128] = Gemm (user_row.mul, w.user)",
        "item.gemm [B 128] = Gemm (item.concat, w.item, user_row.gemm)",
    ]
