"""Named axes: factorizations, broadcasting and reshapes, on einops notation."""

from __future__ import annotations

import pytest

from mari_onnx.ir.axes import (
    Axis,
    Dims,
    Refused,
    broadcast,
    compose,
    dim,
    extents,
    flat,
    infer_shape,
    needed_equal,
    new_dims,
    refine,
    renamed,
    reshape,
    show,
    units_moved,
)
from mari_onnx.ir.extents import Extent, symbol

B, L = symbol("B"), symbol("L")
N_USER, N_ITEM, N_STEPS = symbol("N@user.0"), symbol("N@item.0"), symbol("N@user.1")


def axes(*given: Extent) -> list[Axis]:
    return [Axis(e, str(e)) for e in given]


def shape(dims: Dims) -> list[list[Extent]]:
    return [[a.extent for a in d] for d in dims]


def test_extent_one_is_no_axis() -> None:
    assert dim(1) == ()
    assert extents(new_dims([B, 1, 4])) == (B, 1, 4)


def test_an_axis_is_itself() -> None:
    assert Axis(4, "a") != Axis(4, "a")


def test_notation() -> None:
    b, length, k = Axis(B, "B"), Axis(L, "L"), Axis(16)
    assert show(((b, length), (k,), ())) == "[(B L) 16 1]"


# Refinement


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        ([320], [20, 16], [20, 16]),
        ([20, 16], [320], [20, 16]),
        ([4, 15], [12, 5], [4, 3, 5]),
        ([B * L, 8], [B, L, 8], [B, L, 8]),
        ([B, L * 8], [B * L, 8], [B, L, 8]),
        ([B, 4], [B, 4], [B, 4]),
        ([6], [4], None),
        ([6, 2], [4, 3], None),  # 6 = 4 * 1.5: the boundaries cross
        ([B], [L], None),
        ([B, 2], [B], None),
        ([], [], []),
    ],
)
def test_refine(a: list[Extent], b: list[Extent], common: list[Extent] | None) -> None:
    left, right = axes(*a), axes(*b)
    refined = refine(left, right)
    if common is None:
        assert refined is None
        return
    assert refined is not None
    both, split_left, split_right = refined
    assert [x.extent for x in both] == common
    for mine, split in ((left, split_left), (right, split_right)):
        assert [x for a in mine for x in split.get(a, (a,))] == both
        assert all(parts != (axis,) for axis, parts in split.items())


def test_refine_keeps_the_axes_of_the_first() -> None:
    left, right = axes(B, 4), axes(B, 4)
    refined = refine(left, right)
    assert refined is not None
    assert refined[0] == left
    assert refined[1] == {}


def test_compose() -> None:
    a, b, c, d = axes(12, 3, 4, 4)
    assert compose({a: (b, c)}, {c: (d,)}) == {a: (b, d), c: (d,)}


# Broadcasting


@pytest.mark.parametrize(
    ("operands", "result"),
    [
        ([[B, 4], [B, 4]], [[B], [4]]),
        ([[B, 4], [4]], [[B], [4]]),
        ([[B, 1], [1, 4]], [[B], [4]]),
        ([[B * L, 4], [B * L, 4]], [[B * L], [4]]),
        ([[B, 320], [B, 320]], [[B], [320]]),
        ([[1, 1], [1]], [[], []]),
        ([[], [3]], [[3]]),
    ],
)
def test_broadcast(operands: list[list[Extent]], result: list[list[Extent]]) -> None:
    given = [new_dims(o) for o in operands]
    found = broadcast(given)
    assert not isinstance(found, Refused)
    dims, names = found
    assert shape(dims) == result
    for own, changes in zip(given, names, strict=True):
        assert set(flat(renamed(own, changes))) <= set(flat(dims))


def test_broadcast_cuts_what_one_side_has_cut() -> None:
    whole, (rows, columns) = axes(20 * 16)[0], axes(20, 16)
    found = broadcast([((whole,),), ((rows, columns),)])
    assert not isinstance(found, Refused)
    dims, (first, second) = found
    assert dims == ((rows, columns),)
    assert first == {whole: (rows, columns)}
    assert second == {}


def test_broadcast_of_three_cuts_the_earlier_ones_too() -> None:
    a, b, (c, d) = axes(12)[0], axes(12)[0], axes(3, 4)
    found = broadcast([((a,),), ((b,),), ((c, d),)])
    assert not isinstance(found, Refused)
    dims, names = found
    assert dims == ((c, d),)
    assert names == [{a: (c, d)}, {b: (c, d)}, {}]


