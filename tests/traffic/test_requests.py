"""The requests of tasks: whole, in order, and each exactly once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mari_onnx.document.graph_view import shape_of
from mari_onnx.errors import UserError
from mari_onnx.traffic import files, requests
from mari_onnx.traffic.layout import Layout, layout
from mari_onnx.traffic.plan import plan
from mari_onnx.traffic.requests import Chosen
from mari_onnx.verification.inputs.draw import Input
from tests.traffic.logs import MODEL, by_request, changed, days, feeds, rows, write

LOGS = rows(40)


def inputs() -> list[Input]:
    kinds: dict[int, np.dtype[np.generic]] = {1: np.dtype("float32"), 7: np.dtype("int64")}
    dims = {i.name: tuple(dim for dim in shape_of(i) or () if dim is not None) for i in MODEL.graph.input}
    return [Input(i.name, kinds[i.type.tensor_type.elem_type], dims[i.name]) for i in MODEL.graph.input]


def read(folder: str) -> tuple[list[files.File], Layout]:
    found = files.found([folder])
    return found, layout(inputs(), [], {}, found)


@pytest.mark.parametrize("group", [1, 5, 1000])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_every_request_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, batch: int) -> None:
    monkeypatch.setattr(files.batches, "__defaults__", (batch,))
    days(tmp_path / "logs", LOGS, group=group)
    found, read_as = read("logs")
    got = [each for task in plan(found, "request").tasks for each in requests.requests(task, read_as, "request")]
    expected = by_request(LOGS)
    assert [each.id for each in got] == list(expected)
    for each in got:
        assert each.candidates == len(expected[each.id])
        for name, array in feeds(expected[each.id]).items():
            assert each.feeds[name].dtype == array.dtype
            assert np.array_equal(each.feeds[name], array)


def test_those_that_are_chosen_are_read_again(tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    found, read_as = read("logs")
    for task in plan(found, "request").tasks:
        every = list(requests.requests(task, read_as, "request"))
        chosen = Chosen(numbers={0, len(every) - 1})
        again = list(requests.requests(task, read_as, "request", chosen))
        assert [each.number for each in again] == sorted({0, len(every) - 1})
        assert again[0].id == every[0].id and again[-1].id == every[-1].id


def test_a_share_of_requests() -> None:
    taken = sum(Chosen(0.1).takes(0, key) for key in range(20_000))
    assert 1_800 < taken < 2_200
    assert all(Chosen(0.2).takes(0, key) for key in range(2_000) if Chosen(0.1).takes(0, key))
    assert Chosen(0.5).takes(0, 7) == Chosen(0.5).takes(3, np.int64(7))


def test_lists_of_several_lengths_in_one_request(tmp_path: Path) -> None:
    """What a row group shows to be wrong is told with its name; this shows only where the rows of a request are."""
    write(tmp_path / "logs" / "a.parquet", changed(LOGS, lambda i, row: i == 1, user_hist=[1, 2]))
    free = [Input(each.name, each.dtype, ("B", "L")) if each.name == "user_hist" else each for each in inputs()]
    found = files.found(["logs"])
    read_as = layout(free, [], {}, found)
    with pytest.raises(UserError, match="request 0, column `user_hist`, row 2: a list of 2 values beside one of 4"):
        list(requests.requests(plan(found, "request").tasks[0], read_as, "request"))
