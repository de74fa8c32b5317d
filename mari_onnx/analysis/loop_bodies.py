"""Scan and Loop once for the request: a body that treats the candidates independently runs on one row.

    Scan(h (B d), x (L B d))  runs on h (1 d), x (L 1 d) where neither differs from candidate to candidate

That a body treats them independently is found by interpreting it, as the graph around it is: with inputs that lack
the candidates, everything that its outputs need has to come out without them. What holds for any number of candidates
holds for one, so the original body, as it is, computes on one row what it computes on each.

Example: a GRU written as a Scan over the user's history [L, B, d], where the caller repeats the user B times. The state
and the history have one row, the body multiplies them by weights, and nothing in it knows B.

What a body reads by name (a capture) is an input like another: it is read by the name that its one row has.

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
    """What interprets a body."""

    ctx: Context

    def body(self, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """The outputs of a body with these inputs; nothing else is remembered of it."""


def once(walk: Walk, op: Op, captured: Mapping[str, Value]) -> list[Value] | Refused:
    """The node on one row of each of its inputs and of what its body captures."""
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
    """A Scan or Loop node, sorted by the roles of what it reads.

    `control` are the inputs of a Loop that say how often it runs. `values` are its states, its scanned inputs, and the
    captures whose candidates matter, by their names in `read`; `captured` are all captures.
    """

    ctx: Context
    op: Op
    control: Sequence[Value]
    values: Sequence[Value]
    read: Sequence[str]
    captured: Mapping[str, Value]

    @property
    def states(self) -> int:
        """How many states it has: the first of `values`."""
        return self.own - self.scanned

    @property
    def own(self) -> int:
        """How many of `values` are inputs of the node: its states and scanned inputs."""
        return len(self.values) - len(self.read)

    @property
    def scanned(self) -> int:
        return int(self.op.attribute("num_scan_inputs", 0))

    @property
    def time_axes(self) -> list[int | None]:
        """For each of `values` the dimension that is time, which the body does not see; None where it has none."""
        given = self.op.attribute("scan_input_axes", [0] * self.scanned)
        scanned = self.values[self.states : self.own]
        of_scanned = [axis % len(v.known_dims) for axis, v in zip(given, scanned, strict=True)]
        return [None] * self.states + of_scanned + [None] * len(self.read)

    def on_rows(self, row: State) -> _LoopNode:
        """The same node, whose values all have the candidates in the same way."""
        return replace(self, values=[_on_rows(self.ctx, v, row) for v in self.values])


def _loop(ctx: Context, op: Op, captured: Mapping[str, Value]) -> _LoopNode | Refused:
    """The node by roles; refused where a rank is not known, or where it counts the candidates."""
    given = [v for v in op.inputs if v is not None]
    if len(given) < len(op.inputs) or any(v.dims is None for v in (*given, *captured.values())):
        return Refused(f"{op.op_type} with inputs that are left out, or of unknown rank")
    if op.op_type == "Scan" and op.opset < FIRST_WITHOUT_BATCH:
        return Refused("Scan with a batch, as before opset 9")
    first = 0 if op.op_type == "Scan" else 2
    control = given[:first]
    read = {name: v for name, v in captured.items() if _candidates(ctx, v)}
    counted = [e for v in (*control, *captured.values()) if v.content is not None for e in v.content.flat]
    if any(_candidates(ctx, v) for v in control) or any(_counts(ctx, e) for e in counted):
        return Refused(f"the body of {op.op_type} counts the candidates")
    loop = _LoopNode(ctx, op, control, [*given[first:], *read.values()], list(read), captured)
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
    """How all values have the candidates: not at all, or as one row; refused where one has a row for each."""
    states = {v.array.state(a) for v in loop.values for a in _candidates(loop.ctx, v)}
    if not states or any(s == "stored" or (isinstance(s, IndexMap) and s.index is not None) for s in states):
        return Refused(f"an input of {loop.op.op_type} differs from candidate to candidate")
    return next((s for s in states if isinstance(s, IndexMap)), "absent")


def _results_of_one_row(walk: Walk, loop: _LoopNode) -> list[Value] | Refused:
    """What the body makes of one row: the states after a step, and what it puts out in each step.

    Refused where that depends on the candidates, or is not one shape in all steps.
    """
    ctx, op, graph = loop.ctx, loop.op, loop.op.attribute("body")
    inputs = [
        _within(ctx, op, str(i), v, time) for i, (v, time) in enumerate(zip(loop.values, loop.time_axes, strict=True))
    ]
    first = len(loop.control)
    names = [*(i.name for i in graph.input[first:]), *loop.read]
    known = {n: v.named(n) for n, v in zip(names, inputs, strict=True)} | _control(loop)
    results = walk.body(graph, known)
    if any(v.dims is None for v in results) or not _independent(ctx, results):  # whether to go on is one of them
        return Refused(f"the body of {op.op_type} is not known to treat candidates independently")
    results = results[first // 2 :]
    before = inputs[: loop.states]
    if any(extents(v.known_dims) != extents(s.known_dims) for v, s in zip(results, before, strict=False)):
        return Refused(f"a state of {op.op_type} changes its shape")
    if len(results) > loop.states and op.attribute("scan_output_axes"):
        return Refused(f"{op.op_type} with outputs along other axes than the first")
    return results


def _control(loop: _LoopNode) -> dict[str, Value]:
    """What the body of a Loop is told beside its states: the number of the iteration, and whether to go on."""
    known: dict[str, Value] = {}
    dtypes = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)[: len(loop.control)]
    for info, dtype in zip(loop.op.attribute("body").input, dtypes, strict=False):
        tensor = loop.ctx.b.input(f"{loop.op.name}.{info.name}", (), dtype)
        known[info.name] = Value(info.name, (), dtype, Array(tensor, ()))
    return known


def _written(loop: _LoopNode, results: Sequence[Value], row: State) -> list[Value]:
    """The original node, reading one row of everything, and its outputs.

    A Loop puts out as many steps as it runs, which has a name of its own.
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
    """The dims of the states at the end, and of what is put out in each step, which has time as its first dimension."""
    states = loop.states
    if steps:
        lengths = [dim(symbol(name), name) for name in steps]
    else:
        times = [(v, time) for v, time in zip(loop.values, loop.time_axes, strict=True) if time is not None]
        lengths = [v.known_dims[time] for v, time in times[:1]]
    of_steps = [(length, *v.known_dims) for length, v in zip(cycle(lengths), results[states:], strict=False)]
    return [*(v.known_dims for v in loop.values[:states]), *of_steps]


