"""Products with a weight: Gemm, and MatMul by a matrix of two dimensions.

    [a b] @ [Wa; Wb]    = a@Wa + b@Wb          parts along the contracted axis become terms (see `weight_rows`)
    [a a*b] @ [Wa; Wc]  = a @ (Wa + b*Wc)      a factor scales the weight (see `scaled_weights`)
    (x * [u i]) @ W     = x@(u@Wu) + (x*i)@Wi  all pairs of columns of two values (see `outer_products`)
    [a; b] @ W          = [a@W; b@W]           parts along another axis stay parts
    scores (B T T h) @ W                       of blocks, for heads h that a weight mixes, is made block by block
    [a; b] @ [W1; W2]   = [a@W1; b@W2]         for tokens with a weight each, which is cut as the parts are
    (a + b) @ W         = a@W + b@W            if the terms have fewer rows than their sum: q (B k) - k (L k)
    x @ W + c                                  c is one more term of each of these sums
    W @ x               = (x' @ W')'           a weight on the left; ' is the transpose
    Gemm(W, x, transB)  = (x @ W')'            the same, and c' is the term that is added

Example: x = [user item] has 4 columns of the user, who has one row, and 3 of the item, which has B rows. The product
with W (7 n) is user (1 4) @ W[:4] + item (B 3) @ W[4:], and the first summand is computed once.

All these ways are priced, and so is the product as the model has it. The cheapest is the array of the result.

Holds when the widths of the parts are numbers. Rounding: the sum over the contracted axis is re-associated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np
from onnx import helper

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.pricing import not_needed, price_in_order, priced
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules import blocks, normalized
from mari_onnx.analysis.rules.outer_products import sums_of_pairs
from mari_onnx.analysis.rules.scaled_weights import scaled_sums
from mari_onnx.analysis.rules.shared_factors import shared_factor_sums
from mari_onnx.analysis.rules.weight_rows import products_by_names, ways_to_cut
from mari_onnx.analysis.weight_product import MATMUL, GemmAttributes, WeightProduct, multiply, swapped
from mari_onnx.analysis.without_weight import is_diagonal
from mari_onnx.ir.arrays import alike, fill, in_order, lay, natural, stored_shape
from mari_onnx.ir.axes import Refused, Renaming, broadcast, extent_of, flat, refine, renamed
from mari_onnx.ir.expressions import Tensor, is_slice
from mari_onnx.ir.forms import Array, Blocks, Parts, Terms, Value
from mari_onnx.ir.part_by_part import part_by_part
from mari_onnx.ir.parts import join
from mari_onnx.ir.renaming import fresh, rename_value
from mari_onnx.ir.sums import come_apart

Whole: TypeAlias = Callable[[Op, Context, WeightProduct], Array]
"""Writes a product as the model has it: the original node, on the rows that its input is stored with."""


def gemm(op: Op, ctx: Context) -> Derived:
    """Gemm: a product with a weight on either side, and the bias as one more term.

    A side that the node transposes is the same value with its dims exchanged. Refused for a transposed first side that
    is multiplied by a computed value: the rows come last and may be summed over.
    """
    x, w, c = op.data, op.inputs[1], op.input(2)
    assert w is not None
    if x.dims is None or w.dims is None or (c is not None and c.dims is None):
        return Refused("the rank of an input of Gemm is unknown")
    turned_x, turned_w = bool(op.attribute("transA", 0)), bool(op.attribute("transB", 0))
    left = x.constant and not w.constant
    if turned_x and not left and not w.constant:
        return Refused("Gemm with transA = 1 has its rows last", "export the layer as a Linear")
    since = ctx.b.count
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    whole = partial(_whole_gemm, weight_first=left)
    if not left:
        rows = transposed(x) if turned_x else x
        value = linear(op, ctx, rows, w, c, GemmAttributes(turned_w, alpha, beta), whole)
        return explained(op, ctx, value, rows, since)
    rows, weight = w if turned_w else transposed(w), transposed(x) if turned_x else x
    if c is not None:
        c = transposed(c.with_dims(((),) * (2 - len(c.known_dims)) + c.known_dims))
    ways = [linear(op, ctx, rows, weight, c, GemmAttributes(True, alpha, beta), whole, since)]
    if alpha == 1.0:  # a MatMul has none
        ways.append(linear(op, ctx, rows, weight, c, GemmAttributes(True, beta=beta, left=True), whole, since))
    return cheapest_turned_back(op, ctx, ways, rows, since)


def cheapest_turned_back(op: Op, ctx: Context, ways: Sequence[Value | Refused], rows: Value, since: int) -> Derived:
    """The cheapest of several ways to a product W @ x, each of which is (x' @ W')' and holds the result transposed.

    `rows` is x'. The price counts the Transpose that a reader needs. A refusal of any way is the refusal of all.
    """
    found = [transposed(v) for v in ways if not isinstance(v, Refused)]
    if len(found) < len(ways):
        return next(why for why in ways if isinstance(why, Refused))
    value = min(found, key=lambda v: price_in_order(ctx.b, ctx.cost, v.array, v.known_dims, since))
    return explained(op, ctx, value, rows, since)


def transposed(x: Value) -> Value:
    """The value with its last two dims exchanged; no element is moved."""
    return x.with_dims(swapped(x.known_dims))


def explained(op: Op, ctx: Context, value: Value | Refused, x: Value, since: int) -> Derived:
    """The value as the only output of the rule; a remark says how the product of x was split.

    `since` is the builder's count before the product.
    """
    if isinstance(value, Refused):
        return value
    width = extent_of(x.known_dims[-1]) if x.known_dims else 1  # a sum of all products, as in Einsum ab,ab,cd->d
    explain_product(op, ctx, value, x, width, since)
    return [value.changed(terms=value.terms and ctx.terms_beside(value.terms, value.array, op.name))]


def linear(
    op: Op,
    ctx: Context,
    x: Value,
    w: Value,
    c: Value | None = None,
    attributes: GemmAttributes = MATMUL,
    whole: Whole | None = None,
    since: int | None = None,
) -> Value | Refused:
    """The value x @ w + c with its forms, for x (..., k), w (k, n) and c that broadcasts to (..., n).

    `whole` writes the node as the model has it; without it, the node is a MatMul. `since` is the builder's count before
    the first of several ways to the product, since a later way may use nodes of an earlier one; by default, this is the
    only way. Refused if the widths are not proven equal, or if c does not broadcast to the product.
    """
    since = ctx.b.count if since is None else since
    product = aligned(ctx, x.changed(blocks=blocks.blocks_of(ctx, x)), w, c, attributes)
    if isinstance(product, Refused):
        return product
    if c is not None and c.constant and op.name in ctx.taken_again:
        product = replace(product, bias_last=True)
    best, terms, parts = forms_of(ctx, product, (whole or _whole_matmul)(op, ctx, product), since)
    return ctx.result(op, product.dims, best, terms=terms, parts=parts, blocks=in_blocks(ctx, product, since))


def in_blocks(ctx: Context, product: WeightProduct, since: int) -> Blocks | None:
    """The product block by block, of a matrix for each of the columns that are multiplied, such as heads.

    None where the rows or the columns of the matrix are multiplied, or have a bias of their own.
    """
    x, cut, bias = product.x, product.x.blocks, product.bias
    own = [] if cut is None else [a for a in (cut.row, cut.column) if a is not None]
    if cut is None or product.per_token or product.bias_last or not _may_be_split(ctx, product):
        return None
    if any(a in product.contracted or (bias is not None and bias.state(a) != "absent") for a in own):
        return None
    if bias is not None and cut.alone:
        return None

    def of_block(array: Array, around: Renaming) -> Array:
        if bias is None and ctx.intervals.of(array.tensor).is_zero:
            return Array(ctx.b.constant(np.zeros((), helper.tensor_dtype_to_np_dtype(x.dtype))), ())
        rows = multiply(ctx, product, Operand(array, renamed(x.known_dims, around)), product.weight)
        return product.add_up(ctx.b, product.plus_bias(((1, rows),), 0.0), renamed(product.written, around))

    diagonals = {place: of_block(array, cut.on_diagonal(place[0])) for place, array in cut.diagonals}
    alone = {place: of_block(cut.grid[place[0]][place[1]], cut.on_diagonal(place[0])) for place in cut.alone}
    if bias is None:
        alone |= {place: array for place, array in diagonals.items() if is_diagonal(ctx.intervals, cut, *place)}

    def at(array: Array, r: int, c: int) -> Array:
        return alone[r, c] if (r, c) in alone else of_block(array, cut.around(r, c))

    made = replace(cut.each(at), diagonals=tuple(diagonals.items()), alone=frozenset(alone))
    return priced(ctx.cost, made, since, cut.price)


def aligned(
    ctx: Context, x: Value, w: Value, c: Value | None = None, attributes: GemmAttributes = MATMUL
) -> WeightProduct | Refused:
    """The product with common axes: the rows of the weight have the axes of x, and the bias has those of the result.

    Refused if the widths are not proven equal, or if the bias does not broadcast to the product.
    """
    w = fresh(ctx.b, w)
    k, n = (1, 0) if attributes.transposed else (0, 1)
    refined = refine(x.known_dims[-1], w.known_dims[k])
    if refined is None:
        return Refused(
            f"the width {extent_of(x.known_dims[-1])} of the input is not proven equal to the weight's "
            f"{extent_of(w.known_dims[k])}",
            "give the input a fixed feature width, or export with dynamic axes on the batch only",
        )
    _, split_x, split_w = refined
    x, w = rename_value(ctx.b, x, split_x), rename_value(ctx.b, w, split_w)
    dims = (*x.known_dims[:-1], w.known_dims[n])
    bias = None
    if c is not None:
        aligned = broadcast([dims, c.known_dims])
        if isinstance(aligned, Refused) or aligned[0] != dims:
            return Refused("the bias of Gemm does not broadcast to its product")
        bias = rename_value(ctx.b, c, aligned[1][1]).array
    weight = Operand(fill(ctx.b, w.array, w.known_dims), w.known_dims)
    return WeightProduct(x, weight, dims, bias, attributes, w.name)


def forms_of(
    ctx: Context, product: WeightProduct, whole: Array, since: int
) -> tuple[Array, Terms | None, Parts | None]:
    """The cheapest array of the product, its terms if this array is their sum, and its parts.

    `whole` is the product as the model has it, and `since` the builder's count before that.
    """
    x = product.x
    best = priced(ctx.cost, whole, since, x.array.price)
    if not _may_be_split(ctx, product):
        return best, None, None
    best, terms = _as_sum(ctx, product, best, since)
    parts = _per_part(ctx, product, since)
    if parts is not None and terms is None:
        best = _or_joined(ctx, product, best, parts, since)
    other = _of_normalized(ctx, product, since)
    if other is not None and other.price < best.price:
        best, terms = other, None
    return best, terms, parts


def _may_be_split(ctx: Context, product: WeightProduct) -> bool:
    """Whether the product can be written as a sum.

    It cannot if the bias is scaled by beta, nor if the product is scaled by alpha and a Gemm cannot do that.
    """
    scale = product.attributes
    return (product.bias is None or scale.beta == 1.0) and (scale.alpha == 1.0 or product.takes_gemm(ctx))


def _as_sum(ctx: Context, product: WeightProduct, whole: Array, since: int) -> tuple[Array, Terms | None]:
    """The cheapest of `whole` and of all sums that are the product, and the terms of the cheapest sum."""
    best, terms = whole, None
    for candidate in _sums(ctx, product):
        added = product.add_up(ctx.b, candidate, product.written)
        inherited = candidate.price
        inherited -= min(inherited, _spared_slices(ctx, product.x.parts, added))
        added = priced(ctx.cost, added, since, inherited)
        if added.price < best.price:
            best = added
            terms = None if product.bias_last else priced(ctx.cost, candidate, since, inherited)
    return best, terms


def _sums(ctx: Context, product: WeightProduct) -> list[Terms]:
    """All sums that are the product. The price of each is the price of the forms of x that are multiplied in it."""
    sums = []
    parts, terms = product.x.parts, product.x.terms
    if parts is not None and parts.axis in product.contracted:
        for columns, price in ways_to_cut(ctx, parts):
            products = tuple((1, p) for p in products_by_names(ctx, product, parts.axis, columns))
            if len(products) > 1:
                sums.append(product.plus_bias(products, price))
            if not product.per_token:
                sums.extend(scaled_sums(ctx, product, parts.axis, columns, price))
                sums.extend(shared_factor_sums(ctx, product, parts.axis, columns, price))
    sums.extend(sums_of_pairs(ctx, product))
    if terms is not None and come_apart(terms, product.x.array, ctx.cost):
        products = tuple(
            (sign, multiply(ctx, product, Operand(array, product.x.known_dims), product.weight))
            for sign, array in terms.signed
        )
        sums.append(product.plus_bias(products, terms.price))
    return sums


def _spared_slices(ctx: Context, parts: Parts | None, result: Array) -> float:
    """The time of the Slices that the parts would need, but that the result does not read.

    Example: x = [t[:, :3] u]. The columns of t are multiplied as t @ [W'; 0], without a Slice. The price of the parts
    counts the Slice, so its time is taken off.
    """
    pieces = () if parts is None else parts.pieces
    slices = [a.tensor.node for _, a in pieces if is_slice(a.tensor)]
    return sum(ctx.cost.node_time(node) for node in not_needed(slices, [result.tensor])) if slices else 0.0


def _per_part(ctx: Context, product: WeightProduct, since: int) -> Parts | None:
    """The product in parts, [a; b] @ W = [a@W; b@W]; None if x has no parts along an axis that is not contracted.

    Where W has the axis as well, such as the tokens of x, it is cut as x is.
    """
    x, weight = product.x, product.weight
    weights = Value(product.weight_name, weight.dims, x.dtype, weight.array)

    def run(arrays: list[Array], part: Renaming) -> Array:
        x_of_part, w = (
            Operand(array, renamed(v.known_dims, part)) for array, v in zip(arrays, (x, weights), strict=True)
        )
        rows = multiply(ctx, product, x_of_part, w)
        return product.add_up(ctx.b, product.plus_bias(((1, rows),), 0.0), renamed(product.written, part))

    if x.parts is None or (product.bias is not None and product.bias.state(x.parts.axis) != "absent"):
        return None
    parts = part_by_part(ctx.b, [x, weights], product.dims, run)
    return None if parts is None else priced(ctx.cost, parts, since, x.parts.price)


def _or_joined(ctx: Context, product: WeightProduct, best: Array, parts: Parts, since: int) -> Array:
    """The cheaper of `best` and of the joined parts.

    The price of `best` counts here without the price of x as one array. Queries, keys and values are products of one x:
    once one of the products reads x as one array, the array is there for the others too.
    """
    joined = join(ctx.b, parts.pieces, parts.axis, product.written)
    joined = priced(ctx.cost, joined, since, parts.price)
    return joined if joined.price < best.price - product.x.array.price else best


def _of_normalized(ctx: Context, product: WeightProduct, since: int) -> Array | None:
    """The product of columns that were normalized together, split into the user's and the item's (see `normalized`)."""
    attributes = product.attributes
    if attributes.alpha != 1.0 or attributes.left or product.per_token or product.bias_last:
        return None
    found = normalized.split(ctx, product)
    return None if found is None else priced(ctx.cost, found, since, product.x.array.price)


def _whole_matmul(op: Op, ctx: Context, product: WeightProduct) -> Array:
    """The original MatMul, on the rows that x is stored with."""
    x = Operand(fill(ctx.b, product.x.array, product.x.known_dims, product.contracted), product.x.known_dims)
    weight, n = lay(ctx.b, product.weight.array, product.weight.dims), product.dims[-1]
    if product.attributes.left:
        columns, layout = natural(ctx.b, x.array, swapped(x.dims))
        inputs, out = [weight, columns], (*layout[:-2], n, layout[-1])
    else:
        rows, layout = natural(ctx.b, x.array, in_order(x.array, x.dims, [len(x.dims) - 1]))
        inputs, out = [rows, weight], (*layout[:-1], n)
    tensor = ctx.again(op, inputs, [stored_shape(out, x.array.via)], [product.x.dtype])[0]
    return Array(tensor, out, x.array.via)


def _whole_gemm(op: Op, ctx: Context, product: WeightProduct, *, weight_first: bool) -> Array:
    """The original Gemm, on the rows that x is stored with; each side stands where and as it does in the model."""
    x = Operand(fill(ctx.b, product.x.array, product.x.known_dims, product.contracted), product.x.known_dims)
    weight, c = product.weight, op.input(2)
    bias = []
    if c is not None:
        x, c_of_rows = _rows_and_bias(ctx, product, x, len(c.known_dims), weight_first=weight_first)
        bias = [c_of_rows]
    turned_first, turned_second = bool(op.attribute("transA", 0)), bool(op.attribute("transB", 0))
    rows_last = not turned_second if weight_first else turned_first
    stored, layout = natural(ctx.b, x.array, swapped(x.dims) if rows_last else x.dims)
    m, n = layout[1 if rows_last else 0], product.dims[-1]
    w = lay(ctx.b, weight.array, swapped(weight.dims) if weight_first and turned_first else weight.dims)
    inputs, out = ([w, stored], (n, m)) if weight_first else ([stored, w], (m, n))
    tensor = ctx.again(op, [*inputs, *bias], [stored_shape(out, x.array.via)], [product.x.dtype])[0]
    return Array(tensor, out, x.array.via)


def _rows_and_bias(
    ctx: Context, product: WeightProduct, x: Operand, rank: int, *, weight_first: bool
) -> tuple[Operand, Tensor]:
    """The rows of x and the bias as inputs of a Gemm; `rank` is the rank of the bias.

    The bias C of a Gemm may not have rows that the product lacks. So x is written out along the rows of the bias.
    """
    assert product.bias is not None
    n = product.dims[-1]
    has_columns = any(product.bias.state(a) != "absent" for a in n)
    bias = fill(ctx.b, product.bias, product.dims, n if has_columns else ())
    rows_of_bias = [d for d in x.dims[:-1] if any(bias.state(a) != "absent" for a in d)]
    array, bias = alike(ctx.b, [x.array, bias], [x.dims, product.dims], flat(rows_of_bias))
    written = swapped(product.dims) if weight_first else product.dims
    return Operand(array, x.dims), lay(ctx.b, bias, written[len(written) - rank :])
