"""Fused operators are what they were fused from; a runtime fuses again what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.ir.extents import symbol
from tests.graphs import STYLES, Rewritten, integers, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


def fused(style: str, body: str, *, opset: int = 17, **given: Any) -> Rewritten:
    body = body.replace("ms.", "com.microsoft.")
    return rewrite_and_check(ranking(style, body, opset=opset, domains=', "com.microsoft" : 1', **given), rtol=1e-5)


COLUMNS = "x = Concat <axis = 1> (user, item) "


@styles
@pytest.mark.parametrize("attributes", ["", "<alpha = 0.5>", "<transB = 1>", "<alpha = 2.0, transB = 1>"])
def test_a_product_with_a_factor(style: str, attributes: str) -> None:
    w = integers(2, 7) if "transB" in attributes else integers(7, 2)
    result = fused(style, COLUMNS + f"y = ms.FusedMatMul {attributes} (x, w)", w=w)
    assert "FusedMatMul" not in result.ops
    assert result.ops.count("Gemm") == 2


@styles
def test_scores_of_attention(style: str) -> None:
    """Two computed values: candidates become rows."""
    body = "q = Unsqueeze (item, one) s = ms.FusedMatMul <alpha = 0.5, transB = 1> (q, user) y = Squeeze (s, one)"
    result = fused(style, body, user="float[5, 4]", item="float[4]", output="float[B, 5] y", one=[1])
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("rest", ["", ", zw", ", zw, b"])
def test_a_product_that_quantizes_its_input(style: str, rest: str) -> None:
    body = f"x = Concat <axis = 1> (user, item) y = ms.DynamicQuantizeMatMul (x, w, sw{rest})"
    given: dict[str, Any] = {"w": integers(120, 64).astype(np.int8), "sw": np.array([0.5], np.float32)}
    given |= {"zw": np.array([1], np.int8)} if rest else {}
    given |= {"b": integers(64)} if "b" in rest else {}
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "float[B, 64] y"}
    assert fused(style, body, **types, **given).ops.count("MatMulInteger") == 2


@styles
def test_a_product_of_bytes_in_floats(style: str) -> None:
    body = """x = Concat <axis = 1> (user, item) q, s, z = DynamicQuantizeLinear (x)
              y = ms.MatMulIntegerToFloat (q, w, s, sw, z, zw, b)"""
    given: dict[str, Any] = {"w": integers(120, 64).astype(np.int8), "sw": np.linspace(0.5, 1, 64, dtype=np.float32)}
    given |= {"zw": np.zeros(64, np.int8), "b": integers(64)}
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "float[B, 64] y"}
    assert fused(style, body, **types, **given).ops.count("MatMulInteger") == 2


def test_a_batch_that_is_not_in_front_is_refused() -> None:
    body = "q = Reshape (item, shape) y = com.microsoft.FusedMatMul <transBatchA = 1> (q, user)"
    types: dict[str, Any] = {"user": "float[2, 4, 2]", "item": "float[8]", "output": "float[B, 2, M, 2] y"}
    model = ranking("one", body, domains=', "com.microsoft" : 1', shape=[-1, 2, 1, 4], **types)
    assert rewrite(model).refusals("FusedMatMul") == ["FusedMatMul of a batch that is not in front"]


def test_a_vector_is_refused() -> None:
    """onnxruntime 1.32 makes of a transposed side and a vector what is not their product."""
    body = "r = Relu (user) y = com.microsoft.FusedMatMul (r, v)"
    model = ranking("one", body, domains=', "com.microsoft" : 1', output="float[B] y", v=integers(4))
    assert rewrite_and_check(model).refusals("FusedMatMul") == ["FusedMatMul of a vector"]


@styles
@pytest.mark.parametrize(
    ("attributes", "activation"),
    [
        ('<activation = "Relu">', "Relu"),
        ('<activation = "LeakyRelu", activation_alpha = 0.5>', "LeakyRelu"),
        ('<activation = "HardSigmoid", activation_alpha = 0.5, activation_beta = 0.25>', "HardSigmoid"),
        ('<activation = "Tanh", transB = 1>', "Tanh"),
    ],
)
def test_a_layer(style: str, attributes: str, activation: str) -> None:
    w = integers(2, 7) if "transB" in attributes else integers(7, 2)
    result = fused(style, COLUMNS + f"y = ms.FusedGemm {attributes} (x, w, b)", w=w, b=integers(2))
    assert result.ops.count("Gemm") == 2
    assert result.ops.count(activation) == 1
    assert "FusedGemm" not in result.ops


def test_a_layer_of_the_candidate_stays_fused() -> None:
    body = COLUMNS + 'h = ms.FusedGemm <activation = "Relu"> (item, w) k = MatMul (x, v) y = Add (h, k)'
    result = fused("one", body, w=integers(3, 2), v=integers(7, 2))
    assert result.ops.count("FusedGemm") == 1


@styles
def test_a_convolution(style: str) -> None:
    body = """c = ms.FusedConv <activation = "LeakyRelu", activation_params = [0.5]> (user, w, b)
              m = ReduceMax <axes = [2], keepdims = 0> (c) y = Mul (m, item)"""
    result = fused(style, body, user="float[4, 5]", item="float[6]", w=integers(6, 4, 2), b=integers(6))
    assert result.ops.count("Conv") == 1
    assert symbol("B") not in result.program.values["c"].array.tensor.known_shape


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_a_convolution_of_all_pairs_of_fields(style: str) -> None:
    """That they are pairs is no form of the input, and the user's fields go into the weight all the same."""
    body = """z = Concat <axis = 1> (user, item) p = Einsum <equation = "bhd,bmd->bhmd"> (z, z) q = Reshape (p, flat)
              y = ms.FusedConv <activation = "Relu"> (q, w)"""
    types: dict[str, Any] = {"user": "float[6, 4]", "item": "float[3, 4]", "output": "float[B, 8, 4] y"}
    result = fused(style, body, **types, flat=[0, 81, 4], w=integers(8, 81, 1))
    assert "FusedConv" not in result.ops
    assert result.plan.work.macs < result.plan.cost.batch * (3 * 3 + 3 + 1) * 4 * 8


