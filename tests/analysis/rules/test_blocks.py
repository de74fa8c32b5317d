"""One sequence of the user's tokens and the candidate's: what a mask proves, and what it does not."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

import mari_onnx
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.analysis.reasons import side
from mari_onnx.document.graph_view import Model
from mari_onnx.document.provenance import assumed
from mari_onnx.document.read import from_proto
from mari_onnx.planning.search import best_plan
from tests.graphs import (
    MANY,
    REQUESTS,
    STYLES,
    Rewritten,
    Session,
    index,
    integers,
    parse,
    ranking,
    rewrite,
    rewrite_and_check,
)
from tests.notes import said

styles = pytest.mark.parametrize("style", STYLES)
CLOSE: dict[str, Any] = {"rtol": 1e-5}
"""Softmax is not exact."""

LENGTH, WIDTH = 5, 4
TOKENS = LENGTH + 1
CAUSAL = np.tri(TOKENS, dtype=np.bool_)
Mask = npt.NDArray[np.bool_]

SEQUENCE = """one_token = Unsqueeze (item, one) x = Concat <axis = 1> (user, one_token)
    q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
    kt = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, kt)"""
SUMMED = "c = MatMul (p, v)"
READ = "o = MatMul (c, wo) h = Add (x, o) last = Gather <axis = 1> (h, place) y = MatMul (last, w)"
ADDED = "m = Add (s, mask) p = Softmax <axis = -1> (m)"
CHOSEN = "m = Where (mask, s, filler) p = Softmax <axis = -1> (m)"


def model(style: str, attention: str, *, summed: str = SUMMED, opset: int = 17, **constants: Any) -> onnx.ModelProto:
    """A layer of attention over the user's tokens and the item's; its output is read at the last token."""
    weights = {name: integers(WIDTH, WIDTH, seed=i) for i, name in enumerate(("wq", "wk", "wv", "wo"))}
    given: dict[str, Any] = {"one": [1], "place": np.array(-1), "w": integers(WIDTH, 2), **weights, **constants}
    body = f"{SEQUENCE} {attention} {summed} {READ}"
    used = {name: a for name, a in given.items() if name in body}
    return ranking(style, body, user=f"float[{LENGTH}, {WIDTH}]", item=f"float[{WIDTH}]", opset=opset, **used)


def filled(mask: Mask, filler: float) -> npt.NDArray[np.float32]:
    return np.where(mask, 0, filler).astype(np.float32)


def said_of_the_mask(result: Rewritten) -> list[str]:
    """The next steps of the remarks on a Softmax whose mask proves nothing."""
    return [r.next_step or "" for r in result.program.context.remarks if r.rule == "blocks"]


def history_is_the_users(result: Rewritten, name: str = "c") -> bool:
    """Whether the rows of the history, all of them, lack the candidates."""
    parts = result.program.values[name].parts
    return parts is not None and [side(result.program.context, a) for _, a in parts.pieces] == ["user", "item"]


# What a mask proves


@styles
@pytest.mark.parametrize("filler", [-np.inf, -1e30])
def test_a_causal_mask_makes_the_history_the_users(style: str, filler: float) -> None:
    """Chosen by Where, a logit is the filler itself. A user's logit is far above it, as its own are bounded: tanh."""
    bounded = "t = Tanh (s) m = Where (mask, t, filler) p = Softmax <axis = -1> (m)"
    result = rewrite_and_check(model(style, bounded, mask=CAUSAL, filler=np.float32(filler)), **CLOSE)
    assert history_is_the_users(result)


@styles
def test_an_infinite_mask_needs_no_bound(style: str) -> None:
    result = rewrite_and_check(model(style, ADDED, mask=filled(CAUSAL, -np.inf)), **CLOSE)
    assert history_is_the_users(result)
    assert history_is_the_users(result, "h")
    assert said_of_the_mask(result) == []


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.ones_like(CAUSAL), id="none"),
        pytest.param(CAUSAL.T, id="transposed"),
        pytest.param(CAUSAL | (np.indices(CAUSAL.shape) == [[[2]], [[LENGTH]]]).all(0), id="one leak"),
    ],
)
def test_a_mask_that_leaks_proves_nothing(mask: Mask) -> None:
    result = rewrite_and_check(model("tiled", ADDED, mask=filled(mask, -np.inf)), **CLOSE)
    assert not history_is_the_users(result)
    assert [said.split(" that")[0] for said in said_of_the_mask(result)] == ["export with a causal mask of -inf"]


