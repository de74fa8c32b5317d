"""What is known of a tensor beside its forms: what one rule finds, and another can use several nodes later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from mari_onnx.ir.axes import Axis
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, product
from mari_onnx.ir.forms import Array, Parts, Value


@dataclass(frozen=True)
class Selection:
    """Where a mask of one dimension is true: `index` [1, rows] is NonZero(mask).

    `within` are the extents of further dimensions, of which every place is listed for each of the rows.
    """

    mask: Value
    index: Tensor
    rows: Extent
    within: tuple[Extent, ...] = ()

    @property
    def shape(self) -> tuple[Extent, Extent]:
        """Of the places, transposed as Gather and Scatter want them."""
        return self.rows * product(self.within), 1 + len(self.within)


@dataclass(frozen=True)
class Step:
    """An operator on a column of numbers, and the number that it takes beside them, as its second or its `first`."""

    op_type: str
    number: float | None = None
    first: bool = False


@dataclass(frozen=True)
class Scaling:
    """Rows are multiplied or divided by a number each: what the `steps` make of their variance."""

    op_type: Literal["Mul", "Div"]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Normalized:
    """What was normalized along its last dimension: parts, how, and a scale and shift for each column."""

    parts: Parts
    scaling: Scaling
    scale: Array | None
    shift: Array | None


@dataclass(frozen=True)
class PairProducts:
    """The product of rows x (..., row, k) and columns w (..., k, column), and the price of it as a whole.

    It is `symmetric` if the columns are the rows.
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
        """Whether there are numbers of rows and columns, and some of them are parts."""
        dims = self.x.known_dims[-2], self.w.known_dims[-1]
        if any(len(d) != 1 or not isinstance(d[0].extent, int) for d in dims):
            return False
        parts = (self.x.parts, self.row), (self.w.parts, self.column)
        return any(p is not None and p.axis is axis for p, axis in parts)


@dataclass(frozen=True)
class Picked:
    """Rows of a value along one axis of it, by constants."""

    source: Value
    axis: Axis
    places: tuple[int, ...]


@dataclass(frozen=True)
class Affine:
    """(a x + c m + k) r + b of columns x (..., n), their mean m and a number r for each row that is its `scaling`.

    `coefficients` are a, c and k, those that are not 0: a sign, and a constant where that is not 1 alone.
    """

    x: Value
    coefficients: dict[Of, tuple[int, Value | None]]
    scaling: Scaling | None = None
    shift: Value | None = None


@dataclass(frozen=True)
class Squares:
    """Those of centred columns x (..., n)."""

    x: Value


@dataclass(frozen=True)
class Spread:
    """What the `steps` make of the variance of columns x (..., n)."""

    x: Value
    steps: tuple[Step, ...] = ()


Of: TypeAlias = Literal["columns", "mean", "one"]
Moments: TypeAlias = Affine | Squares | Spread
