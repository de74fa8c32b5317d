"""What a model takes from its features, wherever a column of a feature comes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.document.read import as_document
from mari_onnx.verification.inputs.centres import centres
from mari_onnx.verification.inputs.draw import draw, inputs_of
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.graphs import parse

MEAN = np.array([1000, -30, 7], np.float32)


def found(body: str, *, tail: str = "", **constants: Any) -> dict[str, list[float]]:
    """The centres of x [B 3] and user [1 2], in a model with these nodes."""
    model = parse(f"g (float[B, 3] x, float[1, 2] user) => (float[N{tail}] y) {{ {body} }}", **constants)
    source = Source("reference", as_document(model))
    inputs = inputs_of(source.session())
    feeds = draw(inputs, {}, {"B": 2}, np.random.default_rng(0))
    return {name: centre.tolist() for name, centre in centres(source, inputs, feeds).items()}


@pytest.mark.parametrize(
    "body",
    [
        "y = Sub (x, mean)",
        "y = Sub (mean, x)",
        "c = Constant <value = float[3] {-1000, 30, -7}> () y = Add (x, c)",
        "c = Identity (x) t = Transpose (c) r = Transpose (t) d = Sub (r, mean) y = Relu (d)",
    ],
)
def test_a_mean_for_each_column(body: str) -> None:
    assert found(body, tail=", 3", mean=MEAN) == {"x": MEAN.tolist()}


def test_a_mean_for_all_columns() -> None:
    assert found("y = Sub (x, c)", tail=", 3", c=np.float32(5)) == {"x": [5, 5, 5]}


def test_columns_that_moved() -> None:
    """[user x] - mean, of which the user is repeated; and columns in another order."""
    body = """
        s = Shape (x) b = Gather (s, zero) t = Concat <axis = 0> (b, two) u = Expand (user, t)
        z = Concat <axis = 1> (u, x) y = Sub (z, mean)
    """
    constants = {"zero": [0], "two": [2], "mean": np.array([[1, 2, 3, 4, 5]], np.float32)}
    assert found(body, tail=", 5", **constants) == {"x": [3, 4, 5], "user": [1, 2]}
    turned = "z = Gather <axis = 1> (x, order) y = Sub (z, mean)"
    assert found(turned, tail=", 2", order=[2, 0], mean=MEAN[:2]) == {"x": [-30, 0, 1000]}


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu (x)",
        "y = Sub (x, user)",
        "h = Relu (x) y = Mul (h, mean)",
        "p = MatMul (x, w) y = Add (p, mean)",
        "y = Sub (x, nothing)",
    ],
)
def test_nothing_is_taken(body: str) -> None:
    if "user" in body:
        body = "a = Slice (x, one, two, one) y = Sub (a, user)"
    constants = {"mean": MEAN, "w": np.ones((3, 3), np.float32), "nothing": np.float32(0), "one": [1], "two": [3]}
    assert found(body, **constants, tail=", C") == {}


def test_a_constant_with_more_elements() -> None:
    assert found("y = Sub (x, table)", tail=", 3", table=np.ones((2, 3), np.float32)) == {"x": [1, 1, 1]}
    repeated = "z = Unsqueeze (x, one) y = Sub (z, table)"
    assert found(repeated, tail=", 2, 3", one=[1], table=np.ones((2, 3), np.float32)) == {}


def test_a_model_that_does_not_run() -> None:
    assert found("z = Reshape (x, shape) y = Sub (z, mean)", tail=", 3", shape=[7, 3], mean=MEAN) == {}
