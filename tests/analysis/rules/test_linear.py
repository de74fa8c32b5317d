"""x @ W + b: terms go through, parts on another axis stay parts, and a weight may be on the left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graphs import MANY, STYLES, Rewritten, assert_same, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


def without_sources(result: Rewritten) -> list[str]:
    """The operators, less what takes the user's rows from an input or gives them to the candidates."""
    return [op for op in result.ops if op not in ("Slice", "Gather")]


@styles
def test_matmul_and_add(style: str) -> None:
    """The bias of a 3-D Linear goes with the user's part."""
    body = """
        x = Unsqueeze (user, one) i = Unsqueeze (item, one) e = Expand (x, length) f = Expand (i, length)
        c = Concat <axis = 2> (e, f) p = MatMul (c, w) y = Add (b, p)
    """
    constants: dict[str, Any] = {"w": integers(128, 8), "b": integers(8, seed=1), "one": [1], "length": [1, 5, 1]}
    types: dict[str, Any] = {"user": "float[64]", "item": "float[64]", "output": "float[B, 5, 8] y"}
    result = rewrite_and_check(ranking(style, body, **types, **constants))
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2
    assert "Concat" not in [n.op_type for n in result.model.graph.node if "c" in n.output]


@styles
def test_gemm_scales(style: str) -> None:
    body = "x = Concat <axis = 1> (user, item) y = Gemm <alpha = 2.0> (x, w, b)"
    result = rewrite_and_check(ranking(style, body, w=integers(7, 2), b=integers(2)))
    alphas = [[a.f for a in n.attribute if a.name == "alpha"] for n in result.nodes("Gemm")]
    assert len(alphas) == 2


def test_gemm_with_beta_is_not_split() -> None:
    body = "x = Concat <axis = 1> (user, item) y = Gemm <beta = 2.0> (x, w, b)"
    result = rewrite_and_check(ranking("one", body, w=integers(7, 2), b=integers(2)))
    assert result.ops.count("Gemm") == 1
    assert [r.status for r in result.remarks if r.op_type == "Gemm"] == ["as is"]


@styles
@pytest.mark.parametrize("shape", [(1, 2), (2,), (1,), (1, 1)])
def test_shapes_of_the_bias(style: str, shape: tuple[int, ...]) -> None:
    body = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
    assert rewrite_and_check(ranking(style, body, w=integers(7, 2), b=integers(*shape))).ops.count("Gemm") == 2


def test_a_bias_with_rows_of_its_own() -> None:
    """C is computed from the items, the product is the user's: C must not have rows that the product lacks."""
    body = "c = MatMul (item, v) y = Gemm (user, w, c)"
    for style in STYLES:
        rewrite_and_check(ranking(style, body, w=integers(4, 2), v=integers(3, 2)))


@styles
@pytest.mark.parametrize(
    "through",
    ["t = Identity (w0)", "t = Transpose <perm = [1, 0]> (w0)", "f = Cast <to = 11> (w0) t = Cast <to = 1> (f)"],
)
def test_the_weight_behind_other_operators(style: str, through: str) -> None:
    w = integers(7, 2)
    w0 = w.T.copy() if "Transpose" in through else w
    result = rewrite_and_check(ranking(style, f"{through} x = Concat <axis = 1> (user, item) y = MatMul (x, t)", w0=w0))
    assert result.ops.count("Gemm") == 2


@styles
def test_one_weight_used_twice(style: str) -> None:
    body = "a = MatMul (user, w) r = Relu (a) b = MatMul (r, w) y = Mul (b, item)"
    result = rewrite_and_check(ranking(style, body, item="float[4]", w=integers(4, 4)))
    assert "Expand" not in result.ops


@styles
def test_the_user_alone(style: str) -> None:
    result = rewrite_and_check(ranking(style, "h = MatMul (user, w) y = Add (h, item)", w=integers(4, 3)))
    assert without_sources(result) == ["MatMul", "Add"]


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_other_element_types(dtype: Any) -> None:
    kind = {np.float64: "double", np.int32: "int32"}[dtype]
    body = "x = Concat <axis = 1> (user, item) y = MatMul (x, w)"
    types: dict[str, Any] = {"user": f"{kind}[64]", "item": f"{kind}[3]", "output": f"{kind}[B, 8] y"}
    result = rewrite_and_check(ranking("one", body, **types, w=integers(67, 8).astype(dtype)))
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2
    assert dtype is np.float64 or "Gemm" not in result.ops


def test_a_product_before_gemm_could_do_without_a_bias() -> None:
    body = "x = Concat <axis = 1> (user, item) y = MatMul (x, w)"
    model = ranking("one", body, user="float[64]", opset=10, w=integers(67, 2))
    assert rewrite_and_check(model).ops == ["MatMul", "MatMul", "Add"]


