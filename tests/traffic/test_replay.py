"""A replay as a whole: what it finds in logs, which faults it sees, and what it says of logs that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import mari_onnx
from mari_onnx.errors import UserError
from mari_onnx.report.model import Difference, Report, Verification
from mari_onnx.report.replay import Replay
from mari_onnx.report.words import judged
from tests.graphs import integers, parse
from tests.traffic.logs import ITEMS, MODEL, USERS, Row, by_request, changed, days, request, rows, write

Models = tuple[Path, Path]


def replayed(models: Models, requests: object = "logs", **options: Any) -> Report:
    given: dict[str, Any] = {"user_inputs": "user_*", "request_id": "request", "workers": 1, **options}
    return mari_onnx.replay(*models, requests=str(requests), **given)


def found(report: Report) -> Replay:
    assert report.replay is not None
    return report.replay


def timeless(report: Report) -> object:
    """What of a report has to be the same in every run."""
    return replace(found(report), latency=()), report.verification


LOGS = rows(60)


def test_the_same_predictions(models: Models, tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    report = replayed(models, worst="worst.jsonl")
    one, (output,) = found(report), found(report).outputs
    assert report.passed
    assert (one.requests, one.recorded, one.compared, one.rows, one.files) == (60, 60, 60, len(LOGS), 3)
    assert one.groups == sum(-(-n // 17) for n in (len(LOGS) // 3,) * 3)
    assert (output.values, output.over, output.misplaced, output.nan) == (len(LOGS), 0, 0, 0)
    assert 0 <= output.quantiles[0] <= output.quantiles[3] <= output.largest < 1e-6
    assert output.allowed is not None and output.largest < output.allowed
    assert judged(report)[0] == "✓"
    assert report.seconds is not None and report.seconds > 0
    again = mari_onnx.verify(*models, user_inputs="user_*", inputs="worst.jsonl")
    assert again.passed and again.verification and again.verification.differences


def test_whatever_the_order_and_the_number_of_processes(models: Models, tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    assert timeless(replayed(models, workers=1)) == timeless(replayed(models, workers=2))


def test_a_sample_is_of_whole_requests_and_always_the_same(models: Models, tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    some, again = (found(replayed(models, sample=0.3)) for _ in range(2))
    assert replace(some, latency=()) == replace(again, latency=())
    assert 5 < some.requests < 40
    assert some.recorded == 60
    sizes = [len(request(key)) for key in range(60)]
    assert some.rows <= sum(sorted(sizes)[-some.requests :])


def test_requests_of_many_candidates_are_cut_for_what_is_verified_first(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mari_onnx.traffic import replay

    monkeypatch.setattr(replay, "LONGEST", 2)
    write(tmp_path / "logs" / "a.parquet", LOGS)
    report = replayed(models)
    assert report.passed
    assert found(report).outputs[0].allowed is not None
    assert found(report).rows == len(LOGS)


@pytest.fixture(scope="module")
def split(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Any, Path]:
    """The parts of a split of the model: user, item and rank."""
    folder = tmp_path_factory.mktemp("split")
    made = mari_onnx.split(models[0], user_inputs="user_*", item_inputs=["item_id", "price"], verify=False)
    paths = {role: folder / f"{role}.onnx" for role in made.models}
    made.save(paths)
    return paths


def test_the_models_of_a_split(models: Models, split: Mapping[Any, Path], tmp_path: Path) -> None:
    """All parts together stand for the reference; a moved weight in any of them is found."""
    days(tmp_path / "logs", LOGS)
    parts: dict[str, Any] = {"user_model": split["user"], "item_model": split["item"]}
    whole = models[0], split["rank"]
    report = replayed(whole, worst="worst.jsonl", journal="journal", **parts)
    assert report.passed
    assert found(report).compared == 60
    assert found(report).outputs[0].largest < 1e-6
    assert mari_onnx.verify(*whole, user_inputs="user_*", inputs="worst.jsonl", **parts).passed
    name = next(each.name for each in onnx.load(split["user"]).graph.initializer if each.dims)
    wrong = replayed(whole, **{**parts, "user_model": moved(split["user"], name, 0, 1.0)})
    assert not wrong.passed


def test_models_of_different_splits(models: Models, split: Mapping[Any, Path], tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    other = mari_onnx.split(moved(models[0], "w2", 0, 1.0), user_inputs="user_*", verify=False)
    other.save({"user": Path("user.onnx"), "rank": Path("rank.onnx")})
    with pytest.raises(UserError, match="not those of one split"):
        replayed((models[0], split["rank"]), user_model="user.onnx")
    with pytest.raises(UserError, match="is the ranking model of a split"):
        replayed((models[0], split["rank"]), user_model=split["rank"])


# Planted faults


def moved(path: Path, name: str, index: int, by: float) -> Path:
    """The model with one weight moved."""
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[index] += by
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, "moved.onnx")
    return Path("moved.onnx")


def test_rows_of_one_users_request_that_differ(models: Models, tmp_path: Path) -> None:
    logs = [*LOGS, *request(777, 5)]
    write(tmp_path / "logs" / "a.parquet", changed(logs, lambda i, row: i == len(logs) - 1, user_id=3), group=100)
    report = replayed(models, worst="worst.jsonl")
    (broken,) = found(report).broken
    assert (broken.input, broken.found.requests, broken.found.rows) == ("user_id", 1, 1)
    assert broken.found.examples[0].startswith("request 777: ")
    assert "3 in row 5" in broken.found.examples[0]
    assert not report.passed
    assert judged(report)[2].startswith("A promise is broken: rows of `user_id` are not identical in 1 of 61 requests")
    assert found(report).compared == 60
    assert report.verification is not None and report.verification.passed
    assert not mari_onnx.verify(*models, user_inputs="user_*", inputs="worst.jsonl").passed


MIXED = [{**row, "request": row["request"] // 3, "user_id": row["request"] % USERS} for row in LOGS]
"""Calls of three users each."""


@pytest.fixture(scope="module")
def keyed(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The model, and one that takes the first row of each user."""
    path = tmp_path_factory.mktemp("keyed") / "fast.onnx"
    options: dict[str, Any] = {"user_inputs": "user_*", "request_key": "user_id", "batch": 1000, "verify": False}
    result = mari_onnx.optimize(models[0], **options)
    assert result.changed
    result.save(path)
    return models[0], path


