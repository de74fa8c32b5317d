"""Shape arithmetic: each evaluator on integers and symbols, and against onnxruntime on two sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mari_onnx.analysis.shape_values import EVALUATORS, as_content
from mari_onnx.ir.extents import Extent, Poly, evaluate, symbol
from tests import graphs

B, L = symbol("B"), symbol("L")
UNKNOWN = None


def model(body: str, opset: int = 17, **constants: Any) -> onnx.ModelProto:
    """x is [B, 4, L]; s is what is asked for."""
    text = f"g (float[B, 4, L] x, int64[B] ids) => (int64[N] s) {{ shape = Shape (x) {body} }}"
    return graphs.parse(text, opset=opset, **constants)


def content_of(proto: onnx.ModelProto) -> list[Any] | None:
    content = graphs.rewrite(proto).program.values["s"].content
    return None if content is None else content.tolist()


def numbers(content: Any, batch: int, length: int) -> Any:
    if isinstance(content, list):
        return [numbers(e, batch, length) for e in content]
    return evaluate(content, {"B": batch, "L": length}, 0) if isinstance(content, int | Poly) else content


def assert_content(proto: onnx.ModelProto, expected: list[Any] | Extent) -> None:
    assert content_of(proto) == expected
    for batch, length in ((3, 5), (1, 1)):
        x, ids = np.zeros((batch, 4, length), np.float32), np.zeros(batch, np.int64)
        (found,) = graphs.evaluate(proto, {"x": x, "ids": ids})
        assert found.tolist() == numbers(expected, batch, length)


BOOLS = "s = Cast <to = 7> (c)"


@pytest.mark.parametrize(
    ("body", "constants", "expected"),
    [
        ("s = Identity (shape)", {}, [B, 4, L]),
        ("s = Shape <start = 1> (x)", {}, [4, L]),
        ("s = Shape <start = -2, end = -1> (x)", {}, [4]),
        ("n = Size (x) s = Unsqueeze (n, zero)", {"zero": [0]}, [4 * B * L]),
        ("s = Gather (shape, i)", {"i": [-1, 0]}, [L, B]),
        ("e = Gather (shape, i) s = Unsqueeze (e, zero)", {"i": 2, "zero": [0]}, [L]),
        ("s = Slice (shape, a, b)", {"a": [1], "b": [2**63 - 1]}, [4, L]),
        ("s = Slice (shape, a, b, axes, steps)", {"a": [-1], "b": [-99], "axes": [0], "steps": [-1]}, [L, 4, B]),
        ("s = Slice (shape, a, b, axes, steps)", {"a": [0], "b": [3], "axes": [-1], "steps": [2]}, [B, L]),
        ("s = Slice (shape, a, b, axes, steps)", {"a": [-9], "b": [-99], "axes": [0], "steps": [-1]}, [B]),
        ("p = Reshape (shape, two) s = Squeeze (p, one)", {"two": [3, 1], "one": [1]}, [B, 4, L]),
        ("p = Unsqueeze (shape, zero) s = Squeeze (p)", {"zero": [0]}, [B, 4, L]),
        ("p = Unsqueeze (shape, zero) t = Transpose (p) s = Squeeze (t)", {"zero": [0]}, [B, 4, L]),
        ("s = Concat <axis = 0> (shape, k, shape)", {"k": [-1]}, [B, 4, L, -1, B, 4, L]),
        ("s = ConstantOfShape <value = int64[1] {7}> (k)", {"k": [3]}, [7, 7, 7]),
        ("one = ConstantOfShape <value = int64[1] {1}> (k) s = Mul (one, shape)", {"k": [3]}, [B, 4, L]),
        ("e = Gather (shape, i) s = Expand (e, k)", {"i": [0], "k": [2]}, [B, B]),
        ("s = Tile (shape, k)", {"k": [2]}, [B, 4, L, B, 4, L]),
        ("s = Range (a, b, c)", {"a": 5, "b": -1, "c": -2}, [5, 3, 1]),
        ("h = OneHot (i, d, v) s = Reshape (h, flat)", {"i": [1], "d": 3, "v": [1, 6], "flat": [-1]}, [1, 6, 1]),
        ("h = OneHot (i, d, v) s = Reshape (h, flat)", {"i": [-1], "d": 3, "v": [1, 6], "flat": [-1]}, [1, 1, 6]),
        ("s = Cast <to = 7> (shape)", {}, [B, 4, L]),
        ("i = Cast <to = 6> (shape) s = Cast <to = 7> (i)", {}, [B, 4, L]),
        ("s = Add (shape, k)", {"k": [1, 2, 3]}, [B + 1, 6, L + 3]),
        ("s = Sub (shape, shape)", {}, [0, 0, 0]),
        ("s = Mul (shape, shape)", {}, [B * B, 16, L * L]),
        ("s = Mul (shape, k)", {"k": -1}, [-B, -4, -L]),
        ("p = Mul (shape, k) s = Div (p, k)", {"k": [6, 4, 2]}, [B, 4, L]),
        ("s = Div (a, b)", {"a": [7, -7], "b": [2, 2]}, [3, -3]),  # truncated, as ONNX has it
        ("s = Mod (a, b)", {"a": [7, 8], "b": [4, 4]}, [3, 0]),
        ("s = Neg (shape)", {}, [-B, -4, -L]),
        ("n = Add (shape, k) m = Neg (n) s = Abs (m)", {"k": 1}, [B + 1, 5, L + 1]),
        ("n = Add (shape, k) s = Max (n, shape)", {"k": 1}, [B + 1, 5, L + 1]),
        ("n = Add (shape, k) s = Min (n, shape)", {"k": 1}, [B, 4, L]),
        ("s = ReduceProd <keepdims = 1> (shape)", {}, [4 * B * L]),
        (
            "d = Slice (shape, a, b) n = Concat <axis = 0> (d, k, d) s = ReduceMax (n)",
            {"a": [2], "b": [3], "k": [0]},
            [L],
        ),
        ("n = Concat <axis = 0> (shape, k) s = ReduceMin (n)", {"k": [0]}, [0]),
        (
            "n = Concat <axis = 0> (shape, k) r = ReduceMin <keepdims = 0, axes = [-1]> (n) s = Unsqueeze (r, zero)",
            {"k": [-2], "zero": [0]},
            [-2],
        ),
        ("s = Max (shape, k)", {"k": 0}, [B, 4, L]),
        ("s = Clip (shape, k)", {"k": 0}, [B, 4, L]),
        ("s = Clip (shape, , k)", {"k": 0}, [0, 0, 0]),
        ("n = Neg (shape) s = Clip (n, k, m)", {"k": -3, "m": 0, "unused": 1}, None),
        ("n = Add (shape, m) s = Clip (n, k, m)", {"k": 0, "m": 1}, [1, 1, 1]),
        ("s = Clip (shape)", {}, [B, 4, L]),
        ("s = Clip (k, m, n)", {"k": [1, 5, 9], "m": 7, "n": 6}, [6, 6, 6]),  # the upper bound is the last
        (f"c = Equal (shape, k) {BOOLS}", {"k": -1}, [0, 0, 0]),
        (f"c = Equal (shape, shape) {BOOLS}", {}, [1, 1, 1]),
        (f"c = Greater (shape, k) {BOOLS}", {"k": -1}, [1, 1, 1]),
        (f"c = Less (shape, k) {BOOLS}", {"k": 0, "unused": 1}, None),
        (f"n = Add (shape, k) c = Less (shape, n) {BOOLS}", {"k": 1}, [1, 1, 1]),
        (f"c = GreaterOrEqual (shape, shape) {BOOLS}", {}, [1, 1, 1]),
        (f"n = Add (shape, k) c = LessOrEqual (n, shape) {BOOLS}", {"k": 1}, [0, 0, 0]),
        (f"e = Equal (shape, k) c = Not (e) {BOOLS}", {"k": -1}, [1, 1, 1]),
        (f"e = Equal (shape, shape) n = Not (e) c = And (e, n) {BOOLS}", {}, [0, 0, 0]),
        (f"e = Equal (shape, shape) n = Not (e) c = Or (e, n) {BOOLS}", {}, [1, 1, 1]),
        (f"e = Sub (shape, shape) c = Cast <to = 9> (e) {BOOLS}", {}, [0, 0, 0]),
        ("c = Equal (k, m) s = Where (c, shape, k)", {"k": [-1, 7, -1], "m": -1}, [B, 7, L]),
        ("c = Equal (shape, k) s = Where (c, shape, shape)", {"k": 5}, [B, 4, L]),  # whichever, it is the same
    ],
)
def test_evaluators(body: str, constants: dict[str, Any], expected: list[Any]) -> None:
    proto = model(body, **constants)
    if expected is None:
        assert_unknown(proto)
    else:
        assert_content(proto, expected)


def assert_unknown(proto: onnx.ModelProto, elements: Sequence[Any] | None = None) -> None:
    """Not known, entirely or in some elements; and the model still says what it said."""
    content = content_of(proto)
    if content is not None and elements is None:
        assert None in content
    elif elements is not None:
        assert content == elements
    result = graphs.rewrite(proto).model
    inputs: dict[str, Any] = {"x": np.zeros((3, 4, 5), np.float32), "ids": np.arange(3)}
    np.testing.assert_array_equal(graphs.evaluate(result, inputs)[0], graphs.evaluate(proto, inputs)[0])


@pytest.mark.parametrize(
    ("body", "constants", "elements"),
    [
        ("s = Identity (ids)", {}, None),
        ("s = Concat <axis = 0> (shape, ids)", {}, None),
        ("e = Gather (ids, zero) s = Add (e, shape)", {"zero": [0]}, None),
        ("s = Div (shape, k)", {"k": [3, 2, 1]}, [None, 2, L]),
        ("s = Max (shape, k)", {"k": 3}, [None, 4, None]),
        ("s = Clip (shape, k)", {"k": 3}, [None, 4, None]),
        ("e = Gather (ids, i) s = Clip (shape, e)", {"i": 0}, None),
        ("n = Concat <axis = 0> (shape, ids) s = ReduceMax (n)", {}, None),
        ("s = ReduceMin (shape)", {}, None),
        (f"c = Equal (shape, k) {BOOLS}", {"k": 4}, [None, 1, None]),
        ("c = Equal (shape, k) s = Where (c, k, shape)", {"k": 4}, [None, 4, None]),
        ("f = Cast <to = 1> (shape) s = Cast <to = 7> (f)", {}, None),
        ("t = Cast <to = 3> (k) s = Cast <to = 7> (t)", {"k": [300, 7]}, None),  # 300 is 44 in int8
        ("t = Cast <to = 6> (k) s = Cast <to = 7> (t)", {"k": [2**40, 7]}, [None, 7]),
        ("s = Add (k, k)", {"k": [2**62, 7]}, None),  # begins again at the smallest
        ("t = Mul (shape, k) s = Mul (t, k)", {"k": 2**40}, None),  # so does a multiple of an extent
        ("t = Cast <to = 6> (k) u = Mul (t, t) s = Cast <to = 7> (u)", {"k": [2**20]}, None),
        ("e = Gather (shape, i) s = Range (z, e, o)", {"i": 0, "z": 0, "o": 1}, None),
        ("s = ReduceSum (shape)", {}, None),
        ("n = Shape (ids) s = ConstantOfShape <value = int64[1] {1}> (n)", {}, None),
        ("s = Mod <fmod = 0> (k, m)", {"k": [-7], "m": [4]}, None),
    ],
)
def test_what_is_not_known(body: str, constants: dict[str, Any], elements: list[Any] | None) -> None:
    assert_unknown(model(body, **constants), elements)


@pytest.mark.parametrize(
    ("opset", "body"),
    [
        (9, "s = Slice <starts = [1], ends = [3], axes = [0]> (shape)"),
        (11, "p = Unsqueeze <axes = [0]> (shape) s = Squeeze <axes = [0]> (p)"),
        (11, "s = ReduceProd <axes = [0], keepdims = 1> (shape)"),
    ],
)
def test_older_opsets_take_attributes(opset: int, body: str) -> None:
    expected = {9: [4, L]}.get(opset, [B, 4, L] if "Unsqueeze" in body else [4 * B * L])
    assert_content(model(body, opset), expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("n = Sub (shape, shape) s = ReduceMax (n, axes)", [0]),
        ("n = Sub (shape, shape) s = ReduceMax <noop_with_empty_axes = 1> (n)", [0, 0, 0]),
        ("s = ReduceProd <noop_with_empty_axes = 1> (shape)", [B, 4, L]),
        ("s = ReduceProd <noop_with_empty_axes = 1> (shape, none)", [B, 4, L]),
        ("s = ReduceProd (shape, axes)", [4 * B * L]),
    ],
)
def test_axes_of_a_reduction_became_an_input(body: str, expected: list[Any]) -> None:
    assert_content(model(body, 18, axes=[0], none=np.zeros(0, np.int64)), expected)


@pytest.mark.parametrize(
    "count",
    ["n = Clip (b, low)", "n = Max (b, low)", "pair = Concat <axis = 0> (b, low) n = ReduceMax <axes = [0]> (pair)"],
)
def test_a_number_of_rows_that_is_bounded_below(count: str) -> None:
    """As a size is clamped to what is never below 0: the row of the user is expanded to the candidates all the same."""
    text = f"""g (float[1, 4] user, float[B, 3] item) => (float[B, 2] y) {{
        shape = Shape (item) b = Gather (shape, zero) {count} target = Concat <axis = 0> (n, one)
        rows = Expand (user, target) x = Concat <axis = 1> (rows, item) y = MatMul (x, w)
    }}"""
    w = np.arange(14, dtype=np.float32).reshape(7, 2)
    low: Any = 0 if "Clip" in count else [0]
    result = graphs.rewrite_and_check(graphs.parse(text, zero=[0], one=[1], low=low, w=w))
    assert "Expand" not in result.ops
    assert "Clip" not in result.ops


def test_long_constants_are_not_looked_into() -> None:
    assert as_content(np.zeros(257, np.int64)) is None
    assert as_content(np.zeros(3, np.float32)) is None
    proto = model("s = ConstantOfShape <value = int64[1] {1}> (k)", k=[300])
    assert content_of(proto) is None


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("t = Tile (i, n) s = Shape (t)", {"i": [1], "n": [10**10]}),
        ("t = Expand (i, n) s = Shape (t)", {"i": [1], "n": [10**10]}),
        ("t = ConstantOfShape <value = int64[1] {1}> (n) s = Shape (t)", {"n": [2**32, 2**32]}),
        ("t = OneHot (i, n, v) s = Shape (t)", {"i": [1], "n": 10**10, "v": [0, 1]}),
        ("t = Range (a, n, b) s = Shape (t)", {"a": 0, "b": 1, "n": 10**10}),
    ],
)
def test_what_is_too_long_is_not_made(body: str, constants: dict[str, Any]) -> None:
    """The tensor would take 80 GB; its shape is known all the same, and nothing else of it is needed."""
    assert content_of(model(body, **constants)) is not None


def test_constants_are_python_numbers() -> None:
    content = as_content(np.array([[1, 2]], np.int32))
    assert content is not None
    assert [type(e) for e in content.flat] == [int, int]
    content = as_content(np.array(True))
    assert content is not None
    assert type(content.item()) is bool


def test_another_domain_is_not_evaluated() -> None:
    text = "g (float[B, 4] x) => (int64[N] s) { shape = Shape (x) s = other.Concat <axis = 0> (shape, shape) }"
    proto = graphs.parse(text, domains=', "other" : 1')
    assert content_of(proto) is None


def test_every_evaluator_is_tested() -> None:
    tables = [mark.args[1] for test in (test_evaluators, test_what_is_not_known) for mark in test.pytestmark]
    bodies = " ".join(row[0] for table in tables for row in table) + " Shape (x)"
    assert [op for op in EVALUATORS if f"{op} (" not in bodies and f"{op} <" not in bodies] == []


def test_chains_leave_nothing_behind() -> None:
    """TorchScript's expand: what remains is the shape of a graph input, where an output needs it at all."""
    body = """
        e = Gather (shape, zero) m = Mul (ones, minus) target = Concat <axis = 0> (e, k)
        c = Equal (target, m) w = Where (c, ones, target) s = Identity (w)
    """
    proto = model(body, zero=[0], ones=[1, 1], minus=-1, k=[6])
    assert_content(proto, [B, 6])
    assert set(graphs.rewrite(proto).ops) <= {"Shape", "Concat", "Reshape", "Identity"}


def test_the_element_type_is_kept() -> None:
    text = "g (float[B, 4] x) => (int32[2] s, bool[2] c) { n = Shape (x) s = Cast <to = 6> (n) c = Equal (n, n) }"
    result = graphs.rewrite_and_check(graphs.parse(text))
    assert [o.type.tensor_type.elem_type for o in result.model.graph.output] == [TensorProto.INT32, TensorProto.BOOL]


def test_numbers_are_constants() -> None:
    """What is done to them is done to an initializer."""
    body = """
        n = Slice (shape, one, two) m = Neg (n) e = Gather (shape, zero) target = Concat <axis = 0> (e, two)
        pair = Concat <axis = 0> (n, m) s = Expand (pair, target)
    """
    result = graphs.rewrite_and_check(model(body, zero=[0], one=[1], two=[2]))
    assert "Reshape" not in result.ops
    assert [4, -4] in [numpy_helper.to_array(t).flatten().tolist() for t in result.model.graph.initializer]
