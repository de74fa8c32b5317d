"""Slice and Split are the pieces that they fall on."""

from __future__ import annotations

from typing import Any

import pytest

from mari_onnx.ir.axes import extent_of, extents
from mari_onnx.ir.extents import Extent, symbol
from tests.graphs import STYLES, integers, parse, ranking, rewrite, rewrite_and_check

CONCAT = "x = Concat <axis = 1> (user, item)"
styles = pytest.mark.parametrize("style", STYLES)


def test_columns_that_are_whole_rows_of_what_was_merged() -> None:
    """x[:, 0:2] of (4 2) is the first of the four: no Reshape to 8 columns, of which some are cut out."""
    body = "flat = Reshape (item, eight) first = Gather <axis = 1> (flat, at) y = Relu (first)"
    result = rewrite_and_check(ranking("one", body, item="float[4, 2]", eight=[-1, 8], at=[0, 1]))
    assert [node.input[0] for node in result.nodes("Slice")] == ["item"]


@styles
@pytest.mark.parametrize(
    ("start", "stop", "kept"),
    [
        (0, 4, "user"),
        (1, 3, "user"),
        (4, 7, "item"),
        (-3, 2**31 - 1, "item"),
        (5, -1, "item"),
        (2, 6, "both"),
        (0, 99, "both"),
    ],
)
def test_slice(style: str, start: int, stop: int, kept: str) -> None:
    model = ranking(style, f"{CONCAT} y = Slice (x, a, b, one)", a=[start], b=[stop], one=[1])
    result = rewrite_and_check(model)
    if kept != "both":
        assert "Concat" not in [n.op_type for n in result.model.graph.node if "x" in n.output]


@styles
def test_slices_that_are_put_together_again(style: str) -> None:
    body = f"{CONCAT} a = Slice (x, z, m, one) b = Slice (x, m, e, one) c = Concat <axis = 1> (a, b) y = MatMul (c, w)"
    result = rewrite_and_check(ranking(style, body, z=[0], m=[2], e=[7], one=[1], w=integers(7, 2)))
    assert result.ops.count("Slice") == (style == "tiled")
    assert style == "requests" or result.ops.count("Gemm") == 2


@styles
@pytest.mark.parametrize(("start", "stop"), [(4, 8), (2, 6), (0, 4), (11, 12)])
def test_slices_of_two_dimensions_as_one(style: str, start: int, stop: int) -> None:
    """(F D) is cut along F where D is kept whole."""
    body = "f = Flatten (user) s = Slice (f, a, b, one) y = Mul (s, item)"
    model = ranking(style, body, user="float[3, 4]", item=f"float[{stop - start}]", a=[start], b=[stop], one=[1])
    assert "Expand" not in rewrite_and_check(model).ops


@styles
@pytest.mark.parametrize("op_type", ["Sub", "Mul"])
def test_slices_of_sums_and_products(style: str, op_type: str) -> None:
    """Terms, factors and parts that come with them are cut as the array is, or left out."""
    body = f"""
        d = {op_type} (item, user) s = Slice (d, a, b, two) u = Slice (user, a, b, two)
        x = Concat <axis = 1> (user, d) z = Slice (x, a, b, two) t = Slice (x, b, c, one) h = Slice (t, a, b, two)
        v = Concat <axis = 1> (s, z, u, h) y = MatMul (v, w)
    """
    types: dict[str, Any] = {"user": "float[1, 6]", "item": "float[5, 6]", "output": "float[B, N, 2] y"}
    constants: dict[str, Any] = {"a": [1], "b": [3], "c": [5], "one": [1], "two": [2], "w": integers(2, 2)}
    rewrite_and_check(ranking(style, body, **types, **constants))


def test_several_axes_and_full_ranges() -> None:
    body = "a = Slice (user, s, e) b = Slice (item, z, m, zero) y = Mul (a, b)"
    model = ranking(
        "one", body, user="float[5, 4]", item="float[2, 3]", output="float[B, 2, 3] y",
        s=[0, 1, 1], e=[2**63 - 1, 3, 4], z=[0], m=[2**63 - 1], zero=[0],
    )  # fmt: skip
    assert rewrite_and_check(model).refusals("Slice") == []


