"""[a b] @ [Wa; Wb] = a@Wa + b@Wb; terms go through; what the right side lacks become rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.graphs import STYLES, Array, Rewritten, evaluate, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


def without_sources(result: Rewritten) -> list[str]:
    """The operators, less what takes the user's rows from an input or gives them to the candidates."""
    return [op for op in result.ops if op not in ("Slice", "Gather")]


def weight(result: Rewritten, name: str) -> Array:
    return numpy_helper.to_array(next(t for t in result.model.graph.initializer if t.name == name))


# Parts on the contracted axis


@styles
@pytest.mark.parametrize("trans", [0, 1])
def test_concat_and_gemm(style: str, trans: int) -> None:
    w, b = integers(7, 2), integers(2, seed=1)
    body = f"x = Concat <axis = 1> (user, item) y = Gemm <transB = {trans}> (x, w, b)"
    result = rewrite_and_check(ranking(style, body, w=w.T.copy() if trans else w, b=b))
    assert without_sources(result) == ["Gemm", "Gemm"]
    user, item = result.nodes("Gemm")
    assert weight(result, user.input[1]).shape == ((2, 4) if trans else (4, 2))
    np.testing.assert_array_equal(weight(result, user.input[2]).ravel(), b)
    assert list(item.input)[:2] == ["item", "w.item"]
    assert item.output[0] == "y"
    if style != "requests":
        assert item.input[2] == user.output[0]  # the user's row is the bias of the items' product


def test_what_concat_and_gemm_become_as_text() -> None:
    w, b = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([6, 7], np.float32)
    body = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
    model = ranking("one", body, user="float[1]", item="float[2]", output="float[B, 2] y", w=w, b=b)
    expected = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 1] user_row, float[B, 2] item) => (float[B, 2] y)
        <float[1, 2] "w.user" = {0, 1}, float[1, 2] "b.part" = {6, 7}, float[2, 2] "w.item" = {2, 3, 4, 5}> {
            "y.user" = Gemm (user_row, "w.user", "b.part")
            y = Gemm (item, "w.item", "y.user")
        }""")
    found = rewrite_and_check(model).model
    shown = [[(n.op_type, len(n.input), n.output[0] == "y") for n in m.graph.node] for m in (found, expected)]
    assert shown[0] == shown[1]
    stored = [sorted(numpy_helper.to_array(t).tolist() for t in m.graph.initializer) for m in (found, expected)]
    assert stored[0] == stored[1]
    assert (found.graph.input, found.graph.output) == (expected.graph.input, expected.graph.output)


@styles
def test_interleaved_parts_are_gathered(style: str) -> None:
    """[user item user item] is two products, their rows of the weight put together (the neat layout)."""
    w = integers(14, 2)
    body = "x = Concat <axis = 1> (user, item, user, item) y = Gemm (x, w)"
    result = rewrite_and_check(ranking(style, body, w=w))
    assert result.ops.count("Gemm") == 2
    stored = sorted(numpy_helper.to_array(t).shape for t in result.model.graph.initializer if t.data_type == 1)
    assert stored == [(6, 2), (8, 2)]


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


@styles
def test_merged_and_cut_rows(style: str) -> None:
    """[B, L, K] goes through a Linear as [(B L), K]: the user's part keeps L rows, the items' B."""
    body = """
        q = Unsqueeze (item, one) qe = Expand (q, length) x = Concat <axis = 2> (qe, user) r = Reshape (x, flat)
        p = Gemm (r, w, b) y = Reshape (p, back)
    """
    model = ranking(
        style,
        body,
        user="float[5, 64]",
        item="float[64]",
        output="float[B, 5, 8] y",
        w=integers(128, 8),
        b=integers(8),
        one=[1],
        length=[1, 5, 1],
        flat=[-1, 128],
        back=[-1, 5, 8],
    )
    result = rewrite_and_check(model)
    assert result.ops.count("Gemm") + result.ops.count("MatMul") == 2


@styles
def test_attention_unit_of_din(style: str) -> None:
    """[q, k, q-k, q*k] through a Linear: q's and k's products once each, only q*k's for every pair."""
    body = """
        q = Unsqueeze (item, one) qe = Expand (q, length)
        d = Sub (qe, user) m = Mul (qe, user) x = Concat <axis = 2> (qe, user, d, m)
        p = MatMul (x, w) s = Add (p, b) y = Relu (s)
    """
    model = ranking(
        style,
        body,
        user="float[5, 32]",
        item="float[32]",
        output="float[B, 5, 6] y",
        w=integers(128, 6),
        b=integers(6),
        one=[1],
        length=[1, 5, 1],
    )
    result = rewrite_and_check(model)
    (remark,) = [r for r in result.remarks if r.op_type == "MatMul"]
    assert remark.status == "applied"
    assert remark.macs_after < 0.6 * remark.macs_before
    assert "Concat" not in [n.op_type for n in result.model.graph.node if "x" in n.output]


