"""Quantizing is element by element; products of integers treat their rows independently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.ir.extents import symbol
from tests.analysis.rules.test_blocks import CAUSAL, history_is_the_users, model
from tests.analysis.rules.test_quantized_operators import FUSED_DOMAIN, QOPERATOR
from tests.graphs import (
    MANY,
    STYLES,
    Rewritten,
    Session,
    evaluate,
    feeds,
    integers,
    parse,
    ranking,
    rewrite,
    rewrite_and_check,
)

styles = pytest.mark.parametrize("style", STYLES)

TENSOR: dict[str, Any] = {"s": np.float32(2), "z": np.int8(1)}
CHANNELS: dict[str, Any] = {
    "s": np.array([1, 2, 4, 1, 2, 1, 4], np.float32),
    "z": np.array([0, 1, 2, 0, 1, 2, 0], np.int8),
}


def lacks_candidates(result: Rewritten, name: str) -> bool:
    shape = result.program.values[name].array.tensor.known_shape
    return symbol("B") not in shape


@styles
@pytest.mark.parametrize(("scales", "attributes"), [(TENSOR, ""), (CHANNELS, ""), (CHANNELS, "<axis = -1>")])
def test_part_by_part(style: str, scales: dict[str, Any], attributes: str) -> None:
    """Q([a b]) = [Q(a) Q(b)], and back: the scales of channels are cut as the parts are."""
    body = f"""x = Concat <axis = 1> (user, item) q = QuantizeLinear {attributes} (x, s, z)
               d = DequantizeLinear {attributes} (q, s, z) y = MatMul (d, w)"""
    result = rewrite_and_check(ranking(style, body, w=integers(7, 2), **scales))
    assert result.ops.count("QuantizeLinear") == result.ops.count("DequantizeLinear") == 2
    assert "Concat" not in result.ops


@styles
def test_channels_that_are_not_stored(style: str) -> None:
    """One number, repeated, has a scale of its own at each position."""
    body = """e = Expand (user, shape) q = QuantizeLinear (e, s, z) d = DequantizeLinear (q, s, z)
              y = Add (d, item)"""
    scales: dict[str, Any] = {k: v[:4] for k, v in CHANNELS.items()}
    rewrite_and_check(ranking(style, body, user="float[1]", item="float[4]", shape=[1, 4], **scales))


def test_without_a_zero_point() -> None:
    body = "q = QuantizeLinear (user, s) d = DequantizeLinear (q, s) y = Add (d, item)"
    result = rewrite_and_check(ranking("one", body, item="float[4]", s=np.float32(2)))
    assert result.ops == ["QuantizeLinear", "DequantizeLinear", "Add"]


def test_an_element_type_by_name() -> None:
    body = "q = QuantizeLinear <output_dtype = 3> (user, s) d = DequantizeLinear (q, s) y = Add (d, item)"
    result = rewrite_and_check(ranking("one", body, item="float[4]", opset=21, s=np.float32(2)))
    assert result.program.values["q"].dtype == 3


def test_computed_values_in_blocks_are_refused() -> None:
    body = "q = QuantizeLinear <axis = 1, block_size = 2> (user, s) d = Cast <to = 1> (q) y = Add (d, item)"
    result = rewrite(ranking("one", body, item="float[4]", opset=21, s=np.ones((1, 2), np.float32)))
    assert result.refusals("QuantizeLinear") == ["QuantizeLinear of a computed value, in blocks"]


# The range of the whole tensor

DYNAMIC = "q, s, z = DynamicQuantizeLinear ({}) "


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_the_range_of_a_repeated_row(style: str) -> None:
    body = DYNAMIC.format("user") + "d = DequantizeLinear (q, s, z) y = Add (d, item)"
    result = rewrite_and_check(ranking(style, body, item="float[4]"))
    assert lacks_candidates(result, "q")


def test_the_range_of_rows_that_an_index_selects() -> None:
    """Not of those that it could have selected."""
    body = DYNAMIC.format("user") + "d = DequantizeLinear (q, s, z) y = Add (d, item)"
    result = rewrite_and_check(ranking("requests", body, item="float[4]"))
    assert not lacks_candidates(result, "q")


@styles
def test_the_range_of_nothing(style: str) -> None:
    """Where there is an answer without candidates, it is not by the range of the user's row."""
    body = DYNAMIC.format("user") + "d = DequantizeLinear (q, s, z) a = Add (d, item) y = Identity (s)"
    result = rewrite_and_check(ranking(style, body, item="float[4]", output="float y"))
    assert lacks_candidates(result, "q") == (style == "tiled")  # row 0 of nothing is no row


