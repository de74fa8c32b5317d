"""Which inputs belong to the request, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import pytest

from mari_onnx import optimize, verify
from mari_onnx.analysis import input_roles
from mari_onnx.analysis.input_roles import InputRoles, check_candidates, check_rows, declared_inputs, roles_of
from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.errors import UserError
from mari_onnx.planning.search import best_plan
from mari_onnx.serving.guard import NanGuard
from mari_onnx.serving.mode import Mode
from mari_onnx.serving.requests import AddedIndex, ExistingIndex
from mari_onnx.serving.single_row import SingleRow
from mari_onnx.serving.tiled import AS_EXPORTED, Tiled, TiledByKey
from tests.graphs import MANY, integers, parse, ranking, rewrite_and_check

BODY = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}
INDEXED = "g (float[R, 4] rows, int64[B] index, float[B, 3] item) => (float[B, 2] y) { user = Gather (rows, index) "


def graph(proto: onnx.ModelProto) -> Model:
    return Model(from_proto(proto))


def found(proto: onnx.ModelProto, *globs: str) -> InputRoles:
    return roles_of(graph(proto), globs, 500)


def rows(given: InputRoles) -> dict[str, str]:
    return {i.name: i.rows for i in given.inputs}


# Globs


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (["user_*"], {"user_a": "user_*", "user_b": "user_*"}),
        (["user_b", "user_*"], {"user_b": "user_b", "user_a": "user_*"}),
        (["*_[ab]"], {"user_a": "*_[ab]", "user_b": "*_[ab]"}),
        (["User"], {"User": "User"}),
        ([], {}),
    ],
)
def test_globs(globs: list[str], names: dict[str, str]) -> None:
    text = "g (float[B] user_a, float[B] user_b, float[B] User, float[B] item) => (float[B] y) { y = Relu (item) }"
    assert declared_inputs(graph(parse(text)), globs) == names


def test_a_glob_that_is_a_name_means_that_name() -> None:
    model = parse("g (float[B] features, float[B] userx, float[B] item) => (float[B] y) { y = Relu (item) }")
    model.graph.input[0].name, model.graph.input[1].name = "user[x]", "userx"
    assert declared_inputs(graph(model), ["user[x]"]) == {"user[x]": "user[x]"}
    assert declared_inputs(graph(model), ["user[xy]"]) == {"userx": "user[xy]"}


@pytest.mark.parametrize("glob", ["users", "user[", "USER", "weight"])
def test_a_glob_that_matches_nothing_lists_the_inputs(glob: str) -> None:
    model = parse(
        "g (float[B, 3] user, float[B, 3] item) => (float[B, 3] y) { y = Add (user, weight) }", weight=integers(3)
    )
    with pytest.raises(UserError) as caught:
        found(model, "item", glob)
    assert caught.value.message == f"no input of the model matches the user input {glob!r}"
    meant = "did you mean 'user'? " if "user" in glob.lower() else ""
    assert caught.value.next_step == f"{meant}its inputs are: user, item"


# The four kinds


def test_literal_one_beside_dynamic_ones_is_found() -> None:
    given = found(ranking("one", BODY, **WEIGHTS))
    assert rows(given) == {"user_row": "one"}
    assert given.inputs[0].reason == "found: leading extent 1 beside dynamic ones"
    assert (given.tiled, given.candidates) == ((), ("B",))


def test_literal_one_that_is_declared() -> None:
    (given,) = found(ranking("one", BODY, **WEIGHTS), "user*").inputs
    assert given.reason == "declared by 'user*': leading extent 1 beside dynamic ones"


def test_tiled_only_if_declared() -> None:
    model = ranking("tiled", BODY, **WEIGHTS)
    assert found(model).inputs == ()
    given = found(model, "user")
    assert rows(given) == {"user": "tiled"}
    assert given.tiled == ("user",)
    assert given.inputs[0].reason == "declared by 'user': the caller repeats its row"
    assert given.candidates == ("B",)


@pytest.mark.parametrize("globs", [(), ("rows",)])
def test_requests_are_found_by_their_index(globs: tuple[str, ...]) -> None:
    given = found(parse(f"{INDEXED} {BODY} }}", **WEIGHTS), *globs)
    assert rows(given) == {"rows": "requests"}
    why = "declared by 'rows'" if globs else "found"
    assert given.inputs[0].reason == f"{why}: an index selects its rows for the candidates"
    assert given.candidates == ("B",)


def test_rows_that_are_used_as_they_are_need_no_index() -> None:
    """Several inputs of one symbol: an index into one of them makes all of them rows of requests."""
    text = "g (float[R, 4] rows, float[R, 4] more, int64[B] index, float[B, 3] item) => (float[B, 2] y)"
    body = f"both = Add (rows, more) user = Gather (both, index) {BODY}"
    assert rows(found(parse(f"{text} {{ {body} }}", **WEIGHTS))) == {"rows": "requests", "more": "requests"}


def test_shared_inputs_have_no_candidates_in_them() -> None:
    text = "g (float[4] context, float[L, 4] history, float[B, 4] item) => (float[B, 4] y)"
    model = parse(
        f"{text} {{ m = ReduceSum <keepdims = 0> (history, zero) s = Add (context, m) y = Mul (s, item) }}", zero=[0]
    )
    given = found(model, "context")
    assert rows(given) == {"context": "shared"}
    assert given.inputs[0].reason == "declared by 'context': it has no axis of candidates"


def test_everything_static() -> None:
    """Leading 1 says nothing where nothing is dynamic."""
    text = "g (float[1, 4] user, float[8, 4] item) => (float[8, 4] y) { y = Mul (user, item) }"
    given = found(parse(text))
    assert (given.inputs, given.candidates) == ((), ())


def test_declared_rows_of_another_axis_are_all_used() -> None:
    """To keep row 0 alone would be a wrong score, and verification would repeat that row as well."""
    model = parse(
        """g (float[R, 4] user, float[B, 4] item) => (float[B, 4] y) {
            largest = ReduceMax <axes = [0]> (user)
            y = Add (largest, item)
        }"""
    )
    given = found(model, "user")
    assert rows(given) == {"user": "requests"}
    assert "not known to be the candidates'" in given.inputs[0].reason
    assert given.tiled == ()
    rewrite_and_check(model)


def test_rows_that_entries_are_gathered_from() -> None:
    model = parse(
        """g (float[unk__1, 4] user, float[unk__2, 4] item, int64[unk__2] index) => (float[unk__2, 4] y)
        <int64[1] one = {1}> {
            column = Unsqueeze (index, one)
            shape = Shape (item)
            indices = Expand (column, shape)
            rows = GatherElements <axis = 0> (user, indices)
            y = Add (rows, item)
        }"""
    )
    assert rows(found(model, "user")) == {"user": "requests"}


def test_items_that_a_mask_selects_are_the_candidates_still() -> None:
    """Were they rows of requests, the rows of another input would be taken for the candidates."""
    model = parse(
        """g (float[unk__1, 4] user, float[B, 2, 4] item, float[R, 3] other) => (float[N] y, float[M, 4] z)
        <float[1] zero = {0}, int64[1] one = {1}> {
            rows = ReduceMax <axes = [2], keepdims = 0> (item)
            mask = Greater (rows, zero)
            place = NonZero (mask)
            places = Transpose <perm = [1, 0]> (place)
            picked = GatherND (item, places)
            y = ReduceSum <keepdims = 0> (picked, one)
            z = Neg (user)
        }"""
    )
    given = found(model, "user")
    assert given.candidates == ("B", "R")
    assert rows(given) == {"user": "tiled"}


# How it is found out


@pytest.mark.parametrize(
    ("types", "times"), [("float[B, 4] user, float[B, 3] item", 0), ("float[A, 4] user, float[B, 3] item", 1)]
)
def test_the_graph_is_interpreted_once_at_most(types: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all leading axes have one symbol, nothing is left to be found out."""
    calls = []

    def counted(*arguments: Any) -> Program:
        calls.append(arguments)
        return interpret(*arguments)

    monkeypatch.setattr(input_roles, "interpret", counted)
    found(parse(f"g ({types}) => (float[B, 2] y) {{ {BODY} }}", **WEIGHTS), "user")
    assert len(calls) == times


