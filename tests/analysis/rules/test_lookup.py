"""Embeddings follow the forms of their ids; rows of requests are selected by an index; OneHot."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.graphs import IDS, STYLES, assert_same, evaluate, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
TABLE = integers(4 * IDS, 6)


@styles
@pytest.mark.parametrize("kind", ["int64", "int32"])
def test_as_many_lookups_as_there_are_ids(style: str, kind: str) -> None:
    """The user's ids are looked up once, whatever follows."""
    body = "u = Gather (table, user) i = Gather (table, item) x = Concat <axis = 1> (u, i) y = MatMul (x, w)"
    model = ranking(style, body, user=f"{kind}[]", item=f"{kind}[]", table=TABLE, w=integers(12, 2))
    result = rewrite_and_check(model)
    tables = [n for n in result.nodes("Gather") if n.input[0] == "table"]
    assert len(tables) == 2
    assert "Expand" not in result.ops
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2


@styles
def test_ids_that_are_packed_before_the_lookup(style: str) -> None:
    """Concat of ids, offsets, one lookup, cut apart after."""
    body = """
        ids = Concat <axis = 1> (user, item) shifted = Add (ids, offsets) e = Gather (table, shifted)
        a, b, c, d = Split <axis = 1> (e, widths) s = Concat <axis = 2> (d, a) f = Flatten (s) h = MatMul (f, w)
        g = Flatten (e) z = MatMul (g, v) y = Add (h, z)
    """
    model = ranking(
        style, body, user="int64[2]", item="int64[2]", table=TABLE, offsets=[0, IDS, 2 * IDS, 3 * IDS],
        widths=[1, 1, 1, 1], w=integers(12, 3), v=integers(24, 3),
    )  # fmt: skip
    result = rewrite_and_check(model)
    assert sum(n.input[0] == "table" for n in result.nodes("Gather")) == 2
    assert "Expand" not in result.ops
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 4


def test_a_row_of_columns_is_given_one_shape() -> None:
    """The row of ids that the caller repeats is chosen late, and is not reshaped twice for that."""
    fields = [*(f"user{i}" for i in range(8)), "item"]
    body = f"""
        {" ".join(f"{name}1 = Unsqueeze ({name}, one)" for name in fields)}
        ids = Concat <axis = 1> ({", ".join(f"{name}1" for name in fields)}) shifted = Add (ids, offsets)
        e = Gather (table, shifted) x = Reshape (e, flat) y = Gemm (x, w, b)
    """
    width = 16 * len(fields)
    model = parse(
        f"g ({', '.join(f'int64[B] {name}' for name in fields)}) => (float[B, N] y) {{ {body} }}",
        table=integers(IDS * len(fields), 16), offsets=[IDS * i for i in range(len(fields))], flat=[-1, width],
        one=[1], w=integers(width, 64), b=integers(64),
    )  # fmt: skip
    result = rewrite(model, fields[:8], batch=50)
    assert_same(model, result.model, fields[:8])
    reshaped = {node.output[0] for node in result.nodes("Reshape")}
    assert not [node for node in result.nodes("Reshape") if node.input[0] in reshaped]
    assert result.ops.count("Slice") == 1


def test_what_is_looked_up_whole_is_not_looked_up_in_parts_as_well() -> None:
    """The parts are columns of the whole, and of its first row."""
    fields = ["user", "user2", "user3", "item", "item2", "item3"]
    body = f"""
        {" ".join(f"{name}1 = Unsqueeze ({name}, one)" for name in fields)}
        ids = Concat <axis = 1> ({", ".join(f"{name}1" for name in fields)}) shifted = Add (ids, offsets)
        e = Gather (table, shifted) x = Reshape (e, flat) s = MatMul (x, c) m = Mul (x, s) r = Relu (m)
        h = Gemm (x, w, b) y = Concat <axis = 1> (r, h)
    """
    width = 16 * len(fields)
    model = parse(
        f"g ({', '.join(f'int64[B] {name}' for name in fields)}) => (float[B, N] y) {{ {body} }}",
        table=integers(IDS * len(fields), 16), offsets=[IDS * i for i in range(len(fields))], flat=[-1, width],
        one=[1], c=integers(width, 1), w=integers(width, 64), b=integers(64),
    )  # fmt: skip
    result = rewrite_and_check(model, ("user", "user2", "user3"))
    assert sum(n.input[0] == "table" for n in result.nodes("Gather")) == 1
    assert result.ops.count("Gemm") == 4


