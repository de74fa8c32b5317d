"""Nodes on all rows, made of nodes on one row each: those that stand for a loop (see `turns`).

    y[t] = ReduceSum(Gather(table, ids[t]), axis 0)    for each row t of ids [B, L]
    y = ReduceSum(Gather(table, ids), axis 1)          the same for all of them

Axes move by one. Nodes are made once: two that are equal are the same rows.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.analysis.context import INT64
from mari_onnx.analysis.offsets import elements_of
from mari_onnx.ir.axes import extents, new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import Extent, product, symbols
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.operators import OPERATORS, named

TURN, PLACE = "turn:0", "place:0"
"""Symbols: the number of the turn, and a place in its bag. They are no identifiers, so that no extent is named so."""

INTEGERS = frozenset({TensorProto.INT32, INT64})

REDUCTIONS = named(lambda t: t.reduction)


@dataclass(frozen=True)
class Rows:
    """A tensor of which row t, of this shape, belongs to turn t: `name` is [turns, *shape]."""

    name: str
    shape: tuple[Extent, ...]


@dataclass(frozen=True)
class Fixed:
    """A tensor that is the same in each turn, and no integer."""

    name: str
    shape: tuple[Extent, ...]


@dataclass(frozen=True)
class Chosen:
    """Those of the rows [turns, L, ...] where `kept` [turns, L] is true, as many as there are in each turn."""

    rows: Rows
    kept: Rows


class NotTracedError(Exception):
    """A body has something that is not understood; the message says what."""


Operand: TypeAlias = "Rows | Fixed | Value"


def shape_of(v: Operand) -> tuple[Extent, ...]:
    """The shape of an operand in one turn."""
    return extents(v.known_dims) if isinstance(v, Value) else v.shape


def axis_of(node: onnx.NodeProto) -> int:
    """The axis of a Gather."""
    return next((a.i for a in node.attribute if a.name == "axis"), 0)


def is_scalar(v: Operand | Chosen) -> bool:
    """Whether an operand is one number in each turn."""
    return not isinstance(v, Chosen) and shape_of(v) == ()


@dataclass
class AllRows:
    """The nodes so far, and the values that they read beside those of the graph. `taken` are names of the graph."""

    b: Builder
    opset: int
    taken: Container[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    given: dict[str, Value] = field(default_factory=dict)
    _made: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _sums: dict[str, tuple[Rows, list[int], int]] = field(default_factory=dict)

    def number(self, elements: Any, dtype: int) -> Value:
        """Integers or booleans that are known."""
        content = np.asarray(elements, object)
        dims = new_dims(content.shape)
        return Value("", dims, dtype, Array(self.b.extents(content, dtype), dims), content=content)

    def stored(self, tensor: TensorProto) -> Fixed:
        """A constant of floats."""
        key = ("Constant", tensor.SerializeToString())
        return Fixed(self._node("Constant", [], tensor.name or "number", key, value=tensor), tuple(tensor.dims))

    def emit(self, op_type: str, inputs: Sequence[str], like: str, **attributes: Any) -> str:
        """The name of the output of a node, which is called after the tensor `like`."""
        shown = tuple((name, str(value)) for name, value in sorted(attributes.items()))
        return self._node(op_type, inputs, like, (op_type, tuple(inputs), shown), **attributes)

    def _node(self, op_type: str, inputs: Sequence[str], like: str, key: tuple[Any, ...], **attributes: Any) -> str:
        if key not in self._made:
            self._made[key] = name = self._unused(like)
            self.nodes.append(helper.make_node(op_type, list(inputs), [name], **attributes))
        return self._made[key]

    def _unused(self, like: str) -> str:
        name = f"{like}.turns"
        while name in self.taken or name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def integers(self, numbers: Sequence[Extent] | Extent) -> str:
        """The name of a vector of integers, or of one as a scalar."""
        key = ("integers", str(numbers))
        if key not in self._made:
            self._made[key] = name = self._unused("integers")
            self.given[name] = self.number(numbers, INT64).named(name)
        return self._made[key]

    # Operators

    def node(self, node: onnx.NodeProto, read: Sequence[Operand | Chosen], *, alone: bool) -> Rows | Fixed | None:
        """A node of the body that reads rows, on all of them; None where it is not known to treat them apart.

        `alone` says that each element of a row is computed alone, too.
        """
        traits = OPERATORS.get(node.op_type)
        made = None if alone else self._of_whole_rows(node, read)
        if made is not None or any(isinstance(v, Chosen) for v in read):
            return made
        operands = [v for v in read if not isinstance(v, Chosen)]
        if node.op_type == "Identity" and isinstance(operands[0], Rows):
            return operands[0]
        if node.op_type == "CastLike" and not isinstance(operands[0], Rows):  # of the row its type alone matters
            if is_scalar(operands[0]):
                return Fixed(self.emit("CastLike", [self.readable(v) for v in operands], node.output[0]), ())
            return None
        if traits is None or not traits.elementwise or not (traits.broadcasts or len(operands) == 1):
            return None
        return self.elementwise(node, operands)

    def _of_whole_rows(self, node: onnx.NodeProto, read: Sequence[Operand | Chosen]) -> Rows | None:
        """A lookup of rows of ids in a table, a reduction, an Unsqueeze, or a sum that is divided by a count."""
        first, second = read[0], read[1] if len(read) > 1 else None
        like, flags = node.output[0], {a.name: a.i for a in node.attribute}
        if node.op_type == "Gather" and isinstance(first, Value) and isinstance(second, Rows) and not axis_of(node):
            rest = shape_of(first)[1:]
            return Rows(self.emit("Gather", [self.readable(first), second.name], like), (*second.shape, *rest))
        if not isinstance(first, Rows | Chosen):
            return None
        number = elements_of(second) if isinstance(second, Value) else None
        if node.op_type == "Div" and isinstance(first, Rows) and number is not None and number.size == 1:
            return self.mean(first, number.item(), like) if number.ndim <= len(first.shape) else None
        reduces = node.op_type in REDUCTIONS
        if not reduces and node.op_type != "Unsqueeze":
            return None
        axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), [])
        if second is not None:
            if number is None:
                return None
            axes = [int(axis) for axis in number.flat]
        if reduces:
            rank = len((first if isinstance(first, Rows) else first.rows).shape)
            if not axes and flags.get("noop_with_empty_axes"):
                return None
            along = sorted({a % rank for a in axes} or range(rank))
            return self.reduced(node.op_type, first, along, flags.get("keepdims", 1), like)
        return self._unsqueezed(first, axes, like) if isinstance(first, Rows) else None

    def _unsqueezed(self, x: Rows, axes: Sequence[int], like: str) -> Rows:
        rank = len(x.shape) + len(axes)
        new, kept = sorted(a % rank for a in axes), iter(x.shape)
        shape = tuple(1 if i in new else next(kept) for i in range(rank))
        return Rows(self.along("Unsqueeze", x, new, like), shape)

    def elementwise(self, node: onnx.NodeProto, read: Sequence[Operand]) -> Rows:
        """An elementwise node. An operand that is no rows has to broadcast to each row as it did."""
        rank = max(len(v.shape) for v in read if isinstance(v, Rows))
        names, shapes = [], []
        for v in read:
            shape = shape_of(v)
            if len(shape) > rank or (isinstance(v, Rows) and len(shape) < rank):
                raise NotTracedError(f"its body has {node.op_type} of tensors of different ranks")
            names.append(self.readable(v))
            shapes.append(shape)
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        return Rows(self.emit(node.op_type, names, node.output[0], **attributes), broadcast(shapes))

    def readable(self, v: Operand) -> str:
        """The name under which a node reads an operand."""
        if v.name or not isinstance(v, Value):
            return v.name
        counts = {TURN, PLACE} if v.content is None else {s for e in v.content.flat for s in symbols(e)} & {TURN, PLACE}
        if v.content is None or v.dtype != INT64 or counts:
            raise NotTracedError("its body computes with the number of the turn, or with integers other than int64")
        return self.integers(v.content.tolist())

    def along(self, op_type: str, rows: Rows, axes: Sequence[int], like: str, **attributes: int) -> str:
        """A reduction or an Unsqueeze along the axes of each row, which are given as the operator version has them."""
        moved, names = [axis + 1 for axis in axes], [rows.name]
        if self.opset >= OPERATORS[op_type].axes_input_from:
            return self.emit(op_type, [*names, self.integers(moved)], like, **attributes)
        return self.emit(op_type, names, like, axes=moved, **attributes)

    def reduced(self, op_type: str, x: Rows | Chosen, axes: Sequence[int], keep: int, like: str) -> Rows:
        """A reduction of each row."""
        if isinstance(x, Chosen):
            return self._reduced_where(op_type, x, axes, keep, like)
        shape = tuple(1 if i in axes else e for i, e in enumerate(x.shape) if keep or i not in axes)
        rows = Rows(self.along(op_type, x, axes, like, keepdims=keep), shape)
        if op_type == "ReduceSum":
            self._sums[rows.name] = x, list(axes), keep
        return rows

    def mean(self, total: Rows, count: Extent, like: str) -> Rows | None:
        """The mean, in place of a sum that is divided by how many numbers it has. None where it has not so many."""
        if total.name not in self._sums:
            return None
        x, axes, keep = self._sums[total.name]
        if product(x.shape[i] for i in axes) != count:
            return None
        return self.reduced("ReduceMean", x, axes, keep, like)

    def where(self, condition: Rows, x: Operand, y: Operand, like: str) -> Rows:
        """Where, of a condition whose shape is the first dimensions of x and y: it holds for all that is in them."""
        shapes = [shape_of(v) for v in (x, y)]
        shape = broadcast(shapes)
        missing = range(len(condition.shape), len(shape))
        name = self.along("Unsqueeze", condition, missing, condition.name) if missing else condition.name
        return Rows(self.emit("Where", [name, self.readable(x), self.readable(y)], like), shape)

    def count(self, kept: Rows, like: str) -> Rows:
        """How many are kept in each row."""
        numbers = Rows(self.emit("Cast", [kept.name], like, to=INT64), kept.shape)
        return self.reduced("ReduceSum", numbers, [0], 0, like)

    def _reduced_where(self, op_type: str, x: Chosen, axes: Sequence[int], keep: int, like: str) -> Rows:
        """The sum, mean or maximum of what is kept of each row; anything at all where nothing is."""
        neutral = {"ReduceSum": 0.0, "ReduceMean": 0.0, "ReduceMax": -np.inf}
        if op_type not in neutral or list(axes) != [0]:
            raise NotTracedError(f"its body has {op_type} of the entries that it keeps")
        blank = numpy_helper.from_array(np.array(neutral[op_type], np.float32), "blank")
        number = Fixed(self.emit("CastLike", [self.stored(blank).name, x.rows.name], like), ())
        kept = self.where(x.kept, x.rows, number, like)
        if op_type != "ReduceMean":
            return self.reduced(op_type, kept, axes, keep, like)
        total = self.reduced("ReduceSum", kept, axes, keep, like)
        count = self.count(x.kept, like)
        several = self.along("Unsqueeze", count, range(len(total.shape)), like)
        divisor = self.emit("CastLike", [several, total.name], like)
        return Rows(self.emit("Div", [total.name, divisor], like), total.shape)


def broadcast(shapes: Sequence[tuple[Extent, ...]]) -> tuple[Extent, ...]:
    """The shape of an elementwise result."""
    rank = max(map(len, shapes))
    padded = [(*(1,) * (rank - len(shape)), *shape) for shape in shapes]
    return tuple(next((e for e in column if e != 1), 1) for column in zip(*padded, strict=True))
