"""A graph as layers of blocks: which nodes are folded into one block, and where each block and each edge is drawn.

    tower/fc1/MatMul, tower/fc1/Add, score      all nodes: three blocks
                                                folded to one module: `tower/fc1`, and the node `score`

Layers and the order within them are those of the layered layout of Sugiyama, Tagawa and Toda, by igraph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

import igraph

from mari_onnx.report.graph import Graph

WIDTH, HEIGHT = 132.0, 40.0
"""The size of a block, in the unit of the drawing: pixels at full size."""

ACROSS, DOWN = 150.0, 76.0
"""The distance from one block to the next in a layer, and from one layer to the next."""

MOST_FOLDS = 5
"""How many ways to fold a graph are offered at most."""


@dataclass(frozen=True)
class Fold:
    """The nodes of a graph, folded to blocks.

    `blocks` has the indices of the nodes of each block, and `names` the module that each was folded from, "" for a node
    alone. `x` and `y` are the middle of each block; y is 0 in the first layer and falls. `edges` are the ways between
    blocks, each as the x and the y of its points.
    """

    title: str
    blocks: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    edges: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]


def folds(graph: Graph) -> list[Fold]:
    """The ways to fold a graph, the fewest blocks first; the last one has a block for each node."""
    scopes = [node.scope for node in graph.nodes]
    outermost = _common([scope for scope in scopes if scope])
    deepest = max(map(len, scopes), default=0)
    found: list[tuple[str, list[tuple[int, ...]], list[str]]] = []
    for depth in range(len(outermost) + 1, deepest + 1):
        blocks, names = _folded(scopes, depth)
        if len(blocks) < len(scopes) and (not found or len(blocks) > len(found[-1][1])):
            found.append((f"modules, {len(blocks):,} blocks", blocks, names))
    alone: list[tuple[int, ...]] = [(i,) for i in range(len(scopes))]
    last = _placed(graph, f"all {len(alone):,} nodes", alone, [""] * len(alone))
    return [*(_placed(graph, *each) for each in found[: MOST_FOLDS - 1]), last]


def _common(scopes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The modules around all of these."""
    levels = takewhile(lambda level: len(set(level)) == 1, zip(*scopes, strict=False))
    return tuple(level[0] for level in levels)


def _folded(scopes: Sequence[tuple[str, ...]], depth: int) -> tuple[list[tuple[int, ...]], list[str]]:
    """The nodes of each module at this depth as one block; a node outside of such modules is a block of its own."""
    of_module: dict[tuple[str, ...], list[int]] = {}
    blocks: list[list[int]] = []
    names = []
    for i, scope in enumerate(scopes):
        module = scope[:depth]
        if len(module) == depth and module in of_module:
            of_module[module].append(i)
            continue
        blocks.append([i])
        names.append("/".join(module) if len(module) == depth else "")
        if len(module) == depth:
            of_module[module] = blocks[-1]
    named = [name if len(block) > 1 else "" for name, block in zip(names, blocks, strict=True)]
    return [tuple(block) for block in blocks], named


def _placed(graph: Graph, title: str, blocks: Sequence[tuple[int, ...]], names: Sequence[str]) -> Fold:
    """The blocks in layers, in the order of their first nodes. An edge back to an earlier one is drawn as any other."""
    downward = sorted({(min(pair), max(pair)) for pair in _pairs(graph, blocks)})
    layers = _layers(len(blocks), downward)
    layout = igraph.Graph(len(blocks), downward, directed=True).layout_sugiyama(layers=layers, hgap=ACROSS, vgap=DOWN)
    x = _apart([float(at[0]) for at in layout.coords], layers)
    y = tuple(-DOWN * layer for layer in layers)
    edges = []
    for (above, below), between in zip(downward, layout.edge_routing, strict=True):
        points = [(round(float(a)), -round(float(b))) for a, b in between]
        through = [(x[above], y[above] - HEIGHT / 2), *points, (x[below], y[below] + HEIGHT / 2)]
        edges.append((tuple(p[0] for p in through), tuple(p[1] for p in through)))
    return Fold(title, tuple(blocks), tuple(names), x, y, tuple(edges))


def _apart(x: Sequence[float], layers: Sequence[int]) -> tuple[float, ...]:
    """The places within each layer, `ACROSS` apart, pushed from the given ones to both sides alike.

    igraph 1.0 keeps no distance between some blocks: 4 of the 169 of a DIN, folded, lie on others.
    """
    found = [0.0] * len(x)
    together: dict[int, list[int]] = {}
    for i in sorted(range(len(x)), key=lambda i: x[i]):
        together.setdefault(layers[i], []).append(i)
    for order in together.values():
        right = list(accumulate((x[i] for i in order), lambda last, here: max(here, last + ACROSS)))
        left = list(accumulate((x[i] for i in reversed(order)), lambda last, here: min(here, last - ACROSS)))
        for i, a, b in zip(order, left[::-1], right, strict=True):
            found[i] = round((a + b) / 2, 1)
    return tuple(found)


def _pairs(graph: Graph, blocks: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    """The blocks of which the second reads what the first makes."""
    block_of = {i: k for k, block in enumerate(blocks) for i in block}
    maker: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name in maker and maker[name] != block_of[i]:
                yield maker[name], block_of[i]
        maker.update(dict.fromkeys(node.outputs, block_of[i]))


def _layers(count: int, downward: Sequence[tuple[int, int]]) -> list[int]:
    """A layer for each block, below all that it reads; what reads nothing stands right above what reads it."""
    layer, above, below = [0] * count, set[int](), dict[int, int]()
    for a, b in sorted(downward, key=lambda pair: pair[1]):
        layer[b] = max(layer[b], layer[a] + 1)
        above.add(b)
    for a, b in downward:
        below[a] = min(below.get(a, layer[b]), layer[b])
    for a, nearest in below.items():
        if a not in above:
            layer[a] = nearest - 1
    return layer