@pytest.mark.parametrize(("a", "b"), [([B], [L]), ([B], [4]), ([4], [6])])
def test_extents_that_are_not_proven_equal(a: list[Extent], b: list[Extent]) -> None:
    """A symbol that is 1 at run time would broadcast."""
    found = broadcast([new_dims(a), new_dims(b)])
    assert isinstance(found, Refused)
    assert "not known to be equal" in found.reason
    assert found.next_step


def test_an_axis_stands_in_a_value_once() -> None:
    """q [L 1] and q^T [1 L] of one sequence: the result has its length twice, as two axes."""
    (length,) = axes(L)
    found = broadcast([((length,), ()), ((), (length,))])
    assert not isinstance(found, Refused)
    dims, names = found
    assert shape(dims) == [[L], [L]]
    assert dims[0] != dims[1]
    assert [renamed(((length,),), n) for n in names] == [(dims[0],), (dims[1],)]


# Reshape


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [
        ([[B, L], [320]], [B, L, 20, 16], [[B], [L], [20], [16]]),
        ([[B], [L], [320]], [B * L, 320], [[B, L], [320]]),
        ([[B], [6]], [B * 6], [[B, 6]]),
        ([[B], [1], [6]], [B, 6, 1, 1], [[B], [6], [], []]),
        ([[B], [6]], [B, 2, 3], [[B], [2], [3]]),
        ([[6], [4]], [8, 3], None),
        ([[B], [6]], [B, 5], None),
        ([[B], [6]], [6, B], None),
        ([[B], [0]], [0, B], None),  # nothing is nothing, however it is cut
    ],
)
def test_reshape(before: list[list[Extent]], after: list[Extent], result: list[list[Extent]] | None) -> None:
    dims = tuple(tuple(axes(*(e for e in d if e != 1))) for d in before)
    found = reshape(dims, after)
    if result is None:
        assert found is None
        return
    assert found is not None
    new, split = found
    assert shape(new) == result
    assert flat(renamed(dims, split)) == flat(new)


@pytest.mark.parametrize(
    ("wanted", "have", "zero", "result"),
    [
        ([0, -1], [B, 4, 5], False, [B, 20]),
        ([-1, 20], [B, 4, 5], False, [B, 20]),
        ([-1, 5], [B, 4, 5], False, [4 * B, 5]),
        ([0, 0, -1], [B, L, 8], False, [B, L, 8]),
        ([B, L, 2, -1], [B, L, 8], False, [B, L, 2, 4]),
        ([-1], [], False, [1]),
        ([-1, 3], [B, 4], False, None),
        ([-1, 0], [B, 4], True, None),  # a true zero: nothing to infer from
        ([0, 4], [0, 4], True, [0, 4]),
        ([B - 2, 4], [B, 4], False, None),  # may be -1 at run time
    ],
)
def test_infer_shape(wanted: list[Extent], have: list[Extent], zero: bool, result: list[Extent] | None) -> None:
    assert infer_shape(wanted, have, zero) == result


@pytest.mark.parametrize(
    ("left", "right", "pairs"),
    [
        (N_USER * 4, N_ITEM * 4, [(N_USER, N_ITEM)]),
        (N_USER * 4, N_ITEM, [(N_USER, N_ITEM)]),
        (N_USER * N_STEPS, N_ITEM * N_STEPS, [(N_USER, N_ITEM)]),
        # It may be the one pair or the other.
        (N_USER * N_STEPS, N_ITEM, []),
        (N_USER * 4, N_ITEM * 3, []),
        (N_USER, N_USER, []),
        (N_USER, symbol("M"), []),
    ],
)
def test_extents_of_axes_of_one_name(left: Extent, right: Extent, pairs: list[tuple[Extent, Extent]]) -> None:
    assert needed_equal(left, right) == pairs


def test_units_that_a_reshape_adds_and_leaves_out() -> None:
    assert units_moved((1, L, 1, 4), (L, 4)) == [1, 3]
    assert units_moved((L, 4), (1, L, 4)) == [None, 0, 1]
    assert units_moved((L, 4), (4, L)) is None
    assert units_moved((L, 4), (L * 4,)) is None
