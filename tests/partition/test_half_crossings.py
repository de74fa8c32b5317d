"""What crosses in half precision: casts on both sides, and the names, types and bytes of the crossings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from mari_onnx import UserError, split
from mari_onnx.partition.half_crossings import in_half
from tests.graphs import Session, integers, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
MODEL = ranking("one", BODY, user="float[256]", w=integers(259, 32), b=integers(32))


def test_what_the_user_model_computes_is_cast() -> None:
    parts = split(MODEL, user_inputs=["user*"], verify=False)
    assert parts.report.split is not None
    models, crossings = in_half(parts.models, parts.report.split.crossings)
    for model in models.values():
        onnx.checker.check_model(model, full_check=True)
    assert [(one.name, one.dtype, one.bytes) for one in crossings] == [("h.user.float16", "float16", 64)]
    feeds = {"user_row": integers(1, 256), "item": integers(7, 3)}
    (sent,) = Session(models["user"]).run({"user_row": feeds["user_row"]})
    assert sent.dtype == np.float16
    (found,) = Session(models["rank"]).run({"item": feeds["item"], "h.user.float16": sent})
    (wanted,) = Session(MODEL).run(feeds)
    np.testing.assert_array_equal(found, wanted, "whole numbers below 2,048 are exact")


def test_names_that_are_taken() -> None:
    parts = split(MODEL, user_inputs=["user*"], verify=False)
    assert parts.report.split is not None
    parts.models["rank"].graph.input[0].name = "h.user.float16"
    for node in parts.models["rank"].graph.node:
        node.input[:] = ["h.user.float16" if name == "item" else name for name in node.input]
    models, _ = in_half(parts.models, parts.report.split.crossings)
    assert [i.name for i in models["rank"].graph.input] == ["h.user.float16", "h.user.float16_"]


def test_what_is_sent_unchanged_keeps_its_type() -> None:
    """And where nothing of float32 crosses there is nothing to halve."""
    parts = split(MODEL, user_inputs=["user*"], verify=False)
    assert parts.report.split is not None
    (one,) = parts.report.split.crossings
    _, crossings = in_half(parts.models, [one, replace(one, name="ids", dtype="int64", computed=False)])
    assert [each.dtype for each in crossings] == ["float16", "int64"]
    with pytest.raises(UserError, match="nothing crosses in float32"):
        in_half(parts.models, [replace(one, dtype="int64")])