@styles
def test_the_range_of_parts_is_that_of_all_of_them(style: str) -> None:
    body = "x = Concat <axis = 1> (user, item) " + DYNAMIC.format("x") + "d = DequantizeLinear (q, s, z) y = Neg (d)"
    rewrite_and_check(ranking(style, body))


@pytest.mark.parametrize("count", [1, 4])
def test_products_that_share_quantized_parts(count: int) -> None:
    """Parts are not quantized for one product alone, but for four. A zero point that is computed is no operand."""
    names = [f"m{i}" for i in range(count)]
    products = " ".join(f"{name} = MatMulInteger (q, w{name}, z)" for name in names)
    body = f"x = Concat <axis = 1> (user, item) {DYNAMIC.format('x')} {products} "
    body += f"y = Concat <axis = 1> ({', '.join(names)})"
    types: dict[str, Any] = {"user": "float[48]", "item": "float[36]", "output": f"int32[B, {24 * count}] y"}
    weights: dict[str, Any] = {f"w{n}": integers(84, 24, seed=i).astype(np.int8) for i, n in enumerate(names)}
    result = rewrite_and_check(ranking("one", body, **types, **weights))
    assert result.ops.count("MatMulInteger") == (1 if count == 1 else 2 * count)
    (first, *_) = (remark.reason for remark in result.remarks if remark.op_type == "MatMulInteger")
    assert first.startswith("a part of its input is the user's, but one product of all of it takes less time")


@styles
@pytest.mark.parametrize("table", [False, True])
def test_the_range_of_tokens_is_that_of_the_stored_ones(style: str, table: bool) -> None:
    """No token of the user is written out for each candidate, if none can be NaN: what the caller sends can be."""
    last = "Gather (table, item)" if table else "Cast <to = 1> (item) l = Softplus (i)"
    body = f"""
        u = Gather (table, user) i = {last} x = Concat <axis = 1> (u, {"i" if table else "l"}) {DYNAMIC.format("x")}
        m = MatMulInteger (q, w, z) f = Cast <to = 1> (m) g = Mul (f, s) k = Slice (g, first, end, one) y = Neg (k)
    """
    item = "int64[1]" if table else "int64[1, 40]"
    types: dict[str, Any] = {"user": "int64[20]", "item": item, "output": "float[B, 1, 40] y"}
    constants: dict[str, Any] = {"table": integers(10, 40), "w": integers(40, 40).astype(np.int8)}
    bounds: dict[str, Any] = {"first": [20], "end": [21], "one": [1]}
    result = rewrite_and_check(ranking(style, body, **types, **constants, **bounds))
    assert table != any("[B 21 40] = Concat" in line for line in result.graph)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e20])
def test_a_part_is_quantized_as_the_whole_is(scale: float) -> None:
    """By QuantizeLinear with the scale of DynamicQuantizeLinear: bit for bit, whatever the numbers."""
    text = """g (float[B, N] x) => (uint8[B, N] q, uint8[B, N] again)
        { q, s, z = DynamicQuantizeLinear (x) again = QuantizeLinear (x, s, z) }"""
    session = Session(parse(text))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(rng.normal(), 1, (7, 33)) * scale
        q, again = session.run({"x": (x * rng.integers(0, 2, x.shape)).astype(np.float32)})
        np.testing.assert_array_equal(q, again)


# Products of integers


