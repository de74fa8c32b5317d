"""One sequence of the user's tokens and the candidate's: what a mask proves, and what it does not."""

from __future__ import annotations

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
from tests.graphs import MANY, STYLES, Rewritten, integers, ranking, rewrite, rewrite_and_check

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
    """Whether the rows of the history lack the candidates."""
    parts = result.program.values[name].parts
    return parts is not None and side(result.program.context, parts.pieces[0][1]) == "user"


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
    assert any("--assume-masked" in note for note in found.notes)


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
