"""Entries that indices name: once for the request where it can be, for each candidate where it has to be."""

from __future__ import annotations

from typing import Any

import pytest

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.extents import symbol
from tests.graphs import STYLES, Rewritten, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
B = symbol("B")


def shape_of(result: Rewritten, name: str) -> tuple[Any, ...]:
    return result.program.values[name].array.tensor.known_shape


@styles
def test_entries_of_the_users_history(style: str) -> None:
    """The most recent of the user's items: selected once, whatever the candidate."""
    body = """top, at = TopK <axis = 1> (user, two) h = GatherElements <axis = 1> (user, at)
              s = ReduceSum (h, one) y = Add (s, item)"""
    model = ranking(style, body, user="float[5]", item="float[1]", output="float[B, 1] y", two=[2], one=[1])
    result = rewrite_and_check(model)
    assert result.program.values["h"].array.tensor.known_shape[0] != symbol("B")


def test_entries_that_each_candidate_selects() -> None:
    model = parse(
        """g (float[1, 5] user, float[B, 5] item) => (float[B, 2] y) <int64[1] two = {2}> {
            shape = Shape (item)
            rows = Expand (user, shape)
            top, at = TopK <axis = 1> (item, two)
            y = GatherElements <axis = 1> (rows, at)
        }"""
    )
    rewrite_and_check(model)


# ScatterElements

TOP = "top, at = TopK <axis = 1> (user, two) "


@styles
@pytest.mark.parametrize("attributes", ["<axis = 1>", '<axis = -1, reduction = "add">'])
def test_entries_of_the_user_that_are_replaced(style: str, attributes: str) -> None:
    body = f"{TOP} n = Neg (top) h = ScatterElements {attributes} (user, at, n) y = Add (h, item)"
    model = ranking(style, body, user="float[5]", item="float[5]", opset=18, two=[2])
    result = rewrite_and_check(model)
    assert shape_of(result, "h")[0] != B


@styles
def test_entries_that_the_candidate_gives(style: str) -> None:
    """The places are the user's, what is put there the candidate's: the user's row is written out."""
    body = f"{TOP} y = ScatterElements <axis = 1> (user, at, item)"
    model = ranking(style, body, user="float[5]", item="float[2]", opset=18, two=[2])
    result = rewrite_and_check(model)
    assert shape_of(result, "y")[0] == B


@styles
def test_places_in_sequences(style: str) -> None:
    body = f"{TOP} n = Neg (top) h = ScatterElements <axis = 1> (user, at, n) s = ReduceSum (h, both) y = Add (s, item)"
    body = body.replace("(s, item)", "(f, item)").replace("y = ", "f = Reshape (s, flat) y = ")
    model = ranking(style, body, user="float[5, 3]", item="float[1]", opset=18, two=[2], both=[1, 2], flat=[-1, 1])
    result = rewrite_and_check(model)
    assert shape_of(result, "h")[0] != B


# GatherND


@styles
def test_rows_in_each_member_of_the_batch(style: str) -> None:
    """The last of each history, by its length: u[range(B), n]."""
    body = """k = ReduceMax <keepdims = 0> (user, both) a = Abs (k) n = Cast <to = 7> (a) i = Unsqueeze (n, one)
              h = GatherND <batch_dims = 1> (user, i) y = Add (h, item)"""
    model = ranking(style, body, user="float[5, 4]", item="float[4]", opset=18, one=[1], both=[1, 2])
    result = rewrite_and_check(model)
    assert shape_of(result, "h")[0] != B


@styles
def test_rows_that_the_candidate_selects(style: str) -> None:
    body = """a = Abs (item) n = Cast <to = 7> (a) h = GatherND <batch_dims = 1> (user, n) s = ReduceSum (h, one)
              y = Add (s, item)"""
    model = ranking(style, body, user="float[5, 4]", item="float[1]", opset=18, one=[1])
    result = rewrite_and_check(model)
    assert shape_of(result, "h")[0] == B


@styles
def test_places_of_a_table(style: str) -> None:
    """Two indices for each entry of a constant."""
    body = """a = Abs (user) n = Cast <to = 7> (a) h = GatherND (table, n) y = Add (h, item)"""
    model = ranking(style, body, user="float[3, 2]", item="float[3]", opset=18, table=integers(4, 4))
    result = rewrite_and_check(model)
    assert shape_of(result, "h")[0] != B


def test_a_place_in_the_batch() -> None:
    """The candidates themselves are indexed: all are written out."""
    body = "e = GatherND (user, pair) y = Add (item, e)"
    model = ranking("one", body, item="float[1]", output="float[B, 1] y", pair=[[0, 1]])
    assert "Expand" in rewrite_and_check(model).ops


# ReverseSequence


@styles
def test_histories_the_other_way_round(style: str) -> None:
    body = """k = ReduceMax <keepdims = 0> (user, both) a = Abs (k) n = Cast <to = 7> (a)
              h = ReverseSequence <batch_axis = 0, time_axis = 1> (user, n) f = Flatten (h) y = Add (f, item)"""
    model = ranking(style, body, user="float[5, 4]", item="float[20]", opset=18, both=[1, 2])
    result = rewrite_and_check(model)
    assert shape_of(result, "h")[0] != B