def test_a_finite_mask_proves_nothing_about_scores_of_any_size() -> None:
    for masked in (model("tiled", ADDED, mask=filled(CAUSAL, -1e9)),
                   model("tiled", CHOSEN, mask=CAUSAL, filler=np.float32(-1e9))):  # fmt: skip
        result = rewrite(masked)
        assert not history_is_the_users(result)
        assert [said.split(",")[0] for said in said_of_the_mask(result)] == ["--assume-masked"]


def test_the_caller_may_vouch_for_the_size() -> None:
    graph = Model(from_proto(model("tiled", ADDED, mask=filled(CAUSAL, -1e9))))
    reading = read(graph, roles_of(graph, ["user"], MANY), assume_masked=True)
    context = best_plan(reading, MANY).program.context
    assert list(context.facts.assumed) == ["p"]


def test_what_was_vouched_for_is_reported_and_kept_to_when_verifying() -> None:
    """Features near 1e6 would make scores of 1e12, beside which -1e9 masks nothing."""
    graph = model("tiled", ADDED, mask=filled(CAUSAL, -1e9))
    result = mari_onnx.optimize(graph, user_inputs="user", batch=MANY, assume_masked=True)
    found = result.report.verification
    assert found is not None
    assert found.passed
    assert result.report.assumed == ("p",)
    assert assumed(result.model) == ("p",)
    assert {"far", "large"} <= {one.case for one in found.differences}
    assert any("--assume-masked" in note for note in said(found.notes))


def test_a_mask_that_is_just_not_far_enough() -> None:
    """exp(-90) is 8e-40, which float32 holds."""
    bounded = "t = Tanh (s) m = Add (t, mask) p = Softmax <axis = -1> (m)"
    assert history_is_the_users(rewrite(model("tiled", bounded, mask=filled(CAUSAL, -110.0))))
    assert not history_is_the_users(rewrite(model("tiled", bounded, mask=filled(CAUSAL, -90.0))))


def test_a_row_whose_tokens_may_all_be_masked() -> None:
    """Padding on the left: under a finite mask such a row attends to all tokens alike, the candidate's among them."""
    attention = """first = Gather <axis = 2> (x, zero_place) there = Greater (first, number)
        there3 = Unsqueeze (there, one) both = And (mask, there3)
        t = Tanh (s) m = Where (both, t, filler) p = Softmax <axis = -1> (m)"""
    constants: dict[str, Any] = {"zero_place": np.array(0), "number": np.float32(0), "mask": CAUSAL}
    finite = rewrite_and_check(model("tiled", attention, filler=np.float32(-1e30), **constants), **CLOSE)
    assert not history_is_the_users(finite)
    infinite = rewrite(model("tiled", attention, filler=np.float32(-np.inf), **constants))
    assert history_is_the_users(infinite)
    own = attention.replace("t = Tanh", "seen = Or (both, eye) t = Tanh").replace("Where (both", "Where (seen")
    constants["eye"] = np.eye(TOKENS, dtype=np.bool_)
    assert history_is_the_users(rewrite_and_check(model("one", own, filler=np.float32(-1e30), **constants), **CLOSE))


@styles
@pytest.mark.parametrize("attention", ["p = Mul (r, mask)", "p = Where (truth, r, none)"])
def test_a_nonlinearity_without_a_denominator(style: str, attention: str) -> None:
    """After SiLU or Relu a mask of zeros is enough, and whole numbers stay exact."""
    constants: dict[str, Any] = {"mask": CAUSAL.astype(np.float32), "truth": CAUSAL, "none": np.float32(0)}
    result = rewrite_and_check(model(style, f"r = Relu (s) {attention}", **constants))
    assert history_is_the_users(result)


