"""How the modules of the compiler may depend on each other, and what each of them has to have.

The order of the folders is written once, here. It is what makes the folders understandable one at a time: whoever
reads `ir` has to know nothing of `planning`, and whoever changes `planning` cannot break `ir`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

import mari_onnx
from mari_onnx.report import VIEWS
from mari_onnx.traffic.engines import ENGINES
from mari_onnx.verification.runtimes import SECOND_RUNTIMES

ROOT = Path(mari_onnx.__file__).parent

ORDER = (
    "errors",
    "arguments",
    "input_names",
    "budget",
    "worker",
    "version",
    "installed",
    "report",
    "policies",
    "document",
    "ir",
    "serving",
    "analysis",
    "emission",
    "planning",
    "partition",
    "verification",
    "measurement",
    "attempts",
    "rounded",
    "settings",
    "graphs",
    "pipeline",
    "survey",
    "two_models",
    "results",
    "demands",
    "traffic",
    "api",
    "",  # mari_onnx itself, the public interface
    "cli",
    "__main__",
)
"""The folders and the modules beside them, low to high: each imports from those before it alone."""

NEVER = {
    "ir": {"report", "document"},
    "verification": {"analysis", "emission", "planning", "partition"},
    "measurement": {"analysis", "emission", "planning", "partition"},
}
"""What a folder leaves alone although it is lower.

The representation is one of values and not of files. The verification would share the mistakes of what it checks.
"""

BY_NAME = {
    "mari_onnx": {
        f"mari_onnx.{name}" for name in ("api", "errors", "report", "report.model", "results", "traffic.functions")
    },
    "mari_onnx.traffic.engines": {f"mari_onnx.traffic.engines.{name}" for name in ENGINES},
    "mari_onnx.report": {f"mari_onnx.report.as_{view}" for view in (*VIEWS, "notebook")},
    "mari_onnx.report.shown": {"mari_onnx.report"},
    "mari_onnx.verification": {f"mari_onnx.verification.{name}" for name in ("apart", "compare.structure", "options")},
    "mari_onnx.verification.comparison": {f"mari_onnx.verification.runtimes.{name}" for name in SECOND_RUNTIMES},
}
"""The modules that import others by `import_module`, when something of them is first asked for; and which."""

BACK = ("mari_onnx.report.shown", "mari_onnx.report")
"""The one way back: a report has its forms as methods, and each form is one of a report."""

GRAPHSURGEON = "mari_onnx.emission.protos"
"""The one module that uses onnx-graphsurgeon."""

MOST_LEVELS, MOST_LINES = 9, 400


# Reading the imports


@cache
def modules() -> dict[str, Path]:
    """Every module of the compiler, by its dotted name; that of a package is its `__init__`."""
    paths = {path.relative_to(ROOT.parent).with_suffix(""): path for path in sorted(ROOT.rglob("*.py"))}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imported(module: str, *, for_types: bool) -> Iterator[str]:
    """The dotted names that a module imports anywhere, those under `if TYPE_CHECKING` apart from the others."""
    for node, within in _statements(tree(module), within=False):
        if within is not for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module}, line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _statements(node: ast.AST, *, within: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All that is in a node, and whether it stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        yield child, within
        guards = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        yield from _statements(child, within=within or guards)


@cache
def imports(*, for_types: bool = False) -> frozenset[tuple[str, str]]:
    """The pairs of modules of the compiler of which the first imports the second."""
    pairs = {(module, name) for module in modules() for name in imported(module, for_types=for_types)}
    if not for_types:
        pairs |= {(module, name) for module, names in BY_NAME.items() for name in names}
    return frozenset((module, target) for module, name in pairs if (target := _module_of(name)))


def _module_of(name: str) -> str | None:
    """The module of the compiler that a dotted name is, or that it is something of."""
    if name in modules():
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules() else None


def unit(module: str) -> str:
    """What of `ORDER` a module belongs to."""
    return module.removeprefix("mari_onnx").removeprefix(".").partition(".")[0]


def is_upwards(source: str, target: str) -> bool:
    """Whether a module imports what it must not know of."""
    low, high = unit(source), unit(target)
    return ORDER.index(high) > ORDER.index(low) or high in NEVER.get(low, ())


def cycles(pairs: frozenset[tuple[str, str]]) -> list[list[str]]:
    """Modules that import each other, directly or by way of others."""
    return [sorted(c) for c in nx.strongly_connected_components(nx.DiGraph(pairs)) if len(c) > 1]


# What holds


def test_every_module_has_its_place_in_the_order() -> None:
    assert {unit(module) for module in modules()} <= set(ORDER)


def test_imports_by_name_are_known() -> None:
    by_name = {module for module in modules() if "importlib.import_module" in imported(module, for_types=False)}
    assert by_name == set(BY_NAME)


def test_no_module_needs_itself() -> None:
    assert cycles(imports() - {BACK}) == []


def test_a_folder_imports_only_from_lower_ones() -> None:
    assert [f"{source} imports {target}" for source, target in sorted(imports()) if is_upwards(source, target)] == []


def test_no_import_for_types_alone_leads_upwards_or_around() -> None:
    """What closes a cycle for its types is two things in one, or wants a Protocol."""
    graph = nx.DiGraph([*(imports() - {BACK}), *imports(for_types=True)])

    def around(source: str, target: str) -> bool:
        return source == target or nx.has_path(graph, target, source)

    assert [pair for pair in imports(for_types=True) if is_upwards(*pair) or around(*pair)] == []


def test_the_folders_are_few_levels_deep() -> None:
    folders = {unit(module) for module in modules() if module.count(".") > 1}
    pairs = {(unit(source), unit(target)) for source, target in imports()}
    graph = nx.DiGraph((low, high) for low, high in pairs if low != high and {low, high} <= folders)
    longest = nx.dag_longest_path(graph)
    assert len(longest) <= MOST_LEVELS, " imports ".join(longest)


def test_no_file_is_long() -> None:
    paths = modules().values()
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert [f"{path} has {lines} lines" for path, lines in lengths.items() if lines > MOST_LINES] == []


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module))


def test_one_module_uses_graphsurgeon() -> None:
    pairs = (
        (module, name) for module in modules() for when in (False, True) for name in imported(module, for_types=when)
    )
    assert {module for module, name in pairs if name.startswith("onnx_graphsurgeon")} == {GRAPHSURGEON}
