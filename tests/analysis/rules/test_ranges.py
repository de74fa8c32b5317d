"""Range: how many numbers it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.rules.ranges import range_
from mari_onnx.ir.axes import Refused, extents
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import symbol
from tests.graphs import integers, ranking, rewrite_and_check

NUMBERS: dict[str, Any] = {
    "at0": np.int64(0), "at1": np.int64(1), "four": np.int64(4), "minus4": np.int64(-4), "last": [1],
    "w": integers(4, 4),
}  # fmt: skip

COUNTS = "s = Shape <start = 0, end = 1> (item) b = Squeeze (s) n = Mul (b, four)"


@pytest.mark.parametrize("bounds", ["at0, n, four", "n, at0, minus4", "at0, b, at1"])
def test_the_graph(bounds: str) -> None:
    body = f"""{COUNTS} r = Range ({bounds}) f = Cast <to = 1> (r) c = Unsqueeze (f, last)
        u = Relu (user) v = Add (u, c) y = Add (v, item)"""
    result = rewrite_and_check(ranking("tiled", body, item="float[4]", **NUMBERS))
    assert extents(result.program.values["r"].known_dims) == (symbol("B"),)


@pytest.mark.parametrize("dtype", ["1", "11"])
@pytest.mark.parametrize("bounds", ["f0, t, f1", "f0, t, f2", "t, f0, minus"])
def test_numbers_of_floats(dtype: str, bounds: str) -> None:
    """As an arange in a float type is exported: the number of rows is cast, and the steps are whole."""
    body = f"""{COUNTS} m = Mul (b, four) t = Cast <to = {dtype}> (m) r = Range ({bounds}) f = Cast <to = 1> (r)
        v = ReduceSum <keepdims = 0> (f) u = Relu (user) w2 = Mul (u, v) y = Add (w2, item)"""
    kind = np.float32 if dtype == "1" else np.float64
    given: dict[str, Any] = {
        name: np.array(number, kind) for name, number in {"f0": 0, "f1": 1, "f2": 2, "minus": -4}.items()
    }
    result = rewrite_and_check(ranking("one", body, item="float[4]", **given, **NUMBERS), rtol=1e-6)
    steps = {"f0, t, f1": 4, "f0, t, f2": 2, "t, f0, minus": 1}
    assert extents(result.program.values["r"].known_dims) == (steps[bounds] * symbol("B"),)


@pytest.mark.parametrize(("rows", "known"), [("four", True), ("b", False)])
def test_numbers_that_were_in_half_precision(rows: str, known: bool) -> None:
    """Beyond 2,048 it has each second whole number alone: 4 is one of all, and a number of rows may not be."""
    body = f"""{COUNTS} h = Cast <to = 10> ({rows}) t = Cast <to = 1> (h) r = Range (f0, t, f1)
        v = ReduceSum <keepdims = 0> (r) u = Relu (user) w2 = Mul (u, v) y = Add (w2, item)"""
    given: dict[str, Any] = {"f0": np.array(0, np.float32), "f1": np.array(1, np.float32)}
    result = rewrite_and_check(ranking("one", body, item="float[4]", **given, **NUMBERS))
    assert (extents(result.program.values["r"].known_dims) == (4,)) == known


def test_steps_that_are_not_whole() -> None:
    body = f"{COUNTS} t = Cast <to = 1> (b) r = Range (f0, t, half) v = ReduceSum <keepdims = 0> (r) y = Mul (item, v)"
    given: dict[str, Any] = {"f0": np.array(0, np.float32), "half": np.array(0.5, np.float32)}
    result = rewrite_and_check(ranking("one", body + " z = Relu (user)", item="float[4]", **given, **NUMBERS))
    assert extents(result.program.values["r"].known_dims) == (symbol("r.0"),)


@pytest.mark.parametrize("bounds", ["at0, b, four", "four, b, at1", "at0, m, at1"])
def test_how_many_is_not_known(bounds: str) -> None:
    body = f"""{COUNTS} i = Cast <to = 7> (user) m0 = ReduceMax <keepdims = 0> (i) m = Abs (m0)
        r = Range ({bounds}) f = Cast <to = 1> (r) t = ReduceSum <keepdims = 0> (f)
        v = Mul (item, t) y = MatMul (v, w)"""
    result = rewrite_and_check(ranking("tiled", body, item="float[4]", **NUMBERS))
    assert "Range" in result.ops
    value = result.program.values["r"]
    assert extents(value.known_dims) == (symbol("r.0"),)
    assert value.stopped is None, "the user's numbers are as many for each candidate"


def test_bounds_that_are_not_known() -> None:
    node = onnx.helper.make_node("Range", ["a", "b", "c"], ["r"])
    found = range_(Op(node, (None, None, None), 17), Context(Builder(), CostModel(1), onnx.numpy_helper.to_array))
    assert found == Refused("how many numbers Range gives is computed by the model")
