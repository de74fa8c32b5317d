"""Float64 for every operator, by whoever has it; and what could not be had is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from mari_onnx.document.read import as_document
from mari_onnx.verification.compare.judge import SAME_FUNCTION, WITHIN_FLOAT32
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.float64.operators import STAND_INS
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source
from tests.graphs import evaluate
from tests.notes import said
from tests.verification.models import parse, verify


def exact(model: onnx.ModelProto, *expose: str) -> Exact:
    return Exact(Source("reference", as_document(model)), expose)


def test_others_stand_in_where_onnxruntime_has_no_kernel() -> None:
    """Erf, before and after operators that onnxruntime has."""
    model = parse(
        """f (float[B, 2] x) => (float[B, 2] y) {
            a = Mul (x, c) e = Erf (a) b = Mul (e, c) g = Erf (b) y = Add (g, a)
        }""",
        c=np.array([0.3], np.float32),
    )
    run = exact(model, "e", "b")
    x = np.array([[0.5, -0.5]], np.float32)
    found = run({"x": x})
    c = np.float64(np.float32(0.3))
    a = x * c
    e = np.vectorize(math.erf)(a)
    np.testing.assert_allclose(found["e"], e, rtol=1e-15)
    np.testing.assert_allclose(found["b"], e * c, rtol=1e-15)
    np.testing.assert_allclose(found["y"], np.vectorize(math.erf)(e * c) + a, rtol=1e-15)
    assert run.limits == {}
    assert verify(model, model).rtol == SAME_FUNCTION


def test_a_stand_in_within_a_body() -> None:
    model = parse(
        """f (float[B, 2] x) => (float[B, 2] y) {
            n = Size (x)
            many = Greater (n, zero)
            y = If (many) <
                then_branch = yes () => (float[B, 2] a) { a = Erf (x) },
                else_branch = no () => (float[B, 2] b) { b = Neg (x) }
            >
        }""",
        zero=np.array(0),
    )
    assert exact(model)({"x": np.array([[1, 2]], np.float32)})["y"][0, 0] == pytest.approx(
        0.8427007929497149, abs=1e-15
    )


@pytest.mark.parametrize("op_type", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [True, False])
def test_recurrence_is_that_of_onnxruntime(op_type: str, direction: str, lengths: bool) -> None:
    rng = np.random.default_rng(0)
    gates, d = {"GRU": 3, "LSTM": 4, "RNN": 1}[op_type], 1 + (direction == "bidirectional")
    w, r, b = (
        rng.standard_normal(s).astype(np.float32) for s in ((d, gates * 4, 3), (d, gates * 4, 4), (d, gates * 8))
    )
    h = rng.standard_normal((d, 5, 4)).astype(np.float32)
    more = "(x, w, r, b, length, h, h)" if op_type == "LSTM" else "(x, w, r, b, length, h)"
    text = f"""f (float[6, 5, 3] x, int32[5] length) => (float[6, {d}, 5, 4] y, float[{d}, 5, 4] last) {{
        y, last = {op_type} <hidden_size = 4, direction = "{direction}"> {more if lengths else "(x, w, r, b)"}
    }}"""
    constants = {"w": w, "r": r, "b": b, **({"h": h} if lengths else {})}
    model = parse(text, **constants)
    feeds = {"x": rng.standard_normal((6, 5, 3)).astype(np.float32), "length": np.array([6, 0, 3, 1, 5], np.int32)}
    run = exact(model)
    expected = dict(zip(("y", "last"), Source("r", as_document(model)).session().run(None, feeds), strict=True))
    for name, value in run(feeds).items():
        np.testing.assert_allclose(value, expected[name], atol=2e-6)
    assert run.limits == {}


def test_sequences_that_are_all_empty_are_not_run() -> None:
    """onnxruntime's GRU has taken the process down on them."""
    w, r = (np.ones((1, 9, 3), np.float32) for _ in range(2))
    text = """f (int64[B, 5] ids, float[5, B, 3] x) => (float[1, B, 3] y) {
        e = Gather (table, ids)
        seen = Greater (ids, zero)
        counted = Cast <to = 6> (seen)
        length = ReduceSum <keepdims = 0> (counted, axis)
        all, y = GRU <hidden_size = 3> (x, w, r, , length)
        rows = ReduceMax (e)
    }"""
    constants = {"zero": np.array(0), "axis": np.array([1]), "table": np.ones((9, 1), np.float32)}
    model = parse(text, w=w, r=r, **constants)
    with pytest.raises(RunError, match="empty"):
        exact(model)({"ids": np.zeros((2, 5), np.int64), "x": np.zeros((5, 2, 3), np.float32)})
    verification = verify(model, model)
    assert verification.passed
    assert any("padding at batch 7 was skipped" in note for note in said(verification.notes))


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_a_mistake_in_a_recurrence_is_seen(factor: float) -> None:
    rng = np.random.default_rng(0)
    w, r = (rng.standard_normal((1, 9, 3)).astype(np.float32) for _ in range(2))
    text = """f (float[4, B, 3] x, int32[B] length) => (float[1, B, 3] y) {
        all, y = GRU <hidden_size = 3> (x, w, r, , length)
        m = Greater (four, length)
    }"""
    reference = parse(text, w=w, r=r, four=np.array([2, 4], np.int32))
    other = parse(text, w=w, r=r * np.float32(factor), four=np.array([2, 4], np.int32))
    assert verify(reference, other, batches=(2,)).passed == (factor == 1.0)


