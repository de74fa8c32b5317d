"""A slice of the suite, the same each time; `make suite` runs all of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache

import pytest

from tests.suite.node_tests import NodeTest, node_tests
from tests.suite.runs import FINE, examine
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
