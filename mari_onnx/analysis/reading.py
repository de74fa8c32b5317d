"""A model with the roles of its inputs and the premises that follow from them: the starting point of every plan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from mari_onnx.analysis.input_roles import InputRoles
from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.premises import Premises
from mari_onnx.analysis.shared_symbols import leading_names
from mari_onnx.document.graph_view import Model
from mari_onnx.ir.extents import symbol
from mari_onnx.serving.requests import requests_symbol


@dataclass(frozen=True)
class Reading:
    """A model, the roles of its inputs, and the premises of its interpretation."""

    model: Model
    roles: InputRoles
    premises: Premises

    def interpreted(self, batch: int) -> Program:
        """The forms of all values, priced at `batch` candidates."""
        return interpret(self.model, self.premises, self.premises.cost_model(batch))


def read(
    model: Model, roles: InputRoles, items: Collection[str] = (), *, cut: bool = False, assume_masked: bool = False
) -> Reading:
    """The model with these roles. Values that depend on the inputs `items` alone are marked as the items'.

    `cut` says that the written model will be cut into several. `assume_masked` says that scores of attention are small.
    """
    premises = replace(premises_of(model, roles, items, cut=cut), assume_masked=assume_masked)
    return Reading(model, roles, premises)


def premises_of(model: Model, roles: InputRoles, items: Collection[str] = (), *, cut: bool = False) -> Premises:
    """The premises of a model whose inputs have these roles."""
    own, names = model.leading_symbols, leading_names(model)
    # The caller repeats a row for each of the candidates, and the exporter's name says for those of which inputs. Of
    # axes with that name that are not proven equal, the one that kept the name as its symbol counts candidates.
    counting = [i for i, s in own.items() if i in names and s in roles.candidates and i not in roles.tiled]
    counted_by = {names[i]: own[i] for i in sorted(counting, key=lambda i: own[i] == names[i])}
    named = {i: counted_by[names[i]] for i in roles.tiled if names.get(i) in counted_by}
    leading = {**own, **named}
    selected = {leading[name] for name in roles.of_requests if name not in roles.tiled}
    lists = {*own.values()} if roles.listwise else set()
    mode, requests = roles.mode, requests_symbol(model)
    counted = mode.counted(leading, roles.tiled)
    # All tiled inputs have as many rows as there are candidates, since the caller repeats a row for each of them.
    equal = counted if len(roles.candidates) > 1 else [*roles.candidates, *counted]
    return Premises(
        tiled=roles.tiled,
        repeated=tuple(counted),
        candidates=roles.candidates,
        requests=(*sorted(selected - lists), requests),
        lists=tuple(sorted(lists)),
        rows=mode.rows(requests),
        signature=mode.signature(leading, roles.tiled, requests),
        reasons={i.name: i.reason for i in roles.inputs},
        equal=(
            *((symbol(named[name]), symbol(own[name])) for name in named),
            *((symbol(equal[0]), symbol(other)) for other in equal[1:]),
        ),
        items=items,
        computes_all_rows=cut,
    )