def test_rows_of_requests_in_the_written_model() -> None:
    """Those that an index selects already, and those that are tiled and will be sent so."""
    types = "float[R, 4] rows, int64[B] index, float[B, 4] more, float[B, 3] item"
    body = f"user = Gather (rows, index) both = Add (user, more) z = Relu (both) {BODY}"
    model = parse(f"g ({types}) => (float[B, 2] y, float[B, 4] z) {{ {body} }}", **WEIGHTS)
    for mode, names in ((AS_EXPORTED, ("rows",)), (SingleRow(), ("rows",)), (AddedIndex(), ("rows", "more"))):
        given = roles_of(graph(model), ["more"], 500, mode)
        assert given.tiled == ("more",)
        assert given.of_requests == names
        assert given.mode == mode


# Candidates

OF_USER_AND_ITEM = "x = Concat <axis = 1> (user, item) y = MatMul (x, w)"
TILED_BOTH = "float[B, 4] user, float[B, 3] item"


def checked(types: str, globs: Sequence[str], mode: Mode = AS_EXPORTED, body: str = OF_USER_AND_ITEM) -> None:
    model = graph(parse(f"g ({types}) => (float[N, 2] y) {{ {body} }}", w=integers(7, 2)))
    check_candidates(model, roles_of(model, globs, 500, mode))


