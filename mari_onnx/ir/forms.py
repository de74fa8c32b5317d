"""A value and its forms.

Every tensor of the original graph is a `Value`. The exporter computed it as one plain tensor. The compiler may know
cheaper forms of it:

    Array   a stored tensor whose axes have names. The value repeats along a named axis that the stored tensor lacks.
            Along an axis that is stored through an index map it repeats as the map says.
    Parts   a concatenation that has not been written out
    Terms   a sum that has not been added up
    Factors a product, element by element, that has not been multiplied out
    Blocks  a matrix that is cut along its rows and its columns

Soundness is one invariant: *every form of a value evaluates to that value, for all legal inputs.*

    user    [B, 4]     Array (4)       B is missing: the same four numbers for each candidate
    item    [B, 3]     Array (B 3)
    x = Concat         Array (B 7), and Parts [(4), (B 3)]
    y = x @ W          Array (B 8), and Terms +(8) +(B 8)

The methods `named`, `with_dims`, `stored_as`, `changed` and `each_form` make another value of a value, and each says
which of the forms it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack

import numpy.typing as npt

from mari_onnx.ir.axes import Axis, Dims, flat
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent


@dataclass(frozen=True)
class IndexMap:
    """Which of the stored rows belongs to each index of an axis.

        index [0 0 1], 2 rows     candidates 0 and 1 have the row of request 0, candidate 2 that of request 1
        no index, 1 row           all have row 0; an empty batch may have no row at all
        `item_rows`               candidate b has row b: the identity map, with no index and all rows

    The identity map changes no row and is a mark. It stands at inputs such as `item_id` [B], whose rows depend on the
    item alone. Values that are computed from such inputs carry the mark on, and can be computed before any request.
    Other values along B, such as a score of the user and the item, do not have it.

    A map is `onto` if it is known that each row is that of some index. Of the rows that a caller sends for several
    requests, some may be no candidate's.
    """

    index: Tensor | None
    rows: Extent
    item_rows: bool = False
    onto: bool = False


State: TypeAlias = IndexMap | str
"""How an array has an axis: "stored" (row for row, also through the identity map), "absent", or by an `IndexMap`."""

Names: TypeAlias = frozenset[tuple[Axis, State]]
"""The axes along which the elements of an array may differ, each with how the array has it."""


@dataclass(frozen=True)
class Array:
    """A stored tensor. `layout[i]` is the ordered product of named axes that its dimension i holds.

    The array ((B L), D) of a tensor [B*L, D] has axis B outside L in its first dimension. The value repeats along its
    axes that the layout lacks. `via` has the axes that are stored through an index map. `price` is what this form costs
    beyond the forms that the value would have without it, in nanoseconds at the reference extents (see `cost`).
    """

    tensor: Tensor
    layout: Dims
    via: tuple[tuple[Axis, IndexMap], ...] = ()
    price: float = 0.0

    def state(self, axis: Axis) -> State:
        """How the array has the axis: "absent" where the value repeats along it."""
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
        """Whether the array is known to depend on the item alone."""
        return any(m.item_rows for _, m in self.via)

    def names(self) -> Names:
        """The axes along which elements may differ, each with how the array has it. Axes of extent 1 are left out.

        Unlike `state`, this tells rows of items apart: (B, "stored") and (B, the identity map) are two entries.
        """
        maps = dict(self.via)
        return frozenset([(a, maps.get(a, "stored")) for d in self.layout for a in d if a.extent != 1])

    def stored_extent(self, axis: Axis) -> Extent:
        """The extent that the axis has in the tensor: 2 for a mapped axis B of which 2 rows are stored."""
        state = self.state(axis)
        return state.rows if isinstance(state, IndexMap) else axis.extent


@dataclass(frozen=True)
class Parts:
    """Pieces along `axis`, in order. Each piece has an axis of its own in the place of `axis`.

    Example: [a b] along D of extent 7 is two pieces, along axes D1 of extent 4 and D2 of extent 3. `apart` is empty or
    has one entry for each piece: another form of the same piece, as terms or factors, or None.
    """

    axis: Axis
    pieces: tuple[tuple[Axis, Array], ...]
    price: float = 0.0
    apart: tuple[Terms | Factors | None, ...] = ()


@dataclass(frozen=True)
class Terms:
    """Summands with their signs; their sum, broadcast, is the value.

    Floating point rounds after each addition, so the order of a sum is part of what the model computes. Where x and the
    mean are large, (x - mean) + shift keeps digits that x + (shift - mean) loses, and (x + C) - C rounds x on purpose.

    Terms are `of_products` if each is a product, a part of one or the own bias of one. These alone may be added in any
    order: a product is rounded at the size of its largest part already. All other terms are for a product that reads
    the sum, as in (q - k) @ W = q @ W - k @ W, and are added in the order of the original. `unbiased` are those
    without any bias.
    """

    signed: tuple[tuple[int, Array], ...]
    price: float = 0.0
    of_products: bool = False
    unbiased: bool = False

    def each(self, change: Callable[[Array], Array]) -> Terms:
        """The sum of the changed summands."""
        return replace(self, signed=tuple((sign, change(array)) for sign, array in self.signed))


@dataclass(frozen=True)
class Factors:
    """Two arrays whose product, broadcast, is the value."""

    left: Array
    right: Array
    price: float = 0.0

    def each(self, change: Callable[[Array], Array]) -> Factors:
        """The product of the changed factors."""
        return replace(self, left=change(self.left), right=change(self.right))


Place: TypeAlias = tuple[int, int]
"""Which row of blocks, and which column."""


@dataclass(frozen=True)
class Blocks:
    """A matrix cut along its axes `row` and `column`: `grid[r][c]` has the rows `rows[r]` and the columns `columns[c]`.

    Example: the scores q k' of 31 tokens of the user, and one of the candidate, are four blocks. That of the user's
    rows and columns (31 31) is the same for all candidates. `row` is None where the matrix is not cut along its rows.

    `diagonals` has the diagonals of some square blocks, along the axis of the block's rows. A block that is `alone` is
    0 off its diagonal, which is all that `grid` has of it.
    """

    row: Axis | None
    column: Axis
    rows: tuple[Axis | None, ...]
    columns: tuple[Axis, ...]
    grid: tuple[tuple[Array, ...], ...]
    price: float = 0.0
    diagonals: tuple[tuple[Place, Array], ...] = ()
    alone: frozenset[Place] = frozenset()

    def around(self, r: int, c: int) -> dict[Axis, tuple[Axis, ...]]:
        """The renaming of the matrix's axes to those of a block."""
        row = self.rows[r]
        return {self.column: (self.columns[c],), **({self.row: (row,)} if self.row and row else {})}

    def on_diagonal(self, r: int) -> dict[Axis, tuple[Axis, ...]]:
        """The renaming of the matrix's axes to those of a diagonal: its columns are its rows."""
        return {self.column: (), **({self.row: (row,)} if self.row and (row := self.rows[r]) else {})}

    def each(self, change: Callable[[Array, int, int], Array]) -> Blocks:
        """The blocks with each array changed; `change` also gets the block's place. Their diagonals are not known."""
        grid = tuple(tuple(change(a, r, c) for c, a in enumerate(line)) for r, line in enumerate(self.grid))
        return replace(self, grid=grid, diagonals=())


