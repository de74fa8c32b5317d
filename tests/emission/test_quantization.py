"""What onnxruntime makes of quantized nodes side by side, it makes of both models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

from tests.graphs import feeds, integers, ranking, rewrite, rewrite_and_check


def served(model: onnx.ModelProto, inputs: dict[str, Any]) -> npt.NDArray[Any]:
    """The first output in onnxruntime, with all of its own optimizations."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answer: npt.NDArray[Any] = session.run(None, inputs)[0]
    return answer


# Two scales


@pytest.mark.parametrize("read", ["x", "i"])
def test_a_part_is_quantized_again_by_its_own_scale(read: str) -> None:
    """onnxruntime 1.32 would quantize 3 by 1 alone, and not by 2 first: 3, where the original has 4."""
    body = f"""uq = QuantizeLinear (user, two, none) ud = DequantizeLinear (uq, two, none)
        iq = QuantizeLinear (item, four, none) id = DequantizeLinear (iq, four, none)
        x = Concat <axis = 1> (ud, id) i = Identity (x) q = QuantizeLinear ({read}, one, none)
        d = DequantizeLinear (q, one, none) y = MatMul (d, w)"""
    scales: dict[str, Any] = {"one": np.float32(1), "two": np.float32(2), "four": np.float32(4), "none": np.uint8(128)}
    proto = ranking("tiled", body, w=integers(7, 2), **scales)
    result = rewrite_and_check(proto)
    assert result.ops.count("Gemm") == 2
    given = feeds(proto, 7)
    np.testing.assert_array_equal(served(result.model, given), served(proto, given))
    again = rewrite(result.model).ops
    assert again.count("Concat") == result.ops.count("Concat") == 2


def test_what_is_quantized_again_in_the_original_stays_as_it_is() -> None:
    """onnxruntime makes one pair of the two in the original as well; and of two by equal scales it makes no other."""
    body = """uq = QuantizeLinear (user, two, none) ud = DequantizeLinear (uq, two, none)
        uq2 = QuantizeLinear (ud, one, none) ud2 = DequantizeLinear (uq2, one, none)
        iq = QuantizeLinear (item, same, none) id = DequantizeLinear (iq, same, none)
        x = Concat <axis = 1> (ud2, id) q = QuantizeLinear (x, one, none)
        d = DequantizeLinear (q, one, none) y = MatMul (d, w)"""
    scales: dict[str, Any] = {"one": np.float32(1), "two": np.float32(2), "same": np.float32(1), "none": np.uint8(128)}
    result = rewrite_and_check(ranking("one", body, w=integers(7, 2), **scales))
    assert result.ops.count("Gemm") == 2
    assert "Concat" not in result.ops


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_a_number_that_is_quantized_again(style: str) -> None:
    """A Concat takes no scalar."""
    body = """m = ReduceMax <keepdims = 0> (price)
        pq = QuantizeLinear (m, two, none) pd = DequantizeLinear (pq, two, none)
        t = Transpose (pd) s = Squeeze (t) q = QuantizeLinear (s, one, none) d = DequantizeLinear (q, one, none)
        x = Concat <axis = 1> (user, item) h = MatMul (x, w) y = Mul (h, d)"""
    scales: dict[str, Any] = {"one": np.float32(1), "two": np.float32(2), "none": np.uint8(128)}
    proto = ranking(style, body, w=integers(7, 2), price=np.array([3, 1], np.float32), **scales)
    result = rewrite_and_check(proto)
    assert result.ops.count("Gemm") == 2
    given = feeds(proto, 7)
    np.testing.assert_array_equal(served(result.model, given), served(proto, given))


# Elements of int8 that are moved


