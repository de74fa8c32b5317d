"""The table of operators says of each what ONNX's own schemas say, in every opset, and misses none that has a rule."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime

from mari_onnx.analysis import rules
from mari_onnx.analysis.shape_values import EVALUATORS
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.operators import (
    CLASSICAL,
    CLASSICAL_OPERATORS,
    FUSED_OPERATORS,
    NEVER,
    ONNXRUNTIME,
    OPERATORS,
    domain_of,
    named,
    traits_of,
)

OLDEST, NEWEST = 7, onnx.defs.onnx_opset_version()

GRAPHS = Path(__file__).parents[1] / "property"
CHECKS = ("seen.py", "invariant.py")
"""What checks random graphs, and names operators without writing them."""


def schemas(op_type: str) -> Iterator[tuple[int, onnx.defs.OpSchema]]:
    """The schema of each opset that has the operator."""
    for opset in range(OLDEST, NEWEST + 1):
        if onnx.defs.has(op_type, opset):
            yield opset, onnx.defs.get_schema(op_type, opset)


def test_each_operator_with_a_rule_has_a_row() -> None:
    assert set(rules.RULES) | set(EVALUATORS) <= set(OPERATORS)
    assert set(rules.FUSED) == set(FUSED_OPERATORS)
    assert set(rules.CLASSICAL_RULES) == set(CLASSICAL_OPERATORS)


@pytest.mark.parametrize("op_type", OPERATORS)
def test_the_number_of_inputs_is_the_schemas(op_type: str) -> None:
    known = [schema for _, schema in schemas(op_type)]
    said = (min(schema.min_input for schema in known), max(schema.max_input for schema in known))
    assert (OPERATORS[op_type].least, OPERATORS[op_type].most) == said


@pytest.mark.parametrize("op_type", FUSED_OPERATORS)
def test_the_number_of_inputs_is_onnxruntimes(op_type: str) -> None:
    every = onnxruntime.get_all_operator_schema()
    (schema,) = (s for s in every if (domain_of(s.name, s.domain), s.name) == (ONNXRUNTIME, op_type))
    assert (FUSED_OPERATORS[op_type].least, FUSED_OPERATORS[op_type].most) == (schema.min_input, schema.max_input)


@pytest.mark.parametrize("op_type", CLASSICAL_OPERATORS)
def test_the_number_of_inputs_is_that_of_classical_machine_learning(op_type: str) -> None:
    schema, traits = onnx.defs.get_schema(op_type, domain=CLASSICAL), CLASSICAL_OPERATORS[op_type]
    assert (traits.least, traits.most) == (schema.min_input, schema.max_input)


@pytest.mark.parametrize("op_type", OPERATORS)
def test_the_default_axis_is_the_schemas(op_type: str) -> None:
    for opset, schema in schemas(op_type):
        axis = schema.attributes.get("axis")
        said = None if axis is None or not axis.default_value.name else axis.default_value.i
        if op_type in ("DequantizeLinear", "QuantizeLinear") and opset < 13:
            continue  # scales for each channel came with opset 13, and the axis with them
        assert OPERATORS[op_type].default_axis(opset) == said, opset


@pytest.mark.parametrize("op_type", OPERATORS)
def test_axes_are_an_input_from_the_opset_on_in_which_the_schema_has_it(op_type: str) -> None:
    """Those of Pad are an input in every opset that has them, and those of MeanVarianceNormalization in none."""
    known = dict(schemas(op_type))
    attribute = {opset for opset, schema in known.items() if "axes" in schema.attributes}
    given = {opset for opset, schema in known.items() if any(i.name == "axes" for i in schema.inputs)}
    moved = min(given) if attribute and given else NEVER
    assert OPERATORS[op_type].axes_input_from == moved


@pytest.mark.parametrize("op_type", sorted(named(lambda t: t.elementwise)))
def test_the_result_has_the_type_that_the_schema_says(op_type: str) -> None:
    schema = onnx.defs.get_schema(op_type, NEWEST)
    result, inputs = schema.outputs[0].type_str, [i.type_str for i in schema.inputs]
    match OPERATORS[op_type].result:
        case "boolean":
            allowed = {c.type_param_str: list(c.allowed_type_strs) for c in schema.type_constraints}
            assert allowed.get(result, [result]) == ["tensor(bool)"]
        case "to":
            assert schema.attributes["to"].required
            assert result not in inputs
        case "first":
            assert result == inputs[0]
        case "second":
            assert result == inputs[1] != inputs[0]


MOVED: dict[str, Callable[[Builder, Tensor], Tensor]] = {
    "Reshape": lambda b, x: b.reshape(x, (3, 2)),
    "Expand": lambda b, x: b.expand(b.reshape(x, (1, 2, 3)), (2, 2, 3)),
    "Transpose": lambda b, x: b.transpose(x, (1, 0)),
    "Concat": lambda b, x: b.concat([x, x], 1),
    "Gather": lambda b, x: b.take(x, b.constant(np.array([2, 0])), 1),
    "Slice": lambda b, x: b.slice(x, 1, 0, 2),
}
FOLDED: dict[str, Any] = {
    "Reshape": [[0, 1], [2, 3], [4, 5]],
    "Expand": [[[0, 1, 2], [3, 4, 5]]] * 2,
    "Transpose": [[0, 3], [1, 4], [2, 5]],
    "Concat": [[0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, 5]],
    "Gather": [[2, 0], [5, 3]],
    "Slice": [[0, 1], [3, 4]],
}


@pytest.mark.parametrize("op_type", sorted(named(lambda t: t.foldable)))
def test_what_is_foldable_is_evaluated(op_type: str) -> None:
    b = Builder()
    moved = MOVED[op_type](b, b.constant(np.arange(6).reshape(2, 3)))
    assert (moved.op_type, moved.stored) == (op_type, True)
    assert fold(moved, onnx.numpy_helper.to_array).tolist() == FOLDED[op_type]


def test_softmax_works_along_one_axis_since_opset_13() -> None:
    softmax = OPERATORS["Softmax"]
    assert [softmax.default_axis(opset) for opset in (12, 13)] == [1, -1]


def test_an_operator_belongs_to_its_domain() -> None:
    assert traits_of("Attention", "ai.onnx") is OPERATORS["Attention"]
    assert traits_of("Attention", ONNXRUNTIME) is FUSED_OPERATORS["Attention"]
    assert traits_of("Relu", "another") is None


def test_a_random_graph_may_have_each_operator_with_a_rule() -> None:
    """Its name stands in a string of what writes the operators of random graphs."""
    written = {word for text in strings(GRAPHS) for word in text.split()}
    assert set(rules.RULES) | set(rules.FUSED) | set(rules.CLASSICAL_RULES) <= written


def strings(folder: Path) -> Iterator[str]:
    """Every string in what writes random graphs."""
    for path in folder.rglob("*.py"):
        if path.name.startswith("test_") or path.name in CHECKS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