def test_one_of_several_weights() -> None:
    """Experts that are stored as one tensor: what a constant selects of it is a constant."""
    body = "x = Concat <axis = 1> (user, item) e = Gather (experts, which) y = MatMul (x, e)"
    model = ranking("one", body, experts=integers(3, 7, 2), which=np.array(1, np.int64))
    assert sorted(rewrite_and_check(model).ops) == ["Gemm", "Gemm"]


@styles
def test_neighbours_that_are_looked_up_together_stay_together(style: str) -> None:
    body = """
        next = Add (user, one) ids = Concat <axis = 1> (user, next, item) e = Gather (table, ids) f = Flatten (e)
        c = Cast <to = 1> (item) x = Concat <axis = 1> (f, c) y = MatMul (x, w)
    """
    model = ranking(style, body, user="int64[2]", item="int64[2]", table=TABLE, one=[1, 1], w=integers(38, 3))
    result = rewrite_and_check(model)
    assert result.ops.count("Concat") == 2
    assert result.ops.count("Slice") == (style == "tiled")


@styles
def test_sequences_of_ids(style: str) -> None:
    body = "e = Gather (table, user) s = ReduceSum <keepdims = 0> (e, one) y = Mul (s, item)"
    model = ranking(style, body, user="int64[5]", item="float[6]", table=TABLE, one=[1])
    assert "Expand" not in rewrite_and_check(model).ops


@styles
def test_ids_as_columns_of_floats(style: str) -> None:
    """Sliced out of one matrix, cast, squeezed and looked up."""
    body = """
        c = Slice (user, one, two, one) a = Abs (c) l = Cast <to = 7> (a) s = Squeeze (l, one) e = Gather (table, s)
        y = Mul (e, item)
    """
    model = ranking(style, body, item="float[6]", table=TABLE, one=[1], two=[2])
    assert "Expand" not in rewrite_and_check(model).ops


@styles
def test_along_another_axis(style: str) -> None:
    body = "e = Gather <axis = 1> (table, user) t = Transpose (e) y = Mul (t, item)"
    model = ranking(style, body, user="int64[]", item="float[6]", table=TABLE.T.copy())
    assert "Expand" not in rewrite_and_check(model).ops


@styles
def test_a_table_that_is_computed(style: str) -> None:
    body = "t = Relu (table) e = Gather (t, user) y = Mul (e, item)"
    model = ranking(style, body, user="int64[]", item="float[6]", table=TABLE)
    assert "Expand" not in rewrite_and_check(model).ops


@styles
def test_the_items_choose_from_the_sequence_of_the_user(style: str) -> None:
    """Gather(user [B L D], k) for one k, and along the length by the items' own ids: every pair of rows."""
    body = "e = Gather <axis = 1> (user, item) m = ReduceMax <keepdims = 0> (e) q = Neg (m) y = Unsqueeze (q, zero_)"
    model = ranking(style, body, user="float[5, 4]", item="int64[]", output="float[N] y", zero_=[0])
    rewrite_and_check(model)


@styles
def test_columns_of_each_candidate_for_each(style: str) -> None:
    """Gather(x [B L], ids [B]) along L, with ids of x: its axis of candidates is in two dimensions."""
    body = "x = Add (item, user) a = ArgMax <axis = 1, keepdims = 0> (x) e = Gather <axis = 1> (x, a) y = Neg (e)"
    rewrite_and_check(ranking(style, body, item="float[4]"))


# Rows of requests


