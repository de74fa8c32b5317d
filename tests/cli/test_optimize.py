"""`mari-onnx optimize`: what is written, and what the exit code says."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest

from mari_onnx.errors import UserError
from mari_onnx.report import VIEWS
from mari_onnx.report.benchmark import Policy
from tests.cli.conftest import AS_EXPORTED, NOTHING_DEMANDED, Engine, Run
from tests.report import reports


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_reports(engine: Engine, run: Run, model: Path, out: Path) -> None:
    result = run("optimize", model, out, "-u", "user_*", "--user-input", "ctx", "--batch", 200)
    assert result.exit_code == 0
    assert f"the same predictions where the rows of these 4 inputs are identical: written to {out}" in result.stdout
    assert onnx.load(out).doc_string == "optimized"
    assert engine.calls == [
        {
            "user_inputs": ("user_*", "ctx"),
            "batch": (200,),
            "verify": True,
            "metadata": True,
            "fold_tables": 0,
            "progress": None,
            **AS_EXPORTED,
            **NOTHING_DEMANDED,
        }
    ]
    assert files(out.parent) == ["in.onnx", "out.onnx"]


def test_defaults(engine: Engine, run: Run, model: Path, out: Path) -> None:
    run("optimize", model, out, "--no-verify", "--no-metadata")
    asked = {"user_inputs": (), "batch": (500,), "verify": False, "metadata": False, "fold_tables": 0, "progress": None}
    assert engine.calls == [{**asked, **AS_EXPORTED, **NOTHING_DEMANDED}]


def test_a_policy_that_is_not_met_writes_nothing(engine: Engine, run: Run, model: Path, out: Path) -> None:
    found = "3.01 (24.1 M → 8 M multiply-adds)"
    policies = (Policy("min-gain", 4.0, False, found), Policy("require-gain", None, True, "x"))
    engine.report = replace(reports.OPTIMIZED, policies=policies)
    asked = ("--min-gain", 4, "--require-gain", "--max-size-growth", 1.1)
    result = run("optimize", model, out, *asked, "--report", out.with_name("r.xml"))
    assert result.exit_code == 1
    given = {"min_gain": 4.0, "require_gain": True, "max_size_growth": 1.1}
    assert {name: engine.calls[0][name] for name in given} == given
    assert files(out.parent) == ["in.onnx", "r.xml"]
    assert f"✗ min-gain 4: {found}\n  ✓ require-gain: x" in result.stdout
    assert result.stdout.splitlines()[-1] == f"✗ Not met: min-gain 4: {found}; nothing was written"
    cases = {case.attrib["name"]: case for case in ElementTree.parse(out.with_name("r.xml")).iter("testcase")}
    assert cases["min-gain"].find("failure") is not None
    assert cases["require-gain"].find("failure") is None


def test_nothing_to_gain_writes_the_model_as_it_was(engine: Engine, run: Run, model: Path, out: Path) -> None:
    engine.report = reports.UNCHANGED
    result = run("optimize", model, out)
    assert result.exit_code == 0
    assert "Nothing can be gained here" in result.stdout
    assert out.read_bytes() == model.read_bytes()


def test_a_failed_verification_writes_the_report_alone(engine: Engine, run: Run, model: Path, out: Path) -> None:
    engine.report = reports.WRONG
    out.write_bytes(b"precious")
    report = out.with_name("report.json")
    result = run("optimize", model, out, "--overwrite", "--report", report)
    assert result.exit_code == 1
    assert "The predictions differ" in result.stdout
    assert "nothing was written" in result.stdout
    assert out.read_bytes() == b"precious"
    read = json.loads(report.read_text(encoding="utf-8"))
    assert (read["verification"]["passed"], read["written"]) == (False, None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--allow-no-candidates"], {"allow_no_candidates": True}),
        (["--dynamic-batch"], {"dynamic_batch": True}),
        (["--assume-masked"], {"assume_masked": True}),
        (["--guard"], {"guard": "nan"}),
        (["--guard=output"], {"guard": "output"}),
        (["--guard", "--guard=off"], {}),
        (["--user-batch", "one"], {"user_batch": "one"}),
        (["--request-index", "i"], {"request_index": "i"}),
        (["--request-key", "a", "--request-key", "b"], {"request_key": ("a", "b")}),
    ],
)
def test_how_it_is_served(
    engine: Engine, run: Run, model: Path, out: Path, options: list[str], told: dict[str, object]
) -> None:
    assert run("optimize", *options, model, out).exit_code == 0
    (call,) = engine.calls
    assert {name: call[name] for name in AS_EXPORTED} == {**AS_EXPORTED, **told}


def test_dry_run(engine: Engine, run: Run, model: Path, out: Path) -> None:
    result = run("optimize", model, out, "--dry-run", "--report", out.with_name("report.json"))
    assert result.exit_code == 0
    assert "nothing was written" in result.stdout
    assert files(out.parent) == ["in.onnx", "report.json"]


def test_overwrite(engine: Engine, run: Run, model: Path, out: Path) -> None:
    out.write_bytes(b"precious")
    result = run("optimize", model, out)
    assert (result.exit_code, engine.calls) == (2, [])
    assert f"Error: {out} already exists\n  Add --overwrite" in result.stderr
    assert out.read_bytes() == b"precious"
    assert run("optimize", model, out, "--overwrite").exit_code == 0
    assert onnx.load(out).doc_string == "optimized"


def test_report_is_replaced(engine: Engine, run: Run, model: Path, out: Path) -> None:
    report = out.with_name("report.json")
    report.write_text("older")
    assert run("optimize", model, out, "--report", report).exit_code == 0
    assert json.loads(report.read_text(encoding="utf-8"))["written"] == str(out)


@pytest.mark.parametrize("other", ["in.onnx", "out.onnx", "./in.onnx"])
def test_report_is_no_model(engine: Engine, run: Run, model: Path, out: Path, other: str) -> None:
    before = model.read_bytes()
    result = run("optimize", model, out, "--report", f"{out.parent}/{other}")
    assert (result.exit_code, engine.calls) == (2, [])
    assert "is both a model and the report" in result.stderr
    assert model.read_bytes() == before


@pytest.mark.parametrize("option", ["output", "--report"])
@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere/file", "does not exist"), (".", "is a folder"), (os.devnull, "is not a regular file")],
)
def test_unwritable(engine: Engine, run: Run, model: Path, out: Path, option: str, path: str, message: str) -> None:
    target = model.parent / path
    arguments = [target] if option == "output" else [out, option, target]
    result = run("optimize", model, *arguments, "--overwrite")
    assert (result.exit_code, engine.calls) == (2, [])
    assert message in result.stderr


def test_the_verdict_survives_a_model_that_cannot_be_written(
    engine: Engine, run: Run, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise UserError(f"{out} cannot be written: the disk is full", "Make room.")

    monkeypatch.setattr("mari_onnx.document.save.save", full)
    report = out.with_name("report.json")
    result = run("optimize", model, out, "-q", "--report", report)
    assert result.exit_code == 2
    assert result.stdout.endswith("are identical: nothing was written\n")
    assert "the disk is full" in result.stderr
    read = json.loads(report.read_text(encoding="utf-8"))
    assert (read["verification"]["passed"], read["written"]) == (True, None)


def test_locked_folder(engine: Engine, run: Run, model: Path) -> None:
    (model.parent / "locked").mkdir(mode=0o500)
    if os.access(model.parent / "locked", os.W_OK):
        pytest.skip("nothing is unwritable for this user")
    result = run("optimize", model, model.parent / "locked" / "out.onnx")
    assert (result.exit_code, engine.calls) == (2, [])
    assert "is not writable" in result.stderr


def test_output_is_input(engine: Engine, run: Run, model: Path) -> None:
    before = model.read_bytes()
    result = run("optimize", model, model, "--overwrite")
    assert result.exit_code == 2
    assert "is the model that is read" in result.stderr
    assert model.read_bytes() == before


def test_quiet_and_verbose(engine: Engine, run: Run, model: Path, out: Path) -> None:
    quiet = run("optimize", model, out, "-q")
    assert quiet.stdout.splitlines() == [
        "✓ 3.0 times less arithmetic (24.1 M → 8 M multiply-adds), the same predictions where the rows of these 4 "
        f"inputs are identical: written to {out}"
    ]
    usual, verbose = (run("optimize", model, out, "--overwrite", *option).stdout for option in ([], ["-v"]))
    assert len(quiet.stdout) < len(usual) < len(verbose)
    assert "because user_id was declared" in verbose


def test_an_operator_that_nobody_knows_is_no_error(engine: Engine, run: Run, model: Path, out: Path) -> None:
    assert run("optimize", model, out).exit_code == 0  # the model has an acme.Secret
    assert onnx.load(out).graph.node[0].domain == "acme"


def test_a_pattern_that_matches_nothing(engine: Engine, run: Run, model: Path, out: Path) -> None:
    def unmatched() -> None:
        raise UserError("no input matches 'usr_*'", "The inputs are user_x and item_x.")

    engine.then = unmatched
    result = run("optimize", model, out, "-u", "usr_*")
    assert result.exit_code == 2
    assert result.stderr == "Error: no input matches 'usr_*'\n  The inputs are user_x and item_x.\n"
    assert files(out.parent) == ["in.onnx"]


@pytest.mark.parametrize("form", VIEWS)
def test_every_form_on_the_standard_output(engine: Engine, run: Run, model: Path, out: Path, form: str) -> None:
    files = [out.with_name(name) for name in ("r.json", "r.md", "r.xml")]
    result = run("optimize", model, out, "--format", form, *(f"--report={file}" for file in files))
    assert result.exit_code == 0
    marks = {"json": "{", "markdown": "#", "junit": "<?xml", "github": "::notice", "text": "mari-onnx"}
    assert result.stdout.startswith(marks.get(form, ""))
    assert json.loads(files[0].read_text())["command"] == "optimize"
    assert files[2].read_text().startswith("<?xml")


def test_github_writes_the_summary_of_the_step(
    engine: Engine, run: Run, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = out.with_name("summary.md")
    summary.write_text("of the step before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run("optimize", model, out, "--format", "text")
    assert summary.read_text() == "of the step before\n"
    assert run("optimize", model, out, "--format", "github", "--overwrite").exit_code == 0
    first, *rest = summary.read_text().splitlines()
    assert first == "of the step before"
    assert rest[0].startswith("#")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(out.with_name("nowhere") / "summary.md"))
    result = run("optimize", model, out, "--format", "github", "--overwrite")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_the_digest_is_that_of_the_written_file(engine: Engine, run: Run, model: Path, out: Path) -> None:
    report = out.with_name("r.json")
    run("optimize", model, out, "--report", report)
    assert json.loads(report.read_text())["optimized"]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
