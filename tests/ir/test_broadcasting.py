"""Elementwise operators on the axes that their operands are stored along."""

from __future__ import annotations

import numpy as np
import pytest

from mari_onnx.ir.axes import Axis, Dims
from mari_onnx.ir.broadcasting import agree, pointwise, result_via, spread
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, symbol
from mari_onnx.ir.forms import Array, IndexMap
from tests.ir.values import D, F, L, stored

DIMS: Dims = ((F,), (L,), (D,))


def multiplied(b: Builder, arrays: list[Array], ranks: list[int], dims: Dims) -> tuple[Array, list[object]]:
    """The product, and the shapes in which its operands meet."""
    shapes: list[object] = []

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        shapes.extend(t.shape for t in tensors)
        return b.make("Mul", tensors, shape)

    return pointwise(b, arrays, ranks, dims, write), shapes


def test_each_operand_has_extent_1_where_it_repeats(b: Builder) -> None:
    product, shapes = multiplied(b, [stored(b, (L,), (D,)), stored(b, (F,), (D,))], [3, 3], DIMS)
    assert shapes == [(1, 5, 3), (2, 1, 3)]
    assert (product.layout, product.tensor.shape) == (DIMS, (2, 5, 3))


def test_what_no_operand_has_the_result_lacks(b: Builder) -> None:
    product, _ = multiplied(b, [stored(b, (D,)), stored(b, (D,), seed=1)], [3, 1], DIMS)
    assert (product.state(F), product.state(L), product.tensor.op_type) == ("absent", "absent", "Mul")


@pytest.mark.parametrize(("both_merged", "expected"), [(True, 2), (False, 3)])
def test_a_merged_dimension_stays_so_where_the_operands_have_the_same_of_it(
    b: Builder, both_merged: bool, expected: int
) -> None:
    dims: Dims = ((F, L), (D,))
    other = stored(b, (F, L), (D,), seed=1) if both_merged else stored(b, (L,), (D,))
    spec, origin = spread([stored(b, (F, L), (D,)), other], dims)
    assert len(spec) == len(origin) == expected


def test_the_order_in_which_an_operand_is_stored_is_kept(b: Builder) -> None:
    """(L F D) times numbers for each (L F) is (L F D): neither is transposed."""
    product, shapes = multiplied(b, [stored(b, (L,), (F,), (D,)), stored(b, (L,), (F,))], [3, 3], DIMS)
    assert product.layout == ((L,), (F,), (D,))
    assert shapes == [(5, 2, 3), (5, 2, 1)]


def test_of_two_orders_one_with_the_candidates_outermost_is_kept() -> None:
    """(B F D) + (F B D), of values [F B D]: most readers take candidates as rows."""
    b = Builder(frozenset({"B"}))
    rows = Axis(symbol("B"))
    given = [Array(b.input("x", (rows.extent, 2, 3), 1), ((rows,), (F,), (D,))),
             Array(b.input("y", (2, rows.extent, 3), 1), ((F,), (rows,), (D,)))]  # fmt: skip
    for arrays in (given, given[::-1]):
        assert multiplied(b, arrays, [3, 3], ((F,), (rows,), (D,)))[0].layout == ((rows,), (F,), (D,))
        assert multiplied(b, arrays, [3, 3], ((rows,), (F,), (D,)))[0].layout == ((rows,), (F,), (D,))


def test_rows_of_an_index_meet_other_rows_when_they_are_selected(b: Builder) -> None:
    rows = IndexMap(b.constant(np.array([0, 1, 0, 1, 1])), 2)
    of_requests = Array(stored(b, (F,), (D,)).tensor, ((L,), (D,)), ((L, rows),))
    items = stored(b, (L,), (D,))
    selected, same = agree(b, [of_requests, items], DIMS)
    assert (selected.state(L), selected.tensor.shape, same) == ("stored", (5, 3), items)
    assert agree(b, [of_requests, of_requests], DIMS) == [of_requests, of_requests]
    assert result_via([of_requests, stored(b, (D,))], [L, D]) == ((L, rows),)
    assert result_via([of_requests, items], [L, D]) == ()
