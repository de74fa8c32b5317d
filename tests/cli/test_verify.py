"""`mari-onnx verify`: the exit code is the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mari_onnx.errors import UserError
from mari_onnx.report import VIEWS
from mari_onnx.verification.inputs.cases import EFFORTS
from mari_onnx.verification.runtimes import RUNTIMES
from tests.cli.conftest import ONE_MODEL, Engine, Run
from tests.report import reports


@pytest.fixture
def fast(model: Path) -> Path:
    path = model.with_name("fast.onnx")
    path.write_bytes(model.read_bytes())
    return path


def test_the_same(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.SAME
    result = run("verify", model, fast)
    assert result.exit_code == 0
    assert "✓ The same predictions" in result.stdout
    assert engine.calls == [
        {
            "user_inputs": (),
            "batches": None,
            "seed": 0,
            "rtol": None,
            "atol": None,
            "effort": "standard",
            "runtime": "onnxruntime",
            "inputs": None,
            "input_ranges": {},
            "failing": Path("fast.failing.npz"),
            "progress": None,
            **ONE_MODEL,
        }
    ]


def test_different(engine: Engine, run: Run, model: Path, fast: Path, tmp_path: Path) -> None:
    engine.report = reports.DIFFERENT
    report = tmp_path / "report.json"
    result = run("verify", model, fast, "-q", "--report", report)
    assert result.exit_code == 1
    assert result.stdout.startswith("✗ The predictions differ")
    assert json.loads(report.read_text(encoding="utf-8"))["command"] == "verify"


@pytest.mark.parametrize(
    "error", [UserError("the disk is full", "Make room."), RuntimeError("a bug"), OSError(28, "full", "r")]
)
def test_the_verdict_survives_a_report_that_cannot_be_written(
    engine: Engine, run: Run, model: Path, fast: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("mari_onnx.document.staging.write_file", fails)
    engine.report = reports.DIFFERENT
    result = run("verify", model, fast, "-q", "--report", fast.with_name("r.json"))
    assert (result.exit_code, str(error) in result.stderr) == (1, True)
    assert result.stdout.startswith("✗ The predictions differ")
    engine.report = reports.SAME
    result = run("verify", model, fast, "-q", "--report", fast.with_name("r.json"))
    assert result.exit_code == (3 if isinstance(error, RuntimeError) else 2)
    assert result.stdout.startswith("✓ The same predictions")
    assert result.stderr


def test_options(engine: Engine, run: Run, model: Path, fast: Path, tmp_path: Path) -> None:
    engine.report = reports.SAME
    numbers = ("--batch", 3, "--batch", 1000, "--seed", 7, "--rtol", "1e-5", "--atol", 0, "--effort", "quick")
    ranges = ("--input-range", "user_id=0:999", "--input-range", "a=b=-1.5:2", "--failing", tmp_path / "f.npz")
    assert run("verify", model, fast, "-u", "u*", *numbers, *ranges).exit_code == 0
    assert engine.calls == [
        {
            "user_inputs": ("u*",),
            "batches": (3, 1000),
            "seed": 7,
            "rtol": 1e-5,
            "atol": 0.0,
            "effort": "quick",
            "runtime": "onnxruntime",
            "inputs": None,
            "input_ranges": {"user_id": (0.0, 999.0), "a=b": (-1.5, 2.0)},
            "failing": tmp_path / "f.npz",
            "progress": None,
            **ONE_MODEL,
        }
    ]


def test_choices_and_help_are_those_of_the_tables(run: Run) -> None:
    text = " ".join(run("verify", "--help").stdout.split())
    assert f"[{'|'.join(EFFORTS)}]" in text
    assert f"[{'|'.join(RUNTIMES)}|PROVIDER]" in text
    assert f"[{'|'.join(VIEWS)}]" in text
    for name, effort in EFFORTS.items():
        assert f"{name}: {effort.words}" in text


def test_the_command_that_fails_again(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.LOCATED
    given = ("-u", "a", "-u", "b*", "--request-key", "k", "--user-model", "user.onnx", "--rtol", "0.5", "--seed", 3)
    result = run("verify", model, fast, *given, "--format", "json")
    command = json.loads(result.stdout)["verification"]["divergence"]["command"]
    assert command.startswith(f"mari-onnx verify {model} {fast} ")
    assert command.endswith("-u a -u 'b*' --request-key k --user-model user.onnx --rtol 0.5 --inputs fast.failing.npz")


@pytest.mark.parametrize("name", ["in.onnx", "fast.onnx"])
def test_report_is_no_model(engine: Engine, run: Run, model: Path, fast: Path, name: str) -> None:
    result = run("verify", model, fast, "--report", model.parent / name)
    assert (result.exit_code, engine.calls) == (2, [])
    assert "is both a model and the report" in result.stderr


@pytest.mark.parametrize("wrong", ["user_id", "user_id=1", "=0:1", "user_id=a:b", "user_id=0:1:2"])
def test_ranges_that_are_none(engine: Engine, run: Run, model: Path, fast: Path, wrong: str) -> None:
    result = run("verify", model, fast, "--input-range", wrong)
    assert (result.exit_code, engine.calls) == (2, [])
    assert "user_id=0:999" in result.stderr


def test_recorded_inputs_leave_no_file_behind(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.SAME
    assert run("verify", model, fast, "--inputs", "calls.npz").exit_code == 0
    assert (engine.calls[0]["inputs"], engine.calls[0]["failing"]) == (Path("calls.npz"), None)


@pytest.mark.parametrize("form", ["json", "markdown", "junit", "github"])
def test_formats(engine: Engine, run: Run, model: Path, fast: Path, form: str, tmp_path: Path) -> None:
    engine.report = reports.LOCATED
    result = run("verify", model, fast, "--format", form, "-u", "user *")
    assert result.exit_code == 1
    assert "--inputs fast.failing.npz" in result.stdout
    assert "'user *'" in result.stdout or "'user *'" in json.dumps(result.stdout)
    assert {"json": "{", "markdown": "### ", "junit": "<?xml", "github": "::error "}[form] in result.stdout[:12]


@pytest.mark.parametrize(("name", "start"), [("r.md", "### "), ("r.xml", "<?xml"), ("r.json", "{"), ("report", "{")])
def test_the_name_of_a_report_says_its_format(
    engine: Engine, run: Run, model: Path, fast: Path, name: str, start: str, tmp_path: Path
) -> None:
    engine.report = reports.SAME
    assert run("verify", model, fast, "--report", tmp_path / name, "-q").exit_code == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


@pytest.mark.parametrize("then", [KeyboardInterrupt(), RuntimeError("unheard of")], ids=["interrupted", "bug"])
def test_nothing_is_half_written(
    engine: Engine, run: Run, model: Path, fast: Path, tmp_path: Path, then: BaseException
) -> None:
    def end() -> None:
        raise then

    engine.then = end
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run("verify", model, fast, "--report", tmp_path / "r.xml", "--failing", tmp_path / "f.npz")
    assert result.exit_code == (130 if isinstance(then, KeyboardInterrupt) else 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