@styles
@pytest.mark.parametrize(
    ("triangle", "proved"),
    [
        ("Trilu <upper = 0> (r)", True),
        ("Trilu <upper = 0> (r, minus)", True),
        ("Trilu <upper = 0> (r, plus)", False),
        ("Trilu <upper = 0> (r, far)", False),
        ("Trilu (r)", False),
        ("Trilu (r, minus)", False),
    ],
)
def test_a_triangle_of_weights(style: str, triangle: str, proved: bool) -> None:
    """Of HSTU's scores, which no denominator has seen: on the other side of a diagonal they are 0."""
    attention = f"r = Relu (s) p = {triangle}"
    result = rewrite_and_check(model(style, attention, minus=np.array(-1), plus=np.array(1), far=np.array(2**62)))
    assert history_is_the_users(result) == proved


@styles
def test_a_softmax_by_its_logarithm(style: str) -> None:
    attention = "m = Add (s, mask) l = LogSoftmax <axis = -1> (m) p = Exp (l)"
    result = rewrite_and_check(model(style, attention, mask=filled(CAUSAL, -np.inf)), **CLOSE)
    assert history_is_the_users(result)


def test_a_logarithm_of_almost_nothing_is_finite() -> None:
    """The weight of a logit of -1e9 is 0, and the logarithm of a LogSoftmax is not that of 0: y has numbers near it."""
    attention = "t = Tanh (s) m = Where (mask, t, filler) p = LogSoftmax <axis = -1> (m)"
    result = rewrite_and_check(model("tiled", attention, mask=CAUSAL, filler=np.float32(-1e9)), **CLOSE)
    assert not history_is_the_users(result)


@styles
@pytest.mark.parametrize(("scores", "mixed"), [("bqd,bkd->bqk", "bqk,bkd->bqd"), ("bqd,bkd->bkq", "bkq,bkd->bdq")])
def test_products_as_einsum(style: str, scores: str, mixed: str) -> None:
    """Letters in any order: scores are turned, and so is their mask, and the rows of the result are."""
    turned = scores.endswith("kq")
    attention = f"""t = Einsum <equation = "{scores}"> (q, k) a = Tanh (t) p = Mul (a, mask)
        e = Einsum <equation = "{mixed}"> (p, v)"""
    summed = "c = Transpose <perm = [0, 2, 1]> (e)" if turned else "c = Identity (e)"
    mask = CAUSAL.astype(np.float32)
    result = rewrite_and_check(model(style, attention, summed=summed, mask=mask.T if turned else mask), **CLOSE)
    assert history_is_the_users(result)
    assert "Einsum" not in result.ops
    assert {r.op_type for r in result.remarks if r.node == "" and r.rule == "product"} >= {"Einsum"}


OUTER = """first = Gather <axis = 2> (x, zero_place) down = Unsqueeze (first, two) across = Unsqueeze (first, one)
    apart = Sub (down, across) far = Abs (apart) near = Clip (far, least, most) bucket = Cast <to = 7> (near)
    table_of = Gather (table, bucket) bias = Squeeze (table_of, three)"""
OF_OUTER: dict[str, Any] = {
    "zero_place": np.array(0), "two": [2], "three": [3], "least": np.float32(0), "most": np.float32(2),
    "table": np.array([[0], [1], [2]], np.float32),
}  # fmt: skip


@styles
@pytest.mark.parametrize("difference", ["Sub (down, across)", "Sub (across, down)"])
def test_a_bias_of_each_pair_of_tokens(style: str, difference: str) -> None:
    """Of a time between them, say: rows minus columns are cut into blocks, and so is what is looked up by that."""
    outer = OUTER.replace("Sub (down, across)", difference)
    attention = f"{outer} biased = Add (s, bias) a = Relu (biased) p = Mul (a, mask)"
    result = rewrite_and_check(model(style, attention, mask=CAUSAL.astype(np.float32), **OF_OUTER))
    assert history_is_the_users(result)


@styles
@pytest.mark.parametrize("keep", [0, 1])
def test_a_denominator_of_its_own(style: str, keep: int) -> None:
    """Linear attention: the weights of each row are added up behind the mask. A factor keeps the numbers exact."""
    attention = f"""a = Relu (s) p0 = Mul (a, mask) total = ReduceSum <keepdims = {keep}> (p0, last_axis)
        {"n = Identity (total)" if keep else "n = Unsqueeze (total, last_axis)"} p = Mul (p0, n)"""
    result = rewrite_and_check(model(style, attention, mask=CAUSAL.astype(np.float32), last_axis=[-1]))
    assert history_is_the_users(result)


