"""A small ranking model with all kinds of inputs, and logs of its requests. Without pyarrow none of this is run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest

import mari_onnx
from tests.traffic.logs import MODEL

collect_ignore_glob = [] if find_spec("pyarrow") else ["*"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model, and the one that `optimize` makes of it."""
    folder = tmp_path_factory.mktemp("models")
    paths = folder / "ranker.onnx", folder / "fast.onnx"
    onnx.save(MODEL, paths[0])
    result = mari_onnx.optimize(paths[0], user_inputs="user_*", batch=1000, verify=False)
    assert result.changed
    result.save(paths[1])
    return paths


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that get no path are written to a folder of the test."""
    monkeypatch.chdir(tmp_path)
