"""Whether calls with few candidates are better off with the graph as it was exported, beside the optimized one.

A plan that computes the request's part apart takes more launches than the original, and less work for each candidate.
Both times are taken as linear in the number of candidates, so that there is one number from which on the plan is the
faster one:

    original    64 us with one candidate, 20,273 with 500    40.5 for each further one
    plan       257 us with one candidate,  5,462 with 500    10.4 for each further one: faster from 8 on

The choice costs time in every call (`cost.NS_PER_IF`).
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from mari_onnx.ir.cost import NS_PER_CAPTURE, NS_PER_IF, NS_PER_NODE_OF_BRANCH
from mari_onnx.ir.policy import POLICY
from mari_onnx.planning.plan import Plan, Turn, handicap
from mari_onnx.serving.two_graphs import can_be_branch


def with_exported(plan: Plan) -> Plan:
    """The plan, beside the graph as it was exported where that pays."""
    both = beside_exported(plan)
    return both if both is not None and pays(both, plan) else plan


def pays(both: Plan, alone: Plan) -> bool:
    """Whether a plan beside the exported graph is so much better than one without that (see `Policy.two_graphs`)."""
    return both.weighed < POLICY.two_graphs * alone.weighed


def beside_exported(plan: Plan) -> Plan | None:
    """The plan for many candidates, and the graph as it was exported for few; None where that cannot be, or is slower.

    A call that is made otherwise than that of the original cannot run the graph as it was exported.
    """
    premises, before, after = plan.reading.premises, plan.program.work, plan.work
    called_otherwise = plan.reading.roles.mode.demanded or premises.computes_all_rows
    counted, few = _counted(plan), premises.few or 1
    if plan.handicap == 1 or called_otherwise or counted is None or not _can_be_two(plan):
        return None
    gained = ((before.time - before.alone) - (after.time - after.alone)) / max(plan.cost.batch - few, 1)
    if gained <= 0:  # for each further candidate
        return None
    below = few + ceil((after.alone - before.alone) / gained)
    captures = sum(node.is_source or node.outputs[0].stored for node in plan.lowered.nodes)
    time, alone = (
        time + NS_PER_IF + NS_PER_CAPTURE * captures + NS_PER_NODE_OF_BRANCH * nodes
        for time, nodes in ((after.time, after.nodes), (before.alone, before.nodes))
    )
    work = replace(after, time=time, alone=alone)
    return replace(plan, turn=Turn(counted, below), work=work, handicap=handicap(plan.reading, before.alone, alone))


def _can_be_two(plan: Plan) -> bool:
    """Whether both graphs can be branches; what cannot be written is none."""
    computed = not any(t.stored or t.node.is_source for t in plan.lowered.outputs)
    if plan.turn is not None or plan.lowered.lacking or not computed:
        return False
    return can_be_branch(plan.reading.model.document.proto.graph, plan.reading.model.opset)


def _counted(plan: Plan) -> tuple[str, int] | None:
    """The axis of an input that counts candidates; None where no input that is sent has one."""
    for symbol in (*plan.reading.premises.candidates, *plan.reading.premises.repeated):
        tensor, axis = plan.program.providers.get(symbol, (None, 0))
        if tensor is not None and tensor.node.op_type == "<input>" and tensor.name is not None:
            return tensor.name, axis
    return None
