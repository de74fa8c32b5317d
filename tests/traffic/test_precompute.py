"""A model over a table: what is stored is what the model computes, once, and says of which model it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest
from pyarrow import parquet

import mari_onnx
from examples.precomputed import Store
from mari_onnx.errors import UserError
from mari_onnx.report.precompute import Precomputed
from mari_onnx.report.split import Role
from mari_onnx.report.words import judged
from mari_onnx.serving.names import UserBatch
from mari_onnx.traffic.store import MANIFEST, alone
from tests.graphs import integers, parse
from tests.traffic.logs import Array

ITEMS = 300

MODEL = parse(
    """ranker (float[B, 256] user_x, int64[B] item_id, float[B, 3] item_x) => (float[B, 1] score) {
        i = Gather (items, item_id)
        x = Concat <axis = 1> (user_x, i, item_x)
        a = Gemm (x, w1, b1)
        r = Relu (a)
        score = MatMul (r, w2)
    }""",
    items=integers(ITEMS, 5), w1=integers(264, 16), b1=integers(16), w2=integers(16, 1),
)  # fmt: skip


def split(model: onnx.ModelProto = MODEL) -> Mapping[Role, onnx.ModelProto]:
    return mari_onnx.split(model, user_inputs="user_*", item_inputs="item_*", verify=False).models


def items(folder: Path, name: str = "a", rows: range = range(ITEMS), **columns: Any) -> Path:
    """A table of items with small integers."""
    path = folder / f"{name}.parquet"
    folder.mkdir(exist_ok=True)
    features = [[float(i % 3), float(i % 5), float(i % 7)] for i in rows]
    given = {"item_id": list(rows), "item_x": features, **columns}
    parquet.write_table(pa.table(given), path, row_group_size=64)
    return path


def computed(part: onnx.ModelProto | Path, **options: Any) -> Precomputed:
    given: dict[str, Any] = {"table": "items", "out": "store", "key": "item_id", "workers": 1, **options}
    report = mari_onnx.precompute(part, **given)
    assert report.precomputed is not None
    assert report.seconds is not None and report.seconds > 0
    return report.precomputed


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    sent = {each.name: feeds[each.name] for each in session.get_inputs()}
    return dict(zip(names, session.run(names, sent), strict=True))


def test_ranking_from_a_store_is_ranking_with_the_model(tmp_path: Path) -> None:
    items(tmp_path / "items", "a", range(200))
    items(tmp_path / "items", "b", range(200, ITEMS))
    parts = split()
    found = computed(parts["item"], workers=2)
    assert (found.rows, found.parts, found.kept, found.key) == (ITEMS, 4 + 2, 0, "item_id")
    assert found.fingerprint
    store = Store.read(Path("store"), parts["rank"])
    keys = np.array([7, 299, 7, 0, 250])
    user = integers(1, 256).astype(np.float32)
    item = {"item_id": keys, "item_x": np.array([[k % 3, k % 5, k % 7] for k in keys], np.float32)}
    expected = run(MODEL, {"user_x": np.repeat(user, len(keys), axis=0), **item})
    of_user = run(parts["user"], {"user_x": user})
    got = run(parts["rank"], {"user_x": user, **of_user, **store.rows(keys)})
    assert np.array_equal(got["score"], expected["score"])
    with pytest.raises(KeyError, match="300"):
        store.rows(np.array([3, 300]))


def test_a_second_run_does_what_is_missing(tmp_path: Path) -> None:
    part = split()["item"]
    items(tmp_path / "items")
    first = computed(part)
    files = {path: path.stat().st_mtime_ns for path in Path("store").glob("part-*")}
    next(iter(files)).unlink()
    items(tmp_path / "items", "b", range(10))
    again = computed(part)
    assert (again.parts, again.kept) == (first.parts + 1, first.parts - 1)
    kept = [path for path, at in files.items() if path.stat().st_mtime_ns == at]
    assert len(kept) == first.parts - 1
    assert computed(part).kept == again.parts


def test_rows_of_another_model_are_refused(tmp_path: Path) -> None:
    items(tmp_path / "items")
    parts = split()
    computed(parts["item"])
    other = onnx.ModelProto()
    other.CopyFrom(MODEL)
    other.graph.initializer[2].raw_data = (integers(16) + 1).astype(np.float32).tobytes()
    others = split(other)
    with pytest.raises(ValueError, match="has the fingerprint"):
        Store.read(Path("store"), others["rank"])
    with pytest.raises(UserError, match="has 5 parts of another model or table"):
        computed(others["item"])
    assert computed(others["item"], overwrite=True).parts == 5
    assert len(list(Path("store").glob("part-*"))) == 5
    Store.read(Path("store"), others["rank"])
    with pytest.raises(ValueError, match="has the fingerprint"):
        Store.read(Path("store"), parts["rank"])


def test_two_runs_at_once(tmp_path: Path) -> None:
    """The second would remove what the first has not finished."""
    part = split()["item"]
    items(tmp_path / "items")
    with (
        alone(Path("store")),
        pytest.raises(UserError, match="another run is writing to store\nWait until it has ended"),
    ):
        computed(part)
    assert computed(part).parts == 5


def test_a_run_of_another_model_that_ended_just_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the folder is looked at under the lock: a run that ended before it was taken left its files there."""
    part = split()["item"]
    items(tmp_path / "items")

    @contextmanager
    def after_another(folder: Path) -> Iterator[None]:
        folder.mkdir()
        (folder / "part-0123456789abcdef.parquet").touch()
        with alone(folder):
            yield

    monkeypatch.setattr("mari_onnx.traffic.precompute.alone", after_another)
    with pytest.raises(UserError, match="has 1 parts of another model or table"):
        computed(part)
    assert [path.name for path in Path("store").iterdir()] == ["part-0123456789abcdef.parquet"]