def test_calls_that_mix_users(keyed: Models, tmp_path: Path) -> None:
    days(tmp_path / "logs", MIXED)
    report = replayed(keyed, request_key="user_id", worst="worst.jsonl")
    assert report.passed
    assert found(report).compared == 20
    assert mari_onnx.verify(*keyed, user_inputs="user_*", request_key="user_id", inputs="worst.jsonl").passed
    of_one = replayed(keyed)
    assert not of_one.passed
    assert {each.input for each in found(of_one).broken} == {"user_id", "user_x", "user_hist"}


def test_rows_of_one_user_among_others_that_differ(keyed: Models, tmp_path: Path) -> None:
    """The third row of a user is not that of the first, whose number in the call is said."""
    users = [row["user_id"] for row in MIXED]
    last = next(i for i in range(10, len(MIXED)) if users[i - 2 : i + 1] == [users[i]] * 3 and users[i - 3] != users[i])
    write(tmp_path / "logs" / "a.parquet", changed(MIXED, lambda i, row: i == last, user_x=[9.0, 9.0, 9.0]))
    report = replayed(keyed, request_key="user_id", worst="worst.jsonl")
    (broken,) = found(report).broken
    assert (broken.input, broken.found.requests, broken.found.rows) == ("user_x", 1, 1)
    first = sum(row["request"] == MIXED[last]["request"] for row in MIXED[: last - 2])
    assert f"in row {first + 1}, 9.0 in row {first + 3}" in broken.found.examples[0]
    assert not report.passed
    assert found(report).compared == 19
    assert not mari_onnx.verify(*keyed, user_inputs="user_*", request_key="user_id", inputs="worst.jsonl").passed


def test_a_call_without_candidates_with_a_key(keyed: Models, tmp_path: Path) -> None:
    import pyarrow as pa

    nested = [
        {**own[0], **{name: [row[name] for row in own if own[0]["request"] != 3] for name in ("item_id", "price")}}
        for own in by_request(LOGS).values()
    ]
    write(tmp_path / "logs" / "a.parquet", nested, item_id=pa.list_(pa.int64()), price=pa.list_(pa.float32()))
    report = replayed(keyed, request_key="user_id")
    assert report.passed
    assert found(report).requests == 60
    assert not found(report).broken


