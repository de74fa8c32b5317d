"""A plan: the nodes that would be written for a model, and their estimated time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.reading import Reading
from mari_onnx.emission import Lowered, lower
from mari_onnx.ir.cost import CostModel, Work
from mari_onnx.ir.expressions import Node
from mari_onnx.ir.extents import symbols
from mari_onnx.ir.policy import POLICY


@dataclass(frozen=True)
class Turn:
    """Calls with fewer than `below` candidates run the graph as it was exported. `counted` is an axis of an input."""

    counted: tuple[str, int]
    below: int


@dataclass(frozen=True)
class Plan:
    """A program whose choices are settled, its lowered form, and the work that it takes.

    `work` is counted by the model `cost`, for a call with `cost.batch` candidates. `handicap` is a factor on the time
    when plans are compared. It is more than 1 for a plan whose call with a single candidate is slower than the
    original's. With a `turn`, the plan is one for many candidates alone (see `planning.two_graphs`).
    """

    reading: Reading
    program: Program
    lowered: Lowered
    cost: CostModel
    work: Work
    handicap: float
    turn: Turn | None = None

    @property
    def weighed(self) -> float:
        """Nanoseconds of a call with `cost.batch` candidates, times the handicap: the best plan has the least."""
        return (self.work.time + POLICY.call(len(self.reading.model.inputs))) * self.handicap

    @property
    def pays(self) -> bool:
        """Whether the plan can be written and saves enough for that; otherwise the model is left as it is."""
        if self.lowered.lacking:
            return False
        before, after = self.program.work, self.work
        macs, time = (before.macs, after.macs), (before.time, after.time * self.handicap)
        return bool(self.reading.roles.inputs) and POLICY.pays(macs=macs, time=time)


def priced(reading: Reading, program: Program) -> Plan:
    """The plan of a program whose choices are settled: the program is lowered, and its work is counted."""
    cost = replace(program.context.cost, emphasis=0.0)
    lowered = lower(program, reading.model)
    work = _work(lowered, cost)
    return Plan(reading, program, lowered, cost, work, handicap(reading, program.work.alone, work.alone))


def handicap(reading: Reading, before: float, after: float) -> float:
    """`Policy.handicap` of calls with few candidates, whose nodes take so many nanoseconds."""
    call = POLICY.call(len(reading.model.inputs))
    return POLICY.handicap(before + call, after + call, counts=reading.premises.few is not None)


def _work(lowered: Lowered, cost: CostModel) -> Work:
    """The work of the nodes and of the shape arithmetic: multiply-adds, number of nodes, and nanoseconds."""
    assert cost.alone is not None
    nodes, arithmetic = lowered.computing, lowered.shape_nodes
    time, alone = (sum(map(c.node_time, nodes)) + c.shape_arithmetic(arithmetic) for c in (cost, cost.alone))
    macs = {node: cost.node_macs(node) for node in nodes}
    fixed = sum(n for node, n in macs.items() if not _varies(node, lowered.program))
    return Work(sum(macs.values()), fixed, len(nodes) + len(arithmetic), time, alone)


def _varies(node: Node, program: Program) -> bool:
    """Whether the shape of an output of the node depends on the number of candidates."""
    return any(
        not isinstance(e, int) and not symbols(e).isdisjoint(program.context.candidates)
        for t in node.outputs
        for e in t.shape or ()
    )
