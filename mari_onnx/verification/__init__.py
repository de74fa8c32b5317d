"""Is an optimized model the same function as the one it was made from, and as accurate?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mari_onnx.verification.apart import verify
    from mari_onnx.verification.compare.structure import structural_difference
    from mari_onnx.verification.options import Known, Options

__all__ = ["Known", "Options", "structural_difference", "verify"]

_HOME = {"Known": "options", "Options": "options", "structural_difference": "compare.structure", "verify": "apart"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads the options' tables, and does not wait for a runtime."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
