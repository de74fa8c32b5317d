"""Elementwise operators on the axes that their operands are stored along.

    u (L D) * i (B D)  of a value [B L D]    is written as [1 L D] * [B 1 D]

An elementwise operator treats each index of an axis independently. If its inputs repeat along an axis, so does its
result. Therefore the original node, with unchanged attributes, can run on inputs that have extent 1 along this axis.
JAX's `vmap` adds an axis to an operator; this module takes one away.
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
"""Makes the node from its inputs and the shape of its result."""


def agree(b: Builder, arrays: Sequence[Array], dims: Dims, own_dims: Sequence[Dims] = ()) -> list[Array]:
    """The arrays, changed so that ONNX's broadcasting aligns their rows along every axis of `dims`.

    Rows that an index selects (2 requests' rows, for B candidates) are gathered where another array has other rows
    along the same axis. A single row broadcasts as it is. `own_dims` are the dims of each array if they are not `dims`.
    """
    result = list(arrays)
    if not any(array.via for array in arrays):
        return result
    for axis in flat(dims):
        states = {array.state(axis) for array in result} - {"absent"}
        if len(states) > 1:
            for k, array in enumerate(result):
                state = array.state(axis)
                if isinstance(state, IndexMap) and state.index is not None:
                    result[k] = fill(b, array, own_dims[k] if own_dims else dims, [axis])
    return result


def result_via(arrays: Sequence[Array], axes: Sequence[Axis]) -> tuple[tuple[Axis, IndexMap], ...]:
    """The index maps of a broadcast result. An axis has a map if all arrays that have the axis have that same map."""
    via = []
    mapped = {a for array in arrays for a, _ in array.via}
    for axis in filter(mapped.__contains__, axes):
        states = {s for array in arrays for a, s in array.names() if a is axis}
        if len(states) == 1 and isinstance(state := states.pop(), IndexMap):
            via.append((axis, state))
    return tuple(via)


def spread(arrays: Sequence[Array], dims: Dims) -> tuple[Dims, list[int]]:
    """A layout in which the arrays broadcast, and for each of its dimensions the position in `dims` that it is part of.

    A dimension (B L) is kept merged only where all arrays that have B or L have both in the same way:

        x ((B L) D) and y ((B L) D)     [(B L) D],  dimensions 0 and 1
        x ((B L) D) and u (L D)         [B L D],    dimensions 0, 0 and 1: u is [1 L D]
    """
    spec: list[Dim] = []
    origin: list[int] = []
    for i, d in enumerate(dims):
        kinds = len(d) > 1 and {tuple(array.state(a) for a in d) for array in arrays} - {("absent",) * len(d)}
        cut = [(a,) for a in d] if kinds and len(kinds) > 1 else [d]
        spec.extend(cut)
        origin.extend([i] * len(cut))
    return tuple(spec), origin


def pointwise(b: Builder, arrays: Sequence[Array], ranks: Sequence[int], dims: Dims, write: Write) -> Array:
    """One elementwise node, whose result is stored along the union of the operands' stored axes.

    `dims` are those of the result, and the arrays have the same axes. `ranks` are the ranks of the operands' values, so
    that a constant of lower rank, such as a bias [8] beside [B, L, 8], needs no Reshape. An operand may have become one
    of more dimensions: a divisor [1] that differs for rows [R, 2, 5] to which no candidate refers.
    """
    arrays = agree(b, arrays, dims)
    leading = _operand_that_leads(b, arrays, dims)
    if leading is not None:
        dims = leading.layout
        ranks = _ranks_within(arrays, ranks, leading)
    else:
        ranks = [max(rank, _rank(array, dims)) for array, rank in zip(arrays, ranks, strict=True)]
    spec, origin = spread(arrays, dims)
    tensors = [
        lay(b, array, tuple(d for d, i in zip(spec, origin, strict=True) if i >= len(dims) - rank))
        for array, rank in zip(arrays, ranks, strict=True)
    ]
    present = {a for array in arrays for a in flat(array.layout) if a.extent != 1}
    layout = tuple(tuple(a for a in d if a in present) for d in spec)
    via = result_via(arrays, flat(dims))
    return Array(write(tensors, stored_shape(layout, via)), layout, via)


def _operand_that_leads(b: Builder, arrays: Sequence[Array], dims: Dims) -> Array | None:
    """The operand whose order of axes the result takes, so that the fewest operands are transposed.

    Example: the products of attention are stored as (h B L) and not as (B h L). The operand must have every axis that
    another operand has. None where the order of `dims` needs no more Transposes. Of two orders that need equally many,
    one with the candidates outermost leads: most readers take them as rows. If all other operands are scalars, the
    operand keeps its order.
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
    first = stored[turned[0]]
    as_given = len(largest) - len(turned)
    rows = [b.counts_candidates(order[0].extent) for order in (first, sorted(first, key=position.__getitem__))]
    return arrays[turned[0]] if len(alike) > as_given or (len(alike) == as_given and rows == [True, False]) else None


def _ranks_within(arrays: Sequence[Array], ranks: Sequence[int], leading: Array) -> list[int]:
    """The rank of each operand beside `leading`, which keeps its layout: as low as possible, to spare Reshapes.

    An operand beside a column [500, 1] has the full rank: onnxruntime computes [500, 1] + [1] row by row, and
    [500, 1] + [1, 1] at once.
    """
    layout = leading.layout
    result = []
    for array, rank in zip(arrays, ranks, strict=True):
        if array is leading or (rank > 0 and not layout[-1]):
            result.append(len(layout))
        else:
            result.append(_rank(array, layout) or min(rank, len(layout), len(array.tensor.known_shape)))
    return result


def _rank(array: Array, layout: Dims) -> int:
    """How many of the last dimensions of a layout the array needs."""
    needs = (len(layout) - i for i, d in enumerate(layout) if any(array.state(a) != "absent" for a in d))
    return next(needs, 0)
