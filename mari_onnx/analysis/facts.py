"""Facts about tensors beside their forms. One rule notes a fact, and the rule of a later node uses it.

Example: `NonZero(mask)` gives the places where a mask is true. Several nodes later, `ScatterND(x, places, u)` writes
rows to these places. The rule of ScatterND finds the mask in `Facts.selections`, and writes Where(mask, u, x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mari_onnx.ir.axes import Axis, Dims, extents
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, product
from mari_onnx.ir.forms import Array, Parts, Value
from mari_onnx.ir.part_by_part import Run


@dataclass(frozen=True)
class Selection:
    """The places where a mask of one dimension is true: `index` [1, rows] is NonZero(mask).

    `within` are the extents of further dimensions; each selected row is listed once for every place in them.
    """

    mask: Value
    index: Tensor
    rows: Extent
    within: tuple[Extent, ...] = ()

    @property
    def shape(self) -> tuple[Extent, Extent]:
        """The shape of the places as Gather and Scatter take them: one place in each row, transposed from NonZero's."""
        return self.rows * product(self.within), 1 + len(self.within)


@dataclass(frozen=True)
class Step:
    """One operator on a column of numbers: Sqrt(v), or with a constant `number` Add(v, number).

    The number is the second operand, or the first one if `first`: Div(1, v).
    """

    op_type: str
    number: float | None = None
    first: bool = False


@dataclass(frozen=True)
class Scaling:
    """Each row is multiplied or divided by one number: the `steps` applied to the row's variance.

    LayerNormalization divides by the steps Add(v, epsilon), Sqrt.
    """

    op_type: Literal["Mul", "Div"]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Normalized:
    """A tensor is `parts`, normalized along the last dimension: centred, scaled, times `scale`, plus `shift`.

    `scale` and `shift` have one number for each column; None leaves that step out.
    """

    parts: Parts
    scaling: Scaling
    scale: Array | None
    shift: Array | None


@dataclass(frozen=True)
class PairProducts:
    """A tensor holds the products of all rows x (..., row, k) with all columns w (..., k, column).

    `price` is that of the whole product. It is `symmetric` if the columns are the rows, as in x @ x'.
    """

    x: Value
    w: Value
    price: float
    symmetric: bool

    @property
    def row(self) -> Axis:
        return self.x.known_dims[-2][0]

    @property
    def column(self) -> Axis:
        return self.w.known_dims[-1][0]

    @property
    def in_parts(self) -> bool:
        """Whether the numbers of rows and of columns are known, and the rows or the columns are in parts."""
        dims = self.x.known_dims[-2], self.w.known_dims[-1]
        if any(len(d) != 1 or not isinstance(d[0].extent, int) for d in dims):
            return False
        parts = (self.x.parts, self.row), (self.w.parts, self.column)
        return any(p is not None and p.axis is axis for p, axis in parts)


Own: TypeAlias = Callable[[Array, Array, Axis, Axis, Axis], Array]
"""A product of two parts along one index: given both, the axis of the rows, and that of the rows or columns of the
right part with that of the matrix."""


@dataclass(frozen=True)
class CutProduct:
    """A tensor is the product x @ w, of which w is in parts along its columns, and x may be in parts along its rows.

    `dims` are those of the product. `run` multiplies two parts, with their axes renamed. The entries of a product of
    rows with rows are `scores` of attention. Those of x (L 1) - y (1 L), row by column, are none. `own` multiplies each
    row of a part of x with the column of the same index, of a part of w.
    """

    x: Value
    w: Value
    dims: Dims
    run: Run
    scores: bool = True
    own: Own | None = None


@dataclass(frozen=True)
class Picked:
    """A tensor holds rows of `source` along `axis`: those at constant `places`, in that order."""

    source: Value
    axis: Axis
    places: tuple[int, ...]


@dataclass(frozen=True)
class MultipliedRows:
    """A tensor holds products, element by element, of rows of `picked.source`: row i times row j for each pair (i, j).

    The places of `picked` are those of the first rows.
    """

    picked: Picked
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class OuterProduct:
    """The `array` holds left * right, element by element; each side has axes that the other lacks."""

    left: Value
    right: Value
    array: Array


@dataclass(frozen=True)
class Affine:
    """A tensor is (a x + c m + k) r + b of columns x (..., n) and their mean m.

    `coefficients` are a ("columns"), c ("mean") and k ("one"), those that are not 0: a sign, and a constant where the
    coefficient is more than that sign. r is one number for each row, its `scaling`, and b is the `shift`; None stands
    for 1 and for 0.
    """

    x: Value
    coefficients: dict[Of, tuple[int, Value | None]]
    scaling: Scaling | None = None
    shift: Value | None = None


@dataclass(frozen=True)
class Squares:
    """A tensor is (x - m)^2 of columns x (..., n) and their mean m."""

    x: Value


@dataclass(frozen=True)
class Spread:
    """A tensor is the `steps` applied to the variance v of columns x (..., n), such as Sqrt(v + epsilon)."""

    x: Value
    steps: tuple[Step, ...] = ()


Of: TypeAlias = Literal["columns", "mean", "one"]
Moments: TypeAlias = Affine | Squares | Spread


@dataclass
class Facts:
    """Facts that rules noted about tensors, for the rules of later nodes.

    Each key is the tensor of a value's array. Nothing is known about a tensor without an entry.
    """

    selections: dict[Tensor, Selection] = field(default_factory=dict)
    """Places where a mask is true (see `rules.mask`)."""

    normalized: dict[Tensor, Normalized] = field(default_factory=dict)
    """Columns that were normalized together (see `rules.normalized`)."""

    moments: dict[Tensor, Moments] = field(default_factory=dict)
    """Steps of a normalization that is written out (see `rules.moments`)."""

    pair_products: dict[Tensor, PairProducts] = field(default_factory=dict)
    """Products of all rows with all columns (see `rules.pairs`)."""

    cut_products: dict[Tensor, CutProduct] = field(default_factory=dict)
    """Products that may be cut into blocks (see `rules.blocks`)."""

    picked: dict[Tensor, Picked] = field(default_factory=dict)
    """Rows that constants select (see `rules.selected`)."""

    assumed: dict[str, list[Tensor]] = field(default_factory=dict)
    """Nodes whose masks are believed because the caller vouches for the size of these scores (see `rules.blocks`)."""

    multiplied: dict[Tensor, MultipliedRows] = field(default_factory=dict)
    """Products of such rows, pair by pair (see `rules.pairs`)."""

    outer_products: dict[Tensor, OuterProduct] = field(default_factory=dict)
    """Products of all pairs of columns of two values (see `rules.outer_products`)."""

    collected: dict[Tensor, Value] = field(default_factory=dict)
    """The tensors of a sequence, one in each turn of a loop, as one tensor [turns, ...] (see `turns`)."""

    def selection(self, places: Value) -> Selection | None:
        """The selection whose places these are, one in each row; None where no mask is known to have given them."""
        found = self.selections.get(places.array.tensor)
        return found if found and places.dims and extents(places.dims) == found.shape else None

    def is_selected(self, axis: Axis) -> bool:
        """Whether the axis holds the rows that a mask selects."""
        return any(axis.extent == selection.rows for selection in self.selections.values())
