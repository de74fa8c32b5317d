"""Make exported ranking models cheaper to serve without changing one prediction.

import mari_onnx

result = mari_onnx.optimize("ranker.onnx", user_inputs=["user_*"])
if result.report.verification is None or result.report.verification.passed:
    onnx.save(result.model, "ranker.fast.onnx")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mari_onnx.version import __version__

if TYPE_CHECKING:
    from mari_onnx.api import Optimized, SplitModels, bench, inputs, inspect, optimize, split, verify
    from mari_onnx.errors import ModelError, UserError
    from mari_onnx.report.model import Report, Verification

__all__ = [
    "ModelError",
    "Optimized",
    "Report",
    "SplitModels",
    "UserError",
    "Verification",
    "__version__",
    "bench",
    "inputs",
    "inspect",
    "optimize",
    "split",
    "verify",
]

_HOME = {"ModelError": "errors", "UserError": "errors", "Report": "report.model", "Verification": "report.model"}


def __getattr__(name: str) -> Any:
    """Import on first use: `mari-onnx --help` does not wait for onnx."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mari_onnx.{_HOME.get(name, 'api')}"), name)
