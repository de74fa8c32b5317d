"""The examples run, and Triton's configurations say what the models are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import onnx
import pytest

import mari_onnx
from examples import serving
from examples import triton_configs as triton

DECLARED = ["user_*"]


def test_serving(capsys: pytest.CaptureFixture[str]) -> None:
    serving.main()
    said = re.findall(r"^(.{12}) (\d) requests?, at most (\S+) apart$", capsys.readouterr().out, re.MULTILINE)
    assert [(way.strip(), int(n)) for way, n, _ in said] == [
        ("guarded", 1), ("one row", 1), ("by key", 3), ("by index", 3), ("two models", 1),
    ]  # fmt: skip
    assert all(float(apart) < 1e-5 for *_, apart in said)


def test_a_wrong_call_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mari_onnx.optimize(serving.MODEL, user_inputs=DECLARED, guard="nan", verify=False).model
    user, items = serving.request(1, 7)
    guarded = serving.session(model)
    serving.guarded(guarded, user, items, 7)
    tiled = serving.tile(user, 7)
    tiled["user_age"][3] += 1
    monkeypatch.setattr(serving, "tile", lambda *_: tiled)
    with pytest.raises(ValueError, match="not the same"):
        serving.guarded(guarded, user, items, 7)


def test_what_another_split_computed_is_refused() -> None:
    """The vectors have the same names and shapes as they should have, and another meaning."""
    parts = mari_onnx.split(serving.MODEL, user_inputs=DECLARED, verify=False).models
    trained = onnx.load(serving.MODEL)
    table = next(t for t in trained.graph.initializer if t.name == "model.embedding.embed_dict.user_age.weight")
    table.raw_data = bytes(reversed(table.raw_data))
    other = mari_onnx.split(trained, user_inputs=DECLARED, verify=False).models
    assert [o.name for o in parts["user"].graph.output] == [o.name for o in other["user"].graph.output]
    user, items = serving.request(1, 7)
    computed = serving.user_part(serving.session(other["user"]), user)
    serving.rank(serving.session(other["rank"]), computed, user, items)
    with pytest.raises(ValueError, match="compute it again"):
        serving.rank(serving.session(parts["rank"]), computed, user, items)


# Triton


def read(text: str) -> dict[str, list[Any]]:
    """Protobuf's text format, as much of it as is used here: every field as a list of its values."""
    tokens = iter(re.findall(r'"[^"]*"|[\w.+-]+|[{}\[\]:,]', re.sub(r"#.*", "", text)))
    return _message(tokens)


def _message(tokens: Iterator[str]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for name in tokens:
        if name == "}":
            return out
        if name == ",":
            continue
        mark = next(tokens)
        if mark == ":":
            mark = next(tokens)
        out.setdefault(name, []).append(_value(mark, tokens))
    return out


def _value(mark: str, tokens: Iterator[str]) -> Any:
    if mark == "{":
        return _message(tokens)
    if mark == "[":
        found: list[Any] = []
        for token in tokens:
            if token == "]":
                return found
            if token != ",":
                found.append(_value(token, tokens))
    return mark.strip('"') if not re.fullmatch(r"-?\d+", mark) else int(mark)


def signature(infos: Any) -> dict[str, tuple[str, list[int]]]:
    """Name, Triton's type and shape (-1 where that is dynamic), as the model has them."""
    return {
        i.name: (triton.TYPES[i.type.tensor_type.elem_type], [d.dim_value or -1 for d in i.type.tensor_type.shape.dim])
        for i in infos
    }


def said(config: dict[str, list[Any]], kind: str) -> dict[str, tuple[str, list[int]]]:
    """The same as a configuration has it: with a batch, that is the leading extent."""
    out = {}
    for tensor in config[kind]:
        (dims,) = tensor["dims"]
        if "reshape" in tensor:
            (dims,) = tensor["reshape"][0]["shape"]
        out[tensor["name"][0]] = (tensor["data_type"][0], [-1, *dims] if config["max_batch_size"] != [0] else dims)
    return out


CONFIGS = {path.parent.name: read(path.read_text(encoding="utf-8")) for path in triton.FOLDER.glob("*/config.pbtxt")}


@pytest.fixture(scope="module")
def models() -> dict[str, onnx.ModelProto]:
    tiled = mari_onnx.optimize(
        serving.MODEL, user_inputs=DECLARED, request_key=["user_id"], guard="nan", verify=False
    )  # fmt: skip
    one = mari_onnx.optimize(serving.MODEL, user_inputs=DECLARED, user_batch="one", verify=False)
    parts = mari_onnx.split(serving.MODEL, user_inputs=DECLARED, verify=False).models
    return {
        "ranker_tiled": tiled.model, "ranker_one_row": one.model,
        "ranker_user": parts["user"], "ranker_rank": parts["rank"],
    }  # fmt: skip


def test_each_configuration_is_read() -> None:
    assert set(CONFIGS) == {"ranker_tiled", "ranker_one_row", "ranker_user", "ranker_rank", "ranker"}
    assert all(config["name"] == [name] for name, config in CONFIGS.items())


@pytest.mark.parametrize("name", ["ranker_tiled", "ranker_one_row", "ranker_user", "ranker_rank"])
def test_a_configuration_is_the_models_signature(name: str, models: dict[str, onnx.ModelProto]) -> None:
    config, graph = CONFIGS[name], models[name].graph
    assert config["platform"] == ["onnxruntime_onnx"]
    assert said(config, "input") == signature(graph.input)
    assert said(config, "output") == signature(graph.output)


def test_only_the_model_that_tells_users_apart_is_batched() -> None:
    assert {name for name, config in CONFIGS.items() if config["max_batch_size"] != [0]} == {"ranker_tiled"}
    assert {name for name, config in CONFIGS.items() if "dynamic_batching" in config} == {"ranker_tiled"}


def test_the_ensemble_feeds_each_model(models: dict[str, onnx.ModelProto]) -> None:
    config = CONFIGS["ranker"]
    assert config["platform"] == ["ensemble"]
    known = said(config, "input")
    assert known == said(CONFIGS["ranker_one_row"], "input")
    for step in config["ensemble_scheduling"][0]["step"]:
        (name,) = step["model_name"]
        graph = models[name].graph
        fed = {each["key"][0]: each["value"][0] for each in step["input_map"]}
        assert set(fed) == {i.name for i in graph.input}
        for inner, outer in fed.items():
            assert known[outer] == signature(graph.input)[inner]
        made = {each["key"][0]: each["value"][0] for each in step["output_map"]}
        known |= {outer: signature(graph.output)[inner] for inner, outer in made.items()}
    for name, kind in said(config, "output").items():
        assert known[name] == kind
