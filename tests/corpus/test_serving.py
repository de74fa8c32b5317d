"""Real exports, served in each way: rows sent once, users told apart by a key or an index, guarded, in two models."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

from benchmarks.calls import declared
from benchmarks.timing import session
from mari_onnx import UserError, optimize, split
from tests.corpus.test_corpus import FULL, NAMES, tool

Feeds = dict[str, npt.NDArray[Any]]

FEW = ("deepctrtf_deepfm_v", "rechub_din_v", "rechub_mmoe_v", "rechub_ple_e", "rechub_widedeep_v")
TRIED = [name for name in NAMES if FULL or name in FEW]
TILED = [name for name in TRIED if name.endswith(("_v", "_v_fp16"))]
SPLIT = [name for name in TRIED if name.removesuffix("_fp16").endswith(("_v", "_e"))]

BATCHES = (1, 2, 7, 64)
MORE_ARITHMETIC = 1.02
"""How much more than the optimized model its two parts may compute."""

pytestmark = pytest.mark.skipif(not NAMES, reason="no corpus; set MARI_CORPUS to its folder")


class Case(NamedTuple):
    model: onnx.ModelProto
    meta: dict[str, Any]
    user: list[str]
    original: ort.InferenceSession


@cache
def case(name: str) -> Case:
    ((_, path, meta),) = tool("corpus").models(tool("corpus").HERE / "models", name)
    model = tool("corpus").fill(path)
    return Case(model, meta, declared(meta, model), session(model))


def call(given: Case, batch: int, seed: int = 0) -> Feeds:
    feeds: Feeds = tool("corpus").feeds(given.meta, batch, seed=seed, model=given.model)
    return feeds


def mixed(given: Case, users: int, batch: int) -> tuple[Feeds, Feeds]:
    """A call for the candidates of several users in shuffled order; and the users' rows, with each candidate's user."""
    calls = [call(given, 1, seed=100 + user) for user in range(users)]
    rows = {name: np.concatenate([each[name] for each in calls]) for name in given.user}
    if "user_id" in rows:  # distinct, whatever was drawn
        high = given.meta["input_specs"]["user_id"]["high"]
        ids = np.random.default_rng(users).permutation(high + 1)[:users]
        rows["user_id"] = ids.astype(rows["user_id"].dtype).reshape(rows["user_id"].shape)
    which = np.random.default_rng(batch).permutation(np.arange(batch) % users)
    return {**call(given, batch, seed=batch), **{n: a[which] for n, a in rows.items()}}, {
        **rows,
        "request_index": which,
    }


def assert_near(given: Case, feeds: Feeds, served: ort.InferenceSession, sent: Feeds) -> bool:
    """The scores of the original; whether that runs at all, which a few do not at a single candidate."""
    try:
        expected = given.original.run(None, feeds)
    except Exception:
        assert len(feeds[given.user[0]]) == 1
        return False
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in given.model.graph.initializer)
    names = {i.name for i in served.get_inputs()}
    outputs = [o.name for o in given.original.get_outputs()]
    for wanted, got in zip(expected, served.run(outputs, {n: sent[n] for n in names}), strict=True):
        assert got.shape == wanted.shape
        largest = max(1.0, float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=(1e-2 if half else 1e-4) * largest)
    return True


@pytest.mark.parametrize("name", TILED)
def test_one_row(name: str) -> None:
    given = case(name)
    one = session(optimize(given.model, user_inputs=given.user, user_batch="one", verify=False).model)
    for batch in BATCHES:
        feeds = call(given, batch, seed=batch)
        assert_near(given, feeds, one, {**feeds, **{n: feeds[n][:1] for n in given.user}})


@pytest.mark.parametrize("name", TILED)
def test_several_users(name: str) -> None:
    given = case(name)
    served = {
        "index": session(optimize(given.model, user_inputs=given.user, user_batch="requests", verify=False).model)
    }
    if "user_id" in given.user:
        keyed = optimize(given.model, user_inputs=given.user, request_key=["user_id"], guard="nan", verify=False)
        served["key"] = session(keyed.model)
    for users in (1, 3, 64):
        for batch in (users, 64):
            feeds, rows = mixed(given, users, batch)
            for way, model in served.items():
                assert_near(given, feeds, model, {**feeds, **rows} if way == "index" else feeds)
    assert "key" in served or FULL


@pytest.mark.parametrize("guard", ["nan", "output"])
@pytest.mark.parametrize("name", TILED)
def test_a_guard_speaks_up_and_only_then(name: str, guard: Any) -> None:
    given = case(name)
    guarded = session(optimize(given.model, user_inputs=given.user, guard=guard, verify=False).model)
    outputs = [o.name for o in guarded.get_outputs()]

    def speaks(feeds: Feeds) -> bool:
        results = dict(zip(outputs, guarded.run(None, feeds), strict=True))
        if guard == "output":
            return not results["mari_guard"].any()
        return all(bool(np.isnan(a).all()) for a in results.values())

    for batch in BATCHES:
        feeds = call(given, batch, seed=batch)
        if not assert_near(given, feeds, guarded, feeds) or batch == 1:
            continue
        assert not speaks(feeds)
        for user in given.user:
            wrong = feeds[user].copy()
            last = wrong.reshape(batch, -1)[-1]
            last[-1] = 0 if last[-1] else 1
            assert speaks({**feeds, user: wrong}), user


@pytest.mark.parametrize("name", SPLIT)
def test_two_models(name: str) -> None:
    given = case(name)
    parts = split(given.model, user_inputs=given.user, verify=False)
    for part in parts.models.values():
        onnx.checker.check_model(part, full_check=True)
    assert parts.report.split is not None
    single = optimize(given.model, user_inputs=given.user, verify=False).report.cost_after
    assert single is not None
    assert sum(part.macs for part in parts.report.split.parts) <= MORE_ARITHMETIC * single.macs
    user, rank = session(parts.models["user"]), session(parts.models["rank"])
    ran = 0
    for batch in BATCHES:
        feeds = call(given, batch, seed=batch)
        sent = {**feeds, **{n: feeds[n][:1] for n in given.user}}
        computed = user.run(None, {i.name: sent[i.name] for i in user.get_inputs()})
        sent.update(zip([o.name for o in user.get_outputs()], computed, strict=True))
        ran += assert_near(given, feeds, rank, sent)
    assert ran >= 3


@pytest.mark.parametrize("name", SPLIT)
def test_an_item_model(name: str) -> None:
    """Items are computed in one batch and ranked in another."""
    given = case(name)
    items = [i.name for i in given.model.graph.input if i.name.startswith("item_")]
    if not items:
        pytest.skip("no input is called an item's")
    try:
        parts = split(given.model, user_inputs=given.user, item_inputs=items, verify=False)
    except UserError:
        pytest.skip("the items have nothing but their embeddings")
    assert parts.report.split is not None
    assert sum(part.macs for part in parts.report.split.parts) <= MORE_ARITHMETIC * parts.report.split.macs
    user, item, rank = (session(parts.models[role]) for role in ("user", "item", "rank"))
    feeds = call(given, 64)
    sent = {**feeds, **{n: feeds[n][:1] for n in given.user}}
    for model, rows in ((user, None), (item, np.random.default_rng(0).permutation(64))):
        asked = {i.name: sent[i.name] if rows is None else sent[i.name][rows] for i in model.get_inputs()}
        for output, made in zip(model.get_outputs(), model.run(None, asked), strict=True):
            if rows is not None:  # an item may have several rows: [B, 4, 16] is stored as [(B 4), 16]
                made = made.reshape(64, -1)[np.argsort(rows)].reshape(made.shape)
            sent[output.name] = made
    assert assert_near(given, feeds, rank, sent)