@styles
@pytest.mark.parametrize("addend", ["user", "item"])
def test_a_convolution_to_which_something_is_added(style: str, addend: str) -> None:
    """Of the user's it is the user's; of the candidates' the convolution alone is."""
    source = "z = Conv (user, w)" if addend == "user" else "z = Neg (item)"
    body = f'{source} c = ms.FusedConv <activation = "Relu"> (user, w, b, z) y = Mul (c, item)'
    types: dict[str, Any] = {"user": "float[4, 5]", "item": "float[6, 4]", "output": "float[B, 6, 4] y"}
    result = fused(style, body, **types, w=integers(6, 4, 2), b=integers(6))
    assert result.ops.count("Conv") == (2 if addend == "user" else 1)
    assert "FusedConv" not in result.ops
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize(
    "node", ["Gelu (x)", "QuickGelu <alpha = 1.0> (x)", "FastGelu (x)", "FastGelu (x, b)", "BiasGelu (x, b)"]
)
def test_activations_part_by_part(style: str, node: str) -> None:
    constants: dict[str, Any] = {"b": integers(7)} if "b)" in node else {}
    result = fused(style, COLUMNS + f"g = ms.{node} y = MatMul (g, w)", w=integers(7, 2), **constants)
    assert "Concat" not in result.ops


@styles
@pytest.mark.parametrize("rest", ["", ", shift", ", shift, bias"])
def test_a_sum_that_is_normalized(style: str, rest: str) -> None:
    constants: dict[str, Any] = {"scale": integers(4)} | {
        k: integers(4, seed=1) for k in ("shift", "bias") if k in rest
    }
    body = f"""r = Relu (user) h, , , s = ms.SkipLayerNormalization <epsilon = 1.0> (user, r, scale{rest})
               a = Add (h, s) y = Add (a, item)"""
    result = fused(style, body, user="float[5, 4]", item="float[5, 4]", output="float[B, 5, 4] y", **constants)
    assert result.ops.count("LayerNormalization") == 1
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("rest", ["", ", bias"])
@pytest.mark.parametrize("opset", [14, 18])
def test_a_sum_that_is_normalized_without_its_mean(style: str, rest: str, opset: int) -> None:
    constants: dict[str, Any] = {"scale": integers(4)} | ({"bias": integers(4, seed=1)} if rest else {})
    body = f"""r = Relu (user) h, , , s = ms.SkipSimplifiedLayerNormalization <epsilon = 1.0> (user, r, scale{rest})
               a = Add (h, s) y = Add (a, item)"""
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[5, 4]", "output": "float[B, 5, 4] y"}
    result = fused(style, body, opset=opset, **types, **constants)
    assert result.ops.count("SimplifiedLayerNormalization") == 1
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("scale", ["scale", "item", "gate"])
def test_normalization_whose_scale_is_computed(style: str, scale: str) -> None:
    """onnxruntime takes the gate behind a normalization for its scale: the norm is the user's whatever the gate is."""
    body = f"gate = Sigmoid (user) h = SimplifiedLayerNormalization <epsilon = 1.0> (user, {scale}) y = Add (h, item)"
    constants: dict[str, Any] = {"scale": integers(4)} if scale == "scale" else {}
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[5, 4]", "output": "float[B, 5, 4] y"}
    result = fused(style, body, **types, **constants)
    assert result.ops.count("SimplifiedLayerNormalization") == 1
    assert "Expand" not in result.ops
    assert ("Mul" in result.ops) == (scale != "scale")


@pytest.mark.parametrize("node", ["SimplifiedLayerNormalization (x, e)", "LayerNormalization (x, e)"])
def test_a_constant_scale_that_repeats_for_each_candidate(node: str) -> None:
    """It has a row for each candidate, and what is normalized has one."""
    body = f"""n = Shape <end = 1> (item) s = Concat <axis = 0> (n, three) e = Expand (c, s) m = Expand (user, s)
        x = Relu (m) h = {node} y = Add (h, item)"""
    given: dict[str, Any] = {"three": [3], "c": np.ones((1, 3), np.float32)}
    fused("one", body, user="float[3]", **given)


def test_normalization_that_the_opset_lacks() -> None:
    body = "r = Relu (user) h = com.microsoft.SkipLayerNormalization (user, r, scale) y = Add (h, item)"
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[5, 4]", "output": "float[B, 5, 4] y"}
    model = ranking("one", body, opset=16, domains=', "com.microsoft" : 1', scale=np.ones(4, np.float32), **types)
    assert rewrite(model).refusals("SkipLayerNormalization") == ["SkipLayerNormalization before opset 17"]


def test_the_graph() -> None:
    """A fused layer is two products and its activation."""
    body = COLUMNS + 'y = ms.FusedGemm <activation = "Relu"> (x, w, b)'
    result = fused("one", body, output="float[B, 2] y", w=integers(7, 2), b=integers(2))
    assert result.graph == [
        "user_row.gemm [1 2] = Gemm (user_row, w.user, b.part)",
        "item.gemm [B 2] = Gemm (item, w.item, user_row.gemm)",
        "y [B 2] = Relu (item.gemm)",
    ]
