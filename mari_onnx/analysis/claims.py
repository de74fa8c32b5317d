"""Names and origins of the tensors that a rule made for a value.

The tensors of a value `h` whose node the rule `linear` interpreted:

    h          the whole value, as the original has it     Origin(h, whole, linear)
    h.user     a form without the candidates               Origin(h, user, linear)
    h.item     a form with the candidates                  Origin(h, item, linear)
    h.user     an intermediate sum                         Origin(h, sum, linear)

A tensor is named once. The output of an Identity is the same tensor as its input, and keeps the input's name.
"""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.reasons import side
from mari_onnx.document.provenance import WHOLE, Origin
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import symbols
from mari_onnx.ir.forms import Array, Value


def claim(ctx: Context, value: Value, rule: str) -> None:
    """Name the unnamed tensors of a value's array and terms after the value, and note that this rule made them.

    All nodes that were made since the last claim were made for this value.
    """
    ctx.made.append((ctx.b.count, value.name))
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
    """The form that the array of a value is: WHOLE, or "user" or "item" where it lacks some axes."""
    array: Array = value.array
    whole = array.layout == value.dims and all(m.item_rows for _, m in array.via)
    return WHOLE if whole else side(ctx, array)


def _claim_sum(ctx: Context, value: Value, summand: Tensor, rule: str) -> None:
    """Name an intermediate sum. If it gathers rows for the candidates, the tensor before the Gather is named."""
    source = summand.node.inputs[0] if summand.op_type == "Gather" else summand
    if source is not None and source.name is None and source.node.proto is None and not source.constant:
        varies = any(symbols(e) & ctx.candidates for e in source.shape or ())
        source.name = f"{value.name}.{'item' if varies else 'user'}"
        ctx.origins[source] = Origin(value.name, "sum", rule)


def _summands(t: Tensor) -> Sequence[Tensor | None]:
    """The operands of a sum: both of an Add or Sub, C of a Gemm; none of any other tensor."""
    return t.node.inputs[2:3] if t.op_type == "Gemm" else t.node.inputs if t.op_type in ("Add", "Sub") else ()