@styles
@pytest.mark.parametrize("zero_points", ["", ", z", ", z, zw"])
@pytest.mark.parametrize("order", ["user, item", "item, user, item"])
def test_columns_of_an_integer_product(style: str, order: str, zero_points: str) -> None:
    """The user's columns have one scale for all candidates, and are multiplied once for each request."""
    width = 80 + 40 * order.count("item")
    body = f"x = Concat <axis = 1> ({order}) {DYNAMIC.format('x')} m = MatMulInteger (q, w{zero_points}) y = Neg (m)"
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "int32[B, 192] y"}
    zw = np.arange(192).astype(np.int8)
    result = rewrite_and_check(ranking(style, body, **types, w=integers(width, 192).astype(np.int8), zw=zw))
    requests = 4 if style == "requests" else 1
    assert result.program.work.macs == MANY * width * 192
    assert result.plan.work.macs == (requests * 80 + MANY * (width - 80)) * 192


@styles
def test_columns_of_an_integer_product_with_steps(style: str) -> None:
    """Of parts with a scale for each column, which are cut as the parts are; and each step is a row."""
    body = """i = Unsqueeze (item, one) e = Expand (i, steps) x = Concat <axis = 2> (user, e)
        q = QuantizeLinear <axis = 2> (x, s, z) m = MatMulInteger (q, w, zq) y = Neg (m)"""
    types: dict[str, Any] = {"user": "float[5, 48]", "item": "float[24]", "output": "int32[B, 5, 48] y"}
    scales: dict[str, Any] = {"s": np.array([1, 2, 4] * 24, np.float32), "z": np.array([0, 1, 2] * 24, np.uint8)}
    model = ranking(style, body, **types, **scales, zq=np.uint8(1), one=[1], steps=[1, 5, 1],
                    w=integers(72, 48).astype(np.int8))  # fmt: skip
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == (requests * 5 * 48 + MANY * 24) * 48


@styles
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_columns_of_a_product_that_is_quantized_again(style: str, columns: bool, dtype: Any) -> None:
    """Bit for bit what QLinearMatMul makes, also where a number lies between two steps, or beyond the last one."""
    rng = np.random.default_rng(0)
    w = rng.integers(-100, 100, (120, 192)).astype(np.int8)
    of_w = np.float32(0.5) if not columns else rng.choice([0.5, 0.25, 0.011], 192).astype(np.float32)
    zw = np.int8(3) if not columns else rng.integers(-5, 5, 192).astype(np.int8)
    body = """x = Concat <axis = 1> (user, item) q = QuantizeLinear (x, sx, zx)
        y = QLinearMatMul (q, sx, zx, w, sw, zw, sy, zy)"""
    kind = "int8" if dtype is np.int8 else "uint8"
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": f"{kind}[B, 192] y"}
    model = ranking(style, body, **types, w=w, sw=of_w, zw=zw, sx=np.float32(0.5), zx=dtype(7),
                    sy=np.float32(4), zy=dtype(11))  # fmt: skip
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == (requests * 80 + MANY * 40) * 192
    found = evaluate(result.model, feeds(model, 7))[0]
    assert len(np.unique(found)) > 50


@styles
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("columns", [False, True])
def test_a_quantized_gemm(style: str, transposed: int, quantized: bool, columns: bool) -> None:
    """A Linear as onnxruntime's static quantizer writes it, with a bias of integers, quantized again or not."""
    rng = np.random.default_rng(0)
    w = rng.integers(-100, 100, (120, 192)).astype(np.int8)
    more = "c, sy, zy" if quantized else "c"
    body = f"""u = QuantizeLinear (user, su, zu) i = QuantizeLinear (item, si, zi)
        x = com.microsoft.QLinearConcat <axis = 1> (sx, zx, u, su, zu, i, si, zi)
        y = com.microsoft.QGemm <alpha = 0.5, transB = {transposed}> (x, sx, zx, w, of_w, zws, {more})"""
    kind = "uint8" if quantized else "float"
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": f"{kind}[B, 192] y"}
    of_w = rng.choice([0.5, 0.25, 0.011], 192).astype(np.float32) if columns else np.float32(0.5)
    given: dict[str, Any] = {"of_w": of_w, "zws": np.zeros(192 if columns else (), np.int8),
             "c": rng.integers(-999, 999, 192).astype(np.int32)}  # fmt: skip
    model = ranking(style, body, **types, **QOPERATOR, **given, domains=FUSED_DOMAIN, w=w.T if transposed else w)
    result = rewrite_and_check(model, rtol=0.0 if quantized else 1e-6)
    requests = 4 if style == "requests" else 1
    assert result.plan.work.macs == (requests * 80 + MANY * 40) * 192
    found = evaluate(result.model, feeds(model, 7))[0]
    assert len(np.unique(found)) > 50


