"""ConcatFromSequence: the tensors that a loop collected, one in each turn.

    ConcatFromSequence([row 0, row 1, ...])     rows (B 1 d) as [(B 1), d]

Holds for a sequence of which a loop made the rows together (see `turns`), and along the first axis. Rounding: none.
"""

from __future__ import annotations

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.ir.axes import Refused


def concat_from_sequence(op: Op, ctx: Context) -> Derived:
    """ConcatFromSequence of the rows that a loop collected."""
    rows = ctx.facts.collected.get(op.data.array.tensor)
    if rows is None or rows.dims is None or op.axis:
        return Refused("ConcatFromSequence of what is not known to be rows, along the first axis")
    (turns, first, *rest) = rows.known_dims
    joined = (turns, first, *rest) if op.attribute("new_axis", 0) else ((*turns, *first), *rest)
    return [rows.with_dims(joined).named(op.name)]
