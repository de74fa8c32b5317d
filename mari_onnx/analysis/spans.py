"""Spans: stretches of a dimension, as Slice, Split and Gather take them.

x[-1:] of [length + 1]          [length, length + 1)
x[2:9] of [4]                   [2, 4)
x[:length] of [4]               depends on the length, and is cut short at 4
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mari_onnx.ir.axes import Dims, extents
from mari_onnx.ir.extents import Extent, Poly, at_most, ordered, symbol, symbols

END = 2**31 - 1
"""Exporters write a limit as large as this, or larger, for the end of an axis."""


@dataclass(frozen=True)
class Span:
    """Entries [start, stop) of dimension `position`."""

    position: int
    start: Extent
    stop: Extent

    def is_everything(self, extent: Extent) -> bool:
        """Whether the span is the whole axis."""
        return self.start == 0 and (self.stop == extent or (isinstance(self.stop, int) and self.stop >= END))

    @property
    def is_first(self) -> bool:
        """Whether the span is the first entry."""
        return (self.start, self.stop) == (0, 1)

    def within(self, extent: Extent) -> Span | None:
        """The span as Slice defines it: a negative limit counts from the end, a large one is the end.

        None where that depends on symbols.
        """
        start, stop = (_place(limit, extent) for limit in (self.start, self.stop))
        if start is None or stop is None or not at_most(start, stop):
            return None
        return Span(self.position, start, stop)

    def left_over(self, extent: Extent) -> Extent | None:
        """How much x[1:] of [B + 1] is; None for what is not everything but the first so many of an unknown extent."""
        if isinstance(extent, int) or self.start == 0 or not replace(self, start=0).is_everything(extent):
            return None
        first, left = ordered(0, self.start), ordered(0, extent - self.start)
        return left[1] if first == (0, self.start) and left is not None and left[0] == 0 else None

    def may_be_cut_short(self, extent: Extent) -> bool:
        """Whether it ends at a symbol or at the end of an axis of known extent, whichever comes first.

        At least two entries are left of the axis: one alone would broadcast.
        """
        if not isinstance(extent, int) or not isinstance(self.start, int) or not isinstance(self.stop, Poly):
            return False
        return 0 <= self.start <= extent - 2 and at_most(0, self.stop - self.start)


def _place(limit: Extent, extent: Extent) -> Extent | None:
    """The limit as a place in [0, extent]; None where its sign, or whether it is there, depends on symbols."""
    if isinstance(limit, int) and limit >= END:
        return extent
    if not at_most(0, limit) and not at_most(limit, -1):  # x[-L:] is x[-0:], of no tokens
        return None
    place = limit if at_most(0, limit) else limit + extent
    place = 0 if at_most(place, 0) else extent if at_most(extent, place) else place
    return place if at_most(0, place) and at_most(place, extent) else None


def long_enough(operands: Sequence[Dims], cut_short: dict[str, Extent]) -> Collection[str]:
    """Which of the symbols in `cut_short` are what was asked for, as the original fails where they are less.

    Example: x [B T 8] is added to table[:T] of 1,024 rows. With more than 1,024 tokens the Add fails, so that there are
    T rows.
    """
    found: set[str] = set()
    shapes = [extents(dims)[::-1] for dims in operands]
    for place in range(max(map(len, shapes), default=0)):
        here = [shape[place] for shape in shapes if place < len(shape)]
        for extent in here:
            name = next(iter(symbols(extent)), "")
            if name in cut_short and extent == symbol(name) and cut_short[name] in here:
                found.add(name)
    return found
