"""Scan and Loop once for the request: a body that treats the candidates independently runs on one row.

    Scan(h (B d), x (L B d))  runs on h (1 d), x (L 1 d) where neither differs from candidate to candidate

That a body treats them independently is found by interpreting it, as the graph around it is: with inputs that lack
the candidates, everything that its outputs need has to come out without them. What holds for any number of candidates
holds for one, so the original body, as it is, computes on one row what it computes on each.

What a body reads by name is an input like another: it is read by the name that its one row has.

Holds when each state keeps its shape. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class Walk(Protocol):
    """What interprets a body."""

    ctx: Context

    def body(self, graph: onnx.GraphProto, inputs: Mapping[str, Value]) -> list[Value]:
        """The outputs of a body with these inputs; nothing else is remembered of it."""


def once(walk: Walk, op: Op, captured: Mapping[str, Value]) -> list[Value] | Refused:
    """The node on one row of each of its inputs and of what its body captures."""
    ctx, given = walk.ctx, [v for v in op.inputs if v is not None]
    first = 0 if op.op_type == "Scan" else 2
    if len(given) < len(op.inputs) or any(v.dims is None for v in (*given, *captured.values())):
        return Refused(f"{op.op_type} with inputs that are left out, or of unknown rank")
    read = {name: v for name, v in captured.items() if _candidates(ctx, v)}
    outside = [*given[:first], *captured.values()]
    counted = [e for v in outside if v.content is not None for e in v.content.flat]
    if any(_candidates(ctx, v) for v in given[:first]) or any(_counts(ctx, e) for e in counted):
        return Refused(f"the body of {op.op_type} counts the candidates")
    graph, states = op.attribute("body"), len(given) - first - op.attribute("num_scan_inputs", 0)
    time = list(op.attribute("scan_input_axes", [0] * op.attribute("num_scan_inputs", 0)))
    values = [_stored(ctx, v) for v in (*given[first:], *read.values())]
    rows = {v.array.state(a) for v in values for a in _candidates(ctx, v)}
    if not rows or any(s == "stored" or (isinstance(s, IndexMap) and s.index is not None) for s in rows):
        return Refused(f"an input of {op.op_type} differs from candidate to candidate")
    row = next((s for s in rows if isinstance(s, IndexMap)), "absent")
    values = [_on_rows(ctx, v, row) for v in values]
    own = len(given) - first
    steps = [None] * states + time + [None] * len(read)
    inputs = [_within(ctx, op, str(i), v, step) for i, (v, step) in enumerate(zip(values, steps, strict=True))]
    names = [*(i.name for i in graph.input[first:]), *read]
    known = {n: v.named(n) for n, v in zip(names, inputs, strict=True)}
    for k, dtype in enumerate(
        (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)[:first]
    ):  # the iteration, and whether to go on
        name = graph.input[k].name
        known[name] = Value(name, (), dtype, Array(ctx.b.input(f"{op.name}.{name}", (), dtype), ()))
    results = walk.body(graph, known)
    if any(v.dims is None for v in results) or not _independent(ctx, results):  # whether to go on is one of them
        return Refused(f"the body of {op.op_type} is not known to treat candidates independently")
    results = results[first // 2 :]
    if any(extents(v.known_dims) != extents(s.known_dims) for v, s in zip(results, inputs[:states], strict=False)):
        return Refused(f"a state of {op.op_type} changes its shape")
    if len(results) > states and op.attribute("scan_output_axes"):
        return Refused(f"{op.op_type} with outputs along other axes than the first")
    dims = [v.known_dims for v in values[:states]]
    times = [f"{name or op.name}.0" for name in op.proto.output[states:]] if op.op_type == "Loop" else []
    lengths = [dim(symbol(name), name) for name in times] or [values[states].known_dims[t] for t in time[:1]]
    dims += [(length, *v.known_dims) for length, v in zip(cycle(lengths), results[states:], strict=False)]
    arrays = [_one_row(ctx, d, row) for d in dims]
    tensors = [*(plain(ctx.b, v) for v in given[:first]), *(_tensor(ctx, v) for v in values[:own])]
    on_rows = {name: _tensor(ctx, v) for name, v in zip(read, values[own:], strict=True)}
    captures = [(name, on_rows[name] if name in read else plain(ctx.b, v)) for name, v in captured.items()]
    shapes = [(stored_shape(layout, via), v.dtype) for (layout, via), v in zip(arrays, results, strict=True)]
    made = ctx.b.again(op.proto, tensors, shapes, captures)
    for name, t in zip(times, made[states:], strict=False):
        ctx.providers.setdefault(name, (t, 0))
    return [
        ctx.result(op, d, Array(t, *array), dtype=t.dtype, output=i)
        for i, (d, t, array) in enumerate(zip(dims, made, arrays, strict=True))
    ]


def _tensor(ctx: Context, value: Value) -> Tensor:
    return natural(ctx.b, value.array, value.known_dims)[0]


def _candidates(ctx: Context, value: Value) -> list[Axis]:
    return [a for a in flat(value.known_dims) if ctx.is_candidate(a)]


def _stored(ctx: Context, value: Value) -> Value:
    """The value with all axes but those of candidates written out."""
    axes = [a for a in flat(value.known_dims) if not ctx.is_candidate(a)]
    return value.stored_as(fill(ctx.b, value.array, value.known_dims, axes))


def _on_rows(ctx: Context, value: Value, row: State) -> Value:
    """What has no row of candidates, as often as others have one: once, or not at all."""
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


def _one_row(ctx: Context, dims: Dims, row: object) -> tuple[Dims, tuple[tuple[Axis, IndexMap], ...]]:
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
    return isinstance(element, Poly) and bool(symbols(element) & ctx.candidates)
