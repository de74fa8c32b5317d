"""What is written is in the model's own opset: valid, and loaded by onnxruntime; what that has not is not written."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import UserError
from tests.graphs import MANY, integers, parse, rewrite_and_check
from tests.runtime import NEWEST_OPSET

OPSETS = (7, 8, 9, 10, 11, 13, 14, 15, 18, 21, NEWEST_OPSET)
"""The oldest, those in which an operator that is written becomes another one, and the newest."""

AXES: dict[str, int] = {"ReduceSum": 13, "ReduceMax": 18, "Unsqueeze": 13, "Slice": 10, "Split": 13}
"""The opset from which an operator takes its axes, or what it cuts at, as an input."""


def along(op_type: str, x: str, axis: str, opset: int, **more: str) -> str:
    """The operator along axis `axis`, with its axes where the opset has them."""
    given = ", ".join(f"{name} = {value}" for name, value in more.items())
    if opset >= AXES[op_type]:
        return f"{op_type} <{given}> ({x}, {axis})" if given else f"{op_type} ({x}, {axis})"
    axes = f"axes = [{'1' if axis == 'one' else '2'}]"
    return f"{op_type} <{axes}{', ' if given else ''}{given}> ({x})"


def body(kind: str, opset: int) -> tuple[str, str]:
    """What a graph of a tiled user [B, 4, 3] and an item [B, 3] computes, and its outputs."""
    q = f"q = {along('Unsqueeze', 'item', 'one', opset)}"
    mean = along("ReduceSum", "user", "one", opset, keepdims="0")
    match kind:
        case "product":
            return f"s = {mean} x = Concat <axis = 1> (s, item) z = MatMul (x, w) y = Add (z, b)", "float[B, 5] y"
        case "gemm":
            return f"s = {mean} x = Concat <axis = 1> (s, item) y = Gemm (x, w, b)", "float[B, 5] y"
        case "expanded output":
            return f"{q} s = {mean} z = Relu (s) y = Mul (user, q)", "float[B, 4, 3] y, float[B, 3] z"
        case "sequence":
            steps = f"{q} m = Mul (user, q) d = Sub (user, q) x = Concat <axis = 2> (user, m, d)"
            return f"{steps} r = Reshape (x, rows) p = MatMul (r, v) y = Reshape (p, steps)", "float[B, 4, 5] y"
        case "extreme":
            most = along("ReduceMax", "x", "one", opset, keepdims="1")
            return f"s = {mean} x = Concat <axis = 1> (s, item) y = {most}", "float[B, 1] y"
        case "rows":
            return "t = Transpose <perm = [1, 0, 2]> (user) y = Relu (t)", "float[4, B, 3] y"
        case "product of halves":
            cut = (
                "Slice (x, two, five, one)" if opset >= AXES["Slice"] else "Slice <axes=[1], starts=[2], ends=[5]> (x)"
            )
            return f"s = {mean} x = Concat <axis = 1> (s, item) c = {cut} y = MatMul (c, h)", "float[B, 5] y"
        case _:
            return f"s = {mean} x = Max (s, item) k = Min (x, s) y = Sum (k, item)", "float[B, 3] y"


KINDS = ("product", "gemm", "expanded output", "sequence", "extreme", "rows", "product of halves", "variadic")

CONSTANTS: dict[str, Any] = {
    "w": integers(6, 5), "b": integers(5), "v": integers(9, 5), "h": integers(3, 5), "rows": [-1, 9],
    "steps": [-1, 4, 5], "one": [1], "two": [2], "five": [5],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("opset", "ir"), [*((opset, 8) for opset in OPSETS), *((opset, 3) for opset in OPSETS[:4])])
def test_each_opset(opset: int, kind: str, ir: int) -> None:
    """Before IR version 4 stored tensors are inputs, so that new ones are Constants, of floats alone before opset 9."""
    nodes, outputs = body(kind, opset)
    used = {name: value for name, value in CONSTANTS.items() if f"{name})" in nodes or f"{name}," in nodes}
    text = f"g (float[B, 4, 3] user, float[B, 3] item) => ({outputs}) {{ {nodes} }}"
    proto = parse(text, opset=opset, ir=ir if ir == 3 else 8 if opset < 21 else 10, **used)
    if ir == 3:
        infos = (onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in proto.graph.initializer)
        proto.graph.input.extend(infos)
    result = rewrite_and_check(proto, ["user"])
    onnx.checker.check_model(result.model, full_check=True)


EXPANDED = """g (float[B, 4] user, float[B, 4] item) => (float[B, 4] y, float[B, 4] z) {
    z = MatMul (user, w) y = Mul (z, item) }"""


def test_expand_before_its_opset_is_tile() -> None:
    assert "Tile" in rewrite_and_check(parse(EXPANDED, opset=7, w=integers(4, 4)), ["user"]).ops


def test_nothing_is_written_before_operators_broadcast() -> None:
    """The Identity of what the user alone gives would be an Expand, which opset 6 does not have."""
    text = """g (int64[B] user, int64[B] item) => (float[B, 8] y) {
        u = Gather (t, user) i = Gather (t, item) y = Concat <axis = 1> (u, i) }"""
    made = mari_onnx.optimize(parse(text, opset=6, ir=4, t=integers(3, 4)), user_inputs=["user"], batch=MANY)
    assert not made.changed


def of_float8(**options: Any) -> Any:
    text = """g (float[1, 40] user, float[B, 8] item) => (float8e4m3fn[B, 40] u, float[B, 40] y) {
        s = Shape (item) b = Gather (s, zero) t = Concat <axis = 0> (b, width) p = MatMul (user, w) e = Expand (p, t)
        u = Cast <to = 17> (e) m = MatMul (item, v) y = Add (e, m) }"""
    constants: dict[str, Any] = {"zero": [0], "width": [40], "w": integers(40, 40), "v": integers(8, 40)}
    return mari_onnx.optimize(parse(text, opset=21, ir=10, **constants), batch=MANY, verify=False, **options)


def test_what_no_opset_has_is_not_written() -> None:
    """Expand of float8, of which a Cast of the user's row alone would have to be expanded."""
    made = of_float8()
    assert not made.changed
    assert any("has no Expand of float8e4m3fn" in remark.reason for remark in made.report.remarks)