def test_a_denominator_that_has_seen_the_candidate() -> None:
    attention = "a = Relu (s) total = ReduceSum (a, last_axis) p0 = Mul (a, mask) p = Mul (p0, total)"
    result = rewrite_and_check(model("tiled", attention, mask=CAUSAL.astype(np.float32), last_axis=[-1]))
    assert not history_is_the_users(result)


def test_zeros_behind_a_softmax_prove_nothing() -> None:
    """Its denominator has seen the candidate."""
    attention = "r = Softmax <axis = -1> (s) p = Mul (r, mask)"
    result = rewrite_and_check(model("tiled", attention, mask=CAUSAL.astype(np.float32)), **CLOSE)
    assert not history_is_the_users(result)


# How it is computed


def test_the_products() -> None:
    """The keys and values of the history are shared; the candidate's own key and value come beside them."""
    result = rewrite_and_check(model("one", ADDED, mask=filled(CAUSAL, -np.inf)), **CLOSE)
    products = [line.split(" (")[0] for line in result.graph if " = MatMul" in line or " = Mul" in line]
    assert products == [
        "item.matmul [B 1 4] = MatMul",
        "user_row.matmul [1 5 4] = MatMul",
        "item.matmul.2 [B 1 4] = MatMul",
        "user_row.matmul.2 [1 5 4] = MatMul",
        "item.matmul.3 [B 1 4] = MatMul",
        "s.part [B 1 5] = MatMul",
        "item.mul [B 4] = Mul",
        "c.part [B 1 4] = MatMul",
        "item.mul.2 [B 1 4] = Mul",
        "item.matmul.4 [B 1 4] = MatMul",
        "y [B 2] = MatMul",
    ]
    assert "Expand" not in result.ops


def test_a_block_that_a_mask_leaves_as_it_is() -> None:
    """The candidate sees everything: 0 is added to its scores in the original, and nothing here."""
    result = rewrite(model("one", ADDED, mask=filled(CAUSAL, -np.inf)))
    assert len([line for line in result.graph if "mask" in line]) == 0


# A history of any length

LONGEST = 16
"""The longest sequence for which the stored masks are there."""

TRIANGLE = np.tri(LONGEST, dtype=np.bool_)
CHOSEN_BY_KEEP = "m = Where (keep, s, filler) p = Softmax <axis = -1> (m)"
CORNER = """sizes = Shape (x) tokens = Slice (sizes, one, two_, zero_) t = Squeeze (tokens, zero_)
    square = Concat <axis = 0> (tokens, tokens)"""
PLACES = "r = Range (n0, t, n1) row = Unsqueeze (r, one)"
FULL = "full = ConstantOfShape <value = float[1] {1.0}> (square)"

CAUSAL_MASKS = {
    "positions": f"{PLACES} keep = LessOrEqual (r, row)",
    "positions, shifted": f"{PLACES} next = Add (row, n1) keep = Less (r, next)",
    "distances": f"{PLACES} far = Sub (row, r) keep = GreaterOrEqual (far, n0)",
    "distances, turned": f"{PLACES} far = Sub (r, row) ahead = Greater (far, n0) keep = Not (ahead)",
    "a window of the last tokens": f"{PLACES} far = Sub (row, r) before = GreaterOrEqual (far, n0) "
    "near = Less (far, n2) keep = And (before, near)",
    "counted": "each = Expand (one, tokens) r = CumSum (each, n0) row = Unsqueeze (r, one) "
    "keep = GreaterOrEqual (row, r)",
    "counted in rows and columns": "each = Expand (one, square) i = CumSum (each, n0) j = CumSum (each, n1) "
    "keep = GreaterOrEqual (i, j)",
    "of 32 bits": f"{PLACES} c32 = Cast <to = 6> (row) r32 = Cast <to = 6> (r) keep = LessOrEqual (r32, c32)",
    "a lower triangle": f"{FULL} tri = Trilu <upper = 0> (full) keep = Cast <to = 9> (tri)",
    "an upper triangle": f"{FULL} tri = Trilu <upper = 1> (full, n1) keep = Equal (tri, nought)",
    "stored, cut twice": "some = Slice (triangle, zero_, tokens, zero_) keep = Slice (some, zero_, tokens, one)",
    "stored, cut once": "keep = Slice (triangle, zeros, square, axes)",
    "stored positions": "r = Slice (places, zero_, tokens, zero_) row = Unsqueeze (r, one) keep = LessOrEqual (r, row)",
    "with padding": f"{PLACES} before = LessOrEqual (r, row) first = Gather <axis = 2> (x, n0) "
    "there = Greater (first, nought) there3 = Unsqueeze (there, one) seen = And (before, there3) "
    "own = Equal (r, row) keep = Or (seen, own)",
}
"""Spellings of a causal mask [T T] for as many tokens as there are."""

