"""Running an operator on fewer axes than the original did: `vmap` undone.

An operator that treats an axis independently gives a result that repeats along it when its inputs do. So the
original node, with its attributes as they are, runs on inputs in which that axis has extent 1, and so has its
result. `pointwise` is that for operators to which every axis is independent, `natural` for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from onnx import helper

from mari_onnx.ir.axes import Axis, Dim, Dims, Renaming, flat, renamed
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, compare, product
from mari_onnx.ir.forms import Array, IndexMap, Names, Parts, Terms, Value
from mari_onnx.ir.layout import bounds, cut, fill, groups, lay, merge, pieces_between

GEMM_DTYPES = (1, 10, 11)
"""Of what is multiplied as Gemm; other types (integers, bfloat16) have no kernel for it in onnxruntime."""

SUMMED = (1, 6, 7, 11)
"""Element types for which every runtime has a ReduceSum."""

Write = Callable[[list[Tensor], tuple[Extent, ...]], Tensor]
"""Makes the node, given its inputs and the shape of its result."""

Run = Callable[[list[Array], Renaming], Array]
"""One operation on arrays that hold the operands' values, but for axes that the renaming gives other names."""


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

    (B L) is kept merged only where all arrays that have any of it have the same of it.
    """
    spec: list[Dim] = []
    origin: list[int] = []
    for i, d in enumerate(dims):
        kinds = {tuple(array.state(a) for a in d) for array in arrays} - {("absent",) * len(d)}
        pieces = [d] if len(d) <= 1 or len(kinds) <= 1 else [(a,) for a in d]
        spec.extend(pieces)
        origin.extend([i] * len(pieces))
    return tuple(spec), origin


def pointwise(b: Builder, arrays: Sequence[Array], ranks: Sequence[int], dims: Dims, write: Write) -> Array:
    """One elementwise node on the union of the stored axes.

    The arrays' axes are those of `dims`, the result's; `ranks` are the logical ranks of the operands, so that
    a constant of lower rank stays as it is stored.
    """
    arrays = agree(b, arrays, dims)
    stored = _as_stored(arrays, dims)
    if stored is not None:
        dims = stored.layout
        # [500, 1] + [1] is done row by row by onnxruntime, [500, 1] + [1, 1] is not
        full = [array is stored or (rank > 0 and not dims[-1]) for array, rank in zip(arrays, ranks, strict=True)]
        ranks = [
            len(dims) if whole else _rank(array, dims) or min(rank, len(dims), len(array.tensor.known_shape))
            for array, rank, whole in zip(arrays, ranks, full, strict=True)
        ]
    spec, origin = spread(arrays, dims)
    tensors = [
        lay(b, array, tuple(d for d, i in zip(spec, origin, strict=True) if i >= len(dims) - rank))
        for array, rank in zip(arrays, ranks, strict=True)
    ]
    present = {a for array in arrays for a, _ in array.names()}
    layout = tuple(tuple(a for a in d if a in present) for d in spec)
    via = result_via(arrays, flat(dims))
    rows = {a: m.rows for a, m in via}
    shape = tuple(product(rows.get(a, a.extent) for a in d) for d in layout)
    return Array(write(tensors, shape), layout, via)


def _as_stored(arrays: Sequence[Array], dims: Dims) -> Array | None:
    """The operand whose own order of axes spares the most Transposes: attention's products are (h B L), not (B h L).

    It has to have every axis that another operand has. None where the order of `dims` is as good. What meets nothing
    but numbers stays as it is.
    """
    order = flat(dims)
    position = {a: i for i, a in enumerate(order)}
    stored = [[a for a in flat(array.layout) if a.extent != 1] for array in arrays]
    most = max(map(len, stored), default=0)
    if sum(map(bool, stored)) == 1:
        return next(array for array, axes in zip(arrays, stored, strict=True) if axes)
    largest = [i for i, axes in enumerate(stored) if len(axes) == most]
    everything = {a for axes in stored for a in axes}
    turned = [i for i in largest if stored[i] != sorted(stored[i], key=position.__getitem__)]
    if not turned or set(stored[turned[0]]) != everything:
        return None
    alike = [i for i in turned if stored[i] == stored[turned[0]]]
    return arrays[turned[0]] if len(alike) > len(largest) - len(turned) else None


def _rank(array: Array, layout: Dims) -> int:
    """How many of the last dimensions of a layout the array needs."""
    needs = (len(layout) - i for i, d in enumerate(layout) if any(array.state(a) != "absent" for a in d))
    return next(needs, 0)


def part_by_part(b: Builder, operands: Sequence[Value], dims: Dims, run: Run) -> Parts | None:
    """One node for each set of stored axes: pieces that differ along the same axes are gathered first.

    Holds when the operation treats the parts' axis, which its result with `dims` must have, independently. None where
    no operand is in parts, or where every part of the result differs along the same axes.
    """
    axis = next((v.parts.axis for v in operands if v.parts is not None), None)
    if axis is None or not any(axis in d for d in dims):
        return None
    along = [v.parts if v.parts is not None and v.parts.axis is axis else None for v in operands]
    edges: set[int] = set()
    for parts in along:
        if parts is not None:
            here = bounds(parts)
            if here is None or here[-1] != axis.extent:
                return None
            edges.update(here)
    cuts = sorted(edges)
    intervals = list(pairwise(cuts))
    columns: list[list[list[tuple[Axis, Array]]]] = []
    for value, parts in zip(operands, along, strict=True):
        if parts is not None:
            columns.append([pieces_between(b, parts, low, high) for low, high in intervals])
        else:
            subs = [Axis(high - low, axis.name) for low, high in intervals]
            columns.append(
                [[(s, cut(b, value.array, axis, lo, hi, s))] for s, (lo, hi) in zip(subs, intervals, strict=True)]
            )

    def key(i: int) -> Names:
        names = {(a, s) for column in columns for sub, array in column[i] for a, s in array.names() if a is not sub}
        stored = {a for a, s in names if s == "stored"}
        return frozenset((a, s) for a, s in names if s == "stored" or a not in stored)

    by_names = groups([key(i) for i in range(len(intervals))])
    if len(by_names) < 2:
        return None
    pieces: list[tuple[Axis, Array] | None] = [None] * len(intervals)
    for members in by_names.values():
        width = sum(intervals[i][1] - intervals[i][0] for i in members)
        whole = Axis(width, axis.name)
        gathered = []
        for value, column in zip(operands, columns, strict=True):
            if value.array.state(axis) == "absent":
                gathered.append(value.array)
                continue
            flat_pieces = [piece for i in members for piece in column[i]]
            sub, array = merge(b, flat_pieces, axis, value.known_dims)
            gathered.append(replace(array, layout=renamed(array.layout, {sub: (whole,)})))
        result = run(gathered, {axis: (whole,)})
        offset = 0
        for neighbours in _consecutive(members):  # one piece each: what is cut apart here, somebody puts together again
            extent = intervals[neighbours[-1]][1] - intervals[neighbours[0]][0]
            if len(neighbours) == len(members):
                pieces[neighbours[0]] = (whole, result)
            else:
                sub = Axis(extent, axis.name)
                pieces[neighbours[0]] = (sub, cut(b, result, whole, offset, offset + extent, sub))
            offset += extent
    return Parts(axis, tuple(p for p in pieces if p is not None))


def _consecutive(positions: Sequence[int]) -> list[list[int]]:
    """Ascending positions as runs without gaps."""
    runs: list[list[int]] = []
    for p in positions:
        if runs and runs[-1][-1] + 1 == p:
            runs[-1].append(p)
        else:
            runs.append([p])
    return runs


def one_row(b: Builder, array: Array, axes: Sequence[Axis]) -> Array:
    """The array without axes of which it has row 0 alone.

    Their sum is that row, and zeros for a call without candidates, where there is no row 0: a Reshape would fail.
    """
    for axis in axes:
        rows = array.state(axis)
        if not isinstance(rows, IndexMap) or rows.index is not None or array.tensor.dtype not in SUMMED:
            continue
        order = [(axis,), *((a,) for a in flat(array.layout) if a is not axis)]
        t = lay(b, array, tuple(order))
        t = b.make("ReduceSum", [t], t.known_shape[1:], axes=(0,), keepdims=0)
        via = tuple((a, m) for a, m in array.via if a is not axis)
        array = Array(t, tuple(order[1:]), via, array.price)
    return array


def natural(b: Builder, array: Array, dims: Dims) -> tuple[Tensor, Dims]:
    """The tensor at the value's own rank, absent axes at extent 1, and its layout."""
    layout = tuple(tuple(a for a in d if array.state(a) != "absent") for d in dims)
    return lay(b, array, layout), layout


