"""Products of all pairs of columns, times a weight: a compressed interaction network, an outer product before a Linear.

    (x * [u i]) @ W       = x @ (u @ Wu)  +  (x * i) @ Wi
    ([u i] * [u i]) @ W   = (u * u) @ Wuu  +  i @ (u @ (Wui + Wiu'))  +  (i * i) @ Wii

Here x * z has a column for each column h of x and each column m of z, and W has a row for each pair (h m). Wiu' are the
rows of the pairs of i and u, in the order of the pairs of u and i.

Example: a compressed interaction network multiplies hidden columns x (B h D) by fields z (B m D), and takes n sums over
all pairs: B*D*h*m*n multiply-adds. The pairs with fields of the user, z (m D), are x (D B h) @ M (D h n). There is one
weight M = z (D m) @ W (m (h n)) for each place of D, which is computed once, so that B*D*h*n multiply-adds are left. In
the first layer x are the fields as well, and the pairs of two fields of the user are the user's.

Holds when the contracted axes are those of one side and those of the other, and the product is not scaled by alpha.
Rows that an index selects are not put into a weight: each candidate would have a copy of its request's. Rounding: the
sum over the pairs is re-associated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mari_onnx.analysis.context import DOUBLE, FLOAT, Context
from mari_onnx.analysis.facts import OuterProduct
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.weight_product import MATMUL, WeightProduct, multiply, swapped
from mari_onnx.ir.arrays import cut, one_row, sub_array
from mari_onnx.ir.axes import Axis, Dim, Dims, flat, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.forms import Array, Names, Parts, Terms, Value
from mari_onnx.ir.parts import Piece, bounds, groups, merge


def remember(ctx: Context, operands: Sequence[Value], product: Value) -> None:
    """Note that a product, element by element, has all pairs of columns of its operands: a weight may follow."""
    if len(operands) != 2 or product.dtype not in (FLOAT, DOUBLE) or any(v.constant for v in operands):
        return
    left, right = operands
    of_left, of_right = set(flat(left.known_dims)), set(flat(right.known_dims))
    if of_left - of_right and of_right - of_left:
        ctx.facts.outer_products[product.array.tensor] = OuterProduct(left, right, product.array)


@dataclass(frozen=True)
class _Columns:
    """Columns of one side, along `axes`, which are the side's contracted axes.

    Those of a side in parts are some of its columns: they have the axis `sub` in the place of `whole`, and `spans` are
    their stretches of that.
    """

    array: Array
    axes: Dim
    whole: Axis | None = None
    sub: Axis | None = None
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def rows(self) -> Names:
        """The axes of rows that the columns are stored along."""
        return frozenset((a, s) for a, s in self.array.names() if a not in self.axes)

    @property
    def around(self) -> dict[Axis, Dim]:
        """The renaming of the side's axes to those of these columns."""
        return {self.whole: (self.sub,)} if self.whole and self.sub else {}

    def of_weight(self, ctx: Context, weight: Operand) -> Operand:
        """The rows of the weight that belong to these columns."""
        if self.whole is None or self.sub is None:
            return weight
        subs = [Axis(high - low, self.whole.name) for low, high in self.spans]
        pieces = [
            (s, cut(ctx.b, weight.array, self.whole, low, high, s))
            for s, (low, high) in zip(subs, self.spans, strict=True)
        ]
        sub, array = merge(ctx.b, pieces, self.whole, weight.dims)
        return Operand(sub_array({sub: self.sub}, array), renamed(weight.dims, self.around))


@dataclass(frozen=True)
class _Scaled:
    """Columns x, times the weights that columns z make of rows of the stored weight: x @ (z @ W)."""

    x: _Columns
    z: _Columns
    weight: Operand

    def with_more(self, ctx: Context, other: _Scaled) -> _Scaled | None:
        """Both products as one, x @ (z @ (W + W')); None if they are of other columns."""
        names: dict[Axis, Axis] = {}
        for own, others in ((self.x, other.x), (self.z, other.z)):
            if own.sub is None or others.sub is None:
                return None
            names[others.sub] = own.sub
            there = sub_array(names, others.array)
            same = (own.array.tensor, own.array.layout, own.array.via) == (there.tensor, there.layout, there.via)
            # The array of one repeated number is the same for any extent, so the extents are compared too.
            if not same or own.sub.extent != others.sub.extent:
                return None
        added = sub_array(names, other.weight.array)
        dims = self.weight.dims
        total = pointwise(
            ctx.b, [self.weight.array, added], [len(dims)] * 2, dims, lambda ts, shape: ctx.b.make("Add", ts, shape)
        )
        return replace(self, weight=replace(self.weight, array=total))


