"""Nodes are written in the operators of the model's own opset, and in such that runtimes survive."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.graphs import integers, ranking, rewrite_and_check


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 17, 21])
@pytest.mark.parametrize("style", ["one", "tiled", "requests"])
def test_only_operators_of_the_models_own_opset(opset: int, style: str) -> None:
    """Slice has attributes before 10, Shape a range from 15, Reshape allowzero from 14."""
    body = (
        "x = Concat <axis = 1> (user, item) r = Relu (x) h = MatMul (r, w) z = Concat <axis = 1> (h, user) y = Relu (z)"
    )
    result = rewrite_and_check(ranking(style, body, opset=opset, w=integers(7, 2)))
    assert {o.version for o in result.model.opset_import} == {opset}
    assert result.model.ir_version == 8


def test_onnxruntime_survives_a_transposed_matrix_of_half_precision() -> None:
    """Transpose, Reshape [3 2] to [1 3 2] and MatMul end the process in version 1.32, while it loads the model."""
    body = "t = Transpose <perm = [0, 2, 1]> (user) k = MatMul (t, w) i = Unsqueeze (item, last) y = Mul (k, i)"
    types: dict[str, Any] = {"user": "float16[2, 3]", "item": "float16[3]", "output": "float16[B, 3, 1] y"}
    proto = ranking("one", body, **types, w=integers(2, 1).astype(np.float16), last=[2])
    result = rewrite_and_check(proto)
    assert len(ort.InferenceSession(result.model.SerializeToString()).get_outputs()) == 1
