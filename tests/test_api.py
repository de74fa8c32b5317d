"""The public functions: what comes back, and when it is the original."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import UserError, Verification, inspect, optimize, split, verify
from mari_onnx.emission.graft import graft
from tests.graphs import assert_same, integers, parse, ranking
from tests.notes import said

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
WIDE: dict[str, Any] = {"w": integers(259, 32), "b": integers(32)}


@pytest.fixture
def tower() -> onnx.ModelProto:
    return ranking("tiled", BODY, user="float[256]", **WIDE)


@pytest.fixture
def item_only() -> onnx.ModelProto:
    return parse("g (float[B, 3] item) => (float[B, 2] y) { y = MatMul (item, w) }", w=integers(3, 2))


def test_what_is_public() -> None:
    for name in mari_onnx.__all__:
        assert getattr(mari_onnx, name) is not None
    assert set(mari_onnx.__all__) <= set(dir(mari_onnx))
    with pytest.raises(AttributeError, match="nothing"):
        _ = mari_onnx.nothing


def test_optimize(tower: onnx.ModelProto) -> None:
    before = tower.SerializeToString()
    result = optimize(tower, user_inputs=["user"])
    report = result.report
    assert result.changed
    assert tower.SerializeToString() == before
    assert result.document.proto == tower
    assert [(i.name, i.rows) for i in report.request_inputs] == [("user", "tiled")]
    assert report.cost_before is not None
    assert report.cost_after is not None
    assert report.cost_before.macs == 500 * 259 * 32
    assert report.cost_after.macs == 256 * 32 + 500 * 3 * 32
    assert report.cost_after.macs == report.cost_after.macs_fixed + 500 * report.cost_after.macs_per_candidate
    assert report.cost_after.time_us < report.cost_before.time_us
    assert report.cost_after.nodes == len(result.model.graph.node)
    assert report.verification is not None
    assert report.verification.passed
    assert report.optimized is not None
    assert report.optimized.nodes == len(result.model.graph.node)
    assert result.model.graph.input == tower.graph.input
    assert result.model.graph.output == tower.graph.output
    assert_same(tower, result.model)


def test_a_string_is_one_name(tower: onnx.ModelProto) -> None:
    result = optimize(tower, user_inputs="user")
    assert [i.name for i in result.report.request_inputs] == ["user"]
    assert result.report.configuration == optimize(tower, user_inputs=["user"]).report.configuration
    assert [i.name for i in inspect(tower, user_inputs="us*").request_inputs] == ["user"]
    report = verify(tower, result.model, user_inputs="user", effort="quick")
    assert report.verification is not None
    assert report.verification.passed
    parts = mari_onnx.split(tower, user_inputs="user", item_inputs="item", verify=False)
    assert list(parts.models) == ["user", "item", "rank"]
    with pytest.raises(UserError, match="item"):
        optimize(tower, user_inputs="user", request_key="item")


def test_a_path(tower: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(tower, tmp_path / "m.onnx")
    result = optimize(str(tmp_path / "m.onnx"), user_inputs=["user"], verify=False)
    assert result.model == optimize(tower, user_inputs=["user"], verify=False).model
    assert result.report.model.path == str(tmp_path / "m.onnx")
    assert result.report.verification is None


def test_progress(tower: onnx.ModelProto) -> None:
    steps: list[tuple[str, int, int]] = []
    optimize(tower, user_inputs=["user"], verify=False, progress=lambda *step: steps.append(step))
    assert [what for what, _, _ in steps] == ["reading", "analysing", "writing"]
    assert all(done < total for _, done, total in steps)


@pytest.mark.parametrize("user_inputs", [(), ("item",)])
def test_a_model_with_nothing_to_gain_comes_back_byte_for_byte(
    item_only: onnx.ModelProto, user_inputs: tuple[str, ...]
) -> None:
    item_only.metadata_props.add(key="k", value="v")
    before = item_only.SerializeToString()
    result = optimize(item_only, batch=1, user_inputs=user_inputs, allow_no_candidates=bool(user_inputs))
    assert result.model.SerializeToString() == before
    assert not result.changed
    assert result.report.verification is None
    assert result.report.optimized is None


def test_nothing_is_declared(tower: onnx.ModelProto) -> None:
    result = optimize(tower)
    assert result.model.SerializeToString() == tower.SerializeToString()
    assert result.report.request_inputs == ()


def test_one_candidate_is_not_worth_it() -> None:
    model = ranking("tiled", BODY, w=integers(7, 2), b=integers(2))
    assert not optimize(model, user_inputs=["user"], batch=1).changed
    assert optimize(model, user_inputs=["user"], batch=100_000).changed


def test_the_number_of_candidates_that_is_meant(tower: onnx.ModelProto) -> None:
    report = optimize(tower, user_inputs=["user"], batch=1000, verify=False).report
    assert report.cost_after is not None
    assert report.cost_after.batch == 1000


def test_twice_is_once(tower: onnx.ModelProto) -> None:
    once = optimize(tower, user_inputs=["user"], verify=False)
    again = optimize(once.model, user_inputs=["user"], verify=False)
    assert not again.changed
    assert again.model == once.model


def test_inspect_says_what_optimize_does(tower: onnx.ModelProto) -> None:
    seen, done = inspect(tower, user_inputs=["user"]), optimize(tower, user_inputs=["user"], verify=False).report
    assert seen.command == "inspect"
    assert (seen.remarks, seen.cost_before, seen.cost_after) == (done.remarks, done.cost_before, done.cost_after)
    (remark,) = seen.remarks
    assert (remark.status, remark.tensor) == ("applied", "h")


def test_because() -> None:
    """From the product back to the input that the caller declared."""
    model = ranking("tiled", "u = Relu (user) h = MatMul (u, w) y = Add (h, item)", w=integers(4, 3))
    (remark,) = inspect(model, user_inputs=["user"]).remarks
    assert remark.because == ("Relu(user)", "user: declared by 'user': the caller repeats its row")


def test_verify_finds_a_mistake(tower: onnx.ModelProto) -> None:
    result = optimize(tower, user_inputs=["user"], verify=False).model
    passed = verify(tower, result, user_inputs=["user"], batches=(1, 3)).verification
    assert passed is not None
    assert passed.passed
    bias = next(t for t in result.graph.initializer if t.name == "b.part")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1), "b.part"))
    failed = verify(tower, result, user_inputs=["user"], batches=(1, 3)).verification
    assert failed is not None
    assert not failed.passed


def test_verify_plans_nothing(tower: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the comparison nor the count of multiply-adds needs a plan, also where the models differ."""
    result = optimize(tower, user_inputs=["user"], verify=False)

    def planned(*_: object, **__: object) -> None:
        raise AssertionError("a plan was made")

    monkeypatch.setattr("mari_onnx.pipeline.best_plan", planned)
    report = verify(tower, result.model, user_inputs=["user"], batches=(1, 3))
    assert report.cost_before == result.report.cost_before
    assert report.cost_after is not None and report.cost_before is not None
    assert report.cost_after.macs < report.cost_before.macs
    assert report.verification is not None and report.verification.notes == ()
    wrong = next(t for t in result.model.graph.initializer if t.name == "b.part")
    wrong.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(wrong) + np.float32(1), "b.part"))
    failed = verify(tower, result.model, user_inputs=["user"], batches=(1, 3)).verification
    assert failed is not None and failed.divergence is not None
    assert (failed.divergence.tensor, failed.divergence.rule) == ("h", "linear")


