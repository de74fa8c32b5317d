"""Extents: how long an axis is, as an integer or a polynomial of symbols.

    Reshape([batch, 20, 16] -> [batch, -1])      320
    Concat of [length, 8] and [1, 8]             length + 1
    Reshape([batch, length, 8] -> [-1, 8])       batch*length

Shape arithmetic only ever adds, subtracts, multiplies and divides extents, so integer polynomials are a
normal form for it: two extents are equal for all inputs exactly when their polynomials are the same. Every
symbol stands for the extent of some axis, which is never negative. This fact alone decides most comparisons:
`batch == -1` is false for every batch, and `batch == 4` is not decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

Monomial: TypeAlias = tuple[str, ...]
Extent: TypeAlias = "int | Poly"

ROW = "row:0"
"""The symbol that counts the rows of `x[0:1]`, of an input whose rows the caller repeats: 1 in a call with candidates,
0 in a call without. It is no identifier, so that no exporter names an extent so."""


CLAIM = "@"
"""Stands in the symbol `batch@user.0` of an axis that the exporter calls `batch`, as it may call others (see
`analysis.shared_symbols`). It is in no identifier."""


class Poly:
    """A polynomial with at least one symbol in it; arithmetic that loses the last symbol gives an int.

    `terms` are products of symbols with their coefficients: 2*batch*length + 3 is ((("batch", "length"), 2), ((), 3)),
    in a fixed order, so that equal polynomials are equal tuples.
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and self.terms == other.terms

    def __add__(self, other: Extent) -> Extent:
        return _collect([*self.terms, *_terms(other)])

    def __mul__(self, other: Extent) -> Extent:
        if isinstance(other, int) and other:
            return Poly(tuple((m, c * other) for m, c in self.terms))
        return _collect([(tuple(sorted(m + n)), a * b) for m, a in self.terms for n, b in _terms(other)])

    def __neg__(self) -> Extent:
        return self * -1

    def __sub__(self, other: Extent) -> Extent:
        return self + other * -1

    def __rsub__(self, other: Extent) -> Extent:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        def term(monomial: Monomial, coefficient: int) -> str:
            shown = [str(coefficient)] if coefficient != 1 or not monomial else []
            return "*".join([*shown, *monomial])

        return " + ".join(term(m, c) for m, c in self.terms)


def symbol(name: str) -> Poly:
    """The extent that consists of this symbol alone."""
    return Poly((((name,), 1),))


def _terms(extent: Extent) -> tuple[tuple[Monomial, int], ...]:
    return extent.terms if isinstance(extent, Poly) else (((), extent),)


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Extent:
    coefficients: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        coefficients[monomial] = coefficients.get(monomial, 0) + coefficient
    nonzero = tuple(sorted((m, c) for m, c in coefficients.items() if c))
    if not nonzero:
        return 0
    return nonzero[0][1] if len(nonzero) == 1 and not nonzero[0][0] else Poly(nonzero)


def product(extents: Iterable[Extent]) -> Extent:
    """All extents multiplied; 1 for none."""
    total: Extent = 1
    for extent in extents:
        total = extent if total == 1 else total if extent == 1 else total * extent
    return total


def total(extents: Iterable[Extent]) -> Extent:
    """All extents added up; 0 for none."""
    result: Extent = 0
    for extent in extents:
        result = result + extent
    return result


def divide(a: Extent, b: Extent) -> Extent | None:
    """The extent c with c * b == a for all values of the symbols; None where there is none.

    20*batch by batch                        20
    8*batch*length + 8*batch by length + 1   8*batch
    batch + 1 by 2                           None

    Several terms are divided as in long division: the leading term of what is left, by the leading term of b.
    """
    if a == 0 and b != 0:
        return 0
    divisor = _terms(b)
    if len(divisor) == 1:
        return _by_term(a, divisor[0])
    leading = max(divisor, key=_degree)
    quotient: Extent = 0
    while a != 0:
        found = _by_term(_collect([max(_terms(a), key=_degree)]), leading)
        if found is None:
            return None
        quotient, a = quotient + found, a - b * found
    return quotient


def _degree(term: tuple[Monomial, int]) -> tuple[int, Monomial]:
    """An order of terms that a factor does not change: by how many symbols they have, and then by their names."""
    monomial, _ = term
    return len(monomial), monomial


