"""The format of operators on integers: each gives what it gave, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.ir.extents import symbol
from tests.graphs import MANY, STYLES, Rewritten, evaluate, feeds, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


def lacks_candidates(result: Rewritten, name: str) -> bool:
    return symbol("B") not in result.program.values[name].array.tensor.known_shape


QOPERATOR: dict[str, Any] = {
    "su": np.float32(0.5), "zu": np.uint8(9), "si": np.float32(0.25), "zi": np.uint8(100),
    "sx": np.float32(0.375), "zx": np.uint8(60), "sw": np.float32(0.5), "zw": np.int8(0),
    "sy": np.float32(4), "zy": np.uint8(99), "so": np.float32(5), "zo": np.uint8(101),
}  # fmt: skip
"""Scales and zero points of user, item, their Concat, the weight, the product, and its sum with a bias."""

FUSED_DOMAIN = ', "com.microsoft" : 1'


@styles
@pytest.mark.parametrize("order", ["u, su, zu, i, si, zi", "i, si, zi, u, su, zu, i, si, zi"])
def test_a_layer_of_quantized_operators(style: str, order: str) -> None:
    """As onnxruntime's static quantizer writes it in its format of operators."""
    width = 80 + 40 * order.count("i, si")
    body = f"""u = QuantizeLinear (user, su, zu) i = QuantizeLinear (item, si, zi)
        x = com.microsoft.QLinearConcat <axis = 1> (sx, zx, {order})
        p = QLinearMatMul (x, sx, zx, w, sw, zw, sy, zy)
        a = com.microsoft.QLinearAdd (p, sy, zy, c, sw, zw8, so, zo) y = DequantizeLinear (a, so, zo)"""
    rng = np.random.default_rng(0)
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "float[B, 192] y"}
    model = ranking(style, body, **types, **QOPERATOR, domains=FUSED_DOMAIN, zw8=np.uint8(3),
                    c=rng.integers(0, 99, 192).astype(np.uint8),
                    w=rng.integers(-9, 9, (width, 192)).astype(np.int8))  # fmt: skip
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == (requests * 80 + MANY * (width - 80)) * 192
    found = evaluate(result.model, feeds(model, 7))[0]
    assert len(np.unique(found)) > 10


def test_quantized_columns_of_the_item_alone_stay_one_node() -> None:
    body = """u = QuantizeLinear (user, su, zu) i = QuantizeLinear (item, si, zi)
        x = com.microsoft.QLinearConcat <axis = 1> (sx, zx, i, si, zi, i, su, zu)
        a = DequantizeLinear (x, sx, zx) d = DequantizeLinear (u, su, zu) m = ReduceMax <keepdims = 1> (d)
        y = Add (a, m)"""
    result = rewrite_and_check(ranking("one", body, **QOPERATOR, domains=FUSED_DOMAIN))
    assert result.ops.count("QLinearConcat") == 1


@styles
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_quantized_arithmetic_of_the_user(style: str, op_type: str) -> None:
    """Of two numbers of the user's once, also without zero points; of one of the item's for each candidate."""
    body = f"""u = QuantizeLinear (user, su, zu) i = QuantizeLinear (item, si, zi)
        v = com.microsoft.{op_type} (u, su, zu, u, si, zi, sy)
        s = com.microsoft.{op_type} (v, sy, none, i, si, zi, so, zo) y = DequantizeLinear (s, so, zo)"""
    result = rewrite_and_check(ranking(style, body, item="float[4]", domains=FUSED_DOMAIN, none=np.uint8(0),
                                       **QOPERATOR))  # fmt: skip
    assert lacks_candidates(result, "v") or style == "requests"
    assert result.ops.count(op_type) == 2


@pytest.mark.parametrize(
    ("op_type", "inputs"),
    [("QLinearConcat", "t, zx, u, su, zu, i, si, zi"), ("QLinearAdd", "u, t, zu, i, si, zi, so, zo")],
)
def test_quantized_operators_whose_scale_is_computed_are_refused(op_type: str, inputs: str) -> None:
    attributes = "<axis = 1>" if op_type == "QLinearConcat" else ""
    body = f"""u = QuantizeLinear (user, su, zu) i = QuantizeLinear (item, si, zi) m = ReduceMax <keepdims = 0> (user)
        t = Abs (m) x = com.microsoft.{op_type} {attributes} ({inputs}) y = DequantizeLinear (x, so, zo)"""
    result = rewrite(ranking("one", body, item="float[4]", domains=FUSED_DOMAIN, **QOPERATOR))
    assert result.refusals(op_type) == [f"{op_type} with a scale that the model computes"]


