"""Remarks of rules about nodes, in words: what was applied, and what it saves."""

from __future__ import annotations

from mari_onnx.analysis.context import Context, Op
from mari_onnx.ir.axes import Dims, extents, flat, show
from mari_onnx.ir.cost import reachable
from mari_onnx.ir.extents import ROW, Extent, symbol
from mari_onnx.ir.forms import Array, IndexMap, Value
from mari_onnx.report.model import Remark, Status


def side(ctx: Context, array: Array) -> str:
    """The side that an array belongs to: "item" if it has a row for each candidate, else "user"."""
    if any(ctx.is_candidate(a) and array.state(a) == "stored" for a in flat(array.layout)):
        return "item"
    return "user"


def explain_product(op: Op, ctx: Context, value: Value, x: Value, width: Extent, since: int) -> None:
    """Add the remark on a product of x: the axes of each of its terms, and how many multiply-adds that saves.

    `width` is the extent that the product sums over. `since` is the builder's count before the product: nodes with a
    larger serial were made for it. Example: "[B 2] = user () + item (B)", and "14,000 multiply-adds become 6,008".
    """
    dims = value.known_dims
    before = ctx.cost.elements((*extents(dims), width))
    nodes = reachable([value.array.tensor], since)
    after = min(sum(ctx.cost.node_macs(n) for n in nodes), before)
    status: Status = "applied" if after < before else "as is"
    reason = _reason(ctx, dims, before, after)
    ctx.remarks.append(
        Remark(
            status,
            "product",
            op.proto.name,
            op.op_type,
            op.name,
            reason,
            forms=_forms(ctx, dims, value),
            because=x.because,
            macs_before=before,
            macs_after=after,
        )
    )


def _reason(ctx: Context, dims: Dims, before: int, after: int) -> str:
    """How the number of multiply-adds of a product changed, or why it did not."""
    if after < before:
        return f"{before:,} multiply-adds become {after:,}"
    if any(ctx.is_candidate(a) for d in dims for a in d):
        return "every row and every column of it varies with the candidate"
    return "computed once for the request already"


def _forms(ctx: Context, dims: Dims, value: Value) -> str:
    """The product as a sum of its parts, each with the axes of its rows: `[B 2] = user () + item (B)`."""
    arrays = [a for _, a in value.terms.signed] if value.terms is not None else [value.array]
    shown = []
    for array in arrays:
        if array.tensor.constant:
            continue
        states = [(a, array.state(a)) for d in dims[:-1] for a in d]
        rows = [s.rows if isinstance(s, IndexMap) else a for a, s in states if s != "absent"]
        shown.append(f"{side(ctx, array)} ({' '.join(str(r) for r in rows if r != symbol(ROW))})")
    return f"{show(dims)} = {' + '.join(shown)}"
