"""A model in one file, and one beside its external data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.document.files import TABLE, external, model, write


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", model())


@pytest.fixture
def with_data(tmp_path: Path) -> Path:
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(external("w", "model.data", TABLE, 8))
    path = write(tmp_path / "in" / "model.onnx", proto)
    (path.parent / "model.data").write_bytes(b"\0" * 8 + TABLE.tobytes())
    return path
