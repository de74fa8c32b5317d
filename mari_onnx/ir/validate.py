"""What has to hold of values and expressions whatever the rules do: checked after each step, where that is wanted.

    of a value        an axis stands in it once; each form is stored along axes of the value alone; a layout is as long
                      as the tensor that it describes; parts add up to their axis; an index map belongs to a stored axis
    of expressions    no node needs itself; what moves data has the shape that the move gives
    of names          what is written has each name once
    of the builder    an expression that is there already has the shape and type that it is asked for with

That every form evaluates to its value is more than that, and takes numbers: the tests in `tests/property` do that.

The checks run where `ENABLED` is set: by the environment variable MARI_ONNX_DEBUG, and by the tests. A check that fails
raises `InvalidError`, which names the node of the original graph and the tensor: it is a bug in mari-onnx.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mari_onnx.ir.axes import Axis, extents, flat, show
from mari_onnx.ir.cost import inputs_of
from mari_onnx.ir.expressions import Node, Tensor, first_input
from mari_onnx.ir.extents import ROW, Extent, compare, product, symbol, total
from mari_onnx.ir.forms import Array, Factors, Form, Parts, Terms, Value

ENABLED = bool(os.environ.get("MARI_ONNX_DEBUG"))


class InvalidError(AssertionError):
    """A value or an expression that no rule may leave behind."""


def _require(holds: bool, where: str, problem: str) -> None:
    if not holds:
        raise InvalidError(f"{where}: {problem}")


# Values


def check_values(node: str, values: Iterable[Value]) -> None:
    """The forms of what a node gave; `node` is what messages call it."""
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
        for kind, form in _forms(value):
            _check_form(f"{where}, its {kind}", form, set(axes), value.dtype)


def _forms(value: Value) -> Iterator[tuple[str, Form]]:
    given: tuple[tuple[str, Form | None], ...] = (
        ("array", value.array),
        ("parts", value.parts),
        ("terms", value.terms),
        ("factors", value.factors),
        ("written array", value.written),
    )
    return ((kind, form) for kind, form in given if form is not None)


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


def _check_array(where: str, array: Array, axes: set[Axis], dtype: int) -> None:
    tensor, stored = array.tensor, flat(array.layout)
    where = f"{where} {show(array.layout)} in {described(tensor)}"
    _require(_once(stored), where, "an axis is stored twice")
    strange = [a for a in stored if a.extent != 1 and a not in axes]
    _require(not strange, where, f"{strange} are stored and are no axes of the value")
    rows = {a: m.rows for a, m in array.via}
    _require(len(rows) == len(array.via), where, "an axis has two index maps")
    _require(rows.keys() <= set(stored), where, "an index map for an axis that is not stored")
    for axis, given in array.via:
        if given.item_rows:
            _require(given.index is None and given.rows == axis.extent, where, f"not every item has its row of {axis}")
        elif given.index is None:
            _require(given.rows in (1, symbol(ROW)), where, f"row 0 of {given.rows} along {axis}")
        else:
            _require(given.index.shape in (None, (axis.extent,)), where, f"{given.index.shape} indices along {axis}")
    shape = tuple(product(rows.get(a, a.extent) for a in d) for d in array.layout)
    _require(tensor.shape in (None, shape), where, f"a layout of shape {shape}")
    _require(_same_type(tensor.dtype, dtype), where, f"a tensor of type {tensor.dtype}, not {dtype}")


def _same_type(a: int, b: int) -> bool:
    """Whether two element types are one; 0 is one that nothing is known of."""
    return a == b or 0 in (a, b)


def _once(axes: Sequence[Axis]) -> bool:
    return len(set(axes)) == len(axes)


def described(tensor: Tensor) -> str:
    """A tensor for people: its name, or what makes it, and its shape."""
    return f"`{tensor.name or tensor.op_type}` {tensor.shape}"


# Expressions


def check_expressions(step: str, tensors: Iterable[Tensor]) -> None:
    """What the tensors need, after a step: nothing needs itself, and moves give the shapes that they are said to."""
    if not ENABLED:
        return
    for node in _in_order(step, tensors):
        for t in node.outputs:
            _check_move(f"after {step}, {described(t)}", node, t)


def _in_order(step: str, tensors: Iterable[Tensor]) -> list[Node]:
    """The nodes, inputs before users. A node that is met again before its inputs are done needs itself."""
    order: list[Node] = []
    state: dict[Node, bool] = {}  # whether it is done
    stack = [(t.node, False) for t in tensors]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            state[node] = True
            order.append(node)
        elif node not in state:
            state[node] = False
            stack.append((node, True))
            needs = [t.node for t in inputs_of(node)]
            again = next((need for need in needs if state.get(need) is False), None)
            if again is not None:
                raise InvalidError(f"after {step}, {described(node.outputs[0])} needs itself")
            stack.extend((need, False) for need in needs)
    return order


def _check_move(where: str, node: Node, t: Tensor) -> None:
    """Of our own nodes that only move data: the shape is the one that the move gives."""
    shape = MOVES[node.op_type](node) if node.proto is None and node.op_type in MOVES else None
    _require(shape in (None, t.shape), where, f"a {node.op_type} to shape {shape}")


def _reshaped(node: Node) -> tuple[Extent, ...] | None:
    """A product of other extents may be the same: that of [B L] @ [8 2] proves that L is 8."""
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
"""The shape that a move gives, None where that of an input is not known, (-1,) where the inputs do not fit."""


def check_names(names: Mapping[Tensor, str]) -> None:
    """What tensors are called in the model that is written; an optional output that is left out is called nothing."""
    if not ENABLED:
        return
    named: dict[str, Tensor] = {}
    for tensor, name in names.items():
        other = named.setdefault(name, tensor) if name else tensor
        _require(other is tensor, f"`{name}`", f"the name of both {described(other)} and {described(tensor)}")


# The builder


def check_again(made: Tensor, shape: tuple[Extent, ...] | None, dtype: int) -> None:
    """An expression that was there already, of the shape and type that it is asked for with this time."""
    if not ENABLED:
        return
    where = f"{described(made)} is there already"
    _require(_same_type(made.dtype, dtype), where, f"it has type {made.dtype}, not {dtype}")
    if made.shape is None or shape is None:
        return
    # Each who asks may have symbols of its own for extents that nobody knows; only a contradiction is a fault.
    same = len(made.shape) == len(shape) and all(
        compare(a, b) in (0, None) for a, b in zip(made.shape, shape, strict=True)
    )
    _require(same, where, f"it is asked for as {shape}")
