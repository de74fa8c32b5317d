"""The caller sends one row for the whole call."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import UserError
from mari_onnx.serving.mode import DrawnRows
from mari_onnx.serving.names import Options
from mari_onnx.serving.single_row import SingleRow
from tests.graphs import evaluate, integers, ranking
from tests.serving.models import (
    BATCHES,
    BODY,
    TYPES,
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

ONE = SingleRow()


@pytest.mark.parametrize("types", [TYPES, "float[U, 4] user, float[B, 3] item"], ids=["one symbol", "two symbols"])
def test_one_row(types: str) -> None:
    model = ranker(types)
    result = served(model, ONE)
    assert shapes(result) == {"user": [1, 4], "item": ["B", 3]}
    assert [n.op_type for n in result.graph.node].count("Gemm") == 2
    for batch in BATCHES:
        sent = call(batch, user=integers(1, 4, seed=batch))
        expected = evaluate(model, {**sent, "user": np.repeat(sent["user"], batch, 0)})
        assert_equal(evaluate(result, sent), expected)


def test_an_output_that_only_the_user_has() -> None:
    """It has a row for each candidate still."""
    model = ranker(output="float[B, 2] y, float[B, 4] z", body=f"{BODY} z = Neg (user)")
    result = served(model, ONE)
    for batch in BATCHES:
        sent = call(batch, user=integers(1, 4, seed=batch))
        assert_equal(evaluate(result, sent), evaluate(model, {**sent, "user": np.repeat(sent["user"], batch, 0)}))


def test_another_input_has_to_tell_the_number_of_candidates() -> None:
    model = ranker("float[B, 4] user", "y = Relu (user)", "float[B, 4] y")
    with pytest.raises(UserError, match="no other input is known to have as many rows") as caught:
        served(model, ONE)
    assert "-u" in str(caught.value.next_step)


def test_an_input_that_is_an_output() -> None:
    model = ranker(output="float[B, 2] y, float[B, 4] user")
    with pytest.raises(UserError, match="`user` is an output as well"):
        served(model, ONE)


def test_nothing_is_declared() -> None:
    with pytest.raises(UserError, match="whose rows the caller repeats"):
        served(ranker(), ONE, ())


def test_rows_that_are_sent_once_already() -> None:
    model = ranker("float[1, 3] user, float[B, 3] item", "y = Add (user, item)", "float[B, 3] y")
    assert shapes(served(model, ONE, ())) == shapes(model)


def test_in_words() -> None:
    assert reasons(ranker(), ONE) == {"user": ("one", "declared by 'user*': the caller sends its row once")}
    assert instructions(ranker(), ONE) == (
        "Send the request's row once, leading extent 1, in: `user`.",
        "The other inputs, and the outputs, have a row for each candidate, as before.",
    )
    assert ONE.instructions(()) == (
        "It is called as before: no input that is the user's has a row for each candidate.",
    )
    assert ONE.options == Options("one")
    assert ONE.demanded


def test_all_rows_of_a_made_up_call_are_identical() -> None:
    assert ONE.drawn_rows(("user",)) == DrawnRows(("user",))
    assert ONE.drawn_rows(("user", "id"), ("id",)) == DrawnRows(("user", "id"), ("id",))


@pytest.mark.parametrize("kind", ["float", "int64", "string"])
def test_the_first_row_is_sent(kind: str) -> None:
    """Zeros where there is none; of strings there is no zero, and a call without candidates has no row to send."""
    original = ranker(f"{kind}[B, 4] user_x, {TYPES}")
    result = ranker(f"{kind}[1, 4] user_x, {TYPES}")
    for batch in BATCHES:
        rows = numbers(batch, 4)
        typed = rows.astype(str).astype(object) if kind == "string" else rows.astype(kind.replace("float", "float32"))
        found = fed(ONE, original, result, call(batch, user_x=typed))
        assert list(found) == ["user_x"]
        if kind == "string" or batch:
            np.testing.assert_array_equal(found["user_x"], typed[:1])
        else:
            np.testing.assert_array_equal(found["user_x"], np.zeros((1, 4), typed.dtype))


def test_what_has_the_original_s_leading_extent_is_sent_as_it_is() -> None:
    (user, item) = ranker("float[1, 4] user, float[B, 3] item").graph.input
    assert ONE.feed(user, user) is None
    assert ONE.feed(item, item) is None
    assert ONE.feed(item, onnx.helper.make_tensor_value_info("item", 1, ["N", 3])) is None
    assert ONE.feed(user, None) is None


def test_it_is_verified_in_opset_8() -> None:
    """Where a row is made up for a call without candidates, by operators that opset 8 has."""
    model = ranking("tiled", "x = Concat <axis = 1> (user, item) y = MatMul (x, w)", opset=8, w=integers(7, 2))
    result = mari_onnx.optimize(model, user_inputs=["user"], user_batch="one", batch=100_000)
    assert result.report.verification is not None
    assert result.report.verification.passed
