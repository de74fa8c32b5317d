"""Names for the tensors that a rule made: that of the value that each is a form of, and which rule that was.

    h          the value as the original has it      Origin(h, whole, linear)
    h.user     what lacks the candidates             Origin(h, user, linear)
    h.item     what has them                         Origin(h, item, linear)
    h.user     a sum on the way to the value         Origin(h, sum, linear)

A tensor is named once: a value that is the same as an earlier one, as behind an Identity, claims nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.remarks import side
from mari_onnx.document.provenance import WHOLE, Origin
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import symbols
from mari_onnx.ir.forms import Array, Value


def claim(ctx: Context, value: Value, rule: str) -> None:
    """Name the tensors of a value after it, and note that this rule made them."""
    if value.dims is None or value.constant:
        return
    terms = [array for _, array in value.terms.signed] if value.terms else []
    forms = [(value.array.tensor, _form(ctx, value)), *((array.tensor, side(ctx, array)) for array in terms)]
    for tensor, form in forms:
        if tensor.name is None and tensor.op_type != "<extents>":
            tensor.name = value.name if form == WHOLE else f"{value.name}.{form}"
            ctx.origins[tensor] = Origin(value.name, form, rule)
    for addend in _summands(value.array.tensor) if value.terms else ():
        if addend is not None and addend.node.proto is None:
            _claim_sum(ctx, value, addend, rule)


def _form(ctx: Context, value: Value) -> str:
    """Whether the array of a value is the whole of it, or lacks the candidates."""
    array: Array = value.array
    whole = array.layout == value.dims and all(m.item_rows for _, m in array.via)
    return WHOLE if whole else side(ctx, array)


def _claim_sum(ctx: Context, value: Value, summand: Tensor, rule: str) -> None:
    """Name a sum on the way; of rows that are gathered for the candidates, what was summed before that."""
    source = summand.node.inputs[0] if summand.op_type == "Gather" else summand
    if source is not None and source.name is None and source.node.proto is None and not source.constant:
        varies = any(symbols(e) & ctx.candidates for e in source.shape or ())
        source.name = f"{value.name}.{'item' if varies else 'user'}"
        ctx.origins[source] = Origin(value.name, "sum", rule)


def _summands(t: Tensor) -> Sequence[Tensor | None]:
    """What is added up in a tensor."""
    return t.node.inputs[2:3] if t.op_type == "Gemm" else t.node.inputs if t.op_type in ("Add", "Sub") else ()