def _tensor(ctx: Context, value: Value) -> Tensor:
    """The value at its own rank, on the rows that it has."""
    return natural(ctx.b, value.array, value.known_dims)[0]


def _candidates(ctx: Context, value: Value) -> list[Axis]:
    """The axes of the value whose extent depends on the number of candidates."""
    return [a for a in flat(value.known_dims) if ctx.is_candidate(a)]


def _stored(ctx: Context, value: Value) -> Value:
    """The value with all axes but those of candidates written out, as a body reads them by position."""
    axes = [a for a in flat(value.known_dims) if not ctx.is_candidate(a)]
    return value.stored_as(fill(ctx.b, value.array, value.known_dims, axes))


def _on_rows(ctx: Context, value: Value, row: State) -> Value:
    """The value with a row of candidates as the others have it: through the same map, or not at all."""
    if not isinstance(row, IndexMap):
        return value
    array = value.array
    for axis in _candidates(ctx, value):
        array = mapped(ctx.b, array, value.known_dims, axis, row)
    return value.stored_as(array)


def _within(ctx: Context, op: Op, i: str, value: Value, time: int | None) -> Value:
    """What the body sees of an input: a tensor like it, for a scanned one without its dimension of time."""
    dims = value.known_dims if time is None else (*value.known_dims[:time], *value.known_dims[time + 1 :])
    layout = tuple(tuple(a for a in d if value.array.state(a) != "absent") for d in dims)
    via = tuple((a, m) for a, m in value.array.via if a in flat(layout))
    tensor = ctx.b.input(f"{op.name}.{i}", stored_shape(layout, via), value.dtype)
    return Value("", dims, value.dtype, Array(tensor, layout, via))


def _one_row(ctx: Context, dims: Dims, row: State) -> tuple[Dims, tuple[tuple[Axis, IndexMap], ...]]:
    """How a result with these dims is stored: its layout, and the maps of its axes."""
    if not isinstance(row, IndexMap):
        return tuple(tuple(a for a in d if not ctx.is_candidate(a)) for d in dims), ()
    return dims, tuple((a, row) for a in flat(dims) if ctx.is_candidate(a))


def _independent(ctx: Context, results: list[Value]) -> bool:
    """Whether nothing that the results need has candidates, or knows how many there are."""
    for node in reachable([v.array.tensor for v in results]):
        if node.captures or any(t.shape is None for t in node.outputs):
            return False
        payload = node.payload.flat if node.op_type == "<extents>" else ()
        if any(_counts(ctx, e) for e in (*payload, *(e for t in node.outputs for e in t.known_shape))):
            return False
    return True


def _counts(ctx: Context, element: object) -> bool:
    """Whether a number is computed from the number of candidates."""
    return isinstance(element, Poly) and bool(symbols(element) & ctx.candidates)
