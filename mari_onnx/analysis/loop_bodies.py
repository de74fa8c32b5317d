"""Scan and Loop on one row: if no input differs from candidate to candidate, the loop runs once for the request.

A Loop over rows, such as that of an EmbeddingBag, is not run at all: nodes on all rows stand for it (see `turns`).

    Scan(h (B d), x (L B d))  runs on h (1 d), x (L 1 d) where neither differs from candidate to candidate

The body has to treat the candidates independently (see `one_row`).

Example: a GRU written as a Scan over the user's history [L, B, d], where the caller repeats the user B times. The state
and the history have one row, the body multiplies them by weights, and no tensor in it has an extent B.

Holds when each state keeps its shape, and when the steps are not the candidates: a prefix sum over rows that are equal
differs from row to row. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import onnx

from mari_onnx.analysis.all_rows import Rows
from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.one_row import (
    Walk,
    candidates,
    common_row,
    counts,
    independent,
    on_row,
    on_rows,
    one_row,
    stored,
    within,
)
from mari_onnx.analysis.turns import AllTurns, Collected, all_turns
from mari_onnx.ir.arrays import plain, stored_shape
from mari_onnx.ir.axes import Dims, Refused, dim, extents, needed_equal
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.forms import Array, State, Value

FIRST_WITHOUT_BATCH = 9
"""The opset from which Scan has no batch, and no input of lengths."""


def loop_on_one_row(walk: Walk, op: Op, captured: Mapping[str, Value]) -> list[Value] | Refused:
    """The node on one row of each of its inputs and captures.

    Refused where an input differs from candidate to candidate, and where the body may mix rows of candidates.
    """
    if op.op_type == "Loop":
        turns = all_turns(walk.ctx, op, walk.values, walk.model.producers)
        if isinstance(turns, AllTurns):
            return _of_all_turns(walk, op, turns, captured)
        if turns is not None:
            return turns
    loop = _loop(walk.ctx, op, captured)
    if isinstance(loop, Refused):
        return loop
    row = common_row(walk.ctx, op.op_type, loop.values)
    if isinstance(row, Refused):
        return row
    loop = loop.with_rows(row)
    results = _results_of_one_row(walk, loop)
    return results if isinstance(results, Refused) else _written(loop, results, row)


def _of_all_turns(walk: Walk, op: Op, turns: AllTurns, captured: Mapping[str, Value]) -> list[Value]:
    """The outputs of a loop by the nodes that stand for all of its turns.

    Their tensors are no tensors of the original, so that the loop is what they are said to come from.
    """
    rows = [each.added if isinstance(each, Collected) else each for each in turns.outputs]
    names = [each.name for each in rows if isinstance(each, Rows)]
    graph = onnx.GraphProto(node=turns.nodes.nodes, output=[onnx.ValueInfoProto(name=name) for name in names])
    found = iter(walk.in_place(op, graph, turns.nodes.given))
    made = {name for node in graph.node for name in node.output}
    origins = {t: origin for t, origin in walk.ctx.origins.items() if origin.value in made}
    walk.ctx.origins.update((t, replace(o, value=op.name, form=t.op_type, rule="turns")) for t, o in origins.items())
    values: list[Value] = []
    for each, name in zip(turns.outputs, op.proto.output, strict=True):
        value = each if isinstance(each, Value) else next(found)
        if isinstance(each, Collected):
            value = _sequence(walk, op, value, captured, len(values))
        values.append(value.named(name))
    return values


def _sequence(walk: Walk, op: Op, rows: Value, captured: Mapping[str, Value], position: int) -> Value:
    """A sequence that the loop makes: the original's, with the note that these rows are its tensors."""
    b = walk.ctx.b
    inputs = [None if v is None else plain(b, v) for v in op.inputs]
    read = [(name, plain(b, v)) for name, v in captured.items()]
    made = b.again(op.proto, inputs, [(None, 0)] * len(op.proto.output), read)
    walk.ctx.facts.collected[made[position]] = rows
    return Value("", None, 0, Array(made[position], ()))