def in_order(array: Array, dims: Dims, own: Sequence[int]) -> Dims:
    """The dims with those not in `own` in the order in which the array is stored, if that is whole dims in turn."""
    at = {a: i for i, a in enumerate(flat(array.layout))}
    present = {i: [at[a] for a in d if a.extent != 1 and a in at] for i, d in enumerate(dims)}
    moved = [i for i, d in enumerate(dims) if i not in own and present[i]]
    out = list(dims)
    for i, source in zip(moved, sorted(moved, key=lambda i: present[i][0]), strict=True):
        out[i] = dims[source]
    stored = [at[a] for d in out for a in d if a.extent != 1 and a in at]
    return tuple(out) if stored == sorted(stored) else dims


def stored_shape(layout: Dims, via: Sequence[tuple[Axis, IndexMap]]) -> tuple[Extent, ...]:
    """The shape of a tensor of this layout, mapped axes at the extent that they are stored at."""
    rows = {a: m.rows for a, m in via}
    return tuple(product(rows.get(a, a.extent) for a in d) for d in layout)


def add_up(b: Builder, terms: Terms, dims: Dims) -> Array:
    """The sum, smallest summands first; a product in two dimensions takes what is added to it as its C."""

    def size(signed: tuple[int, Array]) -> tuple[int, bool, int, bool]:
        names, op_type = signed[1].names(), signed[1].tensor.op_type
        varying = [a for a, _ in names if not isinstance(a.extent, int) and signed[1].state(a) == "stored"]
        # a bias before the product whose C it can be, and what is an item's own after all that is not
        return len(varying), signed[1].own, len(names), op_type == "Gemm"

    (sign, total), *rest = sorted(terms.signed, key=size)
    last = total.tensor
    for next_sign, array in rest:
        if total.tensor.op_type == "Gemm":
            total.tensor.name_after(last)  # a sum on the way, named after the product that took it in
        last = array.tensor
        fused = None
        if (sign, next_sign) == (1, 1) and not (array.own and not total.own):
            fused = _into_gemm(b, array, total, dims) or _into_weight(b, array, total, dims)
        if fused is not None:
            total = fused
        elif sign == next_sign:
            total = _binary(b, "Add", array, total, dims)
        else:
            minuend, subtrahend = (total, array) if sign == 1 else (array, total)
            total, sign = _binary(b, "Sub", minuend, subtrahend, dims), 1
    if sign == -1:
        total = pointwise(b, [total], [len(dims)], dims, lambda ts, shape: b.make("Neg", ts, shape))
    return total


