"""Checks of values, expressions and names that must hold after each step. A failed check is a bug in mari-onnx.

    values         an axis stands in a value once; each form is stored along axes of the value alone; a layout has the
                   shape of its tensor; the widths of parts add up to their axis; an index map belongs to a stored axis
    expressions    no node depends on its own output; a Reshape, Transpose, Concat or Gather has the shape that follows
                   from its inputs
    names          no two written tensors have the same name
    the builder    an expression that is asked for again has the shape and type that it was made with

Whether each form evaluates to its value takes numbers, and is checked by the tests in `tests/property`.

The checks run if `ENABLED` is true: with the environment variable MARI_ONNX_DEBUG, and in tests. A failed check raises
`InvalidError`, which names the node of the original graph and the tensor. Example of a message:

    Concat `x`, value `x`, its parts: parts of 6 in all along an axis of 7
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import assert_never

from mari_onnx.ir.axes import Axis, extents, flat, show
from mari_onnx.ir.cost import inputs_of
from mari_onnx.ir.expressions import Node, Tensor, first_input
from mari_onnx.ir.extents import ROW, Extent, compare, product, symbol, total
from mari_onnx.ir.forms import Array, Blocks, Factors, Form, IndexMap, Parts, Terms, Value

ENABLED = bool(os.environ.get("MARI_ONNX_DEBUG"))


class InvalidError(AssertionError):
    """A value or an expression breaks an invariant."""


def _require(holds: bool, where: str, problem: str) -> None:
    if not holds:
        raise InvalidError(f"{where}: {problem}")


# Values


def check_values(node: str, values: Iterable[Value]) -> None:
    """Check the forms of a node's outputs. Messages call the node `node`."""
    if not ENABLED:
        return
    for value in values:
        if value.dims is None:
            continue
        where = f"{node}, value `{value.name}`"
        axes = flat(value.dims)
        _require(_once(axes), where, f"an axis stands twice in {show(value.dims)}")
        if value.content is not None:
            have = extents(value.dims)
            _require(value.content.shape == have, where, f"content of shape {value.content.shape}, not {have}")
        for kind, form in value.forms():
            _check_form(f"{where}, its {kind}", form, set(axes), value.dtype)


def _check_form(where: str, form: Form, axes: set[Axis], dtype: int) -> None:
    match form:
        case Array():
            _check_array(where, form, axes, dtype)
        case Parts():
            _check_parts(where, form, axes, dtype)
        case Terms():
            _require(len(form.signed) > 0, where, "a sum of nothing")
            for sign, array in form.signed:
                _require(sign in (1, -1), where, f"a sign of {sign}")
                _check_array(where, array, axes, dtype)
        case Factors():
            _check_array(where, form.left, axes, dtype)
            _check_array(where, form.right, axes, dtype)
        case Blocks():
            _check_blocks(where, form, axes, dtype)
        case _:
            assert_never(form)


def _check_parts(where: str, parts: Parts, axes: set[Axis], dtype: int) -> None:
    subs = [sub for sub, _ in parts.pieces]
    width = total(sub.extent for sub in subs)
    _require(parts.axis in axes, where, f"parts along {parts.axis}, which is no axis of the value")
    _require(width == parts.axis.extent, where, f"parts of {width} in all along an axis of {parts.axis.extent}")
    _require(_once(subs) and axes.isdisjoint(subs), where, "a part without an axis of its own")
    _require(len(parts.apart) in (0, len(subs)), where, f"{len(parts.apart)} forms of {len(subs)} parts")
    for (sub, array), apart in zip(parts.pieces, parts.apart or (None,) * len(subs), strict=True):
        around = (axes - {parts.axis}) | {sub}
        _check_array(where, array, around, dtype)
        if apart is not None:
            _check_form(f"{where}, a part", apart, around, dtype)


