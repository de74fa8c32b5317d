"""Parameters that hold one number, with a dimension and without one, stored and computed."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.property.graphs import FLOAT, INT64, Made, UnfitError, Writer
from tests.property.operators.columns import numbered
from tests.property.operators.quantized import QUANTIZED_UNTIL
from tests.property.operators.ranges import span


def number(w: Writer, value: int, dtype: type = np.float32) -> Made:
    """One number, of shape [] or [1]."""
    return w.constant(np.full([1] * w.between(0, 1), value, dtype))


def clip_by_one(w: Writer) -> None:
    """The bounds are stored, or what all of a tensor comes to."""
    x = w.pick(lambda m: m.dtype == FLOAT, rough=True)
    if w.chance(60):
        w.write("Clip", [x, number(w, -1), number(w, 2)], x.shape, (max(-1, min(x.low, 2)), min(2, max(x.high, -1))))
        return
    y = w.pick(lambda m: m.dtype == FLOAT and m.rank > 0 and m.size <= 30)
    inputs, attributes = w.axes_form("ReduceMax", list(range(y.rank)))
    most = w.write("ReduceMax", [y, *inputs], [], span(y), keepdims=0, **attributes)
    bound = w.write("Reshape", [most, w.ints([1])], [1], span(y)) if w.chance(50) else most
    w.write("Clip", [x, None, bound], x.shape, (min(x.low, y.low), min(x.high, y.high)))


def quantized_by_one(w: Writer) -> None:
    """Scale and zero point of the whole tensor."""
    if w.opset > QUANTIZED_UNTIL or any(node.op_type == "QuantizeLinear" for node in w.nodes):
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1)
    shape = [1] * w.between(0, 1)
    scale, zero = w.constant(np.full(shape, w.choice([1, 2]), np.float32)), w.constant(np.full(shape, 1, np.int8))
    q = w.write("QuantizeLinear", [x, scale, zero], x.shape, (-128, 127), 3)
    w.write("DequantizeLinear", [q, scale, zero], x.shape, (-260, 254), FLOAT)


def padded_with_one(w: Writer) -> None:
    x, axis, extent = numbered(w, 1)
    if x.dtype != FLOAT:
        raise UnfitError
    pads = [0] * (2 * x.rank)
    pads[axis] = 1
    shape = [*x.shape[:axis], extent + 1, *x.shape[axis + 1 :]]
    w.write("Pad", [x, w.ints(pads), number(w, 2)], shape, (min(x.low, 2), max(x.high, 2)))


def along_one(w: Writer) -> None:
    """CumSum along an axis of shape [] or [1]."""
    x, axis, extent = numbered(w, 1)
    if x.dtype != FLOAT or not x.exact:
        raise UnfitError
    w.write("CumSum", [x, number(w, axis, np.int64)], x.shape, (-x.size * extent, x.size * extent))


def triangle_of_one(w: Writer) -> None:
    if w.opset < 14:
        raise UnfitError
    x = w.floats(2, rough=False)
    w.write("Trilu", [x, number(w, 1, np.int64)], x.shape, (min(x.low, 0), max(x.high, 0)))


def range_of_branch(w: Writer) -> None:
    """TorchScript's If between a Squeeze and what it would have squeezed, whose condition follows from shapes."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1 and isinstance(m.shape[-1], int) and m.shape[-1] > 0)
    width = int(str(x.shape[-1]))
    taken, other = ("then_branch", "else_branch") if w.chance(50) else ("else_branch", "then_branch")
    rank = w.write("Size", [w.write("Shape", [x], [x.rank], (0, 10**6), INT64)], [], (0, 9), INT64)
    said = x.rank if taken == "then_branch" else x.rank + 1
    known = w.hidden("Equal", [rank.name, w.constant(np.array(said, np.int64)).name])
    limit = w.constant(np.array([width], w.choice([np.int64, np.float32])))
    branches = {}
    for branch, op_type, shape in ((taken, "Identity", [1]), (other, "Squeeze", [])):
        w.count += 1
        name = f"b{w.count}"
        info = helper.make_tensor_value_info(name, limit.dtype, shape)
        branches[branch] = helper.make_graph([helper.make_node(op_type, [limit.name], [name])], op_type, [], [info])
    chosen = w.hidden("If", [known], **branches)
    dtype = helper.tensor_dtype_to_np_dtype(limit.dtype)
    start, step = (w.constant(np.array(n, dtype)).name for n in (0, 1))
    positions = w.hidden("Range", [start, chosen, step])
    as_float = w.hidden("Cast", [positions], to=FLOAT)
    made = Made(as_float, (width,), FLOAT, 0, width - 1)
    w.write("Add", [x, made], x.shape, (x.low, x.high + width - 1))
