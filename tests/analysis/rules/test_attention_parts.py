"""The Attention operator over the user's tokens and the candidate's, with masks of each kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.reasons import side
from tests.analysis.rules.test_blocks import CAUSAL, CLOSE, filled, history_is_the_users, model
from tests.graphs import MANY, STYLES, Rewritten, integers, ranking, rewrite_and_check

HEADS = "q_num_heads = 2, kv_num_heads = 2"
PADDING = """first = Gather <axis = 2> (user, zero_place) there = Greater (first, number)
    n = Shape <end = 1> (item) rows = Concat <axis = 0> (n, one) always = Expand (true, rows)
    all_there = Concat <axis = 1> (there, always) there4 = Unsqueeze (all_there, one_two) both = And (mask, there4)"""
OF_PADDING: dict[str, Any] = {"zero_place": np.array(0), "number": np.float32(0), "one_two": [1, 2], "true": [[True]]}


def of_operator(node: str, before: str = "", style: str = "tiled", **constants: Any) -> Rewritten:
    """The layer with an Attention in the place of scores, weights and their product."""
    return rewrite_and_check(model(style, before, summed=f"c = {node}", opset=23, **constants), **CLOSE)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("scale", ["", ", scale = 0.3"])
def test_a_causal_operator(style: str, scale: str) -> None:
    result = of_operator(f"Attention <{HEADS}, is_causal = 1{scale}> (q, k, v)", style=style)
    assert history_is_the_users(result)


@pytest.mark.parametrize("mask", [CAUSAL, filled(CAUSAL, -np.inf)], ids=["boolean", "float"])
def test_a_mask(mask: Any) -> None:
    assert history_is_the_users(of_operator(f"Attention <{HEADS}> (q, k, v, mask)", mask=mask))


def test_no_mask_proves_nothing() -> None:
    assert not history_is_the_users(of_operator(f"Attention <{HEADS}> (q, k, v)"))


def test_fewer_heads_of_keys() -> None:
    node = "Attention <q_num_heads = 2, kv_num_heads = 1, is_causal = 1> (q, k1, v1)"
    before = "k1, k2 = Split <axis = 2, num_outputs = 2> (k) v1, v2 = Split <axis = 2, num_outputs = 2> (v)"
    assert history_is_the_users(of_operator(node, before, wq=integers(4, 4) / 8))


def test_a_row_that_attends_to_nothing_is_0() -> None:
    """As the operator has it; a Softmax of its logits would be NaN."""
    result = of_operator(f"Attention <{HEADS}> (q, k, v, both)", PADDING, mask=CAUSAL, **OF_PADDING)
    assert history_is_the_users(result)
    assert "ReduceMax" in result.ops


@pytest.mark.parametrize("filler", [None, -np.inf, -1e9], ids=["boolean", "infinite", "finite"])
@pytest.mark.parametrize("mask", [CAUSAL.T, np.ones_like(CAUSAL)], ids=["later tokens", "none"])
def test_a_mask_and_a_causal_one(filler: float | None, mask: Any) -> None:
    """Of the later tokens a causal mask leaves each row its own."""
    given = mask if filler is None else filled(mask, filler)
    result = of_operator(f"Attention <{HEADS}, is_causal = 1> (q, k, v, mask)", mask=given)
    assert history_is_the_users(result)


@pytest.mark.parametrize("filler", [None, -np.inf], ids=["boolean", "float"])
def test_two_masks_may_leave_a_row_nothing(filler: float | None) -> None:
    """The first token sees none before it."""
    earlier = np.tri(len(CAUSAL), k=-1, dtype=np.bool_) | (np.arange(len(CAUSAL)) == 5)
    given = earlier if filler is None else filled(earlier, filler)
    result = of_operator(f"Attention <{HEADS}, is_causal = 1> (q, k, v, mask)", mask=given)
    assert history_is_the_users(result)
    assert "ReduceMax" in result.ops


@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_scores_that_are_capped(cap: float) -> None:
    assert history_is_the_users(of_operator(f"Attention <{HEADS}, is_causal = 1, softcap = {cap}> (q, k, v)"))


def test_a_cap_bounds_what_a_finite_mask_hides() -> None:
    node = f"Attention <{HEADS}, softcap = 2.0> (q, k, v, mask)"
    assert history_is_the_users(of_operator(node, mask=filled(CAUSAL, -1e9)))


WITH_WINDOWS = pytest.mark.skipif(
    "left_window_size" not in onnx.defs.get_schema("Attention", 25).attributes,
    reason="before 1.23 onnx knows no windows of Attention",
)


@WITH_WINDOWS
@pytest.mark.parametrize(
    ("causal", "left", "right"), [(1, 0, -1), (1, 2, 1), (0, 2, 0), (0, -1, 0), (0, 2, 1), (0, 2, -1)]
)
def test_windows(causal: int, left: int, right: int) -> None:
    """A token sees some to its left and some to its right; the history does not see the candidate if it sees none."""
    node = (
        f"Attention <{HEADS}, is_causal = {causal}, left_window_size = {left}, right_window_size = {right}> (q, k, v)"
    )
    result = rewrite_and_check(model("tiled", "", summed=f"c = {node}", opset=25), **CLOSE)
    assert history_is_the_users(result) == (causal == 1 or right == 0)


@WITH_WINDOWS
def test_a_window_may_leave_a_row_nothing() -> None:
    """Five queries and two keys: the last queries are too far behind the keys."""
    body = f"""first = Gather <axis = 1> (user, none) last = Unsqueeze (item, one)
        both = Concat <axis = 1> (first, last) a = Attention <{HEADS}, left_window_size = 1> (user, both, both)
        y = Flatten (a)"""
    result = rewrite_and_check(
        ranking("tiled", body, user="float[5, 4]", item="float[4]", opset=25, one=[1], none=[0]), **CLOSE
    )
    assert "ReduceMax" in result.ops


@pytest.mark.parametrize("precision", [1, 10, 11])
def test_the_precision_of_the_softmax(precision: int) -> None:
    """One in fewer digits stays as it is, although onnxruntime computes it in float32."""
    node = f"Attention <{HEADS}, is_causal = 1, softmax_precision = {precision}> (q, k, v)"
    assert history_is_the_users(of_operator(node)) == (precision != 10)


def test_scores_that_are_an_output_are_not_written_out() -> None:
    """Four outputs: y, both caches and the scores."""
    summed = f"c, ks, vs, qk = Attention <{HEADS}, is_causal = 1> (q, k, v)"
    result = rewrite_and_check(model("tiled", "", summed=summed, opset=23), **CLOSE)
    assert not history_is_the_users(result)


# A cache: past keys and values

CACHED = """h = Reshape (user, heads) past = Transpose <perm = [0, 2, 1, 3]> (h) x = Reshape (item, tokens)
    q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)"""
"""A history of 20 tokens of 16 columns, and one of each candidate."""


def of_cache(style: str, node: str, after: str, output: str = "float[B, 2] y", **constants: Any) -> Rewritten:
    given: dict[str, Any] = {name: integers(16, 16, seed=i) / 32 for i, name in enumerate(("wq", "wk", "wv"))}
    given |= {"heads": [-1, 20, 2, 8], "tokens": [-1, 1, 16], "w": integers(16, 2), **constants}
    body = f"{CACHED} {node} f = Flatten (c) y = MatMul (f, w) {after}"
    graph = ranking(style, body, user="float[20, 16]", item="float[16]", output=output, opset=23,
                    **{name: a for name, a in given.items() if name in body})  # fmt: skip
    return rewrite_and_check(graph, **CLOSE)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("attributes", ["", ", is_causal = 1", ", softcap = 3.0"])
def test_candidates_meet_a_cache_of_the_request(style: str, attributes: str) -> None:
    result = of_cache(style, f"c, pk, pv = Attention <{HEADS}{attributes}> (q, k, v, , past, past)", "")
    assert "Attention" not in result.ops
    joined = [line.split(" = ")[0].split(" ", 1)[1] for line in result.graph if " = Concat" in line]
    (said,) = [remark for remark in result.remarks if remark.op_type == "Attention"]
    assert said.macs_before == MANY * 16 * 21 * 2, "scores of 21 keys, and as many values"
    assert style == "requests" or joined == ["[B 2 1 21]"], "of logits, and of no keys"


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("causal", [0, 1])
def test_a_mask_of_past_and_new_tokens(style: str, causal: int) -> None:
    mask = np.arange(21).reshape(1, 21) % 3 != 0
    node = f"c, pk, pv = Attention <{HEADS}, is_causal = {causal}> (q, k, v, mask, past, past)"
    assert "Attention" not in of_cache(style, node, "", mask=mask).ops


@pytest.mark.parametrize("style", STYLES)
def test_keys_of_the_past_and_new_ones_are_an_output(style: str) -> None:
    node = f"c, pk, pv = Attention <{HEADS}, is_causal = 1> (q, k, v, , past, past)"
    result = of_cache(
        style, node, "z = Neg (pk) z2 = Neg (pv)", "float[B, 2] y, float[B, 2, 21, 8] z, float[B, 2, 21, 8] z2"
    )
    assert "Attention" not in result.ops
    parts = result.program.values["pk"].parts
    assert parts is not None
    assert side(result.program.context, parts.pieces[0][1]) == "user"


def test_the_products() -> None:
    result = of_operator(f"Attention <{HEADS}, is_causal = 1> (q, k, v)", style="one")
    assert "Attention" not in result.ops
    assert "Expand" not in result.ops
    shapes = [line.split(" = ")[0].split(" ", 1)[1] for line in result.graph if " = Softmax" in line]
    assert shapes == ["[B 2 1 6]"]


# Domain com.microsoft


def of_fused(style: str, summed: str, **constants: Any) -> Rewritten:
    graph = model(style, "", summed=f"c = com.microsoft.MultiHeadAttention {summed}", **constants)
    graph.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return rewrite_and_check(graph, **CLOSE)


@pytest.mark.parametrize("style", STYLES)
def test_a_fused_operator_with_a_mask(style: str) -> None:
    mask = filled(CAUSAL, -np.inf)[None, None]
    assert history_is_the_users(of_fused(style, "<num_heads = 2> (q, k, v, , , mask)", mask=mask))


@pytest.mark.parametrize("attributes", ["", ", scale = 0.3"])
def test_a_fused_operator_that_is_causal(attributes: str) -> None:
    assert history_is_the_users(of_fused("tiled", f"<num_heads = 2, unidirectional = 1{attributes}> (q, k, v)"))


def test_what_a_fused_operator_stays_with() -> None:
    """A bias of the projections; two masks, which may leave a row no column; no mask at all."""
    mask = filled(CAUSAL, -np.inf)[None, None]
    assert not history_is_the_users(of_fused("tiled", "<num_heads = 2> (q, k, v)"))
    both = of_fused("tiled", "<num_heads = 2, unidirectional = 1> (q, k, v, , , mask)", mask=mask)
    assert not history_is_the_users(both)
    bias = np.ones(12, np.float32)
    assert not history_is_the_users(of_fused("tiled", "<num_heads = 2> (q, k, v, b, , mask)", mask=mask, b=bias))


PROJECTED: dict[str, Any] = {"wqkv": integers(4, 12) / 4, "bqkv": integers(12) / 4}


def of_projecting(style: str, attributes: str, inputs: str = "", before: str = "", **constants: Any) -> Rewritten:
    """Attention of com.microsoft, which multiplies the tokens by one weight of queries, keys and values."""
    node = f"{before} c = com.microsoft.Attention <num_heads = 2{attributes}> (x, wqkv, bqkv{inputs})"
    graph = model(style, "", summed=node, **{**PROJECTED, **constants})
    graph.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return rewrite_and_check(graph, **CLOSE)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("attributes", ["", ", scale = 0.3", ", qkv_hidden_sizes = [4, 4, 4]"])
def test_projections_of_a_causal_operator(style: str, attributes: str) -> None:
    result = of_projecting(style, f", unidirectional = 1{attributes}")
    assert history_is_the_users(result)
    assert "Attention" not in result.ops


@pytest.mark.parametrize("opset", [10, 11, 12])
def test_projections_of_older_models(opset: int) -> None:
    """Before opset 12 there is no LessOrEqual, and before 11 no Range."""
    body = """i = Unsqueeze <axes = [1]> (item) x = Concat <axis = 1> (user, i)
        c = com.microsoft.Attention <num_heads = 2, unidirectional = 1> (x, wqkv, bqkv)
        last = Gather <axis = 1> (c, place) y = MatMul (last, w)"""
    graph = ranking("tiled", body, user="float[5, 4]", item="float[4]", opset=opset, place=np.array(5),
                    w=integers(4, 2), domains=', "com.microsoft" : 1', **PROJECTED)  # fmt: skip
    assert history_is_the_users(rewrite_and_check(graph, **CLOSE)) == (opset > 10)


def test_projections_of_different_widths() -> None:
    wide: dict[str, Any] = {"wqkv": integers(4, 14) / 4, "bqkv": integers(14) / 4, "wo": integers(6, 4)}
    assert history_is_the_users(of_projecting("tiled", ", unidirectional = 1, qkv_hidden_sizes = [4, 4, 6]", **wide))


OF_IDS = """first = Gather <axis = 2> (user, zero_place) there = Greater (first, number)
    n = Shape <end = 1> (item) of_rows = Concat <axis = 0> (n, one) always = Expand (true, of_rows)
    all_there = Concat <axis = 1> (there, always) kept = Cast <to = 6> (all_there)"""


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("filler", ["", ", mask_filter_value = -7.0"])
def test_projections_under_padding_and_a_causal_mask(style: str, filler: str) -> None:
    """Padding is a finite number, so that each token sees itself at least."""
    given = {name: a for name, a in OF_PADDING.items() if name != "one_two"}
    result = of_projecting(style, f", unidirectional = 1{filler}", ", kept", OF_IDS, **given)
    assert history_is_the_users(result)


def test_projections_under_padding_alone_see_the_candidate() -> None:
    given = {name: a for name, a in OF_PADDING.items() if name != "one_two"}
    assert not history_is_the_users(of_projecting("tiled", "", ", kept", OF_IDS, **given))


def test_projections_under_a_mask_of_rows() -> None:
    """Where the mask is 0 it adds -10000, which says nothing without a bound of the scores."""
    mask = np.broadcast_to(CAUSAL, (1, 6, 6)).astype(np.int32)
    before = "n = Shape <end = 1> (x) each = Concat <axis = 0> (n, six_six) kept = Expand (mask, each)"
    result = of_projecting("tiled", "", ", kept", before, mask=mask, six_six=[6, 6])
    assert not history_is_the_users(result)
