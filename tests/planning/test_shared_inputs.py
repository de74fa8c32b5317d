"""Products of one input as one product: what becomes of them, and that it is the same."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.planning.shared_inputs import stack_siblings
from tests.graphs import STYLES, Rewritten, assert_same, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)

EXPERTS = 4


def linears(count: int, width: int, columns: int) -> dict[str, Any]:
    stored: dict[str, Any] = {f"w{i}": integers(columns, width, seed=i) for i in range(count)}
    return stored | {f"b{i}": integers(columns, seed=10 + i) for i in range(count)}


def gemms(count: int, x: str = "x") -> str:
    return " ".join(f"g{i} = Gemm <transB = 1> ({x}, w{i}, b{i})" for i in range(count))


@styles
def test_experts_that_are_joined_are_one_product_of_each_side(style: str) -> None:
    body = "x = Concat <axis = 1> (user, item)" + gemms(EXPERTS)
    body += " ".join(f"r{i} = Relu (g{i}) e{i} = Unsqueeze (r{i}, one)" for i in range(EXPERTS))
    body += f"all = Concat <axis = 1> ({', '.join(f'e{i}' for i in range(EXPERTS))})"
    body += "y = ReduceMax <axes = [1], keepdims = 0> (all)"
    result = rewrite_and_check(ranking(style, body, one=[1], **linears(EXPERTS, 7, 3)))
    assert (result.ops.count("Gemm"), result.ops.count("Relu"), result.ops.count("Concat")) == (2, 1, 0)


@styles
def test_gates_mix_the_experts_in_one_product(style: str) -> None:
    """Softmax and a product with the same right side leave the axis of the siblings alone."""
    body = "x = Concat <axis = 1> (user, item) values = Reshape (item, shape)" + gemms(3)
    body += " ".join(
        f"p{i} = Softmax (g{i}) q{i} = Unsqueeze (p{i}, one) m{i} = MatMul (q{i}, values) s{i} = Squeeze (m{i}, one)"
        for i in range(3)
    )
    body += " t = Add (s0, s1) y = Mul (t, s2)"
    model = ranking(style, body, item="float[3]", one=[1], shape=[-1, 3, 1], **linears(3, 7, 3))
    result = rewrite_and_check(model, rtol=1e-5)
    assert (result.ops.count("Softmax"), result.ops.count("MatMul")) == (1, 1)


def test_siblings_beside_a_tensor_of_unknown_rank() -> None:
    """The elements of the target of the Reshape are known at run time alone, and so is how many there are."""
    body = "x = Concat <axis = 1> (user, item)" + gemms(2)
    body += " extents = Compress (list, yes) t = Reshape (item, extents) y = Concat <axis = 1> (g0, g1, t)"
    model = ranking("one", body, list=[-1, 3], yes=np.ones(2, np.bool_), **linears(2, 7, 3))
    assert "Reshape" in rewrite_and_check(model).ops


def test_siblings_that_become_tensors_of_unknown_rank() -> None:
    body = "x = Concat <axis = 1> (user, item)" + gemms(2)
    body += """ extents = Compress (list, yes) t0 = Reshape (g0, extents) t1 = Reshape (g1, extents)
        y = Concat <axis = 1> (t0, t1)"""
    model = ranking("one", body, list=[-1, 3], yes=np.ones(2, np.bool_), **linears(2, 7, 3))
    assert rewrite_and_check(model).ops.count("Reshape") >= 2


def test_siblings_in_a_concat_of_unknown_rank() -> None:
    """Shape inference gives none to a Concat of extents that fit for one candidate alone."""
    b = Builder()
    x, unknown = b.input("x", (symbol("B"), 7), 1), cast(Any, None)
    stored = [b.initializer(numpy_helper.from_array(integers(7, 3, seed=i), f"w{i}")) for i in range(2)]
    products = [b.make("MatMul", [x, w], (symbol("B"), 3)) for w in stored]
    joined = b.make("Concat", products, unknown, axis=-1)
    stack_siblings(b, [*(p.node for p in products), joined.node], 17)
    assert b.choices  # the products are stacked
    assert not any(joined in choice for choice in b.choices)


@pytest.mark.parametrize(("whole", "stacked"), [((), True), (("y1",), False), (("other",), True)])
def test_a_product_that_stays_as_it_is_is_no_sibling(whole: tuple[str, ...], stacked: bool) -> None:
    """Where its rewrite failed the verification: as a sibling it would fail again."""
    b = Builder()
    x, shape = b.input("x", (symbol("B"), 7), 1), (symbol("B"), 3)
    products = []
    for i in range(2):
        w = b.initializer(numpy_helper.from_array(integers(7, 3, seed=i), f"w{i}"))
        product = b.make("MatMul", [x, w], shape).node
        product.proto = helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"])
        products.append(product)
    stack_siblings(b, products, 17, frozenset(whole))
    assert bool(b.choices) == stacked


def test_normalization_and_bias_of_each_sibling() -> None:
    body = gemms(3, "item")
    for i in range(3):
        body += f" n{i} = BatchNormalization (g{i}, s{i}, b{i}, m{i}, v{i}) a{i} = Add (n{i}, m{i}) r{i} = Relu (a{i})"
    body += " y = Concat <axis = 1> (r0, r1, r2)"
    constants = linears(3, 3, 4)
    for i in range(3):
        constants |= {f"s{i}": integers(4, seed=20 + i), f"m{i}": integers(4, seed=30 + i)}
        constants |= {f"v{i}": np.ones(4, np.float32)}
    text = f"g (float[1, 2] user, float[B, 3] item) => (float[B, N] y, float[1, 2] z) {{ z = Relu (user) {body} }}"
    result = rewrite_and_check(parse(text, **constants), rtol=1e-5)
    assert [result.ops.count(op) for op in ("Gemm", "BatchNormalization", "Add", "Concat")] == [1, 1, 1, 0]


@pytest.mark.parametrize("node", ["Softsign ({x})", "Max ({x}, {c})", "Sub ({c}, {x})"])
def test_elementwise_operators_are_one_of_all_siblings(node: str) -> None:
    """Of one operand, or with constants beside it for each column."""
    body = gemms(3, "item") + " ".join(f"r{i} = {node.format(x=f'g{i}', c=f'c{i}')}" for i in range(3))
    constants = linears(3, 3, 4) | {f"c{i}": integers(4, seed=20 + i) for i in range(3)}
    text = f"g (float[1, 2] user, float[B, 3] item) => (float[B, 12] y, float[1, 2] z) {{ z = Relu (user) {body}"
    result = rewrite_and_check(parse(f"{text} y = Concat <axis = 1> (r0, r1, r2) }}", **constants), rtol=1e-5)
    assert [result.ops.count(op) for op in ("Gemm", node.split()[0], "Concat")] == [1, 1, 0]


def test_siblings_that_are_wanted_alone_stay_alone() -> None:
    """A copy of each would cost more than the launches that it saves."""
    body = gemms(2, "item") + " r0 = Relu (g0) r1 = Relu (g1) h0 = MatMul (r0, v) h1 = MatMul (r1, w)"
    constants = {**linears(2, 3, 400), "v": integers(400, 2), "w": integers(400, 2, seed=1)}
    text = f"g (float[1, 2] user, float[B, 3] item) => (float[B, 2] h0, float[B, 2] h1) {{ {body} }}"
    assert rewrite_and_check(parse(text, **constants)).ops.count("Gemm") == 2


@pytest.mark.parametrize(
    "difference",
    [
        {"w1": integers(5, 3), "b1": integers(5)},
        {"g1": "g1 = Gemm <transB = 1, alpha = 2.0> (item, w1, b1)"},
        {"g1": "g1 = Gemm <transB = 1> (item, w1)"},
        {"g1": "neg = Neg (item) g1 = Gemm <transB = 1> (neg, w1, b1)"},
        {"b0": integers(1), "b1": integers(1)},
    ],
    ids=["width", "alpha", "bias", "input", "one number"],
)
def test_products_that_are_no_siblings(difference: dict[str, Any]) -> None:
    constants = linears(2, 3, 4) | {k: v for k, v in difference.items() if not isinstance(v, str)}
    second = difference.get("g1", "g1 = Gemm <transB = 1> (item, w1, b1)")
    body = f"g0 = Gemm <transB = 1> (item, w0, b0) {second} y = Concat <axis = 1> (g0, g1)"
    result = rewrite_and_check(
        parse(f"g (float[1, 2] user, float[B, 3] item) => (float[B, N] y) {{ {body} }}", **constants)
    )
    assert result.ops.count("Gemm") == 2


def test_a_sibling_that_another_needs() -> None:
    """The second product adds the first: one product of both would need itself."""
    body = """
        g0 = Gemm <transB = 1> (item, w0, b0) s = Softmax (g0) g1 = Gemm <transB = 1> (item, w1, s)
        y = Concat <axis = 1> (g0, g1)
    """
    constants = linears(2, 3, 4)
    del constants["b1"]
    constants["b0"] = integers(1, 4)
    rewrite_and_check(
        parse(f"g (float[1, 2] user, float[B, 3] item) => (float[B, 8] y) {{ {body} }}", **constants), rtol=1e-5
    )


# Row 0 of what the caller tiles


TILED = """g (int64[B] user_a, int64[B] user_b, int64[B] item_a, int64[B] item_b) => (float[B, N] y) {
    a = Gather (t, user_a) b = Gather (t, user_b) c = Gather (t, item_a) d = Gather (t, item_b)
    x = Concat <axis = 1> (a, c, b, d) h = Gemm (x, w, bias) r = Relu (h)
    BODY
}"""
TABLES: dict[str, Any] = {"t": integers(4, 16), "w": integers(64, 256), "bias": integers(256), "v": integers(256, 64)}


def tiled(body: str, batch: int) -> tuple[Rewritten, onnx.ModelProto]:
    model = parse(TILED.replace("BODY", body), **TABLES)
    return rewrite(model, ["user_a", "user_b"], batch), model


def test_where_all_columns_are_needed_row_0_is_taken_of_them() -> None:
    """A residual connection needs the whole Concat: then one Slice gives the user's row, and nothing is expanded."""
    few, model = tiled("back = MatMul (r, v) y = Add (back, x)", 100)
    assert (few.ops.count("Slice"), few.ops.count("Expand")) == (1, 0)
    assert_same(model, few.model, ["user_a", "user_b"])
    rewrite_and_check(model, ["user_a", "user_b"])


