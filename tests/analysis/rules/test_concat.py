"""Concat is parts, which are written out where they are wanted whole."""

from __future__ import annotations

from typing import Any

import pytest

from mari_onnx.ir.forms import Parts
from tests.graphs import STYLES, Rewritten, integers, parse, ranking, rewrite, rewrite_and_check

CONCAT = "x = Concat <axis = 1> (user, item)"
styles = pytest.mark.parametrize("style", STYLES)


def parts_of(result: Rewritten, name: str) -> list[Any]:
    parts = result.program.values[name].parts
    assert isinstance(parts, Parts)
    return [sub.extent for sub, _ in parts.pieces]


def test_concat_is_parts() -> None:
    result = rewrite(ranking("one", "x = Concat <axis = -1> (user, item, user) y = Relu (x)"))
    assert parts_of(result, "x") == [4, 3, 4]


def test_concat_of_concats_is_flat() -> None:
    result = rewrite(ranking("one", f"{CONCAT} z = Concat <axis = 1> (item, x, x) y = Relu (z)"))
    assert parts_of(result, "z") == [3, 4, 3, 4, 3]


@styles
def test_written_out_where_it_is_an_output(style: str) -> None:
    result = rewrite_and_check(ranking(style, f"{CONCAT} y = Identity (x)"))
    assert result.ops.count("Concat") >= 1


@styles
def test_neighbours_that_are_alike_are_joined_before_they_are_written_out(style: str) -> None:
    """[user k user item]: one Expand, not three, and none where the caller has tiled the rows already."""
    body = "a = Relu (user) b = Neg (user) y = Concat <axis = 1> (a, b, user, item)"
    result = rewrite_and_check(ranking(style, body))
    expected = {"one": ("Expand", 1), "tiled": ("Expand", 0), "requests": ("Gather", 1)}[style]
    assert result.ops.count(expected[0]) == expected[1]


@styles
def test_one_input_twice(style: str) -> None:
    body = "x = Concat <axis = 1> (item, item, user, user) y = MatMul (x, w)"
    result = rewrite_and_check(ranking(style, body, w=integers(14, 2)))
    assert "Expand" not in result.ops


@styles
def test_what_was_computed_twice_is_one_input(style: str) -> None:
    """Columns of the same places, by two Gathers: side by side they are one that nothing is stored along."""
    body = "a = Gather <axis = 1> (user, at) b = Gather <axis = 1> (user, at) y = Concat <axis = 1> (a, b)"
    result = rewrite_and_check(ranking(style, body, at=[1, 2]))
    assert result.program.values["y"].parts is None
    twice, once = result.program.values["y"].known_dims[1]
    assert (twice.extent, once.extent) == (2, 2)


def test_columns_of_the_same_extents_are_not_the_same_columns() -> None:
    """A square and its transpose are stored as one tensor."""
    body = "s = MatMul (w, user) t = Transpose <perm = [0, 2, 1]> (s) y = Concat <axis = 2> (s, t)"
    given = ranking("one", body, user="float[3, 3]", output="float[B, N, M] y", w=integers(3, 3))
    result = rewrite_and_check(given)
    assert parts_of(result, "y") == [3, 3]


@styles
@pytest.mark.parametrize("times", [2, 3])
def test_the_same_again(style: str, times: int) -> None:
    """Concat(x, x) is stored as x: its columns come in turn, and not each of them so many times."""
    body = f"r = Relu (user) x = Concat <axis = 1> ({', '.join(['r'] * times)}) y = Mul (x, item)"
    result = rewrite_and_check(ranking(style, body, item=f"float[{4 * times}]"))
    assert result.program.values["x"].array.tensor.known_shape[1:] == (4,)


@styles
def test_a_value_and_itself_turned(style: str) -> None:
    """One axis would be in two dimensions."""
    body = "t = Transpose <perm = [0, 2, 1]> (user) x = Concat <axis = 2> (user, t) y = Mul (x, item)"
    types: dict[str, Any] = {"user": "float[3, 3]", "item": "float[3, 6]", "output": "float[B, 3, 6] y"}
    assert "Expand" not in rewrite_and_check(ranking(style, body, **types)).ops


@styles
def test_an_axis_in_different_dimensions_of_the_others(style: str) -> None:
    """Of user (B 4 2) half the columns of (B (4 2)): the 2 is a column of one, and a row of the other."""
    body = """r = Reshape (user, wide) h = Slice (r, start, four, one) u = Unsqueeze (h, two)
        x = Concat <axis = 2> (item, user, u) y = MatMul (x, w)"""
    types: dict[str, Any] = {"user": "float[4, 2]", "item": "float[4, 1]", "output": "float[B, 4, 3] y"}
    constants: dict[str, Any] = {
        "wide": [-1, 8],
        "start": [0],
        "four": [4],
        "one": [1],
        "two": [2],
        "w": integers(4, 3),
    }
    assert rewrite_and_check(ranking(style, body, **types, **constants)).refusals("Concat") == []


@styles
def test_pieces_of_pieces(style: str) -> None:
    """Concat([a; b], [c; d]) = [Concat(a, c); Concat(b, d)]: history and target, of two tables each."""
    body = """
        i = Unsqueeze (item, one) n = Neg (i) r = Relu (user)
        x = Concat <axis = 1> (user, i) z = Concat <axis = 1> (n, r) w = Concat <axis = 1> (r, n)
        p = Concat <axis = 2> (x, w) q = Concat <axis = 2> (x, z) y = Sub (p, q)
    """
    types: dict[str, Any] = {"user": "float[4, 3]", "item": "float[3]", "output": "float[B, 5, 6] y"}
    result = rewrite_and_check(ranking(style, body, **types, one=[1]))
    assert parts_of(result, "p") == [4, 1]  # of the user and of the candidate, along the length