def test_what_is_demanded_and_not_there_is_an_error() -> None:
    text = """g (float[B, 4] user, float[B, 4] item) => (float[B, 8] y) {
        z = Identity (user) y = Concat <axis = 1> (z, item) }"""
    proto = parse(text, opset=6, ir=4)
    with pytest.raises(UserError, match="the model has opset 6, and nothing is written for one before 7"):
        mari_onnx.split(proto, user_inputs=["user"], verify=False)


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_a_tensor_without_elements(opset: int) -> None:
    """A Reshape to 0 copies an extent before opset 14, and onnxruntime takes the 0 of an Expand for a 1."""
    total = "ReduceSum (k, one)" if opset >= 13 else "ReduceSum <axes = [1]> (k)"
    text = f"""g (float[1, 1, 4] user, float[B, 4] item) => (float[B, 0, 4] k, float[B, 1, 4] y) {{
        s = Shape (item) b = Gather (s, zero) t = Concat <axis = 0> (b, rest) k = Expand (user, t) y = {total} }}"""
    constants: dict[str, Any] = {"zero": [0], "rest": [0, 4]} | ({"one": [1]} if opset >= 13 else {})
    result = rewrite_and_check(parse(text, opset=opset, **constants))
    assert "ConstantOfShape" in result.ops


def test_a_declared_extent_of_0() -> None:
    text = """g (float[B, 0] none, float[B, 4] user, float[B, 3] item) => (float[B, 2] y) {
        x = Concat <axis = 1> (none, user, item) y = MatMul (x, w) }"""
    rewrite_and_check(parse(text, w=integers(7, 2)), ["user", "none"])


def test_stored_integers_are_exact() -> None:
    """Before opset 9 and IR version 4 they are cast from doubles."""
    proto = parse(EXPANDED, opset=7, ir=3, w=integers(4, 4))
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 4]))
    result = rewrite_and_check(proto, ["user"])
    stored = [onnx.numpy_helper.to_array(n.attribute[0].t) for n in result.model.graph.node if n.op_type == "Constant"]
    assert stored and all(array.dtype == np.float64 for array in stored)
