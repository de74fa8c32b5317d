"""Weights are initializers where they may be, and nodes where those would have to be inputs."""

from __future__ import annotations

from typing import Any

from tests.emission.models import as_inputs, model
from tests.graphs import integers, ranking, rewrite_and_check


def test_initializers_of_ir_version_3_are_inputs() -> None:
    """There they have to be: new weights are Constant nodes, and the signature stays."""
    wide: dict[str, Any] = {"user": "float[40]", "w": integers(43, 16), "b": integers(16)}
    proto = as_inputs(model(opset=9, zero=[0], **wide))
    proto.ir_version = 3
    result = rewrite_and_check(proto)
    assert result.model.graph.input == proto.graph.input
    names = {i.name for i in result.model.graph.input}
    assert {t.name for t in result.model.graph.initializer} <= names
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2
    assert {t.name for t in proto.graph.initializer} == {t.name for t in result.model.graph.initializer}


def test_constants_of_nodes() -> None:
    weight = ", ".join(str(int(e)) for e in integers(7, 2).ravel())
    body = f"w = Constant <value = float[7, 2] {{{weight}}}> () k = Constant <value_float = 2.0> () v = Mul (item, k)"
    proto = ranking("one", f"{body} x = Concat <axis = 1> (user, v) y = MatMul (x, w)")
    assert rewrite_and_check(proto).ops.count("Gemm") == 2
