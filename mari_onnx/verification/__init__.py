"""Is an optimized model the same function as the one it was made from, and as accurate?"""

from mari_onnx.verification.compare.localize import attributed
from mari_onnx.verification.compare.structure import structural_difference
from mari_onnx.verification.comparison import verify
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EFFORTS

__all__ = ["DEFAULT_EFFORT", "EFFORTS", "attributed", "structural_difference", "verify"]