@pytest.mark.parametrize(
    "move",
    [
        "y = Reshape (d, flat)",
        "y = Transpose <perm = [1, 0]> (d)",
        "c = Concat <axis = 0> (d, d) y = Slice (c, two_, three_, zero_)",
        "y = Unsqueeze (d, zero_)",
        "r = Reshape (d, flat) y = Neg (r)",
        "i = Identity (d) r = Reshape (i, flat) y = Neg (r)",
    ],
)
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("opset", [13, 21, 23])
@pytest.mark.parametrize("scale", [np.float32(2), np.full(1, np.float32(2))], ids=["scalar", "vector"])
def test_what_was_dequantized_is_moved(opset: int, kind: type, move: str, scale: Any) -> None:
    """onnxruntime 1.32 does not load DequantizeLinear, Reshape of int8 from opset 21 on."""
    body = f"""q = QuantizeLinear (user, s, z) u = DequantizeLinear (q, s, z)
        n = Concat <axis = 1> (u, item) d = Slice (n, zero_, four_, one_) {move}"""
    places: dict[str, Any] = {"zero_": [0], "one_": [1], "two_": [2], "three_": [3], "four_": [4]}
    zero = np.ones(np.shape(scale), kind)
    proto = ranking("one", body, opset=opset, output="float[M, N] y", s=scale, z=zero, flat=[-1, 2], **places)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    result = rewrite_and_check(proto)
    given = feeds(proto, 7)
    np.testing.assert_array_equal(served(result.model, given), served(proto, given))


# Products with quantized weights

USER, ITEM, COLUMNS = 32, 16, 12
"""onnxruntime makes vectors of up to 8 equal numbers one, so that two weights share them."""

WEIGHTS: dict[str, tuple[str, dict[str, Any]]] = {
    "blocks": ("<axis = 0, block_size = 16>", {"s": np.ones((3, COLUMNS), np.float32)}),
    "columns": ("", {"s": np.ones(COLUMNS, np.float32), "z": np.zeros(COLUMNS, np.int8)}),
    "tensor": ("", {"s": np.float32(1)}),
}


def quantized(kind: str, behind: str, style: str = "one", opset: int = 21) -> onnx.ModelProto:
    """A product of user and item with a quantized weight, and what stands behind it."""
    given, scales = WEIGHTS[kind]
    body = f"""x = Concat <axis = 1> (user, item) w = DequantizeLinear {given} (q, {", ".join(scales)})
        h = MatMul (x, w) {behind}"""
    q, b, v = integers(USER + ITEM, COLUMNS).astype(np.int8), integers(COLUMNS), integers(COLUMNS, 1)
    constants = {"q": q, "b": b, "v": v} | scales
    types = {"user": f"float[{USER}]", "item": f"float[{ITEM}]"}
    return ranking(style, body, output="float[B, M] y", opset=opset, **types, **constants)