def test_a_key_that_is_no_input(models: Models, tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    with pytest.raises(UserError, match="no input 'nobody' to be a request key"):
        replayed(models, request_key="nobody")


def test_an_id_that_is_out_of_range(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", changed(LOGS, lambda i, row: i == 40, item_id=ITEMS))
    report = replayed(models)
    unrunnable = found(report).unrunnable
    assert unrunnable.requests == 1
    assert unrunnable.examples[0].startswith(f"request {LOGS[40]['request']}: ")
    assert "out of" in unrunnable.examples[0]
    assert found(report).compared == 59
    assert report.passed  # neither model runs on it
    assert judged(report)[0] == "!"
    assert "the reference does not run on 1 of 60 requests" in judged(report)[2]


def test_a_nan(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", changed(LOGS, lambda i, row: i == 40, price=float("nan")))
    report = replayed(models)
    (output,) = found(report).outputs
    assert (output.nan, output.misplaced) == (1, 0)
    assert report.passed


def test_a_nan_in_only_one_of_the_two(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", changed(LOGS, lambda i, row: i == 40, item_id=7))
    other = moved(models[0], "items", 7 * 8, float("nan"))
    report = replayed((models[0], other))
    (output,) = found(report).outputs
    assert output.misplaced >= 1
    assert output.misplaced == output.over
    assert not report.passed


def test_a_weight_that_moves_few_scores_by_little(models: Models, tmp_path: Path) -> None:
    """A row of the table of items that one request has, moved by about ten times what is allowed of scores."""
    logs = changed(rows(200), lambda i, row: row["item_id"] == 9, item_id=8)
    logs = changed(logs, lambda i, row: 9 in row["user_hist"], user_hist=[0, 0, 0, 0])
    at = next(i for i, row in enumerate(logs) if row["request"] == 150)
    write(tmp_path / "logs" / "a.parquet", changed(logs, lambda i, row: i == at, item_id=9))
    allowed = found(replayed(models)).outputs[0].allowed
    assert allowed is not None
    report = replayed((models[0], moved(models[1], _table_of(models[1]), 9 * 8, 1e-4)))
    (output,) = found(report).outputs
    assert (output.over, output.over_requests) == (1, 1)
    assert allowed < output.largest < 1e-4
    assert not report.passed
    assert judged(report)[2].startswith("The predictions differ")


def _table_of(path: Path) -> str:
    """The table of items in a written model, whatever its name there."""
    tensors = onnx.load(path).graph.initializer
    return str(next(t.name for t in tensors if tuple(t.dims) == (ITEMS, 8)))


def test_what_a_crash_of_the_runtime_leaves(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mari_onnx import worker
    from mari_onnx.traffic.engines import local

    write(tmp_path / "logs" / "a.parquet", LOGS, group=200)
    original = worker.run

    def dying(function: Callable[..., Any], *arguments: Any, **given: Any) -> Any:
        if function is local._do and arguments[1].number == 0:
            raise worker.StoppedError("onnxruntime stopped (signal 11) while it ran the reference model", "try another")
        return original(function, *arguments, **given)

    monkeypatch.setattr(worker, "run", dying)
    report = replayed(models)
    (stopped,) = found(report).stopped
    assert stopped.place.endswith("a.parquet, row group 0")
    assert "signal 11" in stopped.reason
    assert not report.passed
    assert 0 < found(report).compared < 60
    assert "was not compared: onnxruntime stopped (signal 11)" in judged(report)[2]


# Logs as they are


def test_columns_of_other_names_nulls_and_histories_of_several_lengths(models: Models, tmp_path: Path) -> None:
    import pyarrow as pa

    days(tmp_path / "plain", changed(LOGS, lambda i, row: True, user_hist=[5, 6, 0, 0]))
    logs = [{**row, "uid": row["user_id"], "clicks": [5, 6]} for row in LOGS]
    kinds = {"user_id": None, "user_hist": None, "uid": pa.dictionary(pa.int32(), pa.int64()),
             "clicks": pa.large_list(pa.int32())}  # fmt: skip
    days(tmp_path / "logs", logs, **kinds)
    Path("map.toml").write_text(
        '[inputs]\nuser_id = "uid"\nuser_hist = {column = "clicks", pad = 0}\n', encoding="utf-8"
    )
    expected, report = replayed(models, "plain"), replayed(models, columns="map.toml")
    assert timeless(report) == timeless(expected)


def test_a_row_for_each_request(models: Models, tmp_path: Path) -> None:
    import pyarrow as pa

    days(tmp_path / "flat", LOGS)
    nested = [
        {**own[0], "item_id": [row["item_id"] for row in own], "price": [row["price"] for row in own]}
        for own in by_request(LOGS).values()
    ]
    write(tmp_path / "logs" / "a.parquet", nested, item_id=pa.list_(pa.int64()), price=pa.list_(pa.float32()))
    expected, report = found(replayed(models, "flat")), found(replayed(models))
    assert (report.requests, report.rows, report.compared) == (60, len(LOGS), 60)
    assert report.outputs == expected.outputs


def listwise(length: str, folder: Path) -> Models:
    """A model of lists of candidates, with an input whose leading axis counts them, and the model made of it."""
    user, item = np.ones((3, 64), np.float32) / 8, np.full((4, 64), 0.25, np.float32)
    prior = "" if length.isdecimal() else f", float[{length}] prior"
    reference = parse(
        f"""reranker (float[R, 3] user_x, int64[R, {length}] item_id, float[R, {length}, 2] pair{prior})
            => (float[R, {length}] score) {{
            one = Constant <value_ints = [1]> ()
            last = Constant <value_ints = [-1]> ()
            t = Unsqueeze (user_x, one)
            h = MatMul (t, user)
            hh = Tanh (h)
            e = Gather (items, item_id)
            x = Concat <axis = -1> (e, pair)
            i = MatMul (x, item)
            a = Add (hh, i)
            r = Relu (a)
            b = MatMul (r, w2)
            s = Squeeze (b, last)
            score = {"Identity (s)" if not prior else "Add (s, prior)"}
        }}""",
        user=user, item=item, w2=np.arange(64, dtype=np.float32).reshape(64, 1) / 64,
        items=np.arange(2 * ITEMS, dtype=np.float32).reshape(ITEMS, 2),
    )  # fmt: skip
    paths = folder / "reranker.onnx", folder / "reranker.fast.onnx"
    onnx.save(reference, paths[0])
    mari_onnx.optimize(reference, verify=False).save(paths[1])
    return paths


@pytest.mark.parametrize("length", ["N", "4"])
def test_candidates_in_lists(tmp_path: Path, length: str) -> None:
    """Of `item_id` [R, N], and of `pair` [R, N, 2], a call of one request has one row, and N candidates in it."""
    import pyarrow as pa

    models, rng, given = listwise(length, tmp_path), np.random.default_rng(0), list[Row]()
    for key in range(40):
        user = rng.integers(-3, 4, 3).astype(np.float32).tolist()
        for _ in range(4 if length == "4" else int(rng.integers(1, 9))):
            pair, prior = rng.integers(-3, 4, 2).tolist(), float(rng.integers(9))
            given.append({"request": key, "user_x": user, "item_id": int(rng.integers(ITEMS)), "pair": pair,
                          "prior": prior})  # fmt: skip
    kinds = {"user_id": None, "user_hist": None, "price": None, "pair": pa.list_(pa.float32()), "prior": pa.float32()}
    days(tmp_path / "flat", given, **kinds)
    nested = [
        {**own[0], **{name: [row[name] for row in own] for name in ("item_id", "pair", "prior")}}
        for own in by_request(given).values()
    ]
    lists = {name: pa.list_(kinds.get(name, pa.int64())) for name in ("item_id", "pair", "prior")}
    days(tmp_path / "nested", nested, **{**kinds, **lists})
    flat, report = (replayed(models, each, user_inputs=()) for each in ("flat", "nested"))
    one = found(report)
    assert report.passed and flat.passed
    assert (one.requests, one.rows, one.compared) == (40, len(given), 40)
    assert one.largest == max(len(own) for own in by_request(given).values())
    (output,) = one.outputs
    assert (output.values, output.over) == (len(given), 0)
    assert output.ranked == sum(len(own) > 1 for own in by_request(given).values())
    assert found(flat).outputs == one.outputs

    second = next(i for i in range(1, len(given)) if given[i]["request"] == given[i - 1]["request"])
    broken = changed(given, lambda i, _: i == second, user_x=[9.0, 9.0, 9.0])
    days(tmp_path / "broken", broken, **kinds)
    (wrong,) = found(replayed(models, "broken", user_inputs=())).broken
    assert (wrong.input, wrong.found.rows) == ("user_x", 1)


def test_a_model_that_takes_one_row_of_the_user(models: Models, tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    result = mari_onnx.optimize(models[0], user_inputs="user_*", batch=1000, user_batch="one", verify=False)
    result.save("one.onnx")
    assert [i.type.tensor_type.shape.dim[0].dim_value for i in result.model.graph.input[:3]] == [1, 1, 1]
    report = replayed((models[0], Path("one.onnx")))
    assert report.passed
    assert found(report).compared == 60


def test_files_that_fsspec_opens(models: Models, tmp_path: Path) -> None:
    days(tmp_path / "logs", LOGS)
    expected, report = replayed(models), replayed(models, f"file://{tmp_path}/logs/date=*/*.parquet")
    assert found(report).outputs == found(expected).outputs


# An interrupted replay


def test_an_interrupted_replay_goes_on_where_it_was(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mari_onnx.traffic import replay

    days(tmp_path / "logs", LOGS)
    expected, journal = replayed(models), tmp_path / "journal"
    keep, kept = replay._keep, list[Any]()

    def interrupted(*given: Any) -> None:
        if len(kept) == 3:
            raise KeyboardInterrupt
        kept.append(given)
        keep(*given)

    with monkeypatch.context() as patched:
        patched.setattr(replay, "_keep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replayed(models, journal=journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    journal.write_bytes(b"".join(lines) + lines[-1][: len(lines[-1]) // 2])  # killed while it wrote the next
    with pytest.raises(UserError, match="interrupted after 3 tasks\nGo on with it: --resume"):
        replayed(models, journal=journal)
    with pytest.raises(UserError, match="is of another run: sample differs"):
        replayed(models, journal=journal, resume=True, sample=0.5)
    report = replayed(models, journal=journal, resume=True)
    assert timeless(report) == timeless(expected)
    assert not journal.exists()


# Logs that cannot be used


def without(name: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != name} for row in LOGS]


def refused(models: Models, message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        replayed(models, **{"worst": "worst.jsonl", **options})
    assert not Path("worst.jsonl").exists()


def test_a_column_that_is_missing(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", LOGS)
    write(tmp_path / "logs" / "b.parquet", [{**row, "prize": row["price"]} for row in LOGS], price=None, prize=_float())
    refused(models, r"b\.parquet has no column 'price' for input `price`\nDid you mean 'prize'\?")
    refused(models, r"a\.parquet has no column 'req'.*\nDid you mean 'request'\?", request_id="req")


def _float() -> Any:
    import pyarrow as pa

    return pa.float32()


def test_a_file_that_is_cut_short(models: Models, tmp_path: Path) -> None:
    path = write(tmp_path / "logs" / "a.parquet", LOGS)
    path.write_bytes(path.read_bytes()[:-100])
    refused(models, r"a\.parquet cannot be read: ")


def test_a_schema_that_changes_half_way(models: Models, tmp_path: Path) -> None:
    import pyarrow as pa

    write(tmp_path / "logs" / "a.parquet", rows(9))
    write(tmp_path / "logs" / "b.parquet", [], item_id=pa.string())
    refused(models, r"column `item_id` of .*b\.parquet holds string, which input `item_id` does not take")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_id": None}, "column `item_id`, row 3: the value is missing\nSay .* null = 0"),
        ({"user_hist": [1, 2, 3]}, "column `user_hist`, row 3: a list of 3 values beside one of 4\nSay .* pad = 0"),
        ({"user_hist": [1] * 5}, "column `user_hist`, row 3: a list of 5 values, and the model takes 4\nSay .* keep"),
        ({"request": None}, "column `request`, row 3: the id of the request is missing"),
    ],
)
def test_values_that_do_not_fit(models: Models, tmp_path: Path, change: Row, message: str) -> None:
    write(tmp_path / "logs" / "a.parquet", changed(LOGS, lambda i, row: i == 19, **change))
    refused(models, rf"a\.parquet, row group 1, {message}")


def test_requests_whose_rows_are_not_together(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", [*LOGS, LOGS[0]])
    refused(models, r"not together: `request` begins one in .*row group 0, and goes on with it in .*row group \d")


def test_words_that_mean_nothing(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", LOGS)
    refused(models, "there is no engine 'spark'", engine="spark")
    refused(models, "no file matches", requests="nothing/*.parquet")
    Path("nothing").mkdir()
    refused(models, "the folder nothing has no files that end in .parquet", requests="nothing")
    refused(models, "ends in .jsonl", worst="worst.npz")
    refused(models, "cannot be both the journal and the worst requests", journal="worst.jsonl")
    Path("map.toml").write_text('[inputs]\nuser = "user_id"\n', encoding="utf-8")
    refused(models, "names input `user`, which the model does not have", columns="map.toml")


def test_logs_without_requests(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", [])
    report = replayed(models, journal="journal")
    assert not report.passed
    assert judged(report)[2] == "Nothing was compared: the logs have no requests"


def test_a_request_of_one_row(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", [])
    write(tmp_path / "logs" / "b.parquet", request(7, 1))
    report = replayed(models)
    assert report.passed
    assert (found(report).requests, found(report).rows) == (1, 1)
    assert "1 request with 1 candidate," in judged(report)[2]


def test_plain_tolerances(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", LOGS)
    other = moved(models[0], "b1", 0, 1e-3)
    assert not replayed((models[0], other), rtol=1e-6).passed
    report = replayed((models[0], other), rtol=1e-2, atol=0)
    assert report.passed
    assert found(report).outputs[0].allowed is None


def test_a_report_is_json(models: Models, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", LOGS)
    read = json.loads(mari_onnx.render(replayed(models), "json"))
    assert read["replay"]["outputs"][0]["values"] == len(LOGS)
    assert np.isfinite(read["replay"]["latency"][0]["median_us"])


def test_one_number_for_a_call(tmp_path: Path) -> None:
    """An input without axes: each row of a request has the number, and has to have the same."""
    import pyarrow as pa

    types = "float[B, 3] user_x, float[B, 1] price, float boost"
    body = "x = Concat <axis = 1> (user_x, price) h = MatMul (x, w) s = Mul (h, boost) score = Relu (s)"
    model = parse(f"ranker ({types}) => (float[B, 64] score) {{ {body} }}", w=integers(4, 64))
    onnx.save(model, "ranker.onnx")
    mari_onnx.optimize(model, user_inputs="user_*", batch=1000, verify=False).save("fast.onnx")
    logs = changed([*LOGS, *request(777, 5)], lambda i, row: True, boost=1.5)
    models = Path("ranker.onnx"), Path("fast.onnx")
    write(tmp_path / "logs" / "a.parquet", logs, boost=pa.float32())
    assert found(replayed(models)).compared == 61
    write(
        tmp_path / "logs" / "a.parquet", changed(logs, lambda i, row: i == len(logs) - 1, boost=2.0), boost=pa.float32()
    )
    (broken,) = found(replayed(models)).broken
    assert (broken.input, broken.found.requests, broken.found.rows) == ("boost", 1, 1)


def test_models_in_memory(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.parquet", rows(9))
    result = mari_onnx.optimize(MODEL, user_inputs="user_*", batch=1000, verify=False)
    report = mari_onnx.replay(
        MODEL, result, requests="logs", request_id="request", user_inputs="user_*", workers=1
    )  # fmt: skip
    assert report.passed


@pytest.mark.parametrize(
    ("over", "misplaced", "failure", "steps", "passed"),
    [
        (40, 0, "accuracy", {"y"}, True),
        (60, 0, "accuracy", {"y"}, False),
        (40, 1, "accuracy", {"y"}, False),
        (40, 0, "another function", {"y"}, False),
        (40, 0, "accuracy", set(), False),
    ],
)
def test_few_values_may_fall_to_another_step(
    over: int, misplaced: int, failure: Any, steps: set[str], passed: bool
) -> None:
    """Of all requests few, which are most of the worst ones."""
    from mari_onnx.traffic.findings import Findings, Output
    from mari_onnx.traffic.replay import _on_edges

    worst = Verification(False, 0, 0, 0, (Difference(9, "y", 1, 1, 0, False, failure=failure),))
    total = Findings(outputs={"y": Output(1_000, over=over, misplaced=misplaced)})
    judged_ = _on_edges(worst, total, steps)
    assert judged_.passed is passed
    assert judged_.differences[0].passed is passed
