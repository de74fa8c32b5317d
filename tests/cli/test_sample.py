"""The commands of the README, run on a sample model in a process of their own: nothing stands in for anything."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest

SAMPLES = Path(__file__).parents[2] / "sample_models"
SCHEMA = json.loads((Path(__file__).parents[2] / "mari_onnx/report/schema.json").read_text(encoding="utf-8"))


def mari_onnx(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mari_onnx", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120, cwd=cwd)
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def sample() -> Path:
    return SAMPLES / "wide_deep_vanilla.onnx"


def test_optimize_then_verify(sample: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "fast.onnx", tmp_path / "report.json"
    made = mari_onnx("optimize", sample, out, "-u", "user_*", "--report", report)
    assert (made.returncode, made.stderr) == (0, "")
    assert f"written to {out}" in made.stdout
    jsonschema.validate(json.loads(report.read_text(encoding="utf-8")), SCHEMA)
    again = mari_onnx("verify", sample, out, "-u", "user_*", "--batch", 3, "--seed", 1)
    assert (again.returncode, again.stderr) == (0, "")


def test_a_model_that_predicts_something_else(sample: Path, tmp_path: Path) -> None:
    wrong, report = tmp_path / "wrong.onnx", tmp_path / "report.json"
    model = onnx.load(sample)
    weight = next(t for t in model.graph.initializer if t.name.endswith("mlp.0.weight"))
    weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * 1.001).tobytes()
    onnx.save(model, wrong)
    result = mari_onnx("verify", sample, wrong, "-u", "user_*", "--report", report, cwd=tmp_path)
    assert result.returncode == 1
    assert "The predictions differ" in result.stdout
    read = json.loads(report.read_text(encoding="utf-8"))
    jsonschema.validate(read, SCHEMA)
    assert read["verification"]["divergence"]["tensor"].startswith("/model/mlp/mlp/mlp.0/Gemm")
    command = shlex.split(read["verification"]["divergence"]["command"])
    assert command[0] == "mari-onnx"
    again = mari_onnx(*command[1:], cwd=tmp_path)
    assert again.returncode == 1
    assert "(wrong.failing.npz)" in again.stdout.splitlines()[-1]


def test_an_interrupted_verification_writes_nothing(sample: Path, tmp_path: Path) -> None:
    """By a signal, in the middle of it: no report and no temporary file is left."""
    report = tmp_path / "report.xml"
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
import mari_onnx
from mari_onnx.cli import main
verify = mari_onnx.verify
def interrupt(what, done, total):
    if what == "batch 7":
        os.kill(os.getpid(), signal.SIGINT)
def interrupted(*models, progress, **given):
    return verify(*models, progress=interrupt, **given)
mari_onnx.verify = interrupted
main(sys.argv[1:])
"""
    given = ["verify", sample, sample, "-u", "user_*", "--report", report]
    command = [sys.executable, "-c", code, *map(str, given)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (130, "Interrupted: nothing was written\n")
    assert not list(tmp_path.iterdir())


def test_inspect(sample: Path) -> None:
    result = mari_onnx("inspect", sample, "-u", "user_*", "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    jsonschema.validate(json.loads(result.stdout), SCHEMA)


def test_a_pattern_that_matches_nothing(sample: Path, tmp_path: Path) -> None:
    result = mari_onnx("optimize", sample, tmp_path / "fast.onnx", "-u", "usr_*")
    assert result.returncode == 2
    assert "usr_*" in result.stderr
    assert "user_id" in result.stderr
    assert not list(tmp_path.iterdir())


def test_without_user_inputs_the_model_is_written_as_it_was(sample: Path, tmp_path: Path) -> None:
    result = mari_onnx("optimize", sample, tmp_path / "same.onnx")
    assert result.returncode == 0
    assert (tmp_path / "same.onnx").read_bytes() == sample.read_bytes()


def test_external_data_is_put_beside_the_result(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    onnx.save(
        onnx.load(sample), tmp_path / "in" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=64
    )
    result = mari_onnx("optimize", tmp_path / "in" / "m.onnx", tmp_path / "out" / "m.onnx", "-u", "user_*")
    assert (result.returncode, result.stderr) == (0, "")
    data, model = sorted((tmp_path / "out").iterdir())
    assert data.name.startswith("m.data.mari-")
    assert model.name == "m.onnx"
    assert mari_onnx("verify", sample, tmp_path / "out" / "m.onnx", "-u", "user_*").returncode == 0


def test_bench_finds_out_whether_it_pays(sample: Path, tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    numbers = ("--batch", "1,64", "--seconds", 0.01, "--max-slowdown", 1000)
    made = mari_onnx("bench", sample, "-u", "user_*", *numbers, "--profile", "--report", report, cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    read = json.loads(report.read_text(encoding="utf-8"))
    jsonschema.validate(read, SCHEMA)
    assert [timing["batch"] for timing in read["benchmark"]["timings"]] == [1, 64]
    assert read["verification"]["passed"]
    sides = {which: {node["side"] for node in read["benchmark"]["profile"][which]} for which in ("before", "after")}
    assert sides == {"before": {"request", "candidates"}, "after": {"request", "candidates"}}
    missed = mari_onnx(
        "bench", sample, "-u", "user_*", *numbers, "--no-verify", "--min-speedup", 1000, "-q", cwd=tmp_path
    )
    assert missed.returncode == 1
    assert missed.stdout.startswith("✗ Not met: min-speedup 1000: ")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
