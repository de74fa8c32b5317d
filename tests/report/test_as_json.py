"""The JSON view: what the schema describes is what the dataclasses are, and every report conforms."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import math
from typing import Any, get_args

import jsonschema
import pytest

from mari_onnx.report import benchmark, graph, histogram, model, note, precompute, replay, split, survey
from mari_onnx.report.as_json import to_json
from tests.report import reports

SCHEMA = json.loads(importlib.resources.files("mari_onnx.report").joinpath("schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MODULES = (model, benchmark, histogram, precompute, replay, survey, note, split)
RECORDS = [
    record
    for record in {name: each for module in MODULES for name, each in vars(module).items()}.values()
    if isinstance(record, type) and dataclasses.is_dataclass(record) and record is not graph.Graph
]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", reports.EVERY)
def test_reports_conform(name: str) -> None:
    VALIDATOR.validate(json.loads(to_json(reports.EVERY[name])))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_fields_and_schema_agree(record: type[Any]) -> None:
    described = SCHEMA if record is model.Report else SCHEMA["$defs"][record.__name__]
    fields = [field.name for field in dataclasses.fields(record) if (record, field.name) != (model.Report, "graphs")]
    assert list(described["properties"]) == described["required"] == fields
    assert described["additionalProperties"] is False


def test_every_definition_is_a_record() -> None:
    assert set(SCHEMA["$defs"]) == {record.__name__ for record in RECORDS} - {"Report"} | {"number"}
    assert SCHEMA["properties"]["schema_version"]["const"] == model.SCHEMA_VERSION
    assert SCHEMA["properties"]["command"]["enum"] == list(get_args(model.Command))


def test_what_does_not_conform() -> None:
    report = json.loads(to_json(reports.OPTIMIZED))
    for spoil in ({"extra": 1}, {"command": "deploy"}, {"schema_version": 0}, {"changed": None}):
        assert not VALIDATOR.is_valid(report | spoil)
    report["verification"]["differences"][0]["max_abs"] = "huge"
    assert not VALIDATOR.is_valid(report)


def test_numbers_that_are_not_finite() -> None:
    cost = dataclasses.replace(reports.BEFORE, time_us=-math.inf)
    read = json.loads(to_json(dataclasses.replace(reports.WRONG, cost_before=cost)))
    worst = read["verification"]["differences"][-1]
    assert (worst["max_abs"], worst["max_rel"], read["cost_before"]["time_us"]) == ("inf", "nan", "-inf")


def test_order_and_names() -> None:
    facts = dataclasses.replace(reports.MODEL, producer="模型")
    text = to_json(dataclasses.replace(reports.OPTIMIZED, model=facts))
    assert "模型" in text
    assert list(json.loads(text))[:3] == ["command", "version", "model"]
