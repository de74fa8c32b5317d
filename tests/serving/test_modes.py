"""How a model is called: each way of serving on small graphs, bit for bit, and what contradicts itself or the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx import UserError, inspect, optimize
from mari_onnx.analysis.input_roles import sides
from mari_onnx.analysis.interpret import BUG
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.emission import emit
from mari_onnx.planning.search import run
from mari_onnx.serving.modes import Serving
from tests.graphs import MANY, Array, evaluate, integers, parse

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}
TYPES = "float[B, 4] user, float[B, 3] item"
BATCHES = (0, 1, 7)


def ranker(types: str = TYPES, body: str = BODY, output: str = "float[B, 2] y", *, opset: int = 17) -> onnx.ModelProto:
    constants = WEIGHTS if "w, b" in body else {}
    return parse(f"g ({types}) => ({output}) {{ {body} }}", opset=opset, **constants)


def served(model: onnx.ModelProto, globs: Sequence[str] = ("user*",), **serving: Any) -> onnx.ModelProto:
    """What is written, whether or not it pays."""
    graph = Model(from_proto(model))
    program = run(graph, sides(graph, globs, MANY, Serving(**serving)), MANY)
    assert not [r for r in program.context.remarks if r.reason.startswith(BUG)]
    result = emit(program, graph)
    onnx.checker.check_model(result, full_check=True)
    return result


def numbers(batch: int, width: int, seed: int = 0) -> Array:
    return integers(batch, width, seed=seed + batch)


def call(batch: int, **more: Array) -> dict[str, Array]:
    row = integers(1, 4, seed=batch)
    return {"user": np.repeat(row, batch, 0), "item": numbers(batch, 3), **more}


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    dims = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input}
    return {name: [d.dim_param or d.dim_value for d in shape] for name, shape in dims.items()}


def assert_equal(got: Sequence[Array], expected: Sequence[Array]) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# One row


@pytest.mark.parametrize("types", [TYPES, "float[U, 4] user, float[B, 3] item"], ids=["one symbol", "two symbols"])
def test_one_row(types: str) -> None:
    model = ranker(types)
    result = served(model, user_batch="one")
    assert shapes(result) == {"user": [1, 4], "item": ["B", 3]}
    assert [n.op_type for n in result.graph.node].count("Gemm") == 2
    for batch in BATCHES:
        sent = call(batch, user=integers(1, 4, seed=batch))
        expected = evaluate(model, {**sent, "user": np.repeat(sent["user"], batch, 0)})
        assert_equal(evaluate(result, sent), expected)


def test_an_output_that_only_the_user_has() -> None:
    """It has a row for each candidate still."""
    model = ranker(output="float[B, 2] y, float[B, 4] z", body=f"{BODY} z = Neg (user)")
    result = served(model, user_batch="one")
    for batch in BATCHES:
        sent = call(batch, user=integers(1, 4, seed=batch))
        assert_equal(evaluate(result, sent), evaluate(model, {**sent, "user": np.repeat(sent["user"], batch, 0)}))


def test_one_row_needs_another_input_for_the_candidates() -> None:
    model = ranker("float[B, 4] user", "y = Relu (user)", "float[B, 4] y")
    with pytest.raises(UserError, match="no other input is known to have as many rows") as caught:
        served(model, user_batch="one")
    assert "-u" in str(caught.value.next_step)


def test_an_input_that_is_an_output() -> None:
    model = ranker(output="float[B, 2] y, float[B, 4] user")
    with pytest.raises(UserError, match="`user` is an output as well"):
        served(model, user_batch="one")


# Several requests


@pytest.mark.parametrize("requests", [1, 3, 9])
def test_rows_of_several_requests(requests: int) -> None:
    model = ranker()
    result = served(model, user_batch="requests")
    assert shapes(result) == {"user": ["requests", 4], "item": ["B", 3], "request_index": ["B"]}
    for batch in BATCHES:
        rows = integers(requests, 4, seed=batch)
        index = np.random.default_rng(batch).integers(0, requests, batch)
        sent = {"user": rows, "item": numbers(batch, 3), "request_index": index}
        assert_equal(evaluate(result, sent), evaluate(model, {"user": rows[index], "item": sent["item"]}))


@pytest.mark.parametrize("kind", ["int64[B] i", "int32[B, 1] i"])
def test_by_an_index_that_is_there(kind: str) -> None:
    """It may serve for something else as well."""
    body = f"f = Cast <to = 1> (i) r = Reshape (f, column) {BODY.replace('y =', 'g =')} y = Add (g, r)"
    model = parse(f"g ({kind}, {TYPES}) => (float[B, 2] y) {{ {body} }}", column=[-1, 1], **WEIGHTS)
    result = served(model, request_index="i")
    assert shapes(result)["user"] == ["requests", 4]
    for batch in BATCHES:
        rows = integers(5, 4, seed=batch)
        index = np.random.default_rng(batch).integers(0, 5, batch)
        typed = index.astype(np.int32).reshape(-1, 1) if "32" in kind else index
        sent = {"i": typed, "user": rows, "item": numbers(batch, 3)}
        assert_equal(evaluate(result, sent), evaluate(model, {**sent, "user": rows[index]}))


# Keys


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
@pytest.mark.parametrize("distinct", [1, 3, 7])
@pytest.mark.parametrize(
    ("dtype", "width"),
    [("int64", ()), ("int32", (1,)), ("string", ()), ("int64", (2,)), ("string", (2,)), ("bool", ())],
)
def test_keys(dtype: str, width: tuple[int, ...], distinct: int, opset: int) -> None:
    shape = "".join(f", {w}" for w in width)
    types = f"{dtype}[B{shape}] user_key, float[B, 256] user, float[B, 3] item"
    weights: dict[str, Any] = {"w": integers(259, 32), "b": integers(32)}
    model = parse(f"g ({types}) => (float[B, 32] y) {{ {BODY} }}", opset=opset, **weights)
    result = served(model, request_key=("user_key",))
    assert shapes(result) == shapes(model)
    assert [n.op_type for n in result.graph.node].count("Gemm") == 2
    for batch in BATCHES:
        rng = np.random.default_rng(batch)
        which = rng.permutation(np.arange(batch) % distinct)
        if dtype == "bool":
            which %= 2
        keys = np.stack([which * 1000 - 5] * int(np.prod(width or 1)), 1).reshape(batch, *width)
        if width == (2,):
            keys[:, 0] = 3
        typed = (
            keys.astype(str).astype(object) if dtype == "string" else which.astype(bool) if dtype == "bool" else keys
        )
        typed = typed.astype(dtype) if dtype.startswith("int") else typed
        sent = {"user_key": typed, "user": integers(distinct, 256, seed=batch)[which], "item": numbers(batch, 3)}
        assert_equal(evaluate(result, sent), evaluate(model, sent))


def test_several_keys() -> None:
    """The same user in two sessions is two requests."""
    model = ranker(f"int64[B] user_id, string[B] user_session, {TYPES}")
    result = served(model, request_key=("user_id", "user_session"))
    rows = integers(4, 4)
    which = np.array([0, 3, 1, 2, 0, 3, 3])
    sent = {
        "user_id": which // 2, "user_session": (which % 2).astype(str).astype(object),
        "user": rows[which], "item": numbers(7, 3),
    }  # fmt: skip
    assert_equal(evaluate(result, sent), evaluate(model, sent))


def test_a_key_need_not_be_declared() -> None:
    model = ranker(f"int64[B] session, {TYPES}")
    given = sides(Model(from_proto(model)), ["user"], 500, Serving(request_key=("session",)))
    assert given.tiled == ("session", "user")
    assert given.inputs[0].reason == "the key: the caller repeats its rows, the first of each `session` is used"


def test_what_is_computed_for_each_key() -> None:
    """The product runs at the distinct keys, of which the cost model expects a few."""
    types = "int64[B] user_id, float[B, 256] user, float[B, 3] item"
    model = parse(f"g ({types}) => (float[B, 32] y) {{ {BODY} }}", w=integers(259, 32), b=integers(32))
    report = inspect(model, user_inputs=["user*"], request_key=["user_id"])
    assert report.cost_after is not None
    assert report.cost_after.macs == 4 * 256 * 32 + 500 * 3 * 32


# The guard


def spoke(model: onnx.ModelProto, sent: dict[str, Array]) -> bool:
    """Whether every output says that rows differ; if not, none does."""
    results = dict(zip([o.name for o in model.graph.output], evaluate(model, sent), strict=True))
    if "mari_guard" in results:
        assert results["mari_guard"].shape == (1,)
        return not results["mari_guard"].any()
    said = {bool(np.isnan(a).all()) for a in results.values()}
    assert len(said) == 1
    assert said == {True} or not any(np.isnan(a).any() for a in results.values())
    return said.pop()


@pytest.mark.parametrize("guard", ["nan", "output"])
@pytest.mark.parametrize("opset", [11, 12, 13, 18, 21])
@pytest.mark.parametrize("kind", ["float", "double", "float16", "int64", "int32", "int8", "uint8", "bool", "string"])
def test_guard(kind: str, opset: int, guard: str) -> None:
    model = ranker(f"{kind}[B, 2] user_x, {kind}[B] user_y, {TYPES}", opset=opset)
    result = served(model, guard=guard)
    for batch in (0, 1, 2, 7):
        one = {"user_x": np.full((batch, 2), 1), "user_y": np.full(batch, 1)}
        typed = {
            name: a.astype(str).astype(object) if kind == "string" else a.astype(_dtype(kind))
            for name, a in one.items()
        }
        sent = call(batch, **typed)
        assert not spoke(result, sent) or batch == 0
        assert_equal(evaluate(result, sent)[:1], evaluate(model, sent))
        for name in typed if batch > 1 else ():
            wrong = typed[name].copy()
            wrong.reshape(batch, -1)[-1, -1] = "0" if kind == "string" else 0
            assert spoke(result, {**sent, name: wrong})


def _dtype(kind: str) -> type:
    return {"float": np.float32, "double": np.float64, "bool": np.bool_}.get(kind) or getattr(np, kind)


@pytest.mark.parametrize("key", [(), ("user_id",)])
def test_nan_is_the_same_as_nan(key: tuple[str, ...]) -> None:
    model = ranker(f"float[B, 2] user_x, int64[B] user_id, {TYPES}")
    result = served(model, guard="output", request_key=key)
    sent = call(7, user_id=np.full(7, 4), user_x=np.full((7, 2), np.nan, np.float32))
    assert not spoke(result, sent)
    half = sent["user_x"].copy()
    half[3, 1] = 0
    assert spoke(result, {**sent, "user_x": half})
    assert spoke(result, {**sent, "user_x": half[::-1].copy()})


def test_zeros_of_either_sign_are_the_same() -> None:
    model = ranker()
    result = served(model, guard="nan")
    sent = call(2, user=np.array([[0, 1, 2, 3], [-0.0, 1, 2, 3]], np.float32))
    assert not spoke(result, sent)


def test_a_guard_of_several_requests() -> None:
    model = ranker(f"int64[B] user_id, string[B] user_name, {TYPES}")
    result = served(model, request_key=("user_id",), guard="nan")
    which = np.array([2, 0, 2, 1, 0, 0, 1])
    sent = {
        "user_id": which * 7, "user_name": which.astype(str).astype(object),
        "user": integers(3, 4)[which], "item": numbers(7, 3),
    }  # fmt: skip
    assert not spoke(result, sent)
    assert_equal(evaluate(result, sent), evaluate(model, sent))
    for name, other in (("user", 9), ("user_name", "other")):
        wrong = sent[name].copy()
        wrong.reshape(7, -1)[6, -1] = other
        assert spoke(result, {**sent, name: wrong})


def test_a_guarded_model_is_written_although_it_does_not_pay() -> None:
    model = ranker()
    assert not optimize(model, user_inputs=["user"], verify=False).changed
    assert optimize(model, user_inputs=["user"], guard="nan").changed


def test_guarded_twice() -> None:
    model = ranker()
    twice = served(served(model, guard="nan"), guard="nan")
    assert not spoke(twice, call(7))
    assert spoke(twice, call(7, user=numbers(7, 4)))
    with pytest.raises(UserError, match="has a `mari_guard` already"):
        served(served(model, guard="output"), guard="output")


def test_an_output_that_cannot_be_nan() -> None:
    model = ranker(output="float[B, 2] y, int64[B] best", body=f"{BODY} best = ArgMax <axis = 1, keepdims = 0> (y)")
    with pytest.raises(UserError, match="output `best` is no float") as caught:
        served(model, guard="nan")
    assert "--guard=output" in str(caught.value.next_step)
    assert spoke(served(model, guard="output"), call(7, user=numbers(7, 4)))


# What cannot be


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        ({"user_batch": "one", "request_index": "i"}, "leaves an index nothing to select"),
        ({"user_batch": "one", "request_key": ("k",)}, "a request key tells tiled rows apart"),
        ({"request_index": "i", "request_key": ("k",)}, "a request key tells tiled rows apart"),
        ({"user_batch": "requests", "guard": "nan"}, "a guard compares tiled rows"),
    ],
)
def test_contradictions(serving: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Serving(**serving)


@pytest.mark.parametrize(
    ("types", "serving", "message"),
    [
        (TYPES, {"request_key": ("user_id",)}, "has no input 'user_id' to be a request key"),
        (TYPES, {"request_key": ("user",)}, "`user` holds neither integers nor strings"),
        (f"int64 k, {TYPES}", {"request_key": ("k",)}, "`k` does not have one key for each candidate"),
        (f"int64[3] k, {TYPES}", {"request_key": ("k",)}, "`k` does not have one key for each candidate"),
        (TYPES, {"request_index": "i"}, "has no input 'i' to be the request index"),
        (TYPES, {"request_index": "item"}, "`item` does not have one integer for each candidate"),
        (f"int64[B] request_index, {TYPES}", {"user_batch": "requests"}, "has a `request_index` already"),
    ],
)
def test_what_the_model_does_not_allow(types: str, serving: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        served(ranker(types), **serving)


@pytest.mark.parametrize("serving", [{"guard": "nan"}, {"user_batch": "one"}, {"user_batch": "requests"}])
def test_nothing_is_declared(serving: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="whose rows the caller repeats"):
        served(ranker(), (), **serving)


@pytest.mark.parametrize("serving", [{"guard": "nan"}, {"request_key": ("user_id",)}])
def test_before_opset_11(serving: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="needs opset 11"):
        served(ranker(f"int64[B] user_id, {TYPES}", opset=10), **serving)


# In words


@pytest.mark.parametrize(
    ("serving", "said"),
    [
        ({}, ["All rows must be identical, and whichever of them is at hand is used, in: `user_id`, `user`."]),
        ({"user_batch": "one"}, ["Send the request's row once, leading extent 1, in: `user_id`, `user`.", "The other"]),
        (
            {"user_batch": "requests"},
            ["Send one row for each request in:", "Send in `request_index`, a new input, int64"],
        ),
        ({"request_index": "i"}, ["Send one row for each request in:", "Send in `i`: the number of the row"]),
        ({"request_key": ["user_id"]}, ["Rows with the same `user_id` must be identical"]),
        ({"guard": "nan"}, ["All rows", "Where they are not identical, every output is NaN."]),
        ({"guard": "output"}, ["All rows", "`mari_guard`, a boolean of shape [1], is false"]),
    ],
)
def test_what_the_caller_has_to_send(serving: dict[str, Any], said: list[str]) -> None:
    report = inspect(ranker(f"int64[B] user_id, int64[B] i, {TYPES}"), user_inputs=["user*"], **serving)
    assert len(report.calls) == len(said)
    for sentence, start in zip(report.calls, said, strict=True):
        assert sentence.startswith(start)
    assert report.configuration is not None
    options = report.configuration.options
    assert {name: options[name] for name in serving} == {
        n: tuple(v) if isinstance(v, list) else v for n, v in serving.items()
    }
