"""Symbols that stand for the same extent."""

from __future__ import annotations

from mari_onnx.analysis.equal_extents import merged, single
from mari_onnx.ir.extents import symbol

A, B, C = symbol("A"), symbol("B"), symbol("C")


def test_the_preferred_symbol_stands_for_both() -> None:
    assert merged({}, [(A, B)], ("B",)) == {"A": "B"}
    assert merged({}, [(A, B)], ()) == {"B": "A"}


def test_what_is_equal_to_the_same_is_equal() -> None:
    found = merged({}, [(B, C), (A, B)], ("A",))
    assert {found.get(s, s) for s in "ABC"} == {"A"}


def test_earlier_proofs_are_kept() -> None:
    before = merged({}, [(A, B)], ())
    assert merged(before, [(B, C)], ()) == {"B": "A", "C": "A"}
    assert before == {"B": "A"}


def test_numbers_and_compositions_prove_nothing() -> None:
    """2*A == B does not say what A is."""
    assert merged({}, [(A * 2, B), (A, 3)], ()) == {}
    assert single(A) == "A"
    assert single(A * 2) is single(A + B) is single(3) is None
