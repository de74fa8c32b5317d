"""What the documents say is true: their commands, Python and settings work, and what is generated is up to date."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from docs.links import anchor, broken, documents
from mari_onnx.cli import main
from mari_onnx.cli.configuration import read

ROOT = Path(__file__).parents[1]

RANKER = "sample_models/wide_deep_vanilla.onnx"
"""What a document calls `ranker.onnx`, as a stand-in for the reader's own model."""


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(path: Path) -> list[str]:
    """The commands that a document shows, and those of its workflows, in order."""
    shown = "".join(blocks(path, "bash")).splitlines()
    return shown + re.findall(r"(?:run:|-) (mari-onnx .*)$", "".join(blocks(path, "yaml")), re.MULTILINE)


def documents_with(language: str) -> pytest.MarkDecorator:
    found = [path for path in documents() if blocks(path, language)]
    assert found
    return pytest.mark.parametrize("path", found, ids=lambda path: path.stem)


@pytest.fixture
def _beside_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    shutil.copy(ROOT / RANKER, tmp_path / "ranker.onnx")
    monkeypatch.chdir(tmp_path)


@documents_with("bash")
@pytest.mark.usefixtures("_beside_the_samples")
def test_commands(path: Path) -> None:
    for line in commands(path):
        assert line.startswith("mari-onnx ")
        said = re.search(r"# exit code (\d)", line)
        result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        assert result.exit_code == (int(said[1]) if said else 0), f"{line}\n{result.output}"


@documents_with("python")
@pytest.mark.usefixtures("_beside_the_samples")
def test_python(path: Path) -> None:
    for snippet in blocks(path, "python"):
        exec(compile(snippet, path.name, "exec"), {})


@documents_with("toml")
def test_settings(path: Path, tmp_path: Path) -> None:
    for settings in blocks(path, "toml"):
        (tmp_path / "mari-onnx.toml").write_text(settings, encoding="utf-8")
        assert read(tmp_path / "mari-onnx.toml")


def test_what_is_generated_is_up_to_date() -> None:
    command = [sys.executable, "-m", "docs.generate", "--check"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, f"`make docs` writes it again:\n{run.stdout}{run.stderr}"


def test_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "".join(path.read_text(encoding="utf-8") for path in documents())
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert {"demo", "test", "docs", "site"} <= targets
    assert targets <= set(re.findall(r"^([\w-]+):.*## ", makefile, re.MULTILINE))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


# The checker of links, which `make check` runs


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# What it is: a `form`\n", encoding="utf-8")
    text = """# Here
    [right](other.md) [heading](other.md#what-it-is-a-form) [own](#here) [web](https://example.com/nothing)
    ![picture](none.svg) [file](none.md) [wrong](other.md#nothing) [own](#nothing) `tests/none.py` `tests/*.py`
    """
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/some.py").touch()
    page = tmp_path / "page.md"
    page.write_text(text + "```\n[in code](none.md)\n```\n", encoding="utf-8")
    found = [problem.partition(":")[0] for problem in broken(page, tmp_path)]
    assert found == ["none.svg", "none.md", "other.md#nothing", "#nothing", "tests/none.py"]


def test_anchors_are_those_of_the_site_and_of_repositories() -> None:
    assert anchor("What is proved, what isn't: `-u`?") == "what-is-proved-what-isnt--u"
