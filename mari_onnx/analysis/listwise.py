"""Listwise models: the leading axis counts requests, and the second one the candidates of each.

    user [R, 64], item [R, N, 16]  ->  score [R, N]       N counts candidates
    user [1, 64], item [1, N, 16]  ->  score [1, N, 2]    the same for one request in a call
    history [B, L, 8], item [B, 16]  ->  score [B, 1]     pointwise: no output has the axis L

Rerankers and models of TF-Ranking, whose `list_size` is N, are called so. An input without the axis N is the request's.
No caller repeats its rows, so that none need be declared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model, Shape, is_named, shape_of
from mari_onnx.ir.axes import extents
from mari_onnx.ir.extents import Poly, symbols
from mari_onnx.ir.forms import Value


@dataclass(frozen=True)
class Lists:
    """The axis `candidates` of the candidates in one request, and the inputs that have it.

    `of_requests` says whether another input has as many rows as these: that of the requests.
    """

    candidates: str
    items: frozenset[str]
    of_requests: bool

    @property
    def axis(self) -> str:
        """The axis in words: `N`, or what it is like where the exporter did not name it."""
        return f"`{self.candidates}`" if is_named(self.candidates) else f"like the second one of `{min(self.items)}`"


def lists_of(model: Model, program: Callable[[], Program]) -> Lists | None:
    """The axis that counts the candidates of each request: the second one of all outputs and of some inputs.

    `program` is an interpretation without any role. It is asked for only where the shapes of the inputs allow lists.
    """
    second = _second_axes(model)
    if not second or not all(_may_have_lists(shape_of(o)) for o in model.graph.output):
        return None
    found = program()
    same = {name: found.same.get(symbol, symbol) for name, symbol in second.items()}
    outputs = zip(found.outputs, model.graph.output, strict=True)
    names = {info.name: (shape_of(info) or [])[1] for info in model.inputs if info.name in same}
    stated = {names[name]: symbol for name, symbol in same.items() if names[name] is not None}
    counted = set.intersection(*(_counted(value, shape_of(o), stated) for value, o in outputs)) & set(same.values())
    if len(counted) != 1:
        return None
    (symbol,) = counted
    items = frozenset(name for name, each in same.items() if each == symbol)
    # `item` [R, N, 8] beside `pairs` [R, N, N]: no operator may need the first of the two to be the item's.
    called = {names[name] for name in items} - {None}
    items |= {name for name in same if names[name] in called}
    items |= {name for name, leading in model.leading_symbols.items() if found.same.get(leading, leading) == symbol}
    return Lists(symbol, items, _has_request(model, items))


def _second_axes(model: Model) -> Mapping[str, str]:
    """By input, the symbol of its second axis, where that is dynamic."""
    shapes = {info.name: shape_of(info) or [] for info in model.inputs}
    return {
        name: model.axis_symbol(name, 1, shape[1])
        for name, shape in shapes.items()
        if len(shape) > 1 and not isinstance(shape[1], int)
    }


def _may_have_lists(shape: list[int | str | None] | None) -> bool:
    """Whether a tensor declared so may have an axis of candidates behind the leading one."""
    return shape is None or (len(shape) > 1 and not isinstance(shape[1], int))


def _counted(value: Value, declared: Shape | None, names: Mapping[int | str | None, str]) -> set[str]:
    """The symbol of the second axis of an output, if the leading one is 1 or a symbol of its own.

    Of an output whose shape no rule knows, such as that of a custom operator, it is the symbol of the exporter's name.
    """
    if value.dims is None:
        return {names[name] for name in (declared or [])[1:2] if name in names}
    shape = extents(value.dims)
    if len(shape) < 2 or not isinstance(shape[1], Poly):
        return set()
    leading, second = symbols(shape[0]), symbols(shape[1])
    alone = len(second) == 1 and shape[1].terms == ((tuple(second), 1),)
    return second if alone and not leading & second and (shape[0] == 1 or len(leading) == 1) else set()


def _has_request(model: Model, items: Collection[str]) -> bool:
    """Whether an input without the axis of candidates has as many rows as those that have it: the request's."""
    shapes = {info.name: shape_of(info) for info in model.inputs}
    rows = {name: shape[0] if isinstance(shape[0], int) else None for name, shape in shapes.items() if shape}
    of_items = {rows[name] for name in items}
    return any(name not in items and count in of_items for name, count in rows.items())