@styles
@pytest.mark.parametrize(
    ("more", "attributes", "reason"),
    [
        ("z8, c1, sy, zy", "<transA = 1>", "QGemm with transA = 1 has its rows last"),
        ("z8, c2, sy, zy", "", "QGemm with a bias for each row"),
    ],
)
def test_a_quantized_gemm_that_is_refused(style: str, more: str, attributes: str, reason: str) -> None:
    body = f"""u = QuantizeLinear (user, su, zu) h = com.microsoft.QGemm {attributes} (u, su, zu, w, sw, {more})
        d = DequantizeLinear (h, sy, zy) s = ReduceSum <keepdims = 0> (d) y = Add (item, s)"""
    wide: dict[str, Any] = {"w": integers(4, 3).astype(np.int8), "z8": np.int8(0), "c1": np.ones(3, np.int32)}
    given = {**wide, "c2": np.ones((2, 3), np.int32)}
    result = rewrite(ranking(style, body, **QOPERATOR, **given, domains=FUSED_DOMAIN, opset=17))
    assert reason in result.refusals("QGemm")


def test_columns_of_a_product_with_a_scale_that_is_computed() -> None:
    """The scales are multiplied as the runtime does it: not known for a scale that the model computes."""
    body = """x = Concat <axis = 1> (user, item) q = QuantizeLinear (x, s, z) t = Exp (s)
        y = QLinearMatMul (q, s, z, w, t, z, s, z)"""
    types: dict[str, Any] = {"user": "float[80]", "item": "float[40]", "output": "int8[B, 48] y"}
    result = rewrite_and_check(ranking("one", body, **types, w=integers(120, 48).astype(np.int8), **TENSOR))
    assert result.ops.count("QLinearMatMul") == 1


def test_a_sum_of_bytes_wraps_around_and_is_not_cut_into_its_terms() -> None:
    """200 + 100 is 44 in bytes: its product is not that of 200 and that of 100."""
    body = """a = QuantizeLinear (user, s, z) b = QuantizeLinear (item, s, z) t = Add (a, b)
        x = Concat <axis = 1> (t, a) m = MatMulInteger (x, w) y = Cast <to = 1> (m)"""
    model = ranking("one", body, user="float[4]", item="float[4]", s=np.float32(0.01), z=np.uint8(200),
                    w=integers(8, 3).astype(np.int8))  # fmt: skip
    rewrite_and_check(model)


@styles
def test_an_integer_product_of_the_user(style: str) -> None:
    body = """q = QuantizeLinear (user, s, z) m = MatMulInteger (q, w, z) f = Cast <to = 1> (m) y = Add (f, item)"""
    w = integers(4, 3).astype(np.int8)
    result = rewrite_and_check(ranking(style, body, w=w, **TENSOR))
    assert lacks_candidates(result, "m") or style == "requests"
    assert "Expand" not in result.ops


@styles
def test_an_integer_product_of_what_is_not_stored(style: str) -> None:
    """One number, repeated, is multiplied by each row of the weight."""
    body = """e = Expand (user, wide) q = QuantizeLinear (e, s, z) m = MatMulInteger (q, w, z) f = Cast <to = 1> (m)
              y = Add (f, item)"""
    w = integers(4, 3).astype(np.int8)
    result = rewrite_and_check(ranking(style, body, user="float[1]", w=w, wide=[1, 4], **TENSOR))
    assert lacks_candidates(result, "m")


def test_as_quantizers_write_it() -> None:
    """A range that is computed is no constant, but it has no axes either."""
    body = (
        DYNAMIC.format("user")
        + """m = MatMulInteger (q, w, z) f = Cast <to = 1> (m) k = Mul (s, t)
              h = Mul (f, k) y = Add (h, item)"""
    )
    result = rewrite_and_check(ranking("one", body, w=integers(4, 3).astype(np.int8), t=np.float32(2)))
    assert lacks_candidates(result, "m")
    (remark,) = [r for r in result.remarks if r.rule == "product"]
    assert remark.status == "applied"


