"""Weights of large models in a file: the same model, and each weight once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.document import Document
from mari_onnx.document.external import LARGE, is_external
from mari_onnx.document.read import from_proto
from mari_onnx.verification import procedure
from mari_onnx.verification.mapped import mapped
from tests.verification.models import parse


def model(factor: float = 1.0) -> onnx.ModelProto:
    table = np.arange(LARGE, dtype=np.float32).reshape(-1, 16)
    return parse(
        """f (int64[B] ids, float[B, 16] x) => (float[B, 16] y) {
            e = Gather (table, ids) s = Add (e, x) y = Mul (s, w)
        }""",
        table=table,
        other=table * np.float32(factor),
        w=np.ones(16, np.float32),
    )


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Document]:
    monkeypatch.setattr("mari_onnx.verification.mapped.LARGE_MODEL", LARGE)
    return mapped([from_proto(model()), from_proto(model(2.0))], tmp_path)


def test_large_weights_are_in_a_file(documents: list[Document], tmp_path: Path) -> None:
    """What both models have is there once: three tables of 4 MB, and not four."""
    for document, factor in zip(documents, (1.0, 2.0), strict=True):
        for found, wanted in zip(document.proto.graph.initializer, model(factor).graph.initializer, strict=True):
            assert is_external(found) == (wanted.name != "w")
            np.testing.assert_array_equal(tensor_array(document, found), numpy_helper.to_array(wanted))
    assert (tmp_path / "weights.data").stat().st_size == 3 * 4 * LARGE


def test_the_verdict_is_that_of_the_models_themselves(documents: list[Document]) -> None:
    assert procedure.verify(documents[0], documents[1]).passed


def test_small_models_and_those_with_external_data_stay(tmp_path: Path) -> None:
    small = from_proto(model())
    assert mapped([small], tmp_path) == [small]
    assert not list(tmp_path.iterdir())
