"""BatchNormalization behind a product: in the weight, in the bias and in the user's term."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx import optimize
from tests.graphs import STYLES, integers, parse, ranking
from tests.planning.kernels.compare import assert_same_on, kept, ordinary, replaced

NUMBERS: dict[str, Any] = {
    "s": np.array([1, 2, -1, 0.5], np.float32),
    "b": integers(4, seed=2),
    "m": integers(4, seed=3),
    "v": np.array([1, 0.25, 4, 1], np.float32),
}
NORMALIZED = "y = BatchNormalization <epsilon = 0.5> (h, s, b, m, v)"
ITEM = "g (float[B, 3] item) => (float[B, 4] y)"


@pytest.mark.parametrize("style", STYLES)
def test_the_graph(style: str) -> None:
    """The user's term is scaled and shifted where it is computed: once for each request."""
    body = f"x = Concat <axis = 1> (user, item) h = Gemm (x, w, c) {NORMALIZED}"
    model = ranking(style, body, w=integers(7, 4), c=integers(4, seed=1), **NUMBERS)
    result = replaced(model, rtol=1e-5)
    assert "BatchNormalization" not in result.ops
    last = next(line for line in reversed(result.graph) if "Gemm" in line)
    assert last.startswith("y [B 4] = Gemm (item")
    constants = [t.constant for t in result.written.tensors.values() if t.op_type in ("Sqrt", "Div", "Sub")]
    assert constants
    assert all(constants), "what is computed of stored numbers is computed when the model is loaded"


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", ["", ", c", ", one"])
def test_weights_and_biases(trans: int, bias: str) -> None:
    w = integers(3, 4).T if trans else integers(3, 4)
    body = f"h = Gemm <transB = {trans}> (item, w{bias}) {NORMALIZED}"
    constants = {"w": w, "c": integers(1, 4, seed=1), "one": integers(1), **NUMBERS}
    model = parse(f"{ITEM} {{ {body} }}", **constants)
    result = replaced(model, rtol=1e-5)
    assert "BatchNormalization" not in result.ops
    assert_same_on(model, result, rtol=1e-4, item=100 + np.abs(ordinary(20, 3)))


def test_verified_in_float64() -> None:
    """The scaled weight is computed by nodes, so that both models are the same function to rounding of float64."""
    body = f"x = Concat <axis = 1> (user, item) h = Gemm (x, w, c) {NORMALIZED}"
    wide: dict[str, Any] = {name: np.resize(array, 64) for name, array in NUMBERS.items()}
    model = ranking("tiled", body, user="float[40]", item="float[30]", w=ordinary(70, 64), c=ordinary(64), **wide)
    result = optimize(model, user_inputs=["user"])
    assert any(r.op_type == "BatchNormalization" and r.rule == "kernels" for r in result.report.remarks)
    assert result.report.verification is not None
    assert result.report.verification.passed
    assert not result.report.left_out


def test_sums_between_the_products() -> None:
    """What is added to a product may be a sum of products itself, in another shape, or rows that an index selects."""
    body = f"""
        u = Gemm (user, w, c) g = Gather (u, index) i = Gemm (item, w) a = Add (g, i) h = Gemm (item, w, a) {NORMALIZED}
    """
    text = f"g (float[R, 3] user, int64[B] index, float[B, 3] item) => (float[B, 4] y) {{ {body} }}"
    model = parse(text, w=integers(3, 4), c=integers(4, seed=1), **NUMBERS)
    assert "BatchNormalization" not in replaced(model, rtol=1e-5).ops


def test_an_infinite_item() -> None:
    model = parse(f"{ITEM} {{ h = Gemm (item, w) {NORMALIZED} }}", w=integers(3, 4), **NUMBERS)
    item = np.array([[np.inf, 1, 1], [1, np.nan, 1], [-np.inf, np.inf, 0], [0, 0, 0]], np.float32)
    assert_same_on(model, replaced(model, rtol=1e-5), rtol=1e-5, item=item)


def test_a_channel_of_scale_0() -> None:
    numbers = NUMBERS | {"s": np.array([0, 1, 1, 1], np.float32)}
    model = parse(f"{ITEM} {{ h = Gemm (item, w) {NORMALIZED} }}", w=integers(3, 4), **numbers)
    assert "BatchNormalization" not in replaced(model, rtol=1e-5).ops


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("h = Gemm <alpha = 2.0> (item, w)", {}),
        ("h = Relu (item4)", {}),
        ("h = Gemm (item, w)", {"w": np.full((3, 4), 1e31, np.float32)}),
        ("h = Gemm (item, w)", {"w": np.full((3, 4), 1e-31, np.float32)}),
        ("h = Gemm (item, w)", {"v": np.array([-1, 1, 1, 1], np.float32)}),
        ("h = Gemm (item, w)", {"m": np.array([np.inf, 1, 1, 1], np.float32)}),
        ("h = Gemm (item, given)", {}),
    ],
    ids=["a factor", "no product", "large", "tiny", "a negative variance", "an infinite mean", "a computed weight"],
)
def test_what_is_left_alone(body: str, changed: dict[str, Any]) -> None:
    text = "g (float[B, 3] item, float[B, 4] item4, float[3, 4] given) => (float[B, 4] y)"
    kept(parse(f"{text} {{ {body} {NORMALIZED} }}", **{"w": integers(3, 4), **NUMBERS, **changed}))


def test_rows_with_places_behind_the_channels() -> None:
    text = "g (float[B, 4, 3] h) => (float[B, 4, 3] y)"
    kept(parse(f"{text} {{ {NORMALIZED} }}", **NUMBERS))