def off(model: onnx.ModelProto, reference: onnx.ModelProto) -> float:
    """The largest difference of the served scores by their scale, on inputs that are no multiples of one number."""
    given = feeds(reference, 7, ("user_row",))
    rng = np.random.default_rng(0)
    given |= {name: rng.standard_normal(a.shape).astype(np.float32) for name, a in given.items()}
    wanted = served(reference, given)
    return float(np.abs(served(model, given) - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize(
    "behind",
    [
        "r = Relu (h) y = MatMul (r, v)",
        "a = Add (h, b) r = Relu (a) y = MatMul (r, v)",
        "i = Identity (h) r = Relu (i) y = MatMul (r, v)",
        "c = Clip (h) y = MatMul (c, v)",
        "a = Add (h, item_sum) y = Abs (a)",
    ],
)
def test_parts_of_an_exact_product_are_exact(kind: str, behind: str) -> None:
    """onnxruntime 1.32 fuses no product that a Relu follows, and would fuse its parts: off by half a percent."""
    behind = behind.replace(
        "a = Add (h, item_sum)", "item_sum = ReduceSum <keepdims = 1> (item, one) a = Add (h, item_sum)"
    )
    proto = quantized(kind, behind)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    result = rewrite_and_check(proto)
    assert result.ops.count("Gemm") >= 2
    assert off(result.model, proto) < 1e-6


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("behind", ["y = Neg (h)", "r = Relu (h) y = Add (r, r)", "a = Add (h, b) y = Sigmoid (a)"])
def test_parts_of_a_fused_product_are_fused(kind: str, behind: str, tmp_path: Path) -> None:
    """The product is much faster so, and loses a NaN in the same places. Weights with equal scales are not fused."""
    proto = quantized(kind, behind)
    result = rewrite_and_check(proto)
    assert fused(result.model, tmp_path) == 2 * fused(proto, tmp_path)
    given = feeds(proto, 7, ("user_row",))
    given["item"][1, 1] = given["item"][2, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(served(result.model, given)), np.isnan(served(proto, given)))


@pytest.mark.parametrize("scale", [np.float32(1), np.ones(1, np.float32)])
@pytest.mark.parametrize("behind", ["y = Neg (h)", "r = Relu (h) y = MatMul (r, v)", "a = Add (h, b) y = Sigmoid (a)"])
def test_before_there_were_scales_of_columns(behind: str, scale: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opset 12 knows no axis, and scales of one element."""
    monkeypatch.setitem(WEIGHTS, "tensor", ("", {"s": scale}))
    rewrite_and_check(quantized("tensor", behind, opset=12))


def fused(model: onnx.ModelProto, folder: Path) -> int:
    """How many products with a quantized weight onnxruntime makes one operator."""
    options = ort.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, str(folder / "optimized.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node].count("MatMulNBits")


def test_a_weight_with_the_neighbours_that_it_had_is_as_it_was() -> None:
    """The items' own product is a node of the original, whatever onnxruntime does with it."""
    body = """w = DequantizeLinear (q, s) h = MatMul (item, w) r = Relu (h) x = Concat <axis = 1> (user, r)
        y = MatMul (x, v)"""
    constants: dict[str, Any] = {"q": integers(3, 4).astype(np.int8), "s": np.ones(4, np.float32), "v": integers(8, 2)}
    proto = ranking("one", body, opset=21, **constants)
    result = rewrite_and_check(proto)
    assert result.nodes("DequantizeLinear") == [n for n in proto.graph.node if n.op_type == "DequantizeLinear"]


def test_a_weight_whose_product_loses_its_relu_stays_exact() -> None:
    """Two products read the Relu of the items instead of the Concat, so that onnxruntime would fuse its product."""
    body = """w = DequantizeLinear (q, s) h = MatMul (item, w) r = Relu (h) x = Concat <axis = 1> (user, r)
        a = MatMul (x, v) b = MatMul (x, u) m = Tanh (a) y = Mul (m, b)"""
    constants: dict[str, Any] = {"q": integers(16, 4).astype(np.int8), "s": np.ones(4, np.float32)}
    types = {"user": "float[4]", "item": "float[16]"}
    proto = ranking("one", body, opset=21, v=integers(8, 3), u=integers(8, 3, seed=1), **types, **constants)
    result = rewrite(proto)
    assert off(result.model, proto) < 1e-6


def test_a_weight_that_comes_to_have_scales_of_its_own_stays_exact() -> None:
    """onnxruntime fuses no weight whose scales another one has too; those of the parts are cut from them."""
    body = """x = Concat <axis = 1> (user, item) w = DequantizeLinear <axis = 0, block_size = 16> (q, s)
        v = DequantizeLinear <axis = 0, block_size = 16> (p, s) a = MatMul (x, w) b = MatMul (x, v) y = Add (a, b)"""
    constants: dict[str, Any] = {"s": np.ones((3, 4), np.float32)}
    constants |= {name: integers(48, 4, seed=i).astype(np.int8) for i, name in enumerate("qp")}
    proto = ranking("one", body, user=f"float[{USER}]", item=f"float[{ITEM}]", opset=21, **constants)
    assert off(rewrite_and_check(proto).model, proto) < 1e-6


def test_a_weight_of_unknown_rank_stays_as_it_is() -> None:
    """A Loop gives no rank of what it carries."""
    body = """m = ReduceMax <axes = [0], keepdims = 0> (user)
        c = Loop (trips, go, m) <body = turn (int64 i, bool g, float[N] h) => (bool on, float[N] o) {
            on = Identity (g) o = Identity (h) }>
        q, scale, zero = DynamicQuantizeLinear (c) w = DequantizeLinear (q, scale, zero) y = MatMul (item, w)"""
    constants: dict[str, Any] = {"trips": np.array(2), "go": np.array(True)}
    rewrite(ranking("tiled", body, user="float[4]", item="float[4]", output="float[B] y", **constants))
