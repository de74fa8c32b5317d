"""What a body may read, and what its results may need, for the node to run on one row of the candidates."""

from __future__ import annotations

import numpy as np
import onnx

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.one_row import candidates, common_row, independent, one_row
from mari_onnx.ir.axes import Axis, Refused
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import ROW, symbol
from mari_onnx.ir.forms import Array, IndexMap, Value

B, D = Axis(symbol("B"), "B"), Axis(4)
ROWS = IndexMap(None, symbol(ROW))


def context() -> Context:
    return Context(Builder(frozenset({"B"})), CostModel(500), onnx.numpy_helper.to_array)


def value(ctx: Context, name: str, stored: bool, via: IndexMap | None = None) -> Value:
    """A value [B 4], stored along B or not."""
    layout = ((B,) if stored or via else (), (D,))
    shape = (via.rows if via else symbol("B") if stored else 1, 4)
    array = Array(ctx.b.input(name, shape, 1), layout, ((B, via),) if via else ())
    return Value(name, ((B,), (D,)), 1, array)


def test_the_state_that_fits_all() -> None:
    ctx = context()
    absent, of_row, stored = (value(ctx, n, n == "c", ROWS if n == "b" else None) for n in "abc")
    assert candidates(ctx, stored) == [B]
    assert common_row(ctx, "If", [absent, absent]) == "absent"
    assert common_row(ctx, "If", [absent, of_row]) == ROWS
    assert common_row(ctx, "If", [absent, stored]) == Refused("If reads `c`, which differs from candidate to candidate")
    indexed = value(ctx, "d", False, IndexMap(ctx.b.input("index", (symbol("B"),), 7), symbol("R")))
    assert common_row(ctx, "If", [indexed]) == Refused("If reads `d`, which differs from candidate to candidate")
    none = Value("e", ((D,),), 1, Array(ctx.b.constant(np.zeros(4, np.float32)), ((D,),)))
    assert common_row(ctx, "If", [none]) == Refused("nothing that If reads has the axis of candidates")


def test_the_layout_of_a_result() -> None:
    ctx = context()
    assert one_row(ctx, ((B,), (D,)), "absent") == (((), (D,)), ())
    assert one_row(ctx, ((B,), (D,)), ROWS) == (((B,), (D,)), ((B, ROWS),))


def test_what_the_results_need() -> None:
    ctx = context()
    absent, stored = value(ctx, "a", False), value(ctx, "c", True)
    assert independent(ctx, [absent])
    assert not independent(ctx, [absent, stored])
    counted = Array(ctx.b.extents(np.array([symbol("B")], object), 7), ((),))
    assert not independent(ctx, [Value("n", ((),), 7, counted)])
