"""What is noted of new tensors, and which nodes are taken for the original ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.emission.models import model
from tests.graphs import integers, ranking, rewrite_and_check


def test_shapes_are_written_of_matrices_alone() -> None:
    """Those of more dimensions would have onnxruntime fuse Add and LayerNormalization, which makes them slower."""
    body = """
        x = Concat <axis = 1> (user, item) h = MatMul (x, w) f = Reshape (h, halves)
        g = Transpose <perm = [0, 2, 1]> (f) s = Add (f, g) n = LayerNormalization (s, scale) y = Flatten (n)
    """
    constants: dict[str, Any] = {"halves": [0, 2, 2], "w": integers(7, 4), "scale": np.ones(2, np.float32)}
    result = rewrite_and_check(ranking("one", body, **constants), rtol=1e-5).model
    ranks = {len(v.type.tensor_type.shape.dim) for v in result.graph.value_info}
    assert ranks == {2}
    assert "LayerNormalization" in [n.op_type for n in result.graph.node]


def test_what_is_new_is_described() -> None:
    result = rewrite_and_check(model())
    infos = {
        v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim]
        for v in result.model.graph.value_info
    }
    user = result.nodes("Gemm")[0].output[0]
    assert infos[user] == [1, 2]


@pytest.mark.parametrize(
    ("style", "opset", "item", "body", "output"),
    [
        ("one", 17, "float[3]", "a = Concat <axis = -1> (item, item) x = Concat <axis = 1> (user, item) y = Add (x, w)",
         "float[B, 7] y, float[B, 6] a"),
        ("requests", 17, "float[3]", "x = Concat <axis = 1> (user, item) a = Identity (item) y = Add (x, w)",
         "float[B, 7] y, float[B, 4] user, float[B, 3] a"),
        ("one", 17, "float[4]", "r = Relu (item) a = Relu (item) n = Neg (r) y = Mul (n, user)",
         "float[B, 4] y, float[B, 4] a"),
        ("one", 17, "float[4]", "y = Mul (user, item) a = Transpose (item)", "float[B, 4] y, float[4, B] a"),
        ("one", 12, "float[L]", "y = Identity (user) a = Unsqueeze <axes = [-2]> (item)",
         "float[B, 4] y, float[B, 1, L] a"),
        ("tiled", 17, "float[4]", "a = Relu (user) h = MatMul (a, w4) y = Mul (h, item)",
         "float[B, 4] y, float[B, 4] a"),
    ],
)  # fmt: skip
def test_what_was_not_rewritten_keeps_its_name_and_documentation(
    style: str, opset: int, item: str, body: str, output: str
) -> None:
    """What we would have written just so, however it leaves out defaults, and one of two that compute the same."""
    constants: dict[str, Any] = {"w": integers(7), "w4": integers(4, 4)}
    used = {name: value for name, value in constants.items() if f"{name})" in body}
    model = ranking(style, body, item=item, output=output, opset=opset, **used)
    for node in model.graph.node:
        node.name, node.doc_string = f"layer/{node.output[0]}", "as exported"
    result = rewrite_and_check(model).model
    before = {(n.op_type, *n.input, *n.output): n for n in model.graph.node}
    kept = {n.output[0] for n in result.graph.node if before.get((n.op_type, *n.input, *n.output)) == n}
    assert "a" in kept
    assert kept >= {n.output[0] for n in result.graph.node if (n.op_type, *n.input, *n.output) in before}
