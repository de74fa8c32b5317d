"""If on one row: if nothing that its branches read differs from candidate to candidate, it runs once for the request.

    If(new, then: default (B d), else: e (B d))    runs on default (1 d) and e (1 d) where neither differs

Example: a user without a history has an embedding of their own. Which of the two embeddings is taken is known at run
time alone, by a flag that is an input of the model. Both embeddings are the user's, and so is the one that is taken.

The branches have to treat the candidates independently (see `one_row`). A branch of which the condition is known is
not this module's: it is interpreted in place of the node.

Holds when both branches give results of the same extents. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from mari_onnx.analysis.context import Op
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
from mari_onnx.ir.arrays import plain, stored_shape
from mari_onnx.ir.axes import Refused, extents
from mari_onnx.ir.forms import Array, Value


def branch_taken(op: Op) -> onnx.GraphProto | None:
    """The branch that the If takes, if its condition is known."""
    condition = op.data.content
    if condition is None or condition.size != 1 or condition.item() is None:
        return None
    branch: onnx.GraphProto = op.attribute("then_branch" if condition.item() else "else_branch")
    return None if branch.sparse_initializer else branch


def if_on_one_row(walk: Walk, op: Op, captured: Mapping[str, Value]) -> list[Value] | Refused:
    """The node on one row of each of its captures.

    Refused where a capture differs from candidate to candidate, and where a branch may mix rows of candidates.
    """
    ctx = walk.ctx
    if any(v.dims is None for v in (op.data, *captured.values())):
        return Refused("If reads a value of unknown rank")
    counted = next(
        (v for v in captured.values() if v.content is not None and any(counts(ctx, e) for e in v.content.flat)), None
    )
    if counted is not None:
        return Refused(f"a branch of If counts the candidates by `{counted.name}`")
    read = {name: stored(ctx, v) for name, v in captured.items() if candidates(ctx, v)}
    row = common_row(ctx, op.op_type, [op.data, *read.values()])
    if isinstance(row, Refused):
        return row
    read = {name: on_rows(ctx, v, row) for name, v in read.items()}
    results = _results(walk, op, read)
    if isinstance(results, Refused):
        return results
    arrays = [one_row(ctx, v.known_dims, row) for v in results]
    shapes = [(stored_shape(layout, via), v.dtype) for (layout, via), v in zip(arrays, results, strict=True)]
    captures = [(name, on_row(ctx, read[name]) if name in read else plain(ctx.b, v)) for name, v in captured.items()]
    made = ctx.b.again(op.proto, [plain(ctx.b, op.data)], shapes, captures)
    return [
        ctx.result(op, v.known_dims, Array(t, *array), dtype=v.dtype, output=i)
        for i, (v, t, array) in enumerate(zip(results, made, arrays, strict=True))
    ]


def _results(walk: Walk, op: Op, read: Mapping[str, Value]) -> list[Value] | Refused:
    """The outputs of the node for one row of what it reads: those of a branch, since both give the same extents."""
    known = {name: within(walk.ctx, op, name, v, None).named(name) for name, v in read.items()}
    then, other = (walk.body(op.attribute(name), known) for name in ("then_branch", "else_branch"))
    if any(v.dims is None for v in (*then, *other)) or not independent(walk.ctx, [*then, *other]):
        return Refused("a branch of If is not known to treat candidates independently")
    if any(extents(a.known_dims) != extents(b.known_dims) for a, b in zip(then, other, strict=True)):
        return Refused("the branches of If give results of different extents")
    return then
