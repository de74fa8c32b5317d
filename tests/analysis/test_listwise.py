"""Listwise models: candidates of each request have the second axis, and what lacks it is the request's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mari_onnx import inputs, inspect, optimize, split, verify
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.interpret import interpret
from mari_onnx.analysis.listwise import lists_of
from mari_onnx.analysis.premises import NOTHING
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.errors import UserError
from mari_onnx.ir.cost import CostModel
from tests.graphs import Session, integers, parse

SHAPES = "float[R, 24] user, float[R, N, 8] item) => (float[{scores}] y)"
BODY = """
    sizes = Shape <start = 1, end = 2> (item) target = Concat <axis = 0> (one, sizes, one)
    row = Unsqueeze (user, one) users = Tile (row, target)
    x = Concat <axis = -1> (users, item) h = MatMul (x, w) r = Relu (h) y = ReduceSum <keepdims = 0> (r, last)
"""


def reranker(shapes: str = SHAPES, scores: str = "R, N") -> onnx.ModelProto:
    text = f"g ({shapes.format(scores=scores)} {{ {BODY} }}"
    return parse(text, w=integers(32, 16), one=[1], last=[2])


def lists(proto: onnx.ModelProto) -> tuple[str | int, set[str]] | None:
    model = Model(from_proto(proto))
    found = lists_of(model, lambda: interpret(model, NOTHING, CostModel(500)))
    return (
        None if found is None or not (found.of_requests and found.everywhere) else (found.candidates, set(found.items))
    )


@pytest.mark.parametrize("scores", ["R, N", "rows, columns", "?, ?"])
def test_the_axis_of_the_candidates_in_a_request(scores: str) -> None:
    """The exporter may name the axes of the scores otherwise: the graph says how long they are."""
    assert lists(reranker(scores=scores)) == ("N", {"item"})


def test_one_request_in_each_call() -> None:
    proto = reranker("float[1, 24] user, float[1, N, 8] item) => (float[1, N] y)")
    assert lists(proto) == ("N", {"item"})
    report = optimize(proto).report
    assert [(i.name, i.rows) for i in report.request_inputs] == [("user", "one")]
    assert report.changed
    assert report.passed


@pytest.mark.parametrize(
    "text",
    [
        "float[B, L, 8] history, float[B, 8] item) => (float[B, 8] y) { s = ReduceMax <axes = [1], keepdims = 0> "
        "(history) y = Add (s, item) }",
        "float[B, 8] user, float[B, 8] item) => (float[B, 8] y) { y = Add (user, item) }",
        "float[R, N, 8] user, float[R, N, 8] item) => (float[R, N, 8] y) { y = Add (user, item) }",
        "float[B, 1] user, float[B, N] item) => (float[B, 1] y, float[B, N] w) { w = Mul (user, item) "
        "y = ReduceMax <axes = [1]> (w) }",
        "float[B, 24] user, float[B, 8] item) => (float[B, 8] y) { u = MatMul (user, dense) s = Relu (u) "
        "y = Mul (s, item) }",
        "int64[B, 4] genres, float[B, 8] item) => (float[B, 4] y) { g = Cast <to = 1> (genres) "
        "m = ReduceMean <axes = [1]> (item) y = Relu (m) }",
        "float[L, B, 8] history, float[B, 8] item) => (float[B, 1] y) { h = ReduceMax <axes = [0], keepdims = 0> "
        "(history) s = Mul (h, item) y = ReduceSum (s, one) }",
    ],
    ids=["a history", "no second axis", "all alike", "an output without it", "features", "a bag", "time first"],
)
def test_what_is_not_listwise(text: str) -> None:
    assert lists(parse(f"g ({text}", one=[1], dense=integers(24, 8))) is None


ADDED = "t = Unsqueeze (user, one) a = Add (t, item)"


@pytest.mark.parametrize(
    ("items", "text", "axis"),
    [
        ("R, N, 8", f"float[N, R, 8] y) {{ {ADDED} y = Transpose <perm = [1, 0, 2]> (a)", "N"),
        ("R, N, 8", f"float[M, 8] y) {{ {ADDED} y = Reshape (a, rows)", "N"),
        ("1, N, 8", f"float[M, 8] y) {{ {ADDED} y = Reshape (a, rows)", "N"),
        ("R, 50, 8", f"float[R, 50, 8] y) {{ {ADDED} y = Relu (a)", 50),
        ("R, 50, 8", f"float[M, 8] y) {{ {ADDED} y = Reshape (a, rows)", 50),
    ],
    ids=["candidates first", "in one column", "of one request", "of one length", "of one length in one column"],
)
def test_other_places_of_the_scores(items: str, text: str, axis: str | int) -> None:
    user = f"float[{items[0]}, 8] user"
    proto = parse(f"g ({user}, float[{items}] item) => ({text} }}", one=[1], rows=[-1, 8])
    assert lists(proto) == (axis, {"item"})
    if axis == 50:  # or 50 tokens of each candidate
        assert "If the axis of length 50 of `item` counts" in optimize(proto, user_inputs=["user"]).report.calls[-1]
    elif items[0] == "R":
        with pytest.raises(UserError, match="`user` has a row for each request"):
            optimize(proto, user_inputs=["user"])


def test_ids_of_lists_of_one_length() -> None:
    """A lookup keeps the axis of the ids, and prices [R, 50] beside them are the items' as well."""
    text = """g (float[R, 8] user, int64[R, 50] item_id, float[R, 50] price) => (float[R, 50] y) {
        e = Gather (table, item_id) t = Unsqueeze (user, one) m = Mul (e, t) s = ReduceSum <keepdims = 0> (m, last)
        y = Add (s, price) }"""
    proto = parse(text, one=[1], last=[2], table=integers(9, 8))
    assert lists(proto) == (50, {"item_id", "price"})
    report = optimize(proto).report
    assert [(i.name, i.rows, i.reason) for i in report.request_inputs] == [
        ("user", "requests", "found: it has no axis of length 50, which counts the candidates of each request")
    ]
    survey = inputs(proto).survey
    assert survey is not None
    assert not survey.declarations


