"""Sums of arrays that are stored along different axes.

The smallest summands are added first. A summand may become the C of a Gemm, or one more row of a weight:

    x (B k) @ w + c (1 n)              Gemm(x, w, c)
    x (m k) @ w (B k n) + c (B n)      [x 1] @ [w; c], where there are at least as many rows as columns
    a (1 n) + b (B n) + c (B L n)      (a + b) + c

Rounding: the order of additions differs from the original's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import helper

from mari_onnx.ir.arrays import fill, lay
from mari_onnx.ir.axes import Dims, flat
from mari_onnx.ir.broadcasting import agree, pointwise
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import compare
from mari_onnx.ir.forms import Array, Terms

GEMM_DTYPES = (1, 10, 11)
"""Element types for which onnxruntime has a Gemm: float32, float16, float64; integers and bfloat16 have none."""


def add_up(b: Builder, terms: Terms, dims: Dims) -> Array:
    """The sum of the terms, smallest summands first. A product of two dimensions takes its addend as C of Gemm."""

    def size(signed: tuple[int, Array]) -> tuple[int, bool, int, bool]:
        names, op_type = signed[1].names(), signed[1].tensor.op_type
        varying = [a for a, _ in names if not isinstance(a.extent, int) and signed[1].state(a) == "stored"]
        # A bias comes before the product whose C it can be. Arrays of items alone come last, so that the sum without
        # them can be computed before.
        return len(varying), signed[1].of_item, len(names), op_type == "Gemm"

    (sign, total), *rest = sorted(terms.signed, key=size)
    last = total.tensor
    for next_sign, array in rest:
        if total.tensor.op_type == "Gemm":
            total.tensor.name_after(last)  # an intermediate sum gets the name of the summand that was added last
        last = array.tensor
        fused = None
        if (sign, next_sign) == (1, 1) and not (array.of_item and not total.of_item):
            fused = _into_gemm(b, array, total, dims) or _into_weight(b, array, total, dims)
        if fused is not None:
            total = fused
        elif sign == next_sign:
            total = _binary(b, "Add", array, total, dims)
        else:
            minuend, subtrahend = (total, array) if sign == 1 else (array, total)
            total, sign = _binary(b, "Sub", minuend, subtrahend, dims), 1
    if sign == -1:
        total = pointwise(b, [total], [len(dims)], dims, lambda ts, shape: b.make("Neg", ts, shape))
    return total


def _binary(b: Builder, op_type: str, left: Array, right: Array, dims: Dims) -> Array:
    return pointwise(b, [left, right], [len(dims)] * 2, dims, lambda ts, shape: b.make(op_type, ts, shape))


def _into_weight(b: Builder, product_: Array, addend: Array, dims: Dims) -> Array | None:
    """The addend as one more row of the weight: x (m k) @ w (B k n) + c (B n)  ->  [x 1] @ [w; c], where m >= k."""
    t, layout = product_.tensor, product_.layout
    if t.op_type != "MatMul" or t.node.proto is not None or len(layout) < 3 or product_.via or addend.via:
        return None
    x, w = t.node.inputs
    assert x is not None and w is not None
    if len(x.known_shape) != 2 or len(w.known_shape) != len(layout):
        return None
    count, width = x.known_shape
    batch, n = layout[:-2], layout[-1]
    weights = [*flat(batch), *n]
    if compare(count, width) == -1 or not addend.names() or any(a not in weights for a, _ in addend.names()):
        return None
    row = lay(b, fill(b, addend, dims, weights), (*batch, (), n))
    one = b.expand(b.constant(np.ones((1, 1), helper.tensor_dtype_to_np_dtype(x.dtype))), (count, 1))
    made = b.make("MatMul", [b.concat([x, one], 1), b.concat([w, row], len(batch))], t.known_shape)
    return replace(product_, tensor=made)


def _into_gemm(b: Builder, product_: Array, addend: Array, dims: Dims) -> Array | None:
    """The addend as C: Gemm(a, w) + c  ->  Gemm(a, w, c), if c broadcasts to the product and the Gemm has no C yet."""
    t = product_.tensor
    if t.op_type != "Gemm" or len(t.node.inputs) != 2 or t.dtype not in GEMM_DTYPES or t.node.proto is not None:
        return None
    a, w = t.node.inputs
    assert a is not None
    assert w is not None
    if w.op_type == "DequantizeLinear":
        return None  # runtimes fuse a quantized weight with a product to which nothing computed is added
    addend, selected = agree(b, [addend, product_], dims)
    if selected is not product_:
        return None  # in a call without candidates c has no row, and the product has a row for each request
    if {x for x, _ in addend.names()} - {x for x, _ in product_.names()}:
        return None
    if any(state == "stored" != product_.state(x) for x, state in addend.names()):
        return None  # C would have a row for each candidate, and the product has fewer rows, which an index selects
    if any(len({product_.state(x), addend.state(x)}) > 1 and len(d) > 1 for d in product_.layout for x in d):
        return None
    c = lay(b, addend, product_.layout)
    return replace(product_, tensor=b.make("Gemm", [a, w, c], t.known_shape, **dict(t.node.attributes)))
