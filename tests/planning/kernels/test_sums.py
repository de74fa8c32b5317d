"""Reductions along an axis in the middle: their places, added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.graphs import evaluate, integers, parse
from tests.planning.kernels.compare import assert_same_on, kept, ordinary, replaced, special

EXPERTS = """
    a = Gemm (item, wa) b = Gemm (item, wb) c = Gemm (item, wc)
    all = Concat <axis = 1> (a, b, c) e = Reshape (all, three)
"""
STORED: dict[str, Any] = {"wa": integers(5, 48), "wb": integers(5, 48, seed=1), "wc": integers(5, 48, seed=2)}
STORED |= {"three": [-1, 3, 48], "axis": [1]}


@pytest.mark.parametrize(("keepdims", "shape"), [(0, "[B 48]"), (1, "[B 1 48]")])
def test_the_graph(keepdims: int, shape: str) -> None:
    """The pieces of a Concat are the places."""
    body = f"{EXPERTS} s = ReduceSum <keepdims = {keepdims}> (e, axis) y = Neg (s)"
    result = replaced(parse(f"g (float[B, 5] item) => (float[B, N, M] y) {{ {body} }}", **STORED))
    assert [line for line in result.graph if " Sum " in line] == ["s.sum [B 48] = Sum (a, b, c)"] or "Sum" in result.ops
    assert "ReduceSum" not in result.ops
    assert "Concat" not in result.ops
    assert f"y {shape} = Neg" in result.graph[-1]


def test_through_elementwise_operators() -> None:
    """Squares of embeddings, and experts times gates: what repeats along the axis is read as it is."""
    body = f"{EXPERTS} q = Mul (e, e) r = Mul (q, gate) y = ReduceSum <keepdims = 0> (r, axis)"
    text = f"g (float[B, 5] item, float[B, 1, 48] gate) => (float[B, 48] y) {{ {body} }}"
    result = replaced(parse(text, **STORED))
    assert {"ReduceSum", "Concat"}.isdisjoint(result.ops)
    assert result.ops.count("Mul") == 6


def test_places_that_have_to_be_copied() -> None:
    text = "g (float[B, 3, 8] item) => (float[B, 8] y) { y = ReduceSum <keepdims = 0> (item, axis) }"
    result = replaced(parse(text, axis=[1]))
    assert result.ops == ["Gather", "Gather", "Gather", "Sum"]


@pytest.mark.parametrize("opset", [11, 17, 18])
def test_a_mean(opset: int) -> None:
    """The axes of ReduceMean are an attribute before opset 18."""
    axes = ("", ", axis") if opset >= 18 else ("axes = [1], ", "")
    text = f"g (float[B, 3, 8] item) => (float[B, 8] y) {{ y = ReduceMean <{axes[0]}keepdims = 0> (item{axes[1]}) }}"
    model = parse(text, opset=opset, axis=[-2])
    result = replaced(model)
    assert result.ops[-2:] == ["Sum", "Div"]
    assert_same_on(model, result, rtol=1e-6, item=np.abs(ordinary(20, 3, 8)))


def test_nothing_behind_the_axis() -> None:
    """An axis of extent 1 behind the reduced one makes the reduction begin anew for each row."""
    text = "g (float[B, 40, 1] item) => (float[B, 1, 1] y) { y = ReduceSum <keepdims = 1> (item, axis) }"
    result = replaced(parse(text, axis=[1]))
    assert result.ops == ["Reshape", "ReduceSum", "Reshape"]


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean"])
def test_special_numbers(op_type: str) -> None:
    """Without huge numbers: a sum of them overflows in one order, and not in another."""
    text = f"g (float[B, 3, 8] item) => (float[B, 8] y) {{ y = {op_type} <keepdims = 0> (item, axis) }}"
    model = parse(text, opset=18, axis=[1])
    item = special(200, 3, 8)
    item[np.abs(item) == np.float32(3e38)] = 0
    assert_same_on(model, replaced(model), rtol=1e-6, item=item)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [("B, 3, 8", [2]), ("B, 3, 8", [1, 2]), ("3, B, 8", [0, 1]), ("B, 40, 8", [1]), ("B, L, 8", [1])],
    ids=["last", "several", "several that are first", "many", "unknown"],
)
def test_what_is_left_alone(shape: str, axes: list[int]) -> None:
    text = f"g (float[{shape}] item) => (float[] y) {{ y = ReduceSum <keepdims = 0> (item, axes) }}"
    model = parse(text, axes=axes)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    kept(model)
    kept(parse("g (int64[B, 3, 8] item) => (int64[B, 8] y) { y = ReduceSum <keepdims = 0> (item, one) }", one=[1]))


WIDTH = 48
DEVIATION = "m = ReduceMean <axes = [1]> (item) d = Sub (item, m) q = Pow (d, two) "


def dice(body: str, *, opset: int = 17) -> onnx.ModelProto:
    """A row without its mean, divided by its deviation, as exporters write it."""
    text = f"g (float[B, {WIDTH}] item) => (float[B, {WIDTH}] y) {{ {DEVIATION} {body} r = Sqrt (s) y = Div (d, r) }}"
    return parse(text, opset=opset, axis=[1], e=np.float32(1e-3), two=np.float32(2))


@pytest.mark.parametrize("add", ["p = Add (q, e)", "p = Add (e, q)"])
@pytest.mark.parametrize("total", ["s = ReduceSum (p, axis)", "s = ReduceMean <axes = [1]> (p)"])
@pytest.mark.parametrize("opset", [13, 17])
def test_a_number_in_each_summand(add: str, total: str, opset: int) -> None:
    """What Dice divides by: epsilon is added to one number for each row."""
    model = dice(f"{add} {total}", opset=opset)
    result = replaced(model, rtol=1e-5)
    assert [line.split(" = ")[1].split(" ")[0] for line in result.graph if "[B 1]" in line][-2:] == ["Add", "Sqrt"]
    assert "Pow" not in result.ops
    for mean in (0, 1, 100, 1e4):
        assert_same_on(model, result, rtol=1e-2, item=(mean + ordinary(50, WIDTH)).astype(np.float32))
    assert_same_on(model, result, item=special(50, WIDTH))
    assert_same_on(model, result, item=np.float32(1e25) * ordinary(50, WIDTH))


def exact_quotients(item: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    x = item.astype(np.float64)
    d = x - x.mean(1, keepdims=True)
    return np.asarray(d / np.sqrt((d * d + np.float64(np.float32(1e-3))).sum(1, keepdims=True)))


@pytest.mark.parametrize("mean", [0, 1, 100, 1e4])
@pytest.mark.parametrize("deviation", [1e-3, 1.0, 100.0])
def test_a_large_mean_beside_a_small_deviation(mean: float, deviation: float) -> None:
    """E[x^2] - E[x]^2 would cancel there: the result is as accurate as the original."""
    item = (mean + deviation * ordinary(500, WIDTH)).astype(np.float32)
    model = dice("p = Add (q, e) s = ReduceSum (p, axis)")
    before, after = (
        np.abs(evaluate(m, {"item": item})[0] - exact_quotients(item)).max()
        for m in (model, replaced(model, rtol=1e-5).model)
    )
    assert after <= 1.1 * before + 1e-7


def test_the_remark_names_what_is_gone() -> None:
    result = replaced(dice("p = Add (q, e) s = ReduceSum (p, axis)"), rtol=1e-5)
    said = {r.op_type: r.reason for r in result.remarks if r.rule == "kernels"}
    assert "Add `p`, ReduceSum `s`" in said["ReduceSum"]
    assert "Pow `q`" in said["Pow"]


def test_an_addend_that_is_no_number() -> None:
    text = "g (float[B, 48] item, float[1] e) => (float[B, 1] y) { p = Add (item, e) y = ReduceSum (p, axis) }"
    kept(parse(text, axis=[1]))
    kept(parse(text.replace(", float[1] e", ""), axis=[1], e=ordinary(48)))
