"""Values under other axes, in each of their forms."""

from __future__ import annotations

import numpy as np
import pytest

from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Axis, Dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.forms import Array, IndexMap, Parts, Terms
from mari_onnx.ir.parts import join
from mari_onnx.ir.renaming import fresh, fuse, rename_parts, rename_value
from tests.ir.values import D, F, L, numbers, stored, two_parts, value, written


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
