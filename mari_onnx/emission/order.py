"""The nodes that are written, and their order: a node stands after the nodes whose outputs it reads."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from mari_onnx.analysis.interpret import Program
from mari_onnx.ir.cost import inputs_of, reachable
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent, Poly, symbols


def needed(program: Program, outputs: Sequence[Tensor]) -> list[Node]:
    """The nodes behind the outputs, and behind the shapes that have to be computed.

    They are in the order in which they were made, except for a node that reads a tensor which was made after it: a
    choice may have given it such an input (see `planning.alternatives`). The node then stands after its input.
    """
    roots = list(outputs)
    while True:
        nodes = reachable(roots)
        needed_symbols = {s for node in nodes for extent in written_extents(node) for s in symbols(extent)}
        providers = [program.providers[s][0] for s in sorted(needed_symbols) if s in program.providers]
        missing = {t.node for t in providers} - set(nodes)
        if not missing:
            return _in_order(nodes)
        roots.extend(providers)


def _in_order(nodes: Sequence[Node]) -> list[Node]:
    """The nodes in the order of their serials, but each after its inputs."""
    in_order = sorted(nodes, key=lambda node: node.serial)
    if all(t.node.serial < node.serial for node in in_order for t in inputs_of(node)):
        return in_order
    known = set(nodes)
    waits = {node: {t.node for t in inputs_of(node)} & known for node in nodes}
    users: dict[Node, list[Node]] = {}
    for node, needs in waits.items():
        for need in needs:
            users.setdefault(need, []).append(node)
    ready = [(node.serial, node) for node, needs in waits.items() if not needs]
    heapify(ready)
    order: list[Node] = []
    while ready:
        _, node = heappop(ready)
        order.append(node)
        for user in users.get(node, ()):
            waits[user].discard(node)
            if not waits[user]:
                heappush(ready, (user.serial, user))
    assert len(order) == len(nodes), "a node needs its own output"
    return order


def written_extents(node: Node) -> list[Extent]:
    """The extents that shape arithmetic has to compute for a node; the only unknown extent of a Reshape is -1."""
    if node.op_type == "<extents>":
        return [e for e in node.payload.flat if isinstance(e, Poly)]
    if node.proto is not None or node.op_type not in ("Expand", "Reshape", "Slice"):
        return []
    if node.op_type == "Slice":
        return [e for e in (node.attribute("start"), node.attribute("stop")) if isinstance(e, Poly)]
    shape = node.attribute("shape")
    unknown: list[Extent] = [e for e in shape if isinstance(e, Poly)]
    inferred = node.op_type == "Reshape" and len(unknown) == 1 and 0 not in shape  # it is -1
    return [] if inferred else unknown