Form: TypeAlias = Array | Parts | Terms | Factors | Blocks

F = TypeVar("F", Array, Parts, Terms, Factors, Blocks)


def stores_only(form: Form, axes: Collection[Axis]) -> bool:
    """Whether the form is stored along no other axes than these."""
    match form:
        case Array():
            return all(a in axes for a in flat(form.layout) if a.extent != 1)
        case Parts():
            pieces = zip(form.pieces, form.apart or (None,) * len(form.pieces), strict=True)
            return form.axis in axes and all(
                stores_only(held, {*axes, sub}) for (sub, array), apart in pieces for held in (array, apart) if held
            )
        case Terms():
            return all(stores_only(array, axes) for _, array in form.signed)
        case Factors():
            return stores_only(form.left, axes) and stores_only(form.right, axes)
        case Blocks():
            cut = [a for a in (form.row, form.column) if a is not None]
            return all(a in axes for a in cut) and all(
                stores_only(array, {*axes, *(s for new in form.around(r, c).values() for s in new)})
                for r, line in enumerate(form.grid)
                for c, array in enumerate(line)
            )


@dataclass(frozen=True)
class Stop:
    """A node behind which nothing of a value lacks the candidates, though something of the node's inputs did.

    `tensor` is the name of its result. `reason` completes a sentence that begins with the node: "works along the
    candidates". A node that was `left` as it is stopped the value for want of a rule that holds; any other by what it
    computes.
    """

    tensor: str
    op_type: str
    reason: str
    next_step: str | None = None
    left: bool = False

    def __str__(self) -> str:
        return f"`{self.tensor}` ({self.op_type}) {self.reason}"


