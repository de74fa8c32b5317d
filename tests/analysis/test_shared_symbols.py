"""Axes of one name are one where an operator needs that, and what is written reads each extent off its own axis."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.shared_symbols import settle_symbols
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from tests.graphs import Array, evaluate, integers, parse, rewrite

MEAN = """
    s = Shape (history) steps = Gather (s, last) n = Cast <to = 1> (steps)
    total = ReduceSum <keepdims = 0> (history, one)
    mean = Div (total, n) column = Unsqueeze (mean, one) x = Concat <axis = 1> (column, item) y = MatMul (x, w)
"""
"""The mean of a history of any length: its sum, divided by its extent."""


def pooled(history: str, item: str) -> onnx.ModelProto:
    text = f"g (float[{history}] history, float[{item}, 3] item) => (float[M, 8] y) {{ {MEAN} }}"
    return parse(text, last=np.array(1), one=[1], w=integers(4, 8))


def settled(model: onnx.ModelProto) -> Model:
    graph = Model(from_proto(model))
    settle_symbols(graph, 500)
    return graph


TARGET = "s = Shape (b) n = Slice (s, zero, one) t = Concat <axis = 0> (n, minus) y = Reshape (a, t)"
EITHER = f"c = Gather (a, i) {TARGET.replace('(a, t)', '(c, t)')}"
BY_INDEX = "c = Gather (a, i) d = Gather (b, i) y = Concat <axis = 1> (c, d)"
ALL = {("a", 0): "a.0", ("a", 1): "a.1", ("b", 0): "b.0"}


@pytest.mark.parametrize(
    ("inputs", "body", "apart"),
    [
        # A name that stands twice in one shape, and a question mark, say nothing.
        ("float[N, N] a, float[N] b", "y = Neg (a)", ALL),
        ("float[?, ?] a, float[?] b", "y = Neg (a)", ALL),
        # No operator needs them to be equal. The name is that of the leading axis.
        ("float[B, N] a, float[N, 3] b", "s = ReduceMax <keepdims = 0> (b) y = Mul (a, s)", {("a", 1): "a.1"}),
        # An operator needs it.
        ("float[B, 3] a, float[B, 3] b", "y = Mul (a, b)", {}),
        ("float[B, 3] a, float[B, 4] b", "y = Concat <axis = 1> (a, b)", {}),
        ("float[B, 3] a, float[3, B] b", "y = MatMul (b, a)", {}),
        ("float[B, L] a, float[B, L] b, float[B] c", "d = Add (a, b) e = Unsqueeze (c, one) y = Mul (d, e)", {}),
        # A target shape that is read off another input.
        ("float[B, 4] a, float[B, 3] b", TARGET, {}),
        # An operator needs one of two pairs to be equal, and may need either.
        ("float[4, B, 3] a, float[B, 3] b, int64[B] i", EITHER, {("a", 1): "a.1", ("i", 0): "i.0"}),
        # One index selects rows of both.
        ("float[R, 4] a, float[R, 3] b, int64[B] i", BY_INDEX, {}),
        # Of an operator without a rule the exporter says that its rows are those of its input.
        ("float[B, 2, 4, 4] a, float[B, 2, 4, 4] b", "c = LRN <size = 1> (a) y = Mul (c, b)", {}),
        # What has one name alone keeps it.
        ("float[B, N] a, float[3] b", "y = Neg (a)", {}),
    ],
)
def test_axes_of_one_name(inputs: str, body: str, apart: dict[tuple[str, int], str]) -> None:
    text = f"g ({inputs.replace('?', 'Q')}) => (float[M] y) {{ {body} }}"
    model = parse(text, one=[1], zero=[0], minus=[-1])
    for info in model.graph.input if "?" in inputs else ():
        for dim in info.type.tensor_type.shape.dim:
            dim.dim_param = "?"
    assert settled(model).symbols == apart


@pytest.mark.parametrize(("history", "item"), [("N, N", "N"), ("B, N", "N"), ("N, L", "N"), ("B, L", "B")])
@pytest.mark.parametrize("users", [(), ("history",)])
def test_an_extent_is_read_off_its_own_axis(history: str, item: str, users: tuple[str, ...]) -> None:
    """With N for both, the length of the history was read off the items."""
    model = pooled(history, item)
    result = rewrite(model, users).model
    row = integers(1, 5, seed=3)
    feeds: dict[str, Array] = {"history": np.repeat(row, 7, axis=0), "item": integers(7, 3)}
    np.testing.assert_allclose(evaluate(result, feeds)[0], evaluate(model, feeds)[0], rtol=1e-6)


def test_as_much_is_saved_as_with_two_names() -> None:
    """The history is declared the user's, so that its rows are as many as there are candidates."""
    named, alike = (rewrite(pooled(*names), ("history",)) for names in (("B, L", "B"), ("N, N", "N")))
    assert alike.ops == named.ops
    assert alike.plan.work.macs == named.plan.work.macs


def test_a_body_needs_its_inputs_to_be_equal() -> None:
    body = """
        last, all = Scan <num_scan_inputs = 1, body = b (float[N] h, float[N] x) => (float[N] h1, float[N] o)
            { h1 = Add (h, x) o = Identity (h1) }> (start, steps) y = Mul (last, item)
    """
    model = parse(f"g (float[B] start, float[5, B] steps, float[B] item) => (float[B] y) {{ {body} }}")
    assert settled(model).symbols == {}


def test_a_function_needs_its_inputs_to_be_equal() -> None:
    model = parse("g (float[4, L] a, float[3, L] b) => (float[M] y) { y = acme.Both (a, b) }", domains=', "acme" : 1')
    function = (
        '<domain: "acme", opset_import: ["" : 17]> Both (a, b) => (r) { c = Concat <axis = 0> (a, b) r = Neg (c) }'
    )
    model.functions.append(onnx.parser.parse_function(function))
    assert settled(model).symbols == {}


def test_the_symbols_are_settled_once() -> None:
    graph = settled(pooled("N, N", "N"))
    before = graph.symbols
    settle_symbols(graph, 1)
    assert graph.symbols is before
