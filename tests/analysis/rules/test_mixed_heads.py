"""Heads of an attention that a weight mixes, before the Softmax or behind it ("talking heads"), and heads apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.analysis.rules.test_blocks import (
    APART,
    CAUSAL,
    CAUSAL_MASKS,
    CLOSE,
    LEAKING_MASKS,
    WIDTH,
    check_every_length,
    check_side_by_side,
    filled,
    history_is_the_users,
    largest_extent,
    model,
    of_any_length,
    side_by_side,
    styles,
)
from tests.graphs import integers, rewrite_and_check

HEADS = 2
IN_HEADS = " ".join(
    f"{to}4 = Reshape ({to}, by_heads) {to}h = Transpose <perm = [0, 2, 1, 3]> ({to}4)" for to in ("q", "k", "v")
)
SCORES = f"{IN_HEADS} kht = Transpose <perm = [0, 1, 3, 2]> (kh) sh = MatMul (qh, kht)"
SUMMED = "ch = MatMul (p, vh) ct = Transpose <perm = [0, 2, 1, 3]> (ch) c = Reshape (ct, merged)"
CONSTANTS: dict[str, Any] = {
    "by_heads": [0, 0, HEADS, WIDTH // HEADS], "merged": [0, 0, WIDTH], "talk": integers(HEADS, HEADS, seed=7),
    "kernel": integers(HEADS, HEADS, 1, 1, seed=7), "bias": integers(HEADS, seed=8), "zero": np.float32(0),
    "tiny": np.float32(0.125),
}  # fmt: skip

MIXED = {
    "a product": """{0}_t = Transpose <perm = [0, 2, 3, 1]> ({0}) {0}_m = MatMul ({0}_t, talk)
        {1} = Transpose <perm = [0, 3, 1, 2]> ({0}_m)""",
    "an equation": '{1} = Einsum <equation = "bhij,hk->bkij"> ({0}, talk)',
    "an equation, weight first": '{1} = Einsum <equation = "hk,bhij->bkij"> (talk, {0})',
    "a convolution": "{1} = Conv ({0}, kernel)",
}


def mixed(how: str, source: str, result: str) -> str:
    return MIXED[how].format(source, result)


@styles
@pytest.mark.parametrize("how", MIXED)
def test_heads_that_are_mixed_before_the_mask(style: str, how: str) -> None:
    attention = f"{SCORES} {mixed(how, 'sh', 's2')} u = Relu (s2) p = Mul (u, mask)"
    result = rewrite_and_check(model(style, attention, summed=SUMMED, mask=CAUSAL.astype(np.float32), **CONSTANTS))
    assert history_is_the_users(result)


@styles
@pytest.mark.parametrize("how", MIXED)
def test_heads_that_are_mixed_behind_the_mask(style: str, how: str) -> None:
    """Zeros in every head are zeros in every mixture."""
    attention = f"{SCORES} u = Relu (sh) a = Mul (u, mask) {mixed(how, 'a', 'p')}"
    result = rewrite_and_check(model(style, attention, summed=SUMMED, mask=CAUSAL.astype(np.float32), **CONSTANTS))
    assert history_is_the_users(result)


def of_heads(mask: str, how: str = "a product", style: str = "tiled") -> onnx.ModelProto:
    """Heads that are mixed before a Softmax and behind it, for a history of any length."""
    attention = f"""{SCORES} small = Mul (sh, tiny) {mixed(how, "small", "s2")} {mask} m = Where (keep, s2, filler)
        a = Softmax <axis = 3> (m) {mixed(how, "a", "p")}"""
    return of_any_length(style, attention, summed=SUMMED, **CONSTANTS)


@styles
@pytest.mark.parametrize("how", ["a product", "an equation"])
def test_heads_of_any_length(style: str, how: str) -> None:
    model = of_heads(CAUSAL_MASKS["positions"], how, style)
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize("mask", [mask for mask in LEAKING_MASKS if mask != "padding alone"])
def test_a_mask_of_mixed_heads_that_leaks(mask: str) -> None:
    model = of_heads(LEAKING_MASKS[mask])
    result = rewrite_and_check(model, **CLOSE)
    assert not history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize(("bias_behind", "proved"), [(False, True), (True, False)])
def test_a_bias_gives_what_was_hidden_a_weight(bias_behind: bool, proved: bool) -> None:
    attention = f"""{SCORES} {mixed("a product", "sh", "s2")} st = Transpose <perm = [0, 2, 3, 1]> (s2)
        sx = Add (st, bias) sb = Transpose <perm = [0, 3, 1, 2]> (sx) u = Relu (sb) a = Mul (u, mask)
        {mixed("a product", "a", "a0")}"""
    if bias_behind:
        attention += """ wt2 = Transpose <perm = [0, 2, 3, 1]> (a0) wa = Add (wt2, bias)
            p = Transpose <perm = [0, 3, 1, 2]> (wa)"""
    else:
        attention += " p = Identity (a0)"
    result = rewrite_and_check(model("tiled", attention, summed=SUMMED, mask=CAUSAL.astype(np.float32), **CONSTANTS))
    assert history_is_the_users(result) == proved


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_bias_of_the_node(transposed: int) -> None:
    """Gemm, of all entries as rows."""
    attention = f"""{SCORES} st = Transpose <perm = [0, 2, 3, 1]> (sh) rows = Reshape (st, as_rows)
        g = Gemm <transB = {transposed}> (rows, talk, bias) shape = Shape (st) gs = Reshape (g, shape)
        s2 = Transpose <perm = [0, 3, 1, 2]> (gs) u = Relu (s2) p = Mul (u, mask)"""
    constants = {**CONSTANTS, "as_rows": [-1, HEADS], "mask": CAUSAL.astype(np.float32)}
    result = rewrite_and_check(model("tiled", attention, summed=SUMMED, **constants))
    assert history_is_the_users(result)


def test_the_tokens_are_not_mixed_as_heads_are() -> None:
    """A weight along the columns adds them up: each has seen the candidate."""
    attention = "u = Relu (s) a = Mul (u, mask) p = MatMul (a, columns)"
    constants: dict[str, Any] = {"mask": CAUSAL.astype(np.float32), "columns": integers(*CAUSAL.shape, seed=5)}
    result = rewrite_and_check(model("tiled", attention, **constants))
    parts = result.program.values["c"].parts
    assert parts is None or history_is_the_users(result)


@styles
def test_pairs_of_heads_subtracted(style: str) -> None:
    """Differential attention: the weights of one head less those of another."""
    attention = f"""{SCORES} m = Add (sh, mask) a = Softmax <axis = 3> (m)
        w1 = Slice (a, zero_, one, one) w2 = Slice (a, one, two_, one) p = Sub (w1, w2)"""
    constants = {**CONSTANTS, "mask": filled(CAUSAL, -np.inf), "zero_": [0], "two_": [2]}
    result = rewrite_and_check(model(style, attention, summed=SUMMED, **constants), **CLOSE)
    assert history_is_the_users(result)


def test_mixed_heads_of_candidates_side_by_side() -> None:
    """A diagonal is mixed as a block is, and no pair of candidates has an entry."""
    attention = f"{SCORES} {mixed('a product', 'sh', 's2')} u = Relu (s2) hidden = Where (keep, u, zero)"
    attention += f" {mixed('a product', 'hidden', 'p')}"
    model = side_by_side(APART, attention, summed=SUMMED, **CONSTANTS)
    result = rewrite_and_check(model)
    assert history_is_the_users(result)
    check_side_by_side(model, result)
    assert not largest_extent(result)


def test_the_products() -> None:
    """The candidate's row has weights for 5 tokens and its own; those of the history's rows are read by nobody."""
    attention = f"{SCORES} u = Relu (sh) a = Mul (u, mask) {mixed('a product', 'a', 'p')}"
    result = rewrite_and_check(model("one", attention, summed=SUMMED, mask=CAUSAL.astype(np.float32), **CONSTANTS))
    assert [line.split(" (")[0] for line in result.graph if "talk" in line] == [
        "item.matmul.6 [B 1 5 2] = MatMul",
        "item.matmul.7 [B 1 1 2] = MatMul",
    ]
