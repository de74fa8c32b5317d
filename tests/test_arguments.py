"""Arguments of another type are told, and do not become something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mari_onnx
from mari_onnx.arguments import flag, names, number, numbers
from mari_onnx.errors import UserError
from tests.graphs import integers, ranking

MODEL = ranking("tiled", "x = Concat <axis = 1> (user, item) y = MatMul (x, w)", user="float[256]", w=integers(259, 32))


def test_what_is_meant() -> None:
    assert names("user_inputs", "user_*") == ("user_*",)
    assert names("user_inputs", (name for name in "ab")) == ("a", "b")
    assert numbers("batches", np.array([1, 500]), 1) == (1, 500)
    assert number("batch", np.int32(7), 1) == 7
    flag("verify", False)


def from_one(argument: str, given: Any) -> Any:
    return numbers(argument, given, 1)


def of_one(argument: str, given: Any) -> Any:
    return number(argument, given, 1)


@pytest.mark.parametrize(
    ("check", "given"),
    [
        *((names, given) for given in (None, 5, b"user", ["user", 5])),
        *((from_one, given) for given in (500, "500", [1, 0], [1.5], [])),
        *((of_one, given) for given in (0, True, "7", 7.0)),
        *((flag, given) for given in ("no", None, 1)),
    ],
)
def test_what_is_not(check: Callable[[str, Any], Any], given: Any) -> None:
    with pytest.raises(UserError, match=r"^argument ") as caught:
        check("argument", given)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"user_batch": "ones"}, "there is no user batch 'ones'"),
        ({"guard": True}, "there is no guard True"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": "500"}, "batch is '500'"),
        ({"dynamic_batch": "no"}, "dynamic_batch is 'no'"),
        ({"verify": "no"}, "verify is 'no'"),
        ({"user_inputs": 5}, "user_inputs is 5"),
        ({"user_inputs": [5]}, "user_inputs has 5 in it"),
        ({"request_key": [None]}, "request_key has None in it"),
        ({"timeout": 0}, "timeout is 0"),
        ({"on_failure": "ignore"}, "there is no on_failure 'ignore'"),
        ({"min_gain": -1}, "min_gain is -1"),
    ],
)
def test_optimize(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        mari_onnx.optimize(MODEL, **{"user_inputs": ["user"], **given})
    assert caught.value.next_step


@pytest.mark.parametrize("function", [mari_onnx.verify, mari_onnx.bench])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batches": 5}, "batches is 5"),
        ({"batches": "5"}, "batches is '5'"),
        ({"batches": []}, "batches is empty"),
        ({"seed": -1}, "seed is -1"),
        ({"runtime": "some"}, "there is no runtime 'some'"),
        ({"user_inputs": 5}, "user_inputs is 5"),
    ],
)
def test_verify_and_bench(function: Callable[..., Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        function(MODEL, MODEL, **given)
