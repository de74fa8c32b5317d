"""Which values have rows of their own for each candidate: what keeps rows apart, and what does not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.ir.extents import Extent, symbol
from mari_onnx.partition.row_independence import Rows
from tests.graphs import Array, evaluate, integers, parse

WEIGHTS: dict[str, Any] = {
    "w": integers(4, 4), "bias": integers(4), "table": integers(9, 3), "one": [1], "zero": [0], "two": [2],
    "cut": [-1, 4], "grid": [0, 2, 2], "rows": [-1, 2], "deep": integers(2, 2, 4), "ids": [[2], [0]], "three": [2, 2],
}  # fmt: skip

KEPT = [
    "y = Relu (item)",
    "y = Add (item, bias)",
    "y = Mul (item, other)",
    "y = Mean (item, other)",
    "y = Tan (item)",
    "y = Identity (item)",
    "c = Cast <to = 7> (item) y = Equal (c, two)",
    "y = Where (flag, item, other)",
    "y = MatMul (item, w)",
    "y = Gemm (item, w, bias)",
    "y = Gemm (item, w, other)",
    "y = Gather <axis = 0> (table, id)",
    "y = Gather <axis = 1> (item, two)",
    "y = Concat <axis = 1> (item, other)",
    "y = Slice (item, one, two, one)",
    "y, z = Split <axis = 1> (item, three)",
    "g = Reshape (item, grid) r = Reshape (g, rows) y = Relu (r)",
    "g = Reshape (item, grid) y = MatMul (g, small)",
    "g = Reshape (item, grid) y = Transpose <perm = [0, 2, 1]> (g)",
    "y = Unsqueeze (item, one)",
    "y = Flatten (item)",
    "y = ReduceSum <keepdims = 0> (item, one)",
    "y = ReduceMax <axes = [-1]> (item)",
    "y = Softmax <axis = -1> (item)",
    "y = ArgMax <axis = 1> (item)",
]

MIXED = [
    "t = Transpose (item) y = MatMul (w, t)",
    "y = Add (item, user)",
    "y = Softmax <axis = 0> (item)",
    "y = ReduceSum <keepdims = 1> (item, zero)",
    "y = ReduceSum (item)",
    "y = ReduceMean (item)",
    "y = CumSum (item, axis)",
    "y = ArgMax (item)",
    "y = Gather <axis = 0> (item, ids)",
    "y = Slice (item, one, two, zero)",
    "y = Transpose (item)",
    "t = Transpose (item) y = MatMul (item, t)",
    "y = Concat <axis = 0> (item, other)",
    "y = Gemm <transA = 1> (item, item)",
    "y = Unsqueeze (item, zero)",
]

INPUTS = "float[B, 4] item, float[B, 4] other, int64[B] id, bool[B, 4] flag, float[1, 4] user"


def feeds(batch: int) -> dict[str, Array]:
    return {
        "item": integers(batch, 4), "other": integers(batch, 4, seed=1), "id": np.arange(batch) * 2 % 9,
        "flag": integers(batch, 4, seed=2) > 0, "user": integers(1, 4),
    }  # fmt: skip


def rows_of(body: str) -> tuple[onnx.ModelProto, set[str]]:
    """The model, and the names of its values that have rows; their extents are read off two runs."""
    constants: dict[str, Any] = {**WEIGHTS, "small": integers(2, 3), "axis": np.int64(0)}
    words = set(re.findall(r"\w+", body))
    used = {name: a for name, a in constants.items() if name in words}
    model = parse(f"g ({INPUTS}) => (float[N, M] y) {{ {body} }}", **used)
    every = [name for node in model.graph.node for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ["y", *(n for n in every if n != "y")])
    shapes: dict[str, tuple[Extent, ...]] = {t.name: tuple(t.dims) for t in model.graph.initializer}
    names = [o.name for o in model.graph.output]
    runs = [{**feeds(batch), **dict(zip(names, evaluate(model, feeds(batch)), strict=True))} for batch in (5, 7)]
    for name, few in runs[0].items():
        extents = zip(few.shape, runs[1][name].shape, strict=True)
        shapes[name] = tuple(a if a == b else symbol("B") * (a // 5) for a, b in extents)
    stored = {t.name: onnx.numpy_helper.to_array(t).reshape(-1).tolist() for t in model.graph.initializer}
    return model, Rows(model.graph, symbol("B"), shapes.get, stored.get).walk(["item", "other", "id", "flag"])


@pytest.mark.parametrize("body", KEPT)
def test_kept(body: str) -> None:
    model, rows = rows_of(body)
    assert "y" in rows
    _assert_independent(model)


@pytest.mark.parametrize("body", MIXED)
def test_not_kept(body: str) -> None:
    assert "y" not in rows_of(body)[1]


def _assert_independent(model: onnx.ModelProto) -> None:
    """Another order of the candidates is the same order of their blocks."""
    order, sent = np.array([3, 0, 4, 1, 2]), feeds(5)
    first = evaluate(model, sent)[0]
    second = evaluate(model, {name: a if name == "user" else a[order] for name, a in sent.items()})[0]
    np.testing.assert_array_equal(second.reshape(5, -1), first.reshape(5, -1)[order])
