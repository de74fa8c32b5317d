"""A node with bodies on one row of the candidates: what its bodies have to fulfil, and what it reads and gives then.

A body that treats the candidates independently computes each row of its outputs from the same row of what it reads.
This is found by interpreting the body with values that lack the candidates: if all tensors that its outputs need lack
them too, the original body, unchanged, computes on one row what it computes on each of B rows.

Example: the body computes Tanh(x @ W) of x [B, 4], whose rows are the same for all candidates. It is interpreted with
x of the candidates' extent, of which the row (4) is stored. No tensor of x @ W (8) and of its Tanh (8) has an extent B.

A tensor that a body reads by name (a capture) is treated like an input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import onnx

from mari_onnx.analysis.context import Context, Op
from mari_onnx.document.graph_view import Model
from mari_onnx.ir.arrays import fill, mapped, natural, stored_shape
from mari_onnx.ir.axes import Axis, Dims, Refused, flat
from mari_onnx.ir.cost import reachable
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Poly, symbols
from mari_onnx.ir.forms import Array, IndexMap, State, Value


class Walk(Protocol):
    """The part of the interpreter that bodies need."""

    ctx: Context
    values: dict[str, Value]
    model: Model

    def in_place(self, op: Op, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """The outputs of the nodes of a graph, which stand for a node."""

    def body(self, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """The outputs of a body with these inputs. Remarks and findings of the body are dropped."""


def common_row(ctx: Context, op_type: str, values: Iterable[Value]) -> State | Refused:
    """The state of candidates that fits all values: "absent", or one row. Refused if a value has a row for each.

    Refused, too, if no value has an axis of candidates: there is nothing to be had on one row.
    """
    states: set[State] = set()
    for value in values:
        for axis in candidates(ctx, value):
            state = value.array.state(axis)
            if state == "stored" or (isinstance(state, IndexMap) and state.index is not None):
                return Refused(f"{op_type} reads `{value.name}`, which differs from candidate to candidate")
            states.add(state)
    if not states:
        return Refused(f"nothing that {op_type} reads has the axis of candidates")
    return next((s for s in states if isinstance(s, IndexMap)), "absent")


def candidates(ctx: Context, value: Value) -> list[Axis]:
    """The axes of the value whose extent depends on the number of candidates."""
    return [a for a in flat(value.known_dims) if ctx.is_candidate(a)]


def stored(ctx: Context, value: Value) -> Value:
    """The value with all axes but those of candidates written out, since the body reads dimensions by position."""
    axes = [a for a in flat(value.known_dims) if not ctx.is_candidate(a)]
    return value.stored_as(fill(ctx.b, value.array, value.known_dims, axes))


def on_rows(ctx: Context, value: Value, row: State) -> Value:
    """The value with its candidates in the state `row`: through the index map, or absent as before."""
    if not isinstance(row, IndexMap):
        return value
    array = value.array
    for axis in candidates(ctx, value):
        array = mapped(ctx.b, array, value.known_dims, axis, row)
    return value.stored_as(array)


def within(ctx: Context, op: Op, i: str, value: Value, time: int | None) -> Value:
    """The body's input for a value: a new tensor of its shape, without dimension `time` for a scanned input."""
    dims = value.known_dims if time is None else (*value.known_dims[:time], *value.known_dims[time + 1 :])
    layout = tuple(tuple(a for a in d if value.array.state(a) != "absent") for d in dims)
    via = tuple((a, m) for a, m in value.array.via if a in flat(layout))
    tensor = ctx.b.input(f"{op.name}.{i}", stored_shape(layout, via), value.dtype)
    return Value("", dims, value.dtype, Array(tensor, layout, via))


def one_row(ctx: Context, dims: Dims, row: State) -> tuple[Dims, tuple[tuple[Axis, IndexMap], ...]]:
    """The layout and the index maps of a result with these dims whose candidates are in the state `row`."""
    if not isinstance(row, IndexMap):
        return tuple(tuple(a for a in d if not ctx.is_candidate(a)) for d in dims), ()
    return dims, tuple((a, row) for a in flat(dims) if ctx.is_candidate(a))


def on_row(ctx: Context, value: Value) -> Tensor:
    """The value's array at the value's rank: [1, d] of an array (d) of a value [B d]."""
    return natural(ctx.b, value.array, value.known_dims)[0]


def independent(ctx: Context, results: list[Value]) -> bool:
    """Whether no tensor that the results need has an axis of candidates or depends on how many there are."""
    for node in reachable([v.array.tensor for v in results]):
        if node.captures or any(t.shape is None for t in node.outputs):
            return False
        payload = node.payload.flat if node.op_type == "<extents>" else ()
        if any(counts(ctx, e) for e in (*payload, *(e for t in node.outputs for e in t.known_shape))):
            return False
    return True


def counts(ctx: Context, element: object) -> bool:
    """Whether an element of a shape computation depends on the number of candidates."""
    return isinstance(element, Poly) and bool(symbols(element) & ctx.candidates)