@styles
def test_along_another_axis(style: str) -> None:
    """Stacked sequences: [B, 5, 4] and [B, 1, 4] along the length, through a Linear."""
    body = "i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) y = MatMul (x, w)"
    model = ranking(
        style, body, user="float[5, 4]", item="float[4]", output="float[B, 6, 2] y", w=integers(4, 2), one=[1]
    )
    rewrite_and_check(model)


@styles
def test_along_the_candidates(style: str) -> None:
    """[2 B] rows: nothing to gain, and right."""
    rewrite_and_check(
        ranking(style, "x = Concat <axis = 0> (user, item) y = Relu (x)", item="float[4]", output="float[M, 4] y")
    )


def test_stacked_along_the_candidates() -> None:
    """(heads batch): pieces of one extent that is a symbol are an axis of their own, which Reshape cuts off again."""
    body = "a = Relu (item) b = Neg (user) x = Concat <axis = 0> (a, b) y = Reshape (x, shape)"
    model = ranking("one", body, item="float[4]", output="float[2, B, 4] y", shape=[2, -1, 4])
    result = rewrite_and_check(model)
    assert parts_of(result, "x") == [1, 1]
    assert result.program.values["x"].known_dims[0][0].extent == 2


@styles
def test_features_of_fields_merged_with_their_width(style: str) -> None:
    """[B, F, D] flattened to (F D) keeps its parts along F."""
    body = """
        i = Unsqueeze (item, one) u = Unsqueeze (user, one) x = Concat <axis = 1> (u, i, u) f = Flatten (x)
        y = MatMul (f, w)
    """
    model = ranking(style, body, user="float[4]", item="float[4]", w=integers(12, 2), one=[1])
    result = rewrite_and_check(model)
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2


def test_concat_proves_that_symbols_are_equal() -> None:
    """tf2onnx gives every input a symbol of its own; after a Concat they are one."""
    text = "g (float[unk__1, 4] user, float[unk__2, 3] item) => (float[unk__3, N] y)"
    model = parse(
        f"{text} {{ {CONCAT} r = Relu (user) p = Add (x, x) y = Gemm (p, w, b) }}", w=integers(7, 2), b=integers(2)
    )
    result = rewrite_and_check(model)
    assert result.refusals("Concat") == []
    assert result.ops.count("Gemm") == 2


def test_extents_of_which_only_some_factors_are_known() -> None:
    """[B, 4, M] and [B, 2, M2] along axis 1: M is M2, because Concat fails on anything else."""
    text = "g (float[B, 4, M] user, float[B, 2, M2] item) => (float[B, 6, M] y)"
    result = rewrite_and_check(parse(f"{text} {{ x = Concat <axis = 1> (user, item) y = Relu (x) }}"))
    assert result.refusals("Concat") == []


def test_what_concat_cannot_prove() -> None:
    """2 K = K2: an equality, but not of two symbols."""
    text = "g (float[B, 4, 2, K] user, float[B, 3, K2] item) => (float[B, 7, M] y)"
    body = "r = Reshape (user, flat) x = Concat <axis = 1> (r, item) y = Relu (x)"
    result = rewrite(parse(f"{text} {{ {body} }}", flat=[0, 4, -1]))
    assert result.refusals("Concat") == ["extents 2*K and K2 are not known to be equal"]
    assert "Concat" in result.ops


def test_factors_that_do_not_fit() -> None:
    """Both have 60 rows, in 6 blocks of 10 and in 10 of 6: neither is known in the other's blocks."""
    text = "g (float[1, 1, 4] user, float[10, 6, 3] item) => (float[60, 7] y)"
    body = "u = Expand (user, blocks) r = Reshape (u, flat) s = Reshape (item, flat2) x = Concat <axis = 1> (r, s)"
    result = rewrite(parse(f"{text} {{ {body} y = Relu (x) }}", blocks=[6, 10, 4], flat=[60, 4], flat2=[60, 3]))
    assert result.refusals("Concat") == ["the axes of [(6 10)] and [(10 6)] are not known to be equal"]


def test_the_graph() -> None:
    """Relu is done to each part; what varies with the candidate is put together before the user's part is repeated."""
    body = f"{CONCAT} r = Relu (x) y = Concat <axis = 1> (r, item)"
    assert rewrite_and_check(ranking("one", body, output="float[B, 10] y")).graph == [
        "r.part [1 4] = Relu (user_row)",
        "r.part.2 [B 3] = Relu (item)",
        "user_row.expand [B 4] = Expand (r.part)",
        "item.concat [B 6] = Concat (r.part.2, item)",
        "y [B 10] = Concat (user_row.expand, item.concat)",
    ]


@pytest.mark.parametrize("other", ["Squeeze (user, one)", "Squeeze (user)"])
def test_inputs_of_other_ranks(other: str) -> None:
    """onnx does not see it, behind an operator that it does not know, and onnxruntime does not run it."""
    text = f"""g (float[1, 1] user, float[B, 4] item) => (float[M, K] y) {{
        n = {other} x = com.microsoft.QuickGelu (n) c = Concat <axis = 0> (x, {"x" if "one" not in other else "item"})
        y = Neg (c)
    }}"""
    constants: dict[str, Any] = {"one": [0]} if "one" in other else {}
    assert rewrite(parse(text, domains=', "com.microsoft" : 1', **constants)).program.values["c"].dims is None
