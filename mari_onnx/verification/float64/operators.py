"""Implementations in float64 of operators that neither onnxruntime nor ONNX's interpreter has in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_attention import Attention_23

from mari_onnx.verification.runtimes.onnxruntime import Array

ONNXRUNTIME = "com.microsoft"


class Erf(OpRun):
    """Erf in float64; ONNX's interpreter returns float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (_erf(x),)


class Gelu(OpRun):
    """Gelu in float64; ONNX's interpreter computes it with its own Erf."""

    op_domain = ""

    def _run(self, x: Array, approximate: str = "none") -> tuple[Array]:
        if approximate == "tanh":
            return (0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),)
        return (0.5 * x * (1 + _erf(x / math.sqrt(2))),)


class GlobalMaxPool(OpRun):
    """GlobalMaxPool over any number of axes; ONNX's interpreter is right for 2 alone."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


def _erf(x: Array) -> Array:
    found: Array = np.array([math.erf(value) for value in x.flat], np.float64).reshape(x.shape)
    return found


class QuantizeLinear(OpRun):
    """QuantizeLinear with scales in float64, in any opset; ONNX's interpreter has it from opset 19 on."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, zero: Array | None = None, **given: Any) -> tuple[Array]:
        zero = np.zeros(1, np.uint8) if zero is None else zero
        scale, shift = (_along(v, x, given) for v in (scale, zero))
        limits = np.iinfo(zero.dtype)
        return (np.clip(np.rint(x / scale) + shift, limits.min, limits.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """DequantizeLinear with scales in float64, in any opset."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, zero: Array | None = None, **given: Any) -> tuple[Array]:
        shift = 0 if zero is None else _along(zero, x, given).astype(np.float64)
        return ((x.astype(np.float64) - shift) * _along(scale, x, given),)


class DynamicQuantizeLinear(OpRun):
    """DynamicQuantizeLinear in float64, and of zeros alone with the scale 1, where ONNX's interpreter divides by 0."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array, Array, Array]:
        return _quantized(x)


class MatMulIntegerToFloat(OpRun):
    """MatMulIntegerToFloat in float64; ONNX's interpreter lacks it."""

    op_domain = ONNXRUNTIME

    def _run(
        self, x: Array, w: Array, x_scale: Array, w_scale: Array, x_zero: Array | None = None,
        w_zero: Array | None = None, bias: Array | None = None,
    ) -> tuple[Array]:  # fmt: skip
        left, right = (v.astype(np.float64) - (0 if z is None else z) for v, z in ((x, x_zero), (w, w_zero)))
        return (left @ right * (x_scale * w_scale) + (0 if bias is None else bias),)


class DynamicQuantizeMatMul(MatMulIntegerToFloat):
    """DynamicQuantizeMatMul in float64; ONNX's interpreter lacks it."""

    def _run(  # type: ignore[override]
        self, x: Array, w: Array, w_scale: Array, w_zero: Array | None = None, bias: Array | None = None
    ) -> tuple[Array]:
        quantized, scale, zero = _quantized(x)
        return super()._run(quantized, w, scale, w_scale, zero, w_zero, bias)


def _quantized(x: Array) -> tuple[Array, Array, Array]:
    """The elements as bytes, with their scale and their zero point, by a range that has 0 in it."""
    low, high = min(0.0, x.min(initial=0)), max(0.0, x.max(initial=0))
    scale = np.asarray((high - low) / 255 or 1.0, x.dtype)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), scale, np.asarray(zero, np.uint8)


class Attention(Attention_23):
    """Attention with the root of the scale in float32, as onnxruntime has it in a model of float64 as well."""

    op_domain = ""

    def _run(self, q: Any, *others: Any, **given: Any) -> Any:  # type: ignore[override]
        width = q.shape[-1] if q.ndim == 4 else q.shape[-1] // given["q_num_heads"]
        scale = np.float32(given["scale"] or np.float32(1) / np.sqrt(np.float32(width)))
        return super()._run(q, *others, **{**given, "scale": float(np.sqrt(scale)) ** 2})


class Mean(OpRun):
    """The mean of tensors that broadcast; that of ONNX's interpreter adds them up in the shape of the first."""

    op_domain = ""

    def _run(self, *tensors: Array) -> tuple[Array]:
        total: Array = sum(tensors[1:], start=np.asarray(tensors[0]))
        return (total / len(tensors),)


class LRN(OpRun):
    """LRN in float64, for any number of channels; that of ONNX's interpreter takes as many as there are rows."""

    op_domain = ""

    def _run(self, x: Array, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int = 0) -> tuple[Array]:
        before, after, squares = (size - 1) // 2, size // 2, x * x
        channels = x.shape[1]
        sums = np.stack([squares[:, max(0, c - before) : c + after + 1].sum(axis=1) for c in range(channels)], axis=1)
        return (x / (bias + alpha / size * sums) ** beta,)


def _along(values: Array, x: Array, given: dict[str, Any]) -> Array:
    """Scales or zero points in a shape that broadcasts to x.

    There is a single one, one for each place along an axis, or one for each block of places along it.
    """
    if given.get("precision"):
        raise NotImplementedError("quantization in a precision of its own")
    axis, block = given.get("axis", 1) or 0, given.get("block_size", 0) or 0
    if block:
        return np.repeat(values, block, axis).take(range(x.shape[axis]), axis)
    if values.size == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[axis] = values.size
    return values.reshape(shape)


STAND_INS = [
    Attention, DequantizeLinear, DynamicQuantizeLinear, DynamicQuantizeMatMul, Erf, Gelu, GlobalMaxPool, LRN,
    MatMulIntegerToFloat, Mean, QuantizeLinear,
]  # fmt: skip
"""The implementations that ONNX's interpreter is given in place of its own."""
