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
    "analysis/all_rows.py": ("analysis/test_turns.py", "nodes on all rows are those of a loop"),
    "analysis/context.py": ("analysis/test_interpret.py", "what rules are given; the interpreter gives it"),
    "analysis/facts.py": ("analysis/rules/test_mask.py", "records that one rule leaves for another"),
    "analysis/offsets.py": ("analysis/test_turns.py", "offsets are those of the bags that a loop goes over"),
    "analysis/rescaling.py": ("analysis/rules/test_quantized.py", "what quantized products make of their sums"),
    "analysis/shape_inference.py": ("analysis/test_interpret.py", "shapes are seen where a program is interpreted"),
    "analysis/without_weight.py": ("analysis/rules/test_blocks.py", "what a mask proves of blocks"),
    "analysis/tiled_inputs.py": (
        "analysis/rules/test_lookup.py",
        "columns as they are sent: what lookups fall back to",
    ),
    "analysis/weight_product.py": ("analysis/rules/test_linear.py", "products that the rules of linear layers write"),
    "cli/calls.py": ("cli/test_verify.py", "options are tried with a command that has them"),
    "cli/policies.py": ("test_policies.py", "each policy is tried in Python and in the command that has it"),
    "cli/output.py": ("cli/test_verify.py", "reports are written and shown by every command; this one has all of it"),
    "cli/options.py": ("cli/test_optimize.py", "options are tried with the command that has all of them"),
    "ir/expressions.py": ("ir/test_builder.py", "expressions are what the builder makes"),
    "planning/kernels/site.py": ("planning/kernels/test_kernels.py", "what kernels are given; every kernel uses it"),
    "report/benchmark.py": ("report/test_as_json.py", "records; their fields are those of the schema"),
    "report/benchmark_words.py": ("report/test_report.py", "tables and verdicts are seen in whole reports"),
    "report/split.py": ("report/test_as_json.py", "records; their fields are those of the schema"),
    "report/survey.py": ("report/test_as_json.py", "records; their fields are those of the schema"),
    "report/survey_words.py": ("survey/test_survey.py", "verdicts are those of surveys of models"),
    "demands.py": ("test_api.py", "keywords are tried with the functions that take them"),
    "report/note.py": ("report/test_as_json.py", "records; their fields are those of the schema"),
    "report/model.py": ("report/test_as_json.py", "records; their fields are those of the schema"),
    "serving/mode.py": ("serving/test_modes.py", "what a mode has to define is seen in each of them"),
    "serving/rows.py": ("serving/test_modes.py", "ways to keep rows are seen in the ways of serving"),
    "cli/engines.py": ("cli/test_replay.py", "options are tried with a command that has them"),
    "report/replay.py": ("report/test_as_json.py", "records; their fields are those of the schema"),
    "report/replay_words.py": ("traffic/test_replay.py", "tables and verdicts are those of replays of logs"),
    "traffic/functions.py": ("traffic/test_replay.py", "the function is what is tested"),
    "traffic/layout.py": ("traffic/test_replay.py", "logs of several layouts are replayed"),
    "traffic/options.py": ("traffic/test_replay.py", "options are those of replays"),
    "traffic/store.py": ("traffic/test_precompute.py", "a store is what is made of a table"),
    "traffic/task.py": ("traffic/test_replay.py", "what a task finds is what the replay reports"),
    "two_models.py": ("test_api.py", "what the functions for two given models do"),
    "verification/compare/allowance.py": ("verification/test_procedure.py", "how far apart models may be: verdicts"),
    "verification/compare/judge.py": ("verification/test_procedure.py", "verdicts are those of whole comparisons"),
    "verification/comparison.py": ("verification/test_procedure.py", "the procedure runs it, and every test with it"),
    "verification/float64/operators.py": ("verification/float64/test_exact.py", "kernels run in an exact model"),
    "verification/float64/recurrent.py": ("verification/float64/test_exact.py", "kernels run in an exact model"),
    "verification/inputs/calls.py": ("verification/test_procedure.py", "calls are seen where they are compared"),
    "verification/inputs/flow.py": ("verification/inputs/test_ranges.py", "ids are followed for their ranges"),
    "verification/inputs/references.py": ("verification/inputs/test_ranges.py", "ids are followed for their ranges"),
    "verification/inputs/tagging.py": ("verification/inputs/test_ranges.py", "ids are followed for their ranges"),
}
"""The modules without a file of tests of their own, where they are tested, and why there."""

BESIDE = {
    "analysis/rules/test_refusals.py": "what every rule does with what it does not understand",
    "analysis/rules/test_over_candidates.py": "what every rule does along the axis of the candidates",
    "analysis/rules/test_sinks.py": "what several rules do of an attention with a sink, or one written out",
    "analysis/rules/test_mixed_heads.py": "what several rules do of heads that a weight mixes",
    "cli/test_sample.py": "the commands as a user runs them, with nothing replaced",
    "emission/test_determinism.py": "the written bytes, whatever ran before",
    "traffic/test_killed.py": "a replay as a process of its own, and what is left of it",
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