def test_where_they_are_not_each_input_gives_its_row() -> None:
    result = rewrite_and_check(parse(TILED.replace("BODY", "y = Neg (r)"), **TABLES), ["user_a", "user_b"])
    assert (result.ops.count("Slice"), result.ops.count("Gemm")) == (2, 2)


def test_the_graph() -> None:
    """Two experts of the user and the candidate are one product of each."""
    body = f"x = Concat <axis = 1> (user, item) {gemms(2)} r0 = Relu (g0) r1 = Relu (g1) y = Concat <axis = 1> (r0, r1)"
    result = rewrite_and_check(ranking("one", body, output="float[B, 6] y", **linears(2, 7, 3)))
    assert result.graph == [
        "g0.user.siblings [1 6] = Gemm (user_row, w0.user.part, b0.part)",
        "g0.siblings [B 6] = Gemm (item, w0.item.part, g0.user.siblings)",
        "g0.siblings.reshape [B 2 3] = Reshape (g0.siblings)",
        "g0.siblings.relu [B 2 3] = Relu (g0.siblings.reshape)",
        "y [B 6] = Reshape (g0.siblings.relu)",
    ]


def test_an_operator_of_onnxruntime_is_written_for_each_expert() -> None:
    """ONNX has a Gelu of its own, but not in opset 17."""
    body = "x = Concat <axis = 1> (user, item)" + gemms(EXPERTS)
    body += " ".join(f"r{i} = com.microsoft.Gelu (g{i}) e{i} = Unsqueeze (r{i}, one)" for i in range(EXPERTS))
    body += f"all = Concat <axis = 1> ({', '.join(f'e{i}' for i in range(EXPERTS))})"
    body += "y = ReduceMax <axes = [1], keepdims = 0> (all)"
    imports = ', "com.microsoft": 1'
    result = rewrite_and_check(ranking("one", body, domains=imports, one=[1], **linears(EXPERTS, 7, 3)))
    gelus = [node for node in result.model.graph.node if node.op_type == "Gelu"]
    assert [node.domain for node in gelus] == ["com.microsoft"] * EXPERTS