LEAKING_MASKS = {
    "one token ahead": f"{PLACES} next = Add (row, n1) keep = LessOrEqual (r, next)",
    "one distance ahead": f"{PLACES} far = Sub (row, r) keep = GreaterOrEqual (far, less)",
    "transposed": f"{PLACES} keep = LessOrEqual (row, r)",
    "a triangle too small": f"{FULL} tri = Trilu <upper = 1> (full, n2) keep = Equal (tri, nought)",
    "a window ahead": f"{PLACES} far = Sub (r, row) keep = Less (far, n2)",
    "the first row": f"{PLACES} before = LessOrEqual (r, row) first = Equal (row, n0) keep = Or (before, first)",
    "stored, with a leak": "keep = Slice (leaking, zeros, square, axes)",
    "stored, transposed": "keep = Slice (turned, zeros, square, axes)",
    "of data": f"{PLACES} limit = ReduceMax <keepdims = 0> (x) ahead = Cast <to = 7> (limit) next = Add (row, ahead) "
    "keep = LessOrEqual (r, next)",
    "padding alone": "first = Gather <axis = 2> (x, n0) there = Greater (first, nought) keep = Unsqueeze (there, one)",
}


def of_any_length(
    style: str, attention: str, *, summed: str = SUMMED, read: str = READ, opset: int = 17, **constants: Any
) -> onnx.ModelProto:
    """The same layer for a history of L tokens."""
    weights = {name: integers(WIDTH, WIDTH, seed=i) for i, name in enumerate(("wq", "wk", "wv", "wo"))}
    numbers = {f"n{i}": np.array(i) for i in range(4)} | {"less": np.array(-1), "nought": np.float32(0)}
    leaking = TRIANGLE | (np.indices(TRIANGLE.shape) == [[[2]], [[4]]]).all(0)
    stored: dict[str, Any] = {"triangle": TRIANGLE, "turned": TRIANGLE.T, "leaking": leaking, "axes": [0, 1]}
    given: dict[str, Any] = {
        "one": [1], "zero_": [0], "two_": [2], "zeros": [0, 0], "place": np.array(-1), "w": integers(WIDTH, 2),
        "places": np.arange(LONGEST), "filler": np.float32(-np.inf), **numbers, **weights, **stored, **constants,
    }  # fmt: skip
    before, after = SEQUENCE.split("q = MatMul (x, wq)")
    body = f"{before} {CORNER} q = MatMul (x, wq) {after} {attention} {summed} {read}"
    used = {name: a for name, a in given.items() if re.search(rf"\b{name}\b", body)}
    return ranking(style, body, user=f"float[L, {WIDTH}]", item=f"float[{WIDTH}]", opset=opset, **used)


def check_every_length(model: onnx.ModelProto, result: Rewritten) -> None:
    """The scores are those of the original, for histories and candidates of 0, 1, 2 and 7."""
    original, written = Session(model), Session(result.model)
    for length, batch in product((0, 1, 2, 7), repeat=2):
        rng = np.random.default_rng(10 * length + batch)
        rows = {"user_row": 1, "user": batch, "rows": REQUESTS}
        inputs: dict[str, Any] = {"item": rng.integers(-2, 3, (batch, WIDTH)).astype(np.float32)}
        for info in model.graph.input:
            if info.name == "index":
                inputs["index"] = index(batch)
            elif info.name in rows:
                own = rng.integers(-2, 3, (REQUESTS if info.name == "rows" else 1, length, WIDTH)).astype(np.float32)
                inputs[info.name] = np.resize(own, (rows[info.name], length, WIDTH))
        (wanted,), (found,) = original.run(inputs), written.run(inputs)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, err_msg=f"{length} tokens, {batch} candidates")


