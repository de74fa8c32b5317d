"""PRelu: what it becomes, that it is the same to the last bit, and what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graphs import integers, parse
from tests.planning.kernels.compare import assert_same_on, kept, replaced, special

TEXT = "g (float[B, 6] item) => (float[B, 6] y) { y = PRelu (item, a) }"


@pytest.mark.parametrize("slopes", [[0.25], 0.25, [[-1.5]], [2.5] * 6, [0.0]])
def test_the_graph(slopes: Any) -> None:
    model = parse(TEXT, a=np.array(slopes, np.float32))
    result = replaced(model)
    assert result.graph == ["y [B 6] = LeakyRelu (item)"]
    assert_same_on(model, result, item=special(50, 6))


def test_several_slopes() -> None:
    model = parse(TEXT, a=np.array([0.5, 0, -2, 3, 1, 0.25], np.float32))
    result = replaced(model)
    assert result.ops == ["Max", "Min", "Mul", "Add"]
    assert_same_on(model, result, item=special(50, 6))


def test_zeros_keep_their_sign() -> None:
    model = parse(TEXT, a=np.array([0.25], np.float32))
    item = np.array([[0.0, -0.0, 1, -1, 2, -2]], np.float32)
    from tests.graphs import evaluate

    (found,) = evaluate(replaced(model).model, {"item": item})
    assert np.signbit(found).tolist() == [[False, True, False, True, False, True]]


def test_a_slope_in_float64() -> None:
    text = TEXT.replace("float[", "double[")
    assert replaced(parse(text, a=np.array([0.5]))).ops == ["LeakyRelu"]
    assert replaced(parse(text, a=np.array([0.1]))).ops == ["Max", "Min", "Mul", "Add"]


def test_what_is_left_alone() -> None:
    kept(parse(TEXT, a=np.array([np.inf], np.float32)))
    kept(parse(TEXT, a=np.array([np.nan, 1, 1, 1, 1, 1], np.float32)))
    kept(parse("g (float[B, 6] item, float[6] a) => (float[B, 6] y) { y = PRelu (item, a) }"))
    kept(parse(TEXT.replace("float[", "float16["), a=np.array([0.25], np.float16)))
    kept(parse(TEXT, a=np.array([0.5, 0, -2, 3, 1, 0.25], np.float32), opset=7))  # Max of one shape alone


def test_slopes_that_make_the_result_larger() -> None:
    """Of onnx, slopes are broadcast to the input alone; onnxruntime takes others too."""
    kept(parse("g (float[B, 6] item) => (float[B, N] y) { y = PRelu (item, a) }", a=integers(2, 1, 6)))
