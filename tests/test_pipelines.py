"""The action, the image and the snippets for pipelines, as far as they run without the services that they are for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.graphs import integers, parse

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODEL = parse(
    """g (float[B, 256] user_x, float[B, 3] item) => (float[B, 32] y) {
        x = Concat <axis = 1> (user_x, item)
        y = Gemm (x, w, b)
    }""",
    w=integers(259, 32),
    b=integers(32),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ranker.onnx").write_bytes(MODEL.SerializeToString())
    command = tmp_path / "bin/mari-onnx"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mari_onnx "$@"\n')
    command.chmod(0o755)
    return tmp_path


def ran(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **variables}
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip


# The action


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return found


def variables(action: dict[str, Any], **inputs: str) -> dict[str, str]:
    """The variables of the step, as GitHub fills them in."""
    given = {name: inputs.get(name, each.get("default", "")) for name, each in action["inputs"].items()}
    step = action["runs"]["steps"][1]
    return {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], text) for name, text in step["env"].items()
    }


def test_the_steps_of_the_action(action: dict[str, Any], folder: Path) -> None:
    install, optimize = action["runs"]["steps"]
    assert all(step["shell"] == "bash" for step in (install, optimize))
    assert "${{" not in optimize["run"], "a name would be text of the script"
    assert re.findall(r"\$GITHUB_ACTION_PATH(/[\w.]+)?", install["run"]) == ["/constraints.txt", ""]
    summary, inputs = folder / "summary.md", {"model": "ranker.onnx", "output": "fast.onnx"}
    given = variables(action, **inputs, **{"user-inputs": "user_*\n", "options": "--min-gain 2 --require-verified"})
    done = ran(optimize["run"], folder, **given, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::notice file=fast.onnx")
    assert (folder / "fast.onnx").exists()
    assert [each["met"] for each in json.loads((folder / "mari-onnx.json").read_text())["policies"]] == [True, True]
    assert summary.read_text().startswith("#")


def test_the_action_fails_where_a_policy_does(action: dict[str, Any], folder: Path) -> None:
    given = variables(action, model="ranker.onnx", output="fast.onnx", options="--require-gain")
    done = ran(action["runs"]["steps"][1]["run"], folder, **given)
    assert done.returncode == 1
    assert "::error" in done.stdout
    assert not (folder / "fast.onnx").exists()


def test_names_are_no_commands(action: dict[str, Any], folder: Path) -> None:
    evil = '$(touch evil); touch evil; "; touch evil'
    given = variables(action, model=evil, output="fast.onnx", **{"user-inputs": evil, "options": ""})
    done = ran(action["runs"]["steps"][1]["run"], folder, **given)
    assert done.returncode == 2
    assert not (folder / "evil").exists()


# The image


def test_what_is_pinned_is_all_that_is_needed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_the_image_copies_what_is_there() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    instructions = [line for line in lines if line and not line.startswith("#")]
    assert instructions[0].startswith("FROM python:3.")
    copied = [each for line in instructions if line.startswith("COPY") for each in line.split()[1:-1]]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    for each in copied:
        assert (ROOT / each).exists()
        assert f"!{each}" in allowed
    needed = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml"}
    assert needed <= set(copied)
    assert 'ENTRYPOINT ["mari-onnx"]' in instructions
    assert set(PROJECT["scripts"]) == {"mari-onnx"}
    assert any(line.startswith("USER ") for line in instructions)


# The snippets


def snippets(language: str) -> list[str]:
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_gitlab(folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    (job,) = (found["optimize"] for text in snippets("yaml") if "optimize" in (found := yaml.safe_load(text)))
    install, *commands = job["script"]
    assert install.startswith("pip install --constraint mari-onnx/constraints.txt")
    done = ran("\n".join(commands), folder)
    assert done.returncode == 0, done.stderr
    for file in (*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]):
        assert (folder / file).exists()


def test_airflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tasks are run in their order, in place of a scheduler."""
    tasks: list[str] = []

    class Operator:
        def __init__(self, task_id: str, bash_command: str) -> None:
            tasks.append(bash_command)

        def __rshift__(self, other: object) -> object:
            return other

    class Dag:
        def __init__(self, name: str, schedule: str) -> None: ...

        def __enter__(self) -> Dag:
            return self

        def __exit__(self, *_: object) -> None: ...

    fakes: dict[str, dict[str, Any]] = {"airflow": {"DAG": Dag}}
    bash = "airflow.providers.standard.operators.bash"
    fakes |= {bash.rsplit(".", n)[0]: {} for n in (3, 2, 1)} | {bash: {"BashOperator": Operator}}
    for name, content in fakes.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    (text,) = snippets("py")
    exec(compile(text, "dag.py", "exec"), {})
    done = ran("\n".join(tasks), folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "published.onnx").read_bytes() == (folder / "fast.onnx").read_bytes()
