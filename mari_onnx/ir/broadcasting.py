"""Elementwise operators on the axes that their operands are stored along, and not on those that they repeat along.

    u (L D) * i (B D)  of a value [B L D]    is written as [1 L D] * [B 1 D]

This is `vmap` undone: an operator to which an axis is independent gives a result that repeats along it when its inputs
do. So the original node, with its attributes as they are, runs on inputs in which that axis has extent 1, and so has
its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mari_onnx.ir.arrays import fill, lay, stored_shape
from mari_onnx.ir.axes import Axis, Dim, Dims, flat
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, IndexMap

Write = Callable[[list[Tensor], tuple[Extent, ...]], Tensor]
"""Makes the node, given its inputs and the shape of its result."""


def agree(b: Builder, arrays: Sequence[Array], dims: Dims, own: Sequence[Dims] = ()) -> list[Array]:
    """The arrays with every axis of `dims` stored alike wherever ONNX's broadcasting would not make it so.

    Rows that an index selects meet other rows only after they were selected. One row broadcasts by itself.
    `own` are the dims of each array, where those are not `dims`.
    """
    out = list(arrays)
    for axis in flat(dims):
        states = {array.state(axis) for array in out} - {"absent"}
        if len(states) > 1:
            for k, array in enumerate(out):
                state = array.state(axis)
                if isinstance(state, IndexMap) and state.index is not None:
                    out[k] = fill(b, array, own[k] if own else dims, [axis])
    return out


def result_via(arrays: Sequence[Array], axes: Sequence[Axis]) -> tuple[tuple[Axis, IndexMap], ...]:
    """The index maps of a broadcast result: an axis that any operand stores by itself is stored by itself."""
    via = []
    for axis in axes:
        states = {s for array in arrays for a, s in array.names() if a is axis}
        if len(states) == 1 and isinstance(state := states.pop(), IndexMap):
            via.append((axis, state))
    return tuple(via)


def spread(arrays: Sequence[Array], dims: Dims) -> tuple[Dims, list[int]]:
    """A layout in which the arrays broadcast, and the logical dimension of each of its dimensions.

    (B L) is kept merged only where all arrays that have any of it have the same of it:

        x ((B L) D) and y ((B L) D)     [(B L) D],  dimensions 0 and 1
        x ((B L) D) and u (L D)         [B L D],    dimensions 0, 0 and 1: u is [1 L D]
    """
    spec: list[Dim] = []
    origin: list[int] = []
    for i, d in enumerate(dims):
        kinds = {tuple(array.state(a) for a in d) for array in arrays} - {("absent",) * len(d)}
        cut = [d] if len(d) <= 1 or len(kinds) <= 1 else [(a,) for a in d]
        spec.extend(cut)
        origin.extend([i] * len(cut))
    return tuple(spec), origin


def pointwise(b: Builder, arrays: Sequence[Array], ranks: Sequence[int], dims: Dims, write: Write) -> Array:
    """One elementwise node on the union of the stored axes.

    The arrays' axes are those of `dims`, the result's; `ranks` are the logical ranks of the operands, so that
    a constant of lower rank stays as it is stored.
    """
    arrays = agree(b, arrays, dims)
    leading = _order_that_is_kept(arrays, dims)
    if leading is not None:
        dims = leading.layout
        ranks = _ranks_within(arrays, ranks, leading)
    spec, origin = spread(arrays, dims)
    tensors = [
        lay(b, array, tuple(d for d, i in zip(spec, origin, strict=True) if i >= len(dims) - rank))
        for array, rank in zip(arrays, ranks, strict=True)
    ]
    present = {a for array in arrays for a, _ in array.names()}
    layout = tuple(tuple(a for a in d if a in present) for d in spec)
    via = result_via(arrays, flat(dims))
    return Array(write(tensors, stored_shape(layout, via)), layout, via)


def _order_that_is_kept(arrays: Sequence[Array], dims: Dims) -> Array | None:
    """The operand whose own order of axes spares the most Transposes: attention's products are (h B L), not (B h L).

    It has to have every axis that another operand has. None where the order of `dims` is as good. What meets nothing
    but numbers stays as it is.
    """
    stored = [[a for a in flat(array.layout) if a.extent != 1] for array in arrays]
    if sum(map(bool, stored)) == 1:
        return next(array for array, axes in zip(arrays, stored, strict=True) if axes)
    position = {a: i for i, a in enumerate(flat(dims))}
    most = max(map(len, stored), default=0)
    largest = [i for i, axes in enumerate(stored) if len(axes) == most]
    turned = [i for i in largest if stored[i] != sorted(stored[i], key=position.__getitem__)]
    if not turned or set(stored[turned[0]]) != {a for axes in stored for a in axes}:
        return None
    alike = [i for i in turned if stored[i] == stored[turned[0]]]
    return arrays[turned[0]] if len(alike) > len(largest) - len(turned) else None


def _ranks_within(arrays: Sequence[Array], ranks: Sequence[int], leading: Array) -> list[int]:
    """At which rank each operand meets one that keeps its layout: as low as it can be.

    A number for each row beside columns of one is at full rank: [500, 1] + [1] is done row by row by onnxruntime,
    [500, 1] + [1, 1] is not.
    """
    layout = leading.layout
    out = []
    for array, rank in zip(arrays, ranks, strict=True):
        if array is leading or (rank > 0 and not layout[-1]):
            out.append(len(layout))
        else:
            out.append(_rank(array, layout) or min(rank, len(layout), len(array.tensor.known_shape)))
    return out


def _rank(array: Array, layout: Dims) -> int:
    """How many of the last dimensions of a layout the array needs."""
    needs = (len(layout) - i for i, d in enumerate(layout) if any(array.state(a) != "absent" for a in d))
    return next(needs, 0)
