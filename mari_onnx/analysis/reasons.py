"""Why a value lacks the candidates, and which node stopped that.

    e = Gather(table, user_id)    because: Gather(table, user_id), then user_id: declared by 'user_*'
    d = Det(e)                    an operator without a rule: its result has a row for each candidate
    h = Relu(d)                   stopped: d (Det) is left as it is, no rule for ai.onnx.Det
    s = Relu(e @ W + item)        stopped: s (Relu) needs the user's values and the candidates' together

A chain of reasons ends where a node reads something that lacks the candidates, and nothing of its result does. This
node is handed on to all that is computed from the result. So a product far behind it can name the node that stopped it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mari_onnx.analysis.context import Context, Op
from mari_onnx.ir.axes import Refused, flat
from mari_onnx.ir.forms import Array, Stop, Value

EARLIER = "compute it before the user's rows are repeated, or from constants, where the exported code allows that"
"""What may be done about any node that is left as it is."""

NAMED_INPUTS, NAMED_REASONS = 3, 8
"""How many inputs of a node, and how many nodes of a chain of reasons, a remark names."""


TOWER = "more of them there, and fewer behind it, make calls cheaper"


def explained(ctx: Context, op: Op, read: Sequence[Value], value: Value, left: Refused | None) -> Value:
    """The output of a node with its chain of reasons, or with the node that stopped it.

    `read` are the inputs and the captures of the node. `left` is why the node is left as it is, None if it is not.
    A sequence has the chain of the tensors in it.
    """
    if (rows := ctx.facts.collected.get(value.array.tensor)) is not None:
        return value.changed(because=rows.because, stopped=rows.stopped)
    if not any(v.because or v.stopped for v in read):
        return value.changed(because=(), stopped=None) if value.because or value.stopped else value
    written_out = left is not None and any(_lacks(ctx, v) for v in read)
    because = () if written_out else _because(ctx, op, read, value)
    return value.changed(because=because, stopped=_stop(ctx, op, read, because, left))


def _because(ctx: Context, op: Op, read: Sequence[Value], value: Value) -> tuple[str, ...]:
    """The chain of reasons why the value, or a part of it, lacks the candidates; empty if nothing of it does.

    Example: `Gather(table, user_id)`, then `user_id: declared by 'user_*'`.
    """
    first = next((v for v in read if v.because), None)
    whole = value.parts is None and value.terms is None and not _has_block_of_user(ctx, value)
    if first is None or value.dims is None or (whole and side(ctx, value.array) == "item"):
        return ()
    names = list(op.proto.input) if len(op.proto.input) <= NAMED_INPUTS else [first.name, "..."]
    return (f"{op.op_type}({', '.join(names)})", *first.because)[:NAMED_REASONS]


def _has_block_of_user(ctx: Context, value: Value) -> bool:
    grid = value.blocks.grid if value.blocks is not None else ()
    return any(side(ctx, array) == "user" and not array.tensor.constant for line in grid for array in line)


def _stop(ctx: Context, op: Op, read: Sequence[Value], because: Sequence[str], left: Refused | None) -> Stop | None:
    """The node that stopped an output: this one, or one before it.

    The nearest node that was left as it is comes first, since a rule for it would help. After it comes the nearest one
    that needs the candidates by what it computes.
    """
    here = None if because or not any(v.because for v in read) else _here(ctx, op, read, left)
    before = stop_of(read)
    return before if here is None or (before and before.left and not here.left) else here


def stop_of(read: Iterable[Value]) -> Stop | None:
    """The node that stopped any of the values; one that was left as it is comes first."""
    stops = [v.stopped for v in read if v.stopped is not None]
    return next((stop for stop in stops if stop.left), next(iter(stops), None))


def _here(ctx: Context, op: Op, read: Sequence[Value], left: Refused | None) -> Stop:
    """The node as the one that stopped its own output."""
    if left is not None:
        return Stop(op.name, op.op_type, f"is left as it is: {left.reason}", left.next_step or EARLIER, left=True)
    before = f"layers that read the user alone run once where they come before `{op.name}`"
    if any(varies(ctx, v) for v in read):
        return Stop(op.name, op.op_type, "needs the user's values and the candidates' together", f"{before}: {TOWER}")
    return Stop(op.name, op.op_type, "works along the candidates", before)


def side(ctx: Context, array: Array) -> str:
    """The side that an array belongs to: "item" if it has a row for each candidate, else "user"."""
    if any(ctx.is_candidate(a) and array.state(a) == "stored" for a in flat(array.layout)):
        return "item"
    return "user"


def _lacks(ctx: Context, value: Value) -> bool:
    """Whether the value has candidates along which its rows repeat. A node that is left as it is reads all rows."""
    return any(ctx.is_candidate(a) and value.array.state(a) != "stored" for d in value.dims or () for a in d)


def varies(ctx: Context, value: Value) -> bool:
    """Whether a value is known to have a row for each candidate, or is of unknown rank."""
    if value.dims is None:
        return True
    return any(ctx.is_candidate(a) and value.array.state(a) == "stored" for a in flat(value.dims))


def repeats(value: Value) -> bool:
    """Whether the value's array lacks one of its axes, or stores it through an index map."""
    if value.dims is None or value.constant:
        return False
    return any(value.array.state(a) != "stored" for d in value.dims for a in d if a.extent != 1)
