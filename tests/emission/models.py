"""One product of the user's columns and the item's, and what can be noted of it."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import StringStringEntryProto, helper

from tests.graphs import integers, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"


WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}


def model(**changes: Any) -> onnx.ModelProto:
    return ranking("one", BODY, **{**WEIGHTS, **changes})


def entry(key: str) -> StringStringEntryProto:
    return StringStringEntryProto(key=key, value=f"{key} value")


def as_inputs(proto: onnx.ModelProto) -> onnx.ModelProto:
    for t in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    return proto
