"""The structural difference of two models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mari_onnx.document.read import as_document
from mari_onnx.report.model import Change, Structure
from mari_onnx.verification.compare.structure import structural_difference
from tests.verification import models
from tests.verification.models import parse


def difference(first: onnx.ModelProto, second: onnx.ModelProto) -> Structure:
    return structural_difference(as_document(first), as_document(second))


def test_nothing_is_different() -> None:
    found = difference(models.tower(), models.tower())
    assert (found.kept, found.changes) == (5, ())
    assert found.initializer_bytes[0] == found.initializer_bytes[1] == 4 * (11 * 8 + 8 + 8)


def test_a_product_that_was_split() -> None:
    found = difference(models.tower(), models.split_tower())
    assert found.kept == 4  # Concat, Relu, MatMul and Sigmoid
    assert found.changes == (Change("Gemm", "", 1, 0, 1), Change("Slice", "", 2, 0, 0))
    assert (found.initializers_added, found.initializers_removed, found.initializers_changed) == (6, 1, 0)


def test_weights_that_changed() -> None:
    found = difference(models.tower(), models.tower(w=models.W * 2))
    assert (found.kept, found.changes, found.initializers_changed) == (5, (), 1)


def test_scopes_and_attributes() -> None:
    first = parse("f (float[B] x) => (float[B] y) { h = Elu <alpha = 1.0> (x) y = Relu (h) }")
    second = parse("f (float[B] x) => (float[B] y) { h = Elu <alpha = 0.5> (x) y = Relu (h) }")
    for model in (first, second):
        model.graph.node[0].name = "/tower/fc/Elu"
    assert difference(first, second).changes == (Change("Elu", "/tower/fc", 0, 0, 1),)


def test_a_node_is_found_by_its_name_where_its_output_has_another() -> None:
    first = parse("f (float[B] x) => (float[B] y) { h = Relu (x) y = Relu (h) }")
    second = parse("f (float[B] x) => (float[B] y) { k = Relu (x) y = Relu (k) }")
    first.graph.node[0].name = second.graph.node[0].name = "first"
    assert difference(first, second).changes == (Change("Relu", "", 0, 0, 2),)


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_bytes(dtype: type) -> None:
    model = parse("f (float[B] x) => (float[B] y) { s = Size (w) y = Relu (x) }", w=np.zeros((3, 5), dtype))
    assert difference(model, model).initializer_bytes == (15 * np.dtype(dtype).itemsize,) * 2
