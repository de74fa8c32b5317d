"""The gate of Dice: three operations instead of five, in whichever order they are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from tests.graphs import evaluate, integers, parse
from tests.planning.kernels.compare import assert_same_on, kept, ordinary, replaced

TEXT = "g (float[B, 6] item) => (float[B, 6] y) {{ p = Sigmoid (item) {} }}"
PASSED = ("t = Mul (p, item)", "t = Mul (item, p)")
SCALED = (
    "c = Sub (one, p) u = Mul (c, a) v = Mul (u, item)",
    "c = Sub (one, p) u = Mul (a, c) v = Mul (item, u)",
    "c = Sub (one, p) u = Mul (c, item) v = Mul (a, u)",
)
ADD = "y = Add (t, v)"


def gated(passed: str = PASSED[0], scaled: str = SCALED[0], add: str = ADD, a: Any = (0.25,), columns: int = 6) -> Any:
    text = TEXT.replace("6]", f"{columns}]").format(f"{passed} {scaled} {add}")
    return parse(text, one=np.float32(1), a=np.array(a, np.float32))


@pytest.mark.parametrize("add", ["y = Add (t, v)", "y = Add (v, t)"])
@pytest.mark.parametrize("scaled", SCALED)
@pytest.mark.parametrize("passed", PASSED)
def test_the_graph(passed: str, scaled: str, add: str) -> None:
    model = gated(passed, scaled, add)
    result = replaced(model, rtol=1e-6)
    assert sorted(result.ops) == ["Add", "Mul", "Mul", "Sigmoid", "Sub"], "the Sub is of constants"
    assert_same_on(model, result, rtol=1e-5, item=ordinary(50, 6))


@pytest.mark.parametrize("a", [0.25, (-0.5,), (0.1, 0.2, 0, -1, 2, 1), ((0.5,),)])
def test_constants(a: Any) -> None:
    model = gated(a=np.resize(a, 64) if np.size(a) > 1 else a, columns=64)
    assert replaced(model, rtol=1e-5).ops.count("Mul") == 2


def test_special_numbers() -> None:
    """The original is NaN where 0 times infinity is computed, and the gate infinite: where p is exactly 0 or 1."""
    model = gated()
    result = replaced(model, rtol=1e-6)
    item = np.array([[np.nan, 0.0, -0.0, 3e38, -3e38, 1e-40], [np.inf, -np.inf, 1, 2, 3, 4]], np.float32)
    assert_same_on(model, result, rtol=1e-6, item=item[:1])
    (before,), (after,) = (evaluate(m, {"item": item[1:]}) for m in (model, result.model))
    assert np.isnan(before[0, :2]).all()
    assert after[0, :2].tolist() == [np.inf, -np.inf]
    np.testing.assert_allclose(after[0, 2:], before[0, 2:], rtol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "t = Mul (p, item) c = Sub (two, p) u = Mul (c, a) v = Mul (u, item) y = Add (t, v)",
        "t = Mul (p, item) c = Sub (one, p) v = Mul (c, item) y = Add (t, v)",
        "t = Mul (p, item) c = Sub (one, p) u = Mul (c, p) v = Mul (u, item) y = Add (t, v)",
        "q = Tanh (item) t = Mul (q, item) c = Sub (one, q) u = Mul (c, a) v = Mul (u, item) y = Add (t, v)",
        "t = Mul (p, item) c = Sub (p, one) u = Mul (c, a) v = Mul (u, item) y = Add (t, v)",
        "t = Mul (p, item) c = Sub (one, p) u = Mul (c, a) v = Mul (u, item) y = Sub (t, v)",
    ],
    ids=["2 - p", "no constant", "no stored constant", "no Sigmoid", "p - 1", "a difference"],
)
def test_what_is_left_alone(body: str) -> None:
    kept(parse(TEXT.format(body), one=np.float32(1), two=np.float32(2), a=np.array([0.25], np.float32)))


PRODUCT = "y = Add (t, v) z = Gemm (y, w)"


def before_a_product(a: float, product: str = PRODUCT, output: str = "float[B, 4] z") -> Any:
    text = f"g (float[B, 64] item) => ({output}) {{ p = Sigmoid (item) {PASSED[0]} {SCALED[0]} {product} }}"
    constants: dict[str, Any] = {"w": integers(64, 4), "one": np.float32(1), "a": np.array([a], np.float32)}
    return parse(text, **constants)


@pytest.mark.parametrize("a", [0.25, -0.5, 0.0, 2.0])
@pytest.mark.parametrize("product", [PRODUCT, "y = Add (t, v) z = MatMul (y, w)"])
def test_the_factor_of_all_in_the_weight_behind(a: float, product: str) -> None:
    model = before_a_product(a, product)
    result = replaced(model, rtol=1e-5)
    computed = [t.op_type for t in result.written.tensors.values() if not t.constant]
    assert [op for op in computed if op not in ("<input>", "Gemm", "MatMul")] == ["Sigmoid", "Add", "Mul"]
    assert_same_on(model, result, rtol=1e-3, item=ordinary(50, 64) + 3)


def test_a_factor_that_is_close_to_0() -> None:
    """A share a / (1 - a) that is large would lose the digits of p."""
    result = replaced(before_a_product(0.999), rtol=1e-5)
    assert [t.op_type for t in result.written.tensors.values() if not t.constant].count("Mul") == 2


def test_a_gate_that_is_read_elsewhere() -> None:
    """Both would be computed, so that the weight stays as it is."""
    result = replaced(before_a_product(0.25, output="float[B, 4] z, float[B, 64] y"), rtol=1e-5)
    assert [t.op_type for t in result.written.tensors.values() if not t.constant].count("Mul") == 2


def test_a_dequantized_weight_stays_as_it_is() -> None:
    """A runtime multiplies by its integers, unless another node stands between."""
    product = "y = Add (t, v) d = DequantizeLinear (q, s) z = Gemm (y, d)"
    model = before_a_product(0.25, product)
    stored = {"q": integers(64, 4).astype(np.int8), "s": np.float32(0.5)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in stored.items())
    (node,) = replaced(model, rtol=1e-5).nodes("Gemm")
    assert node.input[1] == "d"
