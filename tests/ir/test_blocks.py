"""Matrices that are cut along their rows and columns."""

from __future__ import annotations

from dataclasses import replace

import onnx

from mari_onnx.ir.axes import Axis
from mari_onnx.ir.blocks import beside, cut_at, edges_of, grid_of, of_rows, within
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.forms import Array, Blocks, Parts, Value
from tests.ir.values import stored

B, ROW, COLUMN = Axis(7, "B"), Axis(5, "row"), Axis(4, "column")
UP, DOWN, LEFT, RIGHT = Axis(3, "up"), Axis(2, "down"), Axis(3, "left"), Axis(1, "right")
DIMS = ((B,), (ROW,), (COLUMN,))


def blocks(b: Builder) -> Blocks:
    grid = tuple(tuple(stored(b, (B,), (row,), (column,)) for column in (LEFT, RIGHT)) for row in (UP, DOWN))
    return Blocks(ROW, COLUMN, (UP, DOWN), (LEFT, RIGHT), grid)


def test_a_mask_is_cut_as_the_scores_are(b: Builder) -> None:
    mask = Value("mask", DIMS, 1, stored(b, (ROW,), (COLUMN,)))
    grid = grid_of(b, mask, blocks(b))
    assert grid is not None
    assert [[a.layout for a in line] for line in grid] == [[((r,), (c,)) for c in (LEFT, RIGHT)] for r in (UP, DOWN)]
    assert [[a.tensor.shape for a in line] for line in grid] == [[(3, 3), (3, 1)], [(2, 3), (2, 1)]]


def test_parts_along_the_columns_are_taken_as_they_are(b: Builder) -> None:
    left, right = Axis(3), Axis(1)
    parts = Parts(COLUMN, ((left, stored(b, (left,))), (right, stored(b, (B,), (right,)))))
    value = Value("padding", DIMS, 1, stored(b, (B,), (COLUMN,)), parts)
    grid = grid_of(b, value, blocks(b))
    assert grid is not None
    assert [[a.layout for a in line] for line in grid] == [[((LEFT,),), ((B,), (RIGHT,))]] * 2


def test_blocks_of_the_same_places_are_renamed(b: Builder) -> None:
    own = blocks(b)
    again = grid_of(b, Value("m", DIMS, 1, stored(b, (B,), (ROW,), (COLUMN,)), blocks=own), own)
    assert again == [list(line) for line in own.grid]


def test_widths_that_are_symbols(b: Builder) -> None:
    length = symbol("L")
    whole, history, item = Axis(length + 1), Axis(length), Axis(1)
    like = replace(blocks(b), column=whole, columns=(history, item))
    mask = Value("m", ((ROW,), (whole,)), 1, Array(b.input("mask", (5, length + 1), 1), ((ROW,), (whole,))))
    grid = grid_of(b, mask, like)
    assert grid is not None
    assert [[a.tensor.shape for a in line] for line in grid] == [[(3, length), (3, 1)], [(2, length), (2, 1)]]
    some = Axis(symbol("M"))
    assert grid_of(b, mask, replace(like, columns=(some,))) is None, "M is not known to be L + 1"


def test_parts_that_are_cut_elsewhere(b: Builder) -> None:
    """Whether the first of 4 is in a part of L columns depends on L."""
    length, one = symbol("L"), Axis(1)
    whole, some, rest = Axis(length + 4), Axis(length), Axis(4)
    like = replace(blocks(b), column=whole, columns=(one, Axis(length + 3)))
    parts = Parts(whole, ((some, stored(b, (B,))), (rest, stored(b, (rest,)))))
    value = Value("m", ((B,), (ROW,), (whole,)), 1, stored(b, (B,)), parts)
    assert grid_of(b, value, like) is None


def test_parts_as_one_row(b: Builder) -> None:
    left, right = Axis(3), Axis(1)
    found = of_rows(Parts(COLUMN, ((left, stored(b, (left,))), (right, stored(b, (right,)))), price=7.0))
    assert (found.row, found.rows, [c.extent for c in found.columns], found.price) == (None, (None,), [3, 1], 7.0)
    assert not {left, right} & set(found.columns)


def test_a_mask_of_all_candidates_is_not_computed_for_a_part_of_it() -> None:
    """(x < y)[a:b] is x[a:b] < y[a:b]."""
    length, many = symbol("L"), symbol("B")
    b = Builder(frozenset({"B"}))
    row, column, history, items = Axis(length + many), Axis(length + many), Axis(length), Axis(many)
    like = Blocks(row, column, (history, items), (Axis(length), Axis(many)), ())
    places = b.input("places", (length + many,), 7)
    node = onnx.helper.make_node("Less", ["x", "y"], ["m"])
    sides = [b.reshape(places, (1, length + many)), b.reshape(places, (length + many, 1))]
    (less,) = b.again(node, sides, [((length + many, length + many), 9)])
    grid = grid_of(b, Value("m", ((row,), (column,)), 9, Array(less, ((row,), (column,)))), like)
    assert grid is not None
    first = grid[0][0].tensor
    assert (first.op_type, first.shape) == ("Less", (length, length))
    assert {t.shape for t in first.node.inputs if t is not None} == {(1, length), (length, 1)}


