"""Scan and Loop on one row: if no input differs from candidate to candidate, the loop runs once for the request.

    Scan(h (B d), x (L B d))  runs on h (1 d), x (L 1 d) where neither differs from candidate to candidate

The body has to treat the candidates independently. This is found by interpreting the body with inputs that lack the
candidates: if all tensors that its outputs need lack them too, each row of the outputs depends on the same row of the
inputs alone. The original body, unchanged, then computes on one row what it computes on each of B rows.

Example: a GRU written as a Scan over the user's history [L, B, d], where the caller repeats the user B times. The state
and the history have one row, the body multiplies them by weights, and no tensor in it has an extent B.

A tensor that a body reads by name (a capture) is treated like an input.

Holds when each state keeps its shape, and when the steps are not the candidates: a prefix sum over rows that are equal
differs from row to row. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Protocol

import onnx

from mari_onnx.analysis.context import Context, Op
from mari_onnx.ir.arrays import fill, mapped, natural, plain, stored_shape
from mari_onnx.ir.axes import Axis, Dims, Refused, dim, extents, flat
from mari_onnx.ir.cost import reachable
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Poly, symbol, symbols
from mari_onnx.ir.forms import Array, IndexMap, State, Value

FIRST_WITHOUT_BATCH = 9
"""The opset from which Scan has no batch, and no input of lengths."""


class Walk(Protocol):
    """The part of the interpreter that this module needs."""

    ctx: Context

    def body(self, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """The outputs of a body with these inputs. Remarks and findings of the body are dropped."""


def loop_on_one_row(walk: Walk, op: Op, captured: Mapping[str, Value]) -> list[Value] | Refused:
    """The node on one row of each of its inputs and captures.

    Refused where an input differs from candidate to candidate, and where the body may mix rows of candidates.
    """
    loop = _loop(walk.ctx, op, captured)
    if isinstance(loop, Refused):
        return loop
    row = _common_row(loop)
    if isinstance(row, Refused):
        return row
    loop = loop.on_rows(row)
    results = _results_of_one_row(walk, loop)
    return results if isinstance(results, Refused) else _written(loop, results, row)


@dataclass(frozen=True)
class _LoopNode:
    """A Scan or Loop node with its inputs by role.

    `control` are the first two inputs of a Loop: how often it runs, and whether it starts. `values` are the states,
    then the scanned inputs, then the captures that have an axis of candidates, whose names are in `read`. `captured`
    are all captures.
    """

    ctx: Context
    op: Op
    control: Sequence[Value]
    values: Sequence[Value]
    read: Sequence[str]
    captured: Mapping[str, Value]

    @property
    def states(self) -> int:
        """The number of states."""
        return self.own - self.scanned

    @property
    def own(self) -> int:
        """The number of states and scanned inputs: those of `values` that are inputs of the node."""
        return len(self.values) - len(self.read)

    @property
    def scanned(self) -> int:
        return int(self.op.attribute("num_scan_inputs", 0))

    @property
    def time_axes(self) -> list[int | None]:
        """For each of `values` the position of the dimension that the loop runs over; None where it has none."""
        given = self.op.attribute("scan_input_axes", [0] * self.scanned)
        scanned = self.values[self.states : self.own]
        of_scanned = [axis % len(v.known_dims) for axis, v in zip(given, scanned, strict=True)]
        return [None] * self.states + of_scanned + [None] * len(self.read)

    def on_rows(self, row: State) -> _LoopNode:
        """The same node with all values having their candidates in the state `row`."""
        return replace(self, values=[_on_rows(self.ctx, v, row) for v in self.values])


def _loop(ctx: Context, op: Op, captured: Mapping[str, Value]) -> _LoopNode | Refused:
    """The node with its inputs by role. Refused where a rank is unknown, or a number depends on the candidates."""
    inputs = [v for v in op.inputs if v is not None]
    if len(inputs) < len(op.inputs) or any(v.dims is None for v in (*inputs, *captured.values())):
        return Refused(f"{op.op_type} with inputs that are left out, or of unknown rank")
    if op.op_type == "Scan" and op.opset < FIRST_WITHOUT_BATCH:
        return Refused("Scan with a batch, as before opset 9")
    first = 0 if op.op_type == "Scan" else 2
    control = inputs[:first]
    read = {name: v for name, v in captured.items() if _candidates(ctx, v)}
    counted = [e for v in (*control, *captured.values()) if v.content is not None for e in v.content.flat]
    if any(_candidates(ctx, v) for v in control) or any(_counts(ctx, e) for e in counted):
        return Refused(f"the body of {op.op_type} counts the candidates")
    loop = _LoopNode(ctx, op, control, [*inputs[first:], *read.values()], list(read), captured)
    over = _over_candidates(loop)
    return over or replace(loop, values=[_stored(ctx, v) for v in loop.values])


def _over_candidates(loop: _LoopNode) -> Refused | None:
    """Refused where a scanned input has the candidates in its dimension of time, alone or merged with another axis."""
    for value, time in zip(loop.values, loop.time_axes, strict=True):
        if time is not None and any(loop.ctx.is_candidate(a) for a in value.known_dims[time]):
            return Refused(
                f"{loop.op.op_type} goes over the candidates: they are the steps of its input `{value.name}`",
                "each candidate's result depends on those before it; if it should not, scan along another axis",
            )
    return None


def _common_row(loop: _LoopNode) -> State | Refused:
    """The state of candidates that fits all values: "absent", or one row. Refused if a value has a row for each."""
    states = {v.array.state(a) for v in loop.values for a in _candidates(loop.ctx, v)}
    if not states or any(s == "stored" or (isinstance(s, IndexMap) and s.index is not None) for s in states):
        return Refused(f"an input of {loop.op.op_type} differs from candidate to candidate")
    return next((s for s in states if isinstance(s, IndexMap)), "absent")


def _results_of_one_row(walk: Walk, loop: _LoopNode) -> list[Value] | Refused:
    """The outputs of the body for one row: the states after a step, then the scan outputs of a step.

    Refused where one of them depends on the candidates, or where a state changes its shape from step to step.
    """
    ctx, op, graph = loop.ctx, loop.op, loop.op.attribute("body")
    inputs = [
        _within(ctx, op, str(i), v, time) for i, (v, time) in enumerate(zip(loop.values, loop.time_axes, strict=True))
    ]
    first = len(loop.control)
    names = [*(i.name for i in graph.input[first:]), *loop.read]
    known = {n: v.named(n) for n, v in zip(names, inputs, strict=True)} | _control(loop)
    results = walk.body(graph, known)
    if any(v.dims is None for v in results) or not _independent(ctx, results):  # the condition of a Loop is one of them
        return Refused(f"the body of {op.op_type} is not known to treat candidates independently")
    results = results[first // 2 :]
    before = inputs[: loop.states]
    if any(extents(v.known_dims) != extents(s.known_dims) for v, s in zip(results, before, strict=False)):
        return Refused(f"a state of {op.op_type} changes its shape")
    if len(results) > loop.states and op.attribute("scan_output_axes"):
        return Refused(f"{op.op_type} with outputs along other axes than the first")
    return results


def _control(loop: _LoopNode) -> dict[str, Value]:
    """The first two inputs of the body of a Loop: the number of the iteration, and the condition. Scan has none."""
    known: dict[str, Value] = {}
    dtypes = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)[: len(loop.control)]
    for info, dtype in zip(loop.op.attribute("body").input, dtypes, strict=False):
        tensor = loop.ctx.b.input(f"{loop.op.name}.{info.name}", (), dtype)
        known[info.name] = Value(info.name, (), dtype, Array(tensor, ()))
    return known


def _written(loop: _LoopNode, results: Sequence[Value], row: State) -> list[Value]:
    """The outputs of the original node on one row of each input.

    The number of steps of a Loop is not known before it runs: each of its scan outputs has a new symbol for it.
    """
    ctx, op, values = loop.ctx, loop.op, loop.values
    outputs = op.proto.output[loop.states :]
    steps = [f"{name or op.name}.0" for name in outputs] if op.op_type == "Loop" else []
    dims = _output_dims(loop, results, steps)
    arrays = [_one_row(ctx, d, row) for d in dims]
    tensors = [*(plain(ctx.b, v) for v in loop.control), *(_tensor(ctx, v) for v in values[: loop.own])]
    on_rows = {name: _tensor(ctx, v) for name, v in zip(loop.read, values[loop.own :], strict=True)}
    captures = [(name, on_rows[name] if name in on_rows else plain(ctx.b, v)) for name, v in loop.captured.items()]
    shapes = [(stored_shape(layout, via), v.dtype) for (layout, via), v in zip(arrays, results, strict=True)]
    made = ctx.b.again(op.proto, tensors, shapes, captures)
    for name, t in zip(steps, made[loop.states :], strict=False):
        ctx.providers.setdefault(name, (t, 0))
    return [
        ctx.result(op, d, Array(t, *array), dtype=t.dtype, output=i)
        for i, (d, t, array) in enumerate(zip(dims, made, arrays, strict=True))
    ]


def _output_dims(loop: _LoopNode, results: Sequence[Value], steps: Sequence[str]) -> list[Dims]:
    """The dims of the final states, and of the scan outputs, whose first dimension counts steps."""
    states = loop.states
    if steps:
        lengths = [dim(symbol(name), name) for name in steps]
    else:
        times = [(v, time) for v, time in zip(loop.values, loop.time_axes, strict=True) if time is not None]
        lengths = [v.known_dims[time] for v, time in times[:1]]
    of_steps = [(length, *v.known_dims) for length, v in zip(cycle(lengths), results[states:], strict=False)]
    return [*(v.known_dims for v in loop.values[:states]), *of_steps]


def _tensor(ctx: Context, value: Value) -> Tensor:
    """The value's array at the value's rank: [1, d] of an array (d) of a value [B d]."""
    return natural(ctx.b, value.array, value.known_dims)[0]


def _candidates(ctx: Context, value: Value) -> list[Axis]:
    """The axes of the value whose extent depends on the number of candidates."""
    return [a for a in flat(value.known_dims) if ctx.is_candidate(a)]


def _stored(ctx: Context, value: Value) -> Value:
    """The value with all axes but those of candidates written out, since the body reads dimensions by position."""
    axes = [a for a in flat(value.known_dims) if not ctx.is_candidate(a)]
    return value.stored_as(fill(ctx.b, value.array, value.known_dims, axes))


def _on_rows(ctx: Context, value: Value, row: State) -> Value:
    """The value with its candidates in the state `row`: through the index map, or absent as before."""
    if not isinstance(row, IndexMap):
        return value
    array = value.array
    for axis in _candidates(ctx, value):
        array = mapped(ctx.b, array, value.known_dims, axis, row)
    return value.stored_as(array)


def _within(ctx: Context, op: Op, i: str, value: Value, time: int | None) -> Value:
    """The body's input for a value: a new tensor of its shape, without dimension `time` for a scanned input."""
    dims = value.known_dims if time is None else (*value.known_dims[:time], *value.known_dims[time + 1 :])
    layout = tuple(tuple(a for a in d if value.array.state(a) != "absent") for d in dims)
    via = tuple((a, m) for a, m in value.array.via if a in flat(layout))
    tensor = ctx.b.input(f"{op.name}.{i}", stored_shape(layout, via), value.dtype)
    return Value("", dims, value.dtype, Array(tensor, layout, via))


def _one_row(ctx: Context, dims: Dims, row: State) -> tuple[Dims, tuple[tuple[Axis, IndexMap], ...]]:
    """The layout and the index maps of a result with these dims whose candidates are in the state `row`."""
    if not isinstance(row, IndexMap):
        return tuple(tuple(a for a in d if not ctx.is_candidate(a)) for d in dims), ()
    return dims, tuple((a, row) for a in flat(dims) if ctx.is_candidate(a))


def _independent(ctx: Context, results: list[Value]) -> bool:
    """Whether no tensor that the results need has an axis of candidates or depends on how many there are."""
    for node in reachable([v.array.tensor for v in results]):
        if node.captures or any(t.shape is None for t in node.outputs):
            return False
        payload = node.payload.flat if node.op_type == "<extents>" else ()
        if any(_counts(ctx, e) for e in (*payload, *(e for t in node.outputs for e in t.known_shape))):
            return False
    return True


def _counts(ctx: Context, element: object) -> bool:
    """Whether an element of a shape computation depends on the number of candidates."""
    return isinstance(element, Poly) and bool(symbols(element) & ctx.candidates)
