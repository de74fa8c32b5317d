"""Range: whole numbers in equal steps.

    Range(0, 20*B, 20)           has B elements
    Range(0., Cast(64 + B), 1.)  has 64 + B elements, as the arange of a float type is exported
    Range(0, 64 + B)[0:64]       is a constant

Example: the offsets of bags that are B rows of 20 ids, of which a loop reads one in each turn (see `turns`).

Holds for bounds and a step that are computed from extents. Rounding: none.
"""

from __future__ import annotations

from mari_onnx.analysis.context import DOUBLE, FLOAT, Context, Derived, Op
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Refused, extents, new_dims
from mari_onnx.ir.expressions import first_input, fold
from mari_onnx.ir.extents import Extent, divide, ordered
from mari_onnx.ir.forms import Array, Value

UNKNOWN = Refused("how many numbers Range gives is computed by the model")


def range_(op: Op, ctx: Context) -> Derived:
    """Range, with one dimension of the extent that its bounds give."""
    start, stop, step = (None if v is None or v.dims != () else _number(v, ctx) for v in op.inputs)
    if start is None or stop is None or step is None:
        return UNKNOWN
    count = divide(stop - start, step) if step != 0 else None
    if count is None or ordered(0, count) != (0, count):
        return UNKNOWN
    dims = new_dims([count])
    inputs = [plain(ctx.b, v) for v in op.inputs if v is not None]
    numbers = ctx.again(op, inputs, [extents(dims)], [op.data.dtype])[0]
    if isinstance(start, int) and isinstance(step, int) and op.data.dtype not in (FLOAT, DOUBLE):
        ctx.b.progressions[numbers] = start, step
    return [ctx.result(op, dims, Array(numbers, dims))]


def _number(value: Value, ctx: Context) -> Extent | None:
    """The whole number in a scalar, also in one of floats: an extent that was cast, or a constant. None for any other.

    float32 has all whole numbers up to 2**24, which is more than a tensor has rows.
    """
    found: Extent | None = None if value.content is None else value.content.item()
    if found is not None:
        return found
    t = value.array.tensor
    if t.op_type == "Cast" and t.dtype in (FLOAT, DOUBLE):
        t = first_input(t)
    if t.op_type == "<extents>":
        found = t.node.payload.item()
    if t.op_type == "<extents>" or not t.stored:
        return found
    number = fold(t, ctx.array_of).item()
    return int(number) if isinstance(number, int | float) and abs(number) < EXACT and number == int(number) else None


EXACT = 2**24
"""The whole number up to which float32 has all others."""