@pytest.mark.parametrize(
    ("broken", "note"),
    [
        (
            "mari_onnx.verification.compare.structure.structural_difference",
            "how the two graphs differ could not be found",
        ),
        ("mari_onnx.two_models._as_it_is", "the arithmetic of the two models could not be counted"),
    ],
)
def test_what_breaks_beside_the_verdict_is_a_note(
    tower: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, broken: str, note: str
) -> None:
    result = optimize(tower, user_inputs=["user"], verify=False).model

    def boom(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(broken, boom)
    report = verify(tower, result, user_inputs=["user"], batches=(1, 3))
    assert report.verification is not None and report.verification.passed
    assert said(report.verification.notes) == (f"{note} (RuntimeError: boom)",)
    assert (report.structure is None, report.cost_before is None) == ("graphs" in note, "arithmetic" in note)


def test_what_breaks_after_optimizing_is_a_note(tower: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("mari_onnx.verification.compare.structure.structural_difference", boom)
    report = optimize(tower, user_inputs=["user"]).report
    assert report.verification is not None and report.verification.passed
    assert said(report.verification.notes) == ("how the two graphs differ could not be found (RuntimeError: boom)",)


def test_the_rule_behind_a_failure_is_the_optimizer_s_remark(
    tower: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`optimize` verifies what it made: a mistake in it is put down to what it remarked itself."""

    def wrong(*given: Any) -> onnx.ModelProto:
        proto = graft(*given)
        bias = next(t for t in proto.graph.initializer if t.name == "b.part")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1), "b.part"))
        return proto

    monkeypatch.setattr("mari_onnx.emission.graft", wrong)
    report = optimize(tower, user_inputs=["user"]).report
    assert report.verification is not None and report.verification.divergence is not None
    (remark,) = [one for one in report.remarks if one.status == "applied"]
    found = report.verification.divergence
    assert (found.tensor, found.rule, found.reason) == ("h", "product", f"{remark.forms}: {remark.reason}")


@pytest.mark.parametrize("function", [optimize, inspect])
def test_a_glob_that_matches_nothing(tower: onnx.ModelProto, function: object) -> None:
    with pytest.raises(UserError, match="no input of the model matches the user input 'usr'"):
        function(tower, user_inputs=["usr"])  # type: ignore[operator]


@pytest.mark.parametrize("function", [optimize, inspect, mari_onnx.split])
def test_every_input_is_the_users(tower: onnx.ModelProto, function: Callable[..., object]) -> None:
    with pytest.raises(UserError, match="every candidate would get the same score"):
        function(tower, user_inputs=["*"])


def test_a_tower_of_the_user_alone(item_only: onnx.ModelProto) -> None:
    """Which has no candidates, and is the user's all the same."""
    with pytest.raises(UserError, match="`item`; no input is left"):
        optimize(item_only, user_inputs=["item"])
    result = optimize(item_only, user_inputs=["item"], allow_no_candidates=True)
    assert [(i.name, i.rows) for i in result.report.request_inputs] == [("item", "tiled")]
    assert_same(item_only, result.model, ["item"])
    assert inspect(item_only, user_inputs=["item"], allow_no_candidates=True).configuration is not None
    assert verify(item_only, result.model, user_inputs=["item"]).verification is not None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        optimize(tmp_path / "nowhere.onnx")


def test_without_a_user_nothing_is_rewritten() -> None:
    """Equal nodes could be one, but tidying alone is not what anybody asked for."""
    body = " ".join(f"a{i} = MatMul (item, w)" for i in range(4)) + " y = Sum (a0, a1, a2, a3)"
    model = parse(f"g (float[B, 64] item) => (float[B, 64] y) {{ {body} }}", w=integers(64, 64))
    assert optimize(model).model.SerializeToString() == model.SerializeToString()


FIXED = """
    g (float[6, 64] user, float[6, 64] item) => (float[6, 32] y)
        { x = Concat <axis = 1> (user, item) y = MatMul (x, w) }
"""


def test_a_batch_that_was_fixed_at_export() -> None:
    model = parse(FIXED, w=integers(128, 32))
    told = optimize(model, user_inputs="user")
    assert not told.changed
    assert "fixed at 6" in told.report.remarks[-1].reason
    result = optimize(model, user_inputs="user", dynamic_batch=True)
    assert result.report.verification is not None and result.report.verification.passed
    assert result.report.cost_after is not None and result.report.cost_before is not None
    assert result.report.cost_after.macs < 0.6 * result.report.cost_before.macs
    assert [i.type.tensor_type.shape.dim[0].dim_param for i in result.model.graph.input] == ["batch", "batch"]
    assert inspect(model, user_inputs="user", dynamic_batch=True).changed
    parts = split(model, user_inputs="user", dynamic_batch=True)
    assert parts.report.verification is not None and parts.report.verification.passed


FEW: dict[str, Any] = {"batches": (1, 8), "seconds": 1e-3}


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven processes take seconds to start; `measurement/test_apart.py` starts them."""

    def run(function: Callable[..., Any], *given: Any, progress: Any = None, alone: bool = False) -> Any:
        return function(*given)

    monkeypatch.setattr("mari_onnx.worker.run", run)


@pytest.mark.usefixtures("_in_this_process")
def test_bench_of_two_models(tower: onnx.ModelProto) -> None:
    result = optimize(tower, user_inputs="user", user_batch="one", verify=False)
    for optimized in (result.model, result):
        report = mari_onnx.bench(tower, optimized, user_inputs="user", **FEW)
        assert report.command == "bench"
        assert report.benchmark is not None
        assert [timing.batch for timing in report.benchmark.timings] == [1, 8]
        assert (report.verification, report.policies, report.changed) == (None, (), True)
        assert report.cost_before is not None
        assert report.cost_after is not None
        assert report.cost_after.macs < report.cost_before.macs
        assert report.passed


@pytest.mark.usefixtures("_in_this_process")
@pytest.mark.parametrize("how", [{}, {"item_inputs": "item"}, {"user_batch": "requests"}])
def test_bench_of_a_split(tower: onnx.ModelProto, how: dict[str, Any]) -> None:
    parts = split(tower, user_inputs="user", verify=False, **how).models
    others = {f"{role}_model": part for role, part in parts.items() if role != "rank"}
    report = mari_onnx.bench(tower, parts["rank"], user_inputs="user", profile=True, **others, **FEW)
    assert report.benchmark is not None
    assert [timing.batch for timing in report.benchmark.timings] == [1, 8]
    for timing in report.benchmark.timings:
        assert [part.role for part in timing.parts] == ["user", "rank"]
        assert all(0 < part.low <= part.speedup <= part.high for part in timing.parts)
    assert report.benchmark.profile is not None
    assert {node.side for node in report.benchmark.profile.after} == {"request", "candidates"}
    assert report.cost_after is not None
    assert report.cost_after.nodes > 2  # of both models


def test_bench_of_a_split_that_is_incomplete(tower: onnx.ModelProto) -> None:
    parts = split(tower, user_inputs="user", item_inputs="item", verify=False).models
    others = split(tower, user_inputs="user", verify=False, metadata=True, user_batch="requests").models
    given: dict[str, Any] = {"user_inputs": "user", **FEW}
    with pytest.raises(UserError, match="the ranking model of the split is missing"):
        mari_onnx.bench(tower, user_model=parts["user"], **given)
    with pytest.raises(UserError, match="an item model runs beside a user model"):
        mari_onnx.bench(tower, parts["rank"], item_model=parts["item"], **given)
    with pytest.raises(UserError, match="the models are not those of one split"):
        mari_onnx.bench(tower, parts["rank"], user_model=others["user"], **given)
    with pytest.raises(UserError, match="cannot be compared"):
        mari_onnx.bench(tower, parts["rank"], user_model=parts["user"], **given)


@pytest.mark.usefixtures("_in_this_process")
def test_bench_of_one_model(tower: onnx.ModelProto) -> None:
    """A speed-up that no model can have, and one that every model has."""
    report = mari_onnx.bench(tower, user_inputs="user", min_speedup=1e6, max_slowdown=1e6, guard="nan", **FEW)
    assert report.benchmark is not None
    assert report.verification is not None
    assert report.verification.passed
    assert [(policy.name, policy.met) for policy in report.policies] == [("min-speedup", False), ("max-slowdown", True)]
    assert not report.passed
    assert report.configuration is not None
    options = report.configuration.options
    assert (options["user_inputs"], options["guard"], options["batches"]) == (("user",), "nan", (1, 8))


def test_bench_of_a_model_that_stays_as_it_is(item_only: onnx.ModelProto) -> None:
    report = mari_onnx.bench(item_only, min_speedup=1.1, max_slowdown=1.0, **FEW)
    assert (report.changed, report.benchmark) == (False, None)
    assert [(policy.name, policy.met) for policy in report.policies] == [("min-speedup", False), ("max-slowdown", True)]
    assert {policy.message for policy in report.policies} == {"1, because nothing was rewritten"}


@pytest.mark.usefixtures("_in_this_process")
def test_bench_of_a_result_that_fails(tower: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    from mari_onnx.verification import apart

    def fails(*_: object) -> Verification:
        return Verification(False, 0, 0.0, 0.0, ())

    monkeypatch.setattr(apart, "_verify", fails)
    report = mari_onnx.bench(tower, user_inputs="user", **FEW)
    assert report.benchmark is None
    assert not report.passed


@pytest.mark.usefixtures("_in_this_process")
def test_bench_of_a_batch_that_was_fixed() -> None:
    fixed = parse(
        "g (float[20, 256] user, float[20, 3] item) => (float[20, 32] y) {"
        "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b) }",
        **WIDE,
    )
    report = mari_onnx.bench(fixed, user_inputs="user", dynamic_batch=True, **FEW)
    assert report.benchmark is not None
    assert [timing.batch for timing in report.benchmark.timings] == [1, 8]


@pytest.mark.usefixtures("_in_this_process")
def test_bench_in_calls_of_several_requests() -> None:
    model = parse(
        "g (int64[B] user_id, float[B, 256] user, float[B, 3] item) => (float[B, 32] y) {"
        "e = Gather (table, user_id) x = Concat <axis = 1> (user, e, item) y = Gemm (x, w, b) }",
        table=integers(50, 8), w=integers(267, 32), b=integers(32),
    )  # fmt: skip
    keyed = optimize(model, user_inputs="user*", request_key="user_id", verify=False)
    report = mari_onnx.bench(model, keyed, user_inputs="user*", request_key="user_id", **FEW)
    assert report.benchmark is not None


def test_an_option_that_bench_does_not_have(tower: onnx.ModelProto) -> None:
    with pytest.raises(TypeError, match="batchs"):
        mari_onnx.bench(tower, tower, batchs=(1,))  # type: ignore[call-arg]


def test_verify_of_a_result(tower: onnx.ModelProto) -> None:
    result = optimize(tower, user_inputs="user", user_batch="requests", verify=False)
    report = verify(tower, result, user_inputs="user", effort="quick")
    assert report.verification is not None
    assert report.verification.passed


@pytest.mark.usefixtures("_in_this_process")
def test_bench_with_an_index_that_the_model_has() -> None:
    model = parse(
        "g (float[B, 256] user, float[B, 3] item, int64[B] req) => (float[B, 32] y, int64[B] same) {"
        "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b) same = Identity (req) }",
        **WIDE,
    )
    result = optimize(model, user_inputs="user", request_index="req", verify=False)
    report = mari_onnx.bench(model, result, user_inputs="user", request_index="req", **FEW)
    assert report.benchmark is not None
    assert [timing.batch for timing in report.benchmark.timings] == [1, 8]


def test_a_model_that_stays_as_it_is_has_no_costs_of_another() -> None:
    """Two products in place of one save arithmetic, and take more time for few candidates: nothing is written."""
    model = ranking("tiled", "x = Concat <axis = 1> (user, item) y = MatMul (x, w)", w=integers(7, 2))
    for report in (optimize(model, user_inputs=["user"]).report, inspect(model, user_inputs=["user"])):
        assert not report.changed
        assert report.cost_after is None
        assert all(each.status != "applied" and each.macs_after == each.macs_before for each in report.remarks)


def test_what_a_program_reads_of_a_run(tower: onnx.ModelProto) -> None:
    report = inspect(tower)
    assert report.seconds is not None and 0 < report.seconds < 60
    assert set(report.versions) == {"mari-onnx", "onnx", "onnxruntime"}
    assert report.model.sha256 == hashlib.sha256(tower.SerializeToString()).hexdigest()
    assert report.model.data_sha256 == {}


def test_split_has_no_policies_of_gains(tower: onnx.ModelProto) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'min_gain'"):
        split(tower, min_gain=2.0)  # type: ignore[call-arg]
