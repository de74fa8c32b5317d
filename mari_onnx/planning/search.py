"""The search for the best plan: a few plans are made and priced, and the best one is taken.

The first plan is the fastest for the reference number of candidates, `--batch`. It may be slower than the original for
a single candidate: two small products instead of one have one more launch. Then further plans are made, in which the
call with a single candidate counts more and more. The plans are compared by their time for many candidates, times a
handicap for being slow for one (see `Policy.handicap`).

A plan may also stand beside the graph as it was exported, which then runs calls with few candidates (see `two_graphs`).

The best plan may take less time but more arithmetic than the original, for example because a bias is one more row of a
weight. Then the search is repeated without the forms that trade arithmetic for time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.reading import Reading
from mari_onnx.emission.order import written_extents
from mari_onnx.errors import UserError
from mari_onnx.ir.cost import reachable
from mari_onnx.ir.extents import symbols
from mari_onnx.ir.policy import POLICY
from mari_onnx.planning.alternatives import choose
from mari_onnx.planning.guard import guarded
from mari_onnx.planning.plan import Plan, priced
from mari_onnx.planning.two_graphs import beside_exported, pays


def best_plan(reading: Reading, batch: int) -> Plan:
    """The best plan for calls with `batch` candidates.

    Raises UserError if an input is to be sent as one row, and no other input tells the number of candidates.
    """
    best = _best(_plans(reading, batch, thrifty=False))
    if best.lowered.lacking and reading.premises.cuts_at_symbols:
        return best_plan(replace(reading, premises=replace(reading.premises, cuts_at_symbols=False)), batch)
    if best.work.macs <= best.program.work.macs:
        return best
    return _best(_plans(reading, batch, thrifty=True))


def _best(plans: Iterator[Plan]) -> Plan:
    """The best of the plans, or of those beside the exported graph where one of these is so much better."""
    alone, both = [], []
    for plan in plans:
        alone.append(plan)
        both += [two] if (two := beside_exported(plan)) is not None else []
    best = min(alone, key=_rank)
    two = min(both, key=_rank, default=best)
    return two if pays(two, best) else best


def _rank(plan: Plan) -> tuple[bool, float]:
    """What can be written comes before what cannot, and what takes less before what takes more."""
    return bool(plan.lowered.lacking), plan.weighed


def _plans(reading: Reading, batch: int, *, thrifty: bool) -> Iterator[Plan]:
    """Plans with more and more emphasis on a single candidate, up to the first that is not slower for it.

    `thrifty` plans do without forms that take more arithmetic to save time.
    """
    for emphasis in POLICY.emphases:
        plan = _plan(reading, batch, emphasis, thrifty)
        yield plan
        if plan.handicap == 1:
            return


def _plan(reading: Reading, batch: int, emphasis: float, thrifty: bool) -> Plan:
    """Interpret the model, add the guard of the serving mode, and settle the choices."""
    cost = replace(reading.premises.cost_model(batch), emphasis=emphasis, thrifty=thrifty)
    program = interpret(reading.model, reading.premises, cost)
    _check_counted(reading, program)
    guard = reading.roles.mode.guard
    if guard is not None:
        program = guarded(program, reading.model, reading.premises.tiled, guard)
    choose(program, reading.premises.whole)
    return priced(reading, program)


def _check_counted(reading: Reading, program: Program) -> None:
    """Raise UserError if the number of candidates could only be told from an input that is now sent as one row."""
    leading = reading.model.leading_symbols
    for name in reading.premises.tiled:
        if not is_told(program, program.same.get(leading[name], leading[name])):
            raise UserError(
                f"no other input is known to have as many rows as there are candidates, once `{name}` has one",
                "declare only the user's inputs with -u, or leave the user's batch as it is",
            )


def is_told(program: Program, symbol: str) -> bool:
    """Whether an extent can be read off a tensor that can be computed without it.

    A product of the items' rows and of `user`, expanded to as many rows as the item has, has that many rows as well.
    But the Expand needs their number first.
    """
    if symbol not in program.providers:
        return False
    tensor, _ = program.providers[symbol]
    needed = (extent for node in reachable([tensor]) for extent in written_extents(node))
    return all(symbol not in symbols(extent) for extent in needed)
