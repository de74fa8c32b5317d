"""The command line without the engine: what it is given is recorded, and what it returns is chosen by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import parser

import mari_onnx
from mari_onnx.cli import main
from mari_onnx.document.document import Document
from mari_onnx.document.read import load
from mari_onnx.report.model import Report
from tests.report import reports

MODEL = """<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
g (float[N, 4] user_x, float[N, 4] item_x) => (float[N, 4] y) {
    z = acme.Secret(user_x)
    y = Add(z, item_x)
}"""


@dataclass(frozen=True)
class Optimized:
    model: onnx.ModelProto
    report: Report
    document: Document
    changed: bool


LIMITS: dict[str, Any] = {"timeout": 300.0, "max_memory": 8.0}
"""The time and the memory that every command may take, where nothing is said of them."""

AS_EXPORTED: dict[str, Any] = {
    "user_batch": "tiled", "request_index": None, "request_key": (), "guard": None, "allow_no_candidates": False,
    "dynamic_batch": False, "assume_masked": False,
    **LIMITS,
}  # fmt: skip
"""What optimize and inspect are told where nothing is said of how the model is served."""

NOTHING_DEMANDED: dict[str, Any] = {
    "min_gain": None, "require_gain": False, "max_size_growth": None, "require_verified": False, "allow_notes": None,
    "requests": None, "request_id": None,
}  # fmt: skip
"""What optimize is told where no policy is asked for."""

ONE_MODEL: dict[str, Any] = {
    "request_index": None, "request_key": (), "user_model": None, "item_model": None, "allow_notes": None, **LIMITS,
}  # fmt: skip
"""The same for verify."""


@dataclass
class Engine:
    """Stands in for the public functions: `report` is what they return, `then` what happens in them."""

    report: Report = reports.OPTIMIZED
    then: Callable[[], None] = lambda: None
    calls: list[dict[str, Any]] = field(default_factory=list)

    def optimize(self, model: Path, **given: Any) -> Optimized:
        loaded = load(model)
        self.calls.append(given)
        self.then()
        proto = onnx.ModelProto()
        proto.CopyFrom(loaded.proto)
        if self.report.changed:
            proto.doc_string = "optimized"
        return Optimized(proto, replace(self.report, written=None), loaded, self.report.changed)

    def inspect(self, model: Path, **given: Any) -> Report:
        load(model)
        self.calls.append(given)
        self.then()
        return self.report

    def split(self, model: Path, **given: Any) -> NoReturn:
        load(model)
        self.calls.append(given)
        self.then()
        raise AssertionError("what split returns is tested with real models")

    def verify(self, reference: Path, optimized: Path, **given: Any) -> Report:
        load(reference)
        load(optimized)
        self.calls.append(given)
        self.then()
        return self.report

    def inputs(self, model: Path, **given: Any) -> Report:
        return self.inspect(model, **given)

    def replay(self, reference: Path, optimized: Path, **given: Any) -> Report:
        return self.verify(reference, optimized, **given)

    def precompute(self, part: Path, **given: Any) -> Report:
        return self.inspect(part, **given)

    def bench(self, reference: Path, optimized: Path | None, **given: Any) -> Report:
        load(reference)
        if optimized is not None:
            load(optimized)
        self.calls.append(given)
        self.then()
        return self.report


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    for name in ("optimize", "split", "inspect", "verify", "bench", "inputs", "replay", "precompute"):
        monkeypatch.setattr(mari_onnx, name, getattr(made, name), raising=False)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "in.onnx"
    path.write_bytes(parser.parse_model(MODEL).SerializeToString())
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.onnx"


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert "Traceback" not in result.output
        return result

    return run