def look_into_bodies(walk: Walk, op: Op, captured: Mapping[str, Value]) -> None:
    """Interpret the bodies of a node with what they read as it is, to find which axes they need to be equal."""
    if op.op_type == "If":
        for name in ("then_branch", "else_branch"):
            walk.body(op.attribute(name), {})
    elif not isinstance(loop := _loop(walk.ctx, op, captured), Refused):
        _results_of_one_row(walk, loop)


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

    def with_rows(self, row: State) -> _LoopNode:
        """The same node with all values having their candidates in the state `row`."""
        return replace(self, values=[on_rows(self.ctx, v, row) for v in self.values])


def _loop(ctx: Context, op: Op, captured: Mapping[str, Value]) -> _LoopNode | Refused:
    """The node with its inputs by role. Refused where a rank is unknown, or a number depends on the candidates."""
    inputs = [v for v in op.inputs if v is not None]
    if len(inputs) < len(op.inputs) or any(v.dims is None for v in (*inputs, *captured.values())):
        return Refused(f"{op.op_type} with inputs that are left out, or of unknown rank")
    if op.op_type == "Scan" and op.opset < FIRST_WITHOUT_BATCH:
        return Refused("Scan with a batch, as before opset 9")
    first = 0 if op.op_type == "Scan" else 2
    control = inputs[:first]
    read = {name: v for name, v in captured.items() if candidates(ctx, v)}
    counted = [e for v in (*control, *captured.values()) if v.content is not None for e in v.content.flat]
    if any(candidates(ctx, v) for v in control) or any(counts(ctx, e) for e in counted):
        return Refused(f"the body of {op.op_type} counts the candidates")
    loop = _LoopNode(ctx, op, control, [*inputs[first:], *read.values()], list(read), captured)
    over = _over_candidates(loop)
    return over or replace(loop, values=[stored(ctx, v) for v in loop.values])


def _over_candidates(loop: _LoopNode) -> Refused | None:
    """Refused where a scanned input has the candidates in its dimension of time, alone or merged with another axis."""
    for value, time in zip(loop.values, loop.time_axes, strict=True):
        if time is not None and any(loop.ctx.is_candidate(a) for a in value.known_dims[time]):
            return Refused(
                f"{loop.op.op_type} goes over the candidates: they are the steps of its input `{value.name}`",
                "each candidate's result depends on those before it; if it should not, scan along another axis",
            )
    return None


def _results_of_one_row(walk: Walk, loop: _LoopNode) -> list[Value] | Refused:
    """The outputs of the body for one row: the states after a step, then the scan outputs of a step.

    Refused where one of them depends on the candidates, or where a state changes its shape from step to step.
    """
    ctx, op, graph = loop.ctx, loop.op, loop.op.attribute("body")
    inputs = [
        within(ctx, op, str(i), v, time) for i, (v, time) in enumerate(zip(loop.values, loop.time_axes, strict=True))
    ]
    first = len(loop.control)
    names = [*(i.name for i in graph.input[first:]), *loop.read]
    known = {n: v.named(n) for n, v in zip(names, inputs, strict=True)} | _control(loop)
    results = walk.body(graph, known)
    if any(v.dims is None for v in results) or not independent(ctx, results):  # the condition of a Loop is one of them
        return Refused(f"the body of {op.op_type} is not known to treat candidates independently")
    results = results[first // 2 :]
    before = inputs[: loop.states]
    states = [(extents(v.known_dims), extents(s.known_dims)) for v, s in zip(results, before, strict=False)]
    if any(after != at_first for after, at_first in states):
        for after, at_first in states:
            for a, b in zip(after, at_first, strict=False):
                ctx.needed_equal += needed_equal(a, b)
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
    arrays = [one_row(ctx, d, row) for d in dims]
    tensors = [*(plain(ctx.b, v) for v in loop.control), *(on_row(ctx, v) for v in values[: loop.own])]
    of_row = {name: on_row(ctx, v) for name, v in zip(loop.read, values[loop.own :], strict=True)}
    captures = [(name, of_row[name] if name in of_row else plain(ctx.b, v)) for name, v in loop.captured.items()]
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