@pytest.mark.parametrize("kind", ["int64", "int32"])
def test_rows_of_requests(kind: str) -> None:
    text = f"g (float[R, 4] rows, {kind}[B] index, float[B, 4] item) => (float[B, 4] y)"
    result = rewrite_and_check(
        parse(f"{text} {{ u = Gather (rows, index) r = Relu (u) n = Neg (r) y = Mul (n, item) }}")
    )
    assert result.ops == ["Relu", "Neg", "Gather", "Mul"]


def test_rows_of_rows() -> None:
    """rows[i][j] = rows[i[j]]: only the index is looked up twice."""
    text = "g (float[R, 4] rows, int64[S] index, int64[B] index2, float[B, 4] item) => (float[B, 4] y)"
    result = rewrite_and_check(
        parse(f"{text} {{ u = Gather (rows, index) r = Relu (u) v = Gather (r, index2) y = Mul (v, item) }}")
    )
    assert sorted(result.ops) == ["Gather", "Gather", "Mul", "Relu"]
    assert [n.input[0] for n in result.nodes("Relu")] == ["rows"]


def test_maps_that_are_equal_combine() -> None:
    text = "g (float[R, 4] a, float[R, 4] b, int64[B] index, float[B, 4] item) => (float[B, 4] y)"
    body = "u = Gather (a, index) v = Gather (b, index) m = Mul (u, v) r = Relu (m) y = Mul (r, item)"
    result = rewrite_and_check(parse(f"{text} {{ {body} }}"))
    assert result.ops == ["Mul", "Relu", "Gather", "Mul"]


def test_maps_that_differ_do_not() -> None:
    text = "g (float[R, 4] a, float[R, 4] b, int64[B] index, int64[B] index2, float[B, 4] item) => (float[B, 4] y)"
    body = "u = Gather (a, index) v = Gather (b, index2) m = Mul (u, v) r = Relu (m) y = Mul (r, item)"
    result = rewrite_and_check(parse(f"{text} {{ {body} }}"))
    assert result.ops == ["Gather", "Gather", "Mul", "Relu", "Mul"]


def test_maps_that_differ_meet_behind_their_products() -> None:
    """The rows that one index selects cannot be the bias of a product of those that another one selects."""
    text = "g (float[R, 60] rows, int64[B] index, int64[B] index2) => (float[B, 4] y)"
    body = "u = Gather (rows, index) v = Gather (rows, index2) x = Concat <axis = -1> (u, v) y = Gemm (x, w)"
    result = rewrite_and_check(parse(f"{text} {{ {body} }}", w=integers(120, 4)))
    assert sorted(result.ops) == ["Add", "Gather", "Gather", "Gemm", "Gemm"]


def test_rows_of_requests_by_gather_nd() -> None:
    text = "g (float[R, 4] rows, int64[B] index, float[B, 4] item) => (float[B, 4] y)"
    body = "i = Unsqueeze (index, one) u = GatherND (rows, i) r = Relu (u) y = Mul (r, item)"
    result = rewrite_and_check(parse(f"{text} {{ {body} }}", one=[1]))
    assert result.ops == ["Relu", "Gather", "Mul"]


MANY_PAIRS = np.stack(np.triu_indices(20, 1), 1)
"""More of them than shape arithmetic looks at."""


@styles
@pytest.mark.parametrize("pairs", [np.stack(np.triu_indices(7, 1), 1), [[-1, 0], [2, -2], [2, -2], [3, 1]] * 4])
def test_rows_of_fields_by_gather_nd(style: str, pairs: npt.ArrayLike) -> None:
    """x[:, i] * x[:, j], as dynamo writes it: what the user's fields make with each other is the user's."""
    body = """
        f = Concat <axis = 1> (user, item) t = Transpose <perm = [1, 0, 2]> (f)
        a = GatherND (t, i) b = GatherND (t, j) m = Mul (a, b) p = Transpose <perm = [1, 0, 2]> (m)
        s = ReduceSum <keepdims = 0> (p, last) y = MatMul (s, w)
    """
    left, right = np.asarray(pairs, np.int64).T[:, :, None]
    w = integers(len(left), 32)
    model = ranking(style, body, user="float[6, 16]", item="float[1, 16]", i=left, j=right, last=[2], w=w)
    result = rewrite_and_check(model)
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == (2 if style == "requests" else 4)
    assert not {"GatherND", "Expand"} & set(result.ops)


