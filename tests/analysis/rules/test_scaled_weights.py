"""(a*b) @ W = a @ (b*W): a product, element by element, whose one factor scales the weight."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import numpy_helper

from tests.graphs import STYLES, Array, Rewritten, integers, ranking, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


def weight(result: Rewritten, name: str) -> Array:
    return numpy_helper.to_array(next(t for t in result.model.graph.initializer if t.name == name))


@styles
def test_a_factor_of_the_user_scales_the_weight(style: str) -> None:
    """[u i u*i] @ [W1; W2; W3] = u@W1 + i@(W2 + u*W3): two thirds of the rows of the weight for each candidate."""
    body = "p = Mul (user, item) x = Concat <axis = 1> (user, item, p) y = Gemm (x, w, b)"
    w, b = integers(12, 8), integers(8, seed=1)
    result = rewrite_and_check(ranking(style, body, item="float[4]", output="float[B, 8] y", w=w, b=b))
    if style != "requests":  # the rows of several users are several weights
        assert [weight(result, n).shape for g in result.nodes("Gemm") for n in g.input[1:2] if "user" in n] == [(4, 8)]
        (scaled,) = (n for n in result.nodes("Gemm") if n.input[0] == "item")
        assert scaled.input[1] in {n.output[0] for n in result.nodes("Add")}


@styles
@pytest.mark.parametrize("length", [2, 5])
@pytest.mark.parametrize("difference", ["qe, user", "user, qe"])
def test_a_factor_of_the_candidate_scales_the_weight(style: str, length: int, difference: str) -> None:
    """[q -q k q-k q*k] @ W is one product: what is the same for all candidates or all steps is a row of its weight."""
    body = f"""
        q = Unsqueeze (item, one_)
        n = Neg (q)
        shape = Shape (user)
        qe = Expand (q, shape)
        ne = Expand (n, shape)
        d = Sub ({difference})
        p = Mul (qe, user)
        x = Concat <axis = -1> (qe, ne, user, d, p)
        m = MatMul (x, w)
        s = Add (m, b)
        y = Relu (s)
    """
    width, n = 3, 16
    w, b = integers(5 * width, n), integers(n, seed=1)
    model = ranking(
        style, body, user=f"float[{length}, {width}]", output=f"float[B, {length}, {n}] y", one_=[1], w=w, b=b,
    )  # fmt: skip
    result = rewrite_and_check(model)
    if style != "requests" and length == 2:
        assert result.nodes("Mul")[0].input[1].startswith("w")


@styles
def test_factors_that_share_an_axis(style: str) -> None:
    """Both have the candidates: neither can be in the weight of the other's rows."""
    body = """
        q = Unsqueeze (item, one_) r = Add (user, q) p = Mul (r, q) e = Expand (q, length)
        x = Concat <axis = 2> (e, r, p) y = MatMul (x, w)
    """
    types: dict[str, Any] = {"user": "float[5, 3]", "item": "float[3]", "output": "float[B, 5, 16] y"}
    rewrite_and_check(ranking(style, body, **types, w=integers(9, 16), one_=[1], length=[1, 5, 1]))


@styles
def test_factors_in_two_dimensions_as_one(style: str) -> None:
    body = "p = Mul (user, item) x = Concat <axis = 1> (user, item, p) f = Flatten (x) y = Gemm (f, w, b)"
    types: dict[str, Any] = {"user": "float[2, 3]", "item": "float[2, 3]", "output": "float[B, 8] y"}
    result = rewrite_and_check(ranking(style, body, **types, w=integers(18, 8), b=integers(8)))
    assert result.ops.count("Gemm") == 2


@styles
def test_factors_by_a_weight_on_the_left(style: str) -> None:
    """W @ [u; i; u*i]."""
    body = "p = Mul (user, item) x = Concat <axis = 1> (user, item, p) y = MatMul (w, x)"
    types: dict[str, Any] = {"user": "float[4, 2]", "item": "float[4, 2]", "output": "float[B, 8, 2] y"}
    rewrite_and_check(ranking(style, body, **types, w=integers(8, 12)))


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_a_weight_that_is_scaled_by_what_is_stored_turned(style: str) -> None:
    """The history is [2 3] where it is multiplied as [3 2], and so is what it scales; two rows are added to that."""
    body = """
        turned = Transpose <perm = [0, 2, 1]> (user) shape = Shape (turned) q = Expand (item, shape)
        p = Mul (q, turned) x = Concat <axis = 2> (p, q, turned, q) y = MatMul (x, w)
    """
    shapes: dict[str, Any] = {"user": "float[2, 3]", "item": "float[1, 2]", "output": "float[B, 3, 1] y"}
    rewrite_and_check(ranking(style, body, w=integers(8, 1), **shapes))


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_a_number_of_the_candidate_that_scales_a_history(style: str) -> None:
    """One factor has a single number where the other has 64 columns: what is multiplied by a weight has 64."""
    body = "m = Mul (item, user) x = Concat <axis = 2> (m, user) y = MatMul (x, w)"
    shapes: dict[str, Any] = {"user": "float[5, 64]", "item": "float[1, 1]", "output": "float[B, 5, 4] y"}
    rewrite_and_check(ranking(style, body, w=integers(128, 4), **shapes))


@pytest.mark.parametrize(
    "body",
    [
        "p = Mul (item, item) x = Concat <axis = 1> (item, p) y = MatMul (x, w)",  # both vary with the candidate
        "p = Mul (user, item) x = Concat <axis = 1> (item, p) y = Gemm <alpha = 2.0> (x, w)",
    ],
)
def test_factors_that_do_not_scale_a_weight(body: str) -> None:
    result = rewrite_and_check(ranking("tiled", body, item="float[4]", output="float[B, 8] y", w=integers(8, 8)))
    assert all(
        n.input[1] in {t.name for t in result.model.graph.initializer}
        for n in result.nodes("MatMul") + result.nodes("Gemm")
    )


def test_the_graph() -> None:
    """The weight of the item is scaled by the user: item @ (W2 + user*W3)."""
    body = "p = Mul (user, item) x = Concat <axis = 1> (user, item, p) y = Gemm (x, w, b)"
    types: dict[str, Any] = {"item": "float[4]", "output": "float[B, 8] y"}
    result = rewrite_and_check(ranking("one", body, **types, w=integers(12, 8), b=integers(8)))
    assert result.graph == [
        "user_row.reshape [4 1] = Reshape (user_row)",
        "user_row.mul [4 8] = Mul (user_row.reshape, w.part)",
        "w.item.2 [4 8] = Add (user_row.mul, w.item)",
        "y.user [1 8] = Gemm (user_row, w.user, b.part)",
        "y [B 8] = Gemm (item, w.item.2, y.user)",
    ]
