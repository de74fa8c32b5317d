"""Splitting the rows of a weight by the columns that they multiply: the user's columns, and the item's.

    [a b] @ [Wa; Wb]    = a@Wa + b@Wb                               parts along the contracted axis become terms
    [a b c d] @ W       = [a c]@[Wa; Wc] + [b d]@[Wb; Wd]           a and c are the user's, b and d the item's
    [q k q-k m] @ W     = [q q]@[W1; W3] + [k -k]@[W2; W3] + m@W4   the piece q-k is split into its terms

Example: forty features of the user and of the item alternate in x. There are two products, one of all columns of the
user and one of all columns of the item. Forty products would be slower than the single product of the model. (The MaRI
paper calls columns that are sorted in this way the neat layout.)

A product that saves less time than its launch takes is not made: its columns join the smallest product that has more
rows.

Holds when the widths of the parts are numbers. Rounding: the sum over the contracted axis is re-associated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.weight_product import WeightProduct, multiply
from mari_onnx.ir.arrays import cut, sub_array
from mari_onnx.ir.axes import Axis, extent_of, flat, renamed
from mari_onnx.ir.cost import NS_PER_ELEMENT, NS_PER_MAC
from mari_onnx.ir.expressions import is_slice
from mari_onnx.ir.forms import Array, Factors, IndexMap, Names, Parts, Terms
from mari_onnx.ir.parts import bounds, groups, merge
from mari_onnx.ir.policy import POLICY
from mari_onnx.ir.sums import come_apart


@dataclass(frozen=True)
class Columns:
    """Columns of the input, which are multiplied by rows [low, high) of the weight.

    They are a piece of the input, or one term of a piece, which has the `sign`. `sub` is their axis in `array`.
    `factors` are those of a piece that is an elementwise product.
    """

    sub: Axis
    array: Array
    low: int
    high: int
    factors: Factors | None = None
    sign: int = 1

    @property
    def width(self) -> int:
        return self.high - self.low


def ways_to_cut(ctx: Context, parts: Parts) -> list[tuple[list[Columns], float]]:
    """The ways to cut the input's columns, each with the price of the columns in nanoseconds.

    The first way is piece by piece. The second way cuts pieces that are sums into their terms, if that leaves fewer
    elements to multiply. There is no way if the width of a piece is not a number.
    """
    edges = bounds(parts)
    if edges is None:
        return []
    spans = list(zip(parts.pieces, pairwise(edges), strict=True))
    forms = parts.apart or (None,) * len(spans)
    by_piece = [
        Columns(sub, array, low, high, form if isinstance(form, Factors) else None)
        for ((sub, array), (low, high)), form in zip(spans, forms, strict=True)
    ]
    ways = [(by_piece, parts.price)]
    by_term, price = _terms_apart(ctx, parts, by_piece)
    if len(by_term) > len(by_piece):
        ways.append((by_term, price))
    return ways


def _terms_apart(ctx: Context, parts: Parts, by_piece: list[Columns]) -> tuple[list[Columns], float]:
    """The columns, in which a sum is cut into its terms if these come apart; and their price.

    Example: q (B 8) and k (L 8) have fewer elements than q - k (B L 8), and are columns themselves.
    """
    by_term: list[Columns] = []
    price = parts.price
    beside = {columns.array.tensor for columns in by_piece}
    for columns, form in zip(by_piece, parts.apart or (None,) * len(by_piece), strict=True):
        if isinstance(form, Terms) and come_apart(form, columns.array, ctx.cost, beside):
            price += form.price - columns.array.price
            by_term.extend(_term(columns, sign, array) for sign, array in form.signed)
        else:
            by_term.append(columns)
    return by_term, price


def _term(piece: Columns, sign: int, array: Array) -> Columns:
    """One term of a piece as columns: they have a new axis, and are multiplied by the same rows of the weight."""
    sub = Axis(piece.sub.extent, piece.sub.name)
    return Columns(sub, sub_array({piece.sub: sub}, array), piece.low, piece.high, None, sign)


def products_by_names(ctx: Context, product: WeightProduct, axis: Axis, columns: list[Columns]) -> list[Array]:
    """One product for each set of axes that columns are stored along: one of the user's columns, one of the item's.

    `columns` are pieces of the input along its `axis`.
    """
    contracted = set(product.contracted)

    def names(of: Columns) -> Names:
        return frozenset((a, s) for a, s in of.array.names() if a is not of.sub and a not in contracted)

    by_names = groups([names(c) for c in columns])
    members = _worthwhile(ctx, product, axis, by_names, [c.width for c in columns])
    return [_product_of(ctx, product, axis, [columns[i] for i in positions]) for positions in members]


def _product_of(ctx: Context, product: WeightProduct, axis: Axis, columns: list[Columns]) -> Array:
    """The product of these columns, side by side, and their rows of the weight, one below the other."""
    dims, weight = product.x.known_dims, product.weight
    chosen = _by_source(columns)
    sub, x = merge(ctx.b, [(c.sub, _signed(ctx, c)) for c in chosen], axis, dims)
    rows = [rows_of(ctx, product, axis, c, Axis(c.width)) for c in chosen]
    w_sub, w = merge(ctx.b, rows, axis, weight.dims)
    w = replace(w, layout=renamed(w.layout, {w_sub: (sub,)}))
    names = {axis: (sub,)}
    return multiply(ctx, product, Operand(x, renamed(dims, names)), Operand(w, renamed(weight.dims, names)))


def rows_of(ctx: Context, product: WeightProduct, axis: Axis, columns: Columns, sub: Axis) -> tuple[Axis, Array]:
    """The rows of the weight that multiply these columns, along the axis `sub`."""
    return sub, cut(ctx.b, product.weight.array, axis, columns.low, columns.high, sub)


def _signed(ctx: Context, columns: Columns) -> Array:
    """The columns with their sign: negated if they are a term that is subtracted."""
    array, t = columns.array, columns.array.tensor
    return array if columns.sign == 1 else replace(array, tensor=ctx.b.make("Neg", [t], t.known_shape))


def _by_source(columns: list[Columns]) -> list[Columns]:
    """The columns, of which those of one tensor are neighbours in the tensor's order: a slice of it then has them all.

    The rows of the weight are moved accordingly, once.
    """

    def start(of: Columns) -> int:
        t = of.array.tensor
        return int(t.node.attribute("start")) if is_slice(t) else 0

    tensors = [c.array.tensor for c in columns]
    found = groups([t.node.inputs[0] if is_slice(t) else t for t in tensors])
    return [c for members in found.values() for c in sorted((columns[i] for i in members), key=start)]


def _worthwhile(
    ctx: Context, product: WeightProduct, axis: Axis, by_names: dict[Names, list[int]], widths: Sequence[int]
) -> list[list[int]]:
    """The positions of the columns of each product, where every product saves more time than its launch takes.

    Columns that save less join a product whose columns have all their axes and further ones: of such products, the one
    with the fewest rows. Example: one column of the user beside 64 columns of the item becomes the 65th column of the
    item's product, with B equal rows.
    """
    lead = set(flat(product.dims[:-1]))

    def rows(names: Names) -> int:
        return ctx.cost.elements(tuple(s.rows if isinstance(s, IndexMap) else a.extent for a, s in names if a in lead))

    # The pieces of a contracted dimension (F d) are pieces of F: each of their columns stands for d columns.
    inner = ctx.cost.elements(tuple(a.extent for a in product.contracted if a is not axis))
    out = dict(by_names)
    for key in sorted(by_names, key=rows):
        axes = {a for a, _ in key}
        larger = [other for other in out if rows(other) > rows(key) and axes <= {a for a, _ in other}]
        if not larger:
            continue
        target = min(larger, key=rows)
        width = inner * sum(widths[i] for i in out[key])
        if not _pays(ctx, product, rows(key), rows(target), width):
            out[target] = sorted([*out[target], *out.pop(key)])
    return list(out.values())


def _pays(ctx: Context, product: WeightProduct, rows: int, rows_otherwise: int, width: int) -> bool:
    """Whether `width` columns pay for a product of their own with `rows`, instead of one with `rows_otherwise`."""
    n = ctx.cost.elements((extent_of(product.dims[-1]),))
    matrices = len(product.dims) == 2
    saved = (rows_otherwise - rows) * width * (NS_PER_MAC * n + NS_PER_ELEMENT)
    launch = ctx.cost.launch * POLICY.launches(len(product.dims))
    added = 0 if matrices else NS_PER_ELEMENT * n * rows_otherwise  # a Gemm of matrices adds the other one as its C
    return saved >= launch + added
