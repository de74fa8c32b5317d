"""What is public changes with an entry in the changelog, and is listed in the documents."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.public import surface

ROOT = Path(__file__).parents[1]
RELEASED = ROOT / "tests/public.txt"
"""The names of the last release, as `python -m docs.public` printed them."""


def unsaid(before: set[str], after: set[str], changelog: str) -> set[str]:
    """The names that were added or removed, and that the changelog does not have."""
    return {
        line
        for line in before ^ after
        if not re.search(rf"(?<![\w-]){re.escape(line.split()[-1])}(?![\w-])", changelog)
    }


def test_what_changes_is_in_the_changelog() -> None:
    before = set(RELEASED.read_text(encoding="utf-8").splitlines())
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert unsaid(before, set(surface()), changelog) == set()


@pytest.mark.parametrize(
    ("line", "changelog", "said"),
    [
        ("option optimize --fast", "`optimize --fast` is new.", True),
        ("option optimize --fast", "`--faster` and `--no-fast` are new.", False),
        ("argument optimize fast", "", False),
        ("field Report speed", "`speed` is a field.", True),
    ],
)
def test_a_change_that_is_not_said_is_found(line: str, changelog: str, said: bool) -> None:
    for before, after in (({"python a"}, {"python a", line}), ({"python a", line}, {"python a"})):
        assert unsaid(before, after, changelog) == (set() if said else {line})


def test_the_surface_has_all_kinds() -> None:
    found = surface()
    for each in ("python optimize", "argument optimize min_gain", "argument bench seconds", "option verify --effort",
                 "option optimize -u", "exit-code 143", "field Verification passed", "format junit",
                 "note float32-only", "metadata mari_onnx.fingerprint", "command diff"):  # fmt: skip
        assert each in found
    assert found == sorted(set(found))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from mari_onnx.cli import main; main(prog_name='mari-onnx')"],
        env={**os.environ, "_MARI_ONNX_COMPLETE": f"{shell}_source"}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    if shell == "bash" and "bash" in said.stderr.lower() and not said.stdout:
        pytest.skip("the bash that is installed is too old")
    assert "_MARI_ONNX_COMPLETE" in said.stdout
