"""The caller sends a row for each of several requests, and an index selects one of them for each candidate.

AddedIndex      the index is a new input, `request_index`
ExistingIndex   the index is an input of the original, which may use it for something else as well
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import onnx
from onnx import TensorProto, helper

from mari_onnx.document.graph_view import Model, is_named, shape_of
from mari_onnx.document.signature import AS_IT_WAS, Signature
from mari_onnx.errors import UserError
from mari_onnx.ir.extents import symbol
from mari_onnx.report.model import RequestInput
from mari_onnx.serving.call_graph import CallGraph, leading_extent
from mari_onnx.serving.mode import DrawnRows, Feed, SentOnce
from mari_onnx.serving.names import INDEX_INPUT, REQUESTS, Options
from mari_onnx.serving.rows import INTEGERS, ByIndex, Rows

INT64 = TensorProto.INT64


def requests_symbol(model: Model) -> str:
    """A symbol for the number of requests, which no input of the model has."""
    name = REQUESTS
    while name in {*model.leading_symbols.values(), *model.input_symbols}:
        name += "_"
    return name


class SeveralRequests(SentOnce):
    """A call holds several requests. The input `index` has, for each candidate, the row number of its request."""

    index: str

    def role(self, name: str, why: str) -> RequestInput:
        return RequestInput(name, REQUESTS, f"{why}: the caller sends a row for each request of `{self.index}`")

    def rows(self, requests: str) -> Rows:
        return ByIndex(self.index, symbol(requests))

    def signature(self, leading: Mapping[str, str], tiled: Sequence[str], requests: str) -> Signature:
        return Signature(tuple((name, requests) for name in tiled))

    def feed(self, info: onnx.ValueInfoProto, original: onnx.ValueInfoProto | None) -> Feed | None:
        extent = leading_extent(info)  # `item.0` is what the written model calls an axis of no name, or of a shared one
        changed = original is not None and isinstance(extent, str) and extent != leading_extent(original)
        changed = changed and is_named(str(extent))
        return partial(self._send_rows, info.name) if changed else None

    @abstractmethod
    def _send_rows(self, name: str, call: CallGraph, to: str) -> None:
        """Write a row for each request, computed from an input `name` that has a row for each candidate."""


@dataclass(frozen=True)
class ExistingIndex(SeveralRequests):
    """The index is an integer input of the original."""

    index: str

    @property
    def options(self) -> Options:
        return Options(REQUESTS, request_index=self.index)

    def check(self, model: Model) -> None:
        infos = {i.name: i for i in model.inputs}
        if self.index not in infos:
            raise UserError(
                f"the model has no input {self.index!r} to be the request index",
                f"its inputs are: {', '.join(infos)}; `--user-batch {REQUESTS}` alone adds an index",
            )
        shape, dtype = shape_of(infos[self.index]), infos[self.index].type.tensor_type.elem_type
        if dtype not in INTEGERS or not shape or isinstance(shape[0], int) or any(e != 1 for e in shape[1:]):
            raise UserError(f"input `{self.index}` does not have one integer for each candidate", "name another")

    def declared(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """The index itself has an entry for each candidate and is not the request's, even if a glob matches it."""
        return {name: why for name, why in reasons.items() if name != self.index}

    def counted(self, leading: Mapping[str, str], tiled: Sequence[str]) -> list[str]:
        return [*super().counted(leading, tiled), *([leading[self.index]] if tiled else ())]

    def _sentences(self, names: str) -> tuple[str, ...]:
        return (
            f"Send one row for each request in: {names}.",
            f"Send in `{self.index}`: the number of the row, from 0, that the candidate's request has.",
        )

    def drawn_rows(self, tiled: Sequence[str], keys: Sequence[str] = ()) -> DrawnRows:
        """Candidates with the same entry of the index have identical rows."""
        return super().drawn_rows(tiled, (*keys, self.index) if tiled else ())

    def _send_rows(self, name: str, call: CallGraph, to: str) -> None:
        """Row r of the result is the row of some candidate whose index is r."""
        call.take(name, self._positions(call), to)

    def _positions(self, call: CallGraph) -> str:
        """Write, for r from 0 to the largest index, the position of a candidate with index r, or 0 if there is none.

        Example: the index [2 0 2] gives [1 0 2].
        """
        name = f"{self.index}.positions"
        if not call.has(name):
            column = call.node("Reshape", [self.index, call.ints("flat", [-1])], f"{name}.flat")
            flat = call.node("Cast", [column], f"{name}.int64", to=INT64)
            padded = call.node("Concat", [flat, call.ints("none", [-1])], f"{name}.padded", axis=0)
            largest = call.node("ReduceMax", [padded], f"{name}.largest", keepdims=0)
            count = call.node("Add", [largest, call.ints("one", [1])], f"{name}.count")
            requests = call.numbers(count, f"{name}.requests")
            each = call.node("Reshape", [requests, call.ints("column", [-1, 1])], f"{name}.each")
            is_of = call.node("Equal", [each, padded], f"{name}.is_of")
            found = call.node("Cast", [is_of], f"{name}.found", to=TensorProto.INT32)
            call.node("ArgMax", [found], name, axis=1, keepdims=0)
        return name


