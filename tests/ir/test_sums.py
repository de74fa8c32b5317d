"""Where a term of a sum goes."""

from __future__ import annotations

import pytest

from mari_onnx.ir.axes import Axis
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.forms import Array, Terms
from mari_onnx.ir.sums import add_up


@pytest.mark.parametrize(("lead", "op_type"), [("B", "MatMul"), ("Z", "Add"), ("L", "Add"), ("", "Add")])
def test_a_term_is_one_more_row_of_a_weight_where_it_lacks_the_rows(lead: str, op_type: str) -> None:
    """x (L k) @ w (B k n) + c (B n); a term that differs from row to row, or on an axis apart, is added."""
    b = Builder()
    axes = {"B": Axis(3, "B"), "L": Axis(9, "L"), "Z": Axis(2, "Z"), "n": Axis(5, "n")}
    x, w = b.input("x", (9, 4), 1), b.input("w", (3, 4, 5), 1)
    product = Array(b.make("MatMul", [x, w], (3, 9, 5)), ((axes["B"],), (axes["L"],), (axes["n"],)))
    layout = tuple((axes[name],) for name in (*lead, *("n" if lead else "")))
    term = Array(b.input("c", tuple(d[0].extent for d in layout), 1), layout)
    dims = tuple((axes[name],) for name in "ZBLn")
    total = add_up(b, Terms(((1, product), (1, term))), dims).tensor
    assert total.op_type == op_type
    if op_type == "MatMul":
        assert [t.shape for t in total.node.inputs if t is not None] == [(9, 5), (3, 5, 5)]
