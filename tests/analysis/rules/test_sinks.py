"""Sinks, and a Softmax that is written out: columns beside the tokens', and a denominator that is computed by itself.

A sink is one more logit in each row. It takes a share of the weights and has no value: gpt-oss learns one for each
head, and a Softmax with 1 in its denominator has one of 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.planning.search import best_plan
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
    said_of_the_mask,
    side_by_side,
    styles,
)
from tests.graphs import MANY, integers, rewrite, rewrite_and_check

KEEP = f"{CAUSAL_MASKS['positions']} m = Where (keep, s, filler)"
BEHIND = "c0 = Concat <axis = 2> (m, z) p0 = Softmax <axis = 2> (c0) p = Slice (p0, start, last_place, two_)"
"""The sink is the last column, which is dropped behind the Softmax."""

IN_FRONT = "c0 = Concat <axis = 2> (z, m) p0 = Softmax <axis = 2> (c0) p = Slice (p0, second, end, two_)"
LESS_THE_LARGEST = """c0 = Concat <axis = 2> (m, z) top = ReduceMax <axes = [2]> (c0) d0 = Sub (c0, top)
    p0 = Softmax <axis = 2> (d0) p = Slice (p0, start, last_place, two_)"""
"""As gpt-oss has it: the largest logit of each row is taken off."""

SINKS = {
    "of a number": """of_rows = Shape <start = 0, end = 2> (s) shape = Concat <axis = 0> (of_rows, one)
        z = Expand (learned, shape)""",
    "of each row": "z = MatMul (x, gate)",
}
PLACES: dict[str, Any] = {
    "start": [0], "last_place": [-1], "second": [1], "end": [2**62], "learned": np.array([[[0.5]]], np.float32),
    "gate": integers(WIDTH, 1, seed=9), "none": np.float32(0), "last_axis": [-1],
}  # fmt: skip


@styles
@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("attention", [BEHIND, IN_FRONT, LESS_THE_LARGEST])
def test_a_sink_of_any_length(style: str, sink: str, attention: str) -> None:
    model = of_any_length(style, f"{SINKS[sink]} {KEEP} {attention}", **PLACES)
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_every_length(model, result)


@styles
@pytest.mark.parametrize("attention", [BEHIND, LESS_THE_LARGEST])
def test_a_sink_under_a_finite_mask(style: str, attention: str) -> None:
    """The largest logit of a row is at least the row's own, and what a filler loses by that is bounded."""
    bounded = f"{CAUSAL_MASKS['positions']} t2 = Tanh (s) m = Where (keep, t2, filler)"
    constants = {**PLACES, "filler": np.float32(-3e38)}
    model = of_any_length(style, f"{SINKS['of a number']} {bounded} {attention}", **constants)
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize("mask", LEAKING_MASKS)
@pytest.mark.parametrize("attention", [BEHIND, LESS_THE_LARGEST])
def test_a_mask_that_leaks_beside_a_sink(mask: str, attention: str) -> None:
    keep = f"{LEAKING_MASKS[mask]} m = Where (keep, s, filler)"
    model = of_any_length("tiled", f"{SINKS['of a number']} {keep} {attention}", **PLACES)
    result = rewrite_and_check(model, **CLOSE)
    assert not history_is_the_users(result)
    check_every_length(model, result)


def test_no_column_of_a_token_is_dropped_for_the_sink() -> None:
    """All but the first column are those of all tokens but the first, and the sink."""
    dropped = BEHIND.replace("start, last_place", "second, end")
    model = of_any_length("tiled", f"{SINKS['of a number']} {KEEP} {dropped}", **PLACES)
    result = rewrite_and_check(model, **CLOSE)
    assert not history_is_the_users(result)
    check_every_length(model, result)


def test_the_largest_of_what_is_not_masked_yet() -> None:
    """It may be the candidate's: a row of which that is far above its own has other weights for each candidate."""
    attention = (
        "top = ReduceMax <axes = [2]> (s) d = Sub (s, top) m = Where (mask, d, filler) p = Softmax <axis = 2> (m)"
    )
    result = rewrite_and_check(model("tiled", attention, mask=CAUSAL, filler=np.float32(-np.inf)), **CLOSE)
    assert not history_is_the_users(result)


