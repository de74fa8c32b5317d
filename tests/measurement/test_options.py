"""What cannot be measured is said before anything runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from mari_onnx.errors import UserError
from mari_onnx.measurement.options import OptionFields, Options


def test_the_keywords_are_the_fields() -> None:
    assert list(OptionFields.__annotations__) == [each.name for each in fields(Options)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batches": ()}, "batches is empty"),
        ({"batches": (10, 0)}, "batches is 0"),
        ({"threads": (0,)}, "threads is 0"),
        ({"concurrency": (4, 0)}, "concurrency is 0"),
        ({"runtime": "tensorrt"}, "there is no runtime 'tensorrt' here"),
        ({"runtime": "cpu", "profile": True}, "the time of nodes is measured in onnxruntime alone, on the CPU"),
        ({"runtime": "openvino", "profile": True}, "the time of nodes is measured in onnxruntime alone"),
        ({"seconds": 0.0}, "seconds is 0"),
        ({"min_speedup": -1.0}, "min_speedup is -1"),
        ({"max_slowdown": float("nan")}, "max_slowdown is nan"),
    ],
)
def test_what_cannot_be_measured(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Options(**given)
    assert caught.value.next_step