@pytest.mark.parametrize("mask", CAUSAL_MASKS)
def test_a_causal_mask_of_any_length(mask: str) -> None:
    model = of_any_length("tiled", f"{CAUSAL_MASKS[mask]} {CHOSEN_BY_KEEP}")
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize("mask", LEAKING_MASKS)
def test_a_mask_of_any_length_that_leaks_proves_nothing(mask: str) -> None:
    """At one length it may hide the candidate: a window of two tokens ahead does, from a history of one token."""
    model = of_any_length("tiled", f"{LEAKING_MASKS[mask]} {CHOSEN_BY_KEEP}")
    result = rewrite_and_check(model, **CLOSE)
    assert not history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize("mask", CAUSAL_MASKS)
def test_each_row_of_any_length_has_a_live_column(mask: str) -> None:
    """The first column, or the row's own: under a window of the last tokens the first one is not live."""
    bounded = "h2 = Tanh (s) m = Where (keep, h2, filler) p = Softmax <axis = -1> (m)"
    model = of_any_length("one", f"{CAUSAL_MASKS[mask]} {bounded}", filler=np.float32(-1e30))
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_every_length(model, result)


def test_a_row_of_any_length_whose_tokens_may_all_be_masked() -> None:
    bounded = "h2 = Tanh (s) m = Where (keep, h2, filler) p = Softmax <axis = -1> (m)"
    both = CAUSAL_MASKS["with padding"].split(" own = ")[0].replace("seen = And", "keep = And")
    model = of_any_length("tiled", f"{both} {bounded}", filler=np.float32(-1e30))
    assert not history_is_the_users(rewrite_and_check(model, **CLOSE))


@styles
@pytest.mark.parametrize(
    "attention",
    [
        f"{CAUSAL_MASKS['positions']} hidden = Cast <to = 1> (keep) u = Relu (s) p = Mul (u, hidden)",
        f"{CAUSAL_MASKS['positions']} u = Relu (s) p = Where (keep, u, nought)",
    ],
)
def test_a_nonlinearity_of_any_length(style: str, attention: str) -> None:
    model = of_any_length(style, attention)
    result = rewrite_and_check(model)
    assert history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize(
    "last",
    [
        "last = Gather <axis = 1> (h, place)",
        "count = Sub (t, n1) last = Gather <axis = 1> (h, count)",
        "cut = Slice (h, minus, end, one) last = Squeeze (cut, one)",
        "shape = Shape (user) length = Slice (shape, one, two_, zero_) cut = Slice (h, length, end, one) "
        "last = Squeeze (cut, one)",
        "shape = Shape (user) length = Slice (shape, one, two_, zero_) widths = Concat <axis = 0> (length, one) "
        "front, cut = Split <axis = 1> (h, widths) last = Squeeze (cut, one)",
    ],
)
def test_the_candidates_token_behind_a_history_of_any_length(last: str) -> None:
    read = READ.replace("last = Gather <axis = 1> (h, place)", last)
    model = of_any_length(
        "one", f"{CAUSAL_MASKS['positions']} {CHOSEN_BY_KEEP}", read=read, minus=[-1], end=[2**63 - 1]
    )
    result = rewrite_and_check(model, **CLOSE)
    assert result.program.values["last"].parts is None
    assert not any("c.part" in line and "L" in line.split("=")[0] for line in result.graph)
    check_every_length(model, result)


