"""A model as it is read: its graph, the roles of its inputs, and what follows from them before anything is planned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from mari_onnx.analysis.input_roles import Sides, named
from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.premises import Premises
from mari_onnx.document.graph_view import Model
from mari_onnx.document.signature import AS_IT_WAS, Signature
from mari_onnx.ir.cost import Work
from mari_onnx.ir.extents import symbol
from mari_onnx.serving.modes import INDEX_INPUT
from mari_onnx.serving.rows import FIRST_ROW, ByIndex, ByKey, OneRow, Rows


@dataclass(frozen=True)
class Reading:
    """What every plan for a model starts from."""

    model: Model
    roles: Sides
    premises: Premises

    def interpreted(self, batch: int) -> Program:
        """The forms of all values, priced at `batch` candidates."""
        return interpret(self.model, self.premises, self.premises.cost_model(batch))

    def work(self, batch: int) -> Work:
        """What a call of the model as it is takes at `batch` candidates; nothing is planned."""
        return self.interpreted(batch).work


def read(model: Model, roles: Sides, items: Collection[str] = ()) -> Reading:
    """The model with these roles; values that depend on the inputs `items` alone are kept apart from the rest."""
    return Reading(model, roles, premises_of(model, roles, items))


def premises_of(model: Model, given: Sides, items: Collection[str] = ()) -> Premises:
    """The premises of a model whose inputs have these roles."""
    leading = model.leading_symbols
    selected = {leading[i.name] for i in given.inputs if i.rows == "requests" and i.name not in given.tiled}
    counted = sorted({leading[name] for name in given.tiled})
    rows, signature, requests = _rows(model, given, leading)
    if given.tiled and isinstance(rows, ByIndex):
        counted.append(leading.get(rows.index) or _leading_symbol(signature.inputs[0]))
    # The caller repeats a row once for each candidate: so many rows have all tiled inputs, by their declaration.
    counts = counted if len(given.candidates) > 1 else [*given.candidates, *counted]
    return Premises(
        tiled=given.tiled,
        repeated=tuple(counted),
        candidates=given.candidates,
        requests=(*sorted(selected), requests),
        rows=rows,
        signature=signature,
        reasons={i.name: i.reason for i in given.inputs},
        equal=tuple((symbol(counts[0]), symbol(other)) for other in counts[1:]),
        items=items,
    )


def _rows(model: Model, given: Sides, leading: dict[str, str]) -> tuple[Rows, Signature, str]:
    """What is kept of tiled rows, how the model is called for that, and the symbol that counts several requests."""
    requests = "requests"
    while requests in {*leading.values(), *model.input_symbols}:
        requests += "_"
    serving = given.serving
    match serving.user_batch:
        case "one":
            return OneRow(), Signature(tuple((name, 1) for name in given.tiled)), requests
        case "requests" if given.tiled:
            changed = tuple((name, requests) for name in given.tiled)
            if serving.request_index is not None:
                return ByIndex(serving.request_index, symbol(requests)), Signature(changed), requests
            count = leading[given.tiled[0]]
            index = helper.make_tensor_value_info(INDEX_INPUT, TensorProto.INT64, [count if named(count) else None])
            return ByIndex(INDEX_INPUT, symbol(requests)), Signature(changed, (index,)), requests
    if serving.request_key:
        return ByKey(serving.request_key, symbol(requests)), AS_IT_WAS, requests
    return FIRST_ROW, AS_IT_WAS, requests


def _leading_symbol(info: onnx.ValueInfoProto) -> str:
    return info.type.tensor_type.shape.dim[0].dim_param or f"{info.name}.0"
