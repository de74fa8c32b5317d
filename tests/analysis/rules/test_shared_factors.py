"""Products of fields of the user with fields of the item, times a weight: one weight for each field of the item."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.graphs import MANY, STYLES, Rewritten, integers, ranking, rewrite_and_check

FIELDS, ITEMS, WIDTH, OUT = 5, 3, 16, 64
PAIRS = list(product(range(FIELDS), range(ITEMS)))
TYPES: dict[str, Any] = {"user": f"float[{FIELDS * WIDTH}]", "item": f"float[{ITEMS * WIDTH}]"}
SPLIT = (
    f"{', '.join(f'u{i}' for i in range(FIELDS))} = Split <axis = 1> (user) "
    f"{', '.join(f'i{i}' for i in range(ITEMS))} = Split <axis = 1> (item) "
)
ORDERS = {
    "the user first": " ".join(f"p{u}_{i} = Mul (u{u}, i{i})" for u, i in PAIRS),
    "the item first": " ".join(f"p{u}_{i} = Mul (i{i}, u{u})" for u, i in PAIRS),
}


def names(*more: str) -> str:
    return ", ".join((*(f"p{u}_{i}" for u, i in PAIRS), *more))


def macs_for_each(result: Rewritten) -> float:
    """The multiply-adds of the product for each candidate."""
    (remark,) = [r for r in result.remarks if r.tensor == "y"]
    return (remark.macs_after - remark.macs_before % MANY) / MANY


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("order", ORDERS)
def test_a_field_of_the_item_has_one_weight(style: str, order: str) -> None:
    body = f"{SPLIT} {ORDERS[order]} x = Concat <axis = 1> ({names()}) y = MatMul (x, w)"
    result = rewrite_and_check(ranking(style, body, **TYPES, w=integers(len(PAIRS) * WIDTH, OUT)))
    if style != "requests":  # each candidate would have a copy of its request's weights
        assert "Mul" not in result.ops
        assert macs_for_each(result) < 1.2 * ITEMS * WIDTH * OUT


def test_columns_that_are_no_such_product_stay() -> None:
    more = "p2 = Mul (i0, i1) p3 = Mul (u0, u1) p4 = Relu (i2)"
    body = (
        f"{SPLIT} {ORDERS['the user first']} {more} x = Concat <axis = 1> ({names('p2', 'p3', 'p4')}) y = MatMul (x, w)"
    )
    result = rewrite_and_check(ranking("tiled", body, **TYPES, w=integers((len(PAIRS) + 3) * WIDTH, OUT)))
    assert macs_for_each(result) < 1.2 * (ITEMS + 2) * WIDTH * OUT


def test_fields_as_rows_that_are_cut_and_joined_again() -> None:
    """As in FiBiNET: the pairs are rows (p d) of a matrix, which are split, laid side by side and joined with more."""
    wide = f"""{SPLIT} {ORDERS["the user first"]}
        {" ".join(f"q{u}_{i} = Unsqueeze (p{u}_{i}, one)" for u, i in PAIRS)}
        m = Concat <axis = 1> ({names().replace("p", "q")})
        {names().replace("p", "s")} = Split <axis = 1> (m)
        n = Concat <axis = 2> ({names().replace("p", "s")}) f = Flatten <axis = 1> (n)
        x = Concat <axis = 1> (f, item) y = Gemm (x, w, b)"""
    width = (len(PAIRS) + ITEMS) * WIDTH
    proto = ranking("one", wide, **TYPES, w=integers(width, OUT), b=integers(OUT, seed=1), one=[1])
    result = rewrite_and_check(proto)
    assert "Mul" not in result.ops
    assert macs_for_each(result) < 1.2 * 2 * ITEMS * WIDTH * OUT


def test_one_pair_for_each_field_is_no_group() -> None:
    body = f"{SPLIT} p = Mul (u0, i0) q = Mul (u1, i1) x = Concat <axis = 1> (p, q) y = MatMul (x, w)"
    result = rewrite_and_check(ranking("one", body, **TYPES, w=integers(2 * WIDTH, OUT)))
    assert result.ops.count("Mul") == 2


def test_the_graph() -> None:
    """The weights of the three fields of the item are made by one product."""
    body = f"{SPLIT} {ORDERS['the user first']} x = Concat <axis = 1> ({names()}) y = MatMul (x, w)"
    result = rewrite_and_check(ranking("one", body, **TYPES, w=integers(len(PAIRS) * WIDTH, OUT)))
    assert result.graph == [
        "user_row.concat [1 240] = Concat (user_row, user_row, user_row)",
        "user_row.reshape [3 5 16] = Reshape (user_row.concat)",
        "user_row.transpose [3 16 5] = Transpose (user_row.reshape)",
        "user_row.reshape.2 [3 16 1 5] = Reshape (user_row.transpose)",
        "user_row.matmul [3 16 1 64] = MatMul (user_row.reshape.2, w.part)",
        "w.item [48 64] = Reshape (user_row.matmul)",
        "y [B 64] = Gemm (item, w.item)",
    ]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("interleaved", [False, True])
def test_rows_that_are_picked(style: str, interleaved: bool) -> None:
    """All pairs of rows of [user; item], picked by constants, as field-aware networks are exported."""
    rows = FIELDS + ITEMS
    order = [*range(0, rows, 2), *range(1, rows, 2)] if interleaved else [*range(rows)]
    pairs = [(order[i], order[j]) for i in range(rows) for j in range(i + 1, rows)]
    body = """z = Concat <axis = 1> (user, item) l = Gather <axis = 1> (z, first) r = Gather <axis = 1> (z, second)
        x = Mul (l, r) y = Einsum <equation = "bfe,feu->bu"> (x, w)"""
    types: dict[str, Any] = {"user": f"float[{FIELDS}, {WIDTH}]", "item": f"float[{ITEMS}, {WIDTH}]"}
    constants: dict[str, Any] = {"first": [i for i, _ in pairs], "second": [j for _, j in pairs]}
    proto = ranking(style, body, **types, output=f"float[B, {OUT}] y", w=integers(len(pairs), WIDTH, OUT), **constants)
    result = rewrite_and_check(proto)
    if style != "requests":
        of_items = ITEMS * (ITEMS - 1) // 2
        assert macs_for_each(result) < 1.2 * (ITEMS + of_items) * WIDTH * OUT