@styles
@pytest.mark.parametrize(
    "node",
    [
        "QLinearSigmoid (u, su, zu, so, zo)",
        "QLinearLeakyRelu <alpha = 0.1> (u, su, zu, so, zo)",
        "QLinearSoftmax <axis = -1, opset = 13> (u, su, zu, so, zo)",
    ],
)
def test_quantized_functions_of_the_user(style: str, node: str) -> None:
    body = f"""u = QuantizeLinear (user, su, zu) v = com.microsoft.{node} d = DequantizeLinear (v, so, zo)
        y = Add (d, item)"""
    given = {**QOPERATOR, "so": np.float32(1 / 256), "zo": np.uint8(0)}
    result = rewrite_and_check(ranking(style, body, item="float[4]", domains=FUSED_DOMAIN, **given))
    assert lacks_candidates(result, "v") or style == "requests"
    assert node.split()[0] in result.ops


def test_products_of_the_candidates_and_the_user() -> None:
    """Queries of the candidates times the user's keys, and weights times the user's values: no key is written out."""
    body = """i = QuantizeLinear (item, si, zi) k = QuantizeLinear (user, su, zu)
        kt = Transpose <perm = [0, 2, 1]> (k) s = QLinearMatMul (i, si, zi, kt, su, zu, sy, zy)
        p = com.microsoft.QLinearSoftmax <axis = -1, opset = 13> (s, sy, zy, sw, zo)
        c = QLinearMatMul (p, sw, zo, k, su, zu, so, zo) y = DequantizeLinear (c, so, zo)"""
    given: dict[str, Any] = {**QOPERATOR, "sy": np.float32(64), "sw": np.float32(1 / 256)}
    types: dict[str, Any] = {"user": "float[20, 64]", "item": "float[1, 64]", "output": "float[B, 1, 64] y"}
    result = rewrite_and_check(ranking("tiled", body, domains=FUSED_DOMAIN, **types, **given))
    assert sum("MatMul" in line for line in result.graph) == 2
    assert not any("Expand" in line for line in result.graph)


def test_products_of_the_candidates_alone_stay_on_integers() -> None:
    body = """i = QuantizeLinear (item, si, zi) t = Transpose <perm = [0, 2, 1]> (i)
        s = QLinearMatMul (i, si, zi, t, si, zi, sy, zy) d = DequantizeLinear (s, sy, zy)
        m = ReduceMax <axes = [1, 2], keepdims = 0> (d) y = Mul (m, user)"""
    model = ranking("one", body, user="float[1]", item="float[3, 4]", output="float[B, B] y", domains=FUSED_DOMAIN,
                    opset=17, **QOPERATOR)  # fmt: skip
    assert rewrite_and_check(model).ops.count("QLinearMatMul") == 1


def test_the_graph() -> None:
    """A Concat whose inputs are quantized again by themselves, and a sum."""
    body = """u = QuantizeLinear (user, su, zu) i = QuantizeLinear (item, si, zi)
        x = com.microsoft.QLinearConcat <axis = 1> (sx, zx, u, su, zu, i, si, zi)
        a = com.microsoft.QLinearAdd (x, sx, zx, x, sx, zx, so, zo) y = DequantizeLinear (a, so, zo)"""
    result = rewrite_and_check(ranking("one", body, output="float[B, 7] y", domains=FUSED_DOMAIN, **QOPERATOR))
    assert result.graph[:-2] == [
        "u.user [1 4] = QuantizeLinear (user_row, su, zu)",
        "i [B 3] = QuantizeLinear (item, si, zi)",
        "x.part [1 4] = QLinearConcat (sx, zx, u.user, su, zu)",
        "x.part.2 [B 3] = QLinearConcat (sx, zx, i, si, zi)",
        "a.part [1 4] = QLinearAdd (x.part, sx, zx, x.part, sx, zx, so, zo)",
        "a.part.2 [B 3] = QLinearAdd (x.part.2, sx, zx, x.part.2, sx, zx, so, zo)",
        "y.part [1 4] = DequantizeLinear (a.part, so, zo)",
        "y.part.2 [B 3] = DequantizeLinear (a.part.2, so, zo)",
    ]
