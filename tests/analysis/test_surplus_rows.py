"""Rows that are stored and that no candidate has: an id out of its table there fails no call that the original runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx.ir.operators import FUSED_OPERATORS, OPERATORS, named
from mari_onnx.serving.mode import Mode
from mari_onnx.serving.requests import AddedIndex
from mari_onnx.serving.single_row import SingleRow
from mari_onnx.serving.tiled import AS_EXPORTED, TiledByKey
from tests.graphs import evaluate, integers, parse, ranking, rewrite, rewrite_and_check
from tests.runtime import NEWEST_OPSET, RUNS_EMPTY

Feeds = Mapping[str, Any]

INDEX = np.array([0, 2, 2, -1, 0])
"""Of four requests, the second one has no candidate; -1 is the last one."""

TABLE = integers(5, 4)

LOOKUP = "e = Gather (table, user) y = Add (e, item)"

LOW = -1000
"""No table has a row of this number."""


def assert_runs(model: onnx.ModelProto, result: onnx.ModelProto, feeds: Feeds) -> None:
    """Bit for bit what the original gives for these inputs."""
    for wanted, found in zip(evaluate(model, feeds), evaluate(result, feeds), strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


def lookup(style: str, **options: Any) -> onnx.ModelProto:
    return ranking(style, LOOKUP, user="int64[]", item="float[4]", output="float[B, 4] y", table=TABLE, **options)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 17])
@pytest.mark.parametrize("kind", ["int64", "int32"])
def test_a_row_that_no_candidate_refers_to(kind: str, opset: int) -> None:
    """The padding of a batch of requests. Before opset 9, which brought Where, each candidate's id is looked up."""
    body = f"{LOOKUP} z = MatMul (e, w)"
    model = ranking(
        "requests", body, user=f"{kind}[]", item="float[4]", output="float[B, 4] y, float[B, 2] z", table=TABLE,
        w=integers(4, 2), opset=opset,
    )  # fmt: skip
    result = rewrite_and_check(model)
    rows = np.array([1, LOW, 3, 4], kind)
    assert_runs(model, result.model, {"rows": rows, "index": INDEX, "item": integers(5, 4)})
    assert (
        result.program.values["e"].array.tensor.known_shape[0] == result.program.values["rows"].known_dims[0][0].extent
        or opset < 9
    )
    for bad in (0, 2, 3):  # what a candidate refers to fails, as it did
        wrong = rows.copy()
        wrong[bad] = LOW
        for each in (model, result.model):
            with pytest.raises(Exception, match="out of data bounds"):
                evaluate(each, {"rows": wrong, "index": INDEX, "item": integers(5, 4)})


@pytest.mark.skipif(not RUNS_EMPTY, reason="this onnxruntime does not run without candidates")
@pytest.mark.parametrize("style", ["one", "requests"])
@pytest.mark.parametrize(
    "body",
    [
        "y = Gather (item, user)",
        "i = Unsqueeze (user, one) y = GatherND (item, i)",
        "i = Unsqueeze (user, one) j = Concat <axis = 1> (i, i) e = GatherND (item, j) y = Unsqueeze (e, one)",
        "i = Unsqueeze (user, one) j = Expand (i, like) y = GatherElements (item, j)",
    ],
)
def test_a_table_of_candidates_may_have_no_row(style: str, body: str) -> None:
    """Without candidates the original looks nothing up; the user's row 0 would be looked up among none."""
    model = ranking(style, body, user="int64[]", item="float[4]", output="float[B, N] y", one=[1], like=[1, 4])
    user = {"one": {"user_row": np.array([0])}, "requests": {"rows": np.array([0, 1]), "index": np.array([], int)}}
    assert_runs(model, rewrite(model).model, {**user[style], "item": np.empty((0, 4), np.float32)})


