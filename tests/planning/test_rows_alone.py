"""Rows that are read alone: what works row by row computes no other row, and these are the same."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.expressions import Node
from mari_onnx.ir.extents import symbol
from mari_onnx.planning.plan import Plan
from mari_onnx.planning.rows_alone import DEEPEST, Rows
from mari_onnx.planning.search import best_plan
from tests.graphs import MANY, STYLES, Rewritten, integers, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)

STEPS, WIDTH, INNER = 6, 4, 32
"""The user's history has one step less: the last one is the candidate."""

BOTH = "i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i)"
LAYER = "f = MatMul (m, w1) g = Relu (f) z = MatMul (g, w2)"
LAST = "y = Gather <axis = 1> (z, last)"

CONSTANTS: dict[str, Any] = {
    "one": [1],
    "last": np.array(STEPS - 1),
    "w": integers(WIDTH, WIDTH),
    "w1": integers(WIDTH, INNER, seed=1),
    "w2": integers(INNER, WIDTH, seed=2),
    "c": integers(WIDTH, seed=3),
    "c1": integers(STEPS, 1, seed=4),
    "c2": integers(1, STEPS, WIDTH, seed=5),
    "mask": np.arange(STEPS).reshape(STEPS, 1) % 2 == 0,
    "low": np.array(0, np.float32),
    "two": np.array(2, np.float32),
    "nil": np.array(0, np.int8),
    "nils": np.arange(STEPS, dtype=np.int8),
    "w8": integers(WIDTH, WIDTH, seed=7).astype(np.int8),
    "scales": np.arange(1, STEPS + 1, dtype=np.float32),
    "start": [1],
    "stop": [3],
    "lines": [-1, WIDTH],
    "first": [STEPS, -1, WIDTH],
    "heads": [0, STEPS, 2, 2],
    "beside": [0, STEPS, WIDTH],
    "mixes": integers(STEPS, STEPS, seed=6),
}

MIXED = "k = Transpose <perm = [0, 2, 1]> (x) s = MatMul (x, k) r = Relu (s) a = MatMul (r, x)"
"""All steps see all: behind this, each varies with the candidate."""


def model_of(style: str, body: str, *, output: str = f"float[B, {WIDTH}] y") -> onnx.ModelProto:
    words = set(re.findall(r"\w+", body))
    constants = {name: c for name, c in CONSTANTS.items() if name in words}
    types: dict[str, Any] = {"user": f"float[{STEPS - 1}, {WIDTH}]", "item": f"float[{WIDTH}]", "output": output}
    return ranking(style, body.replace("ms.", "com.microsoft."), **types, domains=', "com.microsoft" : 1', **constants)


def _of_inner(plan: Plan, elements: int) -> list[Node]:
    """The products with the layer's second weight that have so many elements for each candidate."""
    products = [node for node in plan.lowered.nodes if node.op_type in ("MatMul", "Gemm")]
    second = [node for node in products if node.inputs[1] is not None and node.inputs[1].shape == (INNER, WIDTH)]
    return [node for node in second if plan.cost.elements(node.outputs[0].shape) == elements * plan.cost.batch]


def layers(result: Rewritten) -> set[int]:
    """How many rows for each candidate go through the layer."""
    return {rows for rows in range(STEPS + 1) if _of_inner(result.plan, WIDTH * rows)}


STEP_BY_STEP = {
    "nothing": "m = Identity (a)",
    "a product": "m = MatMul (a, w)",
    "elements": "b = Add (a, c) d = Mul (c1, b) e = Sub (d, c2) m = Clip (e, low)",
    "a choice": "m = Where (mask, a, c)",
    "softmax": "m = Softmax <axis = -1> (a)",
    "a norm": "m = LayerNormalization (a, c, c)",
    "a mean, kept": "b = ReduceMean <axes = [2]> (a) m = Sub (a, b)",
    "steps first": "t = Transpose <perm = [1, 0, 2]> (a) b = Reshape (t, lines) d = Gemm (b, w, c) "
    "e = Reshape (d, first) m = Transpose <perm = [1, 0, 2]> (e)",
    "integers and back": "b = QuantizeLinear (a, two, nil) m = DequantizeLinear (b, two, nil)",
    "a fused norm": "m = ms.SkipLayerNormalization (a, x, c, c)",
    "a fused norm of a table": "m = ms.SkipSimplifiedLayerNormalization (a, c2, c)",
    "a fused bias": "m = ms.BiasGelu (a, c)",
    "a fused product": "m = ms.FusedMatMul <alpha = 0.5, transB = 1> (a, w)",
    "a product of integers": "b = QuantizeLinear (a, two, nil) d = MatMulInteger (b, w8, nil) m = Cast <to = 1> (d)",
    "a product on integers": "b = QuantizeLinear (a, two, nil) d = QLinearMatMul (b, two, nil, w8, two, nil, two, nil) "
    "m = DequantizeLinear (d, two, nil)",
    "heads": "b = Reshape (a, heads) d = Relu (b) m = Reshape (d, beside)",
    "columns of two": "b = Concat <axis = 2> (a, x) w3 = Concat <axis = 0> (w, w) m = MatMul (b, w3)",
}


