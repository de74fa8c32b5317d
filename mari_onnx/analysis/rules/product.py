"""MatMul: the cases of its operands, and products of two computed values.

    q (B k) @ w (k n)           is stored along the axes that either side is stored along
    q (B h 1 d) @ k (h d L)     = (h B d) @ (h d L): leading axes that one side lacks become rows
    q (B L (h d)) as heads      is (h B L d), and its product is stored in the same order (see `attention_heads`)
    x (t B k) @ W (t k n)       is a product with a weight for each token t, and has its forms (see `linear`)
    [a; b] (B L k) @ v (k n)    = [a @ v; b @ v] for parts of rows, or of anything that is not summed over
    q (B k) @ v (k)             = q @ v (k 1), without the column of extent 1
    x (B h 1) @ z (B 1 m)       is an elementwise product, with its factors and all pairs (see `outer_products`)

B are the candidates, L the steps of a sequence, h the heads of an attention and d the width of a head. Example: the
queries of B candidates are multiplied by the keys of one user. The model has B products of one row each. The rule gives
one product of B rows, which reads the keys once.

Keys of several requests are gathered, k[index] (B h d L). All products with the keys of R requests, of which each
candidate takes its own, were measured in decoders of two layers (31 and 99 tokens, 200 and 500 candidates): they took
0.3 to 0.8 of the time up to 16 requests, as long at 32, and 1.4 to 1.6 times as long at 128. How many requests a call
holds is known when it runs, and memory for R * B rows may not be there, so they are not written.

Holds when the contracted extents are proven equal. Rounding: none, but for the order in which a runtime adds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from mari_onnx.analysis.context import DOUBLE, FLOAT, Context, Derived, Op
from mari_onnx.analysis.facts import CutProduct, PairProducts
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.pricing import price_in_order, priced, whole_or_joined
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules import blocks, outer_products
from mari_onnx.analysis.rules.linear import cheapest_turned_back, explained, forms_of, linear, transposed
from mari_onnx.analysis.weight_product import GemmAttributes, WeightProduct, swapped
from mari_onnx.ir.arrays import fill, lay, natural, one_row, stored_shape, sub_array
from mari_onnx.ir.attention_heads import Heads
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, Renaming, broadcast, extent_of, flat, refine, renamed
from mari_onnx.ir.broadcasting import Write, agree, pointwise, result_via
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Factors, Parts, Value
from mari_onnx.ir.renaming import fresh, rename_value


def matmul(op: Op, ctx: Context) -> Derived:
    """MatMul: of vectors, with a weight on either side (see `linear`), or of two computed values."""
    x, w = op.data, op.inputs[1]
    assert w is not None
    if not x.dims or not w.dims:  # or it is a number, and the node does not run
        return Refused("the rank of an input of MatMul is unknown")
    if len(x.dims) == 1 or len(w.dims) == 1:
        return _of_vectors(op, ctx, x, w)
    since = ctx.b.count
    if len(x.dims) == 2 and x.constant and not w.constant:
        return _weight_on_the_left(op, ctx, x, w)
    if len(w.dims) == 2:
        return explained(op, ctx, linear(op, ctx, x, w), x, since)
    return _batched(op, ctx, x, w)


def _of_vectors(op: Op, ctx: Context, x: Value, w: Value) -> Derived:
    """A product with a vector: a vector on the left is one row, a vector on the right is one column.

    The product is written with the row or column and never with the vector. At its level "extended", onnxruntime 1.32
    turns a Transpose and a product with a vector into another product, which is wrong.
    """
    row, column = len(x.known_dims) == 1, len(w.known_dims) == 1
    x = x.with_dims(((), *x.known_dims)) if row else x
    w = w.with_dims((*w.known_dims, ())) if column else w
    derived = matmul(replace(op, inputs=(x, w)), ctx)
    if isinstance(derived, Refused):
        return derived

    def without(dims: Dims) -> Dims:
        return (*dims[:-2], *(() if row else dims[-2:-1]), *(() if column else dims[-1:]))

    return [value.with_dims(without(value.known_dims)) for value in derived]


def _weight_on_the_left(op: Op, ctx: Context, weight: Value, x: Value) -> Derived:
    """W @ x, as the model has it or as (x' @ W')', whichever costs less; ' is the transpose.

    Example: W (n k) @ x (B k 1) is a batch of B products. The rows x' (B 1 k) are one product with W' (k n).
    """
    since = ctx.b.count
    rows = transposed(x)
    ways = [
        linear(op, ctx, rows, weight, attributes=GemmAttributes(transposed=True, left=True), since=since),
        linear(op, ctx, rows, transposed(weight), since=since),
    ]
    return cheapest_turned_back(op, ctx, ways, rows, since)


def _batched(op: Op, ctx: Context, x: Value, w: Value) -> Derived:
    """A product of two computed values, whose leading dimensions broadcast.

    It is noted as a product of rows with rows if one reader may select entries of it (see `pairs`).
    """
    since = ctx.b.count
    same = x.array.tensor is w.array.tensor and x.array.layout == w.array.layout
    symmetric = same and x.known_dims == swapped(w.known_dims)
    sides = _aligned(ctx, x, w)
    if isinstance(sides, Refused):
        return sides
    x, w = sides
    product = _matrix_product(op, ctx, x, w)
    array = multiply(ctx, product)
    if w.constant and not x.constant:
        return _with_stored_weights(op, ctx, (x, w), product.dims, array, since)
    made = min(since, array.tensor.node.serial - 1)
    run = partial(_of_parts, ctx, product)
    array, parts = whole_or_joined(ctx.b, ctx.cost, (x, w), product.dims, array, run, since)
    of_block = partial(_of_parts, ctx, product, entries=True)
    own = partial(_own, ctx, product)
    cut = CutProduct(x, w, product.dims, of_block, own=own)
    summed = blocks.contracted(ctx, cut, since)
    if summed is not None:
        inherited = x.array.price + w.array.price
        whole = array if array.price else priced(ctx.cost, array, since, inherited)
        array, other = sorted((whole, summed[0]), key=_price)
        if array.names() == other.names():  # what reads all rows may stand beside what reads parts of them
            ctx.b.also(array.tensor, lay(ctx.b, other, array.layout))
        parts = min((p for p in (parts, summed[1]) if p is not None), key=_price, default=None)
    factors = _factors(product, x, w)
    if factors is not None and parts is None:
        array = priced(ctx.cost, array, since, factors.price)
    value = ctx.result(op, product.dims, array, parts=parts, factors=factors)
    if factors is not None:
        outer_products.remember(ctx, (x, w), value)
    blocks.remember(ctx, value, cut)
    explain_product(op, ctx, value, x, extent_of(product.left.dims[-1]), made)
    inherited = x.array.price + (0.0 if symmetric else w.array.price)
    price = priced(ctx.cost, value.array, since, inherited).price
    pair = PairProducts(x, w, price, symmetric)
    equal_ranks = len(x.known_dims) == len(w.known_dims)
    if ctx.read_counts.get(value.name) == 1 and equal_ranks and pair.in_parts:
        ctx.facts.pair_products[value.array.tensor] = pair
    return [value]


def _factors(product: MatrixProduct, x: Value, w: Value) -> Factors | None:
    """The sides as factors, where the product sums over one entry: x (B h 1) @ w (B 1 m) is x * w. None otherwise."""
    if extent_of(product.left.dims[-1]) != 1 or x.dtype not in (FLOAT, DOUBLE) or x.constant:
        return None
    return Factors(x.array, w.array, x.array.price + w.array.price)


def _price(form: Array | Parts) -> float:
    return form.price


def _with_stored_weights(
    op: Op, ctx: Context, sides: tuple[Value, Value], dims: Dims, whole: Array, since: int
) -> Derived:
    """X (t B k) @ W (t k n), where each token t has its own weight, with all the forms of a product with a weight."""
    x, w = sides
    tokens = tuple((a,) for a in flat(w.known_dims[:-2]))
    weights = Operand(fill(ctx.b, w.array, w.known_dims), (*tokens, *w.known_dims[-2:]))
    product = WeightProduct(x, weights, dims, weight_name=w.name)
    best, terms, parts = forms_of(ctx, product, whole, since)
    return explained(op, ctx, ctx.result(op, dims, best, terms=terms, parts=parts), x, since)


def _aligned(ctx: Context, x: Value, w: Value) -> tuple[Value, Value] | Refused:
    """The sides with common axes in the leading dimensions and in the contracted dimension.

    Refused if extents that have to be equal are not proven equal.
    """
    w = fresh(ctx.b, w)
    lead = broadcast([x.known_dims[:-2], w.known_dims[:-2]])
    if isinstance(lead, Refused):
        return lead
    _, (of_x, of_w) = lead
    w = rename_value(ctx.b, w, of_w)
    x = rename_value(ctx.b, x, of_x)
    refined = refine(x.known_dims[-1], w.known_dims[-2])
    if refined is None:
        return Refused("the widths of the two sides of MatMul are not proven equal")
    _, split_x, split_w = refined
    return rename_value(ctx.b, x, split_x), rename_value(ctx.b, w, split_w)


@dataclass(frozen=True)
class MatrixProduct:
    """left (..., m, k) @ right (..., k, n) = (..., m, n), of sides and a result with equally many dims and common axes.

    `dims` are the dims of the result. `ranks` are the ranks of the sides in the model: a side of lower rank has empty
    leading dims here. `write` makes the product of two tensors of these ranks, given the shape of the result.
    """

    left: Operand
    right: Operand
    dims: Dims
    ranks: tuple[int, int]
    write: Write

    @property
    def arrays(self) -> tuple[Array, Array]:
        return self.left.array, self.right.array

    @property
    def lead(self) -> list[Axis]:
        """The axes of the leading dimensions: the product has one matrix product for each position along them."""
        return flat(self.dims[:-2])

    @property
    def transposed(self) -> MatrixProduct:
        """The transposed product, right' @ left'."""
        left, right = (Operand(side.array, swapped(side.dims)) for side in (self.right, self.left))
        return replace(self, left=left, right=right, dims=swapped(self.dims))

    def of(self, left: Array, right: Array) -> MatrixProduct:
        """The same product, of other arrays for the same sides."""
        return replace(self, left=Operand(left, self.left.dims), right=Operand(right, self.right.dims))


def _matrix_product(op: Op, ctx: Context, x: Value, w: Value) -> MatrixProduct:
    """The product of two aligned values, which may differ in rank."""

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        return ctx.again(op, tensors, [shape], [op.data.dtype])[0]

    rank = max(len(x.known_dims), len(w.known_dims))
    left, right = (Operand(v.array, ((),) * (rank - len(v.known_dims)) + v.known_dims) for v in (x, w))
    lead = tuple(a or b for a, b in zip(left.dims[:-2], right.dims[:-2], strict=True))
    dims = (*lead, left.dims[-2], right.dims[-1])
    return MatrixProduct(left, right, dims, (len(x.known_dims), len(w.known_dims)), write)


def _of_parts(
    ctx: Context, product: MatrixProduct, arrays: list[Array], part: Renaming, *, entries: bool = False
) -> Array:
    """The product of parts of the sides; a side without parts, such as weights (n k m) of n tokens, is cut as well."""
    sides = zip(arrays, (product.left, product.right), strict=True)
    left, right = (Operand(array, renamed(side.dims, part)) for array, side in sides)
    of_parts = replace(product, left=left, right=right, dims=renamed(product.dims, part))
    return multiply(ctx, of_parts, entries=entries)


def _own(ctx: Context, product: MatrixProduct, left: Array, right: Array, row: Axis, other: Axis, cut: Axis) -> Array:
    """The product of parts in which each index of `row` has its own row of the left, and its own part of the right.

    `other` is the axis of these parts, in the place of the axis `cut`: the columns of q @ k, the rows of v in p @ v,
    where p (row) has one weight for each row.
    """
    lead_of_left, contracted = product.left.dims[:-2], product.left.dims[-1]
    *lead_of_right, same, columns = product.right.dims

    def without(d: Dim) -> Dim:
        return tuple(a for a in d if a is not cut)

    of_left = Operand(left, (*lead_of_left, (row,), (), without(contracted)))
    of_right = Operand(sub_array({other: row}, right), (*lead_of_right, (row,), without(same), without(columns)))
    dims = (*product.dims[:-2], (row,), (), without(columns))
    ranks = (product.ranks[0] + 1, product.ranks[1] + 1)
    return multiply(ctx, MatrixProduct(of_left, of_right, dims, ranks, product.write), entries=True)


def multiply(ctx: Context, product: MatrixProduct, *, entries: bool = False) -> Array:
    """The cheapest array of the product.

    The ways are: each side on the axes that it is stored along, the leading axes in the stored order, the heads of an
    attention as the outermost axis, leading axes that one side lacks as rows, and with `entries` a product without rows
    and columns element by element.
    """
    since = ctx.b.count
    left = fill(ctx.b, product.left.array, product.left.dims, product.left.dims[-1])
    right = fill(ctx.b, product.right.array, product.right.dims, product.right.dims[-2])
    left, right = agree(ctx.b, [left, right], product.dims[:-2], [product.left.dims, product.right.dims])
    product = product.of(left, right)
    heads = Heads(ctx.b, ctx.read_counts, since, ctx.cost.thrifty)
    by_heads = product.of(heads.outermost(left, product.lead), heads.outermost(right, product.lead))
    since = heads.since
    array = _on_own_axes(ctx, product)
    as_rows: list[Array | None] = []
    for way in (product, by_heads):
        other = _in_stored_order(ctx, way)
        array = other if ctx.cost.price([other.tensor], since) < ctx.cost.price([array.tensor], since) else array
        as_rows.append(_as_rows(ctx, way))
        as_rows.append(_as_rows(ctx, way.transposed))
    by_entry = [_entry_by_entry(ctx, way) for way in (product, by_heads)] if entries else []
    ways = [array, *(way for way in (*as_rows, *by_entry) if way is not None)]
    best = min(ways, key=lambda way: price_in_order(ctx.b, ctx.cost, way, product.dims, since))
    for entries_of in by_entry:  # another block of the product may need one side with its heads outermost anyway
        if entries_of is not None and entries_of.names() == best.names():
            ctx.b.also(best.tensor, lay(ctx.b, entries_of, best.layout))
    return best


def _entry_by_entry(ctx: Context, product: MatrixProduct) -> Array | None:
    """A product of one row and one column, or over one entry, as Mul and maybe ReduceSum. None for all others.

    Example: q (B h 1 d) @ k (B h d 1) are B * h products of one number each, which runtimes make one by one.
    """
    *lead, rows, columns = product.dims
    contracted = product.left.dims[-1]
    over_one, one_entry = extent_of(contracted) == 1, extent_of(rows) == extent_of(columns) == 1
    if not (one_entry or over_one) or product.left.array.tensor.dtype not in (FLOAT, DOUBLE):
        return None
    dims = (*lead, rows, columns) if over_one else (*lead, contracted)
    ranks = [len(dims)] * 2
    multiplied = pointwise(ctx.b, product.arrays, ranks, dims, lambda ts, shape: ctx.b.make("Mul", ts, shape))
    if over_one:
        return multiplied
    # The numbers are summed in the order in which they are stored: a Transpose of the sums moves fewer of them.
    kept = tuple((a,) for a in flat(multiplied.layout) if a not in contracted)
    summed_over = tuple(a for a in contracted if multiplied.state(a) != "absent")
    tensor = lay(ctx.b, multiplied, (*kept, summed_over))
    summed = ctx.b.make("ReduceSum", [tensor], tensor.known_shape[:-1], axes=(len(kept),), keepdims=0)
    return Array(summed, kept, multiplied.via)


def _in_stored_order(ctx: Context, product: MatrixProduct) -> Array:
    """The product with its leading axes in the order in which the left side stores them: (h B) instead of (B h)."""
    at = {a: i for i, a in enumerate(flat(product.left.array.layout))}
    order = tuple((a,) for a in sorted(product.lead, key=lambda a: at.get(a, -1)))
    (left, of_left), (right, of_right) = (
        natural(ctx.b, side.array, (*order, *side.dims[-2:])) for side in (product.left, product.right)
    )
    lead = tuple(a or b for a, b in zip(of_left[:-2], of_right[:-2], strict=True))
    layout, via = (*lead, of_left[-2], of_right[-1]), result_via(product.arrays, flat(product.dims))
    return Array(product.write([left, right], stored_shape(layout, via)), layout, via)


def _on_own_axes(ctx: Context, product: MatrixProduct) -> Array:
    """The product as the model has it; each side broadcasts along leading axes that it lacks."""
    product = _with_like_batches(ctx, product)
    tensors, layouts = [], []
    for side, rank in zip((product.left, product.right), product.ranks, strict=True):
        missing = len(side.dims) - rank
        tensor, layout = natural(ctx.b, side.array, side.dims[missing:])
        tensors.append(tensor)
        layouts.append(((),) * missing + layout)
    of_left, of_right = layouts
    lead = tuple(a if len(a) >= len(b) else b for a, b in zip(of_left[:-2], of_right[:-2], strict=True))
    layout = (*lead, of_left[-2], of_right[-1])
    via = result_via(product.arrays, flat(product.dims))
    return Array(product.write(tensors, stored_shape(layout, via)), layout, via)


def _with_like_batches(ctx: Context, product: MatrixProduct) -> MatrixProduct:
    """The product with sides that are stored along the same axes of each leading dimension of several axes, (B h).

    A side that lacks all axes of the dimension stays as it is.
    """
    for d in product.dims[:-2]:
        states = {tuple(array.state(a) for a in d) for array in product.arrays} - {("absent",) * len(d)}
        if len(d) > 1 and len(states) > 1:
            left, right = (fill(ctx.b, side.array, side.dims, d) for side in (product.left, product.right))
            product = product.of(left, right)
    return product


def _as_rows(ctx: Context, product: MatrixProduct) -> Array | None:
    """The product with the leading axes that the right side lacks as rows; None if it lacks none.

    Example: q (B h 1 d) and k (h d L) are one product (h B d) @ (h d L). In a transposed product the sides are
    exchanged: weight (r d) and x (B d 1) are one product (B d) @ (d r).
    """
    lead, x = product.lead, product.left.array
    w = one_row(ctx.b, product.right.array, [a for a in lead if x.state(a) == "stored"])
    only_left = [a for a in lead if x.state(a) == "stored" and w.state(a) == "absent"]
    shared = [a for a in lead if a not in only_left and (x.state(a) != "absent" or w.state(a) != "absent")]
    if not only_left or any(x.state(a) != w.state(a) for a in shared):
        return None
    *_, m, k = product.left.dims
    n = product.dims[-1]
    batch = tuple((a,) for a in shared)
    stored_m = tuple(a for a in m if x.state(a) != "absent")
    stored_n = tuple(a for a in n if w.state(a) != "absent")
    rows = lay(ctx.b, x, (*batch, (*only_left, *stored_m), k))
    columns = lay(ctx.b, w, (*batch, k, stored_n))
    layout = (*batch, (*only_left, *stored_m), stored_n)
    via = result_via([x, w], flat(product.dims))
    return Array(ctx.b.make("MatMul", [rows, columns], stored_shape(layout, via)), layout, via)