@pytest.mark.skipif(not RUNS_EMPTY, reason="this onnxruntime does not run without candidates")
@pytest.mark.parametrize("style", ["one", "requests"])
@pytest.mark.parametrize(
    "body",
    [
        "e = GatherND <batch_dims = 1> (user, first) y = Add (e, item)",
        "u = Unsqueeze (first, one) v = Expand (u, four) e = GatherElements <axis = 1> (user, v) "
        "q = Squeeze (e, one) y = Add (q, item)",
    ],
)
def test_a_history_that_is_looked_up_may_be_empty_where_there_is_no_candidate(style: str, body: str) -> None:
    """The first step of a history of any length is the user's, and is looked up once for each request."""
    first = """
        s = Shape (item) n = Slice (s, zero, one) k = Concat <axis = 0> (n, one) f = ConstantOfShape (k)
        first = Cast <to = 7> (f)
    """
    model = ranking(
        style, first + body, user="float[L, 4]", item="float[4]", output="float[B, N] y", zero=[0], one=[1],
        four=[1, 1, 4],
    )  # fmt: skip
    result = rewrite(model)
    for length in (0, 3):
        user = {
            "one": {"user_row": integers(1, length, 4)},
            "requests": {"rows": integers(3, length, 4), "index": np.array([], int)},
        }
        assert_runs(model, result.model, {**user[style], "item": np.empty((0, 4), np.float32)})


@pytest.mark.skipif(not RUNS_EMPTY, reason="this onnxruntime does not run without candidates")
@pytest.mark.parametrize("style", ["one", "tiled", "requests"])
@pytest.mark.parametrize(
    ("body", "op_type"),
    [
        ("p = ArgMax <axis = 1, keepdims = 0> (user) e = Gather (table, p) y = Add (e, item)", "ArgMax"),
        ("p = ArgMin <axis = 1> (user) r = Reshape (p, flat) e = Gather (table, r) y = Add (e, item)", "ArgMin"),
        ("p = ArgMax <axis = 1, select_last_index = 1> (user) e = Gather (table, p) s = Squeeze (e, one) "
         "y = Add (s, item)", "ArgMax"),
    ],
)  # fmt: skip
def test_a_history_may_be_empty_where_there_is_no_candidate(body: str, op_type: str, style: str) -> None:
    """Without candidates the original looks at no history, and onnxruntime has no ArgMax of one that is empty."""
    model = ranking(
        style, body, user="float[L]", item="float[4]", output="float[B, N] y", table=TABLE, one=[1], flat=[-1]
    )
    result = rewrite_and_check(model)
    assert op_type in result.ops
    none = np.empty((0, 4), np.float32)
    for length in (0, 3):
        user = {
            "one": {"user_row": integers(1, length)},
            "tiled": {"user": integers(0, length)},
            "requests": {"rows": integers(3, length), "index": np.array([], int)},
        }
        assert_runs(model, result.model, {**user[style], "item": none})


def test_one_test_of_rows_for_all_lookups() -> None:
    """Two inputs of the user: the rows that the index refers to are found once, and each input takes one Mul."""
    model = parse(
        """g (int64[R] a, int64[R, 3] b, int64[B] index, float[B, 4] item) => (float[B, 4] y) {
            u = Gather (a, index) v = Gather (b, index) d = Gather (table, u) e = Gather (table, v)
            f = ReduceSum <keepdims = 0> (e, one) g1 = Add (d, f) y = Add (g1, item) }""",
        table=TABLE, one=[1],
    )  # fmt: skip
    result = rewrite_and_check(model, ())
    assert (result.ops.count("ScatterElements"), result.ops.count("Mul")) == (1, 2)
    a, b = np.array([1, LOW, 3, 4]), np.array([[0, 1, 2], [LOW, 0, LOW], [4, 4, 4], [3, 2, 1]])
    assert_runs(model, result.model, {"a": a, "b": b, "index": INDEX, "item": integers(5, 4)})


def test_ids_of_both_sides_in_one_lookup() -> None:
    """The user's ids are looked up once for each request."""
    body = """
        u = Unsqueeze (user, one) ids = Concat <axis = 1> (u, item) e = Gather (table, ids) f = Flatten (e)
        y = MatMul (f, w)
    """
    model = ranking(
        "requests", body, user="int64[]", item="int64[2]", output="float[B, 9] y", table=TABLE, one=[1],
        w=integers(12, 9),
    )  # fmt: skip
    result = rewrite_and_check(model)
    assert result.ops.count("Mul") == 1
    feeds = {"rows": np.array([1, LOW, 3, 4]), "index": INDEX, "item": np.arange(10).reshape(5, 2) % 5}
    assert_runs(model, result.model, feeds)