@styles
@pytest.mark.parametrize("steps", STEP_BY_STEP.values(), ids=list(STEP_BY_STEP))
def test_one_row_is_computed(style: str, steps: str) -> None:
    result = rewrite_and_check(model_of(style, f"{BOTH} {MIXED} {steps} {LAYER} {LAST}"), rtol=1e-5)
    assert layers(result) == {1}


@styles
def test_there_is_one_query(style: str) -> None:
    result = rewrite_and_check(model_of(style, f"{BOTH} {MIXED} m = Identity (a) {LAYER} {LAST}"))
    assert result.plan.work.macs < result.plan.program.work.macs / 4


@styles
def test_neighbouring_rows(style: str) -> None:
    cut = "y = Slice (z, start, stop, one)"
    body = f"{BOTH} {MIXED} m = Identity (a) {LAYER} {cut}"
    assert layers(rewrite_and_check(model_of(style, body, output=f"float[B, 2, {WIDTH}] y"))) == {2}


ALONG_THE_ROWS = {
    "softmax": "m = Softmax <axis = 1> (a)",
    "a norm of all": "m = LayerNormalization <axis = 1> (a, c2)",
    "a sum": "b = ReduceSum (a, one) m = Add (a, b)",
    "a fused mix": "t = Transpose <perm = [1, 0]> (mixes) m = ms.FusedMatMul <transA = 1> (t, a)",
    "a mix": "m = MatMul (mixes, a)",
    "a scale for each": "b = QuantizeLinear <axis = 1> (a, scales) m = DequantizeLinear <axis = 1> (b, scales)",
    "a running sum": "n = Squeeze (one) m = CumSum (a, n)",
}


@pytest.mark.parametrize("steps", ALONG_THE_ROWS.values(), ids=list(ALONG_THE_ROWS))
def test_what_reads_all_rows_is_computed_of_all(steps: str) -> None:
    """But not what is behind."""
    body = f"{BOTH} {MIXED} {steps} {LAYER} {LAST}"
    assert layers(rewrite_and_check(model_of("one", body), rtol=1e-4)) == {1}


def test_a_zero_point_for_each_row() -> None:
    """ONNX has it, and onnxruntime does not run it on the CPU."""
    steps = "b = QuantizeLinear (a, two, nil) d = MatMulInteger (b, w8, nils) m = Cast <to = 1> (d)"
    result = rewrite(model_of("one", f"{BOTH} {MIXED} {steps} {LAYER} {LAST}"))
    assert any("d [B 6 4] = MatMulInteger" in line for line in result.graph)


@styles
def test_rows_that_others_read_are_not_computed_twice(style: str) -> None:
    body = f"{BOTH} {MIXED} m = Identity (a) {LAYER} p = Gather <axis = 1> (z, last) q = ReduceMax <axes = [1], "
    body += "keepdims = 0> (z) y = Add (p, q)"
    result = rewrite_and_check(model_of(style, body))
    assert layers(result) == {STEPS}


def test_a_node_that_is_left_whole_computes_all_rows() -> None:
    """A rewrite that failed its verification is left out, from the node on that it failed by."""
    model = Model(from_proto(model_of("one", f"{BOTH} {MIXED} m = Identity (a) {LAYER} {LAST}")))
    reading = read(model, roles_of(model, (), MANY))
    left = replace(reading, premises=replace(reading.premises, whole=frozenset({"z"})))
    assert [len(_of_inner(best_plan(each, MANY), WIDTH * STEPS)) for each in (reading, left)] == [0, 1]


def test_more_layers_than_are_looked_through() -> None:
    deep = " ".join(f"d{i + 1} = Relu (d{i})" for i in range(3 * DEEPEST))
    body = f"{BOTH} {MIXED} d0 = Identity (a) {deep} m = MatMul (d{3 * DEEPEST}, w) {LAYER} {LAST}"
    assert layers(rewrite_and_check(model_of("one", body))) == {1}


def test_rows_beside_another_axis() -> None:
    batch = symbol("B")
    rows = Rows(0, 5, 6, 6, after=batch)
    assert (rows.alone, rows.of((6 * batch, 4))) == (False, (batch, 4))
    assert Rows(1, 2, 4, 6).of((batch, 6, 4)) == (batch, 2, 4)
