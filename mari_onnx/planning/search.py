"""The search for the best plan: a few are made, each is priced, and one is chosen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mari_onnx.analysis.input_roles import InputRoles
from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.document.graph_view import Model
from mari_onnx.emission import planned
from mari_onnx.errors import UserError
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.extents import ROW, symbol
from mari_onnx.planning.alternatives import choose
from mari_onnx.planning.guard import guarded
from mari_onnx.serving.requests import requests_symbol

REQUESTS = 4
"""Requests in a batch of several, for the cost model."""


EMPHASES = (0.0, 4.0, 64.0)
"""How much a call with a single candidate counts beside one with many, in one plan after the other."""


ALONE = 1.05
"""Estimated time of a call with a single candidate, in units of the original's, that a plan should not exceed."""


RARELY = 0.25
"""How much slower calls with many candidates may be, for a call with one that is so much faster: the powers weighed."""


NS_PER_CALL, NS_PER_INPUT = 4500.0, 600.0
"""What a call takes before any node runs."""


def run(model: Model, given: InputRoles, batch: int, items: Collection[str] = ()) -> Program:
    """Interpret the model for these roles of its inputs, and settle what is to be written; `items` are kept apart.

    `items` are inputs of which what depends on them alone has forms of its own. The plan is the fastest at `batch`
    candidates. Where that makes a call with a single candidate slower than the original, plans that count such a call
    as well are tried: what they lose for many candidates is weighed against it. Where the plan would take less time
    but more arithmetic than the original, those are tried that do not trade one for the other.

    Raises UserError where the rows are not to be tiled any more, and no other input tells the number of candidates.
    """
    leading = model.leading_symbols
    selected = {leading[name] for name in given.of_requests if name not in given.tiled}
    requests, mode = requests_symbol(model), given.mode
    rows, signature = mode.rows(requests), mode.signature(leading, given.tiled, requests)
    counted = mode.counted(leading, given.tiled)
    reference = {
        ROW: 1, **dict.fromkeys({*selected, requests}, REQUESTS), **dict.fromkeys((*given.candidates, *counted), batch)
    }  # fmt: skip
    # The caller repeats a row once for each candidate: so many rows have all tiled inputs, by their declaration.
    counts = counted if len(given.candidates) > 1 else [*given.candidates, *counted]
    equal = [(symbol(counts[0]), symbol(other)) for other in counts[1:]]
    reasons = {i.name: i.reason for i in given.inputs}
    alone = CostModel(1, dict.fromkeys(reference, 1))
    call = NS_PER_CALL + NS_PER_INPUT * len(model.inputs)

    def plan(emphasis: float, thrifty: bool) -> tuple[float, Program]:
        cost = CostModel(batch, dict(reference), alone, emphasis, thrifty)
        program = interpret(model, given.tiled, cost, given.candidates, reasons, equal, rows, signature, items)
        for name in given.tiled:
            if program.same.get(leading[name], leading[name]) not in program.providers:
                raise UserError(
                    f"no other input is known to have as many rows as there are candidates, once `{name}` has one",
                    "declare only the user's inputs with -u, or leave the user's batch as it is",
                )
        if mode.guard is not None:
            program = guarded(program, model, given.tiled, mode.guard)
        choose(program)
        program.context.cost = cost = replace(cost, emphasis=0.0)
        program.plan = nodes, arithmetic = planned(program, model)
        many, one = (sum(map(c.node_time, nodes)) + c.shape_arithmetic(arithmetic) + call for c in (cost, alone))
        program.weight = max(1.0, one / (program.time_alone + call) / ALONE) ** RARELY
        return many * program.weight, program

    for thrifty in (False, True):
        plans: list[tuple[float, Program]] = []
        for emphasis in EMPHASES:
            plans.append(plan(emphasis, thrifty))
            if plans[-1][1].weight == 1:
                break
        _, best = min(plans, key=lambda plan: plan[0])
        if sum(map(best.context.cost.node_macs, best.plan[0])) <= best.macs:
            break
    return best