@styles
def test_a_product_that_is_quantized_again(style: str) -> None:
    body = """q = QuantizeLinear (user, s, z) m = QLinearMatMul (q, s, z, w, s, z, s, z)
              d = DequantizeLinear (m, s, z) y = Add (d, item)"""
    result = rewrite_and_check(ranking(style, body, w=integers(4, 3).astype(np.int8), **TENSOR))
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("stored", [4, 1])
def test_a_weight_of_packed_bits(style: str, stored: int) -> None:
    """Two numbers of four bits to a byte, with a scale for each column: each row by itself."""
    body = """x = Expand (user, wide) p = com.microsoft.MatMulNBits <K = 4, N = 3, bits = 4, block_size = 16> (x, w, s)
              y = Add (p, item)"""
    packed = np.random.default_rng(0).integers(0, 256, (3, 1, 8)).astype(np.uint8)
    constants: dict[str, Any] = {"w": packed, "s": np.array([1, 2, 4], np.float32), "wide": [1, 4]}
    domains = ', "com.microsoft" : 1'
    result = rewrite_and_check(ranking(style, body, user=f"float[{stored}]", domains=domains, **constants))
    assert lacks_candidates(result, "p")
    assert result.program.values["p"].array.tensor.known_shape[1] == 3


@styles
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    ("order", "cut"), [("user, item", True), ("item, user, item", True), ("user, item, five", False)]
)
def test_blocks_of_a_weight_of_packed_bits(style: str, flat: bool, order: str, cut: bool) -> None:
    """The user's columns are whole blocks and multiplied once; not if five columns before them shift the blocks."""
    width = 64 + 32 * order.count("item") + 5 * (not cut)
    blocks, items = -(-width // 16), width - 64
    body = f"""f = Slice (item, zero_, five_, one_) x = Concat <axis = 1> ({order.replace("five", "f")})
        p = com.microsoft.MatMulNBits <K = {width}, N = 192, bits = 4, block_size = 16> (x, w, s) y = Relu (p)"""
    rng = np.random.default_rng(0)
    scales = rng.choice([1, 2, 4], (192, blocks)).astype(np.float32)
    constants: dict[str, Any] = {"zero_": [0], "five_": [5], "one_": [1], "s": scales.reshape(-1) if flat else scales}
    types: dict[str, Any] = {"user": "float[64]", "item": "float[32]", "output": "float[B, 192] y"}
    model = ranking(style, body, **types, **constants, domains=FUSED_DOMAIN,
                    w=rng.integers(0, 256, (192, blocks, 8)).astype(np.uint8))  # fmt: skip
    result = rewrite_and_check(model)
    requests = 4 if style == "requests" else 1
    macs = (requests * 64 + MANY * items) * 192 if cut else MANY * width * 192
    assert result.plan.work.macs == macs


def test_products_that_are_refused() -> None:
    text = "g (int8[1, 4] user, int8[4, 4] item, int8[4] zero, float[B, 4] x) => (int32[B, 4] y)"
    expand = "shape = Shape (x) u = Expand (user, shape)"
    result = rewrite(parse(f"{text} {{ {expand} y = MatMulInteger (u, item, zero) }}"))
    assert result.refusals("MatMulInteger") == ["MatMulInteger with a scale or zero point for each row"]
    batched = text.replace("int8[4, 4]", "int8[1, 4, 4]").replace("int32[B", "int32[1, B")
    result = rewrite(parse(f"{batched} {{ {expand} y = MatMulInteger (u, item) }}"))
    assert result.refusals("MatMulInteger") == ["MatMulInteger of two computed values"]


ATTENTION = """qs = QuantizeLinear (s, s1, z1) ds = DequantizeLinear (qs, s1, z1) m = Where (mask, ds, filler)
    p = Softmax <axis = -1> (m) qp = QuantizeLinear (p, s2, z2) dp = DequantizeLinear (qp, s2, z2)"""
"""Attention as calibration leaves it: scores and weights go to integers and back, and the mask does not."""


@styles
@pytest.mark.parametrize("filler", [-np.inf, -1e9])
def test_attention_between_integers(style: str, filler: float) -> None:
    """Scores are within the steps of their type, which bounds them, and a weight of 0 is 0 behind them."""
    given: dict[str, Any] = {"s1": np.float32(0.5), "z1": np.int8(0), "s2": np.float32(1 / 255), "z2": np.uint8(0)}
    graph = model(style, ATTENTION, summed="c = MatMul (dp, v)", mask=CAUSAL, filler=np.float32(filler), **given)
    result = rewrite_and_check(graph, rtol=1e-5)
    assert history_is_the_users(result)


def test_attention_whose_weights_have_no_step_at_0() -> None:
    """A scale that the model computes tells nothing of what 0 becomes."""
    given: dict[str, Any] = {"s1": np.float32(0.5), "z1": np.int8(0), "z2": np.uint8(0), "none": np.array([0, 1, 2])}
    before = "largest = ReduceMax <keepdims = 0> (s, none) s2 = Abs (largest) "
    graph = model("tiled", before + ATTENTION, summed="c = MatMul (dp, v)", mask=CAUSAL, filler=np.float32(-np.inf),
                  opset=18, **given)  # fmt: skip
    assert not history_is_the_users(rewrite(graph))


def _dynamically(x: str, w: str, y: str) -> str:
    return f"""{y}q, {y}s, {y}z = DynamicQuantizeLinear ({x}) {y}i = MatMulInteger ({y}q, {w}, {y}z)
        {y}f = Cast <to = 1> ({y}i) {y} = Mul ({y}f, {y}s)"""


@styles
def test_layers_that_are_quantized_dynamically(style: str) -> None:
    """Each range is that of all tokens, which are joined for it from the user's and the candidates': any may be NaN.

    The filler is a finite number: a sum of bytes times a scale is bounded.
    """
    length, width = 20, 64
    body = f"""i = Unsqueeze (item, one) both = Concat <axis = 1> (user, i) x = LayerNormalization (both, norm)
        {_dynamically("x", "wq", "q")} {_dynamically("x", "wk", "k")} {_dynamically("x", "wv", "v")}
        kt = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, kt) m = Where (mask, s, filler)
        p = Softmax <axis = -1> (m) c = MatMul (p, v) {_dynamically("c", "wo", "o")} h = Relu (o)
        {_dynamically("h", "wh", "z")} last = Gather <axis = 1> (z, place) y = Identity (last)"""
    names = ("wq", "wk", "wv", "wo", "wh")
    given: dict[str, Any] = {name: integers(width, width, seed=i).astype(np.int8) for i, name in enumerate(names)}
    given |= {"one": [1], "norm": np.ones(width, np.float32), "filler": np.float32(-1e30), "place": np.array(-1)}
    types: dict[str, Any] = {
        "user": f"float[{length}, {width}]",
        "item": f"float[{width}]",
        "output": f"float[B, {width}] y",
    }
    graph = ranking(style, body, **types, mask=np.tri(length + 1, dtype=np.bool_), **given)
    result = rewrite_and_check(graph, rtol=1e-4)
    users = 4 if style == "requests" else 1
    of_tokens = (users * length + MANY) * 5 * width * width
    of_attention = (users * length * length + MANY * (length + 1)) * 2 * width
    assert result.plan.work.macs <= of_tokens + of_attention


def test_the_graph() -> None:
    """To integers and back, on either side."""
    body = """x = Concat <axis = 1> (user, item) q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
              y = MatMul (d, w)"""
    result = rewrite_and_check(ranking("one", body, output="float[B, 2] y", w=integers(7, 2), **TENSOR))
    assert result.graph == [
        "q.part [1 4] = QuantizeLinear (user_row, s, z)",
        "q.part.2 [B 3] = QuantizeLinear (item, s, z)",
        "d.part [1 4] = DequantizeLinear (q.part, s, z)",
        "d.part.2 [B 3] = DequantizeLinear (q.part.2, s, z)",
        "y.user [1 2] = Gemm (d.part, w.user)",
        "y [B 2] = Gemm (d.part.2, w.item, y.user)",
    ]
