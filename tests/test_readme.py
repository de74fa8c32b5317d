"""What the README says is true: its commands and its Python run, and what is generated in it is up to date."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mari_onnx.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def _beside_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_models").mkdir()
    for name in set(re.findall(r"sample_models/\w+\.onnx", README)):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)


def test_commands() -> None:
    lines = "".join(blocks("bash")).splitlines()
    assert lines and all(line.startswith("mari-onnx ") for line in lines)
    for line in lines:
        said = re.search(r"# exit code (\d)", line)
        result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        assert result.exit_code == (int(said[1]) if said else 0), f"{line}\n{result.output}"


def test_python(tmp_path: Path) -> None:
    (snippet,) = blocks("python")
    exec(compile(snippet, "README.md", "exec"), {})
    assert (tmp_path / "fast.onnx").exists()


def test_what_is_generated_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs/generate.py"), "--check"]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, f"`make docs` writes it again:\n{run.stdout}{run.stderr}"


def test_links_and_paths_lead_somewhere() -> None:
    links = re.findall(r"(?:\]\(|href=\")([^)\"#]+)[)\"]", README)
    paths = re.findall(r"`((?:mari_onnx|tests|docs|sample_models)/[\w/.-]+)`", README)
    assert links and paths
    for target in [*links, *paths]:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE))
    assert {"demo", "test", "docs"} <= targets
    assert targets <= set(re.findall(r"^(\w+):.*## ", makefile, re.MULTILINE))
