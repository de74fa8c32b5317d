"""Windows of tensors, and integers that are computed from the positions in them.

    rows 0 to L, column L                 the window of a mask [L+1 L+1] that hides the candidate from the history
    Range(0, L+1) as a column             the row's own number
    row - column, in that window          from -L to -1, so that row >= column is false, whatever L is

A comparison of two such integers is decided for every extent at once, and never at one size. A window without elements
proves anything, so that each extent counts as at least 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mari_onnx.ir.extents import Extent, at_most, increased, symbol, symbols


@dataclass(frozen=True)
class Index:
    """An index that takes each value in [0, extent). Two are one if they are equal, as those of a diagonal are."""

    extent: Extent
    place: int


BEYOND = -1000
"""The place of an index that is added to another one. No dimension has it."""


@dataclass(frozen=True)
class Stretch:
    """The positions start, start + 1, ... of a dimension, one for each value of the index.

    With `beyond`, another index is added: columns 1 + row + beyond are all that lie behind the row.
    """

    start: Extent
    index: Index
    beyond: Index | None = None

    @property
    def stop(self) -> Extent:
        """The position behind the last one."""
        return self.start + self.index.extent + (self.beyond.extent - 1 if self.beyond else 0)

    @property
    def indices(self) -> tuple[Index, ...]:
        """The index, and what is added to it."""
        return (self.index,) if self.beyond is None else (self.index, self.beyond)

    def moved(self, by: Extent) -> Stretch:
        """The same positions, counted from another place."""
        return replace(self, start=self.start + by)


Window: TypeAlias = tuple[Stretch, ...]
"""A stretch of each dimension of a tensor."""


def whole(shape: Sequence[Extent]) -> Window:
    """The window of all elements. The place of an index is that of its dimension, counted from the last one."""
    return tuple(Stretch(0, Index(e, i - len(shape))) for i, e in enumerate(shape))


def is_whole(stretch: Stretch, extent: Extent) -> bool:
    """Whether a stretch is all of a dimension."""
    return stretch.start == 0 and stretch.index.extent == extent and stretch.beyond is None


@dataclass(frozen=True)
class Affine:
    """An integer: a constant plus a whole multiple of each index. An index of extent 1 is 0 and left out."""

    constant: Extent
    steps: Mapping[Index, int]

    def __add__(self, other: Affine) -> Affine:
        steps = {i: self.steps.get(i, 0) + other.steps.get(i, 0) for i in (*self.steps, *other.steps)}
        return Affine(self.constant + other.constant, {i: s for i, s in steps.items() if s})

    def times(self, factor: int) -> Affine:
        """The integer times a number."""
        return Affine(self.constant * factor, {i: s * factor for i, s in self.steps.items() if s * factor})

    def __sub__(self, other: Affine) -> Affine:
        return self + other.times(-1)

    @property
    def least(self) -> Extent:
        """The smallest number that it is for any values of the indices."""
        least = self.constant
        for index, step in self.steps.items():
            least = least + (index.extent - 1) * min(step, 0)
        return least

    @property
    def largest(self) -> Extent:
        """The largest number that it is for any values of the indices."""
        return self.times(-1).least * -1


def along(stretch: Stretch, step: int = 1) -> Affine:
    """The position in a stretch, times `step`."""
    steps = {index: step for index in stretch.indices if index.extent != 1 and step}
    return Affine(stretch.start * step, steps)


def constant(number: Extent) -> Affine:
    """A number that is the same everywhere."""
    return Affine(number, {})


def never_negative(number: Affine, window: Window) -> bool:
    """Whether the integer is 0 or more everywhere in a window, if the window has an element."""
    return at_most(0, _in_a_window(number.least, (i.extent for s in window for i in s.indices)))


def _in_a_window(number: Extent, extents: Iterable[Extent]) -> Extent:
    """The number by symbols that may be 0, where the extents are 1 or more: L - 1 by L, as L stands for L + 1 then.

    An extent tells this of its symbol if it is the symbol plus a number.
    """
    more: dict[str, int] = {}
    for extent in extents:
        for name in symbols(extent):
            if isinstance(beyond := extent - symbol(name), int):
                more[name] = max(more.get(name, 0), 1 - beyond)
    return increased(number, more)
