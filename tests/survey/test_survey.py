"""The survey of real models: what each declaration would gain is what `optimize` gains with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import UserError, optimize
from mari_onnx.report.model import Report
from mari_onnx.report.survey import Declaration, Survey
from mari_onnx.report.words import judged
from mari_onnx.survey import survey as module
from tests.graphs import integers, parse

WIDE: dict[str, Any] = {"w": integers(323, 32), "b": integers(32)}
BODY = "x = Concat <axis = 1> (user_a, user_b, item_a, other) h = Gemm (x, w, b) y = Relu (h)"
INPUTS = "float[B, 256] user_a, float[B, 32] user_b, float[B, 32] item_a, float[B, 3] other"
TILED = parse(f"g ({INPUTS}) => (float[B, 32] y) {{{BODY}}}", **WIDE)


def surveyed(model: onnx.ModelProto = TILED, **given: Any) -> tuple[Report, Survey]:
    report = mari_onnx.inputs(model, **given)
    assert report.survey is not None
    return report, report.survey


def by_globs(survey: Survey) -> dict[tuple[str, ...], Declaration]:
    return {each.globs: each for each in survey.declarations}


def test_what_is_gained_is_what_optimize_gains() -> None:
    report, survey = surveyed()
    found = by_globs(survey)
    assert list(found) == [("user_*",), ("item_a",), ("other",)]
    assert [each.why for each in survey.declarations] == ["likely", "prefix", "prefix"]
    for globs, each in found.items():
        made = optimize(TILED, user_inputs=globs, verify=False).report
        cost = made.cost_after if made.changed else made.cost_before
        assert cost is not None
        assert each.macs == cost.macs
    assert judged(report)[2] == (
        "-u 'user_*' declares the 2 inputs that look like the user's by name: 9.1 times less arithmetic "
        "(5.17 M → 569 k multiply-adds)"
    )
    assert (report.command, report.remarks, report.passed) == ("inputs", (), True)


def test_inputs_as_they_are() -> None:
    _, survey = surveyed()
    assert [(each.name, each.rows, each.feeds, each.within) for each in survey.inputs[:2]] == [
        ("user_a", "candidates", ("Concat x",), None),
        ("user_b", "candidates", ("Concat x",), None),
    ]


def test_what_is_declared_already() -> None:
    report, survey = surveyed(user_inputs="user_a")
    assert [each.rows for each in survey.inputs] == ["tiled", "candidates", "candidates", "candidates"]
    whole = optimize(TILED, user_inputs=["user_a", "user_b"], verify=False).report.cost_after
    assert whole is not None
    assert by_globs(survey)["user_b",].macs == whole.macs
    assert "-u user_b declares the input that looks like the user's by name" in judged(report)[2]


def test_what_shapes_show_needs_no_declaration() -> None:
    expanded = parse(
        "g (float[1, 256] user_a, float[1, 32] user_b, float[B, 32] item_a, float[B, 3] other) => (float[B, 32] y) {"
        "s = Shape (item_a) n = Gather (s, zero) t = Concat <axis = 0> (n, one) "
        "u = Expand (user_a, t) v = Expand (user_b, t) x = Concat <axis = 1> (u, v, item_a, other) "
        "h = Gemm (x, w, b) y = Relu (h) }",
        zero=[0], one=[1], **WIDE,
    )  # fmt: skip
    report, survey = surveyed(expanded)
    assert [each.rows for each in survey.inputs] == ["one", "one", "candidates", "candidates"]
    assert judged(report)[2] == "2 inputs are known to be the request's, and nothing speaks for declaring others"


def test_names_that_say_nothing() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(TILED)
    for i in range(4):
        model.graph.input[i].name = model.graph.node[0].input[i] = f"x{i}"
    report, survey = surveyed(model)
    assert {each.why for each in survey.declarations} == {"prefix"}
    assert judged(report)[2].startswith("Nothing tells which inputs are the user's: name those that all candidates")


def test_a_declaration_that_is_refused() -> None:
    _, survey = surveyed(user_inputs=["user_*", "item_*"])
    (other,) = survey.declarations
    assert other.macs is None
    assert "every candidate would get the same score" in other.refused


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two requests, in which `user_b` is not the same, and `other` is."""
    rng, request = np.random.default_rng(0), np.array([0, 0, 1, 1])
    columns = {name: rng.standard_normal((2, 3))[request] for name in ("user_a", "other")}
    columns |= {name: rng.standard_normal((4, 3)) for name in ("user_b", "item_a")}
    np.savez(tmp_path / "rows.npz", request=request, **columns)
    return tmp_path / "rows.npz"


def test_recorded_requests(rows: Path) -> None:
    """What they show counts more than a name, and takes away what a name suggests."""
    report, survey = surveyed(requests=rows, request_id="request")
    found = by_globs(survey)
    assert [(each.globs, each.why) for each in survey.declarations[:2]] == [
        (("user_a", "other"), "recorded"),
        (("user_a",), "likely"),
    ]
    assert found["user_a", "other"].macs == 259 * 32 + 500 * 64 * 32
    assert [None if each.within is None else each.within.same for each in survey.inputs] == [True, False, False, True]
    assert judged(report)[2].startswith(
        "-u user_a -u other declares the 2 inputs that are the same in all rows of 2 requests: "
    )
    assert report.configuration is not None
    assert report.configuration.options["request_id"] == "request"


def test_requests_of_one_row_tell_nothing(rows: Path, tmp_path: Path) -> None:
    columns = dict(np.load(rows)) | {"request": np.arange(4)}
    np.savez(tmp_path / "single.npz", **columns)
    report, _ = surveyed(requests=tmp_path / "single.npz", request_id="request")
    assert judged(report)[2].startswith("No recorded request has several rows")


@pytest.mark.parametrize("given", [{"requests": "rows.npz"}, {"request_id": "request"}])
def test_half_of_what_is_needed(given: dict[str, str]) -> None:
    with pytest.raises(UserError, match="recorded requests need a file and the name of its column of ids"):
        mari_onnx.inputs(TILED, **given)  # type: ignore[arg-type]


def test_too_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    told: list[tuple[str, int, int]] = []
    _, survey = surveyed(progress=lambda *step: told.append(step))
    assert (len(survey.declarations), survey.left) == (2, 1)
    assert told == [("reading", 0, 1), ("trying user_*", 0, 2), ("trying item_a", 1, 2)]
