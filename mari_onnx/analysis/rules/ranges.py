"""Range: whole numbers in equal steps.

    Range(0, 20*B, 20)           has B elements
    Range(0., Cast(64 + B), 1.)  has 64 + B elements, as the arange of a float type is exported
    Range(0, 64 + B)[0:64]       is a constant

Example: the offsets of bags that are B rows of 20 ids, of which a loop reads one in each turn (see `turns`).

Holds for bounds and a step that are computed from extents. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import TensorProto

from mari_onnx.analysis.context import DOUBLE, FLOAT, INT64, Context, Derived, Op
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

    An extent that is not known before the model runs is a whole number in float32, which has all of them up to 2**24:
    that is more than a tensor has rows. Half precision has them up to 2,048.
    """
    found: Extent | None = None if value.content is None else value.content.item()
    if found is not None:
        return found
    t, exact = value.array.tensor, WHOLE[DOUBLE]
    while t.op_type == "Cast":
        exact = min(exact, WHOLE.get(t.dtype, 0))
        t = first_input(t)
    if t.op_type == "<extents>":
        found = t.node.payload.item()
    elif t.stored:
        number = fold(t, ctx.array_of).item()
        whole = isinstance(number, int | float) and abs(number) < exact and number == int(number)
        found = int(number) if whole else None
    size = abs(found) if isinstance(found, int) else WHOLE[FLOAT]
    return found if size <= exact else None


WHOLE: Mapping[int, int] = {
    TensorProto.FLOAT16: 2**11,
    FLOAT: 2**24,
    DOUBLE: 2**53,
    INT64: 2**53,
    TensorProto.INT32: 2**31 - 1,
}
"""By type, the whole number up to which it has all others."""
