"""An operator runs once for each set of axes along which parts are stored, whatever their order."""

from __future__ import annotations

import numpy as np

from mari_onnx.ir.axes import Axis, Dims, Renaming
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import Extent, symbol
from mari_onnx.ir.forms import Array, Parts, Value
from mari_onnx.ir.part_by_part import part_by_part
from mari_onnx.ir.parts import join
from tests.ir.values import L, numbers, stored, value, written


def in_parts(b: Builder, widths: str, whole: Axis) -> Value:
    """`u2 i1`: two columns that are the same along L, then one that differs."""
    subs = [Axis(int(width[1:])) for width in widths.split()]
    pieces = tuple(
        (sub, stored(b, *([(L,)] if width[0] == "i" else []), (sub,), seed=i))
        for i, (width, sub) in enumerate(zip(widths.split(), subs, strict=True))
    )
    dims: Dims = ((L,), (whole,))
    return value(join(b, pieces, whole, dims), *dims, parts=Parts(whole, pieces))


def applied(b: Builder, *values: Value) -> tuple[Parts | None, list[Extent]]:
    """What the first operand comes to, part by part, and how wide it was each time."""
    widths: list[Extent] = []

    def run(arrays: list[Array], part: Renaming) -> Array:
        ((whole,),) = part.values()
        widths.append(whole.extent)
        return arrays[0]

    return part_by_part(b, values, values[0].known_dims, run), widths


def test_parts_that_differ_along_the_same_axes_are_gathered(b: Builder) -> None:
    whole = Axis(6)
    x = in_parts(b, "u2 i1 u3", whole)
    parts, widths = applied(b, x)
    assert parts is not None
    assert widths == [5, 1]
    assert [sub.extent for sub, _ in parts.pieces] == [2, 1, 3]
    again = join(b, parts.pieces, whole, x.known_dims)
    np.testing.assert_array_equal(written(b, again, x.known_dims), written(b, x.array, x.known_dims))


def test_neighbours_that_are_alike_are_one_piece(b: Builder) -> None:
    parts, _ = applied(b, in_parts(b, "u2 u2 i1 i1", Axis(6)))
    assert parts is not None
    assert [sub.extent for sub, _ in parts.pieces] == [4, 2]


def test_operands_are_cut_where_any_of_them_is(b: Builder) -> None:
    """[u2 i3] beside [u4 i1]: columns 2 and 3 differ in the first alone, and so does what comes of them."""
    whole = Axis(5)
    first, second = in_parts(b, "u2 i3", whole), in_parts(b, "u4 i1", whole)
    parts, widths = applied(b, first, second)
    assert parts is not None
    assert widths == [2, 3]
    assert [array.state(L) for _, array in parts.pieces] == ["absent", "stored"]
    constant = value(stored(b, (whole,)), (whole,))
    parts, widths = applied(b, first, constant)
    assert widths == [2, 3]


def test_what_is_in_no_parts_or_in_parts_that_are_all_alike_stays_whole(b: Builder) -> None:
    whole = Axis(4)
    assert applied(b, in_parts(b, "i2 i2", whole)) == (None, [])
    assert applied(b, value(stored(b, (whole,)), (whole,))) == (None, [])
    summed = in_parts(b, "u2 i2", whole)
    assert part_by_part(b, [summed], ((L,),), lambda arrays, part: arrays[0]) is None
    assert numbers(summed.array.tensor).shape == (5, 4)


def test_widths_that_are_symbols(b: Builder) -> None:
    length = symbol("length")
    whole, history, item = Axis(length + 1), Axis(length), Axis(1)
    x, y = b.input("x", (length,), 1), b.input("y", (5,), 1)
    parts = Parts(whole, ((history, Array(x, ((history,),))), (item, Array(y, ((L,),)))))
    value = Value("v", ((L,), (whole,)), 1, Array(b.input("v", (5, length + 1), 1), ((L,), (whole,))), parts)
    result, widths = applied(b, value)
    assert result is not None
    assert widths == [length, 1]
    assert applied(Builder(cuts_at_symbols=False), value)[0] is None


def test_candidates_beside_the_history() -> None:
    """[history; candidates] are two parts: what is computed of the history lacks the candidates."""
    length, many = symbol("length"), symbol("many")
    whole, history, items = Axis(length + many), Axis(length), Axis(many)
    b = Builder(frozenset({"many"}))
    arrays = {axis: Array(b.input(str(axis.extent), (axis.extent,), 1), ((axis,),)) for axis in (history, items)}
    parts = Parts(whole, tuple(arrays.items()))
    value = Value("v", ((L,), (whole,)), 1, Array(b.input("v", (5, length + many), 1), ((L,), (whole,))), parts)
    assert applied(b, value)[1] == [length, many]
    of_both = Axis(many)
    both = Array(b.input("both", (length, many), 1), ((history,), (of_both,)))
    rows = Parts(whole, ((history, both), (items, Array(b.input("i", (many, many), 1), ((items,), (of_both,))))))
    dims: Dims = ((of_both,), (whole,))
    other = Value("w", dims, 1, Array(b.input("w", (many, length + many), 1), dims), rows)
    assert part_by_part(b, [other], dims, lambda given, _: given[0]) is None, "both depend on the candidates"