def test_a_product_of_what_no_rank_is_known_of() -> None:
    """Only the product's own is: nothing can be said of its rows."""
    text = """g (float[B, 4] user, float[B, 3] item) => (float[M, 5, 4] y) <float[M, 5, 4] p> {
            x = acme.Rows (item) p = MatMul (x, w) y = Add (p, b)
        }"""
    result = rewrite(parse(text, domains=', "acme" : 1', w=integers(4, 4), b=integers(4)))
    assert result.ops == ["Rows", "MatMul", "Add"]


def test_a_transposed_input_is_refused() -> None:
    model = parse("g (float[B, 4] user, float[B, 3] item) => (float[4, 3] y) { y = Gemm <transA = 1> (user, item) }")
    result = rewrite_and_check(model)
    assert result.refusals("Gemm") == ["Gemm with transA = 1 has its rows last"]
    assert result.ops == ["Gemm"]
    assert next(r.next_step for r in result.remarks) == "export the layer as a Linear"


def test_a_width_that_is_not_proven() -> None:
    text = "g (float[B, K] user, float[3, K2] item) => (float[B, 3] y)"
    result = rewrite(parse(f"{text} {{ t = Transpose (item) y = MatMul (user, t) }}"))
    (reason,) = result.refusals("MatMul")
    assert reason == "the width K of the input is not proven equal to the weight's K2"
    assert result.ops == ["Transpose", "MatMul"]


def test_a_bias_that_does_not_broadcast_is_refused() -> None:
    """Its rows may be one or as many as the product's."""
    text = "g (float[B, 4] user, float[2, M] item) => (float[B, 2] y)"
    result = rewrite(parse(f"{text} {{ c = Transpose (item) y = Gemm (user, w, c) }}", w=integers(4, 2)))
    assert result.refusals("Gemm") == ["the bias of Gemm does not broadcast to its product"]
    assert result.ops == ["Transpose", "Gemm"]


@styles
def test_a_bias_for_each_of_the_parts_rows(style: str) -> None:
    """[a; b] @ W + C is not [a @ W + C; b @ W + C]."""
    body = """
        i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) f = Reshape (x, rows_) g = Gemm (f, v)
        n = Neg (g) y = Gemm (f, w, n)
    """
    types: dict[str, Any] = {"user": "float[2, 4]", "item": "float[4]", "output": "float[M, 3] y"}
    rewrite_and_check(ranking(style, body, **types, w=integers(4, 3), v=integers(4, 3, seed=1), one=[1], rows_=[-1, 4]))


@styles
@pytest.mark.parametrize("node", ["MatMul (e, w)", "Gemm (e, w, b)", "MatMul (e, t)"])
def test_columns_that_are_not_stored(style: str, node: str) -> None:
    """One number, repeated, is multiplied by each row of the weight."""
    body = f"e = Expand (user, wide) t = Transpose (turned) p = {node} y = Mul (p, item)"
    constants: dict[str, Any] = {"w": integers(4, 3), "b": integers(3), "turned": integers(3, 4), "wide": [1, 4]}
    result = rewrite_and_check(ranking(style, body, user="float[1]", **constants))
    assert "B" not in map(str, result.program.values["p"].array.tensor.known_shape)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_product_takes_what_is_added_as_its_c(dtype: Any) -> None:
    body = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
    kind = {np.float16: "float16", np.float32: "float", np.float64: "double"}[dtype]
    types: dict[str, Any] = {"user": f"{kind}[8]", "item": f"{kind}[8]", "output": f"{kind}[B, N] y"}
    model = ranking("one", body, **types, w=integers(16, 8).astype(dtype), b=integers(8).astype(dtype))
    result = rewrite_and_check(model)
    assert result.ops == ["Gemm", "Gemm"]