@styles
@pytest.mark.parametrize("pairs", [[[0, 1], [2, -1]], MANY_PAIRS])
def test_entries_of_a_product_by_gather_nd(style: str, pairs: npt.ArrayLike) -> None:
    """z[:, i, j] of z = x @ x.T (DLRM): columns of its two dimensions as one."""
    body = """
        z = MatMul (user, item) t = Transpose <perm = [1, 2, 0]> (z) p = GatherND (t, pairs) q = Transpose (p)
        y = Neg (q)
    """
    model = ranking(style, body, user="float[20, 3]", item="float[3, 20]", pairs=np.asarray(pairs, np.int64))
    assert "Expand" not in rewrite_and_check(model).ops


@pytest.mark.parametrize("count", [3, 300])
def test_columns_by_many_constants(count: int) -> None:
    """A selection is one of columns however many there are."""
    body = "f = Concat <axis = 1> (user, item) s = Gather <axis = 1> (f, many) y = MatMul (s, w)"
    many = np.arange(count) * 5 % 7
    result = rewrite_and_check(ranking("one", body, many=many, w=integers(count, 2)))
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("GatherND <batch_dims = 1> (u, i)", "GatherND of inputs whose extents B and 7 may differ"),
        ("GatherND (u, pair)", "GatherND by constants from axes of extents B, 4"),
        ("GatherND (u, first)", "GatherND by constants from axes of extents B"),
    ],
)
def test_other_uses_of_gather_nd(node: str, reason: str) -> None:
    body = f"r = Relu (user) u = Add (r, k) e = {node} m = ReduceMax <keepdims = 0> (e) y = Add (m, item)"
    constants: dict[str, Any] = {"pair": [[0, 1]], "first": [[0]], "k": integers(4), "i": np.zeros((7, 1), np.int64)}
    used: dict[str, Any] = {name: value for name, value in constants.items() if name in node or name == "k"}
    result = rewrite(ranking("one", body, **used))
    assert result.refusals("GatherND") == [reason]
    assert "GatherND" in result.ops


def test_a_row_of_the_items_that_the_user_picks_by_gather_nd() -> None:
    body = "a = ArgMin <axis = 1> (user) m = Mul (a, zero_) e = GatherND (item, m) y = Neg (e)"
    assert not rewrite_and_check(ranking("one", body, zero_=[0])).refusals("GatherND")


@styles
@pytest.mark.parametrize("index", ["Unsqueeze (ids, two)", "Reshape (ids, three)"])
def test_a_table_that_is_looked_up_by_gather_nd(style: str, index: str) -> None:
    """table[ids], as torch's newer exporter writes the lookup in a parameter: the user's rows are those of one user."""
    body = f"""
        f = Concat <axis = 1> (user, item) k = Mod <fmod = 1> (f, ten) ids = Cast <to = 7> (k) i = {index}
        e = GatherND (table, i) h = Reshape (e, wide) y = MatMul (h, w)
    """
    shapes: dict[str, Any] = {"two": [2]} if "two" in index else {"three": [0, 7, 1]}
    weights: dict[str, Any] = {"table": integers(10, 5), "w": integers(35, 2), "ten": np.float32(10)}
    result = rewrite_and_check(ranking(style, body, wide=[-1, 35], **weights, **shapes))
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2


def test_the_only_row_whatever_the_index() -> None:
    """index_select(user, zeros(B))."""
    body = """
        s = Shape (item) b = Gather (s, zero) z = ConstantOfShape <value = int64[1] {0}> (b) u = Gather (user, z)
        y = Mul (u, item)
    """
    model = parse(f"g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) {{ {body} }}", zero=[0])
    assert rewrite_and_check(model).ops == ["Mul"]


