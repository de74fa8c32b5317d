"""Where tensors come from, as an entry of a model's metadata."""

from __future__ import annotations

import json

import onnx
import pytest

from mari_onnx.document.provenance import ASSUMED, KEY, Origin, assumed, read, stamp, stamp_assumed
from tests.graphs import parse

ORIGINS = {"z.user": Origin("z", "user", "product"), "a": Origin("a", "whole", "")}


@pytest.fixture
def model() -> onnx.ModelProto:
    return parse("g (float[B] x) => (float[B] y) { y = Relu (x) }")


def props(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(entry.key, entry.value) for entry in model.metadata_props]


def test_what_is_stamped_is_read(model: onnx.ModelProto) -> None:
    stamp(model, ORIGINS)
    assert read(model) == ORIGINS
    assert props(model) == [(KEY, '{"a":["a","whole",""],"z.user":["z","user","product"]}')]


def test_names_are_kept_whatever_is_in_them(model: onnx.ModelProto) -> None:
    origins = {'用户"\\': Origin("a\nb", "part", "linear")}
    stamp(model, origins)
    assert read(onnx.ModelProto.FromString(model.SerializeToString())) == origins


def test_an_earlier_entry_is_replaced_and_others_stay(model: onnx.ModelProto) -> None:
    for key in ("author", KEY, "version"):
        model.metadata_props.add(key=key, value="{}")
    stamp(model, ORIGINS)
    assert [key for key, _ in props(model)] == ["author", "version", KEY]
    assert props(model)[:2] == [("author", "{}"), ("version", "{}")]
    stamp(model, {})
    assert props(model) == [("author", "{}"), ("version", "{}")]


def test_no_origins_are_no_entry(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    stamp(model, {})
    assert model.SerializeToString() == before
    assert read(model) == {}


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "3", '{"a": "b"}', '{"a": ["b"]}', '{"a": ["b", "c", 1]}'])
def test_an_entry_of_somebody_else(model: onnx.ModelProto, text: str) -> None:
    model.metadata_props.add(key=KEY, value=text)
    assert read(model) == {}


def test_the_order_does_not_depend_on_that_of_the_mapping(model: onnx.ModelProto) -> None:
    stamp(model, dict(reversed(ORIGINS.items())))
    assert list(json.loads(props(model)[0][1])) == ["a", "z.user"]


def test_what_was_vouched_for_is_said_once() -> None:
    proto = onnx.ModelProto()
    stamp_assumed(proto, ())
    assert not proto.metadata_props
    stamp_assumed(proto, ("p", "q"))
    stamp_assumed(proto, ("r",))
    stamp_assumed(proto, ("r",))
    stamp_assumed(proto, ())
    (entry,) = proto.metadata_props
    assert entry.key == ASSUMED
    assert json.loads(entry.value) == {"attention_scores_below": 4000, "before": ["p", "q", "r"]}
    assert assumed(proto) == ("p", "q", "r")


@pytest.mark.parametrize("text", ["", "p, q", "[]", '{"before": 3}', '{"before": [3]}'])
def test_what_somebody_else_wrote_vouches_for_nothing(text: str) -> None:
    proto = onnx.ModelProto()
    proto.metadata_props.add(key=ASSUMED, value=text)
    assert assumed(proto) == ()
