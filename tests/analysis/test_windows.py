"""Which window of each operand is read for a window of the result."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from mari_onnx.analysis.positions import Index, Stretch, Window, is_whole, whole
from mari_onnx.analysis.windows import reads
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, symbol

B, L = symbol("B"), symbol("L")
ROWS, COLUMN = Stretch(0, Index(L, -2)), Stretch(L, Index(1, -1))


@pytest.fixture
def x(b: Builder) -> Tensor:
    return b.input("x", (L + 1, L + 1), 1)


@pytest.fixture
def b() -> Builder:
    return Builder()


def again(b: Builder, op_type: str, shape: tuple[Extent, ...], *inputs: Tensor) -> Tensor:
    node = helper.make_node(op_type, [f"i{i}" for i in range(len(inputs))], ["y"])
    return b.again(node, inputs, [(shape, 1)])[0]


def only(t: Tensor, window: Window) -> Window:
    ((_, found),) = reads(t, window)
    return found


def test_operands_that_broadcast(b: Builder, x: Tensor) -> None:
    row, number, other = (b.input(n, shape, 1) for n, shape in (("r", (1, L + 1)), ("n", ()), ("o", (B,))))
    t = again(b, "Where", (L + 1, L + 1), x, row, number)
    found = dict(reads(t, (ROWS, COLUMN)))
    assert found[x] == (ROWS, COLUMN)
    assert found[row][0].index.extent == 1
    assert found[row][1] == COLUMN
    assert found[number] == ()
    ((_, _), (_, (strange,))) = reads(again(b, "Add", (L + 1, L + 1), x, other), (ROWS, COLUMN))
    assert is_whole(strange, B)
    assert strange.index not in (ROWS.index, COLUMN.index)


def test_a_diagonal_stays_one(b: Builder, x: Tensor) -> None:
    rows, columns = only(again(b, "Not", (L + 1, L + 1), x), (ROWS, ROWS))
    assert rows == columns == ROWS


def test_moves(b: Builder, x: Tensor) -> None:
    turned = b.transpose(x, (1, 0))
    assert only(turned, (COLUMN, ROWS)) == (ROWS, COLUMN)
    deep = b.reshape(x, (1, L + 1, 1, L + 1))
    unit = Stretch(0, Index(1, 0))
    assert only(deep, (unit, ROWS, unit, COLUMN)) == (ROWS, COLUMN)
    row = b.input("row", (1, L + 1), 1)
    assert only(b.expand(row, (B, L + 1)), (Stretch(0, Index(B, -2)), COLUMN))[1] == COLUMN
    heads = b.reshape(b.input("h", (B, 2, L, 4), 1), (B * 2, L, 4))
    assert only(heads, (*whole((B * 2,)), ROWS, *whole((4,)))) == (*whole((B, 2, L, 4))[:2], ROWS, *whole((4,)))


def test_slices(b: Builder, x: Tensor) -> None:
    assert only(b.slice(x, 1, L, L + 1), whole((L + 1, 1)))[1] == Stretch(L, Index(1, -1))
    assert only(b.slice(x, 0, 1, L + 1), (ROWS, COLUMN))[0] == ROWS.moved(1)
    stored = b.input("m", (9, 9), 1)
    assert only(b.slice(stored, 0, 2, 5), whole((3, 9))) == whole((9, 9)), "its elements are known one by one"
    assert only(b.slice(stored, 0, 2, 5), (Stretch(L, Index(1, -2)), COLUMN))[0] == Stretch(L + 2, Index(1, -2))


def test_concat(b: Builder) -> None:
    ids, one = b.input("ids", (B, L), 1), b.input("one", (B, 1), 1)
    joined = b.concat([ids, one], 1)
    batch = whole((B, 1))[0]
    assert reads(joined, (batch, COLUMN)) == [(one, (batch, COLUMN.moved(L * -1)))]
    assert reads(joined, (batch, Stretch(0, Index(L, -1)))) == [(ids, (batch, Stretch(0, Index(L, -1))))]
    assert reads(joined, whole((B, L + 1))) == [(ids, whole((B, L))), (one, whole((B, 1)))]


def test_gather(b: Builder) -> None:
    table, ids = b.input("table", (9, L), 1), b.input("ids", (B, 2), 7)
    rows, two = whole((B, 2))
    found = dict(reads(b.take(table, ids), (rows, two, COLUMN)))
    assert found[table] == (Stretch(0, Index(9, -2)), COLUMN)
    assert found[ids] == (rows, two)


def test_what_is_read_as_a_whole(b: Builder, x: Tensor) -> None:
    y = b.input("y", (L + 1, 4), 1)
    t = again(b, "MatMul", (L + 1, 4), x, y)
    assert reads(t, (ROWS, *whole((4,)))) == [(x, whole((L + 1, L + 1))), (y, whole((L + 1, 4)))]
    k = b.constant(np.array(1))
    assert reads(again(b, "Trilu", (L + 1, L + 1), x, k), (ROWS, COLUMN)) == [(x, (ROWS, COLUMN)), (k, ())]
