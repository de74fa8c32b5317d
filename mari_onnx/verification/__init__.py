"""Is an optimized model the same function as the one it was made from, and as accurate?"""

from mari_onnx.verification.verification import DEFAULT_BATCHES, verify

__all__ = ["DEFAULT_BATCHES", "verify"]
