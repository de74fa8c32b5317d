"""What a form costs is what its parts cost, plus what was made for it, less what it does without."""

from __future__ import annotations

import pytest
from onnx import TensorProto

from mari_onnx.analysis.pricing import not_needed, price_in_parts, price_whole, priced, spared_by_sum
from mari_onnx.ir.axes import dim, new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel, reachable
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.forms import Array, Terms
from tests.graphs import ranking, rewrite

B = symbol("B")
COST = CostModel(500, {"B": 500})


def chain(b: Builder, t: Tensor, *op_types: str) -> list[Tensor]:
    out = [t]
    for op_type in op_types:
        out.append(b.make(op_type, [out[-1]], t.known_shape))
    return out[1:]


def test_the_example() -> None:
    """The prices that the module's docstring gives for a Concat and a Relu."""
    values = rewrite(ranking("one", "x = Concat <axis = 1> (user, item) y = Relu (x)"), batch=500).program.values
    prices = [price([values[name]]) for name in ("x", "y") for price in (price_in_parts, price_whole)]
    assert prices == pytest.approx([0.0, 3_500.0, 1_300.8, 4_700.0])


def test_what_was_made_since_is_added_and_what_is_spared_subtracted() -> None:
    b = Builder()
    before, *_ = chain(b, b.input("x", (B, 4), TensorProto.FLOAT), "Relu")
    since = b.count
    *_, after = chain(b, before, "Neg", "Abs")
    form = priced(COST, Array(after, new_dims((B, 4))), since, 100.0, spared=30.0)
    nodes = [COST.node_time(t.node) for t in chain(b, before, "Neg", "Abs")]
    assert form.price == 100.0 + sum(nodes) - 30.0


def test_nodes_that_are_not_needed_come_in_their_order() -> None:
    """The walk ends early, and finds what the whole walk would."""
    b = Builder()
    x, y = (b.input(name, (B, 4), TensorProto.FLOAT) for name in "xy")
    of_x, of_y = chain(b, x, "Relu", "Neg", "Abs"), chain(b, y, "Sqrt", "Exp")
    total = b.make("Add", [of_x[-1], y], (B, 4))
    nodes = [of_y[1].node, x.node, of_x[1].node, of_y[0].node, of_y[1].node]
    reached = set(reachable([total]))
    assert not_needed(nodes, [total]) == [n for n in dict.fromkeys(nodes) if n not in reached]
    assert not_needed(nodes, [total]) == [of_y[1].node, of_y[0].node]
    assert not_needed([], [total]) == []


def test_a_product_that_took_a_term_in_as_its_c_is_another_product() -> None:
    b = Builder()
    item, weight = b.input("item", (B, 4), TensorProto.FLOAT), b.input("w", (4, 2), TensorProto.FLOAT)
    bias = b.input("b", (1, 2), TensorProto.FLOAT)
    alone, fused = b.make("Gemm", [item, weight], (B, 2)), b.make("Gemm", [item, weight, bias], (B, 2))
    rows, columns = dim(B), dim(2)
    terms = Terms(((1, Array(alone, (rows, columns))), (1, Array(bias, ((), columns)))))
    assert spared_by_sum([terms], Array(fused, (rows, columns))) == [alone.node]
