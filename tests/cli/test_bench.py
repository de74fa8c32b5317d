"""`mari-onnx bench`: what is measured, and how a policy ends the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from mari_onnx.measurement.options import BATCHES
from tests.cli.conftest import AS_EXPORTED, Engine, Run
from tests.report import reports

DEFAULTS: dict[str, Any] = {
    **AS_EXPORTED, "user_inputs": (), "batch": (500,), "batches": BATCHES, "threads": (1,), "concurrency": (1,),
    "runtime": "onnxruntime", "seconds": 4.0, "seed": 0, "inputs": None, "input_ranges": {}, "extents": {},
    "user_model": None, "item_model": None, "profile": False, "min_speedup": None, "max_slowdown": None,
    "verify": True, "progress": None,
}  # fmt: skip


@pytest.fixture
def fast(model: Path) -> Path:
    path = model.with_name("fast.onnx")
    path.write_bytes(model.read_bytes())
    return path


@pytest.mark.parametrize("given", [True, False])
def test_one_model_or_two(engine: Engine, run: Run, model: Path, fast: Path, given: bool) -> None:
    engine.report = reports.TIMED
    result = run("bench", model, *([fast] if given else []))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "speed-up" in result.stdout
    assert engine.calls == [DEFAULTS]


def test_options(engine: Engine, run: Run, model: Path) -> None:
    engine.report = reports.TIMED
    numbers = ("--batch", "1,100", "--batch", 500, "--batch", "100", "--threads", "1, 4", "--seconds", 0.5)
    at_once = ("--concurrency", 1, "--concurrency", "8,16")
    policies = ("--min-speedup", 1.2, "--max-slowdown", 1.05)
    how = ("--profile", "--extent", "length=50", "--extent", "a=b=3", "--input-range", "id=0:9", "--seed", 7)
    made = ("--optimize-batch", 200, "--guard", "--user-batch", "tiled", "--no-verify")
    assert run("bench", model, "-u", "u*", *numbers, *at_once, *policies, *how, *made).exit_code == 0
    assert engine.calls == [
        {
            **DEFAULTS, "user_inputs": ("u*",), "batches": (1, 100, 500), "threads": (1, 4), "seconds": 0.5,
            "concurrency": (1, 8, 16),
            "min_speedup": 1.2, "max_slowdown": 1.05, "profile": True, "extents": {"length": 50, "a=b": 3},
            "input_ranges": {"id": (0.0, 9.0)}, "seed": 7, "batch": (200,), "guard": "nan", "verify": False,
        }
    ]  # fmt: skip


def test_models_of_a_split(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    engine.report = reports.SLOWER
    others = {name: model.with_name(f"{name}.onnx") for name in ("user", "item")}
    given = [part for name, path in others.items() for part in (f"--{name}-model", path)]
    assert run("bench", model, fast, *given).exit_code == 1
    assert engine.calls == [{**DEFAULTS, **{f"{name}_model": path for name, path in others.items()}}]


def test_settings(engine: Engine, run: Run, model: Path, tmp_path: Path) -> None:
    engine.report = reports.TIMED
    settings = tmp_path / "mari-onnx.toml"
    settings.write_text(
        "batch = 300\nbench-batches = [10, 20]\nbench-threads = [2]\nbench-concurrency = [1, 3]\n"
        "min-speedup = 1.5\nmax-slowdown = 1\nverify-batches = [0]\n",
        encoding="utf-8",
    )
    assert run("bench", model, "--config", settings).exit_code == 0
    asked = {
        "batch": (300,),
        "batches": (10, 20),
        "threads": (2,),
        "concurrency": (1, 3),
        "min_speedup": 1.5,
        "max_slowdown": 1.0,
    }
    assert engine.calls == [{**DEFAULTS, **asked}]
    assert run("bench", model, "--config", settings, "--batch", 7).exit_code == 0
    assert engine.calls[1] == {**DEFAULTS, **asked, "batches": (7,)}


def test_a_policy_that_is_not_met(engine: Engine, run: Run, model: Path, tmp_path: Path) -> None:
    engine.report = reports.SLOWER
    files = [tmp_path / "r.json", tmp_path / "r.xml"]
    result = run("bench", model, "-q", *(part for file in files for part in ("--report", file)))
    assert result.exit_code == 1
    assert result.stdout == "✗ Not met: min-speedup 1.5: 0.960 (0.951 to 0.970) at 1 candidate\n"
    (policy,) = json.loads(files[0].read_text(encoding="utf-8"))["policies"]
    assert (policy["name"], policy["met"]) == ("min-speedup", False)
    cases = {case.attrib["name"]: case for case in Xml.parse(files[1]).iter("testcase")}
    assert cases["min-speedup"].find("failure") is not None
    assert float(cases["1 candidate"].attrib["time"]) == pytest.approx(78.2e-6)


def test_a_policy_that_is_met(engine: Engine, run: Run, model: Path, tmp_path: Path) -> None:
    engine.report = reports.TIMED
    result = run("bench", model, "--report", tmp_path / "r.xml")
    assert result.exit_code == 0
    assert "✓ max-slowdown 1.05: 1.042 (1.031 to 1.052) at 1 candidate" in result.stdout
    cases = {case.attrib["name"]: case for case in Xml.parse(tmp_path / "r.xml").iter("testcase")}
    assert cases["max-slowdown"].find("failure") is None


@pytest.mark.parametrize("form", reports.HERE)
def test_forms(engine: Engine, run: Run, model: Path, form: str) -> None:
    engine.report = reports.TIMED
    result = run("bench", model, "--format", form)
    assert result.exit_code == 0
    assert "max-slowdown" in result.stdout or form == "github"  # where only what fails is an annotation


def test_a_verification_that_fails(engine: Engine, run: Run, model: Path) -> None:
    engine.report = replace(reports.WRONG, command="bench")
    result = run("bench", model, "-q")
    assert result.exit_code == 1
    assert result.stdout.startswith("✗ The predictions differ")


def test_a_report_beside_the_models(engine: Engine, run: Run, model: Path, fast: Path) -> None:
    for path in (model, fast):
        result = run("bench", model, fast, "--report", path)
        assert (result.exit_code, engine.calls) == (2, [])
        assert "is both a model and the report" in result.stderr
