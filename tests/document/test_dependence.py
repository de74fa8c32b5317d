"""What the elements of results follow from."""

from __future__ import annotations

from mari_onnx.document.dependence import dependences
from tests.graphs import integers, parse

GRAPH = parse(
    """g (int64[1] user_id, float[B, 4] item, bool[1] hot, float[5, 4] table) => (float[B, 8] y) {
        e = Gather (table, user_id)
        s = Shape (item)
        u = Expand (e, s)
        i = Relu (item)
        c = Neg (table)
        v = If (hot) <then_branch = g () => (float[B, 4] t) { t = Add (u, item) },
                      else_branch = g () => (float[B, 4] f) { f = Identity (u) }>
        x = Concat <axis = 1> (v, i)
        y = Relu (x)
    }""",
    table=integers(5, 4),
).graph


def test_shapes_are_no_elements_bodies_read_and_defaults_are_stored() -> None:
    found = {node.output[0]: follows for node, follows in dependences(GRAPH, {"user_id", "hot"})}
    assert found == {
        "e": "request", "s": "neither", "u": "request", "i": "candidates", "c": "neither", "v": "both", "x": "both",
        "y": "both",
    }  # fmt: skip


def test_without_a_request_all_is_the_candidates() -> None:
    assert {follows for _, follows in dependences(GRAPH, ())} == {"candidates", "neither"}