def test_row_0_of_rows_that_the_caller_repeats() -> None:
    """One row, or none without candidates: it is read as it is stored."""
    body = "r = Relu (user) u = Slice (r, zero, one, zero) w = ReduceSum <keepdims = 0> (u, one) y = Neg (w)"
    model = ranking("tiled", body, output="float[K] y", zero=[0], one=[1])
    assert rewrite_and_check(model).ops == ["Slice", "Relu", "ReduceSum", "Neg"]


def test_the_first_of_rows_that_an_index_selects() -> None:
    """It need not be the first of the rows that are stored."""
    body = "r = Relu (user) u = Slice (r, zero, one, zero) y = Add (u, item)"
    model = ranking("requests", body, item="float[4]", output="float[B, 4] y", zero=[0], one=[1])
    (reason,) = rewrite_and_check(model).refusals("Slice")
    assert reason.startswith("Slice of an axis of extent")


def test_slice_as_attributes() -> None:
    body = f"{CONCAT} y = Slice <axes = [1], starts = [2], ends = [6]> (x)"
    rewrite_and_check(ranking("one", body, opset=9))


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps", "reason"),
    [
        ([3], [3], [1], [1], "Slice of nothing"),
        ([1], [3], [0], [1], "Slice of an axis of extent B, which is not a number"),
    ],
)
def test_slices_that_are_refused(
    starts: list[int], ends: list[int], axes: list[int], steps: list[int], reason: str
) -> None:
    body = f"{CONCAT} r = Relu (user) u = Slice (r, starts, ends, axes, steps) y = Neg (u)"
    model = ranking(
        "one", body, user="float[7]", output="float[M, K] y", starts=starts, ends=ends, axes=axes, steps=steps
    )
    result = rewrite_and_check(model)
    assert result.refusals("Slice") == [reason]


def test_bounds_that_are_computed() -> None:
    text = "g (float[1, 4] user, int64[1] n, float[B, 4] item) => (float[M, 4] y)"
    body = "s = Shape (item) e = Expand (user, s) p = Slice (e, zero, n) y = Relu (p)"
    result = rewrite(parse(f"{text} {{ {body} }}", zero=[0]))
    assert result.refusals("Slice") == ["ends of Slice is computed by the model"]


@styles
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_split(style: str, opset: int) -> None:
    """As an attribute, as an input, and in equal parts."""
    widths = "<axis = 1, split = [3, 4]> (x)" if opset == 11 else "<axis = 1> (x, widths)"
    body = f"{CONCAT} a, b = Split {widths} c = Relu (b) y = Concat <axis = 1> (c, a)"
    constants: dict[str, Any] = {} if opset == 11 else {"widths": [3, 4]}
    rewrite_and_check(ranking(style, body, opset=opset, **constants))


@pytest.mark.parametrize(("opset", "attributes"), [(13, "<axis = 1>"), (18, "<axis = 1, num_outputs = 3>")])
def test_equal_parts(opset: int, attributes: str) -> None:
    width = 6 if opset == 13 else 7  # from opset 18 the last part may be smaller
    body = f"x = Concat <axis = 1> (user, item) a, b, c = Split {attributes} (x) y = Concat <axis = 1> (c, a, b)"
    model = ranking("one", body, item=f"float[{width - 4}]", opset=opset)
    assert rewrite_and_check(model).refusals("Split") == []


@styles
@pytest.mark.parametrize(
    ("start", "stop", "step"),
    [(0, 7, 2), (6, -99, -1), (5, 0, -2), (1, 2**31 - 1, 3), (-1, -8, -3), (-99, 5, 4), (99, 2, -1), (-9, -99, -1)],
)
def test_slices_with_a_step(style: str, start: int, stop: int, step: int) -> None:
    model = ranking(style, f"{CONCAT} y = Slice (x, a, b, one, s)", a=[start], b=[stop], one=[1], s=[step])
    rewrite_and_check(model)


@styles
@pytest.mark.parametrize(("start", "stop", "step"), [(3, -99, -2), (0, 4, 2)])
def test_steps_of_what_is_not_stored(style: str, start: int, stop: int, step: int) -> None:
    body = "e = Expand (user, wide) r = Slice (e, a, b, one, s) y = Mul (r, item)"
    constants: dict[str, Any] = {"wide": [1, 4], "a": [start], "b": [stop], "one": [1], "s": [step]}
    rewrite_and_check(ranking(style, body, user="float[1]", item="float[2]", **constants))