def _check_blocks(where: str, blocks: Blocks, axes: set[Axis], dtype: int) -> None:
    subs: list[Axis] = []
    for axis, cut in ((blocks.row, blocks.rows), (blocks.column, blocks.columns)):
        if axis is None:
            continue
        of_axis = [sub for sub in cut if sub is not None]
        width = total(sub.extent for sub in of_axis)
        _require(axis in axes, where, f"blocks along {axis}, which is no axis of the value")
        _require(width == axis.extent, where, f"blocks of {width} in all along an axis of {axis.extent}")
        subs.extend(of_axis)
    _require(_once(subs) and axes.isdisjoint(subs), where, "a block without axes of its own")
    shape = {(len(blocks.grid), len(line)) for line in blocks.grid}
    _require(shape == {(len(blocks.rows), len(blocks.columns))}, where, f"a grid of {shape}")
    for r, line in enumerate(blocks.grid):
        for c, array in enumerate(line):
            around = blocks.on_diagonal(r) if (r, c) in blocks.alone else blocks.around(r, c)
            own = {s for new in around.values() for s in new}
            _check_array(where, array, (axes - set(around)) | own, dtype)
    _check_diagonals(where, blocks, axes, dtype)


def _check_diagonals(where: str, blocks: Blocks, axes: set[Axis], dtype: int) -> None:
    for (r, c), array in blocks.diagonals:
        row = blocks.rows[r]
        _require(row is not None and row.extent == blocks.columns[c].extent, where, "the diagonal of no square")
        around = blocks.on_diagonal(r)
        _check_array(where, array, (axes - set(around)) | {s for new in around.values() for s in new}, dtype)


def _check_array(where: str, array: Array, axes: set[Axis], dtype: int) -> None:
    tensor, stored = array.tensor, flat(array.layout)
    where = f"{where} {show(array.layout)} in {described(tensor)}"
    _require(_once(stored), where, "an axis is stored twice")
    strange = [a for a in stored if a.extent != 1 and a not in axes]
    _require(not strange, where, f"{strange} are stored and are no axes of the value")
    rows = {a: m.rows for a, m in array.via}
    _require(len(rows) == len(array.via), where, "an axis has two index maps")
    _require(rows.keys() <= set(stored), where, "an index map for an axis that is not stored")
    for axis, rows_of in array.via:
        _check_map(where, axis, rows_of)
    shape = tuple(product(rows.get(a, a.extent) for a in d) for d in array.layout)
    _require(tensor.shape in (None, shape), where, f"a layout of shape {shape}")
    _require(_same_type(tensor.dtype, dtype), where, f"a tensor of type {tensor.dtype}, not {dtype}")


def _check_map(where: str, axis: Axis, rows: IndexMap) -> None:
    if rows.item_rows:
        _require(rows.index is None and rows.rows == axis.extent, where, f"not every item has its row of {axis}")
    elif rows.index is None:
        _require(rows.rows in (1, symbol(ROW)), where, f"row 0 of {rows.rows} along {axis}")
    else:
        _require(rows.index.shape in (None, (axis.extent,)), where, f"{rows.index.shape} indices along {axis}")


def _same_type(a: int, b: int) -> bool:
    """Whether two element types may be the same; 0 is an unknown type."""
    return a == b or 0 in (a, b)


def _once(axes: Sequence[Axis]) -> bool:
    return len(set(axes)) == len(axes)


def described(tensor: Tensor) -> str:
    """A tensor in messages: its name, or its operator if it has none, and its shape."""
    return f"`{tensor.name or tensor.op_type}` {tensor.shape}"


# Expressions


def check_expressions(step: str, tensors: Iterable[Tensor]) -> None:
    """Check all expressions that the tensors depend on. Messages say that `step` was the last step before the check."""
    if not ENABLED:
        return
    for node in _in_order(step, tensors):
        for t in node.outputs:
            _check_move(f"after {step}, {described(t)}", node, t)


def _in_order(step: str, tensors: Iterable[Tensor]) -> list[Node]:
    """The nodes, inputs before users. Raises InvalidError for a cycle: a node that its own inputs need."""
    order: list[Node] = []
    state: dict[Node, bool] = {}  # False from when a node is met until its inputs are done
    stack = [(t.node, False) for t in tensors]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            state[node] = True
            order.append(node)
        elif node not in state:
            state[node] = False
            stack.append((node, True))
            sources = [t.node for t in inputs_of(node)]
            if any(state.get(source) is False for source in sources):
                raise InvalidError(f"after {step}, {described(node.outputs[0])} needs itself")
            stack.extend((source, False) for source in sources)
    return order