@pytest.mark.parametrize("columns", [1, 2])
@styles
def test_a_weight_on_the_left(style: str, columns: int) -> None:
    """W @ x is a product for each part of x, and one of all rows: not one of each row."""
    body = """x = Concat <axis = 1> (user, item) c = Reshape (x, column) y = MatMul (w, c)"""
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": f"float[B, 5, {columns}] y"}
    model = ranking(style, body, **types, w=integers(5, 120 // columns), column=[-1, 120 // columns, columns])
    result = rewrite_and_check(model)
    assert "Concat" not in result.ops
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2


@pytest.mark.parametrize("batch", [10, 100, 500])
def test_a_weight_on_the_left_of_tokens_stays_there(batch: int) -> None:
    """Tokens that are compressed to fewer: nothing is transposed, and the user's tokens are compressed once."""
    body = "x = Concat <axis = 1> (user, item) y = MatMul (w, x)"
    types: dict[str, Any] = {"user": "float[60, 64]", "item": "float[40, 64]", "output": "float[B, 32, 64] y"}
    model = ranking("one", body, **types, w=integers(32, 100))
    result = rewrite(model, ["user_row"], batch=batch)
    assert result.graph == [
        "y.user [1 32 64] = MatMul (w.user, user_row)",
        "y.item [B 32 64] = MatMul (w.item, item)",
        "y [B 32 64] = Add (y.item, y.user)",
    ]
    assert_same(model, result.model)


@styles
@pytest.mark.parametrize("attributes", ["", "<transB = 1>", "<transA = 1>", "<transA = 1, transB = 1>"])
@pytest.mark.parametrize("c", ["", ", c"])
def test_a_gemm_whose_weight_is_on_the_left(style: str, attributes: str, c: str) -> None:
    """W @ [user item]' in each spelling: the user's columns once, and the item's for each candidate."""
    x = "x = Concat <axis = 1> (user, item)"
    if "transB" not in attributes:
        x = "r = Concat <axis = 1> (user, item) x = Transpose (r)"
    w = integers(48, 120)
    body = f"{x} y = Gemm {attributes} (w, x{c})"
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "float[48, B] y"}
    model = ranking(style, body, **types, w=w.T if "transA" in attributes else w, c=integers(48, 1))
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    assert result.program.work.macs == MANY * 120 * 48
    assert result.plan.work.macs == requests * 80 * 48 + MANY * 40 * 48


@styles
@pytest.mark.parametrize("shape", [(), (1,), (5, 1), (1, 1)])
def test_shapes_of_the_bias_of_a_weight_on_the_left(style: str, shape: tuple[int, ...]) -> None:
    body = "x = Concat <axis = 1> (user, item) y = Gemm <transB = 1> (w, x, c) z = Gemm <alpha = 2.0> (v, y, c)"
    output = "float[1, B] z" if shape != (5, 1) else "float[5, B] z"
    v = integers(1 if shape != (5, 1) else 5, 5, seed=2)
    rewrite_and_check(ranking(style, body, output=output, w=integers(5, 7), v=v, c=integers(*shape, seed=1)))


def test_a_gemm_of_a_weight_on_the_left_and_a_bias_of_the_candidates() -> None:
    """[user user] lacks the candidates, whose columns the bias has."""
    body = """x = Concat <axis = 1> (user, user) t = Transpose (item)
        y = Gemm <transB = 1> (w, x, t) z = Gemm <transB = 1, beta = 2.0> (w, x, t)"""
    text = ranking("one", body, output="float[3, B] y, float[3, B] z", w=integers(3, 8))
    assert rewrite_and_check(text).ops.count("Gemm") == 2


@pytest.mark.parametrize("attributes", ["", ", alpha = 2.0", ", alpha = 2.0, beta = 3.0"])
def test_a_weight_on_the_left_is_scaled(attributes: str) -> None:
    """A product with alpha is a Gemm; one whose bias has beta stays whole."""
    body = f"x = Concat <axis = 1> (user, item) y = Gemm <transB = 1{attributes}> (w, x, c) s = Transpose (y)"
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "float[B, 5] s"}
    result = rewrite_and_check(ranking("one", body, **types, w=integers(5, 120), c=integers(5, 1)))
    whole = "beta" in attributes
    assert result.plan.work.macs == (MANY * 120 * 5 if whole else 80 * 5 + MANY * 40 * 5)


@styles
def test_rows_that_come_last(style: str) -> None:
    """x' of x [k B], as in a model whose features come first."""
    body = "x = Concat <axis = 1> (user, item) t = Transpose (x) y = Gemm <transA = 1> (t, w)"
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "float[B, 5] y"}
    result = rewrite_and_check(ranking(style, body, **types, w=integers(120, 5)))
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == requests * 80 * 5 + MANY * 40 * 5


def test_the_graph() -> None:
    """[user item] @ W + b is user @ W_user + b + item @ W_item, and the user's part is computed once."""
    types: dict[str, Any] = {"user": "float[64]", "item": "float[64]", "output": "float[B, 2] y"}
    body = "x = Concat <axis = 1> (user, item) p = MatMul (x, w) y = Add (p, b)"
    result = rewrite_and_check(ranking("one", body, **types, w=integers(128, 2), b=integers(2)))
    assert result.graph == [
        "y.user [1 2] = Gemm (user_row, w.user, b.part)",
        "y [B 2] = Gemm (item, w.item, y.user)",
    ]