def test_heads_before_opset_14() -> None:
    """There, an extent of 0 in a Reshape stands for that of its input: a history of no tokens would have one."""
    heads = " ".join(
        f"{to}4 = Reshape ({to}, by_heads) {to}h = Transpose <perm = [0, 2, 1, 3]> ({to}4)" for to in ("q", "k", "v")
    )
    attention = f"""{heads} kht = Transpose <perm = [0, 1, 3, 2]> (kh) sh = MatMul (qh, kht)
        {CAUSAL_MASKS["positions"]} m = Where (keep, sh, filler) p = Softmax <axis = -1> (m)"""
    summed = "ch = MatMul (p, vh) ct = Transpose <perm = [0, 2, 1, 3]> (ch) c = Reshape (ct, merged)"
    model = of_any_length("one", attention, summed=summed, opset=13, by_heads=[0, 0, 2, 2], merged=[0, 0, WIDTH])
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    check_every_length(model, result)


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_a_history_of_nothing_before_opset_14(style: str) -> None:
    """Nothing hides the candidate: the rows of the history are the user's in the first layer alone."""
    heads = " ".join(
        f"{to}4 = Reshape ({to}, by_heads) {to}h = Transpose <perm = [0, 2, 1, 3]> ({to}4)" for to in ("q", "k", "v")
    )
    attention = f"{heads} kht = Transpose <perm = [0, 1, 3, 2]> (kh) m = MatMul (qh, kht) p = Softmax <axis = -1> (m)"
    summed = "ch = MatMul (p, vh) ct = Transpose <perm = [0, 2, 1, 3]> (ch) c = Reshape (ct, merged)"
    model = of_any_length(style, attention, summed=summed, opset=13, by_heads=[0, 0, 2, 2], merged=[0, 0, WIDTH])
    check_every_length(model, rewrite(model))


def test_before_opset_10_nothing_is_cut_at_a_symbol() -> None:
    """A Slice has its limits as attributes there."""
    body = """i = Unsqueeze <axes = [1]> (item) x = Concat <axis = 1> (user, i) r = Relu (x) m = MatMul (r, w)
        y = ReduceMean <axes = [1], keepdims = 0> (m)"""
    model = ranking("tiled", body, user="float[L, 4]", item="float[4]", opset=9, w=integers(4, 2))
    result = rewrite_and_check(model, **CLOSE)
    assert "Slice" not in result.ops[1:]


# Candidates side by side

SIDE_BY_SIDE = f"""items = Unsqueeze (item, zero_) x = Concat <axis = 1> (user, items) {CORNER}
    length = Shape (user) l = Slice (length, one, two_, zero_) {PLACES} before = LessOrEqual (r, row)
    own = Equal (r, row) inside = Less (r, l)"""
APART = "old = And (before, inside) keep = Or (old, own)"
LAST = """o = MatMul (c, wo) h = Add (x, o) those = Slice (h, l, end, one) last = Squeeze (those, zero_)
    y = MatMul (last, w)"""

KEPT_APART = {
    "own or old": APART,
    "before, and own or old": "seen = Or (inside, own) keep = And (before, seen)",
    "places of candidates are one": "rm = Min (r, l) cm = Min (row, l) less = Less (rm, cm) keep = Or (less, own)",
}
NOT_KEPT_APART = {
    "causal": "keep = Or (before, own)",
    "the next one": "far = Sub (row, r) near = LessOrEqual (far, n1) late = And (near, before) "
    "old = And (before, inside) keep = Or (old, late)",
    "all candidates": "late = Not (inside) old = And (before, inside) keep = Or (old, late)",
    "the history sees the candidates": "keep = Or (inside, own) other = Not (before) more = Or (keep, other)",
}


def side_by_side(
    mask: str,
    attention: str,
    *,
    kept: str = "keep",
    length: str = "L",
    last: str = LAST,
    summed: str = SUMMED,
    output: str = "float[B, N] y",
    **constants: Any,
) -> onnx.ModelProto:
    """A layer of attention over the history of L tokens and all candidates, [1 L+B 4]."""
    weights = {name: integers(WIDTH, WIDTH, seed=i) for i, name in enumerate(("wq", "wk", "wv", "wo"))}
    given: dict[str, Any] = {
        "one": [1], "zero_": [0], "two_": [2], "end": [2**62], "n0": np.array(0), "n1": np.array(1),
        "w": integers(WIDTH, 2), "filler": np.float32(-np.inf), "nought": np.float32(0), **weights, **constants,
    }  # fmt: skip
    products = SEQUENCE[SEQUENCE.index("q = MatMul") :]
    body = f"{SIDE_BY_SIDE} {mask} {products} {attention.replace('keep', kept)} {summed} {last}"
    used = {name: a for name, a in given.items() if re.search(rf"\b{name}\b", body)}
    text = f"g (float[1, {length}, {WIDTH}] user, float[B, {WIDTH}] item) => ({output}) {{ {body} }}"
    return parse(text, opset=17, **used)