def test_rows_that_were_looked_up_before_they_are_selected_need_no_test() -> None:
    """The original reads every row here."""
    model = parse(
        """g (int64[R] a, int64[B] index, float[B, 4] item) => (float[B, 4] y) {
            e = Gather (table, a) u = Gather (e, index) y = Add (u, item) }""",
        table=TABLE,
    )  # fmt: skip
    assert "Mul" not in rewrite_and_check(model, ()).ops


@pytest.mark.parametrize(
    ("mode", "tests"), [(AS_EXPORTED, 0), (SingleRow(), 0), (TiledByKey(("user",)), 0), (AddedIndex(), 1)]
)
def test_kept_rows_that_are_always_somebodys(mode: Mode, tests: int) -> None:
    """Row 0, the row that is sent, the first row of each key; what is sent for several requests may be nobody's."""
    result = rewrite(lookup("tiled"), mode=mode)
    assert result.ops.count("Mul") == tests
    if tests:
        rows = np.array([1, LOW, 3, 4])
        found = evaluate(result.model, {"user": rows, "request_index": INDEX, "item": integers(5, 4)})
        np.testing.assert_array_equal(found[0], TABLE[rows[INDEX]] + integers(5, 4))


def test_the_user_model_of_a_split_computes_what_it_is_sent() -> None:
    """It does not see the candidates. Were the test of rows part of it, the lookup would be the ranking model's."""
    body = "e = Gather (table, user) h = MatMul (e, w) y = Add (h, item)"
    model = ranking(
        "requests", body, user="int64[]", item="float[8]", output="float[B, 8] y", table=TABLE, w=integers(4, 8)
    )
    models = mari_onnx.split(model, user_inputs=["rows"], verify=False).models
    assert [node.op_type for node in models["user"].graph.node] == ["Gather", "MatMul"]
    assert [i.name for i in models["user"].graph.input] == ["rows"]


@pytest.mark.skipif(not RUNS_EMPTY, reason="onnxruntime does not run models without candidates")
@pytest.mark.parametrize("opset", [8, 11, 17])
def test_the_one_row_in_a_call_without_candidates(opset: int) -> None:
    """The original expands the id to no candidate at all, and looks nothing up."""
    model = lookup("one", opset=opset)
    result = rewrite_and_check(model)
    assert_runs(model, result.model, {"user_row": np.array([LOW]), "item": integers(0, 4)})
    assert_runs(model, result.model, {"user_row": np.array([4]), "item": integers(3, 4)})


@pytest.mark.parametrize("operator", ["Mod", "Div"])
@pytest.mark.parametrize("opset", [10, 13, 17])
def test_a_divisor_of_fewer_dimensions(operator: str, opset: int) -> None:
    """The divisor is 1 for rows that no candidate refers to, so that it has rows as well."""
    model = parse(
        f"""g (int64[1] divisor, int64[R, 2, 4] rows, int64[B] index) => (int64[B, 2, 4] y) {{
            x = Gather (rows, index) y = {operator} (x, divisor) }}""",
        opset=opset,
    )
    result = rewrite(model, ())
    assert not result.refusals(operator)
    rows = np.arange(24).reshape(3, 2, 4)
    assert_runs(model, result.model, {"divisor": np.array([3]), "rows": rows, "index": np.array([2, 0, 0, 1])})


def test_rows_that_a_mask_leaves_out() -> None:
    """The usual way around a division by zero."""
    body = """
        zero = Constant <value_int = 0> () none = Equal (item, zero) some = Not (none) places = NonZero (some)
        at = Transpose <perm = [1, 0]> (places) x = GatherND (item, at) q = Div (hundred, x) y = ScatterND (item, at, q)
    """
    hundred = np.array(100)
    model = ranking("tiled", body, user="float[]", item="int64[]", output="int64[B] y", hundred=hundred)
    assert_runs(model, rewrite(model).model, {"user": integers(5), "item": np.array([3, 0, 7, 0, -2])})


ONE: dict[str, Any] = {"one": [1]}
HUNDRED: dict[str, Any] = {"hundred": np.array(100)}

