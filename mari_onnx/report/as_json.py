"""Reports as JSON: the dataclasses of `model.py`, field by field, as `schema.json` describes them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

from mari_onnx.report.model import Report


def to_json(report: Report) -> str:
    """The report as a JSON document, in the order of its fields, without the graphs.

    JSON has no numbers that are not finite. They are the strings "nan", "inf" and "-inf".
    """
    fields = asdict(replace(report, graphs=()))
    del fields["graphs"]
    return json.dumps(_finite(fields), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    match value:
        case float() if math.isnan(value):
            return "nan"
        case float() if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
