"""Remarks of rules about nodes, in words: what was applied, what it saves, and which node kept a product whole."""

from __future__ import annotations

from typing import NamedTuple

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.reasons import EARLIER, side, stop_of, varies
from mari_onnx.ir.axes import Dims, Refused, extents, show
from mari_onnx.ir.cost import reachable
from mari_onnx.ir.extents import ROW, Extent, symbol
from mari_onnx.ir.forms import IndexMap, Value
from mari_onnx.report.model import Remark, Status

VARIES = "every row and every column of it varies with the candidate"


NARROWER = "nothing of it is the same for two candidates: narrower rows, or fewer of them, make it cheaper"
AHEAD = (
    "if one of these inputs holds the user, name it with -u; what the items alone need can be computed before any "
    "request: `split --item-input`"
)
"""What may be done about a product of both sides, and about one of the candidates' side."""


class Why(NamedTuple):
    """What a remark says, and what would change it."""

    reason: str
    next_step: str | None = None


MULTIPLIED = {"Gemm": 2, "FusedGemm": 2, "MatMulInteger": 2}
"""How many inputs of a product are multiplied, where a further one may be computed: a bias, or a zero point."""


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
    why = Why(f"{before:,} multiply-adds become {after:,}") if after < before else _whole(op, ctx, value)
    ctx.remarks.append(
        Remark(
            status,
            "product",
            op.proto.name,
            op.op_type,
            op.name,
            why.reason,
            forms=_forms(ctx, dims, value),
            next_step=why.next_step,
            because=x.because,
            macs_before=before,
            macs_after=after,
        )
    )


def explain_left(op: Op, ctx: Context, why: Refused) -> None:
    """Add the remark on a node that is left as it is and lost something: what it reads had to be written out."""
    ctx.remarks.append(
        Remark(
            "refused", op.op_type, op.proto.name, op.op_type, op.name, why.reason, next_step=why.next_step or EARLIER
        )
    )


UNMASKED = (
    "no mask proves that the user's tokens do not attend to the candidate's, so that behind it the user's rows are the "
    "candidates' too"
)
UNBOUNDED = "the mask is a finite number, and nothing in the graph bounds the scores that it is added to"
BY_MASK = (
    "export with a causal mask of -inf that is a constant or computed from shapes: an input of the model proves "
    "nothing, nor does a finite number in a row that it may mask whole"
)
BY_WORD = "--assume-masked, if attention scores are always below 4,000 in magnitude"


def explain_seen(op: Op, ctx: Context, *, assumed: bool) -> None:
    """Add the remark on a Softmax in which the user's tokens may attend to the candidate's.

    `assumed` says that its mask would hide the candidate's tokens from scores that are known to be small.
    """
    why = Why(UNBOUNDED, BY_WORD) if assumed else Why(UNMASKED, BY_MASK)
    ctx.remarks.append(
        Remark("refused", "blocks", op.proto.name, op.op_type, op.name, why.reason, next_step=why.next_step)
    )


def explain_whole(op: Op, ctx: Context, value: Value, left: Refused | None) -> None:
    """Add the remark on a product about which no rule said anything. `left` is why the node is left as it is, if so."""
    inputs = [None if v is None or v.dims is None else extents(v.dims) for v in op.inputs]
    macs = ctx.cost.macs(op.op_type, inputs, [None if value.dims is None else extents(value.dims)], op.attributes)
    status: Status = "as is" if left is None else "refused"
    why = _whole(op, ctx, value) if left is None else _left(op, left)
    rule = "product" if left is None else op.op_type
    ctx.remarks.append(
        Remark(
            status, rule, op.proto.name, op.op_type, op.name, why.reason,
            next_step=why.next_step, macs_before=macs, macs_after=macs,
        )
    )  # fmt: skip


def _left(op: Op, left: Refused) -> Why:
    """Why a product is left as it is, with the node that stopped what it multiplies."""
    stop = stop_of(_multiplied(op))
    if stop is None:
        return Why(left.reason, left.next_step or EARLIER)
    return Why(f"{left.reason}; {stop}", left.next_step or stop.next_step)


def _whole(op: Op, ctx: Context, value: Value) -> Why:
    """Why a product stays whole: the node that stopped it, or its own operands."""
    if not varies(ctx, value):
        return Why("computed once for the request already")
    sides = _multiplied(op)
    stop = stop_of(sides)
    if any(v.because for v in sides) and not (stop and stop.left):
        if sum(not v.constant for v in sides) > 1:
            return Why("it multiplies the user's values by the candidates'", NARROWER)
        return Why(
            f"a part of its input is the user's, but one product of all of it takes less time for {ctx.cost.batch} "
            "candidates",
            "a larger --batch, if calls have more candidates",
        )
    if stop is None:
        return Why(f"{VARIES}: it is computed from the candidates' inputs alone", AHEAD)
    return Why(f"{VARIES}: {stop}", stop.next_step)


def _multiplied(op: Op) -> list[Value]:
    """The operands of a product."""
    return [v for v in op.inputs[: MULTIPLIED.get(op.op_type)] if v is not None]


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