def _by_term(a: Extent, divisor: tuple[Monomial, int]) -> Extent | None:
    """Each term of a divided by one term; None where it is no factor of all of them."""
    monomial, coefficient = divisor
    if coefficient == 0:
        return None
    quotient = []
    for m, c in _terms(a):
        rest = list(m)
        for s in monomial:
            if s not in rest:
                return None
            rest.remove(s)
        if c % coefficient:
            return None
        quotient.append((tuple(rest), c // coefficient))
    return _collect(quotient)


def symbols(extent: Extent) -> set[str]:
    """The symbols that the extent depends on: `batch` and `length` for batch*length + 1."""
    return {s for monomial, _ in extent.terms for s in monomial} if isinstance(extent, Poly) else set()


def positive(extent: Extent) -> bool:
    """Whether the extent is greater than zero for every value of its symbols: batch + 1 is, batch may be 0."""
    terms = _terms(extent)
    return all(c >= 0 for _, c in terms) and any(not m and c > 0 for m, c in terms)


def compare(a: Extent, b: Extent) -> int | None:
    """-1, 0 or 1 when a < b, a == b or a > b whatever the symbols are; None when that depends on them.

    batch and -1              1
    length and length + 1     -1
    batch and 4               None
    """
    difference = a - b
    if isinstance(difference, int):
        return (difference > 0) - (difference < 0)
    return 1 if positive(difference) else -1 if positive(-difference) else None


def ordered(a: Extent, b: Extent) -> tuple[Extent, Extent] | None:
    """The smaller and the larger of two, where one is so whatever the symbols are; they may be equal. Else None.

    batch and 0               (0, batch), though `compare` says None: they are equal at batch 0
    batch and 4               None
    """
    coefficients = [c for _, c in _terms(a - b)]
    if all(c >= 0 for c in coefficients):
        return b, a
    return (a, b) if all(c <= 0 for c in coefficients) else None


def at_most(a: Extent, b: Extent) -> bool:
    """Whether a <= b whatever the symbols are: length and length + 1."""
    return all(c <= 0 for _, c in _terms(a - b))


def sorted_extents(extents: Iterable[Extent]) -> list[Extent] | None:
    """Different extents in ascending order; None where it depends on the symbols.

    length + 1, 0 and length     [0, length, length + 1]
    length and 4                 None
    """
    found: list[Extent] = []
    for extent in extents:
        if extent in found:
            continue
        smaller = sum(at_most(other, extent) for other in found)
        if not all(at_most(extent, other) for other in found[smaller:]):
            return None
        found.insert(smaller, extent)
    return found


def is_within(extent: Extent, largest: int) -> bool:
    """Whether no number in the extent is larger, or less than the negative of that: 3*batch + 7 is within 7."""
    return all(-largest <= c <= largest for _, c in _terms(extent))


@lru_cache(maxsize=2**12)
def is_length(extent: Extent) -> bool:
    """Whether an axis can be so long: -8 is no length, and 2**63*batch is none that an integer of a runtime holds."""
    return is_within(extent, 2**63 - 1) and not (isinstance(extent, int) and extent < 0)


def claim(name: str) -> str:
    """The exporter's name of a symbol: `batch` of `batch@user.0`, and of `batch` itself."""
    return name.partition(CLAIM)[0]


def claimed(extent: Extent) -> Extent:
    """The extent as it is if all axes of one name are equal: batch@user.0*4 is batch*4."""
    return rename(extent, {s: claim(s) for s in symbols(extent)})


def evaluate(extent: Extent, values: Mapping[str, int], default: int) -> int:
    """The extent as a number, with `default` for symbols that `values` lacks: batch*20 at {batch: 3} is 60."""
    if isinstance(extent, int):
        return extent
    total = 0
    for monomial, coefficient in _terms(extent):
        for s in monomial:
            coefficient *= values.get(s, default)
        total += coefficient
    return total


def increased(extent: Extent, more: Mapping[str, int]) -> Extent:
    """The extent with numbers added to its symbols: 2*length + 1 with {length: 3} is 2*length + 7."""
    return total(c * product(symbol(s) + more.get(s, 0) for s in m) for m, c in _terms(extent))


def rename(extent: Extent, names: Mapping[str, str]) -> Extent:
    """The extent with symbols replaced by others: batch*4 with {batch: rows} is rows*4."""
    if isinstance(extent, int):
        return extent
    return _collect([(tuple(sorted(names.get(s, s) for s in m)), c) for m, c in extent.terms])