def test_an_output_that_is_listed_twice() -> None:
    proto = reranker()
    proto.graph.output.append(proto.graph.output[0])
    assert lists(proto) == ("N", {"item"})


def test_rows_that_may_be_of_requests() -> None:
    """Some of the outputs have the axis of the items: it may be that of lists, or of the words of a title."""
    body = BODY.replace("y = ReduceSum", "weights = ReduceSum") + "y = ReduceMax <axes = [1], keepdims = 0> (h)"
    shapes = SHAPES.format(scores="R, 16").replace(" y)", " y, float[R, N] weights)")
    proto = parse(f"g ({shapes} {{ {body} }}", w=integers(32, 16), one=[1], last=[2])
    said = "leave `user` out of -u then"
    result = optimize(proto, user_inputs=["user"])
    assert said in result.report.calls[-1]
    checked = verify(proto, result, user_inputs=["user"])
    assert checked.verification is not None
    assert [note.code for note in checked.verification.notes if said in note.text] == ["rows-of-requests"]
    for declared in ([], ["item"]):
        assert not any("out of -u" in each for each in optimize(proto, user_inputs=declared).report.calls)
    once = optimize(proto, user_inputs=["user"], user_batch="one")
    assert not any(said in each for each in once.report.calls)


def test_the_users_part_is_computed_once_for_each_request() -> None:
    proto = reranker()
    result = optimize(proto, batch=200)
    report = result.report
    assert [(i.name, i.rows) for i in report.request_inputs] == [("user", "requests")]
    assert "it has no axis `N`, which counts the candidates of each request" in report.request_inputs[0].reason
    assert report.cost_before is not None
    assert report.cost_after is not None
    assert report.cost_before.macs == 200 * 32 * 16  # of one request
    assert report.cost_after.macs == 24 * 16 + 200 * 8 * 16
    assert report.cost_after.macs_fixed == 24 * 16
    assert report.verification is not None
    assert report.verification.passed
    assert {200, 7, 1} <= {each.batch for each in report.verification.differences}
    before, after = Session(proto), Session(result.model)
    for requests, candidates in ((1, 1), (3, 5), (5, 3), (1, 0), (0, 4)):
        given = {"user": integers(requests, 24), "item": integers(requests, candidates, 8, seed=1)}
        for found, wanted in zip(after.run(given), before.run(given), strict=True):
            np.testing.assert_array_equal(found, wanted, strict=True)


@pytest.mark.parametrize(
    "more",
    [
        ("float[N] prior", "s = Add (t, prior)"),
        ("float[N, 3] prior", "p = ReduceMax <axes = [1], keepdims = 0> (prior) s = Add (t, p)"),
        ("float[R, N, N] pairs", "u = Unsqueeze (t, last) v = MatMul (pairs, u) s = Squeeze (v, last)"),
    ],
    ids=["of each place", "with columns", "of each pair"],
)
def test_an_input_with_the_axis_elsewhere_is_not_the_request_s(more: tuple[str, str]) -> None:
    """Also where no operator shows that the axis of the items, which the pairs are multiplied by, is that of scores."""
    shapes = SHAPES.replace(") =>", f", {more[0]}) =>").format(scores="R, N")
    body = BODY.replace("y = ReduceSum", "t = ReduceSum") + more[1] + " y = Relu (s)"
    proto = parse(f"g ({shapes} {{ {body} }}", w=integers(32, 16), one=[1], last=[2])
    assert [i.name for i in roles_of(Model(from_proto(proto)), [], 500).inputs] == ["user"]


def test_an_input_that_is_declared_and_not_tiled() -> None:
    """A table whose rows an id selects is the user's by its declaration, and the rest is found as without it."""
    shapes = SHAPES.replace("float[R, 24] user", "float[K, 24] table, int64[R] id").format(scores="R, N")
    text = f"g ({shapes} {{ user = Gather (table, id) {BODY} }}"
    proto = parse(text, w=integers(32, 16), one=[1], last=[2])
    roles = roles_of(Model(from_proto(proto)), ["table"], 500)
    assert [(i.name, i.rows) for i in roles.inputs] == [("table", "requests"), ("id", "requests")]
    assert roles.listwise


def test_no_input_needs_to_be_declared() -> None:
    report = inputs(reranker())
    assert report.survey is not None
    assert [(each.name, each.rows) for each in report.survey.inputs] == [("user", "requests"), ("item", "candidates")]
    assert not report.survey.declarations


def test_a_split_sends_a_row_for_each_request() -> None:
    found = split(reranker())
    assert found.report.passed
    assert found.report.split is not None
    assert [(c.role, c.bytes) for c in found.report.split.crossings if c.dtype == "float"] == [("user", 16 * 4)]


def test_the_symbols_of_a_listwise_model() -> None:
    roles = roles_of(Model(from_proto(reranker())), [], 500)
    assert (roles.candidates, roles.tiled, roles.listwise) == (("N",), (), True)
    assert not inspect(reranker("float[R, 24] user, float[R, 1, 8] item) => (float[R, 1] y)")).request_inputs
