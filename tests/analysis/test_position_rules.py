"""The integer that an element is: the same as onnxruntime computes, at every position of several extents."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from mari_onnx.analysis.position_rules import of_stored
from mari_onnx.analysis.positions import Affine, Window, whole
from mari_onnx.ir.extents import evaluate as at_extents
from tests.graphs import evaluate, parse, rewrite
from tests.property.evaluate import with_outputs

PLACES = "shape = Shape (x) length = Slice (shape, zero, one, zero) n = Squeeze (length, zero) r = Range (n0, n, n1)"

KNOWN = [
    f"{PLACES} t = Add (r, n2)",
    f"{PLACES} c = Unsqueeze (r, one) t = Sub (r, c)",
    f"{PLACES} t = Mul (n2, r)",
    f"{PLACES} t = Neg (r)",
    f"{PLACES} t = Sub (n, r)",
    f"{PLACES} t = Cast <to = 6> (r)",
    f"{PLACES} t = Range (n2, n, n1)",
    f"{PLACES} next = Add (r, n1) t = Max (r, next)",
    f"{PLACES} t = Min (r, n)",
    f"{PLACES} both = Concat <axis = 0> (length, length) e = Expand (one, both) t = CumSum (e, n1)",
    f"{PLACES} e = Expand (one, length) t = CumSum <exclusive = 1> (e, n0)",
    f"{PLACES} s = Slice (stored, zero, length, zero) t = Add (s, r)",
    f"{PLACES} u = Unsqueeze (r, zero) t = Transpose <perm = [1, 0]> (u)",
]
UNKNOWN = [
    f"{PLACES} t = Mul (r, r)",
    f"{PLACES} t = Min (r, n2)",
    f"{PLACES} e = Expand (one, length) t = CumSum <reverse = 1> (e, n0)",
    f"{PLACES} t = CumSum (r, n0)",
    f"{PLACES} f = Cast <to = 1> (r) t = Cast <to = 7> (f)",
    f"{PLACES} t = Abs (r)",
    "i = Cast <to = 7> (x) t = Add (i, n1)",
    f"{PLACES} t = Slice (uneven, zero, length, zero)",
]
STORED: dict[str, Any] = {
    "zero": [0], "one": [1], "n0": np.array(0), "n1": np.array(1), "n2": np.array(2),
    "stored": np.arange(3, 35, 2), "uneven": np.array([0, 1, 2, 4]),
}  # fmt: skip


def model(body: str) -> onnx.ModelProto:
    used = {name: a for name, a in STORED.items() if re.search(rf"\b{name}\b", body)}
    text = (
        f"g (float[L] x) => (float y) {{ {body} numbers = Cast <to = 1> (t) y = ReduceSum <keepdims = 0> (numbers) }}"
    )
    return parse(text, opset=17, **used)


def number(graph: onnx.ModelProto) -> tuple[Affine | None, Window]:
    """What is known of the tensor `t`, and its window."""
    program = rewrite(graph, user=()).program
    tensor = program.values["t"].array.tensor
    return program.context.intervals.of(tensor).exact, whole(tensor.known_shape)


@pytest.mark.parametrize("body", KNOWN)
def test_a_number_that_is_known(body: str) -> None:
    graph = model(body)
    found, window = number(graph)
    assert found is not None
    observed = with_outputs(graph, {"t": TensorProto.INT32 if "to = 6" in body else TensorProto.INT64})
    for length in (0, 1, 2, 7):
        there = evaluate(observed, {"x": np.zeros(length, np.float32)})[-1]
        there = there.reshape(-1) if len(window) == 1 else there
        places = {s.index: at for s, at in zip(window, np.ogrid[tuple(map(slice, there.shape))], strict=True)}
        at = [step * places[index] for index, step in found.steps.items()]
        numbers = at_extents(found.constant, {"L": length}, 0) + sum(at, np.zeros(there.shape, np.int64))
        np.testing.assert_array_equal(there, numbers)


@pytest.mark.parametrize("body", UNKNOWN)
def test_a_number_that_is_not_known(body: str) -> None:
    assert number(model(body))[0] is None


def test_stored_numbers_in_equal_steps() -> None:
    window = whole((2, 3))
    assert of_stored(np.array([[5, 7, 9], [4, 6, 8]]), window) == Affine(5, {window[0].index: -1, window[1].index: 2})
    assert of_stored(np.array([[5, 7, 9], [4, 6, 9]]), window) is None
    assert of_stored(np.array([0.0, 1.0]), whole((2,))) is None
