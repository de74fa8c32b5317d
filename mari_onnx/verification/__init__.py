"""Is an optimized model the same function as the one it was made from, and as accurate?"""

from mari_onnx.verification.cases import DEFAULT_EFFORT, EFFORTS
from mari_onnx.verification.localize import attributed
from mari_onnx.verification.structure import structure
from mari_onnx.verification.verification import verify

__all__ = ["DEFAULT_EFFORT", "EFFORTS", "attributed", "structure", "verify"]
