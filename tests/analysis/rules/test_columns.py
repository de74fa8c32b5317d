"""Concat is parts; Slice, Split and Gather by constants are the pieces that they fall on."""

from __future__ import annotations

from typing import Any

import pytest

from mari_onnx.ir.axes import extent_of
from mari_onnx.ir.forms import Parts
from tests.graphs import STYLES, Rewritten, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
CONCAT = "x = Concat <axis = 1> (user, item)"
MOVES = {"Concat", "Expand"}


def parts_of(result: Rewritten, name: str) -> list[Any]:
    parts = result.program.values[name].parts
    assert isinstance(parts, Parts)
    return [sub.extent for sub, _ in parts.pieces]


# Concat


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


def test_columns_that_are_whole_rows_of_what_was_merged() -> None:
    """x[:, 0:2] of (4 2) is the first of the four: no Reshape to 8 columns, of which some are cut out."""
    body = "flat = Reshape (item, eight) first = Gather <axis = 1> (flat, at) y = Relu (first)"
    result = rewrite_and_check(ranking("one", body, item="float[4, 2]", eight=[-1, 8], at=[0, 1]))
    assert [node.input[0] for node in result.nodes("Slice")] == ["item"]


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


# Slice


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


# Split


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
    assert result.refusals("Split") == ["Split of an axis of extent 4 into widths that are not numbers"]


def test_split_into_nothing_is_refused() -> None:
    body = "r = Relu (user) a, b = Split <axis = 1> (r, widths) y = Mul (b, item)"
    result = rewrite_and_check(ranking("one", body, item="float[4]", widths=[0, 4]))
    assert result.refusals("Split") == ["Split into nothing"]


# Gather by constants


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
    """A column of few rows is looked up, which leaves no dimension to drop; one of many is cut out, which is faster."""
    body = """c = Gather <axis = 1> (user, k) i = Cast <to = 7> (c) e = Gather (table, i)
        d = Gather <axis = 1> (item, k) j = Cast <to = 7> (d) f = Gather (table, j) y = Add (e, f)"""
    model = ranking("tiled", body, output="float[B, 3] y", k=2, table=integers(9, 3))
    assert rewrite_and_check(model).graph == [
        "user.user [row 4] = Slice (user)",
        "user.user.gather [row] = Gather (user.user, part)",
        "i.user [row] = Cast (user.user.gather)",
        "e.user [row 3] = Gather (table, i.user)",
        "d.item [B 1] = Slice (item)",
        "j.item [B 1] = Cast (d.item)",
        "j.item.reshape [B] = Reshape (j.item)",
        "f [B 3] = Gather (table, j.item.reshape)",
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


def test_every_other_column_of_none() -> None:
    """An end before the first column is the first column, unless the step is backwards."""
    text = """g (float[1, 5] user, float[B, 5] item) => (float[B, N] y) {
        u = Slice (user, s, e, a, t) i = Slice (item, s, e, a, t) y = Add (u, i)
    }"""
    result = rewrite_and_check(parse(text, s=[0], e=[-100], a=[1], t=[2]))
    assert extent_of(result.program.values["i"].known_dims[1]) == 0


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


def test_a_split_into_numbers_of_what_is_not_one() -> None:
    """The history and the candidate, of which a width of 1 holds only without a history."""
    body = """i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) s = Split <axis = 1> (x, one) y = Relu (s)"""
    result = rewrite(ranking("tiled", body, user="float[L, 3]", output="float[B, M, 3] y", one=[1]))
    assert "Split" in result.ops  # as it is: rewrite asserts that no rule breaks
