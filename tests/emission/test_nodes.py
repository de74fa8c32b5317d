"""Nodes are written in the operators of the model's own opset, and in such that runtimes survive."""

from __future__ import annotations

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
