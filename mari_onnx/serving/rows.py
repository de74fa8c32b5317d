"""Which rows are kept of an input whose rows the caller of the original repeats, and which of them a candidate has.

          kept rows                           row of candidate b
FirstRow  row 0                               0
OneRow    the one row that the caller sends   0
ByIndex   the requests' rows, as sent         index[b]
ByKey     the first row of each distinct key  inverse[b], computed by Unique
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
"""Element types of keys. Floats are excluded: 0.0 and -0.0 are equal and not the same."""

Sent = Callable[[str], Tensor]
"""Gives the tensor of an input as the original takes it, by the input's name."""


@dataclass(frozen=True)
class Kept:
    """The forms of a tiled input.

    `array` has the kept rows, and `sent` is the input of the written model. `written` has all rows, if the caller sends
    them. `providers` says where new symbols can be read from (see `Context.providers`).
    """

    array: Array
    sent: Tensor
    written: Array | None = None
    providers: Mapping[str, tuple[Tensor, int]] = field(default_factory=dict)


class Rows(Protocol):
    """A way to keep rows of tiled inputs."""

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        """The forms of input `name`, whose value has these dims. The first dimension has one axis."""


@dataclass(frozen=True)
class FirstRow:
    """Row 0 is kept; there is none in a call without candidates."""

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = sent(name)
        rows = b.first_row(tensor, symbol(ROW))
        rows.name = f"{name}.user"
        array = Array(rows, dims, ((dims[0][0], IndexMap(None, symbol(ROW))),))
        return Kept(array, tensor, Array(tensor, dims), {ROW: (rows, 0)})


FIRST_ROW = FirstRow()


@dataclass(frozen=True)
class OneRow:
    """The caller sends one row."""

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = b.input(name, (1, *extents(dims[1:])), dtype)
        return Kept(Array(tensor, ((), *dims[1:])), tensor)


@dataclass(frozen=True)
class ByIndex:
    """The caller sends `rows` rows. The input `index` has one entry for each candidate."""

    index: str
    rows: Extent

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = b.input(name, (self.rows, *extents(dims[1:])), dtype)
        index = _column(b, sent(self.index))
        return Kept(Array(tensor, dims, ((dims[0][0], IndexMap(index, self.rows)),)), tensor)


@dataclass(frozen=True)
class ByKey:
    """The first row of each distinct key is kept; `rows` is their number. Several keys are compared as one."""

    keys: tuple[str, ...]
    rows: Extent

    def keep(self, b: Builder, name: str, dims: Dims, dtype: int, sent: Sent) -> Kept:
        tensor = sent(name)
        first, inverse = self.distinct(b, sent)
        kept = b.take(tensor, first)
        kept.name = f"{name}.user"
        array = Array(kept, dims, ((dims[0][0], IndexMap(inverse, self.rows, onto=True)),))
        return Kept(array, tensor, Array(tensor, dims), {str(self.rows): (first, 0)})

    def distinct(self, b: Builder, sent: Sent) -> tuple[Tensor, Tensor]:
        """The first position of each distinct key, and for each candidate the number of its key."""
        keys = [sent(key) for key in self.keys]
        if len(keys) == 1 and product(keys[0].known_shape[1:]) == 1:
            return _unique(b, _column(b, keys[0]), self.rows)
        rows = keys[0].known_shape[0]
        tables = [self._table(b, key) for key in keys]
        shape = (rows, sum(int(t.known_shape[1]) for t in tables if isinstance(t.known_shape[1], int)))
        table = tables[0] if len(tables) == 1 else b.make("Concat", tables, shape, axis=1)
        return _unique(b, table, self.rows, axis=0)

    def _table(self, b: Builder, key: Tensor) -> Tensor:
        """The key as [rows, columns] of integers. A string becomes the number of its first occurrence."""
        rows, columns = key.known_shape[0], product(key.known_shape[1:])
        if key.dtype == STRING:
            key = _unique(b, b.reshape(key, (rows * columns,)), symbol(f"{key.name}.distinct"))[1]
        return b.reshape(_integers(b, key), (rows, columns))


def _column(b: Builder, key: Tensor) -> Tensor:
    """A key [rows] or [rows, 1] as [rows]. Integers become int64, which Unique and Gather take everywhere."""
    column = b.reshape(key, (key.known_shape[0],))
    return column if column.dtype == STRING else _integers(b, column)


def _integers(b: Builder, t: Tensor) -> Tensor:
    return t if t.dtype == INT64 else b.make("Cast", [t], t.known_shape, INT64, to=INT64)


def _unique(b: Builder, keys: Tensor, rows: Extent, **axis: Any) -> tuple[Tensor, Tensor]:
    """The position of the first occurrence of each distinct key, [rows], and the number of each key among them."""
    proto = helper.make_node("Unique", ["keys"], ["mari.keys", "mari.first", "mari.inverse"], sorted=0, **axis)
    shapes = [(rows, *keys.known_shape[1:]), (rows,), (keys.known_shape[0],)]
    _, first, inverse = b.again(proto, [keys], list(zip(shapes, (keys.dtype, INT64, INT64), strict=True)))
    return first, inverse
