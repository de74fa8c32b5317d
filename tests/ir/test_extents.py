"""Extents: polynomials have one normal form, and comparisons hold for all legal extents."""

from __future__ import annotations

from itertools import product as pairs

import pytest

from mari_onnx.ir.extents import (
    Extent,
    Poly,
    at_most,
    compare,
    divide,
    evaluate,
    increased,
    is_length,
    is_within,
    ordered,
    positive,
    product,
    rename,
    sorted_extents,
    symbol,
    symbols,
)

B, L, R = symbol("B"), symbol("L"), symbol("R")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (B + L, L + B),
        (B * L, L * B),
        (2 * B, B + B),
        ((B + 1) * (B + 1), B * B + 2 * B + 1),
        ((B + L) * (B - L), B * B - L * L),
        (3 - B, -(B - 3)),
        (B * (L + 2) - 2 * B, L * B),
        (1 + B + 1 - 2, B),
    ],
)
def test_equal_polynomials_are_one(left: Extent, right: Extent) -> None:
    assert left == right
    assert hash(left) == hash(right)
    assert repr(left) == repr(right)


@pytest.mark.parametrize(
    ("extent", "number"), [(B - B, 0), (B - B + 3, 3), (B * 0, 0), (0 * (B + 1), 0), (5 - B + B, 5)]
)
def test_without_symbols_it_is_a_number(extent: Extent, number: int) -> None:
    assert type(extent) is int
    assert extent == number


def test_a_symbol_is_no_number() -> None:
    assert B != 1
    assert symbol("b") != B
    assert isinstance(B, Poly)


@pytest.mark.parametrize(
    ("a", "b", "quotient"),
    [
        (12, 4, 3),
        (12, 5, None),
        (12, 0, None),
        (0, 4, 0),
        (B * L, B, L),
        (B * L, L * B, 1),
        (6 * B * L, 2 * L, 3 * B),
        (6 * B, 4, None),
        (B, L, None),
        (4, B, None),
        (4 * B + 2 * L, 2, 2 * B + L),
        (4 * B + 3, 2, None),
        (B * B + B * L, B, B + L),
        (B * B + L, B, None),
        (B * (L + 1), L + 1, B),
        (8 * B * L + 8 * B, L + 1, 8 * B),
        ((B + 1) * (L + 2), L + 2, B + 1),
        ((B + L) * (B - L), B + L, B - L),
        (B * L + 1, L + 1, None),
        (L * L + L + 1, L + 1, None),
        (L + 1, 2 * L + 2, None),
        (L, L + 1, None),
        (7, L + 1, None),
        (-4 * B, -1, 4 * B),
    ],
)
def test_division_leaves_nothing(a: Extent, b: Extent, quotient: Extent | None) -> None:
    assert divide(a, b) == quotient
    if quotient is not None:
        assert quotient * b == a


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [
        (3, 5, -1),
        (5, 5, 0),
        (B, B, 0),
        (B, -1, 1),
        (-1, B, -1),
        (B, 0, None),
        (B, 1, None),
        (B + 1, 0, 1),
        (B + 1, B, 1),
        (B * L + 1, B * L, 1),
        (B, L, None),
        (B + L + 2, B + 1, 1),
        (B - L, 0, None),
        (2 * B, B, None),  # equal where there are no candidates
    ],
)
def test_comparison_holds_for_every_extent(a: Extent, b: Extent, sign: int | None) -> None:
    assert compare(a, b) == sign
    assert compare(b, a) == (None if sign is None else -sign)
    seen = set()
    for batch, length in pairs(range(4), repeat=2):
        left, right = (evaluate(e, {"B": batch, "L": length}, 0) for e in (a, b))
        seen.add((left > right) - (left < right))
    assert sign is None or seen == {sign}


@pytest.mark.parametrize(
    ("a", "b", "pair"),
    [
        (B, 0, (0, B)),
        (B, -3, (-3, B)),
        (B, 2 * B, (B, 2 * B)),
        (B + L, B, (B, B + L)),
        (4, 7, (4, 7)),
        (B, B, (B, B)),
        (B, 4, None),
        (B, L, None),
    ],
)
def test_the_smaller_and_the_larger(a: Extent, b: Extent, pair: tuple[Extent, Extent] | None) -> None:
    assert ordered(a, b) == pair
    assert ordered(b, a) == pair
    for batch, length in pairs(range(6), repeat=2) if pair else ():
        low, high = (evaluate(e, {"B": batch, "L": length}, 0) for e in pair or ())
        assert low <= high


def test_positive() -> None:
    assert positive(3)
    assert positive(B * L + 1)
    assert not positive(0)
    assert not positive(B)
    assert not positive(B - L + 1)


def test_evaluate_takes_the_default_for_other_symbols() -> None:
    assert evaluate(2 * B * L + R - 1, {"B": 10, "L": 3}, 7) == 66
    assert evaluate(5, {}, 1) == 5


def test_rename_merges_what_becomes_equal() -> None:
    assert rename(B - L, {"L": "B"}) == 0
    assert rename(B * L + R, {"L": "B"}) == B * B + R
    assert rename(4, {"B": "L"}) == 4


def test_symbols_and_product() -> None:
    assert symbols(2 * B * L + 3) == {"B", "L"}
    assert symbols(3) == set()
    assert product([]) == 1
    assert product([B, 2, L]) == 2 * B * L


def test_what_an_axis_can_be() -> None:
    assert all(map(is_length, (0, 7, 2**63 - 1, B - 8, (2**63 - 1) * B)))
    assert not any(map(is_length, (-1, 2**63, 2**63 * B, B - 2**63)))
    assert is_within(3 * B + 7, 7)
    assert not is_within(B - 8, 7)


def test_it_reads_well() -> None:
    assert repr(symbol("B")) == "B"
    assert "3*B*L" in repr(3 * B * L + 2)


def test_at_most() -> None:
    assert at_most(L, L + 1)
    assert at_most(0, L)
    assert not at_most(L + 1, L)
    assert not at_most(4, L)
    assert not at_most(L, 4)


@pytest.mark.parametrize(
    ("extents", "in_order"),
    [
        ([L + 1, 0, L, 0], [0, L, L + 1]),
        ([5, 2, 2], [2, 5]),
        ([L, 4], None),
        ([0, L + 1, 1, L], None),
        ([0, L + 1, 1, L + 2], [0, 1, L + 1, L + 2]),
    ],
)
def test_extents_in_order(extents: list[Extent], in_order: list[Extent] | None) -> None:
    assert sorted_extents(extents) == in_order


def test_more_of_a_symbol() -> None:
    assert increased(2 * L + 1, {"L": 3}) == 2 * L + 7
    assert increased(B * L - 1, {"L": 1}) == B * L + B - 1
    assert increased(5, {"L": 1}) == 5
