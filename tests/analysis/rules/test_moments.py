"""LayerNormalization written out is known as such, in whatever order it was written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from tests.graphs import STYLES, Rewritten, assert_same, ranking, rewrite

USER, ITEM, HIDDEN = 192, 64, 128
WIDTH = USER + ITEM

VARIANCE = """m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) p = Mul (d, d) v = ReduceMean <axes = [1]> (p)
              e = Add (v, epsilon) s = Sqrt (e)"""
TURNED = VARIANCE.replace("Sub (x, m)", "Sub (m, x)")
WAYS = {
    "PyTorch": f"{VARIANCE} q = Div (d, s) g = Mul (q, scale) n = Add (g, shift)",
    "negative": f"{TURNED} q = Div (d, s) n = Mul (scale, q)",
    "by Pow": f"{VARIANCE.replace('Mul (d, d)', 'Pow (d, two)')} q = Div (d, s) g = Mul (q, scale) n = Add (g, shift)",
    "the mean less the columns": f"{TURNED} c = Neg (d) n = Div (c, s)",
    "scaled first": f"{VARIANCE} g = Mul (scale, d) q = Div (g, s) n = Add (shift, q)",
    "without scale": f"{VARIANCE} n = Div (d, s)",
    "without shift": f"{VARIANCE} q = Div (d, s) n = Mul (q, scale)",
    "without scale, with shift": f"{VARIANCE} q = Div (d, s) n = Add (q, shift)",
    "by the reciprocal": f"{VARIANCE} r = Reciprocal (s) n = Mul (r, d)",
    "TensorFlow": f"""{VARIANCE} r = Reciprocal (s) i = Mul (r, scale) a = Mul (x, i)
                      c = Mul (m, i) h = Sub (shift, c) n = Add (a, h)""",
    "Keras": f"""{VARIANCE} r = Div (one, s) i = Mul (r, scale) c = Neg (m)
                 f = Mul (c, i) h = Add (f, shift) a = Mul (x, i) n = Add (h, a)""",
    "less by less": f"{TURNED} r = Reciprocal (s) f = Neg (r) n = Mul (f, d)",
    "the reciprocal less, scaled": f"""{VARIANCE.replace("Sub (x, m)", "Sub (m, x)")} r = Reciprocal (s)
        i = Mul (r, scale) f = Neg (i) n = Mul (f, d)""",
    "the unbiased deviation, and a constant after it": f"""{VARIANCE.replace("e = Add (v, epsilon) s = Sqrt (e)", "")}
        u = Mul (v, more) c = Sqrt (u) s = Add (epsilon, c) g = Mul (scale, d) q = Div (g, s) n = Add (q, shift)""",
    "by powers": f"{VARIANCE.replace('Sqrt (e)', 'Pow (e, half)')} n = Div (d, s)",
    "a least variance": f"{VARIANCE.replace('e = Add', 'e = Max')} n = Div (d, s)",
    "the variance": f"{VARIANCE} n = Div (d, e)",
    "its reciprocal": f"{VARIANCE} r = Div (two, e) n = Mul (d, r)",
    "scale over the deviation": f"{VARIANCE} i = Div (scale, s) n = Mul (d, i)",
}


def model_of(
    style: str, way: str, user: int = USER, item: int = ITEM,
    columns: str = "x = Concat <axis = 1> (user, item)", **constants: Any,
) -> onnx.ModelProto:  # fmt: skip
    rng = np.random.default_rng(0)
    stored: dict[str, Any] = {
        "scale": rng.standard_normal(user + item, np.float32),
        "shift": rng.standard_normal(user + item, np.float32),
        "w": rng.standard_normal((user + item, HIDDEN), np.float32),
        "epsilon": np.array(1e-3, np.float32),
        "two": np.array(2, np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
        "more": np.array(1.25, np.float32),
        **constants,
    }
    body = f"{columns} {way} y = MatMul (n, w)"
    used: dict[str, Any] = {k: v for k, v in stored.items() if re.search(rf"\b{k}\b", body)}
    types: dict[str, Any] = {"user": f"float[{user}]", "item": f"float[{item}]", "output": "float[B, N] y"}
    return ranking(style, body, opset=13, **types, **used)


def layer(style: str, way: str, **constants: Any) -> Rewritten:
    model = model_of(style, way, **constants)
    result = rewrite(model)
    assert_same(model, result.model, rtol=1e-4)
    return result


def is_split(result: Rewritten) -> bool:
    """The sums of squares of the user's columns and of the item's."""
    return result.ops.count("ReduceSumSquare") == 2


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("way", WAYS)
def test_the_layer_after_it(style: str, way: str) -> None:
    result = layer(style, WAYS[way])
    assert is_split(result)
    assert result.ops.count("ReduceMean") == 2
    assert "Expand" not in result.ops


@pytest.mark.parametrize("way", ["PyTorch", "without scale", "TensorFlow"])
def test_constants_of_one_row(way: str) -> None:
    rng = np.random.default_rng(1)
    rows = {name: rng.standard_normal((1, WIDTH), np.float32) for name in ("scale", "shift")}
    assert is_split(layer("one", WAYS[way], **rows))


@pytest.mark.parametrize("way", WAYS)
def test_verified_in_float64(way: str) -> None:
    result = mari_onnx.optimize(model_of("tiled", WAYS[way], user=512, item=128), user_inputs=["user"])
    assert result.changed
    assert "ReduceSumSquare" in {n.op_type for n in result.model.graph.node}
    assert result.report.verification is not None and result.report.verification.passed


@pytest.mark.parametrize("way", WAYS)
def test_of_what_was_normalized_before(way: str) -> None:
    """The columns of the second are a value on the way of the first too."""
    columns = """x0 = Concat <axis = 1> (user, item) m1 = ReduceMean <axes = [1]> (x0) d1 = Sub (x0, m1)
                 p1 = Mul (d1, d1) v1 = ReduceMean <axes = [1]> (p1) e1 = Add (v1, epsilon) s1 = Sqrt (e1)
                 x = Div (d1, s1)"""
    assert not is_split(layer("one", WAYS[way], columns=columns))


def test_the_products() -> None:
    """Those of LayerNormalization itself: the user's columns once, the items' with one row more."""
    result = layer("one", WAYS["TensorFlow"])
    assert [line for line in result.graph if "Gemm" in line] == [
        "user_row.gemm [1 128] = Gemm (user_row.mul, w.user)",
        "item.gemm [B 128] = Gemm (item.concat, w.item, user_row.gemm)",
    ]


# Where it stays as it was written


ANOTHER = {
    "of another value": f"{VARIANCE} z = Relu (x) q = Sub (z, m) n = Div (q, s)",
    "of the candidates": VARIANCE.replace("[1]", "[0]") + " n = Div (d, s)",
    "of one number": """c = Unsqueeze (x, last) m = ReduceMean <axes = [1]> (c) d = Sub (c, m) p = Mul (d, d)
        v = ReduceMean <axes = [2]> (p) e = Add (v, epsilon) s = Sqrt (e) q = Div (d, s) n = Squeeze (q, last)""",
    "of the transposed": f"""{VARIANCE.replace("Mul (d, d)", "Mul (t, t)").replace("p =", "t = Transpose (d) p =")}
        z = Transpose (s) n = Div (d, z)""",
    "without the columns' dimension": VARIANCE.replace("<axes = [1]>", "<axes = [1], keepdims = 0>")
    + " f = Unsqueeze (s, last) n = Div (d, f)",
    "the mean of squares": VARIANCE.replace("Mul (d, d)", "Mul (x, x)") + " n = Div (d, s)",
    "the squares of the sum": VARIANCE.replace("Sub (x, m)", "Add (x, m)") + " c = Sub (x, m) n = Div (c, s)",
    "the product with the mean": VARIANCE.replace("Mul (d, d)", "Mul (d, m)") + " n = Div (d, s)",
    "the fourth power": VARIANCE.replace("Mul (d, d)", "Pow (d, four)") + " n = Div (d, s)",
    "the root of the mean of the deviation": f"{VARIANCE} g = ReduceMean <axes = [1]> (s) f = Sqrt (g) n = Div (d, f)",
    "the columns alone": f"{VARIANCE} n = Div (x, s)",
    "the mean alone": f"{VARIANCE} c = Mul (m, scale) n = Div (c, s)",
    "the columns and the mean": f"{VARIANCE} c = Add (x, m) n = Div (c, s)",
    "twice": f"{VARIANCE} q = Div (d, s) n = Add (q, q)",
    "the reciprocal beside it": f"{VARIANCE} r = Reciprocal (s) q = Mul (d, r) i = Mul (r, scale) n = Add (q, i)",
    "multiplied twice": f"{VARIANCE} r = Reciprocal (s) q = Mul (d, r) n = Mul (q, r)",
    "the deviation of the normalized": f"""{VARIANCE} q = Div (d, s) p2 = Mul (q, q) v2 = ReduceMean <axes = [1]> (p2)
        s2 = Sqrt (v2) n = Div (d, s2)""",
    "the deviation over the scale": f"{VARIANCE} i = Div (s, scale) n = Mul (d, i)",
    "two shifts": f"""{VARIANCE} r = Reciprocal (s) i = Mul (r, scale) a = Mul (x, i) f = Add (a, shift)
        c = Mul (m, i) h = Sub (scale, c) n = Add (f, h)""",
    "divided twice": f"{VARIANCE} q = Div (d, s) n = Div (q, s)",
    "the deviation over the columns": f"{VARIANCE} n = Div (s, d)",
    "two deviations": f"""{VARIANCE} f = Add (v, two) g = Sqrt (f) a = Div (x, s) c = Div (m, g) n = Sub (a, c)""",
    "the mean scaled otherwise": f"""{VARIANCE} r = Reciprocal (s) i = Mul (r, scale) a = Mul (x, i)
        j = Mul (r, shift) c = Mul (m, j) n = Sub (a, c)""",
    "scaled twice": f"{VARIANCE} q = Div (d, s) g = Mul (q, scale) n = Mul (g, shift)",
    "scaled after the shift": f"{VARIANCE} q = Div (d, s) g = Add (q, shift) n = Mul (g, scale)",
    "shifted before the deviation": f"{VARIANCE} g = Add (d, shift) n = Div (g, s)",
    "shifted twice": f"{VARIANCE} q = Div (d, s) g = Add (q, shift) n = Add (g, scale)",
    "negated after the shift": f"{TURNED} q = Div (d, s) g = Add (q, shift) n = Neg (g)",
    "less a constant": f"{TURNED} q = Div (d, s) n = Sub (q, shift)",
}


@pytest.mark.parametrize("way", ANOTHER)
def test_what_is_another_function(way: str) -> None:
    constants: dict[str, Any] = {"four": np.array(4, np.float32), "last": np.array([1])}
    assert not is_split(layer("one", ANOTHER[way], **constants))


def test_a_scale_that_is_one_number() -> None:
    assert not is_split(layer("one", WAYS["without shift"], scale=np.array(3, np.float32)))


def test_few_columns_stay_as_runtimes_fuse_them() -> None:
    """No sum on the way is taken apart: onnxruntime makes one LayerNormalization of what PyTorch writes."""
    model = model_of("tiled", WAYS["PyTorch"], user=16, item=16)
    result = rewrite(model)
    assert [n.op_type for n in result.model.graph.node if n.op_type != "Slice"] == [n.op_type for n in model.graph.node]
