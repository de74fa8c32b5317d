"""The way of one model: each stage once, in the order in which `mari_onnx.pipeline` lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import onnx
import pytest

import mari_onnx
from mari_onnx import pipeline
from mari_onnx.analysis import input_roles
from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.reasons import EARLIER
from mari_onnx.analysis.rules import RULES
from mari_onnx.ir.policy import POLICY
from mari_onnx.planning import plan, search
from tests.graphs import integers, parse, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
TOWER = ranking("one", BODY, user="float[256]", w=integers(259, 32), b=integers(32))
REQUESTS = ranking("requests", BODY, user="float[256]", w=integers(259, 32), b=integers(32))
ITEMS_ONLY = parse("g (float[B, 3] item) => (float[B, 2] y) { y = MatMul (item, w) }", w=integers(3, 2))
SLOWER_FOR_ONE = ranking(
    "tiled", "a = Relu (user) c = Relu (item) x = Concat <axis = 1> (a, c) y = MatMul (x, w)", w=integers(7, 32)
)
"""Two nodes where one candidate needs one: plans with more emphasis on a single candidate are tried."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each stage was reached."""
    count: Counter[str] = Counter()

    def counted(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            count[stage] += 1
            return function(*given, **options)

        return call

    for module, name, stage in (
        (pipeline, "as_document", "load"),
        (pipeline, "roles", "roles"),
        (input_roles, "interpret", "interpret for roles"),
        (search, "interpret", "interpret for a plan"),
        (search, "priced", "plan"),
        (plan, "lower", "lower"),
        (pipeline, "write", "emit"),
        (pipeline, "verify", "verify"),
    ):
        monkeypatch.setattr(module, name, counted(stage, getattr(module, name)))
    return count


def test_each_stage_once(calls: Counter[str]) -> None:
    """One symbol counts the rows of all inputs: the roles need no interpretation."""
    assert mari_onnx.optimize(TOWER).changed
    assert calls == dict.fromkeys(("load", "roles", "interpret for a plan", "plan", "lower", "emit", "verify"), 1)


def test_roles_are_interpreted_once(calls: Counter[str]) -> None:
    """Which of two symbols counts the requests is found by walking the graph."""
    assert mari_onnx.optimize(REQUESTS, verify=False).changed
    assert calls["interpret for roles"] == 1
    assert calls["interpret for a plan"] == calls["plan"] == calls["emit"] == 1


def test_each_plan_is_interpreted_once_and_the_winner_alone_is_emitted(calls: Counter[str]) -> None:
    mari_onnx.optimize(SLOWER_FOR_ONE, user_inputs=["user"], batch=100_000, verify=False)
    assert 1 < calls["plan"] <= len(POLICY.emphases)
    assert calls["interpret for a plan"] == calls["lower"] == calls["plan"]
    assert calls["emit"] == 1


def test_a_model_that_is_left_alone_is_not_emitted(calls: Counter[str]) -> None:
    assert not mari_onnx.optimize(ITEMS_ONLY).changed
    assert calls["emit"] == calls["verify"] == 0


def test_inspecting_emits_nothing(calls: Counter[str]) -> None:
    assert mari_onnx.inspect(TOWER).changed
    assert calls["plan"] == 1
    assert calls["emit"] == calls["verify"] == 0


def test_verifying_plans_nothing(calls: Counter[str]) -> None:
    """What each of the models takes is counted without a plan."""
    fast = mari_onnx.optimize(TOWER, verify=False).model
    calls.clear()
    report = mari_onnx.verify(TOWER, fast)
    assert calls["plan"] == calls["emit"] == 0
    assert report.cost_before is not None
    assert report.cost_after is not None
    assert (report.cost_before.macs, report.cost_after.macs) == (500 * 259 * 32, 256 * 32 + 500 * 3 * 32)


def test_each_refusal_has_a_next_step() -> None:
    model = ranking(
        "one", "t = SoftmaxCrossEntropyLoss (user, item) y = Unsqueeze (t, zero)", item="int64[]", output="float[1] y"
    )
    (remark,) = [r for r in mari_onnx.inspect(model).remarks if r.status == "refused"]
    assert remark.reason == "no rule for ai.onnx.SoftmaxCrossEntropyLoss"
    assert remark.next_step == EARLIER


def test_a_rule_that_raises_is_no_bug_where_onnxruntime_refuses_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A BiasGelu without its bias: onnx's checker knows nothing of it."""

    def broken(op: Op, ctx: Context) -> Derived:
        raise IndexError

    monkeypatch.setitem(RULES, "Relu", broken)
    body = "h = Relu (item) y = com.microsoft.BiasGelu (h)"
    model = parse(f"g (float[B, 3] item) => (float[B, 3] y) {{ {body} }}", domains=', "com.microsoft" : 1')
    for function in (mari_onnx.optimize, mari_onnx.inspect):
        with pytest.raises(mari_onnx.UserError, match=r"cannot be loaded by onnxruntime: .*has input size 1"):
            function(model)


ATTENTION = """q = Unsqueeze (item, one) z = Sub (user, q) p = Mul (user, q) s = Shape (p) r = Expand (q, s)
    k = Expand (user, s) x = Concat <axis = 2> (r, k, z, p) n = MatMul (x, w) o = Relu (n) a = MatMul (o, v)
    l = Softmax <axis = 1> (a) c = Mul (l, user) f = ReduceSum <keepdims = 0> (c, one)"""
"""DIN's attention of an item over a history."""

ITEM_TOWER = "g = MatMul (item, wg) i = Relu (g) j = MatMul (i, wj) e = Relu (j) u = Concat <axis = 1> (f, e)"


def din(body: str, width: int) -> onnx.ModelProto:
    return parse(
        f"g (float[1, 20, 16] user, float[B, 16] item) => (float[B, 1] y) {{ {body} y = MatMul (u, wy) }}",
        one=[1], w=integers(64, 64), v=integers(64, 1), wg=integers(16, 64), wj=integers(64, 16), wy=integers(width, 1),
    )  # fmt: skip


def test_a_ranking_model_is_not_slower_for_an_item_model() -> None:
    """The product with a weight for each step of the history stays one where the item's tower is cut off."""
    model = din(ATTENTION + ITEM_TOWER, 32)
    whole = mari_onnx.optimize(model, user_inputs="user", verify=False).report.cost_after
    made = mari_onnx.split(model, user_inputs="user", item_inputs="item")
    assert made.report.passed
    crossing = {one.name for one in made.report.split.crossings if one.role == "item"} if made.report.split else set()
    assert crossing == {"item", "e"}
    assert made.report.cost_after is not None and whole is not None
    assert made.report.cost_after.time_us <= whole.time_us


def test_what_an_item_model_costs_is_told() -> None:
    """Nothing of the items can be cut off beside that product."""
    model = din(ATTENTION + "u = Identity (f)", 16)
    made = mari_onnx.split(model, user_inputs="user", item_inputs="item", verify=False).report.split
    assert made is not None
    assert made.choice[-1].startswith("Without an item model the ranking model is estimated to take ")
    assert any(one.role == "item" and one.computed for one in made.crossings)
    alone = mari_onnx.split(model, user_inputs="user", verify=False).report.split
    assert alone is not None and not any("item model" in said for said in alone.choice)