@styles
def test_steps_of_the_user(style: str) -> None:
    body = "r = Slice (user, a, b, one, s) y = Mul (r, item)"
    result = rewrite_and_check(ranking(style, body, item="float[4]", a=[3], b=[-99], one=[1], s=[-1]))
    assert "Expand" not in result.ops


@styles
def test_q_k_v_of_one_product(style: str) -> None:
    body = "p = MatMul (user, w) q, k, v = Split <axis = 1> (p) a = Mul (q, k) s = Add (a, v) y = Mul (s, item)"
    result = rewrite_and_check(ranking(style, body, item="float[2]", w=integers(4, 6)))
    assert "Expand" not in result.ops


def test_widths_that_are_computed() -> None:
    text = "g (float[B, 4] user, int64[2] given) => (float[B, 4] y)"
    body = "r = Relu (user) a, b = Split <axis = 1> (r, given) y = Concat <axis = 1> (b, a)"
    result = rewrite(parse(f"{text} {{ {body} }}"))
    assert result.refusals("Split") == ["Split of an axis of extent 4 into widths that are not known"]


def test_split_into_nothing_is_refused() -> None:
    body = "r = Relu (user) a, b = Split <axis = 1> (r, widths) y = Mul (b, item)"
    result = rewrite_and_check(ranking("one", body, item="float[4]", widths=[0, 4]))
    assert result.refusals("Split") == ["Split into nothing"]


def test_every_other_column_of_none() -> None:
    """An end before the first column is the first column, unless the step is backwards."""
    text = """g (float[1, 5] user, float[B, 5] item) => (float[B, N] y) {
        u = Slice (user, s, e, a, t) i = Slice (item, s, e, a, t) y = Add (u, i)
    }"""
    result = rewrite_and_check(parse(text, s=[0], e=[-100], a=[1], t=[2]))
    assert extent_of(result.program.values["i"].known_dims[1]) == 0


def test_the_graph() -> None:
    """Columns are cut out of either side, and nothing is put together."""
    model = ranking("one", f"{CONCAT} s = Slice (x, start, stop, axis) y = MatMul (s, w)", output="float[B, 2] y",
                    start=[2], stop=[6], axis=[1], w=integers(4, 2))  # fmt: skip
    assert rewrite_and_check(model).graph == [
        "user_row.slice [1 2] = Slice (user_row)",
        "item.slice [B 2] = Slice (item)",
        "y.user [1 2] = Gemm (user_row.slice, w.user)",
        "y [B 2] = Gemm (item.slice, w.item, y.user)",
    ]


def test_a_split_into_numbers_of_what_is_not_one() -> None:
    """The history and the candidate, of which a width of 1 holds only without a history."""
    body = """i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) s = Split <axis = 1> (x, one) y = Relu (s)"""
    result = rewrite(ranking("tiled", body, user="float[L, 3]", output="float[B, M, 3] y", one=[1]))
    assert "Split" in result.ops  # as it is: rewrite asserts that no rule breaks


def test_row_0_of_a_product_has_no_factors_of_all_rows() -> None:
    body = """c = ReduceSum (user, one) x = Mul (user, c) r = Slice (x, start, one, start)
              s = Slice (user, start, one, start) h = Concat <axis = 1> (r, s) g = MatMul (h, w) y = Add (g, item)"""
    result = rewrite_and_check(ranking("tiled", body, one=[1], start=[0], w=integers(8, 3)))
    assert result.program.values["x"].factors is not None
    assert result.program.values["r"].factors is None


@pytest.mark.parametrize(("start", "extent"), [(1, symbol("B")), (0, symbol("B") + 1), (2, symbol("t.0"))])
def test_all_but_the_first_of_one_more_than_there_are_candidates(start: int, extent: Extent) -> None:
    """Offsets of bags, and where these end: of B + 1 numbers all but the first are B, and all but two may be none."""
    body = """f = Relu (item) c = Concat <axis = 0> (f, f1) t = Slice (c, from_, end)
        s = ReduceSum (t, first) u = Relu (user) p = Add (u, s) y = Add (p, item)"""
    given: dict[str, Any] = {"f1": integers(1, 4), "from_": [start], "end": [2**62], "first": [0]}
    result = rewrite_and_check(ranking("tiled", body, item="float[4]", **given))
    assert extents(result.program.values["t"].known_dims)[0] == extent