def test_keys_with_several_rows(tmp_path: Path) -> None:
    """Rows that are the same are one row; of rows that differ it is not known which one is meant."""
    parts = split()
    items(tmp_path / "items")
    items(tmp_path / "items", "b", range(3))
    computed(parts["item"])
    Store.read(Path("store"), parts["rank"])
    items(tmp_path / "items", "b", range(3), item_x=[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 9.0, 2.0]])
    computed(parts["item"], overwrite=True)
    with pytest.raises(ValueError, match="several rows of the key 2, and they differ"):
        Store.read(Path("store"), parts["rank"])


def test_a_run_that_fails_leaves_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), alone(tmp_path / "store"):
        raise RuntimeError
    assert not (tmp_path / "store").exists()
    (tmp_path / "store").mkdir()
    with pytest.raises(RuntimeError), alone(tmp_path / "store"):
        raise RuntimeError
    assert (tmp_path / "store").exists()


def test_a_model_that_takes_one_row(tmp_path: Path) -> None:
    model = parse("m (int64[1] item_id, float[1, 3] item_x) => (float[1, 3] y) { y = Mul (item_x, two) }",
                  two=np.array([2], np.float32))  # fmt: skip
    items(tmp_path / "items", rows=range(20))
    found = computed(model)
    assert [(each.name, each.dtype, each.shape) for each in found.outputs] == [("y", "float", (3,))]
    table = parquet.read_table("store")
    assert table.column("y").type == pa.list_(pa.float32(), 3)
    assert dict(zip(table["item_id"].to_pylist(), table["y"].to_pylist(), strict=True))[8] == [4.0, 6.0, 2.0]


def test_a_number_without_an_axis(tmp_path: Path) -> None:
    """It is another one for each row of the table, which is a call of its own then."""
    model = parse("part (int64[B] item_id, float boost) => (float[B, 5] row) { i = Gather (items, item_id) "
                  "row = Mul (i, boost) }", items=integers(ITEMS, 5))  # fmt: skip
    items(tmp_path / "items", boost=[float(i % 4) for i in range(ITEMS)])
    computed(model)
    stored = pa.concat_tables([parquet.read_table(path) for path in Path("store").glob("part-*")]).sort_by("item_id")
    expected = integers(ITEMS, 5) * (np.arange(ITEMS) % 4)[:, None]
    np.testing.assert_array_equal(np.array(stored.column("row").to_pylist()), expected)


def test_bad_tables(tmp_path: Path) -> None:
    part = split()["item"]
    with pytest.raises(UserError, match="no file matches"):
        computed(part)
    items(tmp_path / "items")
    with pytest.raises(UserError, match="has no column 'id'"):
        computed(part, key="id")
    with pytest.raises(UserError, match="does not exist\nMake it"):
        computed(part, out="no/store")
    assert not Path("store").exists()
    items(tmp_path / "items", "b", rows=range(200, 200 + ITEMS))
    with pytest.raises(UserError, match=r"b\.parquet, row group 1, rows 1 to 64: the model does not run on them"):
        computed(part)
    assert not Path("store", MANIFEST).exists()
    assert all(parquet.ParquetFile(path).metadata.num_rows for path in Path("store").iterdir())
    (tmp_path / "items" / "b.parquet").unlink()
    with pytest.raises(UserError, match="parts of another model or table"):
        computed(part)
    assert computed(part, overwrite=True).parts == 5


