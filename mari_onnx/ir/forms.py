"""A value and its forms.

Every tensor of the original graph is a `Value`. Besides the plain tensor that the exporter computed it can be
known in forms that are cheaper to have:

    Array   a stored tensor whose axes have names; a named axis of the value that the stored tensor lacks is one
            along which the value repeats, and an axis stored through an index map repeats as the map says
    Parts   a concatenation that has not been written out
    Terms   a sum that has not been added up
    Factors a product, element by element, that has not been multiplied out

The one invariant, the whole of soundness: *every form of a value evaluates to that value, for all legal inputs.*
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy.typing as npt

from mari_onnx.ir.axes import Axis, Dims, flat
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent


@dataclass(frozen=True)
class IndexMap:
    """Which stored row each index of an axis stands for; None: row 0, there is one (or none, for no candidates).

    `own` is the map that changes nothing. It only tells rows that depend on the item alone from other rows of
    candidates, so that the two are kept apart.
    """

    index: Tensor | None
    rows: Extent
    own: bool = False


State: TypeAlias = IndexMap | str
"""How an array has an axis: by itself ("stored"), not at all ("absent"), or through an index map."""

Names: TypeAlias = frozenset[tuple[Axis, State]]
"""The axes along which an array differs, and how it has each."""


@dataclass(frozen=True)
class Array:
    """`layout[i]` is the ordered product of named axes that dimension i of the tensor holds.

    `via` are the axes that are stored through an index map. `price` is what this form costs beyond the forms
    that the value would have without it, in nanoseconds at the reference extents (see `cost`).
    """

    tensor: Tensor
    layout: Dims
    via: tuple[tuple[Axis, IndexMap], ...] = ()
    price: float = 0.0

    def state(self, axis: Axis) -> State:
        if not any(axis in d for d in self.layout):
            return "absent"
        mapped = dict(self.via).get(axis)
        return "stored" if mapped is None or mapped.own else mapped

    @property
    def own(self) -> bool:
        """Whether it is known to depend on the item alone."""
        return any(m.own for _, m in self.via)

    def names(self) -> Names:
        """The axes along which the array is known to differ, an item's own apart. An extent of 1 is no difference."""
        maps = dict(self.via)
        return frozenset((a, maps.get(a, "stored")) for a in flat(self.layout) if a.extent != 1)

    def stored_extent(self, axis: Axis) -> Extent:
        state = self.state(axis)
        return state.rows if isinstance(state, IndexMap) else axis.extent


@dataclass(frozen=True)
class Parts:
    """Pieces along `axis`, in order; each piece has an axis of its own in its place.

    A piece that is a sum or a product may come with it `apart`, which is then as good as its array.
    """

    axis: Axis
    pieces: tuple[tuple[Axis, Array], ...]
    price: float = 0.0
    apart: tuple[Terms | Factors | None, ...] = ()


@dataclass(frozen=True)
class Terms:
    """Summands with their signs; their sum, broadcast, is the value."""

    signed: tuple[tuple[int, Array], ...]
    price: float = 0.0

    def each(self, change: Callable[[Array], Array]) -> Terms:
        return replace(self, signed=tuple((sign, change(array)) for sign, array in self.signed))


@dataclass(frozen=True)
class Factors:
    """Two arrays whose product, broadcast, is the value."""

    left: Array
    right: Array
    price: float = 0.0

    def each(self, change: Callable[[Array], Array]) -> Factors:
        return replace(self, left=change(self.left), right=change(self.right))


@dataclass(frozen=True)
class Value:
    """A tensor of the original graph: its dims (None where even the rank is unknown) and its forms.

    `array` always exists. `content` holds small integer or bool tensors whose every element is known as an
    extent (or None): the shape arithmetic of exporters. `because` says how a value came to lack the candidates.
    `written` is the value as the original has it, of the rows as the caller repeats them, where little was done to
    them: ids and what is looked up by them need not be expanded where all rows are wanted anyway.
    """

    name: str
    dims: Dims | None
    dtype: int
    array: Array
    parts: Parts | None = None
    terms: Terms | None = None
    factors: Factors | None = None
    content: npt.NDArray[Any] | None = None
    because: tuple[str, ...] = ()
    written: Array | None = None

    @property
    def known_dims(self) -> Dims:
        assert self.dims is not None, "rules only see values of known rank"
        return self.dims

    @property
    def constant(self) -> bool:
        return self.array.tensor.constant

    def repeats(self, position: int) -> bool:
        """Whether every row along a dimension is the same; rows that an index selects are not."""
        states = [self.array.state(a) for a in self.known_dims[position]]
        return all(s == "absent" or (isinstance(s, IndexMap) and s.index is None) for s in states)
