"""Blocks and layers: what is folded, and that everything is below what it reads."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import onnx
import pytest

from mari_onnx.document.graph_facts import graph_facts
from mari_onnx.report.graph import Graph, GraphNode

pytest.importorskip("igraph")

from mari_onnx.report.page.layers import ACROSS, DOWN, HEIGHT, Fold, folds

SAMPLES = Path(__file__).parents[3] / "sample_models"


def node(name: str, reads: str = "", scope: str = "") -> GraphNode:
    return GraphNode(name, "Add", tuple(reads.split()), (name,), "both", tuple(filter(None, scope.split("/"))))


NESTED = Graph(
    "before",
    (
        node("user"), node("item"), node("late"),
        node("e", "user", "m/emb"), node("f", "item", "m/emb"),
        node("g", "e f", "m/tower/fc1"), node("h", "g", "m/tower/fc1"), node("i", "h e", "m/tower/fc2"),
        node("j", "i", "m/tower"), node("score", "j late", "m"),
    ),
    ("score",),
)  # fmt: skip


def named(fold: Fold) -> list[str]:
    """The blocks by module, or by tensor where a node is alone."""
    return [name or NESTED.nodes[block[0]].name for name, block in zip(fold.names, fold.blocks, strict=True)]


def test_modules_fold_one_level_after_the_other() -> None:
    """What is around all nodes is no module to fold to, and a module of one node is that node."""
    modules, submodules, nodes = folds(NESTED)
    assert named(modules) == ["user", "item", "late", "m/emb", "m/tower", "score"]
    assert named(submodules) == ["user", "item", "late", "e", "f", "m/tower/fc1", "i", "j", "score"]
    assert nodes.blocks == tuple((i,) for i in range(10))
    assert [fold.title for fold in (modules, nodes)] == ["modules, 6 blocks", "all 10 nodes"]


def test_every_node_is_in_one_block() -> None:
    for fold in folds(NESTED):
        assert sorted(i for block in fold.blocks for i in block) == list(range(10))


def test_what_is_read_is_above_and_inputs_stand_near() -> None:
    fold = folds(NESTED)[-1]
    y = {NESTED.nodes[block[0]].name: at for block, at in zip(fold.blocks, fold.y, strict=True)}
    for each in NESTED.nodes:
        assert all(y[name] > y[each.name] for name in each.inputs)
    assert y["late"] == y["score"] + DOWN
    assert max(y.values()) == 0


@pytest.mark.parametrize("sample", ["decoder_expanded", "din_vanilla", "hstu_vanilla"])
def test_blocks_do_not_overlap(sample: str) -> None:
    """igraph lays some blocks of these over others."""
    model = onnx.load(SAMPLES / f"{sample}.onnx")
    for fold in folds(graph_facts("before", model, (), {})):
        places = sorted(zip(fold.y, fold.x, strict=True))
        assert all(below - y >= DOWN or right - x >= ACROSS - 0.2 for (y, x), (below, right) in pairwise(places))


def test_edges_go_from_block_to_block() -> None:
    for fold in folds(NESTED):
        ends = {(x, y + side * HEIGHT / 2) for x, y in zip(fold.x, fold.y, strict=True) for side in (-1, 1)}
        for xs, ys in fold.edges:
            assert {(xs[0], ys[0]), (xs[-1], ys[-1])} <= ends
            assert list(ys) == sorted(ys, reverse=True)


def test_a_module_that_is_left_and_entered_again() -> None:
    """Folded blocks may read each other. One of the two is above."""
    graph = Graph("before", (node("a", "", "m"), node("b", "a", "n"), node("c", "b", "m"), node("d", "c", "n")), ("d",))
    fold = folds(graph)[0]
    assert [fold.names, fold.blocks, len(fold.edges)] == [("m", "n"), ((0, 2), (1, 3)), 1]


@pytest.mark.parametrize("nodes", [(), (node("alone"),), (node("a"), node("b", "a"), node("apart"))])
def test_small_graphs(nodes: tuple[GraphNode, ...]) -> None:
    (fold,) = folds(Graph("before", nodes, ()))
    assert len(fold.blocks) == len(fold.x) == len(nodes)
    assert all(list(ys) == sorted(ys, reverse=True) for _, ys in fold.edges)
