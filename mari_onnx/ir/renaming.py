"""A value with other axes: renamed, cut or merged. Each of its forms is rewritten.

    rename    {D: (h d)}       [B D] as [B (h d)]; the tensor stays
    fresh     [B D]            as [B' D'] with new axes, for q @ q^T, whose operands would share all axes
    fuse      [B (F D)]        as [B 320]; a Concat or a Slice can cut the one new axis anywhere

Most of these need no node. An axis that is stored through an index map and has to be cut or merged is written out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from mari_onnx.ir.arrays import fill, lay
from mari_onnx.ir.axes import Axis, Dim, Dims, Renaming, dim, flat, renamed
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import divide, product
from mari_onnx.ir.forms import Array, Blocks, Parts, Value


def rename_array(b: Builder, array: Array, dims: Dims, names: Renaming) -> Array:
    """The same stored tensor with other axes. An axis with an index map is written out if it has to be cut."""
    if not any(a in names for d in array.layout for a in d) and not any(a in names for a, _ in array.via):
        return array
    cut_apart = {a for a, _ in array.via if len(names.get(a, (a,))) != 1}
    array = fill(b, array, dims, cut_apart)
    via = tuple((names[a][0] if a in names else a, m) for a, m in array.via if a not in cut_apart)
    return Array(array.tensor, renamed(array.layout, names), via, array.price)


def rename_parts(b: Builder, parts: Parts, dims: Dims, names: Renaming) -> Parts | None:
    """The same pieces with other axes. None where the pieces' axis is split at other places than the pieces.

    Example: pieces [32 48] along 80 with {80: (5 16)} are pieces [2 3] along 5; pieces [40 40] are none.
    """
    new_axes = names.get(parts.axis, (parts.axis,))
    inner = product(a.extent for a in new_axes[1:])
    pieces = []
    apart = []
    for (sub, array), form in zip(parts.pieces, parts.apart or (None,) * len(parts.pieces), strict=True):
        outer = divide(sub.extent, inner)
        if outer is None:
            return None
        head = sub if len(new_axes) == 1 else Axis(outer, sub.name)
        changes = dict(names) if len(new_axes) == 1 else {**names, sub: (head, *new_axes[1:])}
        piece_dims = renamed(dims, {parts.axis: (sub,)})
        pieces.append((head, rename_array(b, array, piece_dims, changes)))
        apart.append(form and form.each(partial(rename_array, b, dims=piece_dims, names=changes)))
    return Parts(new_axes[0], tuple(pieces), parts.price, tuple(apart))


def rename_blocks(b: Builder, blocks: Blocks, dims: Dims, names: Renaming) -> Blocks | None:
    """The same blocks with other axes. None where the axis of the rows or of the columns is split."""
    row, column = (names.get(a, (a,)) if a else () for a in (blocks.row, blocks.column))
    if len(column) != 1 or len(row) > 1 or (blocks.row and not row):
        return None

    def change(array: Array, r: int, c: int) -> Array:
        around = blocks.on_diagonal(r) if (r, c) in blocks.alone else blocks.around(r, c)
        return rename_array(b, array, renamed(dims, around), names)

    diagonals = tuple(
        ((r, c), rename_array(b, a, renamed(dims, blocks.on_diagonal(r)), names)) for (r, c), a in blocks.diagonals
    )
    moved = replace(blocks.each(change), row=row[0] if row else None, column=column[0])
    return replace(moved, diagonals=diagonals)


def rename_value(b: Builder, value: Value, names: Renaming) -> Value:
    """The value with other axes in all of its forms."""
    if not names:
        return value
    dims, new_dims = value.known_dims, renamed(value.known_dims, names)
    assert len(set(new := flat(new_dims))) == len(new), "an axis stands in a value once"
    return value.each_form(
        new_dims,
        arrays=lambda array: rename_array(b, array, dims, names),
        parts=lambda parts: rename_parts(b, parts, dims, names),
        blocks=lambda blocks: rename_blocks(b, blocks, dims, names),
    )


def fresh(b: Builder, value: Value) -> Value:
    """The value with new axes of the same extents: in q @ q^T the second operand needs them, as an axis stands once."""
    return rename_value(b, value, {a: (Axis(a.extent, a.name),) for a in flat(value.known_dims)})


def fuse(b: Builder, value: Value, position: int) -> Value:
    """The value with dimension `position` as one axis of its own: (F D) becomes (320).

    Parts survive along the outermost axis of the dimension, where they are contiguous, and along other dimensions.
    """
    dims = value.known_dims
    group = dims[position]
    if len(group) <= 1:
        return value
    whole = dim(product(a.extent for a in group), " ".join(map(str, group)))
    return value.each_form(
        (*dims[:position], whole, *dims[position + 1 :]),
        arrays=lambda array: _fuse_array(b, array, dims, position, whole),
        parts=lambda parts: _fuse_parts(b, parts, dims, position, whole),
        blocks=lambda _: None,
    )


def _fuse_array(b: Builder, array: Array, dims: Dims, position: int, whole: Dim) -> Array:
    """An array of a value with these dims. It lacks the fused axis if it lacks all axes of the dimension."""
    group = dims[position]
    if all(array.state(a) == "absent" for a in group):
        return array
    array = fill(b, array, dims, group)
    spec = tuple(tuple(a for a in d if array.state(a) != "absent") for d in dims)
    layout = (*spec[:position], whole, *spec[position + 1 :])
    return Array(lay(b, array, spec), layout, array.via, array.price)


def _fuse_parts(b: Builder, parts: Parts, dims: Dims, position: int, whole: Dim) -> Parts | None:
    """Parts [2 3] along F of (F D) with D 16 become parts [32 48]. Parts along D are strided in it, and are dropped."""
    group = dims[position]
    if parts.axis not in group:
        piece_dims = [renamed(dims, {parts.axis: (sub,)}) for sub, _ in parts.pieces]
        fused = [
            (sub, _fuse_array(b, array, d, position, whole))
            for (sub, array), d in zip(parts.pieces, piece_dims, strict=True)
        ]
        return replace(parts, pieces=tuple(fused), apart=())
    if parts.axis is not group[0]:
        return None
    pieces, apart = [], []
    for (sub, array), form in zip(parts.pieces, parts.apart or (None,) * len(parts.pieces), strict=True):
        inner = (sub, *group[1:])
        flat_sub = Axis(product(a.extent for a in inner), sub.name)
        inner_dims = (*dims[:position], inner, *dims[position + 1 :])
        fused_piece = partial(_fuse_array, b, dims=inner_dims, position=position, whole=(flat_sub,))
        pieces.append((flat_sub, fused_piece(array)))
        apart.append(form and form.each(fused_piece))
    return Parts(whole[0], tuple(pieces), parts.price, tuple(apart))
