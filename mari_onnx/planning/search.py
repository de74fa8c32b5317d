"""The search for the best plan: a few are made, each is priced, and the one that takes least is chosen.

The first plan is the fastest at the reference number of candidates. Where it makes a call with a single candidate
slower than the original, plans are made in which such a call counts too, with more and more emphasis. What they lose
for many candidates is weighed against what they gain for one (see `Policy.handicap`).

A plan may take less time and more arithmetic than the original: a bias as one more row of a weight is one. Then the
search begins again without the forms that trade one for the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.reading import Reading
from mari_onnx.errors import UserError
from mari_onnx.ir.policy import POLICY
from mari_onnx.planning.alternatives import choose
from mari_onnx.planning.guard import guarded
from mari_onnx.planning.plan import Plan, priced


def best_plan(reading: Reading, batch: int) -> Plan:
    """The best plan at `batch` candidates.

    Raises UserError where the rows are not to be tiled any more, and no other input tells the number of candidates.
    """
    best = min(_plans(reading, batch, thrifty=False), key=_rank)
    if best.work.macs <= best.program.work.macs:
        return best
    return min(_plans(reading, batch, thrifty=True), key=_rank)


def _rank(plan: Plan) -> tuple[bool, float]:
    """What can be written comes before what cannot, and what takes less before what takes more."""
    return bool(plan.lowered.lacking), plan.weighed


def _plans(reading: Reading, batch: int, *, thrifty: bool) -> Iterator[Plan]:
    """Plans with more and more emphasis on a single candidate, until one is not slower for it."""
    for emphasis in POLICY.emphases:
        plan = _plan(reading, batch, emphasis, thrifty)
        yield plan
        if plan.handicap == 1:
            return


def _plan(reading: Reading, batch: int, emphasis: float, thrifty: bool) -> Plan:
    """Interpret the model, add the guard that was asked for, and settle what is written."""
    cost = replace(reading.premises.cost_model(batch), emphasis=emphasis, thrifty=thrifty)
    program = interpret(reading.model, reading.premises, cost)
    _check_counted(reading, program)
    guard = reading.roles.mode.guard
    if guard is not None:
        program = guarded(program, reading.model, reading.premises.tiled, guard)
    choose(program)
    return priced(reading, program)


def _check_counted(reading: Reading, program: Program) -> None:
    """Raise UserError where an input that keeps one row alone told the number of candidates."""
    leading = reading.model.leading_symbols
    for name in reading.premises.tiled:
        if program.same.get(leading[name], leading[name]) not in program.providers:
            raise UserError(
                f"no other input is known to have as many rows as there are candidates, once `{name}` has one",
                "declare only the user's inputs with -u, or leave the user's batch as it is",
            )