def _check_move(where: str, node: Node, t: Tensor) -> None:
    """Check the shape of a node of `MOVES` that a rule made. Nodes of the original are not checked."""
    shape = MOVES[node.op_type](node) if node.proto is None and node.op_type in MOVES else None
    _require(shape in (None, t.shape), where, f"a {node.op_type} to shape {shape}")


def _reshaped(node: Node) -> tuple[Extent, ...] | None:
    """The shape of a Reshape. Symbols may differ on both sides: [B L] @ [8 2] proves that L is 8."""
    source, shape = first_input(node.outputs[0]), node.attribute("shape")
    differ = source.shape is not None and compare(product(source.shape), product(shape)) in (-1, 1)
    return (-1,) if differ else tuple(shape)


def _transposed(node: Node) -> tuple[Extent, ...] | None:
    source = first_input(node.outputs[0])
    return None if source.shape is None else tuple(source.shape[p] for p in node.attribute("perm"))


def _joined(node: Node) -> tuple[Extent, ...] | None:
    shapes = [t.shape for t in node.inputs if t is not None and t.shape is not None]
    axis = node.attribute("axis")
    around = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(shapes) < len(node.inputs) or len(around) != 1:
        return None if len(shapes) < len(node.inputs) else (-1,)
    return (*shapes[0][:axis], total(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _taken(node: Node) -> tuple[Extent, ...] | None:
    source, indices = node.inputs
    axis = node.attribute("axis")
    if source is None or indices is None or source.shape is None or indices.shape is None:
        return None
    return (*source.shape[:axis], *indices.shape, *source.shape[axis + 1 :])


MOVES: dict[str, Callable[[Node], tuple[Extent, ...] | None]] = {
    "Reshape": _reshaped,
    "Transpose": _transposed,
    "Concat": _joined,
    "Gather": _taken,
}
"""Each function gives the shape of a move's result, None if an input's shape is unknown, (-1,) if inputs do not fit."""


def check_names(names: Mapping[Tensor, str]) -> None:
    """Check the names of the tensors that are written. The name "" is that of an optional output that is left out."""
    if not ENABLED:
        return
    named: dict[str, Tensor] = {}
    for tensor, name in names.items():
        other = named.setdefault(name, tensor) if name else tensor
        _require(other is tensor, f"`{name}`", f"the name of both {described(other)} and {described(tensor)}")


# The builder


def check_again(made: Tensor, shape: tuple[Extent, ...] | None, dtype: int) -> None:
    """Check an expression that is asked for again: it must have been made with this shape and type.

    NonZero finds out at run time how many places there are. Whoever asks for it has a symbol of its own for that. So
    may a node of the original that was left as it is, such as a MatMul of extents that are not proven equal.
    """
    if made.op_type == "NonZero" or made.node.proto is not None:
        check_original_again(made, shape, dtype)
    elif ENABLED:
        _check_type(made, dtype)
        _require(None in (made.shape, shape) or made.shape == shape, _already(made), f"it is asked for as {shape}")


def check_original_again(made: Tensor, shape: tuple[Extent, ...] | None, dtype: int) -> None:
    """Check a node of the original that equals an earlier one: its shape may be that of the earlier node.

    Symbols may differ. Example: NonZero(mask) occurs twice in the original, and the extent that nobody knows is called
    `a.1` in the shape of output `a`, and `b.1` in that of `b`.
    """
    if not ENABLED:
        return
    _check_type(made, dtype)
    if made.shape is None or shape is None:
        return
    same_rank = len(made.shape) == len(shape)
    differ = any(compare(a, b) in (-1, 1) for a, b in zip(made.shape, shape, strict=False))
    _require(same_rank and not differ, _already(made), f"it is asked for as {shape}")


def _check_type(made: Tensor, dtype: int) -> None:
    _require(_same_type(made.dtype, dtype), _already(made), f"it has type {made.dtype}, not {dtype}")


def _already(made: Tensor) -> str:
    return f"{described(made)} is there already"