@dataclass(frozen=True)
class AddedIndex(SeveralRequests):
    """The index is a new input, int64, with one entry for each candidate."""

    index = INDEX_INPUT

    @property
    def options(self) -> Options:
        return Options(REQUESTS)

    def check(self, model: Model) -> None:
        if INDEX_INPUT in model.names:
            raise UserError(f"the model has a `{INDEX_INPUT}` already", f"`--request-index {INDEX_INPUT}` uses it")

    def signature(self, leading: Mapping[str, str], tiled: Sequence[str], requests: str) -> Signature:
        """The index is added only if an input is tiled."""
        if not tiled:
            return AS_IT_WAS
        count = leading[tiled[0]]
        index = helper.make_tensor_value_info(INDEX_INPUT, INT64, [count if is_named(count) else None])
        return Signature(super().signature(leading, tiled, requests).leading, (index,))

    def counted(self, leading: Mapping[str, str], tiled: Sequence[str]) -> list[str]:
        """The symbols of tiled inputs, and that of the added index, which is new if their axis has no name."""
        own = [c if is_named(c) else f"{INDEX_INPUT}.0" for c in (leading[name] for name in tiled[:1])]
        return [*super().counted(leading, tiled), *own]

    def _sentences(self, names: str) -> tuple[str, ...]:
        return (
            f"Send one row for each request in: {names}.",
            f"Send in `{INDEX_INPUT}`, a new input, int64, one entry for each candidate: "
            "the number of the row, from 0, that the candidate's request has.",
        )

    def drawn_rows(self, tiled: Sequence[str], keys: Sequence[str] = ()) -> DrawnRows:
        """Each candidate is a request of its own (see `feed`), so that rows may differ unless keys are given."""
        return super().drawn_rows(tiled, keys) if keys else DrawnRows()

    def feed(self, info: onnx.ValueInfoProto, original: onnx.ValueInfoProto | None) -> Feed | None:
        added = original is None and info.name == INDEX_INPUT
        return partial(_count_down, info) if added else super().feed(info, original)

    def _send_rows(self, name: str, call: CallGraph, to: str) -> None:
        """The rows of all candidates in reverse order, twice: the second half are requests without candidates."""
        backwards = call.take(name, _downwards(name, call, f"{to}.down"), f"{to}.backwards")
        call.node("Concat", [backwards, backwards], to, axis=0)


def _count_down(index: onnx.ValueInfoProto, call: CallGraph, to: str) -> None:
    """Write the index of rows in reverse order: [B-1, ..., 1, 0].

    B is the number of rows of an input with the same leading axis as the index, or of any input with a dynamic leading
    axis if the exporter named none.
    """
    dynamic = [i for i in call.inputs.values() if shape_of(i) and not isinstance(leading_extent(i), int)]
    some = next((i for i in dynamic if leading_extent(i) == leading_extent(index)), dynamic[0]).name
    _downwards(some, call, to)


def _downwards(rows: str, call: CallGraph, to: str) -> str:
    """Write the numbers of a tensor's rows, the last one first."""
    up = call.row_numbers(rows, f"{to}.up")
    last = call.node("Sub", [call.row_count(rows, f"{to}.all"), call.ints("one", [1])], f"{to}.last")
    return call.node("Sub", [last, up], to)