@styles
def test_a_part_that_saves_less_than_a_launch_stays_with_the_next(style: str) -> None:
    """At two candidates one column of the user's is not worth a product of its own."""
    model = ranking(style, "x = Concat <axis = 1> (user, item) y = Gemm (x, w)", user="float[1]", w=integers(4, 2))
    assert rewrite(model, batch=2).ops.count("Gemm") == 1
    assert rewrite(model).ops.count("Gemm") == 2


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


# What does not hold


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
    shapes: dict[str, Any] = {t.name: list(t.dims) for t in result.model.graph.initializer}
    assert all(len(shapes.get(name, [0, 0])) >= 2 for name in product.input)
    item = integers(5, 4, 3, seed=1)
    user = integers(1, 4)
    found = evaluate(result.model, {"user_row": user, "item": item})[0]
    np.testing.assert_array_equal(found, np.swapaxes(item * integers(4, 1), 1, 2) @ integers(4))


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
def test_a_product_takes_what_is_added_as_its_c(dtype: type[np.floating]) -> None:
    body = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
    kinds: dict[type[np.floating], str] = {np.float16: "float16", np.float32: "float", np.float64: "double"}
    kind = kinds[dtype]
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


# Products of two computed values


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


# Remarks


def test_remarks_say_what_and_why() -> None:
    model = ranking("one", "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)", w=integers(7, 2), b=integers(2))
    (remark,) = [r for r in rewrite(model, batch=1000).remarks if r.rule == "product"]
    assert (remark.status, remark.op_type, remark.tensor) == ("applied", "Gemm", "y")
    assert (remark.macs_before, remark.macs_after) == (14_000, 6_008)
    assert remark.reason == "14,000 multiply-adds become 6,008"
    assert remark.forms == "[B 2] = user () + item (B)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = MatMul (item, w)", "every row and every column of it varies with the candidate"),
        ("h = MatMul (user_row, w) y = Add (h, item)", "computed once for the request already"),
    ],
)
def test_remarks_on_what_stays(body: str, reason: str) -> None:
    text = f"g (float[1, 3] user_row, float[B, 3] item) => (float[B, 3] y) {{ {body} }}"
    (remark,) = rewrite_and_check(parse(text, w=integers(3, 3))).remarks
    assert (remark.status, remark.reason) == ("as is", reason)


# Factors: a product, element by element, whose one side scales the weight


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
    """(B 1 D) @ (D L) is (B D) @ (D L): the candidates are the rows."""
    body = "q = Unsqueeze (item, one) k = Transpose <perm = [0, 2, 1]> (user) s = MatMul (q, k) y = Squeeze (s, one)"
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 5] y"}
    result = rewrite_and_check(ranking("one", body, **types, one=[1]))
    assert result.graph == [
        "user_row.reshape [5 4] = Reshape (user_row)",
        "user_row.transpose [4 5] = Transpose (user_row.reshape)",
        "y [B 5] = MatMul (item, user_row.transpose)",
    ]
