"""What is kept of an input whose rows the caller repeats, and which kept row each candidate has.

FirstRow    row 0                               for every candidate
OneRow      the row, which is sent once         for every candidate
ByIndex     one row a request, sent so          index[b] for candidate b
ByKey       the first row of each distinct key  inverse[b] for candidate b, both by Unique
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from onnx import TensorProto, helper

from mari_onnx.ir.axes import Dims, extents
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import ROW, Extent, product, symbol
from mari_onnx.ir.forms import Array, IndexMap

INT64, STRING = TensorProto.INT64, TensorProto.STRING

INTEGERS = frozenset(
    {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8, TensorProto.UINT16,
     TensorProto.UINT32, TensorProto.UINT64}
)  # fmt: skip
"""Element types of an index."""

KEYS = INTEGERS | {TensorProto.BOOL, STRING}
"""Element types of keys: equal ones are the same, which 0.0 and -0.0 are not."""

Sent = Callable[[str], Tensor]
"""An input as the original takes it, by its name."""


@dataclass(frozen=True)
class Kept:
    """The form that an input has, the tensor that is sent, and the whole value where that is sent."""

    array: Array
    sent: Tensor
    written: Array | None = None
    providers: Mapping[str, tuple[Tensor, int]] = field(default_factory=dict)


class Rows(Protocol):
    """A way in which tiled rows are kept."""

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        """The input `name`, whose value has these dims; the first of them has one axis."""


@dataclass(frozen=True)
class FirstRow:
    """Row 0, or no row in a call without candidates."""

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = sent(name)
        rows = b.first_row(tensor, symbol(ROW))
        rows.name = f"{name}.user"
        array = Array(rows, dims, ((dims[0][0], IndexMap(None, symbol(ROW))),))
        return Kept(array, tensor, Array(tensor, dims), {ROW: (rows, 0)})


FIRST_ROW = FirstRow()


@dataclass(frozen=True)
class OneRow:
    """The row that the caller sends."""

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = b.input(name, (1, *extents(dims[1:])), dtype)
        return Kept(Array(tensor, ((), *dims[1:])), tensor)


@dataclass(frozen=True)
class ByIndex:
    """The rows that the caller sends, `rows` of them; `index` has one entry for each candidate."""

    index: str
    rows: Extent

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = b.input(name, (self.rows, *extents(dims[1:])), dtype)
        index = _column(b, sent(self.index))
        return Kept(Array(tensor, dims, ((dims[0][0], IndexMap(index, self.rows)),)), tensor)


@dataclass(frozen=True)
class ByKey:
    """The first row of each distinct key, `rows` of them. Keys of several columns are compared as a whole."""

    keys: tuple[str, ...]
    rows: Extent

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = sent(name)
        first, inverse = self.distinct(b, sent)
        kept = b.take(tensor, first)
        kept.name = f"{name}.user"
        array = Array(kept, dims, ((dims[0][0], IndexMap(inverse, self.rows)),))
        return Kept(array, tensor, Array(tensor, dims), {str(self.rows): (first, 0)})

    def distinct(self, b: Builder, sent: Sent) -> tuple[Tensor, Tensor]:
        """Where each distinct key comes first, and which of them each candidate has."""
        keys = [sent(key) for key in self.keys]
        if len(keys) == 1 and product(keys[0].known_shape[1:]) == 1:
            return _unique(b, _column(b, keys[0]), self.rows)
        rows = keys[0].known_shape[0]
        tables = [self._table(b, key) for key in keys]
        shape = (rows, sum(int(t.known_shape[1]) for t in tables if isinstance(t.known_shape[1], int)))
        table = tables[0] if len(tables) == 1 else b.make("Concat", tables, shape, axis=1)
        return _unique(b, table, self.rows, axis=0)

    def _table(self, b: Builder, key: Tensor) -> Tensor:
        """The key as [rows, columns] of integers; strings by where they come first among all of them."""
        rows, columns = key.known_shape[0], product(key.known_shape[1:])
        if key.dtype == STRING:
            key = _unique(b, b.reshape(key, (rows * columns,)), symbol(f"{key.name}.distinct"))[1]
        return b.reshape(_integers(b, key), (rows, columns))


def _column(b: Builder, key: Tensor) -> Tensor:
    """[rows] or [rows, 1] as [rows]; integers as int64, which is what Unique and Gather take everywhere."""
    column = b.reshape(key, (key.known_shape[0],))
    return column if column.dtype == STRING else _integers(b, column)


def _integers(b: Builder, t: Tensor) -> Tensor:
    return t if t.dtype == INT64 else b.make("Cast", [t], t.known_shape, INT64, to=INT64)


def _unique(b: Builder, keys: Tensor, rows: Extent, **axis: Any) -> tuple[Tensor, Tensor]:
    """The first occurrence of each distinct key, [rows], and which of them each key is."""
    proto = helper.make_node("Unique", ["keys"], ["mari.keys", "mari.first", "mari.inverse"], sorted=0, **axis)
    shapes = [(rows, *keys.known_shape[1:]), (rows,), (keys.known_shape[0],)]
    _, first, inverse = b.again(proto, [keys], list(zip(shapes, (keys.dtype, INT64, INT64), strict=True)))
    return first, inverse
