"""Sums: which of them are known as terms, and how terms are added up.

    (item @ V + user @ U) + b        terms of products and their own bias, which are added in any order
    q (B k) - k (L k)                two terms that stay in order, and that a product may read one by one
    (item - mean) + shift            no terms: regrouping would lose digits, and no product would have fewer rows

Parts of products are added smallest first. One may become the C of a Gemm, or one more row of a weight:

    x (B k) @ w + c (1 n)              Gemm(x, w, c)
    x (m k) @ w (B k n) + c (B n)      [x 1] @ [w; c], where there are at least as many rows as columns
    a (1 n) + b (B n) + c (B L n)      (a + b) + c

Rounding: parts of products, and their own bias, are added in another order than the original's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from onnx import helper

from mari_onnx.ir.arrays import fill, lay
from mari_onnx.ir.axes import Axis, Dims, flat
from mari_onnx.ir.broadcasting import agree, pointwise
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import compare
from mari_onnx.ir.forms import Array, Terms, Value
from mari_onnx.ir.operators import named

GEMM_DTYPES = (1, 10, 11)
"""Element types for which onnxruntime has a Gemm: float32, float16, float64; integers and bfloat16 have none."""

MATRIX_PRODUCTS = ("MatMul", "Gemm", "Einsum")
"""The operators of products that have no terms: they are stored along one set of axes."""

MOVES = named(lambda t: t.view or t.foldable) | {"Neg"}
"""The operators of which each element of the result is one of the first input, or its negative."""

MAX_TERMS = 6
"""A sum of more terms is not kept as terms: each term has to be passed on by every rule, and added in the end."""


def terms_of(
    b: Builder, operands: Sequence[tuple[int, Value]], dims: Dims, *, takes_bias: bool = False
) -> Terms | None:
    """The terms of a sum, whose operands have signs; None where it is kept as a whole, in the order of the original.

    With `takes_bias`, one operand may be a constant: the bias of the products that the other operand is the sum of. All
    other constants end the terms, as (x + C) - C may be meant to round x.

    Terms of products that lack the same axes of the sum are added here. None if there are more than `MAX_TERMS`, or if
    nothing is gained by having them apart.
    """
    varying = [v for _, v in operands if not v.constant]
    of_products, unbiased = all(map(_is_of_products, varying)), all(map(_is_unbiased, varying))
    biased = len(varying) < len(operands)
    if biased and not (takes_bias and unbiased):
        return None
    # A term broadcasts to the shape of its value, and this shape to that of the sum. So the term may broadcast to the
    # shape of the sum at once.
    signed = [
        (sign * s, replace(array, price=0.0))
        for sign, value in operands
        for s, array in (value.terms.signed if value.terms is not None else ((1, value.array),))
    ]
    all_axes = frozenset[Axis]().union(*(_stored_axes(array) for _, array in signed))
    if of_products:
        signed = _merged(b, signed, all_axes, dims)
        gains = len({array.names() for _, array in signed}) > 1
    else:
        mixed = not all(array.of_item for _, array in signed)
        gains = all(_stored_axes(array) < all_axes or (mixed and array.of_item) for _, array in signed)
    if not gains or len(signed) > MAX_TERMS:
        return None
    return Terms(tuple(signed), of_products=of_products, unbiased=unbiased and not biased)


def come_apart(terms: Terms, total: Array, cost: CostModel, beside: Collection[Tensor] = ()) -> bool:
    """Whether a product of a sum is one of its terms: those of q (B k) - k (L k) have fewer elements than the sum.

    What depends on the item alone does not count next to the user: it can be multiplied before any request. Terms that
    save nothing stay together. So do terms that the caller sends, unless the product reads them also alone, as columns
    `beside` the sum: two features may be large and close to each other, and x @ W - y @ W loses digits that
    (x - y) @ W keeps. What is computed from them has lost these digits already.
    """
    arrays = [array for _, array in terms.signed]
    if any(_is_sent(array.tensor) and array.tensor not in beside for array in arrays):
        return False
    counted = sum(cost.elements(array.tensor.shape) for array in arrays if total.of_item or not array.of_item)
    return counted < cost.elements(total.tensor.shape)


def _is_sent(t: Tensor) -> bool:
    """Whether the elements of a tensor are those of an input, moved or negated at most."""
    while t.op_type in MOVES and (moved := t.node.inputs[0]) is not None:
        t = moved
    return t.node.is_source and not t.constant


def _is_of_products(value: Value) -> bool:
    """Whether a value is a product or a sum of products, perhaps with the own bias of each."""
    if value.terms is not None:
        return value.terms.of_products
    t = value.array.tensor
    if t.op_type == "Add" and any(i is not None and i.constant for i in t.node.inputs):
        return any(i is not None and _is_product(i) for i in t.node.inputs)
    return _is_product(t)


def _is_product(t: Tensor) -> bool:
    return t.op_type in MATRIX_PRODUCTS


def _is_unbiased(value: Value) -> bool:
    """Whether a value is a product, or a sum of products, to which no bias was added."""
    if value.terms is not None:
        return value.terms.unbiased
    return _is_product(value.array.tensor) and len(value.array.tensor.node.inputs) < 3


def _stored_axes(array: Array) -> frozenset[Axis]:
    """The axes along which the array has a row for each index."""
    return frozenset(a for a, _ in array.names() if array.state(a) == "stored")


def _merged(
    b: Builder, signed: Sequence[tuple[int, Array]], all_axes: frozenset[Axis], dims: Dims
) -> list[tuple[int, Array]]:
    """The terms, of which those of one sign that lack the same axes are added: the user's parts of two products."""
    merged: dict[object, tuple[int, Array]] = {}
    for place, (sign, array) in enumerate(signed):
        key: object = place if _stored_axes(array) == all_axes else (sign, array.names())
        if key in merged:
            array = add_up(b, Terms(((1, merged[key][1]), (1, array))), dims)
        merged[key] = (sign, array)
    return list(merged.values())


def add_up(b: Builder, terms: Terms, dims: Dims) -> Array:
    """The sum of parts of products, smallest first. A product of two dimensions takes its addend as C of Gemm."""

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