def test_selected_rows_of_pairs_of_two_users_rows() -> None:
    """Two tiled inputs make one dimension, of which row 0 of each is kept: no single row stands for the selected."""
    text = """g (float[?, 4] user, float[?, 4] other, float[?, 4] item) => (float[P, 4] y, float[?, 4] z) {
        a = Unsqueeze (user, one) b = Unsqueeze (other, zero) c = Mul (a, b) d = Reshape (c, rows) z = Relu (item)
        k = ReduceMax <axes = [1], keepdims = 0> (d) g = Greater (k, half) p = NonZero (g) q = Transpose (p)
        y = GatherND (d, q) }"""
    model = parse(text, one=[1], zero=[0], rows=[-1, 4], half=np.float32(0.5))
    assert "GatherND" in rewrite_and_check(model, ["user", "other"]).ops


def test_the_only_place_of_a_dimension_keeps_the_columns_apart() -> None:
    """Gather(x, 0) along an extent of 1 is a Squeeze."""
    body = """
        x = Concat <axis = 1> (user, item) column = Reshape (x, three) flat = Gather <axis = 2> (column, nought)
        y = MatMul (flat, w)
    """
    result = rewrite_and_check(ranking("one", body, three=[-1, 7, 1], nought=0, w=integers(7, 2)))
    assert result.program.values["flat"].parts is not None
    assert "Concat" not in result.ops


# OneHot


@styles
@pytest.mark.parametrize(("axis", "summed", "width"), [(-1, 1, IDS), (1, 2, IDS), (0, 0, 5)])
def test_one_hot(style: str, axis: int, summed: int, width: int) -> None:
    body = f"o = OneHot <axis = {axis}> (user, depth, values) m = ReduceSum <keepdims = 0> (o, axes) y = Mul (m, item)"
    constants: dict[str, Any] = {"depth": IDS, "values": np.array([0, 1], np.float32), "axes": [summed]}
    result = rewrite_and_check(ranking(style, body, user="int64[5]", item=f"float[{width}]", **constants))
    assert "Expand" not in result.ops


def test_a_depth_that_is_computed_is_refused() -> None:
    text = "g (int64[1, 5] user, int64 depth, int64[B, 5] item) => (float[M] y)"
    body = """
        s = Shape (item) u = Expand (user, s) o = OneHot (u, depth, values) m = ReduceMax <keepdims = 0> (o)
        y = Reshape (m, one)
    """
    result = rewrite(parse(f"{text} {{ {body} }}", values=np.array([0, 1], np.float32), one=[1]))
    assert result.refusals("OneHot") == ["the depth of OneHot is computed by the model"]


def test_the_graph() -> None:
    """The rows of several requests are looked up and multiplied before an index selects of them."""
    body = "ids = Concat <axis = 1> (user, item) e = Gather (table, ids) f = Flatten (e) y = MatMul (f, w)"
    types: dict[str, Any] = {"user": "int64[2]", "item": "int64[2]", "output": "float[B, 2] y"}
    result = rewrite_and_check(ranking("requests", body, **types, table=TABLE, w=integers(24, 2)))
    assert result.graph == [
        "index.zeros [R] = ConstantOfShape ()",
        "index.ones [B] = ConstantOfShape ()",
        "index.referred [R] = ScatterElements (index.zeros, index, index.ones)",
        "index.referred.reshape [R 1] = Reshape (index.referred)",
        "rows.referred [R 2] = Mul (rows, index.referred.reshape)",
        "e.part [R 2 6] = Gather (table, rows.referred)",
        "e.part.2 [B 2 6] = Gather (table, item)",
        "table.reshape [R 12] = Reshape (e.part)",
        "y.user [R 2] = Gemm (table.reshape, w.user)",
        "table.reshape.2 [B 12] = Reshape (e.part.2)",
        "y.user.gather [B 2] = Gather (y.user, index)",
        "y [B 2] = Gemm (table.reshape.2, w.item, y.user.gather)",
    ]