def sums_of_pairs(ctx: Context, product: WeightProduct) -> Iterator[Terms]:
    """The product as a sum of products of the pairs that are stored along the same axes; nothing if it is none."""
    found = _of_pairs(ctx, product)
    if found is None:
        return
    sides = [(v, tuple(a for a in product.contracted if a in flat(v.known_dims))) for v in (found.left, found.right)]
    left, right = (_kinds(ctx, side, axes) for side, axes in sides)
    if len(left) == len(right) == 1 and left[0].rows == right[0].rows:
        return
    scaled: list[_Scaled] = []
    products: list[Array] = []
    for x in left:
        plain: list[_Columns] = []
        for z in right:
            side = _into_weight(ctx, product, x, z)
            if side is None:
                plain.append(z)
                continue
            weight = z.of_weight(ctx, x.of_weight(ctx, product.weight))
            _add(ctx, scaled, _Scaled(z, x, weight) if side is x else _Scaled(x, z, weight))
        for members in groups([_union(x, z) for z in plain]).values():
            z = _gathered(ctx, found.right, [plain[i] for i in members])
            products.append(_multiplied_out(ctx, product, x, z))
    products.extend(_by_weights(ctx, product, s) for s in scaled)
    if len(products) == 1 and not scaled:  # all pairs are multiplied out, as they are in the model
        return
    price = sum((_parts(side, axes) or side.array).price for side, axes in sides)
    yield product.plus_bias(tuple((1, p) for p in products), price)


def _of_pairs(ctx: Context, product: WeightProduct) -> OuterProduct | None:
    """The two sides of the input; None if it is not known as pairs, or if the product does not sum over the pairs."""
    found = ctx.facts.outer_products.get(product.x.array.tensor)
    if found is None or product.per_token or product.write is not None or product.attributes.alpha != 1.0:
        return None
    if (found.array.layout, found.array.via) != (product.x.array.layout, product.x.array.via):
        return None
    of_left, of_right = set(flat(found.left.known_dims)), set(flat(found.right.known_dims))
    contracted = set(product.contracted)
    # An axis that was renamed since is none of the product, and one along which a side repeats is in no layout.
    if not of_left | of_right <= set(flat(product.x.known_dims)) or not contracted <= of_left | of_right:
        return None
    return None if of_left & of_right & contracted or contracted <= of_left or contracted <= of_right else found


def _kinds(ctx: Context, side: Value, axes: Dim) -> list[_Columns]:
    """The columns of a side, those that are stored along the same axes together: the user's, and the item's.

    All columns together if the side is not in parts along a contracted axis, or if the width of a part is no number.
    """
    parts = _parts(side, axes)
    if parts is None:
        return [_Columns(side.array, axes)]
    spans = list(pairwise(bounds(parts) or []))
    kinds = []
    for members in groups([array.names() - {(sub, "stored")} for sub, array in parts.pieces]).values():
        piece = merge(ctx.b, [parts.pieces[i] for i in members], parts.axis, side.known_dims)
        kinds.append(_columns(piece, axes, parts.axis, [spans[i] for i in members]))
    return kinds


def _parts(side: Value, axes: Dim) -> Parts | None:
    """The parts of a side along a contracted axis; None without, and if the width of one is no number."""
    return side.parts if side.parts is not None and side.parts.axis in axes and bounds(side.parts) else None


def _columns(piece: Piece, axes: Dim, whole: Axis, spans: Sequence[tuple[int, int]]) -> _Columns:
    """Columns under an axis of their own: in x * x both sides have the same parts."""
    old, array = piece
    sub = Axis(old.extent, old.name)
    return _Columns(sub_array({old: sub}, array), renamed((axes,), {whole: (sub,)})[0], whole, sub, tuple(spans))


def _gathered(ctx: Context, side: Value, kinds: Sequence[_Columns]) -> _Columns:
    """Several kinds of columns of a side as one."""
    first = kinds[0]
    if len(kinds) == 1 or first.whole is None:
        return first
    pieces = [(k.sub, k.array) for k in kinds if k.sub is not None]
    piece = merge(ctx.b, pieces, first.whole, side.known_dims)
    axes = tuple(first.whole if a is first.sub else a for a in first.axes)
    return _columns(piece, axes, first.whole, [span for k in kinds for span in k.spans])


