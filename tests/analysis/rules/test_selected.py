"""Gather by constants gives the pieces that the places fall on."""

from __future__ import annotations

import pytest

from tests.graphs import STYLES, integers, ranking, rewrite_and_check

CONCAT = "x = Concat <axis = 1> (user, item)"
styles = pytest.mark.parametrize("style", STYLES)


@styles
@pytest.mark.parametrize("columns", [[0, 1, 2], [-2, -1], [3], [6, 0], [5, 2, 2, 0], [4, 5, 6], [0, 2, 4, 6]])
def test_gather_of_columns(style: str, columns: list[int]) -> None:
    rewrite_and_check(ranking(style, f"{CONCAT} y = Gather <axis = 1> (x, columns)", columns=columns))


@styles
@pytest.mark.parametrize("column", [0, 3, 5, -1])
def test_gather_of_one_column(style: str, column: int) -> None:
    body = f"{CONCAT} y = Gather <axis = 1> (x, column)"
    rewrite_and_check(ranking(style, body, output="float[B] y", column=column))


@styles
def test_columns_of_the_user_in_any_order(style: str) -> None:
    """What lacks the candidates lacks them after."""
    result = rewrite_and_check(
        ranking(style, "g = Gather <axis = 1> (user, columns) y = Mul (g, item)", columns=[2, 0, 3])
    )
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("columns", [[0, 1], [2, 0, 0], [3]])
def test_columns_of_what_is_not_stored(style: str, columns: list[int]) -> None:
    body = "e = Expand (user, wide) g = Gather <axis = 1> (e, columns) y = Mul (g, item)"
    model = ranking(style, body, user="float[1]", item=f"float[{len(columns)}]", columns=columns, wide=[1, 4])
    assert rewrite_and_check(model).ops[-1] == "Mul"


@styles
@pytest.mark.parametrize("places", [[[1], [2], [5], [6]], [[3], [4]], [[6], [0], [3], [1]]])
def test_columns_of_what_is_turned(style: str, places: list[list[int]]) -> None:
    """x[:, places] as torch.export has it: columns are taken where they are stored, and nothing is transposed."""
    body = f"{CONCAT} t = Transpose (x) g = GatherND (t, places) s = Transpose (g) y = MatMul (s, w)"
    result = rewrite_and_check(ranking(style, body, places=places, w=integers(len(places), 3)))
    assert "GatherND" not in result.ops
    assert "Transpose" not in result.ops or places[0] != [1]


def test_ids_that_are_columns_of_numbers() -> None:
    """A column is looked up: that takes as long as to cut it out, and leaves no dimension to drop."""
    body = """c = Gather <axis = 1> (user, k) i = Cast <to = 7> (c) e = Gather (table, i)
        d = Gather <axis = 1> (item, k) j = Cast <to = 7> (d) f = Gather (table, j) y = Add (e, f)"""
    model = ranking("tiled", body, output="float[B, 3] y", k=2, table=integers(9, 3))
    assert rewrite_and_check(model).graph == [
        "user.user [row:0 4] = Slice (user)",
        "user.user.gather [row:0] = Gather (user.user, part)",
        "i.user [row:0] = Cast (user.user.gather)",
        "e.user [row:0 3] = Gather (table, i.user)",
        "item.gather [B] = Gather (item, part)",
        "j.item [B] = Cast (item.gather)",
        "f [B 3] = Gather (table, j.item)",
        "y [B 3] = Add (e.user, f)",
    ]


@styles
def test_rows_of_a_sequence(style: str) -> None:
    """The last step of a sequence, and a few of its steps."""
    body = """
        g = Gather <axis = 1> (user, last) h = Gather <axis = 1> (user, some) s = ReduceSum <keepdims = 0> (h, one)
        a = Add (g, s) y = Mul (a, item)
    """
    model = ranking(style, body, user="float[5, 4]", item="float[4]", last=-1, some=[0, 3], one=[1])
    assert "Expand" not in rewrite_and_check(model).ops


@styles
def test_pairs_of_fields(style: str) -> None:
    """FM's rows and columns of the upper triangle."""
    body = """
        u = Reshape (user, fields) i = Unsqueeze (item, one) x = Concat <axis = 1> (u, i)
        a = Gather <axis = 1> (x, rows_) b = Gather <axis = 1> (x, columns)
        m = Mul (a, b) y = ReduceSum <keepdims = 0> (m, two)
    """
    model = ranking(
        style, body, user="float[6]", item="float[2]", output="float[B, 6] y",
        fields=[-1, 3, 2], one=[1], two=[2], rows_=[0, 0, 0, 1, 1, 2], columns=[1, 2, 3, 2, 3, 3],
    )  # fmt: skip
    rewrite_and_check(model)


def test_the_graph() -> None:
    """Columns are picked on either side, and nothing is put together."""
    body = f"{CONCAT} s = Gather <axis = 1> (x, places) y = MatMul (s, w)"
    model = ranking("one", body, output="float[B, 2] y", places=[6, 0, 2, 4], w=integers(4, 2))
    result = rewrite_and_check(model)
    assert result.graph == [
        "user_row.gather [1 2] = Gather (user_row, part)",
        "item.transpose [3 B] = Transpose (item)",
        "item.gather [2 B] = Gather (item.transpose, part.2)",
        "item.transpose.2 [B 2] = Transpose (item.gather)",
        "y.user [1 2] = Gemm (user_row.gather, w.user)",
        "y [B 2] = Gemm (item.transpose.2, w.item, y.user)",
    ]