@pytest.mark.parametrize(("filler", "hidden"), [(-2.5, True), (-1.5, False)])
def test_the_largest_beside_a_filler_near_it(filler: float, hidden: bool) -> None:
    """Of numbers from -1 to 1, less 2.5 or 1.5: the former are always less than a row's own."""
    attention = """t = Tanh (s) a = Add (t, mask) top = ReduceMax <axes = [2]> (a) d = Sub (t, top)
        m = Where (truth, d, none) p = Relu (m)"""
    constants: dict[str, Any] = {"mask": filled(CAUSAL, filler), "truth": CAUSAL, "none": np.float32(0)}
    result = rewrite_and_check(model("tiled", attention, **constants), **CLOSE)
    assert history_is_the_users(result) == hidden


def test_who_vouches_for_the_scores_vouches_for_the_largest() -> None:
    attention = "a = Add (s, mask) top = ReduceMax <axes = [2]> (a) m = Sub (a, top) p = Softmax <axis = 2> (m)"
    graph = Model(from_proto(model("tiled", attention, mask=filled(CAUSAL, -1e30))))
    for word in (False, True):
        reading = read(graph, roles_of(graph, ["user"], MANY), assume_masked=word)
        context = best_plan(reading, MANY).program.context
        assert list(context.facts.assumed) == (["top", "p"] if word else [])


def test_a_sink_alone_is_no_row_of_the_users() -> None:
    """Nothing is said of the candidate's own row, which sees everything."""
    result = rewrite(of_any_length("tiled", f"{SINKS['of a number']} {KEEP} {BEHIND}", **PLACES))
    assert said_of_the_mask(result) == []


def test_candidates_side_by_side_with_a_sink() -> None:
    attention = f"{SINKS['of a number']} m = Where (keep, s, filler) {BEHIND}"
    model = side_by_side(APART, attention, **PLACES)
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_side_by_side(model, result)
    assert not largest_extent(result)


# A Softmax that is written out

TOP = "top = ReduceMax <axes = [2]> (m) d = Sub (m, top) e = Exp (d) total = ReduceSum (e, last_axis)"
WRITTEN_OUT = {
    "less the largest": f"{TOP} p = Div (e, total)",
    "with 1 in its denominator": f"{TOP} n = Neg (top) w0 = Exp (n) more = Add (total, w0) p = Div (e, more)",
    "as it is": "e = Exp (m) total = ReduceSum (e, last_axis) p = Div (e, total)",
}


@styles
@pytest.mark.parametrize("attention", WRITTEN_OUT)
def test_a_softmax_of_any_length_written_out(style: str, attention: str) -> None:
    model = of_any_length(style, f"{KEEP} {WRITTEN_OUT[attention]}", **PLACES)
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize(("filler", "hidden"), [(-1e9, True), (-106.5, True), (-100.0, False)])
def test_an_exponential_that_is_just_not_0(filler: float, hidden: bool) -> None:
    """exp(-101) is 1e-44, which float32 holds."""
    attention = """t = Tanh (s) m = Where (mask, t, filler) e = Exp (m) total = ReduceSum (e, last_axis)
        p = Div (e, total)"""
    result = rewrite_and_check(
        model("tiled", attention, mask=CAUSAL, filler=np.float32(filler), last_axis=[-1]), **CLOSE
    )
    assert history_is_the_users(result) == hidden


def test_the_products() -> None:
    """The sink is a column of the Softmax, and none of the product."""
    constants = {**PLACES, "mask": filled(CAUSAL, -np.inf), "two_": [2]}
    attention = f"m = Add (s, mask) {SINKS['of a number']} {BEHIND}"
    result = rewrite_and_check(model("one", attention, **constants), **CLOSE)
    assert history_is_the_users(result)
    softmaxes = [line.split(" = ")[0] for line in result.graph if " = Softmax" in line]
    assert softmaxes == ["p0.part [B 1 7]"], "nothing reads the rows of the history"
