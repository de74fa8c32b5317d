"""Every tensor of a written model is the original's, has an origin, or is shape arithmetic."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from mari_onnx import optimize, split
from mari_onnx.document.provenance import KEY, Origin, read
from tests.graphs import integers, parse, ranking, rewrite

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) r = Relu (h) y = Neg (r)"
TYPES = "int64[B] i, int64[B] user_id, float[B, 4] user, float[B, 3] item"

SERVINGS: list[dict[str, Any]] = [
    {"user_batch": "one"}, {"user_batch": "requests"}, {"request_index": "i"}, {"guard": "nan"}, {"guard": "output"},
    {"request_key": ["user_id"], "guard": "output"},
]  # fmt: skip


def model(body: str = BODY) -> onnx.ModelProto:
    return parse(f"g ({TYPES}) => (float[B, 2] y) {{ {body} }}", w=integers(7, 2), b=integers(2))


def tower() -> onnx.ModelProto:
    body = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
    return ranking("tiled", body, user="float[256]", w=integers(259, 32), b=integers(32))


def test_the_parts_of_a_product() -> None:
    result = optimize(tower(), user_inputs=["user"], verify=False)
    assert result.changed
    found = read(result.model)
    assert found["user.user"] == Origin("user", "user", "rows")
    assert found["h"] == Origin("h", "whole", "linear")
    assert found["h.user"] == Origin("h", "sum", "linear")
    assert found["b.part"] == Origin("b", "part", "")
    assert found["w.user"] == Origin("w", "user", "product")
    assert "y" not in found  # the same node on the same input
    assert {origin.value for origin in found.values()} <= {"user", "item", "x", "h", "w", "b"}


@pytest.mark.parametrize("serving", SERVINGS, ids=str)
def test_what_is_new_has_an_origin_in_the_original(serving: dict[str, Any]) -> None:
    original = model()
    result = optimize(original, user_inputs=["user*"], verify=False, **serving).model
    nodes = {tuple(node.output): node for node in original.graph.node}
    values = {name for names in nodes for name in names} | {"user", "item", "i", "user_id", "w", "b"}
    found = read(result)
    made = {name for node in result.graph.node for name in node.output if name}
    stored = {tensor.name for tensor in result.graph.initializer}
    untouched = {n for node in result.graph.node if nodes.get(tuple(node.output)) == node for n in node.output}
    assert {origin.value for origin in found.values()} <= values
    assert set(found) <= made | stored
    assert not set(found) & untouched
    unlisted = made - untouched - set(found)
    assert {name for name in unlisted if not name.startswith("mari.")} == set()


def test_the_guard() -> None:
    found = read(optimize(model(), user_inputs=["user*"], guard="output", verify=False).model)
    assert found["mari_guard"] == Origin("user_id", "guard", "guard")
    found = read(optimize(model(), user_inputs=["user*"], guard="nan", verify=False).model)
    assert found["y"] == Origin("y", "whole", "guard")
    assert found["y.unguarded"].value == "y"


def test_siblings() -> None:
    stored: dict[str, Any] = {f"w{i}": integers(3, 7, seed=i) for i in range(4)} | {
        f"b{i}": integers(3, seed=9 + i) for i in range(4)
    }
    body = "x = Concat <axis = 1> (user, item)"
    body += " ".join(f"g{i} = Gemm <transB = 1> (x, w{i}, b{i}) r{i} = Relu (g{i})" for i in range(4))
    body += " t = Concat <axis = 1> (r0, r1, r2, r3) y = ReduceMax <axes = [1], keepdims = 0> (t)"
    found = read(rewrite(ranking("tiled", body, **stored)).model)
    siblings = {name: origin for name, origin in found.items() if name.endswith(".siblings")}
    assert siblings and set(siblings.values()) == {Origin("g0", "siblings", "linear")}


def test_a_model_that_is_written_unchanged_has_no_entry() -> None:
    result = optimize(tower())
    assert not result.changed
    assert not result.model.metadata_props


def test_a_second_run_replaces_the_entry() -> None:
    original = model()
    original.metadata_props.add(key="author", value="me")
    once = optimize(original, user_inputs=["user*"], guard="output", verify=False).model
    assert [entry.key for entry in once.metadata_props][:2] == ["author", KEY]
    again = optimize(once, user_inputs=["user*"], user_batch="one", verify=False).model
    assert sorted(entry.key for entry in again.metadata_props) == sorted(entry.key for entry in once.metadata_props)
    assert read(again) != read(once)


def test_split_models_have_the_entries_of_their_own_tensors() -> None:
    parts = split(tower(), user_inputs=["user"], verify=False).models
    entries = {role: read(part) for role, part in parts.items()}
    for role, part in parts.items():
        there = {name for node in part.graph.node for name in node.output} | {t.name for t in part.graph.initializer}
        assert set(entries[role]) <= there | {info.name for info in part.graph.input}
    assert entries["user"]["h.user"] == entries["rank"]["h.user"] == Origin("h", "sum", "linear")
    assert "h" in entries["rank"] and "h" not in entries["user"]
    assert "w.user" in entries["user"] and "w.user" not in entries["rank"]