def test_an_index_that_is_repeated_no_times_is_not_looked_up() -> None:
    """[B, 1] without its column is [B, 0]: no index is left, and those that were there may be too large."""
    body = """i = Unsqueeze (ids, one) none = Gather <axis = 1> (i, nothing) n = Shape (item) b = Gather (n, zero)
        s = Concat <axis = 0> (b, four) u = Expand (user, s) y = Gather <axis = 1> (u, none)"""
    text = "g (int64[B] ids, float[B, 3] item, float[1, 4] user) => (float[B, B, 0] y)"
    constants: dict[str, Any] = {"one": [1], "nothing": np.zeros(0, np.int64), "zero": [0], "four": [4]}
    result = rewrite(parse(f"{text} {{ {body} }}", **constants))
    given = {"ids": np.array([1, 99]), "item": integers(2, 3), "user": integers(1, 4)}
    assert evaluate(result.model, given)[0].shape == (2, 2, 0)
    assert result.refusals("Gather") == ["Gather looks nothing up: its indices have an extent of 0"]


@pytest.mark.parametrize("data", ["Squeeze (user)", "Slice (item, zero, zero, zero)"])
def test_a_gather_of_nothing_or_of_a_number(data: str) -> None:
    """onnx does not see it, behind an operator that it does not know, and onnxruntime does not run it."""
    text = f"""g (float[1, 1] user, float[4, 4] item) => (float[M, K] y) {{
        n = {data} x = com.microsoft.QuickGelu (n) r = Gather (x, ids) y = Neg (r)
    }}"""
    constants: dict[str, Any] = {"zero": [0]} if "zero" in data else {}
    result = rewrite(parse(text, domains=', "com.microsoft" : 1', ids=[2, 0], **constants))
    assert "Gather" in result.ops


@pytest.mark.parametrize("opset", [17, 21])
def test_rows_of_several_strings_are_left_alone(opset: int) -> None:
    """onnxruntime gives the first string of each row alone, and so the original's scores are those of empty strings."""
    text = """g (string[R, 2] rows, int64[B] index, float[B, 4] item) => (float[B, 4] y) {
        user = Gather (rows, index) n = ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b"], values_int64s = [1, 2],
            default_int64 = 0> (user) e = Gather (table, n) s = ReduceSum <keepdims = 0> (e, one) y = Add (s, item) }"""
    model = parse(text, opset=opset, domains=', "ai.onnx.ml" : 3', table=integers(3, 4), one=[1])
    result = rewrite(model, ())
    assert result.ops == ["Gather", "LabelEncoder", "Gather", "ReduceSum", "Add"]
    feeds = {
        "rows": np.array([["a", "b"], ["b", "a"], ["a", "a"]], object), "index": np.array([2, 0, 1, 0]),
        "item": integers(4, 4),
    }  # fmt: skip
    np.testing.assert_array_equal(evaluate(result.model, feeds)[0], evaluate(model, feeds)[0])


def test_rows_of_several_strings_that_are_all_the_same() -> None:
    body = """g = Gather (user, index) n = ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b"], values_int64s = [1, 2],
        default_int64 = 0> (g) e = Gather (table, n) s = ReduceSum <keepdims = 0> (e, one) y = Add (s, item)"""
    model = ranking(
        "tiled", body, user="string[2]", item="float[4]", output="float[B, 4] y", domains=', "ai.onnx.ml" : 3',
        table=integers(3, 4), one=[1], index=[0],
    )  # fmt: skip
    result = rewrite(model)
    assert result.refusals("Gather") == [
        "Gather of several strings at once, of which onnxruntime gives the first alone"
    ]
    (remark,) = (r for r in result.remarks if r.status == "refused")
    assert remark.next_step
    given = {"user": np.array([["a", "b"]] * 3, object), "item": integers(3, 4)}
    np.testing.assert_array_equal(evaluate(result.model, given)[0], evaluate(model, given)[0])
