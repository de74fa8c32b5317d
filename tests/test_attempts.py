"""A rewrite that fails the verification is left out, and all others stay: with a warning, as it may be a bug."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx
import pytest

import mari_onnx
from mari_onnx import attempts, pipeline
from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.rules import RULES, elementwise
from mari_onnx.errors import UserError
from mari_onnx.planning import search
from mari_onnx.report import render
from mari_onnx.report.model import Report
from tests.graphs import integers, ranking
from tests.report import reports

BODY = """x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) r = Relu (h) t = Tanh (user) m = MatMul (t, v)
    n = Neg (m) a = Add (r, n) y = MatMul (a, o)"""
MODEL = ranking(
    "tiled",
    BODY,
    user="float[256]",
    w=integers(259, 32),
    b=integers(32),
    v=integers(256, 32, seed=1),
    o=integers(32, 1),
)


@pytest.fixture(autouse=True)
def _tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "TRIES", 8)


@pytest.fixture(params=["another function", "accuracy"])
def failure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A rule of Tanh that is a mistake: it computes a Sigmoid, or in half precision."""

    def wrong(op: Op, ctx: Context) -> Derived:
        proto = onnx.NodeProto()
        proto.CopyFrom(op.proto)
        if request.param == "another function":
            proto.op_type = "Sigmoid"
            return elementwise.elementwise(replace(op, proto=proto), ctx)
        array = op.data.array
        half = ctx.b.make("Cast", [array.tensor], array.tensor.known_shape, onnx.TensorProto.FLOAT16, to=10)
        rounded = ctx.b.make("Cast", [half], half.known_shape, onnx.TensorProto.FLOAT, to=1)
        value = op.data.changed(array=replace(array, tensor=rounded))
        return elementwise.elementwise(replace(op, inputs=(value,)), ctx)

    monkeypatch.setitem(RULES, "Tanh", wrong)
    return str(request.param)


@pytest.fixture
def _unloadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule of Tanh that is a mistake: it adds an attribute that onnxruntime refuses."""

    def wrong(op: Op, ctx: Context) -> Derived:
        proto = onnx.NodeProto()
        proto.CopyFrom(op.proto)
        proto.attribute.append(onnx.helper.make_attribute("beta", 1.0))
        return elementwise.elementwise(replace(op, proto=proto), ctx)

    monkeypatch.setitem(RULES, "Tanh", wrong)


def assert_left_out(report: Report, failure: str, *tensors: str) -> None:
    assert report.verification is not None and report.verification.passed
    (left_out,) = report.left_out
    assert (left_out.tensors, left_out.failure) == (tensors, failure)
    assert left_out.message
    assert left_out.is_bug == (failure == "another function")


def test_the_first_plan_passes() -> None:
    assert mari_onnx.optimize(MODEL, user_inputs="user").report.left_out == ()


@pytest.mark.parametrize("located", [True, False])
def test_the_rest_of_the_plan_stays(failure: str, located: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the difference begins is known, or is found by halves."""
    if not located:
        nowhere(monkeypatch)
    result = mari_onnx.optimize(MODEL, user_inputs="user")
    assert_left_out(result.report, failure, "t")
    ops = [node.op_type for node in result.model.graph.node]
    assert ops.count("Gemm") + ops.count("MatMul") == 4
    (remark,) = [r for r in result.report.remarks if r.op_type == "Tanh"]
    assert (remark.status, remark.reason) == ("refused", "its rewrite failed the verification")


def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No verification tells where the difference begins."""
    plain = pipeline.verify

    def verify(*given: Any, moved: bool) -> Report:
        report = plain(*given, moved=moved)
        assert report.verification is not None
        return replace(report, verification=replace(report.verification, divergence=None))

    monkeypatch.setattr(pipeline, "verify", verify)


@pytest.mark.usefixtures("_unloadable")
@pytest.mark.parametrize(
    ("command", "verify"), [(mari_onnx.optimize, True), (mari_onnx.split, True), (mari_onnx.split, False)]
)
def test_a_model_that_does_not_load(command: Any, verify: bool) -> None:
    """The rest of the plan stays. The parts of a split are loaded also where nothing is verified."""
    result = command(MODEL, user_inputs="user", verify=verify)
    (left_out,) = result.report.left_out
    assert (left_out.tensors, left_out.failure, left_out.is_bug) == (("t",), "does not run", True)
    assert "onnxruntime cannot load the optimized model" in left_out.message
    assert result.report.changed
    assert result.report.passed
    assert "a bug in mari-onnx" in render(result.report, "text").lower()


@pytest.mark.usefixtures("_unloadable")
def test_no_result_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model stays as it was exported; where it may not, because it has to take other inputs, that is an error."""
    monkeypatch.setattr(attempts, "TRIES", 0)
    result = mari_onnx.optimize(MODEL, user_inputs="user")
    assert not result.report.changed
    assert result.report.cost_after is None
    assert "The model stays as it is" in render(result.report, "text")
    with pytest.raises(UserError, match="onnxruntime cannot load the optimized model"):
        mari_onnx.optimize(MODEL, user_inputs="user", user_batch="one")


def test_parts_of_a_split(failure: str) -> None:
    result = mari_onnx.split(MODEL, user_inputs="user")
    assert_left_out(result.report, failure, "t")
    assert set(result.models) == {"user", "rank"}


def test_nothing_else_is_gained(failure: str) -> None:
    """Then the failure is the result."""
    body = "t = Tanh (user) m = MatMul (t, v) y = Add (m, item)"
    model = ranking("tiled", body, user="float[256]", item="float[32]", v=integers(256, 32))
    report = mari_onnx.optimize(model, user_inputs="user").report
    assert report.verification is not None and not report.verification.passed
    assert report.left_out == ()


def test_few_are_tried(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = search.best_plan

    def counted(*given: Any) -> Any:
        made.append(given)
        return plain(*given)

    monkeypatch.setattr(pipeline, "best_plan", counted)
    nowhere(monkeypatch)
    monkeypatch.setattr(attempts, "TRIES", 1)
    report = mari_onnx.optimize(MODEL, user_inputs="user").report
    assert len(made) == 2
    assert report.verification is not None and not report.verification.passed


def test_every_view_of_the_report_warns(failure: str) -> None:
    report = mari_onnx.optimize(MODEL, user_inputs="user").report
    views = {view: render(report, view) for view in reports.HERE}
    assert '"left_out": [' in views.pop("json")
    for view, text in views.items():
        assert ("bug in mari-onnx" in text) == (failure == "another function")
        assert "Please report it" in text
        assert view == "junit" or "without the rewrite of 1 node that failed the verification" in text


def test_nothing_is_verified(failure: str) -> None:
    """A mistake is in the model then, and the report says that nobody looked."""
    assert mari_onnx.optimize(MODEL, user_inputs="user", verify=False).report.left_out == ()
