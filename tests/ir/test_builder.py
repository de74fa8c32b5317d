"""What only moves data is simplified as it is recorded."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from mari_onnx import optimize
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import ROW, symbol
from mari_onnx.serving.names import INDEX_INPUT
from tests.graphs import evaluate, parse, ranking, rewrite_and_check
from tests.ir.values import numbers

B, L = symbol("B"), symbol("L")


def test_stacking_is_one_concat_and_one_reshape() -> None:
    b = Builder()
    sources = [b.input(name, (B, 4), 1) for name in "xyz"]
    stacked = b.concat([b.reshape(t, (B, 1, 4)) for t in sources], 1)
    assert stacked.shape == (B, 3, 4)
    assert stacked.op_type == "Reshape"
    (joined,) = stacked.node.inputs
    assert joined is not None
    assert (joined.op_type, joined.shape, list(joined.node.inputs)) == ("Concat", (B, 12), sources)


def test_squeezed_pieces_of_unequal_widths() -> None:
    b = Builder()
    sources = [b.input(name, (B, 1, width), 1) for name, width in (("x", 4), ("y", 2))]
    flat = b.concat([b.reshape(t, (B, width)) for t, width in zip(sources, (4, 2), strict=True)], 1)
    (joined,) = flat.node.inputs
    assert joined is not None
    assert (flat.shape, joined.shape) == ((B, 6), (B, 1, 6))


def test_columns_beside_embeddings() -> None:
    """They are made to be like most of what they are joined with, if that is fewer Reshapes."""
    b = Builder()
    sources = [b.input(name, (B, 1, 4), 1) for name in "xyz"]
    price, scores = b.reshape(b.input("price", (B,), 1), (B, 1)), b.input("scores", (B, 2), 1)
    embeddings = [b.reshape(t, (B, 4)) for t in sources]
    flat = b.concat([*embeddings, price, scores], 1)
    (joined,) = flat.node.inputs
    assert joined is not None
    assert (flat.shape, joined.shape) == ((B, 15), (B, 1, 15))
    assert [t.shape for t in joined.node.inputs if t is not None] == [(B, 1, 4)] * 3 + [(B, 1, 1), (B, 1, 2)]
    assert b.concat([*embeddings[:2], scores], 1).op_type == "Concat"
    assert b.concat([*embeddings, b.input("of rows", (B, L), 1)], 1).op_type == "Concat"


def test_pieces_that_were_cut_otherwise_are_joined_as_they_are() -> None:
    b = Builder()
    x, y = b.input("x", (B, 6), 1), b.input("y", (B, 3, 2), 1)
    assert b.concat([b.reshape(x, (B, 2, 3)), b.input("z", (B, 2, 3), 1)], 1).op_type == "Concat"
    assert b.concat([b.reshape(x, (B * 6,)), b.reshape(y, (B * 6,))], 0).op_type == "Concat"


def test_a_shape_of_two_symbols_would_have_to_be_computed() -> None:
    b = Builder()
    sources = [b.input(name, (B, L, 4), 1) for name in "xy"]
    assert b.concat([b.reshape(t, (B, L, 1, 4)) for t in sources], 2).op_type == "Concat"


def test_the_values_of_a_stack() -> None:
    body = """u = Unsqueeze (user, one) i = Unsqueeze (item, one) x = Concat <axis = 1> (u, i, i)
              y = ReduceProd <axes = [1], keepdims = 0> (x)"""
    result = rewrite_and_check(ranking("tiled", body, user="float[3]", item="float[3]", one=np.array([1])))
    assert result.ops.count("Reshape") <= 2


def test_a_few_repeats_need_no_shape() -> None:
    """Where the rest of the shape would have to be computed, so many times the same is one Concat."""
    b = Builder()
    x = b.input("x", (B, 1, 4), 1)
    assert b.expand(x, (B, 2, 4)).op_type == "Concat"
    assert b.expand(x, (B, 9, 4)).op_type == "Expand"
    assert b.expand(b.input("y", (1, 4), 1), (2, 4)).op_type == "Expand"


def test_a_slice_of_a_concat_has_the_rows_of_the_concat() -> None:
    """Concat([2, 3], [B, 4]) only runs where B is 2, and its slice has 2 rows in the words of the Concat."""
    b = Builder()
    few, many = b.input("few", (2, 3), 1), b.input("many", (B, 4), 1)
    joined = b.concat([few, many], 1)
    assert b.slice(joined, 1, 0, 3) is few
    assert b.slice(joined, 1, 4, 7).shape == (2, 3)


@pytest.mark.parametrize("row_first", [False, True])
def test_row_0_of_a_batch_is_not_a_slice_of_one_row(row_first: bool) -> None:
    """The first has no row where there are no candidates; which of the two is described first is all the same."""
    b = Builder()
    x = b.input("x", (4, 3), 1)
    for described_first in (row_first, not row_first):
        t = b.first_row(x, symbol(ROW)) if described_first else b.slice(x, 0, 0, 1)
        assert t.shape == ((symbol(ROW), 3) if described_first else (1, 3))


def test_rows_of_strings_are_taken_along_the_last_axis() -> None:
    b = Builder()
    rows, index = b.input("rows", (symbol("R"), 2), TensorProto.STRING), b.input("index", (symbol("B"),), 7)
    taken = b.take(rows, index)
    gathered = taken.node.inputs[0]
    assert (taken.op_type, taken.known_shape) == ("Transpose", (symbol("B"), 2))
    assert gathered is not None
    assert (gathered.op_type, gathered.node.attribute("axis")) == ("Gather", 1)
    numbers = b.take(b.input("numbers", (symbol("R"), 2), TensorProto.FLOAT), index)
    assert (numbers.op_type, numbers.node.attribute("axis")) == ("Gather", 0)


def test_rows_of_strings_of_several_requests() -> None:
    text = "g (string[B, 2] user, string[B, 1] item) => (string[B, 3] y) { y = Concat <axis = 1> (user, item) }"
    model = parse(text)
    result = optimize(model, user_inputs=["user"], user_batch="requests", verify=False).model
    user, item = (np.array(rows, object) for rows in ([["a", "b"], ["c", "d"]], [["x"], ["y"], ["z"]]))
    feeds = {"user": user, "item": item, INDEX_INPUT: np.array([1, 0, 1])}
    assert evaluate(result, feeds)[0].tolist() == [["c", "d", "x"], ["a", "b", "y"], ["c", "d", "z"]]


def test_a_slice_between_symbols() -> None:
    b = Builder()
    x, y = b.input("x", (B, L), 1), b.input("y", (B, 1), 1)
    joined = b.concat([x, y], 1)
    assert b.slice(joined, 1, 0, L) is x
    assert b.slice(joined, 1, L, L + 1) is y
    both = b.slice(b.slice(joined, 1, 0, L), 1, 0, L)
    assert both is x
    z = b.input("z", (B, L + 1), 1)
    assert b.concat([b.slice(z, 1, 0, L), b.slice(z, 1, L, L + 1)], 1) is z


def test_a_slice_of_a_constant_at_a_symbol_is_no_constant() -> None:
    """Column L of a mask of 9 tokens is another one in each call."""
    b = Builder()
    mask = b.constant(np.tri(9))
    column = b.slice(mask, 1, L, L + 1)
    assert column.shape == (9, 1)
    assert not column.constant
    assert not b.slice(column, 0, 0, 4).constant


def test_a_slice_of_integers_in_equal_steps_is_stored() -> None:
    """[5 8 11 ...]: the numbers at 2 and 3. Of large slices the numbers are counted in each call."""
    b = Builder()
    t = b.make("Range", [b.constant(np.array(5)), b.constant(np.array(99)), b.constant(np.array(3))], (L,), dtype=7)
    b.progressions[t] = 5, 3
    stored = b.slice(t, 0, 2, 4)
    assert stored.stored
    assert numbers(stored).tolist() == [11, 14]
    assert numbers(stored).dtype.kind == "i"
    assert not b.slice(t, 0, 0, 2**13).constant
    assert not b.slice(t, 0, 0, L - 1).constant


def test_where_an_axis_may_be_cut() -> None:
    assert Builder().cuts_at(0, L)
    assert Builder(cuts_at_symbols=False).cuts_at(0, 4)
    assert not Builder(cuts_at_symbols=False).cuts_at(0, L)


def test_what_counts_candidates() -> None:
    b = Builder(frozenset({"B"}))
    assert b.counts_candidates(L + B)
    assert not b.counts_candidates(L + 1)
    assert not b.counts_candidates(7)
