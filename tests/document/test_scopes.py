"""What nodes and their bodies read and make."""

from __future__ import annotations

import numpy as np

from mari_onnx.document.scopes import all_names, all_nodes, captures, reads
from tests.graphs import parse

BRANCHES = """g (bool many, float[B, 4] user, float[B, 4] item) => (float[B, 4] y) {
    r = Relu (user)
    y = If (many) <
        then_branch = a () => (float[B, 4] t) { s = Add (item, r) t = Mul (s, w) },
        else_branch = b () => (float[B, 4] e) { n = Neg (item) e = Add (n, user) }>
}"""


def test_what_a_body_reads_of_the_graph_around_it() -> None:
    graph = parse(BRANCHES, w=np.ones(4, np.float32)).graph
    relu, branch = graph.node
    assert captures(relu) == []
    assert captures(branch) == ["item", "r", "w", "user"]
    assert reads(branch) == ["many", "item", "r", "w", "user"]


def test_names_of_bodies_are_taken_too() -> None:
    graph = parse(BRANCHES, w=np.ones(4, np.float32)).graph
    assert set(all_names(graph)) == {"many", "user", "item", "w", "r", "y", "s", "t", "n", "e"}


def test_nodes_of_bodies_are_nodes_too() -> None:
    graph = parse(BRANCHES, w=np.ones(4, np.float32)).graph
    assert [node.op_type for node in all_nodes(graph)] == ["Relu", "If", "Add", "Mul", "Neg", "Add"]
