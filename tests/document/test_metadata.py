"""Entries of metadata: a key stands once, and what somebody else wrote stays where it is."""

from __future__ import annotations

import onnx
import pytest

from mari_onnx.document.metadata import Message, keep, put, value


@pytest.fixture(params=[onnx.ModelProto, onnx.NodeProto])
def message(request: pytest.FixtureRequest) -> Message:
    made: Message = request.param()
    for key in ("author", "b", "version"):
        made.metadata_props.add(key=key, value=f"{key} of old")
    return made


def entries(message: Message) -> list[tuple[str, str]]:
    return [(entry.key, entry.value) for entry in message.metadata_props]


def test_an_entry_is_put_in_place_of_one_with_its_key(message: Message) -> None:
    put(message, {"b": "1", "c": "2"}, instead=["version", "d"])
    assert entries(message) == [("author", "author of old"), ("b", "1"), ("c", "2")]
    assert (value(message, "b"), value(message, "version")) == ("1", None)


def test_nothing_is_written_where_nothing_is_to_be_kept_out(message: Message) -> None:
    before = message.SerializeToString()
    put(message, {})
    keep(message, ["author", "b", "version"])
    assert message.SerializeToString() == before
    keep(message, ["b"])
    assert entries(message) == [("b", "b of old")]
