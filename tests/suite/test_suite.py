"""A slice of the suite, the same each time; `make suite` runs all of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import onnx
import pytest

from tests.graphs import parse
from tests.suite.node_tests import NodeTest, node_tests
from tests.suite.runs import FINE, Outcome, compare, examine, session
from tests.suite.settings import SETTINGS, NotApplicableError, Variation, variations, wrap

MODULES = (
    "add", "clip", "concat", "einsum", "gather", "gemm", "layernormalization", "matmul", "reducemean", "slice",
    "softmax", "transpose", "where",
)  # fmt: skip
"""Modules of onnx with tests that are quick, and on which onnxruntime does not die."""

EACH = 20
"""One of so many variations is run."""


@cache
def some_tests() -> Mapping[str, NodeTest]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return node_tests(MODULES)


def _slice(setting: str) -> Iterator[Variation]:
    found = [v for test in some_tests().values() for v in variations(test) if v.setting == setting]
    return iter(found[list(SETTINGS).index(setting) :: EACH])


@pytest.mark.parametrize("setting", SETTINGS)
def test_node_tests(setting: str) -> None:
    runs = 0
    for variation in _slice(setting):
        try:
            wrapped = wrap(some_tests()[variation.test], variation)
        except NotApplicableError:
            continue
        found = examine(wrapped, lambda phase: None)
        assert found.kind in FINE, f"{variation}: {found.kind}\n{found.detail}"
        runs += found.kind in ("rewritten", "left alone")
    assert runs > 10


def variance(mean: str, off: float = 1.0) -> onnx.ModelProto:
    """E[x^2] - E[x]^2 of numbers near 100, which keeps few of their digits."""
    return parse(
        f"""g (float[B, 64] x) => (float[B, 1] y) {{
            far = Add (x, hundred) square = Mul (far, far) a = ReduceMean <axes = [1]> (square)
            {mean} b = Mul (m, m) v = Sub (a, b) y = Mul (v, off) }}""",
        hundred=np.float32(100), off=np.float32(off), w=np.full((64, 1), 1 / 64, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(("off", "kind"), [(1.0, "rewritten"), (1.001, "wrong")])
def test_what_rounds_otherwise_is_not_wrong(off: float, kind: str) -> None:
    """The original is a thousandth off float64 itself; a result that is a thousandth off in float64 is wrong."""
    model, written = variance("m = ReduceMean <axes = [1]> (far)"), variance("m = MatMul (far, w)", off)
    x = np.random.default_rng(3).normal(size=(50, 64)).astype(np.float32)
    outcome = Outcome("rewritten")
    compare(outcome, model, written, [({"x": x}, session(model).run(None, {"x": x}))])
    assert outcome.kind == kind
