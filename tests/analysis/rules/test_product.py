"""Products of two computed values: what only one side has become rows of the other's product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graphs import MANY, STYLES, evaluate, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


VECTORS = {
    "on the right": ("y = MatMul (x, v)", "float[B] y", 7),
    "on the left": ("t = Transpose (x) y = MatMul (v, t)", "float[B] y", 7),
    "of steps": ("i = Unsqueeze (x, one) t = Transpose <perm = [0, 2, 1]> (i) y = MatMul (t, v)", "float[B, 7] y", 1),
    "of the user's": ("r = Relu (user) s = ReduceSum <keepdims = 0> (r, zero_) y = MatMul (item, s)", "float[B] y", 0),
    "of every row": ("r = Relu (x) s = ReduceMax <keepdims = 0> (r, zero_) y = MatMul (x, s)", "float[B] y", 0),
    "two": ("s = ReduceSum <keepdims = 0> (x, zero_) y = MatMul (s, v)", "float y", 7),
}


@styles
@pytest.mark.parametrize("case", VECTORS)
def test_vectors(style: str, case: str) -> None:
    """They are a row or a column; no product with a vector is written, see below."""
    product, output, width = VECTORS[case]
    opset = 18 if "zero_" in product else 17
    constants: dict[str, Any] = {"v": integers(width)} if width else {}
    constants |= {name: [i] for i, name in enumerate(("zero_", "one")) if name in product}
    body = f"x = Concat <axis = 1> (user, item) {product}"
    model = ranking(style, body, user="float[4]", item="float[4]" if case == "of the user's" else "float[3]",
                    output=output, opset=opset, **constants)  # fmt: skip
    result = rewrite_and_check(model)
    assert not result.refusals("MatMul")


def test_a_transposed_matrix_and_a_vector() -> None:
    """onnxruntime 1.32 makes another product of the two, with the numbers of the matrix in another order."""
    body = "m = Mul (item, w) t = Transpose <perm = [0, 2, 1]> (m) y = MatMul (t, v)"
    model = ranking("one", body, item="float[4, 3]", output="float[B, 3] y", w=integers(4, 1), v=integers(4))
    result = rewrite(model)
    (product,) = result.nodes("MatMul")
    shapes = {t.name: list(t.dims) for t in result.model.graph.initializer}
    assert all(len(shapes.get(name, [0, 0])) >= 2 for name in product.input)
    item = integers(5, 4, 3, seed=1)
    user = integers(1, 4)
    found = evaluate(result.model, {"user_row": user, "item": item})[0]
    np.testing.assert_array_equal(found, np.swapaxes(item * integers(4, 1), 1, 2) @ integers(4))


@styles
def test_candidates_become_rows(style: str) -> None:
    """q (B 1 D) @ k^T (D L) is one product (B D) @ (D L) where there is one user."""
    body = "q = Unsqueeze (item, one) k = Transpose <perm = [0, 2, 1]> (user) s = MatMul (q, k) y = Squeeze (s, one)"
    model = ranking(style, body, user="float[5, 4]", item="float[4]", output="float[B, 5] y", one=[1])
    result = rewrite_and_check(model)
    assert "Expand" not in result.ops
    assert result.ops.count("MatMul") + result.ops.count("Gemm") == 1


@styles
def test_attention_with_heads(style: str) -> None:
    """(B h 1 d) @ (h d L) and back; softmax is left out to stay exact."""
    body = """
        q0 = MatMul (item, wq) q1 = Reshape (q0, heads) q = Unsqueeze (q1, two)
        k0 = MatMul (user, wk) k1 = Reshape (k0, heads_of_k) k = Transpose <perm = [0, 2, 3, 1]> (k1)
        v = Transpose <perm = [0, 2, 1, 3]> (k1)
        s = MatMul (q, k) r = Relu (s) o = MatMul (r, v) t = Transpose <perm = [0, 2, 1, 3]> (o) y = Reshape (t, flat)
    """
    model = ranking(
        style,
        body,
        user="float[5, 4]",
        item="float[4]",
        output="float[B, 6] y",
        wq=integers(4, 6),
        wk=integers(4, 6, seed=1),
        heads=[-1, 2, 3],
        heads_of_k=[-1, 5, 2, 3],
        two=[2],
        flat=[-1, 6],
    )
    result = rewrite_and_check(model)
    assert "Expand" not in result.ops
    if style == "one":
        products = [r for r in result.remarks if r.op_type == "MatMul"]
        assert [r.status for r in products] == ["as is", "applied", "as is", "as is"]


@styles
def test_a_sequence_meets_itself(style: str) -> None:
    """k @ k^T has its length twice."""
    body = """
        k = Transpose <perm = [0, 2, 1]> (user) s = MatMul (user, k) m = ReduceSum <keepdims = 0> (s, one)
        y = Mul (m, item)
    """
    model = ranking(style, body, user="float[5, 4]", item="float[5]", one=[1])
    result = rewrite_and_check(model)
    assert "Expand" not in result.ops
    assert result.ops.count("MatMul") == 1


@styles
@pytest.mark.parametrize("left", [True, False])
def test_the_user_on_either_side(style: str, left: bool) -> None:
    product = "p = MatMul (user, i)" if left else "t = Transpose <perm = [0, 2, 1]> (i) p = MatMul (t, k)"
    body = f"i = Unsqueeze (item, two) k = Transpose <perm = [0, 2, 1]> (user) {product} y = Reshape (p, flat)"
    model = ranking(style, body, user="float[5, 4]", item="float[4]", output="float[B, 5] y", two=[2], flat=[-1, 5])
    result = rewrite_and_check(model)
    assert "Expand" not in result.ops
    if style == "one":
        assert result.graph[-1] == "y [B 5] = MatMul (item, user_row.transpose)"


@styles
def test_heads_that_stand_beside_the_batch_of_one_side(style: str) -> None:
    """(B h) of which the keys of one user have h alone."""
    body = """
        q0 = MatMul (item, wq) q = Reshape (q0, beside) k0 = MatMul (user, wk) k1 = Reshape (k0, heads)
        k2 = Transpose <perm = [0, 2, 3, 1]> (k1) k = Reshape (k2, beside_k) s = MatMul (q, k) y = Reshape (s, flat)
    """
    sizes: dict[str, Any] = {"beside": [-1, 1, 3], "heads": [-1, 5, 2, 3], "beside_k": [-1, 3, 5], "flat": [-1, 10]}
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 10] y"}
    result = rewrite_and_check(ranking(style, body, **types, **sizes, wq=integers(4, 6), wk=integers(4, 6, seed=1)))
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("left", [True, False])
def test_two_values_of_which_one_is_not_stored_along_the_width(style: str, left: bool) -> None:
    """One number for each step, repeated: it counts as often as it repeats."""
    product = "p = MatMul (e, i)" if left else "t = Transpose <perm = [0, 2, 1]> (i) p = MatMul (t, k)"
    body = f"""i = Unsqueeze (item, two) e = Expand (user, wide) k = Transpose <perm = [0, 2, 1]> (e) {product}
               y = Reshape (p, flat)"""
    types: dict[str, Any] = {"user": "float[5, 1]", "item": "float[4]", "output": "float[B, 5] y"}
    rewrite_and_check(ranking(style, body, **types, two=[2], wide=[1, 1, 4], flat=[-1, 5]))


def test_leading_dimensions_that_are_cut_otherwise() -> None:
    """Six matrices, and two by three."""
    text = "g (float[6, 2, 4] user, float[2, 3, 4, 5] item) => (float[6, 2, 5] y)"
    model = parse(f"{text} {{ r = Reshape (item, six) y = MatMul (user, r) }}", six=[6, 4, 5])
    assert rewrite_and_check(model).ops.count("MatMul") == 1


def test_widths_of_two_values_that_are_not_proven_equal() -> None:
    model = parse("g (float[B, 2, K] user, float[B, K2, 3] item) => (float[B, 2, 3] y) { y = MatMul (user, item) }")
    assert rewrite(model).refusals("MatMul") == ["the widths of the two sides of MatMul are not proven equal"]


def test_the_graph() -> None:
    """(B 1 D) @ (D L) is (B D) @ (D L): the candidates are the rows."""
    body = "q = Unsqueeze (item, one) k = Transpose <perm = [0, 2, 1]> (user) s = MatMul (q, k) y = Squeeze (s, one)"
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 5] y"}
    result = rewrite_and_check(ranking("one", body, **types, one=[1]))
    assert result.graph == [
        "user_row.reshape [5 4] = Reshape (user_row)",
        "user_row.transpose [4 5] = Transpose (user_row.reshape)",
        "y [B 5] = MatMul (item, user_row.transpose)",
    ]


def test_a_number_has_no_width() -> None:
    """onnx does not see that it is one, behind an operator that it does not know; onnxruntime does not run it."""
    text = """g (float[1, 1] user, float[B, 4] item) => (float[B, 4] y) {
        n = Squeeze (user) x = com.microsoft.QuickGelu (n) p = MatMul (x, w) y = Add (item, p)
    }"""
    model = parse(text, domains=', "com.microsoft" : 1', w=integers(4, 4))
    assert rewrite(model).program.values["p"].dims is None


PER_TOKEN = {
    "MatMul": "t = Transpose <perm = [1, 0, 2]> (x) p = MatMul (t, w) y = Transpose <perm = [1, 0, 2]> (p)",
    "Unsqueeze": "t = Unsqueeze (x, two) p = MatMul (t, w) y = Squeeze (p, two)",
    "Einsum": 'y = Einsum <equation = "bnd,ndk->bnk"> (x, w)',
    "Einsum of the transpose": 't = Transpose <perm = [1, 0, 2]> (x) y = Einsum <equation = "ndk,nbd->bnk"> (w, t)',
}
"""Tokens that are each multiplied by weights of their own, in the spellings of exporters."""


@styles
@pytest.mark.parametrize("order", ["user, item", "item, user", "user, item, user"])
@pytest.mark.parametrize("spelling", PER_TOKEN)
def test_tokens_with_weights_of_their_own(style: str, order: str, spelling: str) -> None:
    """The user's tokens are multiplied by their weights once, and the item's for each candidate."""
    tokens = 5 * order.count("user") + 2
    types: dict[str, Any] = {"user": "float[5, 8]", "item": "float[2, 8]", "output": f"float[B, {16 * tokens}] z"}
    body = f"x = Concat <axis = 1> ({order}) {PER_TOKEN[spelling]} r = Relu (y) z = Flatten (r)"
    model = ranking(style, body, **types, w=integers(tokens, 8, 16), two=[2])
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    assert result.program.work.macs == MANY * tokens * 8 * 16
    assert result.plan.work.macs == (requests * (tokens - 2) + MANY * 2) * 8 * 16


@styles
@pytest.mark.parametrize("spelling", PER_TOKEN)
def test_a_layer_behind_tokens_with_weights_of_their_own(style: str, spelling: str) -> None:
    """Their columns, side by side, are a product of the user's and one of the items'."""
    types: dict[str, Any] = {"user": "float[5, 8]", "item": "float[2, 8]"}
    body = f"x = Concat <axis = 1> (user, item) {PER_TOKEN[spelling]} r = Relu (y) f = Flatten (r) z = MatMul (f, v)"
    model = ranking(style, body.replace("z =", "z0 =") + " z = Relu (z0)", output="float[B, 6] z", **types,
                    w=integers(7, 8, 16), two=[2], v=integers(7 * 16, 6))  # fmt: skip
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == (requests * 5 + MANY * 2) * (8 * 16 + 16 * 6)


@styles
@pytest.mark.parametrize("spelling", ["MatMul", "Unsqueeze", "Einsum"])
def test_tokens_that_were_mixed_before_weights_of_their_own(style: str, spelling: str) -> None:
    """Each of 4 heads has its columns of all tokens: those of the user's tokens meet their rows of the weights once."""
    mixed = """c = Concat <axis = 1> (user, item) h = Reshape (c, heads) t = Transpose <perm = [0, 2, 1, 3]> (h)
        x = Reshape (t, merged)"""
    types: dict[str, Any] = {"user": "float[5, 32]", "item": "float[2, 32]", "output": "float[B, 128] z"}
    body = f"{mixed} {PER_TOKEN[spelling].replace('t =', 't1 =').replace('(t,', '(t1,')} r = Relu (y) z = Flatten (r)"
    model = ranking(style, body, **types, w=integers(4, 7 * 8, 32), two=[2], heads=[-1, 7, 4, 8], merged=[-1, 4, 56])
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    assert result.program.work.macs == MANY * 4 * 7 * 8 * 32
    assert result.plan.work.macs == (requests * 5 + MANY * 2) * 4 * 8 * 32