class Known(TypedDict, total=False):
    """The keywords of `Value.changed`: the forms of a value, and the facts that are known about its elements."""

    array: Array
    parts: Parts | None
    terms: Terms | None
    factors: Factors | None
    blocks: Blocks | None
    written: Array | None
    content: npt.NDArray[Any] | None
    because: tuple[str, ...]
    stopped: Stop | None


@dataclass(frozen=True)
class Value:
    """A tensor of the original graph: its dims (None where even the rank is unknown) and its forms.

    `array` always exists. `content` has the elements of a small integer or bool tensor, such as exporters compute
    shapes with; each element is an extent, or None where it is unknown. `because` is the chain of reasons why the value
    lacks the candidates, and `stopped` is the node that ended such a chain on the way to the value. `written` is a
    second array, of all rows as the caller sends them: of `user_id` [B], declared as repeated, `array` is row 0 and
    `written` is the input itself. A consumer that needs all B rows takes `written` and does without an Expand of row 0.
    """

    name: str
    dims: Dims | None
    dtype: int
    array: Array
    parts: Parts | None = None
    terms: Terms | None = None
    factors: Factors | None = None
    content: npt.NDArray[Any] | None = field(default=None, compare=False)  # == of two arrays is an array
    because: tuple[str, ...] = ()
    written: Array | None = None
    stopped: Stop | None = None
    blocks: Blocks | None = None

    def forms(self) -> Iterator[tuple[str, Form]]:
        """The forms that the value has, each with its kind, which is the name of its field."""
        forms: tuple[tuple[str, Form | None], ...] = (
            ("array", self.array),
            ("parts", self.parts),
            ("terms", self.terms),
            ("factors", self.factors),
            ("blocks", self.blocks),
            ("written", self.written),
        )
        return ((kind, form) for kind, form in forms if form is not None)

    def named(self, name: str) -> Value:
        """The same value as another tensor of the graph: the output of an Identity."""
        return self if name == self.name else replace(self, name=name)

    def with_dims(self, dims: Dims) -> Value:
        """The same elements under other dims: what Reshape, Transpose, Squeeze and Expand do.

        The axes may stand in other dimensions and in another order. Axes that no form is stored along may be added or
        removed. A form is kept if the new dims have every axis that it is stored along. `content` has the shape of the
        old dims and is dropped.
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
            blocks=kept(self.blocks),
            written=kept(self.written),
            content=None,
        )

    def stored_as(self, array: Array, dims: Dims | None = None) -> Value:
        """A value of which this array is the only form. The array may hold other elements, such as row 0 of this value.

        `dims` are those of the new value; by default they stay. All other forms describe the old elements and are
        dropped.
        """
        dims = self.dims if dims is None else dims
        return Value(self.name, dims, self.dtype, array, because=self.because, stopped=self.stopped)

    def changed(self, **known: Unpack[Known]) -> Value:
        """The same elements with other forms of the given kinds; None drops that kind of form. The other forms stay."""
        same = all(getattr(self, kind) is form for kind, form in known.items())
        return self if same else replace(self, **known)

    def each_form(
        self,
        dims: Dims,
        arrays: Callable[[Array], Array],
        parts: Callable[[Parts], Parts | None],
        blocks: Callable[[Blocks], Blocks | None],
    ) -> Value:
        """The value with other axes in dimensions of the same extents, each of its forms rewritten for that.

        `arrays` rewrites an array that holds the value, a term or a factor. `parts` rewrites all pieces, or returns
        None where the new axes cannot be cut into pieces, and `blocks` does so for blocks. `content` is kept, since the
        shape does not change.
        """
        return replace(
            self,
            dims=dims,
            parts=self.parts and parts(self.parts),
            terms=self.terms and self.terms.each(arrays),
            factors=self.factors and self.factors.each(arrays),
            blocks=self.blocks and blocks(self.blocks),
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
        """Whether all rows along a dimension are known to be the same. Rows that an index selects may differ."""
        states = [self.array.state(a) for a in self.known_dims[position]]
        return all(s == "absent" or (isinstance(s, IndexMap) and s.index is None) for s in states)