def test_what_nobody_has_in_float64_stays_in_float32_and_is_named() -> None:
    text = """f (float[B, 8] x) => (float[B, 8] y) {
        a = Mul (x, c)
        t = com.microsoft.FusedGemm <activation = "Relu"> (a, w)
        y = Mul (t, c)
    }"""
    model = parse(text, c=np.array([0.3], np.float32), w=np.eye(8, dtype=np.float32))
    model.opset_import.add(domain="com.microsoft", version=1)
    verification = verify(model, model)
    assert verification.passed
    assert verification.rtol == WITHIN_FLOAT32
    assert "float32, in which these stayed: `t`" in verification.basis
    assert any("FusedGemm at `t`" in note for note in said(verification.notes))
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    assert wrong.graph.initializer[0].name == "c"
    wrong.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([0.3001], np.float32), "c"))
    assert not verify(model, wrong).passed


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantization(axis: int | None, dtype: type[np.integer]) -> None:
    rng = np.random.default_rng(1)
    n = 1 if axis is None else 4
    s, z = rng.uniform(0.01, 0.1, n).astype(np.float32), rng.integers(0, 9, n).astype(dtype)
    given = "" if axis is None else f"<axis = {axis}>"
    shape = {"s": s[0], "z": z[0]} if axis is None else {"s": s, "z": z}
    text = f"""f (float[4, 4] x) => (float[4, 4] y, {np.dtype(dtype).name}[4, 4] q) {{
        q = QuantizeLinear {given} (x, s, z) y = DequantizeLinear {given} (q, s, z)
    }}"""
    model = parse(text, **shape)
    x = rng.standard_normal((4, 4)).astype(np.float32)
    run = exact(model)
    found = run({"x": x})
    y, q = Source("r", as_document(model)).session().run(None, {"x": x})
    np.testing.assert_array_equal(found["q"], q)
    np.testing.assert_allclose(found["y"], y, rtol=1e-6)
    assert run.limits == {}


