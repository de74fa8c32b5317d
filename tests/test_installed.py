"""The versions that a report names."""

from __future__ import annotations

from importlib import metadata

import onnx
import onnxruntime as ort
import pytest

from mari_onnx import __version__, installed


def test_versions_are_those_that_are_imported() -> None:
    assert installed.versions() == {
        "mari-onnx": __version__, "onnx": onnx.__version__, "onnxruntime": ort.__version__,
    }  # fmt: skip


def test_a_runtime_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("onnxruntime", "onnx"):
            raise metadata.PackageNotFoundError(name)
        return f"{name} 9"

    monkeypatch.setattr(metadata, "version", version)
    assert installed.versions() == {"mari-onnx": __version__, "onnxruntime": "onnxruntime-gpu 9"}
