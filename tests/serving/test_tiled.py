"""The caller sends a row for each candidate, as in the original: one request's, or that of each distinct key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx import UserError, inspect
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.serving.guard import NanGuard, OutputGuard
from mari_onnx.serving.mode import DrawnRows, Mode
from mari_onnx.serving.names import Options
from mari_onnx.serving.rows import FirstRow
from mari_onnx.serving.tiled import AS_EXPORTED, Tiled, TiledByKey
from tests.graphs import evaluate, integers, parse
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

BY_ID = TiledByKey(("user_id",))


# One request


def test_the_first_row_is_used() -> None:
    model = ranker()
    result = served(model, AS_EXPORTED)
    assert shapes(result) == shapes(model)
    assert isinstance(AS_EXPORTED.rows("requests"), FirstRow)
    for batch in BATCHES:
        sent = call(batch)
        assert_equal(evaluate(result, sent), evaluate(model, sent))


def test_wanted_only_where_it_pays_unless_it_is_guarded() -> None:
    assert not AS_EXPORTED.demanded
    assert not BY_ID.demanded
    assert Tiled(guard=NanGuard()).demanded
    assert TiledByKey(("user_id",), guard=OutputGuard()).demanded


def test_a_guard_needs_tiled_rows() -> None:
    with pytest.raises(UserError, match="there is nothing to guard: no input is declared"):
        served(ranker(), Tiled(guard=NanGuard()), ())
    served(ranker(), AS_EXPORTED, ())


# Keys


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
@pytest.mark.parametrize("distinct", [1, 3, 7])
@pytest.mark.parametrize(
    ("dtype", "width"),
    [("int64", ()), ("int32", (1,)), ("string", ()), ("int64", (2,)), ("string", (2,)), ("bool", ())],
)
def test_keys(dtype: str, width: tuple[int, ...], distinct: int, opset: int) -> None:
    shape = "".join(f", {w}" for w in width)
    types = f"{dtype}[B{shape}] user_key, float[B, 256] user, float[B, 3] item"
    weights: dict[str, Any] = {"w": integers(259, 32), "b": integers(32)}
    model = parse(f"g ({types}) => (float[B, 32] y) {{ {BODY} }}", opset=opset, **weights)
    result = served(model, TiledByKey(("user_key",)))
    assert shapes(result) == shapes(model)
    assert [n.op_type for n in result.graph.node].count("Gemm") == 2
    for batch in BATCHES:
        rng = np.random.default_rng(batch)
        which = rng.permutation(np.arange(batch) % distinct)
        if dtype == "bool":
            which %= 2
        keys = np.stack([which * 1000 - 5] * int(np.prod(width or 1)), 1).reshape(batch, *width)
        if width == (2,):
            keys[:, 0] = 3
        typed = (
            keys.astype(str).astype(object) if dtype == "string" else which.astype(bool) if dtype == "bool" else keys
        )
        typed = typed.astype(dtype) if dtype.startswith("int") else typed
        sent = {"user_key": typed, "user": integers(distinct, 256, seed=batch)[which], "item": numbers(batch, 3)}
        assert_equal(evaluate(result, sent), evaluate(model, sent))


def test_several_keys() -> None:
    """The same user in two sessions is two requests."""
    model = ranker(f"int64[B] user_id, string[B] user_session, {TYPES}")
    result = served(model, TiledByKey(("user_id", "user_session")))
    rows = integers(4, 4)
    which = np.array([0, 3, 1, 2, 0, 3, 3])
    sent = {
        "user_id": which // 2, "user_session": (which % 2).astype(str).astype(object),
        "user": rows[which], "item": numbers(7, 3),
    }  # fmt: skip
    assert_equal(evaluate(result, sent), evaluate(model, sent))


def test_a_key_need_not_be_declared() -> None:
    model, by_session = ranker(f"int64[B] session, {TYPES}"), TiledByKey(("session",))
    assert roles_of(Model(from_proto(model)), ["user"], 500, by_session).tiled == ("session", "user")
    used = "the caller repeats its rows, the first of each `session` is used"
    assert reasons(model, by_session, ["user"])["session"] == ("tiled", f"the key: {used}")
    assert reasons(model, by_session, ["*user*", "ses*"])["session"] == ("tiled", f"declared by 'ses*': {used}")


def test_what_is_computed_for_each_key() -> None:
    """The product runs at the distinct keys, of which the cost model expects a few."""
    types = "int64[B] user_id, float[B, 256] user, float[B, 3] item"
    model = parse(f"g ({types}) => (float[B, 32] y) {{ {BODY} }}", w=integers(259, 32), b=integers(32))
    report = inspect(model, user_inputs=["user*"], request_key=["user_id"])
    assert report.cost_after is not None
    assert report.cost_after.macs == 4 * 256 * 32 + 500 * 3 * 32


@pytest.mark.parametrize(
    ("types", "key", "message"),
    [
        (TYPES, "user_id", "has no input 'user_id' to be a request key"),
        (TYPES, "user", "`user` holds neither integers nor strings"),
        (f"int64 k, {TYPES}", "k", "`k` does not have one key for each candidate"),
        (f"int64[3] k, {TYPES}", "k", "`k` does not have one key for each candidate"),
        (f"int64[B, L] k, {TYPES}", "k", "`k` does not have one key for each candidate"),
        (f"int64[R] k, {TYPES}", "k", "`k` is not known to have the candidates as its leading axis"),
    ],
)
def test_what_the_model_does_not_allow(types: str, key: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        served(ranker(types), TiledByKey((key,)), ())


def test_before_opset_11() -> None:
    with pytest.raises(UserError, match="a request key needs opset 11"):
        served(ranker(f"int64[B] user_id, {TYPES}", opset=10), BY_ID)


# In words


@pytest.mark.parametrize(
    ("mode", "why", "said"),
    [
        (AS_EXPORTED, "the caller repeats its row", ["All rows"]),
        (Tiled(guard=NanGuard()), "the caller repeats its row", ["All rows", "every output is NaN."]),
        (Tiled(guard=OutputGuard()), "the caller repeats its row", ["All rows", "`mari_guard`"]),
        (BY_ID, "the first of each `user_id` is used", ["Rows with the same `user_id`"]),
        (
            TiledByKey(("user_id", "user"), guard=NanGuard()), "the first of each `user_id` and `user` is used",
            ["Rows with the same `user_id` and `user`", "every output is NaN."],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_in_words(mode: Mode, why: str, said: list[str]) -> None:
    model = ranker("int64[B] user_id, int64[B] user, float[B, 3] item", "y = Relu (item)", "float[B, 3] y")
    rows, reason = reasons(model, mode)["user_id"]
    assert (rows, reason.startswith("declared by 'user*': the caller repeats its row")) == ("tiled", True)
    assert reason.endswith(why)
    sentences = instructions(model, mode)
    used = "must be identical, and whichever of them is at hand is used, in: `user_id`, `user`."
    assert sentences[0] == f"{said[0]} {used}"
    assert [told in sentence for told, sentence in zip(said[1:], sentences[1:], strict=True)] == [True] * len(said[1:])
    assert mode.instructions(()) == ()


def test_options() -> None:
    assert AS_EXPORTED.options == Options("tiled")
    assert Tiled(guard=NanGuard()).options == Options("tiled", guard="nan")
    both = TiledByKey(("a", "b"), guard=OutputGuard())
    assert both.options == Options("tiled", request_key=("a", "b"), guard="output")


# Verification


def test_which_rows_of_a_made_up_call_are_identical() -> None:
    assert AS_EXPORTED.drawn_rows(("user",)) == DrawnRows(("user",))
    assert BY_ID.drawn_rows(("user_id", "user")) == DrawnRows(("user_id", "user"), ("user_id",))
    assert BY_ID.drawn_rows(("user_id", "user"), ("user_id",)) == DrawnRows(("user_id", "user"), ("user_id",))


@pytest.mark.parametrize("mode", [AS_EXPORTED, BY_ID], ids=str)
def test_everything_is_sent_as_the_original_has_it(mode: Mode) -> None:
    model = ranker(f"int64[B] user_id, {TYPES}")
    assert fed(mode, model, served(model, mode), call(3, user_id=np.zeros(3, np.int64))) == {}
