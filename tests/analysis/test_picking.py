"""Rows at constant places, and the kinds of rows of a value in parts."""

from __future__ import annotations

from typing import Any

import pytest

from mari_onnx.analysis.picking import Places, kinds_of, pick
from mari_onnx.ir.axes import Axis
from tests.graphs import ranking, rewrite

TYPES: dict[str, Any] = {"user": "float[3, 4]", "item": "float[2, 4]", "output": "float[B, 5, 4] y"}
JOINED = "z = Concat <axis = 1> (item, user, item) a = Gather <axis = 1> (z, places) y = Relu (a)"


def test_rows_by_the_axes_that_they_are_stored_along() -> None:
    program = rewrite(ranking("one", JOINED, **TYPES, places=[0, 2, 4, 5, 6])).program
    z = program.values["z"]
    kinds = kinds_of(program.context, z, z.known_dims[1][0])
    assert [kind.offsets for kind in kinds] == [{0: 0, 1: 1, 5: 2, 6: 3}, {2: 0, 3: 1, 4: 2}]
    assert [kind.array.tensor.known_shape[-2] for kind in kinds] == [4, 3]


@pytest.mark.parametrize(("places", "op_type"), [([1, 2], "Slice"), ([2, 0], "Gather")])
def test_neighbours_are_a_slice(places: list[int], op_type: str) -> None:
    program = rewrite(ranking("one", JOINED, **TYPES, places=[0, 2, 4, 5, 6])).program
    user = program.values["user"] if "user" in program.values else program.values["user_row"]
    picked = pick(program.context, user.array, user.known_dims, Places(1, places, Axis(2)))
    assert picked.tensor.op_type == op_type
