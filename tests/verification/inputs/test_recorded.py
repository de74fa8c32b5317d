"""Recorded inputs in every format, and what is said about those that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from mari_onnx.errors import UserError
from mari_onnx.report.model import Verification
from mari_onnx.verification.inputs import recorded as data
from mari_onnx.verification.inputs.draw import Input
from tests.notes import said
from tests.verification import models
from tests.verification.models import parse, verify

RNG = np.random.default_rng(5)
FEEDS: dict[str, Any] = {
    "user": RNG.standard_normal((3, 6)).astype(np.float32),
    "item": RNG.standard_normal((3, 5)).astype(np.float32),
}


def npz(path: Path) -> Path:
    np.savez(path / "calls.npz", **FEEDS)
    return path / "calls.npz"


def npy(path: Path) -> Path:
    for name, array in FEEDS.items():
        np.save(path / f"{name}.npy", array)
    return path


def protobuf(path: Path) -> Path:
    for i, array in enumerate(FEEDS.values()):
        (path / f"input_{i}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())
    return path


def data_set(path: Path) -> Path:
    for number in (0, 1, 10):
        (path / f"test_data_set_{number}").mkdir()
        protobuf(path / f"test_data_set_{number}")
    return path


def lines(path: Path) -> Path:
    whole = json.dumps({name: array.tolist() for name, array in FEEDS.items()})
    (path / "calls.jsonl").write_text(f"{whole}\n\n{whole}\n")
    return path / "calls.jsonl"


def candidates(path: Path) -> Path:
    rows = ({name: array[i].tolist() for name, array in FEEDS.items()} for i in range(3))
    (path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return path / "rows.jsonl"


def parquet(path: Path) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {name: array.tolist() for name, array in FEEDS.items()}
    parquet.write_table(arrow.table({**columns, "clicked": [0, 1, 0]}), path / "rows.parquet")
    return path / "rows.parquet"


EVERY = {each.__name__: each for each in (npz, npy, protobuf, data_set, lines, candidates, parquet)}
CALLS = {"data_set": 3, "lines": 2}


def verified(path: Path, **given: object) -> Verification:
    return verify(models.tower(), models.split_tower(), inputs=path, **given)


@pytest.mark.parametrize("name", EVERY)
def test_formats(name: str, tmp_path: Path) -> None:
    verification = verified(EVERY[name](tmp_path))
    assert verification.passed, verification
    assert [d.batch for d in verification.differences] == [3] * CALLS.get(name, 1)
    assert verification.rankings[0].candidates == 3
    wrong = verify(models.tower(), models.split_tower(swapped=True), inputs=EVERY[name](tmp_path / "again"))
    assert not wrong.passed


@pytest.fixture(autouse=True)
def _again(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()


def test_the_numbers_arrive(tmp_path: Path) -> None:
    inputs = [Input(name, np.dtype(np.float32), ("B", array.shape[1])) for name, array in FEEDS.items()]
    for name, make in EVERY.items():
        folder = tmp_path / name
        folder.mkdir()
        _, feeds = next(data.read(make(folder), inputs))
        for key, array in FEEDS.items():
            np.testing.assert_array_equal(feeds[key], array)


def test_a_number_without_an_axis(tmp_path: Path) -> None:
    model = parse("g (float[B, 2] x, float factor) => (float[B, 2] y) { y = Mul (x, factor) }")
    path = tmp_path / "calls.jsonl"
    path.write_text(json.dumps({"x": [[1.0, 2.0], [3.0, 4.0]], "factor": 1.5}) + "\n", encoding="utf-8")
    assert verify(model, model, inputs=path).passed


def test_rows_beyond_one_call_are_further_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "ROWS", 2)
    names = [d.case for d in verified(candidates(tmp_path)).differences]
    assert names == ["rows.jsonl, rows 1 to 2", "rows.jsonl, rows 3 to 3"]


def test_an_input_of_one_row_has_to_be_the_same_for_all(tmp_path: Path) -> None:
    model = parse("f (float[1, 2] user, float[B, 2] item) => (float[B, 2] y) { y = Add (user, item) }")
    path = tmp_path / "rows.jsonl"
    rows = [{"user": [1, 2], "item": [3, 4]}, {"user": [1, 2], "item": [5, 6]}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert verify(model, model, inputs=path).passed
    rows[1]["user"] = [1, 3]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(
        UserError, match="takes one row of input `user` for all candidates, and the recorded rows differ"
    ):
        verify(model, model, inputs=path)


def test_rows_that_were_declared_the_same_are_told_apart(tmp_path: Path) -> None:
    verification = verified(npz(tmp_path), tiled=["user"])
    assert any("the rows of `user` differ" in note for note in said(verification.notes))


def _text(content: str, name: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / name).write_text(content)
        return path / name

    return make


def _arrays(**arrays: Any) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        np.savez(path / "calls.npz", **arrays)
        return path / "calls.npz"

    return make


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path / "none.npz", "do not exist"),
        (_text("x", "calls.csv"), "has an ending that is not known"),
        (_text("x", "calls.npz"), "cannot be read"),
        (_text("{", "calls.jsonl"), "line 1 is not JSON"),
        (_text("[1]", "calls.jsonl"), "line 1 is not a JSON object"),
        (_text("x", "rows.parquet"), "cannot be read|needs pyarrow"),
        (lambda path: path / "again", "there are no inputs in"),
        (_arrays(user=FEEDS["user"]), "lacks input `item`"),
        (_arrays(**FEEDS | {"item": FEEDS["item"][:, :4]}), r"shape \[3, 4\], and the model takes \[B 5\]"),
        (_arrays(**FEEDS | {"item": np.array(["a"])}), "`item` cannot be read as float32"),
    ],
)
def test_what_does_not_fit(make: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as raised:
        verified(make(tmp_path))
    assert "Traceback" not in str(raised.value)


def test_ids_have_to_be_whole(tmp_path: Path) -> None:
    model = parse("f (int64[B] x) => (int64[B] y) { y = Abs (x) }")
    assert verify(model, model, inputs=_arrays(x=np.array([1.0, 2.0]))(tmp_path)).passed
    with pytest.raises(UserError, match="values that do not fit into int64"):
        verify(model, model, inputs=_arrays(x=np.array([1.5, 2.0]))(tmp_path))


def test_a_call_that_the_reference_does_not_run(tmp_path: Path) -> None:
    model = parse("f (int64[B] x) => (float[B, 2] y) { y = Gather (t, x) }", t=np.zeros((4, 2), np.float32))
    verification = verify(model, model, inputs=_arrays(x=np.array([1, 99]))(tmp_path))
    assert not verification.passed
    assert "the reference does not run" in said(verification.notes)[0]


def test_ranges_replace_what_was_traced() -> None:
    text = "f (int64[B] x, float[B] z) => (float[B, 2] y, int64[B] seen, float[B] felt) {{ {} }}"
    body = "y = Gather (t, x) seen = Abs (x) felt = Neg (z)"
    model = parse(text.format(body), t=np.arange(200, dtype=np.float32).reshape(100, 2))
    late = parse(text.format(body), t=np.float32(np.arange(200).reshape(100, 2) + (np.arange(100) == 7)[:, None]))
    assert not verify(model, late).passed
    assert verify(model, late, input_ranges={"x": (8, 99)}).passed
    assert not verify(model, late, input_ranges={"x": (7, 7)}).passed
    with pytest.raises(UserError, match="`w`, which is no input"):
        verify(model, model, input_ranges={"w": (0, 1)})
    with pytest.raises(UserError, match="is empty"):
        verify(model, model, input_ranges={"x": (1, 0)})
    with pytest.raises(UserError, match="holds whole numbers"):
        verify(model, model, input_ranges={"x": (0.5, 1)})


def test_ranges_of_features(tmp_path: Path) -> None:
    model = parse("f (float[B] x) => (float[B] y) { y = Sqrt (x) }")
    other = parse("f (float[B] x) => (float[B] y) { c = Clip (x, lo) y = Sqrt (c) }", lo=np.float32(0.25))
    assert not verify(model, other, failing=tmp_path / "f.npz").passed
    assert verify(model, other, input_ranges={"x": (0.25, 4)}).passed


def test_external_requests_count_candidates() -> None:
    inputs = [Input("user", np.dtype(np.int64), ("n_req",)), Input("index", np.dtype(np.int64), ("B",))]
    feeds = {"user": np.zeros(2, np.int64), "index": np.zeros(9, np.int64)}
    assert data.candidates(inputs, feeds, frozenset({"n_req"})) == 9
