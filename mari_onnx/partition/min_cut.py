"""Where to cut a graph: what depends on one side's inputs alone goes before the cut, and as little as pays crosses it.

A value of that side which the rest needs either crosses, at a price for each byte and each value, or is computed again
behind the cut, at the price of its node, from values of which the same is true. The cheapest choice is a minimum cut
of a flow network (project selection, Picard 1976):

    before -> node       what computing the node again costs
    node   -> tensor     what it costs that the tensor crosses; for an input of the side, before -> tensor
    tensor -> consumer   without bound: behind the cut a consumer needs its inputs there

A product is computed again only where all that are make up no more than `REPEATED` of the graph's arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import networkx as nx
import onnx

from mari_onnx.document.external import stored_bytes
from mari_onnx.document.scopes import reads
from mari_onnx.ir.operators import NONDETERMINISTIC

NS_PER_BYTE = 1.0
"""A value that crosses is written, sent and read again: 10 Gbit/s are 0.8 ns a byte."""

NS_PER_STORED_BYTE = 0.05
"""A constant that the far side has to store as well is read there, and a table takes its memory."""

NS_PER_VALUE = 2000.0
"""Each value is one more to name, to store and to feed."""

REPEATED = 0.01
"""The share of a graph's arithmetic that may be computed again."""

Node = onnx.NodeProto


@dataclass(frozen=True)
class Priced:
    """What is known of a graph: bytes of a tensor, None where it cannot cross; nanoseconds and products of a node."""

    bytes_of: Callable[[str], float | None]
    time_of: Callable[[Node], float]
    macs_of: Callable[[Node], int]


@dataclass(frozen=True)
class Cut:
    """The nodes before the cut and those behind it, some of them in both, and what crosses, in the graph's order."""

    before: tuple[Node, ...]
    behind: tuple[Node, ...]
    computed: tuple[str, ...]
    inputs: tuple[str, ...]
    repeated: tuple[Node, ...]
    frontier: tuple[str, ...]


def frontier(graph: onnx.GraphProto, own: Collection[str], given: Collection[str]) -> tuple[set[int], list[str]]:
    """The nodes that depend on the inputs `own` and no others of `given`, and what of theirs the rest needs.

    What depends on no input belongs to neither side. Random numbers stay where they were drawn.
    """
    sides: dict[str, frozenset[str]] = {name: frozenset(["own" if name in own else "other"]) for name in given}
    inside: set[int] = set()
    for i, node in enumerate(graph.node):
        side = frozenset().union(*(sides.get(name, frozenset()) for name in reads(node)))
        side = side | {"other"} if node.op_type in NONDETERMINISTIC else side
        sides.update((name, side) for name in node.output if name)
        if side == {"own"}:
            inside.add(i)
    made = {name: None for i in sorted(inside) for name in graph.node[i].output if name}
    wanted = {name for i, node in enumerate(graph.node) if i not in inside for name in reads(node)}
    wanted |= {o.name for o in graph.output}
    return inside, [name for name in made if name in wanted]


def cut(graph: onnx.GraphProto, own: Collection[str], given: Collection[str], priced: Priced) -> Cut | None:
    """The cheapest cut between what depends on the inputs `own` alone and the rest; None where nothing does."""
    inside, edge = frontier(graph, own, given)
    if not edge:
        return None
    total = sum(map(priced.macs_of, graph.node))
    products = {i for i in inside if priced.macs_of(graph.node[i])}
    for repeatable in (inside, inside - products, set[int]()):
        found = _cheapest(graph, inside, edge, own, priced, repeatable)
        if found is not None and found.computed and sum(map(priced.macs_of, found.repeated)) <= REPEATED * total:
            return found
    return None


def _cheapest(
    graph: onnx.GraphProto,
    inside: Collection[int],
    edge: Sequence[str],
    own: Collection[str],
    priced: Priced,
    repeatable: Collection[int],
) -> Cut | None:
    network = nx.DiGraph()
    stored = {t.name: t for t in graph.initializer}
    behind = {name for i, node in enumerate(graph.node) if i not in inside for name in reads(node)}
    behind |= {o.name for o in graph.output}

    def tensor(name: str, producer: object) -> None:
        size = priced.bytes_of(name)
        capacity = {} if size is None else {"capacity": round(NS_PER_VALUE + NS_PER_BYTE * size)}
        network.add_edge(producer, ("tensor", name), **capacity)
        if name in behind:
            network.add_edge(("tensor", name), "behind")

    for name in own:
        tensor(name, "before")
    for i in sorted(inside):
        node = graph.node[i]
        capacity = {"capacity": round(priced.time_of(node))} if i in repeatable else {}
        network.add_edge("before", ("node", i), **capacity)
        for name in node.output:
            if name:
                tensor(name, ("node", i))
        for name in reads(node):
            if name in stored and name not in behind:  # a table would have to be stored behind the cut as well
                price = round(NS_PER_STORED_BYTE * stored_bytes(stored[name]))
                network.add_edge("before", ("tensor", name), capacity=price)
            if ("tensor", name) in network:
                network.add_edge(("tensor", name), ("node", i))
    if "behind" not in network:
        return None
    try:
        _, (_, far) = nx.minimum_cut(network, "before", "behind")
    except nx.NetworkXUnbounded:
        return None
    again = [i for i in sorted(inside) if ("node", i) in far]
    computed = [
        name for i in sorted(inside) if i not in again for name in graph.node[i].output if ("tensor", name) in far
    ]
    rest = [i for i in range(len(graph.node)) if i not in inside or i in again]
    kept = needed(graph.node, computed)
    return Cut(
        before=tuple(kept),
        behind=tuple(needed([graph.node[i] for i in rest], [o.name for o in graph.output])),
        computed=tuple(computed),
        inputs=tuple(name for name in own if ("tensor", name) in far),
        repeated=tuple(graph.node[i] for i in again),
        frontier=tuple(edge),
    )


def needed(nodes: Sequence[Node], outputs: Collection[str]) -> list[Node]:
    """The nodes that the outputs need, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]