@pytest.mark.parametrize(
    ("types", "globs", "named"),
    [
        (TILED_BOTH, ["*"], "`user`, `item`;"),
        (TILED_BOTH, ["user", "item"], "`user`, `item`;"),
        ("float[B, 4] user, float[M, 3] item", ["*"], "`user`, `item`;"),
        ("float[1, 4] user, float[B, 3] item", ["item"], "`item`;"),
        ("float[1, 4] user, float[B, 3] item", ["*"], "`item`;"),
        (f"{TILED_BOTH}, float[8] threshold", ["user", "item"], "`user`, `item`;"),
        (f"{TILED_BOTH}, float[8, L] threshold", ["user", "item"], "`user`, `item`;"),
    ],
)
def test_no_input_is_left_that_differs_between_candidates(types: str, globs: list[str], named: str) -> None:
    with pytest.raises(UserError, match="every candidate would get the same score") as caught:
        checked(types, globs)
    assert named in caught.value.message
    assert "--allow-no-candidates" in str(caught.value.next_step)


@pytest.mark.parametrize(
    ("types", "globs"),
    [
        (TILED_BOTH, ["user"]),
        (TILED_BOTH, []),
        (f"{TILED_BOTH}, float[8, B] more", ["user", "item"]),
        (f"{TILED_BOTH}, float[M, 2] more", ["user", "item"]),
        ("float[1, 4] user, float[B, 3] item", ["user"]),
        ("float[2, 4] user, float[2, 3] item", ["*"]),
    ],
)
def test_candidates_that_may_differ(types: str, globs: list[str]) -> None:
    checked(types, globs)


@pytest.mark.parametrize(
    "mode", [SingleRow(), AddedIndex(), ExistingIndex("index"), TiledByKey(("key",)), Tiled(guard=NanGuard())]
)
def test_an_index_or_a_key_tells_no_candidates_apart(mode: Mode) -> None:
    """Those of one request have the same entry."""
    types = f"{TILED_BOTH}, int64[B] index, int64[B] key"
    with pytest.raises(UserError, match="every candidate would get the same score"):
        checked(types, ["*"], mode)
    checked(types, ["user"], mode)


def test_many_names_are_counted() -> None:
    types = ", ".join(f"float[B, 4] user{i}" for i in range(13))
    with pytest.raises(UserError, match=r"`user9` and 3 more; no input is left"):
        checked(types, ["*"], body="y = Relu (user0)")


# Symbols


def test_unnamed_extents_are_symbols_of_their_input() -> None:
    model = parse("g (float[B, 4] user, float[B, 3] item, float s) => (float[B, 2] y) { " + BODY + "}", **WEIGHTS)
    for info in model.graph.input[:2]:
        info.type.tensor_type.shape.dim[0].ClearField("dim_param")
    assert graph(model).leading_symbols == {"user": "user.0", "item": "item.0"}
    assert rewrite_and_check(model).ops.count("Gemm") == 2


def test_a_symbol_of_each_input_as_tf2onnx_writes_them() -> None:
    text = "g (float[unk__1, 4] user, float[unk__2, 3] item) => (float[unk__3, 2] y)"
    model = parse(f"{text} {{ {BODY} }}", **WEIGHTS)
    given = found(model, "user")
    assert rows(given) == {"user": "tiled"}
    assert given.candidates == ("unk__2",)
    program = best_plan(read(graph(model), given), MANY).program
    assert [r.status for r in program.context.remarks] == ["applied"]
    assert rewrite_and_check(model).ops == ["Slice", "Gemm", "Gemm"]


