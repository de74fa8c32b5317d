"""A model as it is read: its premises follow from the roles of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import pytest

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import Reading, read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.extents import symbol
from mari_onnx.serving.mode import Mode
from mari_onnx.serving.requests import AddedIndex
from mari_onnx.serving.rows import FIRST_ROW
from mari_onnx.serving.single_row import SingleRow
from mari_onnx.serving.tiled import AS_EXPORTED
from tests.graphs import integers, parse, ranking

BODY = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}


def reading(proto: onnx.ModelProto, globs: Sequence[str] = ("user*",), mode: Mode = AS_EXPORTED) -> Reading:
    model = Model(from_proto(proto))
    return read(model, roles_of(model, globs, 500, mode))


def test_a_row_that_is_sent_once() -> None:
    found = reading(ranking("one", BODY, **WEIGHTS)).premises
    assert (found.tiled, found.repeated, found.candidates) == ((), (), ("B",))
    assert found.reasons == {"user_row": "declared by 'user*': leading extent 1 beside dynamic ones"}


def test_a_row_that_the_caller_repeats() -> None:
    found = reading(ranking("tiled", BODY, **WEIGHTS)).premises
    assert (found.tiled, found.candidates) == (("user",), ("B",))
    assert found.rows == FIRST_ROW


def test_a_row_that_the_caller_repeats_for_one_of_several_axes() -> None:
    """All have one name, and no node reads two of them: the rows of the user are as many as those of the item."""
    model = parse(
        "g (float[B, 3] item, float[B, 4] user, float[B, 2] context) => (float[B, 3] y, float[M, 2] z, float[N, 4] u)"
        "{ y = Neg (item) z = Neg (context) u = Neg (user) }"
    )
    found = reading(model, ["user"]).premises
    assert found.candidates == ("B", "context.0")
    assert (symbol("B"), symbol("user.0")) in found.equal


def test_rows_of_requests() -> None:
    """The symbol that counts them is that of the input whose rows an index selects."""
    found = reading(ranking("requests", BODY, **WEIGHTS), ["rows"]).premises
    assert "R" in found.requests
    assert found.candidates == ("B",)


@pytest.mark.parametrize(
    ("mode", "leading", "new"),
    [
        (AS_EXPORTED, {}, []),
        (SingleRow(), {"user": 1}, []),
        (AddedIndex(), {"user": "requests"}, ["request_index"]),
    ],
)
def test_how_the_model_is_called_is_the_modes(mode: Mode, leading: dict[str, int | str], new: list[str]) -> None:
    found = reading(ranking("tiled", BODY, **WEIGHTS), mode=mode).premises
    assert dict(found.signature.leading) == leading
    assert [info.name for info in found.signature.inputs] == new
    assert (found.rows == FIRST_ROW) is (mode == AS_EXPORTED)


def test_inputs_of_the_candidates_have_as_many_rows_as_each_other() -> None:
    """Exporters name the leading extent of each input apart: `unk__1` and `unk__2`."""
    text = "g (float[unk__1, 4] user, float[unk__2, 3] item) => (float[M, 2] y)"
    found = reading(parse(f"{text} {{ {BODY} }}", **WEIGHTS)).premises
    assert found.equal == ((symbol("unk__2"), symbol("unk__1")),)


def test_what_the_model_takes_as_it_is() -> None:
    """Every candidate costs as much; nothing is planned."""
    found = reading(ranking("tiled", BODY, **WEIGHTS))
    assert [found.interpreted(batch).work.macs for batch in (1, 500)] == [7 * 2, 500 * 7 * 2]