@styles
def test_lengths_that_the_candidate_has(style: str) -> None:
    body = """t = Transpose <perm = [1, 0, 2]> (user) a = Abs (item) n = Cast <to = 7> (a) l = Squeeze (n, one)
              h = ReverseSequence (t, l) s = ReduceSum <keepdims = 0> (h, ends) q = Unsqueeze (s, one)
              y = Add (q, item)"""
    model = ranking(style, body, user="float[5, 4]", item="float[1]", opset=18, one=[1], ends=[0, 2])
    result = rewrite_and_check(model)
    assert B in shape_of(result, "h")


# What repeats


@styles
@pytest.mark.parametrize(
    "nodes",
    [
        "h = GatherElements <axis = 1> (x, at)",
        "h = ScatterElements <axis = 1> (x, at, few)",
        "h = ReverseSequence <batch_axis = 0, time_axis = 1> (x, lengths)",
        "g = GatherND <batch_dims = 1> (x, ids) h = Unsqueeze (g, one)",
        "c = Unsqueeze (x, one) e = Expand (c, more) g = GatherND <batch_dims = 1> (e, at) h = Unsqueeze (g, one)",
    ],
)
def test_what_is_not_stored_along_the_axis_itself(style: str, nodes: str) -> None:
    """Values and places that are the same at each position are written out there."""
    body = f"""
        x = Expand (user, wide) a = Abs (user) ids = Cast <to = 7> (a) lengths = Squeeze (ids, one)
        at = Expand (ids, two) n = Neg (user) few = Expand (n, two) {nodes}
        s = ReduceSum (h, one) y = Add (s, item)
    """
    constants: dict[str, Any] = {"wide": [1, 4], "two": [1, 2], "one": [1], "more": [1, 4, 4]}
    used: dict[str, Any] = {name: value for name, value in constants.items() if name != "more" or name in nodes}
    result = rewrite_and_check(ranking(style, body, user="float[1]", item="float[1]", opset=18, **used))
    assert shape_of(result, "h")[0] != B


@styles
def test_places_by_what_they_are_places_in(style: str) -> None:
    """x[b, x[b, j, i], j]: an axis of x is in another dimension of its places."""
    body = """t = Transpose <perm = [0, 2, 1]> (user) a = Abs (t) n = Cast <to = 7> (a)
              h = GatherElements <axis = 1> (user, n) y = Add (h, item)"""
    types: dict[str, Any] = {"user": "float[4, 4]", "item": "float[4, 4]", "output": "float[B, 4, 4] y"}
    result = rewrite_and_check(ranking(style, body, **types))
    assert shape_of(result, "h")[0] != B


@pytest.mark.parametrize(
    "node",
    [
        "y = GatherElements <axis = 0> (user, index)",
        "i = Unsqueeze (index, two) y = GatherND (user, i)",
        "r = Gather (user, index) s = ReduceSum <keepdims = 0> (r, two) y = Neg (s)",
    ],
)
def test_rows_that_are_selected_are_no_rows_that_the_caller_repeats(node: str) -> None:
    """Though they are declared, and nothing says how many there are."""
    text = "g (float[unk__1, 4] user, int64[unk__2, 4] index) => (float[N, M] y)"
    constants: dict[str, Any] = {"two": [2]} if "two" in node else {}
    model = parse(f"{text} {{ {node} }}", **constants)
    graph = Model(from_proto(model))
    assert roles_of(graph, ["user"], 500).tiled == ()


# Refused


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("GatherElements <axis = 1> (u, i)", "GatherElements of inputs whose extents B and M may differ"),
        ("ScatterElements <axis = 1> (u, i, u)", "ScatterElements of inputs whose extents B and M may differ"),
        ("ReverseSequence (u, l)", "ReverseSequence of inputs whose extents 5 and K may differ"),
    ],
)
def test_extents_that_may_differ(node: str, reason: str) -> None:
    text = "g (float[1, 5] user, float[B, 5] item, int64[M, 5] i, int64[K] l) => (float[N, 5] y)"
    result = rewrite(parse(f"{text} {{ s = Shape (item) u = Expand (user, s) y = {node} }}", opset=18))
    assert result.refusals(node.split()[0]) == [reason]


def test_as_many_indices_as_there_are() -> None:
    text = "g (float[1, 5] user, float[B, 5] item, int64[M, K] i) => (float[N] y)"
    result = rewrite(parse(f"{text} {{ s = Shape (item) u = Expand (user, s) y = GatherND (u, i) }}", opset=18))
    assert result.refusals("GatherND") == ["GatherND by as many indices as the model computes"]


def test_the_graph() -> None:
    """What is put where is the user's."""
    body = f"{TOP} n = Neg (top) h = ScatterElements <axis = 1> (user, at, n) y = Add (h, item)"
    types: dict[str, Any] = {"user": "float[5]", "item": "float[5]", "output": "float[B, 5] y"}
    result = rewrite_and_check(ranking("one", body, **types, opset=18, two=[2]))
    assert result.graph == [
        "top.user [1 2], at.user [1 2] = TopK (user_row, two)",
        "n.user [1 2] = Neg (top.user)",
        "sign [1] = Sign ()",
        "at.user.referred [1 2] = Mul (at.user, sign)",
        "h.user [1 5] = ScatterElements (user_row, at.user.referred, n.user)",
        "y [B 5] = Add (h.user, item)",
    ]