def test_only_the_user_is_an_input() -> None:
    """All that is declared: its symbol counts the candidates."""
    model = parse("g (float[B, 4] user) => (float[B, 4] y) { y = Relu (user) }")
    assert found(model, "user").candidates == ("B",)
    rewrite_and_check(model)


# What the optimizer may rely on


def test_one_row_is_what_the_first_row_says() -> None:
    """Tiled rows are taken from row 0, and an empty batch has none."""
    result = rewrite_and_check(ranking("tiled", "r = Relu (user) y = Mul (r, item)", item="float[4]"))
    assert result.ops == ["Slice", "Relu", "Mul"]


RERANKER = """g (float[R, 64] user, float[R, N, 16] item, int64[R] id) => (float[R, N] y) {
    u = MatMul (user, wu) i = MatMul (item, wi) v = Unsqueeze (u, one) s = Add (i, v) r = Relu (s)
    y = ReduceSum <keepdims = 0> (r, two)
}"""


def reranker(text: str = RERANKER) -> Model:
    return Model(from_proto(parse(text, wu=integers(64, 8), wi=integers(16, 8), one=[1], two=[2])))


@pytest.mark.parametrize("mode", [AS_EXPORTED, Tiled(guard=NanGuard())])
def test_a_row_for_each_request_is_not_tiled(mode: Mode) -> None:
    """The first row would stand for all requests, and no comparison with rows alike would show it."""
    model = reranker()
    with pytest.raises(UserError, match="`user` has a row for each request: the scores have an axis `N`,"):
        check_rows(roles_of(model, ["user"], 500, mode))
    with pytest.raises(UserError, match="leave it out of -u"):
        optimize(model.proto, user_inputs=["user"])
    with pytest.raises(UserError, match="`user` has a row for each request: the scores have an axis `N`,"):
        verify(model.proto, model.proto, user_inputs=["user"])


@pytest.mark.parametrize(
    ("old", "new", "axis"),
    [
        ("float[R, N] y", "float[rows, columns] y", "`N`"),
        ("float[R, N] y", "float[?, ?] y", "`N`"),
        ("R, N, 16", "R, ?, 16", "like the second one of `item`"),
    ],
)
def test_what_the_exporter_calls_the_axes_of_scores_does_not_matter(old: str, new: str, axis: str) -> None:
    model = reranker(RERANKER.replace(old, new))
    with pytest.raises(UserError, match=f"the scores have an axis {axis}, which counts the candidates"):
        check_rows(roles_of(model, ["user"], 500))
    assert [i.rows for i in roles_of(model, [], 500).inputs if i.name == "user"] == ["requests"]


def test_scores_of_a_custom_operator_have_the_axis_that_the_exporter_names() -> None:
    text = RERANKER.replace("y = ReduceSum <keepdims = 0> (r, two)", "y = my.Score (r)")
    proto = parse(text, domains=', "my" : 1', wu=integers(64, 8), wi=integers(16, 8), one=[1])
    with pytest.raises(UserError, match="the scores have an axis `N`, which counts the candidates"):
        check_rows(roles_of(graph(proto), ["user"], 500))


def test_rows_of_which_each_request_keeps_its_own() -> None:
    model = reranker()
    check_rows(roles_of(model, ["user"], 500, TiledByKey(("id",))))
    check_rows(roles_of(model, [], 500))
    result = optimize(model.proto, user_inputs=[])
    assert result.report.passed
    assert verify(model.proto, result).passed
    assert verify(model.proto, result, user_inputs=["user"], request_key=["id"]).passed


@pytest.mark.parametrize(
    "text",
    [
        "g (float[B, 16] user, float[B, 16] item) => (float[B, 16] y) { y = Add (user, item) }",
        """g (float[B, 16] user, float[B, N, 16] item) => (float[B, 16] y) {
            m = ReduceMax <axes = [1], keepdims = 0> (item) y = Add (user, m) }""",
        """g (float[B, 1] user, float[B, N] item) => (float[B, 1] y, float[B, N] w) {
            w = Mul (user, item) y = ReduceMax <axes = [1]> (w) }""",
    ],
)
def test_rows_of_candidates_are_tiled(text: str) -> None:
    """The second axis of what differs between candidates may be a length, and that of an output beside the scores."""
    model = Model(from_proto(parse(text)))
    check_rows(roles_of(model, ["user"], 500))
