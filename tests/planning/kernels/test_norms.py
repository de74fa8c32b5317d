"""Norms of rows: the form that onnxruntime makes one node of, and what is no such norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.graphs import Rewritten, integers, parse, rewrite
from tests.planning.kernels.compare import assert_same_on, kept, ordinary, replaced, special

NORM = "s = Pow (h, two)  m = ReduceMean <axes = [-1]> (s)  t = Add (m, epsilon)  n = Sqrt (t)"
NUMBERS: dict[str, Any] = {
    "two": np.float32(2), "one": np.float32(1), "epsilon": np.float32(1e-5), "w": np.arange(8, dtype=np.float32)
}  # fmt: skip


def model(rest: str, norm: str = NORM, **numbers: Any) -> onnx.ModelProto:
    """Of 8 columns, h is what is normalized and y the result."""
    text = f"g (float[1, 8] user, float[B, 8] item) => (float[B, 8] y) {{ h = Add (user, item)  {norm}  {rest} }}"
    return parse(text, **{**NUMBERS, **numbers})


def runtime_nodes(result: Rewritten, folder: Path) -> list[str]:
    """The operators that onnxruntime runs."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(result.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


@pytest.mark.parametrize(
    "rest",
    [
        "i = Reciprocal (n)  z = Mul (h, i)  y = Mul (z, w)",
        "i = Reciprocal (n)  z = Mul (i, h)  y = Mul (w, z)",
        "i = Div (one, n)  z = Mul (h, i)  y = Mul (z, w)",
    ],
)
@pytest.mark.parametrize("norm", [NORM, NORM.replace("Pow (h, two)", "Mul (h, h)")])
def test_the_graph(norm: str, rest: str, tmp_path: Path) -> None:
    original = model(rest, norm)
    result = replaced(original, rtol=1e-6)
    assert {"Pow", "Div"} <= {*result.ops} and "Reciprocal" not in result.ops
    assert "SimplifiedLayerNormalization" in runtime_nodes(result, tmp_path)
    for item in (special(50, 8), ordinary(50, 8)):
        assert_same_on(original, result, rtol=1e-6, user=ordinary(1, 8), item=item)


def test_rows_divided_by_the_root_of_a_product(tmp_path: Path) -> None:
    original = model("z = Div (h, n)  y = Mul (z, w)", NORM.replace("Pow (h, two)", "Mul (h, h)"))
    result = replaced(original, rtol=1e-6)
    assert "SimplifiedLayerNormalization" in runtime_nodes(result, tmp_path)


def test_a_norm_that_is_known_stays() -> None:
    kept(model("z = Div (h, n)  y = Mul (z, w)"))


def test_rows_that_were_reshaped_within_the_norm(tmp_path: Path) -> None:
    """A rule may square [B, 8] and take the mean of [B, 1, 8]."""
    text = "g (float[B, 1, 8] user, float[B, 1, 8] item) => (float[B, 1, 8] y)"
    flat = (
        "u = Reshape (item, rows)  h2 = Relu (u)  s2 = Mul (h2, h2)  s = Reshape (s2, three)  h = Reshape (h2, three)"
    )
    body = f"{flat}  {NORM.split('  ', 1)[1]}  i = Reciprocal (n)  z = Mul (h, i)  v = Mul (z, w)  y = Add (v, user)"
    original = parse(f"{text} {{ {body} }}", rows=[-1, 8], three=[-1, 1, 8], **NUMBERS)
    result = replaced(original, rtol=1e-6)
    assert "Reciprocal" not in result.ops
    assert "SimplifiedLayerNormalization" in runtime_nodes(result, tmp_path)


INVERSE = "i = Reciprocal (n)  z = Mul (h, i)  y = Mul (z, w)"


@pytest.mark.parametrize(
    "original",
    [
        model("i = Reciprocal (n)  z = Mul (h, i)  y = Relu (z)"),  # onnxruntime knows no norm without a scale
        model(INVERSE.replace("Mul (h, i)", "Mul (item, i)")),  # the norm of other rows
        model(INVERSE, NORM.replace("Pow (h, two)", "Pow (h, one)")),
        model(INVERSE, epsilon=np.float32(0)),
        model(INVERSE, NORM.replace("[-1]", "[0]")),
        model(INVERSE, NORM.replace("Add (m, epsilon)", "Add (m, m)")),
        model(INVERSE, w=integers(1, 1)),
    ],
)
def test_what_is_left_alone(original: onnx.ModelProto) -> None:
    assert "Div" not in rewrite(original, kernels=True).ops


def test_doubles_are_left_alone() -> None:
    text = "g (double[1, 8] user, double[B, 8] item) => (double[B, 8] y)"
    numbers = {name: number.astype(np.float64) for name, number in NUMBERS.items()}
    norm = NORM.replace("Pow (h, two)", "Mul (h, h)")
    kept(parse(f"{text} {{ h = Add (user, item)  {norm}  {INVERSE} }}", **numbers))
