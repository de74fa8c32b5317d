"""Operators that work within some dimensions of known extents, and may change these extents.

    Pad, Resize, pooling, DepthToSpace, Trilu, Compress, InstanceNormalization, ...

    f(x)       lacks the axes that x lacks, in every dimension that f does not work within
    f([a; b])  = [f(a); f(b)], for parts along such a dimension
    Pad([a; b]) = [0; a; b; 0], along the parts: a shift by one token is Pad and a Slice
    Trilu(x)   = Where(kept, x, 0), for scores of attention that are known block by block (see `blocks`)

Example: the history [B, d, 50] has 50 steps and is the same for all candidates B. AveragePool over the steps runs on
one row. The shape inference of onnx says how many steps the result has.

Holds when all inputs but the first are constants, and the extents that the operator works within are numbers.
Rounding: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from mari_onnx.analysis.context import BOOL, Context, Derived, Op
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.analysis.rules.blocks import blocks_of
from mari_onnx.analysis.rules.elementwise import elementwise
from mari_onnx.analysis.rules.selected import select
from mari_onnx.analysis.shape_inference import infer
from mari_onnx.document.graph_view import shape_of
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, dim, extent_of, new_dims
from mari_onnx.ir.expressions import fold
from mari_onnx.ir.forms import Array, Parts, Value

SAME_SHAPE = frozenset({"Trilu", "LRN", "MeanVarianceNormalization", "InstanceNormalization", "GroupNormalization"})
"""Operators whose result has the shape of their input."""


def after(op: Op, ctx: Context) -> Derived:
    """Operators that work within all dimensions but the batch, dimension 0."""
    return _within(op, ctx, range(1, _rank(op)))


def pool(op: Op, ctx: Context) -> Derived:
    """Pooling works within all dimensions after the batch and the channels, which keep their places.

    onnxruntime pools an empty batch, but fails for empty channels. So candidates must not come to be the channels.
    """
    return _within(op, ctx, range(2, _rank(op)), in_place=True)


def triangle(op: Op, ctx: Context) -> Derived:
    """Trilu works within the last two dimensions; of scores in blocks it is a mask, Where(kept, x, 0)."""
    found = _within(op, ctx, range(_rank(op) - 2, _rank(op)))
    if isinstance(found, Refused) or blocks_of(ctx, op.data) is None:
        return found
    diagonal = op.input(1)
    content = np.array(0) if diagonal is None else diagonal.content
    sizes = [*map(extent_of, op.data.known_dims[-2:]), None if content is None else content.item()]
    if not all(isinstance(e, int) for e in sizes):
        return found
    rows, columns, k = (int(str(e)) for e in sizes)
    shape, k = (rows, columns), min(max(k, -rows), columns)
    kept = ~np.tri(*shape, k - 1, np.bool_) if op.attribute("upper", 1) else np.tri(*shape, k, np.bool_)
    dims, dtype = new_dims(shape), helper.tensor_dtype_to_np_dtype(op.data.dtype)
    mask = Value("", dims, BOOL, Array(ctx.b.constant(kept), dims))
    zero = Value("", (), op.data.dtype, Array(ctx.b.constant(np.zeros((), dtype)), ()))
    where = helper.make_node("Where", ["", op.data.name, ""], [op.name])
    return elementwise(Op(where, (mask, op.data, zero), op.opset), ctx)


def channels(op: Op, ctx: Context) -> Derived:
    """LRN works within the channels, dimension 1."""
    return _within(op, ctx, [1])


def mean_variance(op: Op, ctx: Context) -> Derived:
    """MeanVarianceNormalization works within the dimensions in `axes`, which by default include the batch."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    return _within(op, ctx, [a % _rank(op) for a in op.attribute("axes", [0, 2, 3])])


def pad(op: Op, ctx: Context) -> Derived:
    """Pad works within the dimensions that are padded.

    The paddings are an attribute before opset 11; from opset 18 on `axes` may say of which dimensions they are.
    """
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    pads, axes = op.integers(1, "pads"), op.integers(3, "axes")
    for setting in (pads, axes):
        if isinstance(setting, Refused):
            return setting
    rank = _rank(op)
    assert isinstance(pads, list), "Pad has pads"
    positions = [a % rank for a in axes] if isinstance(axes, list) else list(range(rank))
    padded = {a: (pads[i], pads[i + len(positions)]) for i, a in enumerate(positions)}
    padded = {a: both for a, both in padded.items() if any(both)}
    derived = _within(op, ctx, list(padded))
    if isinstance(derived, Refused) or len(padded) != 1:
        return derived
    ((position, (before, after)),) = padded.items()
    parts = _padded(op, ctx, derived[0].known_dims[position], position, before, after)
    return derived if parts is None else [derived[0].changed(parts=parts)]


