"""What is written: the original document with what changed grafted onto it, and names that a person finds again."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.emission.models import model
from tests.graphs import integers, parse, ranking, rewrite, rewrite_and_check


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("r = Relu (user) y = Mul (r, item) z = Identity (item)", "float[B, 4] y, float[B, 4] z"),
        ("y = Mul (user, item) z = Identity (y)", "float[B, 4] y, float[B, 4] z"),
        ("a = Mul (user, item) y = Identity (a) z = Identity (a)", "float[B, 4] y, float[B, 4] z"),
        ("y = Relu (user) z = Relu (user)", "float[B, 4] y, float[B, 4] z"),
        ("y = Mul (user, item) z = Identity (k)", "float[B, 4] y, float[4] z"),
        ("y = Mul (user, item) z = Constant <value = float[1] {3}> ()", "float[B, 4] y, float[1] z"),
        ("y = Mul (user, item) s = Shape (item) z = Identity (s)", "float[B, 4] y, int64[2] z"),
        ("y = Mul (user, item) z = Reshape (y, flat)", "float[B, 4] y, float[M] z"),
        ("r = Relu (user) y = Identity (r) z = Transpose (r)", "float[B, 4] y, float[4, B] z"),
    ],
)
@pytest.mark.parametrize("style", ["one", "tiled"])
def test_outputs(style: str, body: str, outputs: str) -> None:
    """Twice the same, an input, a constant, a shape, what the user alone gives."""
    constants: dict[str, Any] = {"k": integers(4), "flat": [-1]}
    used = {name: value for name, value in constants.items() if f"{name})" in body}
    proto = ranking(style, body, item="float[4]", output=outputs, **used)
    result = rewrite_and_check(proto)
    assert result.model.graph.output == proto.graph.output


def test_outputs_that_are_inputs_and_weights_themselves() -> None:
    text = "g (float[B, 4] user, float[B, 4] item) => (float[B, 4] y, float[B, 4] user, float[4] k)"
    rewrite_and_check(parse(f"{text} {{ r = Mul (user, k) y = Mul (r, item) }}", k=integers(4)))


def test_what_is_written_is_independent_of_what_was_written_before() -> None:
    assert rewrite(model()).model == rewrite(model()).model


def test_onnxruntime_finds_an_output_that_is_transposed() -> None:
    """Version 1.32 makes one Gemm of Transpose, Gemm and Transpose, whoever wants what is between them."""
    body = """a = Add (user, item) r = Relu (a) t = Transpose (r) p = Gemm (t, r) s = Unsqueeze (r, one)
        y = Einsum <equation = "abc,dc->abcd"> (s, p)"""
    output = "float[3, 3] p, float[B, 1, 3, 3] y"
    proto = ranking("one", body, user="float[3]", output=output, one=[1])
    result = rewrite_and_check(proto)
    assert len(ort.InferenceSession(result.model.SerializeToString()).get_outputs()) == 2


def test_onnxruntime_does_not_round_an_output_that_is_quantized_elsewhere() -> None:
    """Version 1.32 quantizes before it transposes, and an output along with it; not beside an Identity."""
    body = """a = Add (user, item) p = Relu (a) e = Equal (p, p) t = Transpose (p)
        q = QuantizeLinear <axis = 0> (t, scale, none) y = DequantizeLinear <axis = 0> (q, scale, none)"""
    output = "float[B, 3] p, float[3, B] y"
    constants: dict[str, Any] = {"scale": np.array([1, 2, 1], np.float32), "none": np.zeros(3, np.int8)}
    proto = ranking("one", body, user="float[3]", output=output, **constants)
    result = rewrite_and_check(proto)
    given = {"user_row": np.array([[1, 0, 3]], np.float32), "item": np.array([[0, 1, 2], [5, 0, 0]], np.float32)}
    (found, _) = ort.InferenceSession(result.model.SerializeToString()).run(["p", "y"], given)
    assert found.tolist() == [[1, 1, 5], [6, 0, 3]]
    again = rewrite(result.model, ["user_row"]).model
    assert [n.op_type for n in again.graph.node].count("Identity") == 1
