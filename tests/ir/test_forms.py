"""Forms and what is done to them: laid out, written out, cut and joined, they evaluate to the same value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from mari_onnx.ir.axes import Axis, Dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.forms import Array, IndexMap, Parts, Terms, Value
from mari_onnx.ir.layout import (
    bounds,
    cut,
    fill,
    fresh,
    fuse,
    groups,
    join,
    lay,
    merge,
    pieces_between,
    plain,
    rename_parts,
    rename_value,
)
from mari_onnx.ir.unbatch import add_up
from tests.graphs import integers

F, D, L = Axis(2, "F"), Axis(3, "D"), Axis(5, "L")
Numbers = npt.NDArray[np.float32]


def never(_: object) -> Numbers:
    raise AssertionError("there are no initializers")


def numbers(t: Tensor) -> Numbers:
    return fold(t, never)


@pytest.fixture
def b() -> Builder:
    return Builder()


def stored(b: Builder, *layout: tuple[Axis, ...], seed: int = 0) -> Array:
    shape = [math.prod(a.extent for a in d if isinstance(a.extent, int)) for d in layout]
    return Array(b.constant(integers(*shape, seed=seed)), layout)


def value(array: Array, *dims: tuple[Axis, ...], parts: Parts | None = None, terms: Terms | None = None) -> Value:
    return Value("v", dims, 1, array, parts, terms)


def written(b: Builder, array: Array, dims: Dims) -> Numbers:
    return numbers(plain(b, value(array, *dims)))


# Laying out


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (((L,), (F, D)), lambda x: x),
        (((F,), (D,), (L,)), lambda x: x.reshape(5, 2, 3).transpose(1, 2, 0)),
        (((D, L), (F,)), lambda x: x.reshape(5, 2, 3).transpose(2, 0, 1).reshape(15, 2)),
        (((), (L, F), (D,)), lambda x: x.reshape(1, 10, 3)),
    ],
)
def test_lay(b: Builder, spec: Dims, expected: Callable[[Numbers], Numbers]) -> None:
    array = stored(b, (L,), (F, D))
    np.testing.assert_array_equal(numbers(lay(b, array, spec)), expected(numbers(array.tensor)))


def test_lay_leaves_out_what_is_absent(b: Builder) -> None:
    assert lay(b, stored(b, (D,)), ((L,), (F, D))).shape == (1, 3)


def test_a_layout_that_misses_a_stored_axis_is_a_bug(b: Builder) -> None:
    with pytest.raises(AssertionError, match="every axis that is stored"):
        lay(b, stored(b, (L, D)), ((D,),))


# States


def test_states(b: Builder) -> None:
    mapped = IndexMap(b.constant(np.array([0, 1, 0, 1, 1])), 2)
    array = replace(stored(b, (F,), (D,)), layout=((L,), (D,)), via=((L, mapped),))
    assert [array.state(a) for a in (L, D, F)] == [mapped, "stored", "absent"]
    assert array.names() == {(L, mapped), (D, "stored")}
    assert (array.stored_extent(L), array.stored_extent(D)) == (2, 3)


def test_an_extent_of_one_is_no_difference(b: Builder) -> None:
    one = Axis(1)
    assert stored(b, (one,), (D,)).names() == {(D, "stored")}


# Writing out


def test_absent_axes_repeat(b: Builder) -> None:
    array = stored(b, (D,))
    np.testing.assert_array_equal(written(b, array, ((L,), (D,))), np.tile(numbers(array.tensor), (5, 1)))


def test_rows_through_an_index(b: Builder) -> None:
    index = np.array([0, 1, 0, 1, 1])
    rows = stored(b, (F,), (D,))
    array = Array(rows.tensor, ((L,), (D,)), ((L, IndexMap(b.constant(index), 2)),))
    np.testing.assert_array_equal(written(b, array, ((L,), (D,))), numbers(rows.tensor)[index])


def test_row_zero_for_all(b: Builder) -> None:
    row = stored(b, (Axis(1),), (D,))
    array = Array(row.tensor, ((L,), (D,)), ((L, IndexMap(None, 1)),))
    np.testing.assert_array_equal(written(b, array, ((L,), (D,))), np.repeat(numbers(row.tensor), 5, 0))


def test_only_the_axes_that_are_asked_for(b: Builder) -> None:
    array = fill(b, stored(b, (D,)), ((L,), (F,), (D,)), [F])
    assert [array.state(a) for a in (L, F, D)] == ["absent", "stored", "stored"]
    assert fill(b, array, ((L,), (F,), (D,)), [F]) is array


def test_a_tensor_that_exists_anyway_is_taken(b: Builder) -> None:
    there = b.input("x", (5, 3), 1)
    assert plain(b, replace(value(stored(b, (D,)), (L,), (D,)), written=Array(there, ((L,), (D,))))) is there


# Cutting and joining


@pytest.mark.parametrize(
    "layout", [((D,), (L,)), ((L,), (D,)), ((F, D), (L,)), ((L,), (F, D)), ((L, F, D),), ((D, L),)]
)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 3), (2, 3), (0, 3)])
def test_cut(b: Builder, layout: Dims, start: int, stop: int) -> None:
    array = stored(b, *layout)
    order = tuple((a,) for a in (L, F, D) if array.state(a) != "absent")
    whole = written(b, array, order)
    sub = Axis(stop - start)
    piece = cut(b, array, D, start, stop, sub)
    dims = tuple((sub,) if d == (D,) else d for d in order)
    axis = order.index((D,))
    np.testing.assert_array_equal(
        written(b, piece, dims).reshape(np.take(whole, range(start, stop), axis).shape),
        np.take(whole, range(start, stop), axis),
    )


def test_cut_of_what_is_absent_is_nothing(b: Builder) -> None:
    array = stored(b, (L,))
    assert cut(b, array, D, 0, 2, Axis(2)) is array


def two_parts(b: Builder) -> tuple[Value, Numbers]:
    """[one row for all | a row each], 2 and 3 wide."""
    left, right, whole = Axis(2), Axis(3), Axis(5)
    user, item = stored(b, (left,)), stored(b, (L,), (right,), seed=1)
    pieces = ((left, user), (right, item))
    array = join(b, pieces, whole, ((L,), (whole,)))
    expected = np.concatenate([np.tile(numbers(user.tensor), (5, 1)), numbers(item.tensor)], 1)
    return value(array, (L,), (whole,), parts=Parts(whole, pieces)), expected


def test_join(b: Builder) -> None:
    joined, expected = two_parts(b)
    np.testing.assert_array_equal(numbers(plain(b, joined)), expected)


def test_join_of_what_repeats_alike_repeats(b: Builder) -> None:
    left, right, whole = Axis(2), Axis(3), Axis(5)
    array = join(b, [(left, stored(b, (left,))), (right, stored(b, (right,)))], whole, ((L,), (whole,)))
    assert array.state(L) == "absent"


def test_join_keeps_an_index_that_all_have(b: Builder) -> None:
    index = IndexMap(b.constant(np.array([0, 1, 0, 1, 1])), 2)
    left, right, whole = Axis(3), Axis(3), Axis(6)
    pieces = [
        (s, Array(stored(b, (F,), (s,), seed=i).tensor, ((L,), (s,)), ((L, index),)))
        for i, s in enumerate((left, right))
    ]
    array = join(b, pieces, whole, ((L,), (whole,)))
    assert array.state(L) == index
    assert array.tensor.shape == (2, 6)


@pytest.mark.parametrize(("start", "stop", "widths"), [(0, 5, [2, 3]), (1, 4, [1, 2]), (2, 5, [3]), (3, 4, [1])])
def test_pieces_between(b: Builder, start: int, stop: int, widths: list[int]) -> None:
    joined, expected = two_parts(b)
    assert joined.parts is not None
    assert bounds(joined.parts) == [0, 2, 5]
    pieces = pieces_between(b, joined.parts, start, stop)
    assert [sub.extent for sub, _ in pieces] == widths
    sub, array = merge(b, pieces, joined.parts.axis, joined.known_dims)
    np.testing.assert_array_equal(written(b, array, ((L,), (sub,))), expected[:, start:stop])


def test_widths_that_are_not_numbers_have_no_bounds(b: Builder) -> None:
    from mari_onnx.ir.extents import symbol

    wide = Axis(symbol("K"))
    assert bounds(Parts(wide, ((wide, stored(b, (D,))),))) is None


# Renaming


def test_parts_survive_a_split_that_falls_on_their_ends(b: Builder) -> None:
    joined, _ = two_parts(b)
    whole = Axis(6)
    left, right = Axis(2), Axis(4)
    parts = Parts(whole, ((left, stored(b, (left,))), (right, stored(b, (L,), (right,)))))
    outer, inner = Axis(3), Axis(2)
    split = rename_parts(b, parts, ((L,), (whole,)), {whole: (outer, inner)})
    assert split is not None
    assert (split.axis, [sub.extent for sub, _ in split.pieces]) == (outer, [1, 2])
    assert joined.parts is not None
    assert rename_parts(b, joined.parts, joined.known_dims, {joined.parts.axis: (Axis(5), Axis(1))}) is not None
    crossing = {whole: (Axis(2), Axis(3))}
    assert rename_parts(b, parts, ((L,), (whole,)), crossing) is None


def test_a_mapped_axis_is_written_out_where_it_is_cut(b: Builder) -> None:
    rows, index = Axis(6), np.array([1, 0, 1, 1, 0, 0])
    array = Array(stored(b, (F,), (D,)).tensor, ((rows,), (D,)), ((rows, IndexMap(b.constant(index), 2)),))
    outer, inner = Axis(3), Axis(2)
    renamed = rename_value(b, value(array, (rows,), (D,)), {rows: (outer, inner)})
    assert renamed.array.via == ()
    np.testing.assert_array_equal(numbers(plain(b, renamed)), numbers(array.tensor)[index].reshape(6, 3))


def test_fresh_axes(b: Builder) -> None:
    before = value(stored(b, (L,), (D,)), (L,), (D,))
    after = fresh(b, before)
    assert {a for d in after.known_dims for a in d}.isdisjoint({L, D})
    assert plain(b, after) is plain(b, before)


@pytest.mark.parametrize("absent", [(), (F,), (D,), (F, D)])
def test_fuse(b: Builder, absent: tuple[Axis, ...]) -> None:
    """(F D) becomes one axis, whatever of it is stored."""
    layout = tuple(tuple(a for a in d if a not in absent) for d in ((L,), (F, D)))
    before = value(stored(b, *layout), (L,), (F, D))
    after = fuse(b, before, 1)
    assert len(after.known_dims[1]) == 1
    np.testing.assert_array_equal(numbers(plain(b, after)), numbers(plain(b, before)))


@pytest.mark.parametrize("position", [0, 1])
def test_fuse_keeps_parts_and_terms(b: Builder, position: int) -> None:
    sub = [Axis(1), Axis(1)]
    pieces = tuple((s, stored(b, (L,), (s,), (D,), seed=i)) for i, s in enumerate(sub))
    dims: Dims = ((L,), (F,), (D,))
    array = join(b, pieces, F, dims)
    merged: Dims = ((L,), (F, D)) if position else ((F, D), (L,))
    terms = Terms(((1, array), (-1, stored(b, (D,)))))
    fused = fuse(b, value(array, *merged, parts=Parts(F, pieces), terms=terms), position)
    assert fused.parts is not None
    assert [s.extent for s, _ in fused.parts.pieces] == [3, 3]
    whole = join(b, fused.parts.pieces, fused.parts.axis, fused.known_dims)
    np.testing.assert_array_equal(written(b, whole, fused.known_dims), numbers(plain(b, fused)))
    assert fused.terms is not None


def test_groups_keep_their_order() -> None:
    assert groups(["u", "i", "u", "k"]) == {"u": [0, 2], "i": [1], "k": [3]}


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