def _padded(op: Op, ctx: Context, result: Dim, position: int, before: int, after: int) -> Parts | None:
    """The parts along the dimension that is padded, between parts of one number; None for any other padding."""
    x, number = op.data, op.input(2)
    parts, mode = x.parts, op.attribute("mode", b"constant")
    constant = mode == b"constant" and before >= 0 and after >= 0 and len(result) == 1
    if parts is None or not constant or x.known_dims[position] != (parts.axis,):
        return None
    if number is None:
        filler = ctx.b.constant(np.array(op.attribute("value", 0.0), helper.tensor_dtype_to_np_dtype(x.dtype)))
    elif number.array.tensor.stored and number.dims == ():
        filler = number.array.tensor
    else:
        return None
    ends = [((Axis(count), Array(filler, ())),) if count else () for count in (before, after)]
    since = ctx.b.count
    return priced(ctx.cost, Parts(result[0], (*ends[0], *parts.pieces, *ends[1])), since, parts.price)


def resize(op: Op, ctx: Context) -> Derived:
    """Resize by constant scales works within the dimensions whose scale is not 1. Refused for a Resize to sizes."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    scales = op.input(1 if op.opset < 11 else 2)
    factors = None if scales is None else _array(ctx, scales)
    if factors is None or factors.size != _rank(op) or op.attribute("axes"):
        return Refused(f"{op.op_type} to sizes, or by scales that are computed")
    return _within(op, ctx, [i for i, factor in enumerate(factors) if factor != 1])


def compress(op: Op, ctx: Context) -> Derived:
    """Compress by a constant condition selects columns of one dimension, as a Gather does (see `columns`).

    Refused without an axis, and if the model computes the condition.
    """
    axis, chosen = op.attribute("axis"), op.inputs[1]
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    if axis is None or chosen is None or chosen.content is None or any(e is None for e in chosen.content.flat):
        return Refused("Compress of all dimensions at once, or by a condition that is computed")
    axis, places = axis % _rank(op), [i for i, e in enumerate(chosen.content.flat) if e]
    dims = (*op.data.dims[:axis], dim(len(places)), *op.data.dims[axis + 1 :])
    if not isinstance(extent_of(op.data.dims[axis]), int):
        return Refused("Compress of an axis whose extent is not a number")
    selected = select(op, ctx, op.data, axis, places) if places else None
    return selected or run_along(op, ctx, [axis], [(dims, op.data.dtype)], op.inputs[1:])


def _rank(op: Op) -> int:
    """The rank of the first input, or 0 for an unknown rank, which `_within` refuses."""
    return len(op.data.dims or ())


def _within(op: Op, ctx: Context, within: Sequence[int], *, in_place: bool = False) -> Derived:
    """The original node, which works along the dimensions `within`.

    Refused if an extent of these dimensions is not a number, or if onnx cannot infer the extents of the result. Also
    refused if another input is computed, or if the node has a second output.
    """
    x = op.data
    if x.dims is None or any(v is not None and v.dims is None for v in op.inputs):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    if len(op.proto.output) > 1 or not all(v is None or v.constant or _numbers(v) for v in op.inputs[1:]):
        return Refused(f"{op.op_type} with a second output, or by something that is computed")
    if op.op_type in SAME_SHAPE:
        return run_along(op, ctx, list(within), [(x.dims, x.dtype)], op.inputs[1:])
    extents = [extent_of(d) if i in within else 1 for i, d in enumerate(x.dims)]
    if 0 in extents:
        return Refused(f"{op.op_type} of axes without elements")
    if not all(isinstance(e, int) for e in extents):
        return Refused(f"{op.op_type} of axes whose extents are not numbers")
    shape = _inferred(op, ctx, [int(str(e)) for e in extents])
    if shape is None or len(shape) != len(extents):
        return Refused(f"what {op.op_type} makes of its axes is not known")
    dims: Dims = tuple(
        d if i not in within or shape[i] == extents[i] else dim(shape[i], str(shape[i])) for i, d in enumerate(x.dims)
    )
    return run_along(op, ctx, list(within), [(dims, x.dtype)], op.inputs[1:], in_place=in_place)


def _numbers(value: Value) -> bool:
    """Whether the value is shape arithmetic whose elements are all numbers: exporters write pads in this way."""
    return value.content is not None and all(isinstance(e, int) for e in value.content.flat)


def _array(ctx: Context, value: Value) -> npt.NDArray[Any] | None:
    """The elements of a constant, or of shape arithmetic that is the same in every call; None for any other value."""
    if value.array.tensor.stored:
        return fold(plain(ctx.b, value), ctx.array_of)
    if value.content is None or not _numbers(value):
        return None
    return np.array(value.content.tolist(), helper.tensor_dtype_to_np_dtype(value.dtype)).reshape(value.content.shape)


def _inferred(op: Op, ctx: Context, shape: list[int]) -> list[int] | None:
    """The shape of the node's result for an input of this shape, as onnx infers it; None if onnx infers none."""
    info = helper.make_tensor_value_info(op.proto.input[0], op.data.dtype, shape)
    stored = []
    for name, value in zip(op.proto.input[1:], op.inputs[1:], strict=True):
        if value is None:
            continue
        array = _array(ctx, value)
        if array is None:
            return None
        stored.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
    name = op.proto.output[0]
    graph = helper.make_graph([op.proto], "one", [info], [onnx.ValueInfoProto(name=name)], stored)
    found = infer(helper.make_model(graph, opset_imports=[helper.make_opsetid("", op.opset)]))
    dims = (shape_of(found[name]) if name in found else None) or [None]
    numbers = [e for e in dims if isinstance(e, int)]
    return numbers if len(numbers) == len(dims) else None
