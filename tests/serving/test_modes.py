"""Which mode is meant: by words, and by the signature of what was written."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from mari_onnx import UserError, inspect, split
from mari_onnx.document.read import from_proto
from mari_onnx.serving.guard import NanGuard, OutputGuard
from mari_onnx.serving.mode import Mode
from mari_onnx.serving.modes import GUARDS, mode_of, mode_of_result
from mari_onnx.serving.names import GUARDS as GUARD_NAMES
from mari_onnx.serving.names import USER_BATCHES, UserBatch
from mari_onnx.serving.requests import AddedIndex, ExistingIndex
from mari_onnx.serving.single_row import SingleRow
from mari_onnx.serving.tiled import Tiled, TiledByKey
from tests.graphs import integers, parse
from tests.serving.models import BODY, TYPES, ranker, served

WORDS: list[tuple[dict[str, Any], Mode]] = [
    ({}, Tiled()),
    ({"user_batch": "one"}, SingleRow()),
    ({"user_batch": "requests"}, AddedIndex()),
    ({"request_index": "i"}, ExistingIndex("i")),
    ({"user_batch": "requests", "request_index": "i"}, ExistingIndex("i")),
    ({"request_key": ("user_id",)}, TiledByKey(("user_id",))),
    ({"guard": "nan"}, Tiled(guard=NanGuard())),
    ({"guard": "output"}, Tiled(guard=OutputGuard())),
    ({"request_key": ("user_id",), "guard": "output"}, TiledByKey(("user_id",), guard=OutputGuard())),
]


@pytest.mark.parametrize(("words", "mode"), WORDS, ids=str)
def test_words(words: dict[str, Any], mode: Mode) -> None:
    assert mode_of(**words) == mode
    options = mode.options
    assert {name: getattr(options, name) for name in words} == words
    assert mode_of(options.user_batch, options.request_index, options.request_key, options.guard) == mode


def test_every_word_for_a_guard_has_one() -> None:
    assert tuple(GUARDS) == GUARD_NAMES


@pytest.mark.parametrize("word", USER_BATCHES)
def test_every_word_for_a_user_batch_has_a_mode(word: UserBatch) -> None:
    assert mode_of(word).options.user_batch == word
    assert get_args(UserBatch) == USER_BATCHES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"user_batch": "one", "request_index": "i"}, "leaves an index nothing to select"),
        ({"user_batch": "one", "request_key": ("k",)}, "a request key tells tiled rows apart"),
        ({"request_index": "i", "request_key": ("k",)}, "a request key tells tiled rows apart"),
        ({"user_batch": "requests", "guard": "nan"}, "a guard compares tiled rows"),
        ({"user_batch": "two"}, "there is no user batch 'two'"),
        ({"guard": "loud"}, "there is no guard 'loud'"),
    ],
)
def test_contradictions(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mode_of(**words)


@pytest.mark.parametrize(("words", "mode"), WORDS, ids=str)
def test_what_was_written_shows_its_mode(words: dict[str, Any], mode: Mode) -> None:
    """But for what no signature shows: the index and the key are given, and a guard by NaN speaks for itself."""
    model = ranker(f"int64[B] i, int64[B] user_id, {TYPES}")
    given = {name: words[name] for name in ("request_index", "request_key") if name in words}
    found = mode_of_result(from_proto(model), [from_proto(served(model, mode))], **given)
    assert found == (Tiled() if mode == Tiled(guard=NanGuard()) else mode)


@pytest.mark.parametrize(
    ("words", "mode"),
    [({}, SingleRow()), ({"user_batch": "requests"}, AddedIndex()), ({"request_index": "i"}, ExistingIndex("i"))],
)
def test_what_was_split_shows_its_mode(words: dict[str, Any], mode: Mode) -> None:
    types = "int64[B] i, float[B, 256] user, float[B, 3] item"
    model = parse(f"g ({types}) => (float[B, 32] y) {{ {BODY} }}", w=integers(259, 32), b=integers(32))
    result = split(model, user_inputs=["user"], **words)
    assert result.report.verification is not None
    assert result.report.verification.passed
    documents = [from_proto(part) for part in result.models.values()]
    assert mode_of_result(from_proto(model), documents, words.get("request_index")) == mode


def test_what_the_reference_has_too_shows_nothing() -> None:
    model = ranker(f"int64[B] i, int64[B] user_id, {TYPES}")
    for mode in (SingleRow(), AddedIndex(), Tiled(guard=OutputGuard())):
        document = from_proto(served(model, mode))
        assert mode_of_result(document, [document]) == Tiled()


@pytest.mark.parametrize(("words", "mode"), WORDS, ids=str)
def test_the_report_says_what_was_asked_for(words: dict[str, Any], mode: Mode) -> None:
    report = inspect(ranker(f"int64[B] i, int64[B] user_id, {TYPES}"), user_inputs=["user*"], **words)
    assert report.calls == mode.instructions(("user_id", "user"))
    assert report.configuration is not None
    options = report.configuration.options
    assert {name: options[name] for name in words} == words
