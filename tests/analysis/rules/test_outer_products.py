"""Products of all pairs of columns, times a weight: those of the user's columns go into the weight."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.graphs import MANY, STYLES, Rewritten, integers, ranking, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)

USER, ITEM, WIDTH, OUT = 6, 3, 4, 8
FIELDS = USER + ITEM
TYPES: dict[str, Any] = {
    "user": f"float[{USER}, {WIDTH}]", "item": f"float[{ITEM}, {WIDTH}]", "output": f"float[B, {OUT}, {WIDTH}] y",
}  # fmt: skip
EACH = WIDTH * OUT
"""Multiply-adds for one pair and one candidate."""

PAIRS = {
    "einsum": 'p = Einsum <equation = "bhd,bmd->bhmd"> (x, z)',
    "mul": "l = Unsqueeze (x, two) r = Unsqueeze (z, one) p = Mul (l, r)",
    "turned": "l = Unsqueeze (x, two) r = Unsqueeze (z, one) p = Mul (r, l)",
}
"""All pairs of rows of x and z, as exporters write them."""

PRODUCTS = {
    "conv": "q = Reshape (p, flat) y = Conv (q, kernel, bias)",
    "conv without bias": "q = Reshape (p, flat) y = Conv (q, kernel)",
    "matmul": "q = Reshape (p, flat) t = Transpose <perm = [0, 2, 1]> (q) m = MatMul (t, weight) "
    "a = Add (m, bias) y = Transpose <perm = [0, 2, 1]> (a)",
    "matmul on the left": "q = Reshape (p, flat) y = MatMul (turned, q)",
    "einsum": 'y = Einsum <equation = "bhmd,nhm->bnd"> (p, cube)',
}
"""A sum over all pairs for each of the columns of a weight."""

FIRST = "z = Concat <axis = 1> (user, item) x = Identity (z)"
LATER = "z = Concat <axis = 1> (user, item) u = ReduceSum <keepdims = 1> (user, one) x = Mul (item, u)"
"""A layer whose hidden columns are the fields, and one where they vary with the candidate."""


def layer(style: str, prelude: str, pairs: str, products: str, rows: int) -> Rewritten:
    """A layer of a compressed interaction network: `rows` hidden columns x times all fields z, and a weight."""
    weight = integers(OUT, rows, FIELDS)
    matrix = weight.reshape(OUT, -1)
    body = f"{prelude} {pairs} {products}"
    constants: dict[str, Any] = {
        "flat": [0, rows * FIELDS, WIDTH], "one": [1], "two": [2], "bias": integers(OUT, seed=1),
        "cube": weight, "turned": matrix, "weight": np.ascontiguousarray(matrix.T), "kernel": matrix[:, :, None],
    }  # fmt: skip
    used = set(re.findall(r"\w+", body))
    return rewrite_and_check(ranking(style, body, **TYPES, **{k: v for k, v in constants.items() if k in used}))


def for_each(result: Rewritten) -> int:
    """The multiply-adds of the product for each candidate."""
    counts = [r.macs_after for r in result.remarks if r.rule == "product" and r.tensor in ("y", "m")]
    (macs,) = counts
    assert macs is not None
    return macs // MANY


@styles
@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("products", PRODUCTS)
def test_all_pairs_of_fields(style: str, pairs: str, products: str) -> None:
    """The pairs of two fields of the user are the user's, and each field of the item is multiplied by one weight."""
    result = layer(style, FIRST, PAIRS[pairs], PRODUCTS[products], FIELDS)
    if style == "requests":  # the weight of each request would be one for each candidate
        assert for_each(result) <= FIELDS * FIELDS * EACH
    else:
        assert for_each(result) == (ITEM * ITEM + ITEM) * EACH


@styles
@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("products", PRODUCTS)
def test_pairs_of_what_varies_with_the_fields(style: str, pairs: str, products: str) -> None:
    result = layer(style, LATER, PAIRS[pairs], PRODUCTS[products], ITEM)
    if style == "requests":
        assert for_each(result) == ITEM * FIELDS * EACH
    else:
        assert for_each(result) == (ITEM * ITEM + ITEM) * EACH


@styles
def test_fields_in_turns(style: str) -> None:
    """[u1 i1 u2 i2]: the user's fields are gathered, and so are their rows of the weight."""
    prelude = """
        u1, u2 = Split <axis = 1> (user, halves) i1, i2 = Split <axis = 1> (item, parts)
        z = Concat <axis = 1> (i1, u1, i2, u2) x = Identity (z)
    """
    weight = integers(OUT, FIELDS * FIELDS, 1)
    body = f"{prelude} {PAIRS['einsum']} {PRODUCTS['conv without bias']}"
    constants: dict[str, Any] = {"flat": [0, FIELDS**2, WIDTH], "kernel": weight, "halves": [2, 4], "parts": [1, 2]}
    result = rewrite_and_check(ranking(style, body, **TYPES, **constants))
    if style != "requests":
        assert for_each(result) == (ITEM * ITEM + ITEM) * EACH


