"""What the rules have to say about a node, in words."""

from __future__ import annotations

from mari_onnx.axes import Dims, show
from mari_onnx.extent import Extent
from mari_onnx.forms import Array, Value
from mari_onnx.op import Context, Op
from mari_onnx.report.model import Remark


def side(ctx: Context, array: Array) -> str:
    """Who an array belongs to: "user" where it lacks the candidates, "item" where it has them."""
    names = array.names()
    if any(ctx.is_candidate(a) and s == "stored" for a, s in names):
        return "item"
    return "user"


def explain_product(op: Op, ctx: Context, value: Value, x: Value, width: Extent) -> None:
    """One remark for each product: the axes that its parts really have, and what that saves."""
    dims = value.known_dims
    before = ctx.cost.elements((*[e.extent for d in dims for e in d], width))
    nodes = _products_under(value)
    after = sum(ctx.cost.node_macs(n) for n in nodes)
    if after >= before:
        status, reason = "as is", "every row and every column of it varies with the candidate"
        if before and not any(ctx.is_candidate(a) for d in dims for a in d):
            reason = "computed once for the request already"
    else:
        status, reason = "applied", f"{before:,} multiply-adds become {after:,}"
    ctx.remarks.append(
        Remark(
            status,  # type: ignore[arg-type]
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


def _products_under(value: Value) -> list:  # type: ignore[type-arg]
    """The products that the chosen form consists of: its own nodes, down to what they multiply."""
    out, stack, seen = [], [value.array.tensor.node], set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in ("MatMul", "Gemm"):
            out.append(node)
            stack.extend(t.node for t in node.inputs[2:] if t is not None)
        elif node.op_type in ("Add", "Sub", "Reshape", "Transpose"):
            stack.extend(t.node for t in node.inputs if t is not None)
    return out


def _forms(ctx: Context, dims: Dims, value: Value) -> str:
    arrays = [a for _, a in value.terms.signed] if value.terms is not None else [value.array]
    shown = []
    for array in arrays:
        if array.tensor.constant:
            continue
        names = [str(a) for d in dims[:-1] for a in d if array.state(a) != "absent"]
        shown.append(f"{side(ctx, array)} ({' '.join(names)})")
    return f"{show(dims)} = {' + '.join(shown)}"