def _union(x: _Columns, z: _Columns) -> Names:
    """The axes of rows of x * z: "stored" if one of both has it so, else mapped."""
    rows = x.rows | z.rows
    stored = {a for a, s in rows if s == "stored"}
    return frozenset((a, s) for a, s in rows if s == "stored" or a not in stored)


def _into_weight(ctx: Context, product: WeightProduct, x: _Columns, z: _Columns) -> _Columns | None:
    """The side that goes into the weight, for the fewest multiply-adds; None to multiply the pairs."""
    pairs = (*x.axes, *z.axes)
    fewest, side = _count(ctx, _stored(x.array, z.array) - {*pairs}, pairs), None
    for other, scale in ((x, z), (z, x)):
        inner = _without_rows_of(ctx, product, scale, other)
        of_weights = _stored(inner) - {*scale.axes}
        if inner.via or any(other.array.state(a) not in ("stored", "absent") for a in of_weights):
            continue
        after = _stored(inner, other.array) - {*pairs}
        macs = _count(ctx, of_weights, pairs) + _count(ctx, after, other.axes)
        if macs < fewest:
            fewest, side = macs, scale
    return side


def _without_rows_of(ctx: Context, product: WeightProduct, scale: _Columns, x: _Columns) -> Array:
    """The columns `scale`, without axes of which they have row 0 alone and x has all."""
    return one_row(ctx.b, scale.array, [a for a in flat(product.dims[:-1]) if x.array.state(a) == "stored"])


def _stored(*arrays: Array) -> set[Axis]:
    """The axes that any of the arrays has."""
    return {a for array in arrays for a, _ in array.names()}


def _count(ctx: Context, rows: set[Axis], columns: Dim) -> int:
    """How many elements have these axes."""
    return ctx.cost.elements(tuple(a.extent for a in (*rows, *columns)))


def _add(ctx: Context, scaled: list[_Scaled], new: _Scaled) -> None:
    """Add the product to the list, or to one in the list that is of the same columns."""
    for i, known in enumerate(scaled):
        both = known.with_more(ctx, new)
        if both is not None:
            scaled[i] = both
            return
    scaled.append(new)


def _by_weights(ctx: Context, product: WeightProduct, scaled: _Scaled) -> Array:
    """The product x @ (z @ W), with one weight for each row of z."""
    x, z, n = scaled.x, scaled.z, product.dims[-1]
    inner = _without_rows_of(ctx, product, z, x)
    batch: Dims = tuple((a,) for a in flat(inner.layout) if a not in z.axes and a.extent != 1)
    of_weight = replace(product, attributes=MATMUL, dims=(*batch, (*x.axes, *n)))
    rows_of_z = Operand(scaled.weight.array, (z.axes, (*x.axes, *n)))
    rows = Operand(inner, (*(batch or ((),)), z.axes))  # a product with a vector is never written (see `product`)
    weights = Operand(multiply(ctx, of_weight, rows, rows_of_z), (*batch, x.axes, n))
    # The result depends on z as well, so it is not the item's alone.
    own = replace(x.array, via=tuple((a, m) for a, m in x.array.via if not m.item_rows))
    of_x = replace(product, attributes=MATMUL, weight=Operand(weights.array, weights.dims))
    lead = renamed(product.x.known_dims[:-1], x.around)
    return multiply(ctx, of_x, Operand(own, (*lead, x.axes)), weights)


def _multiplied_out(ctx: Context, product: WeightProduct, x: _Columns, z: _Columns) -> Array:
    """The product (x * z) @ W, of all columns of x and z."""
    weight = z.of_weight(ctx, x.of_weight(ctx, product.weight))
    dims = renamed(product.x.known_dims, {**x.around, **z.around})
    stored = swapped(dims) if product.attributes.left else dims  # the order in which the product reads the pairs
    spread = tuple(new for d in stored for new in ([(a,) for a in d] if d is dims[-1] else [d]))
    pairs = pointwise(
        ctx.b, [x.array, z.array], [len(spread)] * 2, spread, lambda ts, shape: ctx.b.make("Mul", ts, shape)
    )
    return multiply(ctx, product, Operand(pairs, dims), weight)