def test_outputs_without_a_row_for_each(tmp_path: Path) -> None:
    items(tmp_path / "items")
    text = "m (float[B, 3] item_x) => (float[1] y) { s = ReduceSum <keepdims = 0> (item_x) y = Reshape (s, one) }"
    model = parse(text, one=[1])
    with pytest.raises(UserError, match=r"output `y` has shape \[1\] for 64 rows"):
        computed(model)


def test_a_row_group_over_which_the_runtime_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mari_onnx import worker
    from mari_onnx.traffic.engines import local

    original = worker.run

    def dying(function: Callable[..., Any], *arguments: Any, **given: Any) -> Any:
        if function is local._do and arguments[1].piece.place.group == 1:
            raise worker.StoppedError("onnxruntime stopped (signal 11) while it ran the model", "try another")
        return original(function, *arguments, **given)

    items(tmp_path / "items")
    part = split()["item"]
    with monkeypatch.context() as patched:
        patched.setattr(worker, "run", dying)
        report = mari_onnx.precompute(part, table="items", out="store", key="item_id", workers=1)
    assert not report.passed
    assert "row group 1 was not computed: onnxruntime stopped (signal 11)" in judged(report)[2]
    with pytest.raises(ValueError, match="not complete"):
        Store.read(Path("store"), part)
    again = computed(part)
    assert (again.parts, again.kept) == (5, 4)


def test_the_key_is_the_only_id(tmp_path: Path) -> None:
    items(tmp_path / "items")
    part = split()["item"]
    assert computed(part, key=None).key == "item_id"
    two = parse("m (int64[B] a, int64[B] item_id) => (int64[B] y) { y = Add (a, item_id) }")
    items(tmp_path / "items", a=list(range(ITEMS)))
    with pytest.raises(UserError, match="not said which column tells rows apart"):
        computed(two, key=None, out="other")


def test_an_output_named_as_the_key(tmp_path: Path) -> None:
    items(tmp_path / "items")
    model = parse("m (int64[B] item_id) => (int64[B] key) { key = Add (item_id, item_id) }")
    items(tmp_path / "items", key=list(range(ITEMS)))
    with pytest.raises(UserError, match="`key` is an output and the key"):
        computed(model, key="key")


def test_the_verdict() -> None:
    made = Precomputed("store", "item_id", 2_000_000, 40, 38, 512_000_000, (), "ab", None)
    report = mari_onnx.Report("precompute", "0", model_facts(), precomputed=made)
    assert judged(report) == ("✓", "green", "2 M rows in 40 files, of which 38 were there, 512 MB: store")
    assert judged(replace(report, precomputed=None))[2] == "Nothing was computed"


def model_facts() -> Any:
    from tests.report.reports import MODEL as FACTS

    return FACTS


def users(folder: Path) -> None:
    """A table of users with different rows, and an item for each."""
    table = pa.table({
        "user_id": np.arange(20), "user_x": [[float(i), 1.0, 2.0] for i in range(20)],
        "item_id": np.arange(20), "item_x": [[float(i), 2.0, 0.0] for i in range(20)],
    })  # fmt: skip
    folder.mkdir()
    parquet.write_table(table, folder / "a.parquet")


TWO = parse(
    """m (int64[B] user_id, float[B, 3] user_x, int64[B] item_id, float[B, 3] item_x) => (float[B, 16] y) {
        u = Gather (table, user_id)
        x = Concat <axis = 1> (u, user_x, item_x)
        y = MatMul (x, w)
    }""",
    table=integers(20, 64).astype(np.float32), w=integers(70, 16).astype(np.float32),
)  # fmt: skip


@pytest.mark.parametrize("batch", ["one", "tiled"])
def test_a_model_of_requests_has_one_row_in_each_call(tmp_path: Path, batch: UserBatch) -> None:
    """Rows of a table are requests of their own, and the model would use the user's row of the first for all."""
    users(tmp_path / "items")
    made = mari_onnx.optimize(TWO, user_inputs="user_*", batch=1000, user_batch=batch, verify=False)
    assert made.changed
    computed(made.model, key="item_id")
    stored = parquet.read_table("store")
    table = parquet.read_table("items/a.parquet")
    feeds = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    feeds |= {name: feeds[name].astype(np.float32) for name in ("user_x", "item_x")}
    assert np.array_equal(np.array(stored["y"].to_pylist(), np.float32), run(TWO, feeds)["y"])


def test_a_model_whose_rows_depend_on_each_other(tmp_path: Path) -> None:
    users(tmp_path / "items")
    made = mari_onnx.optimize(TWO, user_inputs="user_*", batch=1000, verify=False, metadata=False)
    with pytest.raises(UserError, match=r"row group 0, row 11: output `y` is another one where the row is run alone"):
        computed(made.model, key="item_id")
