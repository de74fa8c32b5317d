"""Listwise models: the leading axis counts requests, and another one the candidates of each.

    user [R, 64], item [R, N, 16]   ->  score [R, N]      N counts candidates
    user [1, 64], item [1, N, 16]   ->  score [1, N, 2]   the same for one request in a call
    user [R, 64], item [R, 50, 16]  ->  score [R, 50]     the same for lists of one length
    user [R, 64], item [R, N, 16]   ->  score [(R N), 1]  the scores of all requests in one column; or [N, R]
    history [B, L, 8], item [B, 16] ->  score [B, 1]      pointwise: no output has the axis L

Rerankers and models of TF-Ranking, whose `list_size` is N, are called so. An input without the axis N is the request's.
No caller repeats its rows, so that none need be declared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model, Shape, is_named, shape_of
from mari_onnx.ir.axes import extents
from mari_onnx.ir.extents import Extent, Poly, product, symbol, symbols
from mari_onnx.ir.forms import Value

IDS = frozenset({TensorProto.INT32, TensorProto.INT64, TensorProto.STRING})
"""Element types of ids. An input of them, [R, 50], may be a list of 50 candidates; one of floats is 50 features."""


@dataclass(frozen=True)
class Lists:
    """The axis `candidates` of the candidates in one request, and the inputs that have it.

    It is a symbol, or the one length of all lists. `of_requests` says whether another input has as many rows as these:
    that of the requests. `everywhere` says whether all outputs have the axis. Where only some do, it may be that of a
    sequence, such as the history whose weights are an output beside the scores. Of the `items`, those `leading` have it
    as their leading axis, [N, 16], and the others as their second one, [R, N, 16].
    """

    candidates: str | int
    items: frozenset[str]
    of_requests: bool
    everywhere: bool = True
    leading: frozenset[str] = frozenset()

    @property
    def is_sure(self) -> bool:
        """Whether nothing else than candidates is counted: extents of one length may be equal by chance."""
        return self.everywhere and isinstance(self.candidates, str)

    @property
    def axis(self) -> str:
        """The axis in words: `N`, or what it is like where the exporter did not name it."""
        if isinstance(self.candidates, int):
            return f"of length {self.candidates}"
        return f"`{self.candidates}`" if is_named(self.candidates) else f"like the second one of `{min(self.items)}`"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbol that counts candidates; none where all lists have one length."""
        return () if isinstance(self.candidates, int) else (self.candidates,)


@dataclass(frozen=True)
class _Listed:
    """An input with a second axis: its name, the extents of both axes, and what the exporter calls the second one."""

    name: str
    rows: Extent
    candidates: Extent
    called: int | str | None


def lists_of(model: Model, program: Callable[[], Program]) -> Lists | None:
    """The axis that counts the candidates of each request: the second one of some inputs, and one of the outputs.

    `program` is an interpretation without any role. It is asked for only where the shapes of the inputs and outputs
    allow lists.
    """
    infos = {info.name: info for info in model.inputs if _has_second_axis(info)}
    lengths = {(shape_of(info) or [])[1] for info in infos.values() if _is_more_than_features(info)}
    if not lengths or not any(_may_have_lists(model, shape_of(o), lengths) for o in model.graph.output):
        return None
    found = program()
    listed = [_listed(model, found, info) for info in infos.values()]
    leading = {symbol(found.same.get(s, s)) for s in model.leading_symbols.values()}
    outputs = [(found.values[o.name], shape_of(o)) for o in model.graph.output]
    shown = [each for each in listed if _shows_lists(infos[each.name], found)]
    counted = [
        {each.candidates for each in shown if _has_lists(value, declared, each, each.candidates not in leading)}
        for value, declared in outputs
    ]
    everywhere = set.intersection(*counted)
    chosen = everywhere or set.union(*counted)
    if len(chosen) != 1:
        return None
    (candidates,) = chosen
    # `item` [R, N, 8] beside `pairs` [R, N, N]: no operator may need the first of the two to be the item's.
    called = {each.called for each in listed if each.candidates == candidates} - {None}
    items = {each.name for each in listed if each.candidates == candidates or each.called in called}
    before = {n for n, s in model.leading_symbols.items() if symbol(found.same.get(s, s)) == candidates}
    items |= before
    counts = candidates if isinstance(candidates, int) else next(iter(symbols(candidates)))
    return Lists(counts, frozenset(items), _has_request(model, items), bool(everywhere), frozenset(before))


