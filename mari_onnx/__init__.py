"""Make exported ranking models cheaper to serve without changing one prediction.

import mari_onnx

result = mari_onnx.optimize("ranker.onnx", user_inputs=["user_*"])
result.save("ranker.fast.onnx")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mari_onnx.version import __version__

if TYPE_CHECKING:
    from mari_onnx.api import bench, check_pair, inputs, inspect, optimize, split, verify
    from mari_onnx.errors import ModelError, UserError
    from mari_onnx.report import render
    from mari_onnx.report.model import Report, Verification
    from mari_onnx.results import FailedError, Optimized, SplitModels
    from mari_onnx.traffic.functions import precompute, replay

__all__ = [
    "FailedError",
    "ModelError",
    "Optimized",
    "Report",
    "SplitModels",
    "UserError",
    "Verification",
    "__version__",
    "bench",
    "check_pair",
    "inputs",
    "inspect",
    "optimize",
    "precompute",
    "render",
    "replay",
    "split",
    "verify",
]

_NAMES_OF = {
    "errors": ("ModelError", "UserError"),
    "report": ("render",),
    "report.model": ("Report", "Verification"),
    "results": ("FailedError", "Optimized", "SplitModels"),
    "traffic.functions": ("precompute", "replay"),
}
_HOME = {name: module for module, names in _NAMES_OF.items() for name in names}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import on first use: `mari-onnx --help` does not wait for onnx."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mari_onnx.{_HOME.get(name, 'api')}"), name)