@styles
def test_a_sum_of_tokens_before_weights_of_their_own(style: str) -> None:
    """Tokens of the item, to which the user's are added: one product of each, and the sum of both."""
    body = f"x = Add (user, item) {PER_TOKEN['Einsum']} r = Relu (y) z = Flatten (r)"
    types: dict[str, Any] = {"user": "float[3, 8]", "item": "float[1, 8]", "output": "float[B, 768] z"}
    result = rewrite_and_check(ranking(style, body, **types, w=integers(3, 8, 256)))
    assert result.refusals("Einsum") == []


@styles
def test_one_matrix_in_a_batch_of_one(style: str) -> None:
    """[1 k n] is a matrix like any other."""
    body = "x = Concat <axis = 2> (user, item) y = MatMul (x, w)"
    types: dict[str, Any] = {"user": "float[1, 80]", "item": "float[1, 40]", "output": "float[B, 1, 64] y"}
    result = rewrite_and_check(ranking(style, body, **types, w=integers(1, 120, 64)))
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == (requests * 80 + MANY * 40) * 64


@styles
def test_weights_for_rows_that_are_repeated(style: str) -> None:
    """One row of each candidate meets the weight of each of three tokens."""
    body = "x = Concat <axis = 2> (user, item) p = MatMul (x, w) r = Relu (p) y = Flatten (r)"
    types: dict[str, Any] = {"user": "float[1, 1, 80]", "item": "float[1, 1, 40]", "output": "float[B, 192] y"}
    rewrite_and_check(ranking(style, body.replace("axis = 2", "axis = 3"), **types, w=integers(3, 120, 64)))


@styles
def test_rows_of_the_user_among_the_queries(style: str) -> None:
    """Queries of the user and of the item meet keys of the user: the user's scores are computed once."""
    body = """q = Concat <axis = 1> (user, item) k = Transpose <perm = [0, 2, 1]> (user) s = MatMul (q, k)
        r = Relu (s) y = Flatten (r)"""
    types: dict[str, Any] = {"user": "float[5, 8]", "item": "float[2, 8]", "output": "float[B, 35] y"}
    result = rewrite_and_check(ranking(style, body, **types))
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == (requests * 5 + MANY * 2) * 8 * 5


def test_tokens_whose_weights_are_computed_for_each_candidate() -> None:
    """Nothing of the product is the user's, and there is one product."""
    body = """x = Concat <axis = 1> (user, item) t = Unsqueeze (x, two) w = Mul (t, k) p = MatMul (t, w)
        y = Squeeze (p, two)"""
    types: dict[str, Any] = {"user": "float[5, 1]", "item": "float[2, 1]", "output": "float[B, 7, 3] y"}
    result = rewrite_and_check(ranking("one", body, **types, two=[2], k=integers(1, 1, 3)))
    assert result.ops.count("MatMul") <= 2
