"""Kernels: nodes that a runtime computes slowly give way to nodes that compute the same in less time.

A kernel is a function from a node of a settled plan to tensors with the same elements. What it offers is a choice like
any other (see `planning.alternatives`): it is taken where the whole plan is cheaper with it. Each file says which nodes
its kernels replace, in which cases that is exact, and with which version of a runtime the times were measured.

Kernels are no reason to touch a model. They are put into a plan that is written anyway, and change nothing but time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.provenance import WHOLE, Origin
from mari_onnx.ir.cost import reachable
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.planning.alternatives import settle
from mari_onnx.planning.kernels import channels, gates, mixtures, norms, powers, slopes, sums, tables
from mari_onnx.planning.kernels.site import Kernel, Offer, Site, is_ours
from mari_onnx.planning.plan import Plan, priced
from mari_onnx.report.model import Remark

KERNELS: Mapping[str, Sequence[Kernel]] = {
    "Add": (gates.gate,),
    "BatchNormalization": (channels.normalized_product,),
    "Gather": (mixtures.row,),
    "Gemm": (gates.into_weight, tables.product_of_lookups),
    "MatMul": (mixtures.product, gates.into_weight, tables.product_of_lookups),
    "Mul": (norms.divided,),
    "Pow": (powers.square,),
    "PRelu": (slopes.without_branches,),
    "Slice": (mixtures.row,),
    "ReduceMean": (sums.of_places, sums.without_addend),
    "ReduceSum": (sums.of_places, sums.without_addend),
}
"""For each operator, the kernels that replace a node of it, or several nodes of which it is the last."""

ROUNDS = 2
"""How often kernels are looked for: what one of them offers, such as powers of places, may be another's to replace."""


def with_kernels(plan: Plan, *, fold_tables: int = 0) -> Plan:
    """The plan with the kernels that make it cheaper. Its program is changed in place.

    Tables that are multiplied in advance take up to `fold_tables` bytes.
    """
    context = plan.program.context
    site = Site(context.b, context.opset, context.array_of, fold_tables)
    asked: set[tuple[Kernel, Node]] = set()
    for _ in range(ROUNDS):
        better = _round(plan, site, asked)
        if better is plan:
            break
        plan = better
    return plan


def _round(plan: Plan, site: Site, asked: set[tuple[Kernel, Node]]) -> Plan:
    """The plan with those of the offers for its nodes that make it cheaper; the same plan where none does.

    What was offered in an earlier round is in `asked`, to which this round adds, and is not offered again.
    """
    program, b = plan.program, plan.program.context.b
    offers: list[_Offered] = []
    fused = powers.of_norms(plan.lowered.computing)
    for node in sorted(plan.lowered.computing, key=lambda node: node.serial):
        if node not in fused and _may_be_replaced(plan, node):
            for kernel in KERNELS.get(node.op_type, ()):
                since = b.count
                new = [] if (kernel, node) in asked else list(kernel(site, node))
                offers += [_Offered(kernel, since, offer) for offer in new]
                asked |= {(kernel, node)} if new else set()
    if not offers:
        return plan
    b.choices = [{o.replaced: o.tensor} for o in offers if o.tensor.shape == o.replaced.shape]
    cost = replace(program.context.cost)
    for offered in offers:
        cost.fuse(offered.tensor.node, offered.offer.fused)
    settle(program, cost, ordered=True)
    taken = [offered for offered in offers if b.resolve(offered.replaced) is offered.tensor]
    if not taken:
        return plan
    better = priced(plan.reading, program)
    needed = set(better.lowered.nodes)
    for offered in taken:
        _note(program, offered)
        remark = _remark(offered, needed)
        if remark.tensor and remark not in program.context.remarks:  # parts of one value have nodes of one name
            program.context.remarks.append(remark)
    return better


class _Offered(NamedTuple):
    """What a kernel offers, with the count of the builder before it did."""

    kernel: Kernel
    since: int
    offer: Offer

    @property
    def tensor(self) -> Tensor:
        return self.offer.tensor

    @property
    def replaced(self) -> Tensor:
        return self.offer.instead_of[0].outputs[0]


def _may_be_replaced(plan: Plan, node: Node) -> bool:
    """Whether a node is ONNX's own on tensors of known rank, and none whose rewrite failed the verification."""
    whole = plan.reading.premises.whole
    if any(t is not None and t.shape is None for t in (*node.inputs, *node.outputs)):
        return False
    return is_ours(node, node.op_type) and (node.proto is None or whole.isdisjoint(node.proto.output))


def _note(program: Program, offered: _Offered) -> None:
    """Note where a tensor comes from; it is the array of the value that the replaced one was the array of."""
    replaced, tensor, rule = offered.replaced, offered.tensor, offered.kernel.__module__.rpartition(".")[2]
    origins, proto = program.context.origins, replaced.node.proto
    known = origins.get(replaced)
    if known is None and proto is not None and proto.output[replaced.index] in program.values:
        known = Origin(proto.output[replaced.index], WHOLE, "")  # and not the scores inside of an attention operator
    if known is not None:
        origins[tensor] = replace(known, rule=rule)
        value = program.values.get(known.value)
        if value is not None and value.array.tensor is replaced:
            program.values[known.value] = value.changed(array=replace(value.array, tensor=tensor))


def _remark(offered: _Offered, needed: set[Node]) -> Remark:
    """The remark on the last of the replaced nodes: which nodes are gone, and what is written instead.

    It has no `tensor` for a node without a name, such as one that another kernel made.
    """
    last = offered.offer.instead_of[0]
    gone = [node for node in offered.offer.instead_of if node not in needed]
    new = [node for node in reachable([offered.tensor], offered.since) if not node.outputs[0].constant]
    made = dict.fromkeys(node.op_type for node in (*new, offered.tensor.node))
    reason = f"{', '.join(map(_shown, reversed(gone)))} as {', '.join(made)}: the same in less time"
    return Remark("applied", "kernels", _name(last), last.op_type, _result(last), reason)


def _shown(node: Node) -> str:
    return f"{node.op_type} `{_result(node)}`"


def _name(node: Node) -> str:
    return "" if node.proto is None else node.proto.name


def _result(node: Node) -> str:
    """The name of the original tensor that a node computes, by which a user finds it; else that of its own tensor."""
    tensor: Tensor = node.outputs[0]
    return str(node.proto.output[0]) if node.proto is not None else tensor.name or ""