def _binary(b: Builder, op_type: str, left: Array, right: Array, dims: Dims) -> Array:
    return pointwise(b, [left, right], [len(dims)] * 2, dims, lambda ts, shape: b.make(op_type, ts, shape))


def _into_weight(b: Builder, product_: Array, addend: Array, dims: Dims) -> Array | None:
    """An addend as one more row of a weight: x (m k) @ w (B k n) + c (B n)  ->  [x 1] @ [w; c], where m >= k."""
    t, layout = product_.tensor, product_.layout
    if t.op_type != "MatMul" or t.node.proto is not None or len(layout) < 3 or product_.via or addend.via:
        return None
    x, w = t.node.inputs
    assert x is not None and w is not None
    if len(x.known_shape) != 2 or len(w.known_shape) != len(layout):
        return None
    count, width = x.known_shape
    batch, n = layout[:-2], layout[-1]
    weights = [*flat(batch), *n]
    if compare(count, width) == -1 or not addend.names() or any(a not in weights for a, _ in addend.names()):
        return None
    row = lay(b, fill(b, addend, dims, weights), (*batch, (), n))
    one = b.expand(b.constant(np.ones((1, 1), helper.tensor_dtype_to_np_dtype(x.dtype))), (count, 1))
    made = b.make("MatMul", [b.concat([x, one], 1), b.concat([w, row], len(batch))], t.known_shape)
    return replace(product_, tensor=made)


def _into_gemm(b: Builder, product_: Array, addend: Array, dims: Dims) -> Array | None:
    """Gemm(a, w) + c  ->  Gemm(a, w, c), where c broadcasts to the product and nothing else was added yet."""
    t = product_.tensor
    if t.op_type != "Gemm" or len(t.node.inputs) != 2 or t.dtype not in GEMM_DTYPES or t.node.proto is not None:
        return None
    a, w = t.node.inputs
    assert a is not None
    assert w is not None
    if w.op_type == "DequantizeLinear":
        return None  # runtimes fuse a quantized weight with a product to which nothing computed is added
    addend, selected = agree(b, [addend, product_], dims)
    if selected is not product_:
        return None  # without candidates there is no row 0, and still a product of each request
    if {x for x, _ in addend.names()} - {x for x, _ in product_.names()}:
        return None
    if any(state == "stored" != product_.state(x) for x, state in addend.names()):
        return None  # C broadcasts to the product, which has fewer rows: those that another index selects
    if any(len({product_.state(x), addend.state(x)}) > 1 and len(d) > 1 for d in product_.layout for x in d):
        return None
    c = lay(b, addend, product_.layout)
    return replace(product_, tensor=b.make("Gemm", [a, w, c], t.known_shape, **dict(t.node.attributes)))
