"""The options of a verification, and the tables that they are chosen from."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest

from mari_onnx.errors import UserError
from mari_onnx.verification.options import OptionFields, Options
from mari_onnx.verification.runtimes import SECOND_RUNTIMES


def test_the_fields_are_named_once_for_keywords() -> None:
    assert list(OptionFields.__annotations__) == [field.name for field in fields(Options)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"batches": ()}, "batches is empty"),
        ({"batches": (1, -1)}, "batches is -1"),
        ({"effort": "hard"}, "no effort 'hard'"),
        ({"runtime": "tensorrt"}, "no runtime 'tensorrt'"),
    ],
)
def test_what_there_is_not(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Options(**given)


@pytest.mark.parametrize("runtime", SECOND_RUNTIMES)
def test_each_runtime_has_its_function(runtime: str) -> None:
    assert callable(getattr(import_module(f"mari_onnx.verification.runtimes.{runtime}"), SECOND_RUNTIMES[runtime]))
