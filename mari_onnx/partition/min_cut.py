"""The cheapest cut of a graph between one side, the user's or the items', and the rest.

A node belongs to the side if it depends on the inputs of the side and on no other input. The side's nodes run before
the cut, and the rest runs behind it. There are two ways to have a value of the side behind the cut. The value crosses,
at a price for each byte and each value. Or its node runs again behind the cut, at the price of the node, and the same
question arises for the node's inputs. Example: a cheap Reshape of [1, 8] to [1, 2, 4] that has two readers behind the
cut runs again there, and only its input crosses.

The cheapest decision for all values is a minimum cut of a flow network (project selection, Picard 1976):

    before -> node       capacity: the time of running the node again behind the cut
    node   -> tensor     capacity: the price of sending the tensor; for an input of the side, before -> tensor
    tensor -> consumer   unbounded: a consumer behind the cut needs its inputs behind the cut

Products are run again only if all of them together are at most `REPEATED` of the graph's multiply-adds. Where the bytes
that cross are bounded, a byte gets dearer until the bound holds, whatever is run again for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx

from mari_onnx.document.external import stored_bytes
from mari_onnx.document.scopes import reads
from mari_onnx.ir.operators import NONDETERMINISTIC

NS_PER_BYTE = 1.0
"""The price of a byte that crosses: it is written, sent and read again, and 10 Gbit/s are 0.8 ns for a byte."""

NS_PER_STORED_BYTE = 0.05
"""The price of a byte of a constant that both models have to store: it takes memory, and is read twice."""

NS_PER_VALUE = 2000.0
"""The price of a value that crosses, whatever its size: a server has to name it, store it and feed it."""

DEARER = (8, 64, 512, 4096, 2**20)
"""By how much dearer a byte gets, one after the other, while more bytes cross than may."""

REPEATED = 0.01
"""The largest share of a graph's multiply-adds that may be computed again."""

Node = onnx.NodeProto


@dataclass(frozen=True)
class Priced:
    """The prices of a graph's tensors and nodes.

    `bytes_of` a tensor is None if the tensor cannot cross. `time_of` a node is in nanoseconds, and `macs_of` a node are
    its multiply-adds.
    """

    bytes_of: Callable[[str], float | None]
    time_of: Callable[[Node], float]
    macs_of: Callable[[Node], int]


@dataclass(frozen=True)
class Cut:
    """A cut. All fields are in the order of the graph.

    `before` and `behind` are the nodes of the two sides, and `repeated` those that are in both. `computed` are the
    values that cross, and `inputs` the inputs of the side that are read behind the cut as well. `frontier` are the
    values that would cross if no node ran again.
    """

    before: tuple[Node, ...]
    behind: tuple[Node, ...]
    computed: tuple[str, ...]
    inputs: tuple[str, ...]
    repeated: tuple[Node, ...]
    frontier: tuple[str, ...]


def frontier(graph: onnx.GraphProto, own: Collection[str], inputs: Collection[str]) -> tuple[set[int], list[str]]:
    """The positions of the side's nodes, and the names of the values of the side that other nodes or outputs need.

    The side's nodes depend on the inputs `own` and on no others of `inputs`. A node that depends on no input belongs to
    neither side. A node that draws random numbers belongs to the rest: run again, it would draw others.
    """
    sides: dict[str, frozenset[str]] = {name: frozenset(["own" if name in own else "other"]) for name in inputs}
    inside: set[int] = set()
    for i, node in enumerate(graph.node):
        side = frozenset().union(*(sides.get(name, frozenset()) for name in reads(node)))
        side = side | {"other"} if node.op_type in NONDETERMINISTIC else side
        sides.update((name, side) for name in node.output if name)
        if side == {"own"}:
            inside.add(i)
    made = {name: None for i in sorted(inside) for name in graph.node[i].output if name}
    read = _read_outside(graph, inside)
    return inside, [name for name in made if name in read]


def _read_outside(graph: onnx.GraphProto, inside: Collection[int]) -> set[str]:
    """The names that nodes at other positions than `inside` read, and those of the graph's outputs."""
    names = {name for i, node in enumerate(graph.node) if i not in inside for name in reads(node)}
    return names | {o.name for o in graph.output}


def cut(
    graph: onnx.GraphProto, own: Collection[str], inputs: Collection[str], priced: Priced, most: float | None = None
) -> Cut | None:
    """The cheapest cut between the nodes that depend on the inputs `own` alone and the rest.

    `inputs` are all inputs of the graph. None if no node depends on `own` alone, or if no value can cross. Where at
    `most` so many bytes may cross and the cheapest cut sends more, cuts follow in which a byte is dearer, up to one
    that sends no more than that, or to the last.
    """
    found = _usual(graph, own, inputs, priced)
    if most is None or found is None:
        return found
    inside, edge = frontier(graph, own, inputs)
    for dearer in DEARER:
        if sum(priced.bytes_of(name) or 0 for name in (*found.computed, *found.inputs)) <= most:
            break
        other = _cheapest(graph, inside, edge, own, priced, inside, NS_PER_BYTE * dearer)
        found = other if other is not None and other.computed else found
    return found


def _usual(graph: onnx.GraphProto, own: Collection[str], inputs: Collection[str], priced: Priced) -> Cut | None:
    """The cheapest cut that runs few products again."""
    inside, edge = frontier(graph, own, inputs)
    if not edge:
        return None
    total = sum(map(priced.macs_of, graph.node))
    products = {i for i in inside if priced.macs_of(graph.node[i])}
    for repeatable in (inside, inside - products, set[int]()):
        found = _cheapest(graph, inside, edge, own, priced, repeatable, NS_PER_BYTE)
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
    ns_per_byte: float,
) -> Cut | None:
    """The minimum cut of the network, in which only the nodes at the positions `repeatable` may run again.

    None if nothing of the side is read behind the cut, or if a value would have to cross that cannot.
    """
    import networkx as nx  # takes its time to import, and `split` alone needs it

    network = nx.DiGraph()
    stored = {t.name: t for t in graph.initializer}
    behind = _read_outside(graph, inside)

    def tensor(name: str, producer: object) -> None:
        size = priced.bytes_of(name)
        capacity = {} if size is None else {"capacity": round(NS_PER_VALUE + ns_per_byte * size)}
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
            if name in stored and name not in behind:  # if the node runs again, the table is stored behind the cut too
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
    repeated = [i for i in sorted(inside) if ("node", i) in far]
    computed = [
        name for i in sorted(inside) if i not in repeated for name in graph.node[i].output if ("tensor", name) in far
    ]
    rest = [i for i in range(len(graph.node)) if i not in inside or i in repeated]
    return Cut(
        before=tuple(needed(graph.node, computed)),
        behind=tuple(needed([graph.node[i] for i in rest], [o.name for o in graph.output])),
        computed=tuple(computed),
        inputs=tuple(name for name in own if ("tensor", name) in far),
        repeated=tuple(graph.node[i] for i in repeated),
        frontier=tuple(edge),
    )


def needed(nodes: Sequence[Node], outputs: Collection[str]) -> list[Node]:
    """The nodes that the outputs need, in the order of `nodes`."""
    names, found = set(outputs), []
    for node in reversed(nodes):
        if names.intersection(node.output):
            found.append(node)
            names.update(reads(node))
    return found[::-1]
