"""Range: integers in equal steps.

    Range(0, 20*B, 20)      has B elements
    Range(0, 64 + B)[0:64]  is a constant

Example: the offsets of bags that are B rows of 20 ids, of which a loop reads one in each turn (see `turns`).

Holds for bounds and a step that are computed from extents. Rounding: none.
"""

from __future__ import annotations

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Refused, extents, new_dims
from mari_onnx.ir.extents import Extent, divide, ordered
from mari_onnx.ir.forms import Array

UNKNOWN = Refused("how many numbers Range gives is computed by the model")


def range_(op: Op, ctx: Context) -> Derived:
    """Range, with one dimension of the extent that its bounds give."""
    given: list[Extent] = []
    for v in op.inputs:
        if v is None or v.dims != () or v.content is None or v.content.item() is None:
            return UNKNOWN
        given.append(v.content.item())
    start, stop, step = given
    count = divide(stop - start, step) if step != 0 else None
    if count is None or ordered(0, count) != (0, count):
        return UNKNOWN
    dims = new_dims([count])
    inputs = [plain(ctx.b, v) for v in op.inputs if v is not None]
    numbers = ctx.again(op, inputs, [extents(dims)], [op.data.dtype])[0]
    if isinstance(start, int) and isinstance(step, int):
        ctx.b.progressions[numbers] = start, step
    return [ctx.result(op, dims, Array(numbers, dims))]