@styles
def test_three_operands(style: str) -> None:
    """One Einsum of the fields, the fields again and the weight."""
    body = f'{FIRST} y = Einsum <equation = "bhd,bmd,nhm->bnd"> (x, z, cube)'
    result = rewrite_and_check(ranking(style, body, **TYPES, cube=integers(OUT, FIELDS, FIELDS)))
    if style != "requests":
        assert for_each(result) == (ITEM * ITEM + ITEM) * EACH


@styles
def test_pairs_at_each_place_of_the_embedding(style: str) -> None:
    """As Keras has it: products (D B h 1) @ (D B 1 m), of which the rows are moved back, and a Conv of rows."""
    turned = "<perm = [2, 0, 1]>"
    body = f"""
        z = Concat <axis = 1> (user, item) s = Transpose {turned} (z) l = Unsqueeze (s, three) r = Unsqueeze (s, two)
        p = MatMul (l, r) q = Reshape (p, flat) t = Transpose <perm = [1, 2, 0]> (q) y = Conv (t, kernel)
    """
    constants: dict[str, Any] = {
        "two": [2], "three": [3], "flat": [WIDTH, -1, FIELDS**2], "kernel": integers(OUT, FIELDS**2, 1),
    }  # fmt: skip
    result = rewrite_and_check(ranking(style, body, **TYPES, **constants))
    if style != "requests":
        assert for_each(result) == (ITEM * ITEM + ITEM) * EACH


@styles
@pytest.mark.parametrize("order", ["user, item", "item, user"])
@pytest.mark.parametrize("pairs", ["Mul", "MatMul"])
def test_pairs_of_the_users_columns_with_the_items(style: str, order: str, pairs: str) -> None:
    """An outer product before a Linear, as tensor fusion has it: the user's columns are in the weight of the item's."""
    first, second = order.split(", ")
    body = f"""
        l = Unsqueeze ({first}, two) r = Unsqueeze ({second}, one) p = {pairs} (l, r) q = Flatten (p)
        m = Gemm (q, w, b) y = Relu (m)
    """
    types: dict[str, Any] = {"user": "float[6]", "item": "float[5]", "output": "float[B, 16] y"}
    result = rewrite_and_check(ranking(style, body, **types, w=integers(30, 16), b=integers(16), one=[1], two=[2]))
    if style != "requests":
        assert for_each(result) == 5 * 16


@styles
def test_pairs_of_steps_with_what_varies(style: str) -> None:
    """Each step of the user's history has a weight of its own for the item's columns."""
    body = """
        l = Unsqueeze (user, three) i = Unsqueeze (item, one) r = Unsqueeze (i, two) p = Mul (l, r)
        q = Reshape (p, flat) m = MatMul (q, w) y = Relu (m)
    """
    types: dict[str, Any] = {"user": "float[5, 3]", "item": "float[6]", "output": "float[B, 5, 8] y"}
    constants: dict[str, Any] = {"one": [1], "two": [2], "three": [3], "flat": [0, 5, 18]}
    result = rewrite_and_check(ranking(style, body, **types, **constants, w=integers(18, 8)))
    if style != "requests":
        assert for_each(result) < 5 * 18 * 8


def test_a_weight_for_each_request() -> None:
    """A candidate would need a copy of its request's weight, so that only the pairs of the user's fields are split."""
    result = layer("requests", FIRST, PAIRS["einsum"], PRODUCTS["conv"], FIELDS)
    assert for_each(result) == (FIELDS * FIELDS - USER * USER) * EACH


@pytest.mark.parametrize("style", ["one", "tiled"])
@pytest.mark.parametrize(
    "body",
    [
        "m = Gemm <alpha = 2.0> (q, w)",  # the Gemm scales its product
        "t = Mul (q, half) m = Gemm (t, w)",  # no longer the pairs alone
        "c = Slice (q, one, two, one) e = Slice (q, two, last, one) j = Concat <axis = 1> (e, c) m = Gemm (j, w)",
    ],
)
def test_what_is_no_sum_over_the_pairs(style: str, body: str) -> None:
    body = f"l = Unsqueeze (user, two) r = Unsqueeze (item, one) p = Mul (l, r) q = Flatten (p) {body} y = Relu (m)"
    types: dict[str, Any] = {"user": "float[6]", "item": "float[5]", "output": "float[B, 16] y"}
    constants: dict[str, Any] = {"one": [1], "two": [2], "last": [30], "half": np.float32(0.5)}
    rows = 29 if "Concat" in body else 30
    used = {k: v for k, v in constants.items() if re.search(rf"\b{k}\b", body)}
    result = rewrite_and_check(ranking(style, body, **types, **used, w=integers(rows, 16)))
    assert for_each(result) == rows * 16


def test_the_graph() -> None:
    """The user's columns are multiplied by the weight, once, and the item's by the result."""
    body = "l = Unsqueeze (item, two) r = Unsqueeze (user, one) p = Mul (l, r) q = Flatten (p) y = Gemm (q, w, b)"
    types: dict[str, Any] = {"user": "float[6]", "item": "float[5]", "output": "float[B, 16] y"}
    model = ranking("one", body, **types, w=integers(30, 16), b=integers(16), one=[1], two=[2])
    assert rewrite_and_check(model).graph == [
        "user_row.gemm [1 80] = Gemm (user_row, w.user)",
        "w.item [5 16] = Reshape (user_row.gemm)",
        "y [B 16] = Gemm (item, w.item, b.part)",
    ]
