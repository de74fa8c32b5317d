"""Operators that change the dimensions of a value, and not its stored tensors.

    Reshape, Flatten, Squeeze, Unsqueeze, Transpose     split, merge and reorder the axes
    Expand                                              adds an axis that the stored tensors lack
    Tile of n entries, r times                          adds an axis of extent r that the stored tensors lack: (r n)
    ConstantOfShape                                     is one stored number, which lacks all axes
    Identity, Dropout                                   change nothing

None of them is written. A reader that needs another order of the axes, or an axis written out, gets a Transpose or an
Expand of its own. Example: Expand of the user's row [1, 4] to [B, 4] gives a value with a new axis B that the stored
row [1, 4] lacks.

Holds when the new shape is known as extents. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mari_onnx.analysis.context import Context, Derived, Op, uniform
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.ir.axes import Dim, Dims, Refused, dim, extents, infer_shape, require_proof
from mari_onnx.ir.axes import reshape as recut
from mari_onnx.ir.extents import Extent, Poly, product
from mari_onnx.ir.forms import Value
from mari_onnx.ir.renaming import rename_value

UNKNOWN_SHAPE = "export with dynamic axes on the batch only, so that the shape can be computed from the inputs"


def _as(op: Op, value: Value, dims: Dims) -> Derived:
    """The value under the node's name, with its axes arranged as `dims`."""
    return [value.with_dims(dims).named(op.name)]


def identity(op: Op, ctx: Context) -> Derived:
    """Identity: the same value under another name."""
    value = op.data.named(op.name)
    return [value.changed(terms=value.terms and ctx.terms_beside(value.terms, value.array, value.name))]


def dropout(op: Op, ctx: Context) -> Derived:
    """Dropout in inference mode: the same value. Refused in training mode, and if the mask is used."""
    training = op.input(2)
    if training is not None and (training.content is None or training.content.item()):
        return Refused("Dropout in training mode", "export the model in evaluation mode")
    if len(op.proto.output) > 1:
        return Refused("the mask of Dropout is used")
    return identity(op, ctx)


def reshape(op: Op, ctx: Context) -> Derived:
    """Reshape: the axes are split and merged, [(B L) 320] to [B L 20 16].

    Refused if the model computes the target shape, or if it is not proven that the axes can be split to this shape.
    """
    target = op.input(1)
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    if target is None or target.content is None or any(e is None for e in target.content.flat):
        return Refused("the target shape is computed from data", UNKNOWN_SHAPE)
    shape = infer_shape(list(target.content.flat), extents(op.data.dims), bool(op.attribute("allowzero", 0)))
    return _recut(op, ctx, shape)


def _recut(op: Op, ctx: Context, shape: Sequence[Extent] | None) -> Derived:
    """The first input with its axes split and merged to a shape; refused if that is not proven to be possible."""
    new = None if shape is None else recut(op.data.known_dims, shape)
    if new is None:
        return Refused(f"its axes cannot be cut to the target shape {shape}", UNKNOWN_SHAPE)
    dims, split = new
    return _as(op, rename_value(ctx.b, op.data, split), dims)


