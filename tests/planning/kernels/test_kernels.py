"""Kernels in a plan: when they are used, what is said of them, and what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx import inspect, optimize, split
from mari_onnx.document import provenance
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.expressions import Node
from mari_onnx.pipeline import leaving
from mari_onnx.planning.kernels import with_kernels
from mari_onnx.planning.search import best_plan
from tests.graphs import integers, parse, ranking, rewrite
from tests.planning.kernels.compare import kept

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) p = PRelu (h, a) y = Gemm (p, v)"


def tower() -> onnx.ModelProto:
    """A layer of the user's and the items' columns, and a PRelu behind it, with what is said of that node."""
    constants: dict[str, Any] = {
        "w": integers(70, 64),
        "b": integers(64),
        "v": integers(64, 2),
        "a": np.array([0.25], np.float32),
    }
    model = ranking("tiled", BODY, user="float[40]", item="float[30]", **constants)
    node = next(node for node in model.graph.node if node.op_type == "PRelu")
    node.name, node.doc_string = "act/PRelu", "a slope for all channels"
    node.metadata_props.add(key="layer", value="act")
    return model


def test_a_kernel_in_a_model_that_is_written() -> None:
    result = optimize(tower(), user_inputs=["user"])
    assert result.report.verification is not None
    assert result.report.verification.passed
    (node,) = (node for node in result.model.graph.node if node.op_type == "LeakyRelu")
    assert (node.name, node.doc_string, node.output[0]) == ("act/PRelu", "a slope for all channels", "p")
    said = {entry.key: entry.value for entry in node.metadata_props}
    assert (said["layer"], said["mari_onnx.rule"]) == ("act", "slopes")
    assert provenance.read(result.model)["p"] == provenance.Origin("p", "whole", "slopes")


def test_what_replaces_a_node_within_an_operator_comes_from_a_value_of_the_model() -> None:
    """The scores of attention, which no tensor of the original has."""
    model = parse(
        """g (float[1, 64] user, float[B, 3, 4] tokens, float[B, 4] item, float[B, 64] other)
            => (float[B, 1, 4] y, float[B, 64] z) {
            q = Unsqueeze (item, one) k = Concat <axis = 1> (tokens, q)
            y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, k)
            s = Shape (other) u = Expand (user, s) x = Concat <axis = 1> (u, other) z = MatMul (x, w)
        }""",
        one=[1], w=integers(128, 64), domains=', "com.microsoft" : 1',
    )  # fmt: skip
    result = optimize(model, verify=False).model
    assert "Sum" in [node.op_type for node in result.graph.node]  # the products of one query, in place of a MatMul
    values = {*(info.name for info in model.graph.input), *(name for node in model.graph.node for name in node.output)}
    assert {origin.value for origin in provenance.read(result).values()} <= {*values, "w"}


def test_the_report_names_the_node() -> None:
    for report in (inspect(tower(), user_inputs=["user"]), optimize(tower(), user_inputs=["user"]).report):
        (remark,) = (remark for remark in report.remarks if remark.rule == "kernels")
        assert (remark.status, remark.node, remark.op_type, remark.tensor) == ("applied", "act/PRelu", "PRelu", "p")
        assert "PRelu `p`" in remark.reason
        assert "LeakyRelu" in remark.reason


def test_a_kernel_alone_is_no_reason_to_write_a_model() -> None:
    text = "g (float[1, 4] user, float[B, 64] item) => (float[B, 64] y, float[1, 4] z)"
    model = parse(f"{text} {{ y = PRelu (item, a) z = Relu (user) }}", a=np.array([0.25], np.float32))
    result = optimize(model, user_inputs=["user"])
    assert not result.changed
    assert result.model.SerializeToString() == model.SerializeToString()
    assert [remark for remark in result.report.remarks if remark.rule == "kernels"] == []


def test_a_second_run_changes_nothing() -> None:
    once = optimize(tower(), user_inputs=["user"], verify=False).model
    assert not optimize(once, user_inputs=["user"], verify=False).changed


def test_the_ranking_model_of_a_split_has_them() -> None:
    parts = split(tower(), user_inputs=["user"])
    assert "LeakyRelu" in [node.op_type for node in parts.models["rank"].graph.node]
    assert parts.report.verification is not None
    assert parts.report.verification.passed


def test_a_node_whose_rewrite_failed_is_left_alone() -> None:
    plan = rewrite(tower()).plan
    left = with_kernels(best_plan(leaving(plan.reading, frozenset({"p"})), 500))
    assert "PRelu" in [node.op_type for node in left.lowered.nodes]
    written = with_kernels(best_plan(plan.reading, 500))
    assert "LeakyRelu" in [node.op_type for node in written.lowered.nodes]


def test_an_operator_of_another_domain() -> None:
    text = "g (float[B, 6] item) => (float[B, 6] y) { y = other.PRelu (item, a) }"
    model = parse(text, domains=', "other" : 1', a=np.array([0.25], np.float32))
    kept(model)


def test_a_kernel_is_used_where_it_is_an_output() -> None:
    text = "g (float[B, 6] item) => (float[B, 6] y, float[B, 6] z) { y = PRelu (item, a) z = Relu (y) }"
    result = rewrite(parse(text, a=np.array([0.25], np.float32)), kernels=True)
    assert result.graph == ["y [B 6] = LeakyRelu (item)", "z [B 6] = Relu (y)"]


def test_a_kernel_of_a_kernel() -> None:
    """Both are replaced where one reads the other: a normalization behind a product, and a slope behind that."""
    numbers: dict[str, Any] = {"s": integers(4), "b": integers(4), "m": integers(4), "v": np.ones(4, np.float32)}
    body = "h = Gemm (item, w) n = BatchNormalization (h, s, b, m, v) y = PRelu (n, a)"
    text = f"g (float[B, 3] item) => (float[B, 4] y) {{ {body} }}"
    result = rewrite(parse(text, w=integers(3, 4), a=np.array([0.25], np.float32), **numbers), kernels=True)
    assert {"PRelu", "BatchNormalization"}.isdisjoint(result.ops)


def test_a_trial_costs_what_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tower of many layers: to switch one kernel of it does not count the layers below again."""
    layers = 60
    body = " ".join(f"h{i} = Gemm ({f'p{i - 1}' if i else 'item'}, w) p{i} = PRelu (h{i}, a)" for i in range(layers))
    text = f"g (float[B, 8] item) => (float[B, 8] y) {{ {body} y = Relu (p{layers - 1}) }}"
    plan = rewrite(parse(text, w=integers(8, 8), a=np.array([0.25], np.float32))).plan
    asked = 0

    def counted(self: CostModel, node: Node) -> float:
        nonlocal asked
        asked += 1
        return node_time(self, node)

    node_time = CostModel.node_time
    monkeypatch.setattr(CostModel, "node_time", counted)
    assert [node.op_type for node in with_kernels(plan).lowered.nodes].count("LeakyRelu") == layers
    assert asked < 50 * layers
