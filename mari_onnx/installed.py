"""The versions of what is installed and decides a result: of this package, of onnx and of onnxruntime."""

from __future__ import annotations

from importlib import metadata

from mari_onnx.version import __version__

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
"""The packages that have the module `onnxruntime`, of which one is installed."""


def versions() -> dict[str, str]:
    """The versions by name. Nothing is imported, since that takes long."""
    runtime = next((v for name in RUNTIMES if (v := _version(name)) is not None), None)
    found = {"mari-onnx": __version__, "onnx": _version("onnx"), "onnxruntime": runtime}
    return {name: version for name, version in found.items() if version is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
