"""The sides of nodes, and their times from the events of the profiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.document.read import as_document
from mari_onnx.measurement import by_node
from mari_onnx.measurement.by_node import profiled, sides
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.graphs import integers, parse


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    for node in model.graph.node:
        node.name = node.output[0]
    return model


EXPANDED = named(
    parse(
        """g (int64[1] user_id, float[B, 4] item, bool[1] hot) => (float[B, 8] y) {
            e = Gather (table, user_id)
            s = Shape (item)
            u = Expand (e, s)
            n = Neg (u)
            v = If (hot) <then_branch = g () => (float[B, 4] t) { t = Add (u, item) },
                          else_branch = g () => (float[B, 4] f) { f = Identity (u) }>
            w = If (hot) <then_branch = g () => (float[B, 4] t) { t = Neg (n) },
                          else_branch = g () => (float[B, 4] f) { f = Identity (u) }>
            x = Concat <axis = 1> (w, v)
            y = Relu (x)
        }""",
        table=integers(5, 4),
    )
)


def test_sides() -> None:
    """A shape is no element, and what a body reads counts."""
    found = sides(EXPANDED.graph, {"user_id", "hot"})
    of_candidates = {"v", "x", "y"}
    assert found == {n.name: "candidates" if n.name in of_candidates else "request" for n in EXPANDED.graph.node}
    assert set(sides(EXPANDED.graph, ()).values()) == {"candidates", "request"}  # of the shape alone
    assert [name for name, side in sides(EXPANDED.graph, ()).items() if side == "request"] == ["s"]


def event(name: str, duration: float, **more: Any) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": duration, **more}


def test_times_are_medians_without_the_first_call() -> None:
    graph = named(parse("g (float[B] item, float[1] user) => (float[B] y) { u = Neg (user) y = Mul (item, u) }")).graph
    events = [
        event("u", 900), event("y", 900), event("u", 1), event("y", 10), event("u", 3), event("y", 30),
        event("u", 2), event("y", 90), event("inside", 5), event("inside", 5),
        {"cat": "Session", "name": "model_run", "dur": 1000}, {"cat": "Node", "name": "y_fence_before", "dur": 7},
    ]  # fmt: skip
    found = by_node._times(graph, events, {"user"})
    assert [(one.node, one.op_type, one.side, one.time_us) for one in found] == [
        ("y", "Mul", "candidates", 30),
        ("u", "Neg", "request", 2),
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_as_onnxruntime_runs_it(threads: int) -> None:
    """Nodes without names have times, too; the product and the Relu are one node."""
    model = parse(
        """g (float[B, 64] user, float[B, 64] item) => (float[B, 64] y) {
            u = Tanh (user) x = Concat <axis = 1> (u, item) h = Gemm (x, w, b) y = Relu (h) }""",
        w=integers(128, 64),
        b=integers(64),
    )
    feeds = {name: np.ones((32, 64), np.float32) for name in ("user", "item")}
    found = profiled(Source("reference", as_document(model)), feeds, {"user"}, threads)
    assert {(one.op_type, one.side) for one in found} == {
        ("Tanh", "request"),
        ("Concat", "candidates"),
        ("FusedGemm", "candidates"),
    }
    assert all(one.time_us >= 0 for one in found)
    assert not any(node.name for node in model.graph.node)


def test_weights_in_a_file(tmp_path: Any) -> None:
    model = parse("g (float[B, 64] item) => (float[B, 64] y) { y = MatMul (item, w) }", w=integers(64, 64))
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    feeds = {"item": np.ones((32, 64), np.float32)}
    (found,) = profiled(Source("reference", as_document(tmp_path / "m.onnx")), feeds, (), 1)
    assert (found.op_type, found.side) == ("MatMul", "candidates")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.data", "m.onnx"]