def test_blocks_with_nothing_but_a_diagonal_are_no_matrices(b: Builder) -> None:
    own = replace(blocks(b), alone=frozenset({(0, 0)}))
    assert grid_of(b, Value("m", DIMS, 1, stored(b, (B,), (ROW,), (COLUMN,)), blocks=own), own) is None


def test_a_column_beside_blocks(b: Builder) -> None:
    own = replace(blocks(b), diagonals=(((1, 1), stored(b, (DOWN,))),))
    one, whole = Axis(1), Axis(5)
    scores = Value("s", DIMS, 1, stored(b, (B,), (ROW,), (COLUMN,)), blocks=own)
    sink = Value("z", ((B,), (ROW,), ()), 1, stored(b, (ROW,)))
    found = beside(b, [sink, scores], [one, COLUMN], whole)
    assert found is not None
    assert (found.column, [c.extent for c in found.columns]) == (whole, [1, 3, 1])
    assert [line[0].tensor.shape for line in found.grid] == [(3,), (2,)]
    assert [place for place, _ in found.diagonals] == [(1, 2)]
    assert not set(own.columns) & set(found.columns)


def test_beside_blocks_that_are_cut_elsewhere(b: Builder) -> None:
    """Neither rows of another cut nor matrices side by side along another axis."""
    own = blocks(b)
    scores = Value("s", DIMS, 1, stored(b, (B,), (ROW,), (COLUMN,)), blocks=own)
    other = replace(own, rows=(Axis(1), Axis(4)), column=Axis(4))
    another = Value("t", ((B,), (ROW,), (other.column,)), 1, stored(b, (B,)), blocks=other)
    assert beside(b, [scores, scores], [ROW, ROW], Axis(10)) is None
    found = beside(b, [scores, another], [COLUMN, other.column], Axis(8))
    assert found is not None, "the other one is cut as the first is"
    alone = Value("t", another.dims, 1, another.array, blocks=replace(other, alone=frozenset({(0, 0)})))
    assert beside(b, [scores, alone], [COLUMN, other.column], Axis(8)) is None


def test_blocks_within_a_stretch(b: Builder) -> None:
    own = replace(blocks(b), diagonals=(((1, 0), stored(b, (DOWN,))),))
    first, lower, some = Axis(3), Axis(2), Axis(4)
    left = within(b, own, COLUMN, 0, 3, first)
    assert left is not None
    assert (left.column, left.columns, [len(line) for line in left.grid]) == (first, (LEFT,), [1, 1])
    below = within(b, own, ROW, 3, 5, lower)
    assert below is not None
    assert (below.row, below.rows, below.grid) == (lower, (DOWN,), own.grid[1:])
    assert [place for place, _ in below.diagonals] == [(0, 0)]
    assert within(b, own, COLUMN, 1, 3, lower) is None, "it begins within a block"
    assert within(b, own, COLUMN, 3, 4, Axis(1)) is None, "one column is no axis"
    of_batch = within(b, own, B, 2, 6, some)
    assert of_batch is not None
    assert {a.layout[0] for line in of_batch.grid for a in line} == {(some,)}


def test_blocks_within_a_stretch_of_any_length(b: Builder) -> None:
    length = symbol("L")
    whole, history, rest = Axis(length + 2), Axis(length), Axis(1)
    own = replace(blocks(b), column=whole, columns=(history, rest, Axis(1)), grid=())
    found = within(b, own, whole, 0, length + 1, Axis(length + 1))
    assert found is not None
    assert found.columns == (history, rest)
    assert within(b, own, whole, 1, length + 2, Axis(length + 1)) is None


def test_blocks_are_cut_at_more_places(b: Builder) -> None:
    own = replace(blocks(b), diagonals=(((0, 0), stored(b, (UP,))), ((1, 1), stored(b, (DOWN,)))))
    assert edges_of(own.rows) == [0, 3, 5]
    found = cut_at(b, own, [0, 1, 3, 5], [0, 3, 4])
    assert found is not None
    assert ([r and r.extent for r in found.rows], found.columns) == ([1, 2, 2], own.columns)
    assert [line[0].tensor.shape for line in found.grid] == [(7, 1, 3), (7, 2, 3), (7, 2, 3)]
    assert found.grid[2] == own.grid[1]
    assert [place for place, _ in found.diagonals] == [(2, 1)], "the diagonal of what is cut is no diagonal"
    assert cut_at(b, own, [0, 3, 5], [0, 3, 4]) is own
    assert cut_at(b, own, [0, 2, 5], [0, 3, 4]) is None, "its own edges are kept"
    assert cut_at(b, replace(own, alone=frozenset({(0, 0)})), [0, 1, 3, 5], [0, 3, 4]) is None


def test_blocks_that_another_matrix_is_cut_as(b: Builder) -> None:
    own = blocks(b)
    finer = replace(own, rows=(Axis(1), Axis(2), Axis(2)), grid=())
    value = Value("m", DIMS, 1, stored(b, (B,), (ROW,), (COLUMN,)), blocks=own)
    grid = grid_of(b, value, finer)
    assert grid is not None
    assert [line[1].tensor.shape for line in grid] == [(7, 1, 1), (7, 2, 1), (7, 2, 1)]
