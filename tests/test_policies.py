"""Policies hold or fail: each in both ways, with what was found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

import mari_onnx
from mari_onnx.cli import main
from mari_onnx.errors import UserError
from mari_onnx.policies import Gain, Trust, of_times
from mari_onnx.report.benchmark import Calls, Policy, Timing
from mari_onnx.report.note import CODES, Note
from tests.graphs import integers, ranking
from tests.report import reports
from tests.report.test_as_json import VALIDATOR

CALLS = Calls(1.0, 1.0, 1.0, None, 1.0, 1.0)
TIMINGS = (
    Timing(1, 1, 1, 15, 0.8, 0.75, 0.9, CALLS, CALLS),
    Timing(500, 1, 1, 15, 2.0, 1.9, 2.1, CALLS, CALLS),
    Timing(500, 4, 1, 15, 1.6, 1.5, 1.7, CALLS, CALLS),
)


@pytest.mark.parametrize(
    ("limit", "timings", "met", "message"),
    [
        (0.8, TIMINGS, True, "0.800 (0.750 to 0.900) at 1 candidate"),
        (0.81, TIMINGS, False, "0.800 (0.750 to 0.900) at 1 candidate"),
        (1.6, TIMINGS[1:], True, "1.600 (1.500 to 1.700) at 500 candidates on 4 threads"),
        (1.61, TIMINGS[1:], False, "1.600 (1.500 to 1.700) at 500 candidates on 4 threads"),
        (1.0, (), True, "1, because nothing was rewritten"),
        (1.01, (), False, "1, because nothing was rewritten"),
    ],
)
def test_min_speedup(limit: float, timings: tuple[Timing, ...], met: bool, message: str) -> None:
    assert of_times(timings, min_speedup=limit) == (Policy("min-speedup", limit, met, message),)


@pytest.mark.parametrize(
    ("limit", "timings", "met", "message"),
    [
        (1.25, TIMINGS, True, "1.250 (1.111 to 1.333) at 1 candidate"),
        (1.24, TIMINGS, False, "1.250 (1.111 to 1.333) at 1 candidate"),
        (0.5, TIMINGS[1:2], True, "0.500 (0.476 to 0.526) at 500 candidates"),
        (1.0, (), True, "1, because nothing was rewritten"),
    ],
)
def test_max_slowdown(limit: float, timings: tuple[Timing, ...], met: bool, message: str) -> None:
    assert of_times(timings, max_slowdown=limit) == (Policy("max-slowdown", limit, met, message),)


def test_none_and_both() -> None:
    assert of_times(TIMINGS) == ()
    assert [one.name for one in of_times(TIMINGS, 1, 1)] == [
        "min-speedup",
        "max-slowdown",
    ]


ARITHMETIC, SIZE = "24.1 M → 8 M multiply-adds", "(1.64 MB → 1.64 MB)"


@pytest.mark.parametrize(
    ("asked", "changed", "expected"),
    [
        ({"min_gain": 3.0}, True, Policy("min-gain", 3.0, True, f"3.01 ({ARITHMETIC})")),
        ({"min_gain": 3.1}, True, Policy("min-gain", 3.1, False, f"3.01 ({ARITHMETIC})")),
        ({"min_gain": 1.0}, False, Policy("min-gain", 1.0, True, "1 (24.1 M → 24.1 M multiply-adds)")),
        ({"min_gain": 1.1}, False, Policy("min-gain", 1.1, False, "1 (24.1 M → 24.1 M multiply-adds)")),
        ({"require_gain": True}, True, Policy("require-gain", None, True, f"{ARITHMETIC}, 142 → 139 nodes")),
        (
            {"require_gain": True},
            False,
            Policy("require-gain", None, False, "24.1 M → 24.1 M multiply-adds, 142 → 142 nodes"),
        ),
        ({"max_size_growth": 1.01}, True, Policy("max-size-growth", 1.01, True, f"1 {SIZE}")),
        ({"max_size_growth": 1.0}, True, Policy("max-size-growth", 1.0, False, f"1 {SIZE}")),
        ({"max_size_growth": 1.0}, False, Policy("max-size-growth", 1.0, True, f"1 {SIZE}")),
    ],
)
def test_gain(asked: dict[str, Any], changed: bool, expected: Policy) -> None:
    assert Gain(**asked).judged(replace(reports.OPTIMIZED, changed=changed)) == (expected,)


def test_a_model_without_arithmetic() -> None:
    nothing = replace(reports.BEFORE, macs=0)
    empty = replace(reports.OPTIMIZED, cost_before=nothing, cost_after=nothing)
    assert Gain(min_gain=1).judged(empty)[0].met
    assert not Gain(min_gain=1.1).judged(empty)[0].met
    left = replace(reports.OPTIMIZED, cost_after=nothing)
    assert Gain(min_gain=1e9).judged(left)[0].met


@pytest.mark.parametrize("asked", [{"min_gain": 0.0}, {"max_size_growth": -1.0}, {"min_gain": float("nan")}])
def test_limits_that_are_none(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="Give a number larger than 0"):
        Gain(**asked)


def with_notes(*codes: Any) -> Any:
    verification = reports.OPTIMIZED.verification
    assert verification is not None
    return replace(reports.OPTIMIZED, verification=replace(verification, notes=tuple(Note(c, "words") for c in codes)))


@pytest.mark.parametrize(
    ("report", "met", "message"),
    [
        (reports.OPTIMIZED, True, "32 comparisons"),
        (reports.WRONG, False, "32 comparisons"),
        (replace(reports.OPTIMIZED, verification=None), False, "nothing was verified"),
        (replace(reports.OPTIMIZED, verification=None, changed=False), True, "the model is as it was"),
    ],
)
def test_require_verified(report: Any, met: bool, message: str) -> None:
    (found,) = Trust(require_verified=True).judged(report)
    assert (found.name, found.met) == ("require-verified", met)
    assert found.message.partition(" ")[2] == message.partition(" ")[2]


@pytest.mark.parametrize(
    ("allowed", "codes", "met", "message"),
    [
        ((), (), True, "there are no notes"),
        ((), ("float32-only",), False, "there are notes: float32-only"),
        (("float32-only",), ("float32-only", "float32-only"), True, "there are no notes but float32-only"),
        ("float32-only", ("float32-only",), True, "there are no notes but float32-only"),
        (("float32-only",), ("float32-only", "case-skipped"), False, "there are notes: case-skipped"),
    ],
)
def test_allow_notes(allowed: Any, codes: Sequence[str], met: bool, message: str) -> None:
    assert Trust(allow_notes=allowed).judged(with_notes(*codes)) == (Policy("allow-notes", None, met, message),)


def test_a_code_that_there_is_not() -> None:
    with pytest.raises(UserError, match="there is no code 'float64-only'") as caught:
        Trust(allow_notes=["float64-only"])
    assert CODES[0] in str(caught.value.next_step)
    assert Trust().judged(reports.OPTIMIZED) == ()


# Each policy, in the command that has it: exit code, JSON and JUnit

MODEL = ranking(
    "tiled", "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)", user="float[256]", w=integers(259, 32),
    b=integers(32),
)  # fmt: skip
USER = "-u user"
BENCH = "-u user --batch 7 --seconds 0.01 --no-verify"

EACH = [
    ("optimize", "min-gain", f"{USER} --min-gain 2", f"{USER} --min-gain 1000"),
    ("optimize", "require-gain", f"{USER} --require-gain", "--require-gain"),
    ("optimize", "max-size-growth", f"{USER} --max-size-growth 2", f"{USER} --max-size-growth 0.1"),
    ("optimize", "require-verified", f"{USER} --require-verified", f"{USER} --require-verified --no-verify"),
    ("split", "require-verified", f"{USER} --require-verified", f"{USER} --require-verified --no-verify"),
    ("bench", "min-speedup", f"{BENCH} --min-speedup 0.001", f"{BENCH} --min-speedup 1000"),
    ("bench", "max-slowdown", f"{BENCH} --max-slowdown 1000", f"{BENCH} --max-slowdown 0.001"),
]


def ran(folder: Path, command: str, *asked: str) -> tuple[int, dict[str, Any], dict[str, ElementTree.Element]]:
    """The exit code, the report as JSON, and the cases of the report as JUnit XML."""
    outputs = {
        "optimize": [str(folder / "out.onnx"), "--overwrite"],
        "split": ["--user-model", str(folder / "user.onnx"), "--rank-model", str(folder / "rank.onnx"), "--overwrite"],
    }
    forms = [f"--report={folder / name}" for name in ("r.json", "r.xml")]
    given = [command, str(folder / "in.onnx"), *outputs.get(command, []), *forms, "--no-config", *asked]
    result = CliRunner().invoke(main, given)
    report = json.loads((folder / "r.json").read_text())
    VALIDATOR.validate(report)
    cases = {case.attrib["name"]: case for case in ElementTree.parse(folder / "r.xml").iter("testcase")}
    return result.exit_code, report, cases


@pytest.mark.parametrize(("command", "name", "holds", "fails"), EACH, ids=[f"{c} {n}" for c, n, *_ in EACH])
def test_each_in_its_command(tmp_path: Path, command: str, name: str, holds: str, fails: str) -> None:
    (tmp_path / "in.onnx").write_bytes(MODEL.SerializeToString())
    for asked, met in ((fails, False), (holds, True)):
        exit_code, report, cases = ran(tmp_path, command, *asked.split())
        assert exit_code == (0 if met else 1)
        assert [(each["name"], each["met"]) for each in report["policies"]] == [(name, met)]
        assert (cases[name].find("failure") is None) == met
        if command in ("optimize", "split"):
            assert (len(list(tmp_path.glob("*.onnx"))) > 1) == met, "nothing is written where a policy is not met"


def test_notes_in_their_commands(tmp_path: Path) -> None:
    """`odd` has no shape: a scalar is drawn for it, and a note says so."""
    body = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Add (h, odd)"
    model = ranking("tiled", body, user="float[256]", w=integers(259, 32), b=integers(32))
    odd = model.graph.input.add(name="odd")
    odd.type.tensor_type.elem_type = 1
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    for command in ("optimize", "split"):
        for asked, met in (("inputs-drawn", True), ("none", False)):
            exit_code, report, cases = ran(tmp_path, command, "-u", "user", "--allow-notes", asked)
            assert {note["code"] for note in report["verification"]["notes"]} == {"inputs-drawn"}
            assert exit_code == (0 if met else 1)
            assert [(each["name"], each["met"]) for each in report["policies"]] == [("allow-notes", met)]
            assert (cases["allow-notes"].find("failure") is None) == met
    fast = mari_onnx.optimize(model, user_inputs="user", verify=False).model
    assert mari_onnx.verify(model, fast, user_inputs="user", allow_notes=["inputs-drawn"]).passed
    assert not mari_onnx.verify(model, fast, user_inputs="user", allow_notes=()).passed