CHECKED: dict[str, tuple[str, str, dict[str, Any], Any]] = {
    "Gather": ("float[B, 4]", "y = Gather (table, user)", {"table": TABLE}, LOW),
    "GatherElements": ("float[B, 1]", "i = Unsqueeze (user, one) y = GatherElements <axis = 1> (rest, i)", ONE, LOW),
    "GatherND": ("float[B]", "i = Unsqueeze (user, one) y = GatherND <batch_dims = 1> (rest, i)", ONE, LOW),
    "ScatterElements": (
        "float[B, 4]",
        "i = Unsqueeze (user, one) u = Cast <to = 1> (i) y = ScatterElements <axis = 1> (rest, i, u)",
        ONE,
        LOW,
    ),
    "ReverseSequence": ("float[B, 4]", "y = ReverseSequence <batch_axis = 0, time_axis = 1> (rest, user)", {}, LOW),
    "Div": ("int64[B]", "y = Div (hundred, user)", HUNDRED, 0),
    "Mod": ("int64[B]", "y = Mod (hundred, user)", HUNDRED, 0),
    "Cast": ("float[B]", "y = Cast <to = 1> (user)", {}, "nobody"),
    "CastLike": ("float[B]", "y = CastLike (user, like)", {"like": np.array(1, np.float32)}, "nobody"),
    **{
        name: (
            "float[B, 1, 2]",
            f"""n = Cast <to = 6> (user) s = Unsqueeze (rest, two) x = Transpose <perm = [1, 0, 2]> (s)
                all, h = {name} <hidden_size = 2> (x, w, r, , n) y = Transpose <perm = [1, 0, 2]> (h)""",
            {"two": [2], "w": integers(1, 2 * gates, 1), "r": integers(1, 2 * gates, 2)},
            LOW,
        )
        for name, gates in (("GRU", 3), ("LSTM", 4), ("RNN", 1))
    },
    "Attention": (
        "float[B, 1, 4, 1]",
        "s = Unsqueeze (rest, places) y = Attention (s, s, s, , , , user)",
        {"places": [1, 3]},
        LOW,
    ),
}
"""By operator: the type of its result, the nodes, their constants, and an element on which the operator fails."""


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() & named(lambda t: bool(t.checked))))
def test_every_operator_that_fails_on_some_elements(name: str) -> None:
    """It reads `user`, which an index selects; `rest` is the user's as well. A new operator needs an entry here."""
    if name == "Attention" and NEWEST_OPSET < 24:
        pytest.skip("onnxruntime has no Attention with lengths")
    result, body, constants, wrong = CHECKED[name]
    kind = "string" if isinstance(wrong, str) else "int64"
    model = parse(
        f"""g ({kind}[R] rows, float[R, 4] others, int64[B] index, float[B, 4] item) => ({result} y) {{
            user = Gather (rows, index) rest = Gather (others, index) {body} }}""",
        opset=24 if name == "Attention" else 17, ir=10, **constants,
    )  # fmt: skip
    rows = np.array([type(wrong)(1), wrong, type(wrong)(3), type(wrong)(2)], object if kind == "string" else np.int64)
    written = rewrite(model, ())
    stored = written.program.values["y"].array.tensor.known_shape
    assert "R" in {str(extent) for extent in stored}, "computed for each request"
    assert_runs(model, written.model, {"rows": rows, "others": integers(4, 4), "index": INDEX, "item": integers(5, 4)})


def test_a_row_that_cannot_be_binarized() -> None:
    """A Binarizer fails on a NaN."""
    model = parse(
        """g (float[R, 4] rows, int64[B] index, float[B, 4] item) => (float[B, 4] y) {
            user = Gather (rows, index) h = ai.onnx.ml.Binarizer <threshold = 0.5> (user) y = Add (h, item) }""",
        domains=', "ai.onnx.ml" : 3',
    )  # fmt: skip
    rows = integers(4, 4)
    rows[1] = np.nan
    written = rewrite(model, ())
    assert "R" in {str(extent) for extent in written.program.values["h"].array.tensor.known_shape}
    assert_runs(model, written.model, {"rows": rows, "index": INDEX, "item": integers(5, 4)})


def test_operators_that_runtimes_fuse_fail_on_no_element() -> None:
    assert not any(traits.checked for name, traits in FUSED_OPERATORS.items() if traits is not OPERATORS.get(name))
