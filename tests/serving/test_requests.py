"""The caller sends a row for each of several requests, and an index says which of them each candidate has."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mari_onnx import UserError
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.serving.mode import DrawnRows, Mode
from mari_onnx.serving.names import Options
from mari_onnx.serving.requests import AddedIndex, ExistingIndex, requests_symbol
from tests.graphs import evaluate, integers, parse
from tests.serving.models import (
    BATCHES,
    BODY,
    TYPES,
    WEIGHTS,
    assert_equal,
    call,
    fed,
    instructions,
    numbers,
    ranker,
    reasons,
    served,
    shapes,
)

ADDED, BY_I = AddedIndex(), ExistingIndex("i")


# What is written


@pytest.mark.parametrize("requests", [1, 3, 9])
def test_rows_of_several_requests(requests: int) -> None:
    model = ranker()
    result = served(model, ADDED)
    assert shapes(result) == {"user": ["requests", 4], "item": ["B", 3], "request_index": ["B"]}
    for batch in BATCHES:
        rows = integers(requests, 4, seed=batch)
        index = np.random.default_rng(batch).integers(0, requests, batch)
        sent = {"user": rows, "item": numbers(batch, 3), "request_index": index}
        assert_equal(evaluate(result, sent), evaluate(model, {"user": rows[index], "item": sent["item"]}))


@pytest.mark.parametrize("kind", ["int64[B] i", "int32[B, 1] i"])
def test_by_an_index_that_is_there(kind: str) -> None:
    """It may serve for something else as well."""
    body = f"f = Cast <to = 1> (i) r = Reshape (f, column) {BODY.replace('y =', 'g =')} y = Add (g, r)"
    model = parse(f"g ({kind}, {TYPES}) => (float[B, 2] y) {{ {body} }}", column=[-1, 1], **WEIGHTS)
    result = served(model, BY_I)
    assert shapes(result)["user"] == ["requests", 4]
    for batch in BATCHES:
        rows = integers(5, 4, seed=batch)
        index = np.random.default_rng(batch).integers(0, 5, batch)
        typed = index.astype(np.int32).reshape(-1, 1) if "32" in kind else index
        sent = {"i": typed, "user": rows, "item": numbers(batch, 3)}
        assert_equal(evaluate(result, sent), evaluate(model, {**sent, "user": rows[index]}))


def test_an_index_that_a_glob_matches_is_none_of_the_request_s_inputs() -> None:
    model = ranker(f"int64[B] user_i, {TYPES}")
    assert list(reasons(model, ExistingIndex("user_i"))) == ["user"]


def test_symbols_that_the_exporter_did_not_name() -> None:
    """The new input has no name for its axis, and counts the candidates nevertheless."""
    model = ranker("float[unk__1, 4] user, float[unk__1, 3] item", output="float[unk__2, 2] y")
    result = served(model, ADDED)
    assert shapes(result)["request_index"] == [0]
    assert not result.graph.input[-1].type.tensor_type.shape.dim[0].HasField("dim_value")
    leading = {"user": "unk__1", "item": "unk__1"}
    assert ADDED.counted(leading, ("user",)) == ["unk__1", "request_index.0"]


def test_the_symbol_of_the_requests_is_a_new_one() -> None:
    model = ranker(
        "float[requests, 4] user, float[requests, requests_] item", "y = Relu (user)", "float[requests, 4] y"
    )
    assert requests_symbol(Model(from_proto(model))) == "requests__"


def test_symbols_of_the_index_count_candidates() -> None:
    leading = {"user": "U", "item": "B", "i": "I"}
    assert BY_I.counted(leading, ("user",)) == ["U", "I"]
    assert BY_I.counted(leading, ()) == []
    assert ADDED.counted(leading, ("user",)) == ["U", "U"]
    assert ADDED.signature(leading, (), "R").inputs == ()


# What cannot be


@pytest.mark.parametrize(
    ("types", "mode", "message"),
    [
        (TYPES, BY_I, "has no input 'i' to be the request index"),
        (TYPES, ExistingIndex("item"), "`item` does not have one integer for each candidate"),
        (f"int64 i, {TYPES}", BY_I, "`i` does not have one integer for each candidate"),
        (f"int64[B, 2] i, {TYPES}", BY_I, "`i` does not have one integer for each candidate"),
        (f"int64[8] i, {TYPES}", BY_I, "`i` does not have one integer for each candidate"),
        (f"int64[B] request_index, {TYPES}", ADDED, "has a `request_index` already"),
    ],
)
def test_what_the_model_does_not_allow(types: str, mode: Mode, message: str) -> None:
    with pytest.raises(UserError, match=message):
        served(ranker(types), mode)


@pytest.mark.parametrize("mode", [ADDED, BY_I], ids=str)
def test_nothing_is_declared(mode: Mode) -> None:
    with pytest.raises(UserError, match="whose rows the caller repeats"):
        served(ranker(f"int64[B] i, {TYPES}"), mode, ())


@pytest.mark.parametrize("mode", [ADDED, BY_I], ids=str)
def test_an_input_that_is_an_output(mode: Mode) -> None:
    with pytest.raises(UserError, match="`user` is an output as well"):
        served(ranker(f"int64[B] i, {TYPES}", output="float[B, 2] y, float[B, 4] user"), mode)


# In words


@pytest.mark.parametrize(
    ("mode", "index", "said"),
    [
        (ADDED, "request_index", "Send in `request_index`, a new input, int64, one entry for each candidate:"),
        (BY_I, "i", "Send in `i`:"),
    ],
    ids=str,
)
def test_in_words(mode: Mode, index: str, said: str) -> None:
    model = ranker(f"int64[B] i, {TYPES}")
    why = f"declared by 'user*': the caller sends a row for each request of `{index}`"
    assert reasons(model, mode) == {"user": ("requests", why)}
    assert instructions(model, mode) == (
        "Send one row for each request in: `user`.",
        f"{said} the number of the row, from 0, that the candidate's request has.",
    )
    assert mode.instructions(()) == (
        "It is called as before: no input that is the user's has a row for each candidate.",
    )
    assert mode.demanded


def test_options() -> None:
    assert ADDED.options == Options("requests")
    assert BY_I.options == Options("requests", request_index="i")


# Verification


def test_which_rows_of_a_made_up_call_are_identical() -> None:
    """By a new index each candidate has a request of its own; by one that is there those with the same entry have."""
    assert ADDED.drawn_rows(("user",)) == DrawnRows()
    assert BY_I.drawn_rows(("user",)) == DrawnRows(("user",), ("i",))
    assert BY_I.drawn_rows(()) == DrawnRows()
    assert ADDED.drawn_rows(("user", "id"), ("id",)) == DrawnRows(("user", "id"), ("id",))
    assert BY_I.drawn_rows(("user", "id"), ("id",)) == DrawnRows(("user", "id"), ("id", "i"))


def test_a_new_index_selects_the_rows_that_the_original_was_given() -> None:
    model = ranker()
    result = served(model, ADDED)
    for batch in BATCHES:
        sent = call(batch, user=numbers(batch, 4, seed=9))
        found = fed(ADDED, model, result, sent)
        assert list(found) == ["user", "request_index"]
        np.testing.assert_array_equal(found["request_index"], np.arange(batch)[::-1])
        assert len(found["user"]) == 2 * batch  # half of the requests have no candidate
        np.testing.assert_array_equal(found["user"][found["request_index"]], sent["user"])


def test_candidates_are_counted_by_an_input_that_has_them() -> None:
    """The first input has another dynamic axis, and the others may have none with a name."""
    model = ranker(f"float[L, 3] history, {TYPES}")
    sent = call(3, history=integers(5, 3))
    assert len(fed(ADDED, model, served(model, ADDED), sent)["request_index"]) == 3
    unnamed = ranker()
    for info in unnamed.graph.input:
        info.type.tensor_type.shape.dim[0].ClearField("dim_param")
    assert len(fed(ADDED, unnamed, served(unnamed, ADDED), call(3))["request_index"]) == 3


@pytest.mark.parametrize("kind", ["int64[B] i", "int32[B, 1] i"])
def test_an_index_that_is_there_selects_the_rows_that_the_original_was_given(kind: str) -> None:
    model = ranker(f"{kind}, {TYPES}")
    result = served(model, BY_I)
    for batch in BATCHES:
        index = np.random.default_rng(batch).permutation(np.arange(batch) % 3 * 2)
        typed = index.astype(np.int32).reshape(-1, 1) if "32" in kind else index
        sent = call(batch, i=typed, user=integers(6, 4, seed=batch)[index])
        found = fed(BY_I, model, result, sent)
        assert list(found) == ["user"]
        np.testing.assert_array_equal(found["user"][index], sent["user"])


@pytest.mark.parametrize("mode", [ADDED, BY_I], ids=str)
def test_what_has_the_original_s_leading_extent_is_sent_as_it_is(mode: Mode) -> None:
    item, row = ranker("float[B, 3] item, float[1, 4] row", "y = Add (item, row)").graph.input
    assert mode.feed(item, item) is None
    assert mode.feed(row, row) is None
    assert mode.feed(item, None) is None


def test_an_index_of_the_original_s_is_not_new() -> None:
    (index,) = (onnx.helper.make_tensor_value_info("request_index", onnx.TensorProto.INT64, ["B"]),)
    assert ADDED.feed(index, index) is None
    assert ADDED.feed(index, None) is not None
