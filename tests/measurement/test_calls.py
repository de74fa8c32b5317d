"""The calls that both models get: the same request, each in the form in which the model takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx import optimize, split
from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.measurement.calls import Pair, Setting, each_request_once, settings
from mari_onnx.measurement.options import Options
from mari_onnx.report.note import Note
from mari_onnx.results import SplitModels
from mari_onnx.serving.modes import mode_of_result
from mari_onnx.serving.recompose import feeding
from tests.graphs import integers, parse, ranking
from tests.notes import said

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"


@pytest.fixture
def tower() -> onnx.ModelProto:
    return ranking("tiled", BODY, user="float[256]", w=integers(259, 32), b=integers(32))


HISTORY = parse(
    "g (int64[B, length] user_ids, float[B, 4] item) => (float[B, 4] y) {"
    "e = Gather (table, user_ids) s = ReduceSum (e, axis) y = Add (s, item) }",
    table=integers(50, 4),
    axis=[1],
)


def made(pair: Pair, notes: list[str] | None = None, **given: Any) -> list[Setting]:
    found: list[Note] = []
    made = settings(pair, Options(**given), found)
    if notes is not None:
        notes += said(found)
    return made


def as_pair(
    reference: onnx.ModelProto,
    optimized: onnx.ModelProto,
    tiled: tuple[str, ...] = ("user",),
    index: str | None = None,
) -> Pair:
    first, second = as_document(reference), as_document(optimized)
    return Pair(first, second, feeding(first, [second], mode_of_result(first, [second])), tiled, index=index)


def test_the_same_call_for_both(tower: onnx.ModelProto) -> None:
    notes: list[str] = []
    found = made(as_pair(tower, tower), notes, batches=(7, 1, 7), seed=3)
    assert [each.batch for each in found] == [1, 7]
    for each in found:
        ((first, second),) = each.feeds
        assert first is second
        assert first["user"].shape == (each.batch, 256)
        assert (first["user"] == first["user"][:1]).all()
        assert len(np.unique(first["item"], axis=0)) == each.batch
    assert notes == []
    again = made(as_pair(tower, tower), batches=(7,), seed=3)
    np.testing.assert_array_equal(again[0].feeds[0][0]["item"], found[1].feeds[0][0]["item"])


def test_a_row_that_is_sent_once(tower: onnx.ModelProto) -> None:
    result = optimize(tower, user_inputs="user", user_batch="one", verify=False)
    (found,) = made(as_pair(tower, result.model), batches=(5,))
    ((first, second),) = found.feeds
    assert second["user"].shape == (1, 256)
    np.testing.assert_array_equal(second["user"], first["user"][:1])
    np.testing.assert_array_equal(second["item"], first["item"])


def test_rows_of_requests(tower: onnx.ModelProto) -> None:
    result = optimize(tower, user_inputs="user", user_batch="requests", verify=False)
    (found,) = made(as_pair(tower, result.model, index="request_index"), batches=(5,))
    ((first, second),) = found.feeds
    assert set(second) == {"user", "item", "request_index"}
    np.testing.assert_array_equal(second["user"][second["request_index"]], first["user"])
    assert second["user"].shape == (1, 256)  # one request


def test_each_request_is_sent_once() -> None:
    feeds = {
        "user": np.array([[1, 2], [3, 4], [1, 2], [9, 9]]),
        "word": np.array([["a"], ["b"], ["a"], ["c"]], object),
        "item": np.arange(5),
        "index": np.array([2, 0, 1, 2, 0], np.int64),
    }
    sent = each_request_once(feeds, "index", ("user", "word"))
    assert sent["user"].tolist() == [[1, 2], [3, 4]]
    assert sent["word"].tolist() == [["a"], ["b"]]
    assert sent["index"].tolist() == [0, 0, 1, 0, 0]
    assert sent["index"].dtype == np.int64
    assert sent["item"] is feeds["item"]


@pytest.fixture
def cut(tower: onnx.ModelProto) -> SplitModels:
    return split(tower, user_inputs="user", item_inputs="item", verify=False)


def test_what_is_sent_to_the_models_of_a_split(tower: onnx.ModelProto, cut: SplitModels) -> None:
    first, (user, item, rank) = as_document(tower), (as_document(cut.models[role]) for role in ("user", "item", "rank"))
    parts = (user, item, rank)
    sent = feeding(first, parts, mode_of_result(first, parts))
    pair = Pair(first, rank, sent, ("user",), user=user, item=item)
    (found,) = made(pair, batches=(5,))
    ((of_reference, both),) = found.feeds
    assert set(both) == {"user", "item", *(output.name for output in item.proto.graph.output)}
    assert both["user"].shape == (1, 256)
    np.testing.assert_array_equal(both["item"], of_reference["item"])
    wrong = Pair(first, rank, feeding(first, [rank], mode_of_result(first, [rank])), ("user",))
    with pytest.raises(UserError, match="cannot be compared: input"):
        made(wrong, batches=(5,))


def test_a_guard_is_an_output_more(tower: onnx.ModelProto) -> None:
    result = optimize(tower, user_inputs="user", guard="output", verify=False)
    assert made(as_pair(tower, result.model), batches=(2,))[0].batch == 2


def test_recorded_calls_are_one_setting(tower: onnx.ModelProto, tmp_path: Path) -> None:
    rng, lines = np.random.default_rng(0), []
    for n in (3, 9, 5):
        user = [rng.standard_normal(256).tolist()] * n
        lines.append({"user": user, "item": rng.standard_normal((n, 3)).tolist()})
    path = tmp_path / "calls.jsonl"
    path.write_text("\n".join(map(str, lines)).replace("'", '"'), encoding="utf-8")
    (found,) = made(as_pair(tower, tower), inputs=path)
    assert found.batch == 5
    assert [len(first["item"]) for first, _ in found.feeds] == [3, 9, 5]


def test_a_recorded_call_without_an_input(tower: onnx.ModelProto, tmp_path: Path) -> None:
    np.savez(tmp_path / "call.npz", user=np.zeros((2, 256), np.float32))
    with pytest.raises(UserError, match=r"call.npz lacks input `item` of the model"):
        made(as_pair(tower, tower), inputs=tmp_path / "call.npz")


def test_answers_that_are_no_tensors() -> None:
    """A sequence of scores, and a map for each candidate, as a classifier of scikit-learn has it."""
    model = parse(
        "g (float[B, 3] item, float[B, 3] user) => (seq(float[B, 3]) both, seq(map(string, float)) named) {"
        "s = Add (item, user) both = SequenceConstruct (s, item) "
        'named = ai.onnx.ml.ZipMap <classlabels_strings = ["a", "b", "c"]> (s) }',
        domains=', "ai.onnx.ml" : 3',
    )
    (found,) = made(as_pair(model, model), batches=(4,))
    assert found.feeds[0][0]["item"].shape == (4, 3)


def test_other_inputs(tower: onnx.ModelProto) -> None:
    other = ranking("tiled", BODY.replace("item", "thing"), user="float[256]", w=integers(259, 32), b=integers(32))
    other.graph.input[1].name = "thing"
    with pytest.raises(UserError, match="the models cannot be compared: input `item` is only in the reference"):
        made(as_pair(tower, other))


def test_the_extent_of_a_history_is_said_or_given() -> None:
    pair, notes = as_pair(HISTORY, HISTORY, ("user_ids",)), list[str]()
    (found,) = made(pair, notes, batches=(4,))
    assert found.feeds[0][0]["user_ids"].shape == (4, 5)
    assert notes == ["drawn with an extent of 5, which takes less time than a larger one: `length` (--extent NAME=N)"]
    (found,) = made(pair, notes := [], batches=(4,), extents={"length": 80})
    assert found.feeds[0][0]["user_ids"].shape == (4, 80)
    assert found.feeds[0][0]["user_ids"].max() <= 49
    assert notes == []


def test_a_call_of_a_listwise_model_has_one_request(tmp_path: Path) -> None:
    model = parse(
        "g (float[R, 3] user, float[R, N, 3] item) => (float[R, N] y) {"
        "u = Unsqueeze (user, one) s = Mul (item, u) y = ReduceSum <keepdims = 0> (s, two) }",
        one=[1], two=[2],
    )  # fmt: skip
    (found,) = made(as_pair(model, model), batches=(40,))
    assert found.feeds[0][0]["item"].shape == (1, 40, 3)
    (found,) = made(as_pair(model, model), batches=(40,), extents={"R": 2})
    assert found.feeds[0][0]["user"].shape == (2, 3)
    np.savez(tmp_path / "calls.npz", user=np.ones((4, 3), np.float32), item=np.ones((4, 6, 3), np.float32))
    (found,) = made(as_pair(model, model), inputs=tmp_path / "calls.npz")  # several of them, where they are recorded
    assert found.feeds[0][0]["item"].shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("extents", "message"),
    [
        ({"width": 3}, "`width`, which is no dynamic axis of the inputs\nThe dynamic axes are: B, length"),
        ({"B": 3}, "axis `B` counts the candidates\nGive their numbers with --batch"),
        ({"length": 0}, "the extent 0 of axis `length` is too small"),
    ],
)
def test_extents_of_other_axes(extents: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(as_pair(HISTORY, HISTORY, ()), extents=extents)


def test_a_model_of_one_number_of_candidates() -> None:
    fixed = parse("g (float[200, 4] item) => (float[200, 4] y) { y = Relu (item) }")
    notes: list[str] = []
    (found,) = made(as_pair(fixed, fixed, ()), notes)
    assert found.batch == 200
    assert notes == ["the model takes one number of candidates alone, and was called with it: 200"]


def test_a_model_that_runs_on_nothing() -> None:
    """Ids that nothing leads to a table are drawn from 0 to 1."""
    model = parse(
        "g (int64[B] ids) => (int64[B] y) { never = Add (ids, far) y = GatherElements (ids, never) }", far=[10**6]
    )
    with pytest.raises(UserError, match=r"the reference model runs on no call: .*batch 3 was skipped") as caught:
        made(as_pair(model, model, ()), batches=(3,))
    assert "--inputs" in str(caught.value.next_step)
