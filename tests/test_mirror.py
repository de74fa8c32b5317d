"""Where the tests of a module are: in the file of its name, in the folder of its name.

    mari_onnx/ir/forms.py             tests/ir/test_forms.py
    mari_onnx/emission/__init__.py    tests/emission/test_emission.py

A module that only means something together with another is tested there, and listed here with the reason.
"""

from __future__ import annotations

from pathlib import Path

import mari_onnx

SOURCES, TESTS = Path(mari_onnx.__file__).parent, Path(__file__).parent

TRIVIAL = 40
"""The lines up to which a module needs no tests of its own."""

ELSEWHERE = {
    "__init__.py": ("test_api.py", "it hands on what api.py has"),
    "analysis/context.py": ("analysis/test_interpret.py", "what rules are given; the interpreter gives it"),
    "analysis/remarks.py": ("analysis/rules/test_product.py", "remarks on products are seen in what a product says"),
    "analysis/rules/linear.py": ("analysis/rules/test_product.py", "a product by a weight is one case of a product"),
    "analysis/shape_inference.py": ("analysis/test_interpret.py", "shapes are seen where a program is interpreted"),
    "analysis/tensor_facts.py": ("analysis/rules/test_lookup.py", "records that one rule leaves for another"),
    "analysis/tiled_columns.py": ("analysis/rules/test_columns.py", "what the rule of Concat falls back to"),
    "cli/options.py": ("cli/test_optimize.py", "options are tried with the command that has all of them"),
    "ir/expressions.py": ("ir/test_builder.py", "expressions are what the builder makes"),
    "ir/layout.py": ("ir/test_forms.py", "layouts are seen in the forms that have them"),
    "ir/unbatch.py": ("analysis/rules/test_elementwise.py", "operators without candidates are seen in the rules"),
    "planning/guard.py": ("serving/test_modes.py", "a guard is one way of serving"),
    "planning/search.py": ("analysis/test_input_roles.py", "plans are weighed for the roles of a model's inputs"),
    "report/model.py": ("report/test_as_json.py", "records; their fields are those of the schema"),
    "serving/rows.py": ("serving/test_modes.py", "ways to keep rows are seen in the ways of serving"),
    "verification/compare/judge.py": ("verification/test_comparison.py", "verdicts are those of whole comparisons"),
    "verification/float64/operators.py": ("verification/float64/test_exact.py", "kernels run in an exact model"),
    "verification/float64/recurrent.py": ("verification/float64/test_exact.py", "kernels run in an exact model"),
    "verification/inputs/calls.py": ("verification/test_comparison.py", "calls are seen where they are compared"),
    "verification/runtimes/onnxruntime.py": ("verification/test_comparison.py", "what every comparison runs in"),
}
"""The modules without a file of tests of their own, where they are tested, and why there."""

BESIDE = {
    "analysis/rules/test_refusals.py": "what every rule does with what it does not understand",
    "analysis/rules/test_over_candidates.py": "what every rule does along the axis of the candidates",
    "cli/test_sample.py": "the commands as a user runs them, with nothing replaced",
    "emission/test_determinism.py": "the written bytes, whatever ran before",
    "verification/test_mutations.py": "the verification as a whole: damage is seen",
}
"""The files in mirrored folders that test no single module."""


def _test_of(module: Path) -> Path:
    """The file that holds a module's tests, if it has one of its own."""
    name = module.parent.name or "mari_onnx" if module.name == "__init__.py" else module.stem
    return module.parent / f"test_{name}.py"


def _modules() -> dict[Path, int]:
    """The modules, and how many lines they have."""
    paths = sorted(SOURCES.rglob("*.py"))
    return {path.relative_to(SOURCES): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}


def test_every_module_is_tested_in_the_file_of_its_name() -> None:
    large = {module for module, lines in _modules().items() if lines > TRIVIAL}
    without = {str(module) for module in large if not (TESTS / _test_of(module)).exists()}
    assert without - ELSEWHERE.keys() == set(), (
        "a module has no tests of its own, and no entry that says where they are"
    )
    assert ELSEWHERE.keys() - without == set(), "a module is gone, is trivial, or has tests of its own by now"


def test_what_is_tested_elsewhere_is_tested_there() -> None:
    assert [path for path, _ in ELSEWHERE.values() if not (TESTS / path).exists()] == []


def test_every_file_of_tests_is_of_a_module() -> None:
    folders = {module.parent for module in _modules()} - {Path()}
    found = {path.relative_to(TESTS) for folder in folders for path in (TESTS / folder).glob("test_*.py")}
    expected = {_test_of(module) for module in _modules()}
    assert {str(path) for path in found - expected} == BESIDE.keys()
