"""A name of leading axes is in doubt where an operator takes rows together, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.analysis.rows_together import names_in_doubt
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from tests.graphs import integers, parse

BOTH = {"a": "N", "b": "N"}


def doubted(inputs: str, body: str, opset: int = 17) -> set[str]:
    constants: dict[str, Any] = {
        "w": integers(4, 4),
        "one": [1],
        "zero": [0],
        "two": [2],
        "end": [2**31 - 1],
        "last": np.array(-1),
    }
    constants["start"] = np.zeros(4, np.float32)
    model = Model(from_proto(parse(f"g ({inputs}) => (float[M] y) {{ {body} }}", opset=opset, **constants)))
    return names_in_doubt(model, {info.name: BOTH[info.name] for info in model.inputs if info.name in BOTH})


@pytest.mark.parametrize(
    "body",
    [
        "m = ReduceMean <axes = [0]> (a) y = Add (m, b)",
        "m = ReduceMean <axes = [-2]> (a) y = Add (m, b)",
        "m = ReduceMean (a) y = Add (m, b)",
        "m = ReduceSum (a, zero) y = Add (m, b)",
        "t = Transpose (a) y = MatMul (b, t)",
        "t = Transpose <perm = [1, 0]> (a) y = MatMul (b, t)",
        "y = Gemm <transB = 1> (b, a)",
        "y = Gemm <transA = 1> (b, w)",
        'y = Einsum <equation = "nd,md->nm"> (b, a)',
        "m = Gather (a, last) y = Add (m, b)",
        "m = Slice (a, zero, one, zero) y = Add (m, b)",
        "k = ArgMax <axis = 0> (a) m = Cast <to = 1> (k) y = Add (m, b)",
        "m = Squeeze (a, zero) y = Add (m, b)",
        "y = Concat <axis = 0> (a, b)",
        "y = CumSum (a, last)",
        "y, all = Scan <num_scan_inputs = 1, body = s (float[4] h, float[4] x) => (float[4] o, float[4] p)"
        " { o = Add (h, x) p = Identity (o) }> (start, a)",
        # In a branch, and behind operators that keep rows.
        "r = Relu (a) m = MatMul (r, w) s = ReduceMax <axes = [0]> (m) y = Add (s, b)",
        "y = If (c) <then_branch = t () => (float[M] z) { z = ReduceMax <axes = [0]> (a) },"
        " else_branch = e () => (float[M] z) { z = Identity (b) }>",
    ],
)
def test_rows_that_are_taken_together(body: str) -> None:
    assert doubted("float[N, 4] a, float[N, 4] b, bool c", body) == {"N"}


@pytest.mark.parametrize(
    "body",
    [
        "x = Concat <axis = 1> (a, b) y = Relu (x)",
        "m = ReduceMean <axes = [1]> (a) y = Add (m, b)",
        "x = MatMul (a, w) z = Softmax (x) y = Add (z, b)",
        "y = Gemm (a, w)",
        'y = Einsum <equation = "nd,nd->n"> (b, a)',
        "m = Slice (a, zero, end, zero) y = Add (m, b)",
        "m = Slice (a, zero, one, one) y = Add (m, b)",
        "s = Shape (a) k = Gather (s, last) n = Unsqueeze (k, zero) y = Expand (b, n)",
        "n = NonZero (a) t = Transpose (n) y = GatherND (a, t)",
        "t = Transpose (w) y = MatMul (a, t)",
        # Steps first, and the first step of it.
        "u = Unsqueeze (a, one) t = Transpose <perm = [1, 0, 2]> (u) s = Gather (t, last) y = Add (s, b)",
    ],
)
def test_rows_that_stay_rows(body: str) -> None:
    assert doubted("float[N, 4] a, float[N, 4] b", f"{body} both = Add (a, b)") == set()


@pytest.mark.parametrize("body", ["y = Relu (a)", "y = Relu (a) z = Relu (b)", "s = Shape (b) y = Expand (a, s)"])
def test_rows_that_never_meet(body: str) -> None:
    """Of an input that is not used, or is another output, nothing says how many rows it has."""
    assert doubted("float[N, 4] a, float[N, 4] b", body) == {"N"}


def test_a_lookup_by_an_index_of_the_same_name() -> None:
    """Rows of requests, and candidates that say whose they are: one name for both says too much."""
    body = "u = MatMul (a, w) i = Cast <to = 7> (b) y = Gather (u, i)"
    assert doubted("float[N, 4] a, float[N] b", body) == {"N"}


def test_a_lookup_by_an_index_of_another_name() -> None:
    model = Model(from_proto(parse("g (float[R, 4] a, int64[B] b) => (float[M] y) { y = Gather (a, b) }")))
    assert names_in_doubt(model, {"a": "R", "b": "B"}) == set()


def test_steps_of_a_recurrent_network() -> None:
    body = "s, y = GRU <hidden_size = 2{layout}> (a, k, r)"
    weights: dict[str, Any] = {"k": integers(1, 6, 4), "r": integers(1, 6, 2)}
    for layout, found in (("", {"N"}), (", layout = 1", set())):
        text = f"g (float[N, 5, 4] a) => (float[M] y) {{ {body.format(layout=layout)} }}"
        assert names_in_doubt(Model(from_proto(parse(text, **weights))), {"a": "N"}) == found
