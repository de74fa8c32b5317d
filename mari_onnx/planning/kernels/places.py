"""Places: a tensor at one index of an axis, without that axis, in as little copying as possible."""

from __future__ import annotations

import numpy as np

from mari_onnx.ir.expressions import Tensor, first_input
from mari_onnx.ir.extents import Extent
from mari_onnx.planning.kernels.site import Site, is_elementwise, is_ours

MOST = 16
"""The longest axis that is taken apart into its places: there, a launch for each place costs more than it saves."""


def place(site: Site, t: Tensor, axis: int, i: int, *, through: bool) -> Tensor:
    """Index i of an axis, counted from the front, of a tensor; `through` an elementwise operator, it is one of places.

    The operands of that operator may repeat along the axis. Columns that were reshaped to places are cut before the
    Reshape: they may be a piece of a Concat, which is there already.
    """
    shape = t.known_shape
    without = (*shape[:axis], *shape[axis + 1 :])
    operands = [o for o in t.node.inputs if o is not None and o.shape is not None]
    if through and is_elementwise(t.node) and len(operands) == len(t.node.inputs):
        places = [_of_operand(site, o, axis - len(shape), i) for o in operands]
        return site.b.make(t.op_type, places, without, t.dtype, **dict(t.node.attributes))
    source = first_input(t) if is_ours(t.node, "Reshape") else t
    width = shape[-1]
    if source.shape == (*shape[:axis], source.known_shape[-1]) and axis == len(shape) - 2 and isinstance(width, int):
        return site.b.reshape(site.b.slice(source, axis, i * width, (i + 1) * width), without)
    if t.op_type == "Concat":
        return site.b.reshape(site.b.slice(t, axis, i, i + 1), without)
    return site.b.take(t, site.b.constant(np.array(i, np.int64)), axis)


def _of_operand(site: Site, t: Tensor, axis: int, i: int) -> Tensor:
    """Index i of an axis, counted from the end, of an operand; all of it where it repeats along that axis."""
    shape = t.known_shape
    if -axis > len(shape):
        return t
    position = len(shape) + axis
    without: tuple[Extent, ...] = (*shape[:position], *shape[position + 1 :])
    return site.b.reshape(t, without) if shape[position] == 1 else place(site, t, position, i, through=True)
