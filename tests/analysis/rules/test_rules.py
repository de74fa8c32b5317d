"""Each family has its rules in one file, which says what holds and when, and its tests in another of that name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import mari_onnx

ROOT = Path(mari_onnx.__file__).parent
TESTS = Path(__file__).parents[2]

BESIDE = (
    "analysis/branches",
    "analysis/loop_bodies",
    "ir/attention_heads",
    "ir/stored_weights",
    "planning/shared_inputs",
)
"""Modules with identities of their own that are no rules."""

KERNELS = ROOT / "planning/kernels"
HELPERS = {"places", "site"}
"""Modules beside the kernels that replace nothing themselves."""

FAMILIES = [
    *((path, TESTS / "analysis/rules") for path in sorted((ROOT / "analysis/rules").glob("[!_]*.py"))),
    *((path, TESTS / "planning/kernels") for path in sorted(KERNELS.glob("[!_]*.py")) if path.stem not in HELPERS),
    *((ROOT / f"{name}.py", (TESTS / name).parent) for name in BESIDE),
]


@pytest.mark.parametrize(("rules", "tests"), FAMILIES, ids=lambda path: path.stem)
def test_each_family_says_what_holds_and_when(rules: Path, tests: Path) -> None:
    said = ast.get_docstring(ast.parse(rules.read_text())) or ""
    assert re.search(r"^    \S", said, re.MULTILINE), "identities are indented"
    assert re.search(r"^Holds ", said, re.MULTILINE)
    assert re.search(r"\bRounding: ", said)


@pytest.mark.parametrize(
    "kernels", [path for path, _ in FAMILIES if path.parent == KERNELS], ids=lambda path: path.stem
)
def test_each_kernel_says_what_was_measured(kernels: Path) -> None:
    assert "\nMeasured with onnxruntime " in (ast.get_docstring(ast.parse(kernels.read_text())) or "")


@pytest.mark.parametrize(("rules", "tests"), FAMILIES, ids=lambda path: path.stem)
def test_each_family_has_its_tests(rules: Path, tests: Path) -> None:
    """Of identities, and of the graph that they lead to."""
    written = (tests / f"test_{rules.stem}.py").read_text()
    names = {node.name for node in ast.walk(ast.parse(written)) if isinstance(node, ast.FunctionDef)}
    assert {"test_the_graph", "test_the_products"} & names
