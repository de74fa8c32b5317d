"""A function on the way from the user to the candidates is read as its nodes; any other call stays a call."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx import optimize
from mari_onnx.ir.extents import symbol
from tests.graphs import STYLES, integers, ranking, rewrite, rewrite_and_check

B = symbol("B")
styles = pytest.mark.parametrize("style", STYLES)

FUNCTIONS = (
    """<domain: "acme", opset_import: ["" : 17, "acme" : 1]> Dense <k> (a, w) => (r) {
        p = MatMul (a, w) q = acme.Act <k = @k> (p) r = Neg (q) }""",
    """<domain: "acme", opset_import: ["" : 17]> Act <k> (a) => (r) { r = LeakyRelu <alpha : float = @k> (a) }""",
    """<domain: "acme", opset_import: ["" : 17]> Join (a, b) => (r) { r = Concat <axis = 1> (a, b) }""",
    """<domain: "acme", opset_import: ["" : 17]> Rows (a) => (r) {
        s = Shape (a) one = Constant <value_ints = [1]> () zero = Constant <value_ints = [0]> ()
        n = Slice (s, zero, one) m = Constant <value_ints = [4]> () r = Concat <axis = 0> (n, m) }""",
)


def model(style: str, body: str, functions: tuple[str, ...] = FUNCTIONS, **constants: Any) -> onnx.ModelProto:
    proto = ranking(style, body, domains=', "acme" : 1', **constants)
    proto.functions.extend(map(onnx.parser.parse_function, functions))
    return proto


DENSE = "acme.Dense <k = 0.5>"


@styles
def test_a_function_of_both_sides(style: str) -> None:
    body = f"x = acme.Join (user, item) y = {DENSE} (x, w)"
    result = rewrite_and_check(model(style, body, w=integers(7, 6)))
    assert any(r.forms == "[B 6] = user () + item (B)" or "user (R)" in r.forms for r in result.remarks)
    assert "Dense" not in result.ops
    assert len(result.model.functions) == 4


@styles
def test_a_function_of_the_users(style: str) -> None:
    """It is computed once, whichever way the user's rows come; the item's stays a call."""
    body = f"h = {DENSE} (user, v) i = {DENSE} (item, u) y = Add (h, i)"
    result = rewrite_and_check(model(style, body, v=integers(4, 5), u=integers(3, 5)))
    assert B not in result.program.values["h"].array.tensor.known_shape
    assert result.ops.count("Dense") == 1


def test_a_call_on_one_row_stays_a_call() -> None:
    body = f"h = {DENSE} (user_row, v) x = Expand (h, five) z = Concat <axis = 1> (x, item) y = Neg (z)"
    proto = model("one", body.replace("five", "t5"), v=integers(4, 5), t5=[1, 5])
    assert "Dense" in rewrite(proto).ops


def test_a_shape_that_a_function_computes() -> None:
    body = "t = acme.Rows (item) u = Expand (user_row, t) x = Concat <axis = 1> (u, item) y = MatMul (x, w)"
    result = rewrite_and_check(model("one", body, w=integers(7, 2)))
    assert [r.forms for r in result.remarks] == ["[B 2] = user () + item (B)"]


def test_the_graph() -> None:
    body = f"x = acme.Join (user, item) y = {DENSE} (x, w)"
    assert rewrite_and_check(model("one", body, w=integers(7, 6))).graph == [
        "y/p.user [1 6] = Gemm (user_row, w.user)",
        "y/p [B 6] = Gemm (item, w.item, y/p.user)",
        "y/q [B 6] = LeakyRelu (y/p)",
        "y [B 6] = Neg (y/q)",
    ]


def test_two_calls_of_one_function() -> None:
    body = f"x = acme.Join (user, item) a = {DENSE} (x, w) b = {DENSE} (x, v) y = Sub (a, b)"
    result = rewrite_and_check(model("one", body, w=integers(7, 6), v=integers(7, 6, seed=1)))
    names = [o for n in result.model.graph.node for o in n.output]
    assert len(names) == len(set(names))


def test_a_function_of_another_opset() -> None:
    older = tuple(text.replace('["" : 17]> Join', '["" : 16]> Join') for text in FUNCTIONS)
    result = rewrite(model("one", "x = acme.Join (user, item) y = MatMul (x, w)", older, w=integers(7, 6)))
    assert result.refusals("Join") == ["the function Join has opset 16 of ai.onnx, and the model 17"]


def test_the_whole_model_is_verified() -> None:
    body = f"x = acme.Join (user, item) y = {DENSE} (x, w)"
    proto = model("tiled", body, user="float[64]", item="float[32]", w=integers(96, 64).astype(np.float32))
    result = optimize(proto, user_inputs=["user"])
    assert result.changed
    assert result.report.verification is not None
    assert result.report.verification.passed