def _has_second_axis(info: onnx.ValueInfoProto) -> bool:
    """Whether the second axis of an input may count candidates: a dynamic one, or one behind a dynamic leading axis."""
    shape = shape_of(info) or []
    if len(shape) < 2:
        return False
    rows, second = shape[:2]
    return not isinstance(second, int) or (second > 1 and not isinstance(rows, int))


def _may_have_lists(model: Model, shape: Shape | None, lengths: Collection[int | str | None]) -> bool:
    """Whether a tensor declared so may have an axis of candidates behind the leading one, or within it."""
    if shape is None:
        return True
    if len(shape) > 1 and (not isinstance(shape[1], int) or shape[1] in lengths):
        return True
    return bool(shape) and not isinstance(shape[0], int) and shape[0] not in model.input_symbols


def _listed(model: Model, found: Program, info: onnx.ValueInfoProto) -> _Listed:
    def extent(axis: int, declared: int | str | None) -> Extent:
        if isinstance(declared, int):
            return declared
        own = model.axis_symbol(info.name, axis, declared)
        return symbol(found.same.get(own, own))

    rows, second, *_ = shape_of(info) or []
    return _Listed(info.name, extent(0, rows), extent(1, second), second)


def _is_more_than_features(info: onnx.ValueInfoProto) -> bool:
    """Whether the second axis of an input can be another one than that of its features: not of floats [R, 50]."""
    shape = shape_of(info) or []
    return not isinstance(shape[1], int) or len(shape) > 2 or info.type.tensor_type.elem_type in IDS


def _shows_lists(info: onnx.ValueInfoProto, found: Program) -> bool:
    """Whether the second axis of an input is that of lists if outputs have it.

    Of ids [R, 50] it is where an output keeps their axis: a pointwise model with 50 outputs has other 50 columns.
    """
    shape, dims = shape_of(info) or [], found.values[info.name].dims
    if not _is_more_than_features(info):
        return False
    if not isinstance(shape[1], int) or len(shape) > 2:
        return True
    kept = {axis for output in found.outputs for dim in (output.dims or ())[1:2] for axis in dim}
    return dims is not None and not kept.isdisjoint(dims[1])


def _has_lists(value: Value, declared: Shape | None, item: _Listed, within: bool) -> bool:
    """Whether an output has the candidates of an input: as its second axis, or `within` the leading one, or before it.

    Of an output whose shape no rule knows, such as that of a custom operator, the exporter's name of the axis tells.
    """
    if value.dims is None:
        return item.called is not None and (declared or [])[1:2] == [item.called]
    shape = extents(value.dims)
    requests = item.rows if isinstance(item.candidates, int) else next(iter(shape), 1)
    alone = requests == 1 or (
        isinstance(requests, Poly) and len(symbols(requests)) == 1 and requests != item.candidates
    )
    if alone and shape[:2] == (requests, item.candidates):
        return True
    return within and (
        shape[:1] == (product((item.rows, item.candidates)),) or shape[:2] == (item.candidates, item.rows)
    )


def _has_request(model: Model, items: Collection[str]) -> bool:
    """Whether an input without the axis of candidates has as many rows as those that have it: the request's."""
    shapes = {info.name: shape_of(info) for info in model.inputs}
    rows = {name: shape[0] if isinstance(shape[0], int) else None for name, shape in shapes.items() if shape}
    of_items = {rows[name] for name in items}
    return any(name not in items and count in of_items for name, count in rows.items())
