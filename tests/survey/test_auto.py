"""`-u auto` takes what recorded requests show to be the user's, and says by which evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import UserError
from mari_onnx.document.read import from_proto
from mari_onnx.serving.tiled import AS_EXPORTED
from mari_onnx.settings import Settings
from mari_onnx.survey.auto import shown
from mari_onnx.survey.survey import Requests
from tests.graphs import integers, parse

AUTO = Settings(user_inputs=("auto",), batches=(500,), mode=AS_EXPORTED)

TYPES = "float[B, 256] person, float[B, 3] thing, float[B, 1] flag"


def model(types: str = TYPES) -> onnx.ModelProto:
    body = "x = Concat <axis = 1> (person, thing, flag) y = Gemm (x, w, b)"
    return parse(f"g ({types}) => (float[B, 32] y) {{ {body} }}", w=integers(260, 32), b=integers(32))


def columns(requests: int = 5, rows: int = 4) -> dict[str, Any]:
    """Requests of several candidates each; `flag` is the same in all of them."""
    rng = np.random.default_rng(0)
    return {
        "id": np.repeat(np.arange(requests), rows),
        "person": np.repeat(rng.normal(size=(requests, 256)).astype(np.float32), rows, axis=0),
        "thing": rng.normal(size=(requests * rows, 3)).astype(np.float32),
        "flag": np.zeros((requests * rows, 1), np.float32),
    }


def written(path: Path, **columns: Any) -> Path:
    np.savez(path, **columns)
    return path


def test_what_is_the_same_in_each_request_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path / "log.npz", **columns())
    result = mari_onnx.optimize(model(), user_inputs="auto", requests=path, request_id="id")
    assert result.changed and result.report.passed
    (taken,) = result.report.request_inputs
    assert (taken.name, taken.rows) == ("person", "tiled")
    assert taken.reason.startswith("the same in all rows of each of 5 recorded requests with 20 rows in ")
    assert result.report.configuration is not None
    assert result.report.configuration.options["user_inputs"] == ("person",)
    assert result.model == mari_onnx.optimize(model(), user_inputs="person").model


def test_what_never_varies_is_not_taken(tmp_path: Path) -> None:
    """A flag of the items that is 0 in all records may be 1 tomorrow."""
    given = columns()
    found = shown(from_proto(model()), AUTO, Requests(written(tmp_path / "a.npz", **given), "id"))
    assert found is not None and found.names == ("person",)
    given["flag"] = np.repeat(np.arange(5, dtype=np.float32)[:, None], 4, axis=0)
    found = shown(from_proto(model()), AUTO, Requests(written(tmp_path / "b.npz", **given), "id"))
    assert found is not None and found.names == ("person", "flag")


def test_the_user_of_a_listwise_model_is_found_already(tmp_path: Path) -> None:
    """Its rows are of requests, and a declaration would call them repeated."""
    text = "g (float[R, 256] person, float[R, N, 256] thing) => (float[R, N] y)"
    body = "u = Unsqueeze (person, one) s = Mul (u, thing) y = ReduceSum <keepdims = 0> (s, two)"
    path = written(tmp_path / "log.npz", **{**columns(), "thing": np.ones((20, 256), np.float32)})
    proto = parse(f"{text} {{ {body} }}", one=[1], two=[2])
    report = mari_onnx.optimize(proto, user_inputs="auto", requests=path, request_id="id", verify=False).report
    assert [(each.name, each.rows) for each in report.request_inputs] == [("person", "requests")]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id": np.arange(20)}, "show nothing: fewer than two of them have several rows"),
        ({"id": np.zeros(20)}, "show nothing"),
        ({"id": np.arange(20) % 4}, "no input is the same in all rows .* differs in request"),
    ],
)
def test_records_that_show_nothing(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "log.npz", **{**columns(), **changed})
    with pytest.raises(UserError, match=message):
        mari_onnx.optimize(model(), user_inputs=["auto"], requests=path, request_id="id")


def test_auto_and_records_need_each_other(tmp_path: Path) -> None:
    path = written(tmp_path / "log.npz", **columns())
    with pytest.raises(UserError, match="-u auto takes the user's inputs from recorded requests"):
        mari_onnx.optimize(model(), user_inputs="auto")
    for declared in ("person", ["auto", "flag"]):
        with pytest.raises(UserError, match="recorded requests are for -u auto alone"):
            mari_onnx.optimize(model(), user_inputs=declared, requests=path, request_id="id")
    with pytest.raises(UserError, match="need a file and the name"):
        mari_onnx.optimize(model(), user_inputs="auto", requests=path)


def test_an_input_that_is_called_so() -> None:
    body = "x = Concat <axis = 1> (auto, thing) y = Gemm (x, w, b)"
    text = f"g (float[B, 256] auto, float[B, 3] thing) => (float[B, 32] y) {{ {body} }}"
    proto = parse(text, w=integers(259, 32), b=integers(32))
    result = mari_onnx.optimize(proto, user_inputs="auto", verify=False)
    assert [each.name for each in result.report.request_inputs] == ["auto"]