def flatten(op: Op, ctx: Context) -> Derived:
    """Flatten: all dimensions before `axis` as one, and all from `axis` on as one."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    dims = op.data.dims
    axis = op.axis
    return _as(op, op.data, (tuple(a for d in dims[:axis] for a in d), tuple(a for d in dims[axis:] for a in d)))


def squeeze(op: Op, ctx: Context) -> Derived:
    """Squeeze: without some dimensions of extent 1.

    Refused if it is not known which extents are 1. An extent that is a symbol, and does not count candidates, may be
    squeezed: the original node then checks at run time that it is 1.
    """
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    dims, axes = op.data.dims, op.integers(1, "axes")
    if isinstance(axes, Refused):
        return axes
    if axes is None:
        if any(isinstance(e, Poly) for e in extents(dims)):
            return Refused("Squeeze of every axis of extent 1, and some extents are not known")
        axes = [i for i, d in enumerate(dims) if not d]
    axes = [a % len(dims) for a in axes]
    taken = [a for i in axes for a in dims[i]]
    if any(isinstance(a.extent, int) or ctx.is_candidate(a) for a in taken):
        return Refused("Squeeze of an axis that is not known to have extent 1")
    if taken:  # the node checks at run time that these extents are 1
        rest = tuple(d for i, d in enumerate(dims) if i not in axes)
        return run_along(op, ctx, axes, [(rest, op.data.dtype)], op.inputs[1:])
    return _as(op, op.data, tuple(d for i, d in enumerate(dims) if i not in axes))


def unsqueeze(op: Op, ctx: Context) -> Derived:
    """Unsqueeze: with further dimensions of extent 1, which have no axis."""
    axes = op.integers(1, "axes")
    if op.data.dims is None or axes is None or isinstance(axes, Refused):
        return axes if isinstance(axes, Refused) else Refused("the rank of the input is unknown")
    rank = len(op.data.dims) + len(axes)
    new = {a % rank for a in axes}
    if len(new) < len(axes):
        return Refused("Unsqueeze of one axis twice")
    rest = iter(op.data.dims)
    return _as(op, op.data, tuple(() if i in new else next(rest) for i in range(rank)))


def transpose(op: Op, ctx: Context) -> Derived:
    """Transpose: the dimensions in another order."""
    rank = None if op.data.dims is None else len(op.data.dims)
    perm = op.attribute("perm", list(range(rank or 0))[::-1])
    if op.data.dims is None or len(perm) != rank:  # of another rank, the node does not run
        return Refused("the rank of the input is unknown")
    return _as(op, op.data, tuple(op.data.dims[p] for p in perm))


def expand(op: Op, ctx: Context) -> Derived:
    """Expand: a dimension of extent 1 gets a new axis, along which the value repeats.

    Refused if the model computes the target shape, or if an extent of the value is not proven to be that of the target.
    """
    target = op.input(1)
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    if target is None or target.content is None or any(e is None for e in target.content.flat):
        return Refused("the target shape is computed from data", UNKNOWN_SHAPE)
    shape = [e for e in target.content.flat if e is not None]
    rank = max(len(shape), len(op.data.dims))
    have = [()] * (rank - len(op.data.dims)) + list(op.data.dims)
    shape = [1] * (rank - len(shape)) + shape
    dims: list[Dim] = []
    for d, extent in zip(have, shape, strict=True):
        if not d:
            dims.append(dim(extent, str(extent)))
        elif extent == 1 or extent == product(a.extent for a in d):
            dims.append(d)
        else:
            require_proof(product(a.extent for a in d), extent)
            return Refused(f"Expand of extent {product(a.extent for a in d)} to {extent}, not proven equal")
    return _as(op, op.data, tuple(dims))


def tile(op: Op, ctx: Context) -> Derived:
    """Tile: the repeats are a new axis outside the tiled one, as element i of a tiled (n) is element i % n of (n)."""
    repeats = op.input(1)
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    if repeats is None or repeats.content is None or any(e is None for e in repeats.content.flat):
        return Refused("the repeats are computed from data", UNKNOWN_SHAPE)
    if repeats.content.size != len(op.data.dims):
        return Refused("the repeats are not one for each dimension")
    dims = tuple((*dim(r, str(r)), *d) for d, r in zip(op.data.dims, repeats.content.flat, strict=True))
    return _as(op, op.data, dims)


def constant_of_shape(op: Op, ctx: Context) -> Derived:
    """ConstantOfShape: one number everywhere, as an array that lacks all axes."""
    target = op.data
    if target.content is None or any(e is None for e in target.content.flat):
        return Refused("the shape is computed from data", UNKNOWN_SHAPE)
    fill = op.attribute("value")
    scalar = np.zeros((), np.float32) if fill is None else ctx.array_of(fill).reshape(())
    return [uniform(ctx, op.name, scalar, list(target.content.flat))]
