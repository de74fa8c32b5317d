"""A value and its forms.

Every tensor of the original graph is a `Value`. Besides the plain tensor that the exporter computed it can be
known in forms that are cheaper to have:

    Array   a stored tensor whose axes have names; a named axis of the value that the stored tensor lacks is one
            along which the value repeats, and an axis stored through an index map repeats as the map says
    Parts   a concatenation that has not been written out
    Terms   a sum that has not been added up
    Factors a product, element by element, that has not been multiplied out

The one invariant, the whole of soundness: *every form of a value evaluates to that value, for all legal inputs.*

    user    [B, 4]     Array (4)       B is missing: the same four numbers for each candidate
    item    [B, 3]     Array (B 3)
    x = Concat         Array (B 7), and Parts [(4), (B 3)]
    y = x @ W          Array (B 8), and Terms +(8) +(B 8)

What changes a value says which forms survive: `named`, `with_dims`, `stored_as`, `changed` and `each_form`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack

import numpy.typing as npt

from mari_onnx.ir.axes import Axis, Dims, flat
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent


@dataclass(frozen=True)
class IndexMap:
    """Which of the stored rows each index of an axis has.

        index [0 0 1], 2 rows     candidates 0 and 1 have the row of request 0, candidate 2 that of request 1
        no index, 1 row           all have row 0; an empty batch may have no row at all
        `item_rows`               candidate b has row b: the identity map, with no index and all rows

    The identity map is a mark. It stands at inputs such as `item_id` [B] whose rows depend on the item alone, and tells
    what is computed from them, which can be had before any request, from other values that differ along B as well.
    """

    index: Tensor | None
    rows: Extent
    item_rows: bool = False


State: TypeAlias = IndexMap | str
"""How an array has an axis: row for row ("stored", also through the identity map), not at all ("absent"), or through
an index map."""

Names: TypeAlias = frozenset[tuple[Axis, State]]
"""The axes along which an array differs, and how it has each."""


@dataclass(frozen=True)
class Array:
    """`layout[i]` is the ordered product of named axes that dimension i of the tensor holds.

    The array ((B L), D) of a tensor [B*L, D] has axis B outside L in its first dimension. An axis of the value that
    the layout lacks is one along which the value repeats. `via` are the axes that are stored through an index map.
    `price` is what this form costs beyond the forms that the value would have without it, in nanoseconds at the
    reference extents (see `cost`).
    """

    tensor: Tensor
    layout: Dims
    via: tuple[tuple[Axis, IndexMap], ...] = ()
    price: float = 0.0

    def state(self, axis: Axis) -> State:
        for d in self.layout:
            if axis in d:
                break
        else:
            return "absent"
        for mapped, rows in self.via:
            if mapped is axis and not rows.item_rows:
                return rows
        return "stored"

    @property
    def of_item(self) -> bool:
        """Whether it is known to depend on the item alone."""
        return any(m.item_rows for _, m in self.via)

    def names(self) -> Names:
        """The axes along which the array is known to differ, and how it has each: (B, "stored") is not (B, item rows).

        An axis of extent 1 is no difference.
        """
        maps = dict(self.via)
        return frozenset([(a, maps.get(a, "stored")) for d in self.layout for a in d if a.extent != 1])

    def stored_extent(self, axis: Axis) -> Extent:
        state = self.state(axis)
        return state.rows if isinstance(state, IndexMap) else axis.extent


@dataclass(frozen=True)
class Parts:
    """Pieces along `axis`, in order; each piece has an axis of its own in its place.

    [a b] along D, which is 7, is two pieces along axes D1 of 4 and D2 of 3. `apart` has an entry for each piece, or
    none at all: the terms or factors of a piece that is a sum or a product, another form of the same piece.
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


Form: TypeAlias = Array | Parts | Terms | Factors

F = TypeVar("F", Array, Parts, Terms, Factors)


def stores_only(form: Form, axes: Collection[Axis]) -> bool:
    """Whether every axis along which the form differs is one of these."""
    match form:
        case Array():
            return all(a in axes for a in flat(form.layout) if a.extent != 1)
        case Parts():
            pieces = zip(form.pieces, form.apart or (None,) * len(form.pieces), strict=True)
            return form.axis in axes and all(
                stores_only(given, {*axes, sub}) for (sub, array), apart in pieces for given in (array, apart) if given
            )
        case Terms():
            return all(stores_only(array, axes) for _, array in form.signed)
        case Factors():
            return stores_only(form.left, axes) and stores_only(form.right, axes)


class Known(TypedDict, total=False):
    """What can be known of a value."""

    array: Array
    parts: Parts | None
    terms: Terms | None
    factors: Factors | None
    written: Array | None
    content: npt.NDArray[Any] | None
    because: tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """A tensor of the original graph: its dims (None where even the rank is unknown) and its forms.

    `array` always exists. `content` has the elements of a small integer or bool tensor, each as an extent or None:
    what exporters compute shapes with. `because` says how a value came to lack the candidates. `written` is the value
    as the original has it, with the rows that the caller repeats: ids, and what is looked up by them, need not be
    expanded where all rows are wanted anyway.
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

    def named(self, name: str) -> Value:
        """The same value as another tensor of the graph: the output of an Identity."""
        return replace(self, name=name)

    def with_dims(self, dims: Dims) -> Value:
        """The same elements under other dims: what Reshape, Transpose, Squeeze and Expand do.

        Axes may stand in other dimensions and in another order; those that nothing is stored along may be new or gone.
        A form is kept where the new dims have all that it is stored along. `content` has the shape of the old dims and
        is dropped.
        """
        axes = set(flat(dims))

        def kept(form: F | None) -> F | None:
            return form if form is not None and stores_only(form, axes) else None

        return replace(
            self,
            dims=dims,
            parts=kept(self.parts),
            terms=kept(self.terms),
            factors=kept(self.factors),
            written=kept(self.written),
            content=None,
        )

    def stored_as(self, array: Array, dims: Dims | None = None) -> Value:
        """A value of which this array is all that is known: row 0 of another one, or itself partly written out.

        `dims` are its own, by default those that it has. Any other form is one of the old elements and is dropped.
        """
        return Value(self.name, self.dims if dims is None else dims, self.dtype, array, because=self.because)

    def changed(self, **known: Unpack[Known]) -> Value:
        """The same elements with other forms of the given kinds, None for no such form; the rest stays."""
        return replace(self, **known)

    def each_form(self, dims: Dims, arrays: Callable[[Array], Array], parts: Callable[[Parts], Parts | None]) -> Value:
        """The value with other axes in dimensions of the same extents, each of its forms rewritten for that.

        `arrays` rewrites an array that holds the value, a term or a factor; `parts` all pieces, or gives None where
        they do not fit the new axes. `content` stays: the shape is what it was.
        """
        return replace(
            self,
            dims=dims,
            parts=self.parts and parts(self.parts),
            terms=self.terms and self.terms.each(arrays),
            factors=self.factors and self.factors.each(arrays),
            array=arrays(self.array),
            written=self.written and arrays(self.written),
        )

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