def check_side_by_side(model: onnx.ModelProto, result: Rewritten) -> None:
    original, written = Session(model), Session(result.model)
    for length, batch in product((0, 1, 2, 7), repeat=2):
        rng = np.random.default_rng(10 * length + batch)
        inputs = {"user": rng.integers(-2, 3, (1, length, WIDTH)), "item": rng.integers(-2, 3, (batch, WIDTH))}
        feeds = {name: a.astype(np.float32) for name, a in inputs.items()}
        (wanted,), (found,) = original.run(feeds), written.run(feeds)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, err_msg=f"{length} tokens, {batch} candidates")


def largest_extent(result: Rewritten) -> bool:
    """Whether a tensor has an element for each pair of candidates."""
    squares = [line for line in result.graph if line.split("]")[0].split("[")[1].split().count("B") > 1]
    return bool(squares) or any("L + B L + B" in line.split("=")[0] for line in result.graph)


@pytest.mark.parametrize("mask", KEPT_APART)
def test_candidates_that_are_kept_apart(mask: str) -> None:
    """Each has its own logit beside those of the history: nothing grows with the square of their number."""
    model = side_by_side(KEPT_APART[mask], CHOSEN_BY_KEEP)
    result = rewrite_and_check(model, **CLOSE)
    assert history_is_the_users(result)
    assert not largest_extent(result)
    check_side_by_side(model, result)


@pytest.mark.parametrize(("filler", "apart"), [(-1e30, True), (-90.0, False)])
def test_candidates_under_a_finite_mask(filler: float, apart: bool) -> None:
    bounded = "t2 = Tanh (s) m = Where (keep, t2, filler) p = Softmax <axis = -1> (m)"
    model = side_by_side(APART, bounded, filler=np.float32(filler))
    result = rewrite_and_check(model, **CLOSE)
    assert largest_extent(result) != apart
    check_side_by_side(model, result)


@pytest.mark.parametrize(
    "attention",
    [
        "u = Relu (s) p = Where (keep, u, nought)",
        "u = Relu (s) hidden = Cast <to = 1> (keep) p = Mul (u, hidden)",
    ],
)
def test_candidates_side_by_side_without_a_denominator(attention: str) -> None:
    model = side_by_side(APART, attention)
    result = rewrite_and_check(model)
    assert not largest_extent(result)
    check_side_by_side(model, result)


def test_a_block_that_a_mask_multiplies_by_1() -> None:
    """Each candidate sees all of the history: its scores are not multiplied by the mask."""
    attention = "u = Relu (s) hidden = Cast <to = 1> (keep) p = Mul (u, hidden)"
    model = side_by_side(KEPT_APART["own or old"], attention)
    result = rewrite_and_check(model)
    assert "Cast" not in result.ops
    check_side_by_side(model, result)


def test_positions_of_a_history_of_one_length_are_constants() -> None:
    """Of the places of 5 tokens and all candidates the first 5 are known."""
    last = "o = MatMul (c, wo) h = Add (x, o) those = ReduceMean <axes = [1], keepdims = 0> (h) y = MatMul (those, w)"
    model = side_by_side(APART, CHOSEN_BY_KEEP, length="5", last=last, output="float[1, 2] y")
    result = rewrite_and_check(model, **CLOSE)
    assert "Range" not in result.ops


@pytest.mark.parametrize("mask", NOT_KEPT_APART)
def test_candidates_that_see_each_other(mask: str) -> None:
    kept = "more" if "more" in NOT_KEPT_APART[mask] else "keep"
    model = side_by_side(NOT_KEPT_APART[mask], CHOSEN_BY_KEEP, kept=kept)
    result = rewrite_and_check(model, **CLOSE)
    assert largest_extent(result)
    check_side_by_side(model, result)


def test_a_softmax_of_weights_of_candidates_apart() -> None:
    """Behind the first one a row has as many columns again."""
    twice = f"{CHOSEN_BY_KEEP.replace('p = Softmax', 'p1 = Softmax')} p = Softmax <axis = -1> (p1)"
    model = side_by_side(APART, twice)
    result = rewrite_and_check(model, **CLOSE)
    assert largest_extent(result)
    check_side_by_side(model, result)
