"""A model as it is read: its graph, the roles of its inputs, and what follows from them before anything is planned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mari_onnx.analysis.input_roles import InputRoles
from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.premises import Premises
from mari_onnx.document.graph_view import Model
from mari_onnx.ir.cost import Work
from mari_onnx.ir.extents import symbol
from mari_onnx.serving.requests import requests_symbol


@dataclass(frozen=True)
class Reading:
    """What every plan for a model starts from."""

    model: Model
    roles: InputRoles
    premises: Premises

    def interpreted(self, batch: int) -> Program:
        """The forms of all values, priced at `batch` candidates."""
        return interpret(self.model, self.premises, self.premises.cost_model(batch))

    def work(self, batch: int) -> Work:
        """What a call of the model as it is takes at `batch` candidates; nothing is planned."""
        return self.interpreted(batch).work


def read(model: Model, roles: InputRoles, items: Collection[str] = ()) -> Reading:
    """The model with these roles; values that depend on the inputs `items` alone are kept apart from the rest."""
    return Reading(model, roles, premises_of(model, roles, items))


def premises_of(model: Model, given: InputRoles, items: Collection[str] = ()) -> Premises:
    """The premises of a model whose inputs have these roles."""
    leading = model.leading_symbols
    selected = {leading[name] for name in given.of_requests if name not in given.tiled}
    mode, requests = given.mode, requests_symbol(model)
    counted = mode.counted(leading, given.tiled)
    # The caller repeats a row once for each candidate: so many rows have all tiled inputs, by their declaration.
    counts = counted if len(given.candidates) > 1 else [*given.candidates, *counted]
    return Premises(
        tiled=given.tiled,
        repeated=tuple(counted),
        candidates=given.candidates,
        requests=(*sorted(selected), requests),
        rows=mode.rows(requests),
        signature=mode.signature(leading, given.tiled, requests),
        reasons={i.name: i.reason for i in given.inputs},
        equal=tuple((symbol(counts[0]), symbol(other)) for other in counts[1:]),
        items=items,
    )