@pytest.mark.parametrize("zero", ["", ", z"])
@pytest.mark.parametrize("axis", [0, -1])
def test_weights_of_four_bits_in_blocks(axis: int, zero: str) -> None:
    """A block has 4 columns or rows, and the last one has fewer."""
    rng = np.random.default_rng(1)
    q, shape = rng.integers(-8, 8, (6, 6)), ((2, 6) if axis == 0 else (6, 2))
    s, z = rng.uniform(0.01, 0.1, shape).astype(np.float32), rng.integers(-2, 2, shape)
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 21]>
    f (float[B, 6] x) => (float[B, 6] y) {{
        w = DequantizeLinear <axis = {axis}, block_size = 4> (q, s{zero}) y = MatMul (x, w)
    }}""")
    int4 = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.INT4)
    stored = {"q": q.astype(int4), "s": s, "z": z.astype(int4)}
    model.graph.initializer.extend(
        numpy_helper.from_array(a, name) for name, a in stored.items() if name in f"q s{zero}"
    )
    x = rng.standard_normal((3, 6)).astype(np.float32)
    run = exact(model)
    shifts, scales = (np.repeat(a, 4, axis).take(range(6), axis).astype(np.float64) for a in (z, s))
    weight = (q - (shifts if zero else 0)) * scales
    np.testing.assert_allclose(run({"x": x})["y"], x.astype(np.float64) @ weight, rtol=1e-13)
    assert run.limits == {}


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_an_operator_that_onnxruntime_takes_apart(approximate: str) -> None:
    """Gelu is defined by Erf, which has no float64 kernel."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]> f (float[B] x) => (float[B] y) {{
            y = Gelu <approximate = "{approximate}"> (x)
        }}"""
    )
    x = np.array([0.3, -2], np.float32)

    def gelu(v: float) -> float:
        if approximate == "none":
            return 0.5 * v * (1 + math.erf(v / math.sqrt(2)))
        return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))

    # onnxruntime defines the approximation with a factor in float32.
    near = 1e-14 if approximate == "none" else 1e-6
    np.testing.assert_allclose(exact(model)({"x": x})["y"], [gelu(float(v)) for v in x], rtol=near)
    assert verify(model, model).notes == ()


@pytest.mark.parametrize("size", [3, 5])
def test_mean_and_lrn_are_onnxruntimes(size: int) -> None:
    """ONNX's interpreter neither broadcasts the operands of Mean nor takes fewer channels than rows for LRN."""
    text = f"""g (float[B, 4, 2, 2] x) => (float[B, 4, 2, 2] y) {{
        m = Mean (k, x) y = LRN <size = {size}, alpha = 0.5, beta = 0.6, bias = 2.0> (m) }}"""
    source = Source("reference", as_document(parse(text, k=np.ones((1, 1, 2, 2), np.float32))))
    exact, run = Exact(source), source.runner(source.session())
    for batch in (1, 2, 7):
        feeds = {"x": np.random.default_rng(batch).standard_normal((batch, 4, 2, 2)).astype(np.float32)}
        np.testing.assert_allclose(exact(feeds)["y"], run(feeds)["y"], rtol=1e-5)
    assert not exact.limits


@pytest.mark.parametrize("spatial", [(5,), (3, 4), (2, 3, 4)])
def test_the_largest_over_any_number_of_axes(spatial: tuple[int, ...]) -> None:
    """ONNX's interpreter takes it over the channels too where there is one axis, and leaves one out of three."""
    shape, ones = (f"[{', '.join(map(str, ('B', 2, *s)))}]" for s in (spatial, (1,) * len(spatial)))
    model = parse(f"g (float{shape} x) => (float{ones} y) {{ y = GlobalMaxPool (x) }}")
    run, x = exact(model), np.random.default_rng(0).standard_normal((3, 2, *spatial)).astype(np.float32)
    np.testing.assert_array_equal(run({"x": x})["y"], x.max(tuple(range(2, x.ndim)), keepdims=True))
    assert run.limits == {}


@pytest.mark.parametrize("width", [5, 6, 8, 96])
def test_the_scale_of_attention_is_that_of_onnxruntime(width: int) -> None:
    """It takes the root of the scale in float32, also in float64, and so does what stands in for it."""
    text = (
        f"g (double[1, 1, 3, {width}] x) => (double[1, 1, 3, {width}] y) {{ y = Attention <is_causal = 1> (x, x, x) }}"
    )
    model = onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["" : 23]> {text}')
    x = np.random.default_rng(width).standard_normal((1, 1, 3, width))
    source = Source("reference", as_document(model))
    of_runtime = source.runner(source.session())({"x": x})["y"]
    evaluated: Any = ReferenceEvaluator(model, new_ops=STAND_INS).run(None, {"x": x})
    np.testing.assert_allclose(evaluated[0], of_runtime, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("factor", [0.0, 1.0, 1e-3])
def test_products_of_bytes_are_onnxruntimes(factor: float) -> None:
    """Of zeros alone too, whose scale is 1: ONNX's interpreter divides them by 0."""
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1]>
        g (float[N, 5] x, int8[5, 3] w, float[1] s, float[3] b) => (float[N, 3] y, float[N, 3] z) {
            q, qs, qz = DynamicQuantizeLinear (x) y = com.microsoft.MatMulIntegerToFloat (q, w, qs, s, qz, , b)
            z = com.microsoft.DynamicQuantizeMatMul (x, w, s, , b) }""")
    rng = np.random.default_rng(0)
    feeds = {"x": (rng.normal(size=(4, 5)) * factor).astype(np.float32), "w": rng.integers(-9, 9, (5, 3), np.int8)}
    feeds |= {"s": np.array([0.25], np.float32), "b": rng.normal(size=3).astype(np.float32)}
    evaluated: Any = ReferenceEvaluator(model, new_ops=STAND_INS).run(None, feeds)
    for found, wanted in zip(evaluated, evaluate(model, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
