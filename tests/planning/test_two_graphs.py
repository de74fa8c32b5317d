"""Which models hold the exported graph as well, for few candidates, and from how many on the other one runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mari_onnx import optimize, pipeline, split
from mari_onnx.ir.policy import POLICY
from mari_onnx.planning import two_graphs
from mari_onnx.serving.two_graphs import exported_below
from tests.graphs import evaluate, integers, ranking
from tests.planning.test_search import din


def test_a_model_that_is_much_slower_for_one_candidate() -> None:
    model = din(width=64, hidden=256)
    result = optimize(model, user_inputs=["user"])
    below = exported_below(result.model)
    assert below is not None and 1 < below < 100
    assert result.report.passed and result.report.verification is not None
    assert {below - 1, below} <= {one.batch for one in result.report.verification.differences}
    assert f"With fewer than {below} candidates, the graph runs as it was exported." in result.report.calls
    assert result.report.optimized is not None and result.report.optimized.nodes > len(result.model.graph.node)
    user, item = integers(1, 40, 64), np.random.default_rng(0).normal(0, 1, (below - 1, 64)).astype(np.float32)
    feeds = {"user": np.repeat(user, below - 1, 0), "item": item}
    np.testing.assert_array_equal(evaluate(result.model, feeds)[0], evaluate(model, feeds)[0])  # bit for bit

    again = optimize(result.model, user_inputs=["user"])
    assert not again.changed and again.model == result.model


def test_a_model_that_is_no_slower_has_one_graph() -> None:
    model = ranking("tiled", "x = Concat <axis = 1> (user, item) y = MatMul (x, w)", w=integers(7, 32))
    result = optimize(model, user_inputs=["user"], verify=False)
    assert result.changed and exported_below(result.model) is None


@pytest.mark.parametrize("serving", [{"user_batch": "one"}, {"user_batch": "requests"}, {"guard": "nan"}], ids=str)
def test_a_model_that_is_called_otherwise_has_one_graph(serving: dict[str, Any]) -> None:
    result = optimize(din(width=64, hidden=256), user_inputs=["user"], verify=False, **serving)
    assert result.changed and exported_below(result.model) is None


def test_a_split_has_one_graph_each() -> None:
    parts = split(din(width=64, hidden=256), user_inputs=["user"], verify=False).models
    assert all(exported_below(part) is None for part in parts.values())


def test_few_candidates_that_matter_as_much() -> None:
    """By itself, a call with one candidate counts for little; named, it counts as much as one with many."""
    model = ranking("tiled", "x = Concat <axis = 1> (user, item) h = MatMul (x, w) y = Relu (h)", w=integers(7, 256))
    assert exported_below(optimize(model, user_inputs=["user"], verify=False, batch=500).model) is None
    named = optimize(model, user_inputs=["user"], verify=False, batch=[1, 500])
    assert named.report.configuration is not None
    assert named.report.configuration.options["batch"] == [1, 500]


def test_the_choice_has_to_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_graphs, "POLICY", replace(POLICY, two_graphs=0.1))
    result = optimize(din(width=64, hidden=256), user_inputs=["user"], verify=False)
    assert result.changed and exported_below(result.model) is None


def test_the_turn_comes_where_both_take_as_long() -> None:
    """The larger the number of candidates that is counted, the flatter both lines: the turn stays where it is."""
    turns = [
        exported_below(optimize(din(width=64, hidden=256), user_inputs=["user"], verify=False, batch=batch).model)
        for batch in (500, 1000)
    ]
    assert all(turn is not None for turn in turns)
    assert abs((turns[0] or 0) - (turns[1] or 0)) <= 3


def test_a_graph_that_runs_and_is_no_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime refuses a Range behind an If of a known condition in a branch, and takes it outside of one."""
    monkeypatch.setattr(pipeline, "why_not_loaded", lambda document, optimize: "Range takes scalars alone")
    result = optimize(din(width=64, hidden=256), user_inputs=["user"])
    assert result.changed and result.report.passed
    assert exported_below(result.model) is None
    assert not any("as it was exported" in said for said in result.report.calls)
