"""Products with a weight: MatMul and Gemm.

    [a b] @ [Wa; Wb]    = a@Wa + b@Wb          Parts on the contracted axis become Terms
    [a; b] @ W          = [a@W; b@W]           Parts on another axis stay Parts
    (a + b) @ W         = a@W + b@W            Terms go through, those of a part too
    [a a*b] @ [Wa; Wc]  = a @ (Wa + b*Wc)      a factor scales the weight, where it lacks the rows of the other
    x @ W + c           c is one more term, of any of these
    W @ x               is x @ W seen transposed

Parts that are stored on the same axes are gathered into one product first: splitting forty interleaved features
one by one is slower than not splitting, gathered it is the paper's neat layout. A part that saves less than the
launch of its product stays with the next larger one.

Holds when the widths of the parts are numbers. Rounding: the sum over the contracted axis is re-associated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.remarks import explain_product, side
from mari_onnx.analysis.rules import normalized
from mari_onnx.document.provenance import Origin
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, Renaming, broadcast, extent_of, flat, refine, renamed
from mari_onnx.ir.cost import NS_PER_ELEMENT, NS_PER_MAC, reachable
from mari_onnx.ir.expressions import is_slice
from mari_onnx.ir.forms import Array, Factors, IndexMap, Names, Parts, Terms, Value
from mari_onnx.ir.layout import alike, bounds, cut, fill, fresh, groups, join, lay, merge, rename_value, sub_array
from mari_onnx.ir.unbatch import GEMM_DTYPES, add_up, in_order, natural, one_row, part_by_part, pointwise, stored_shape

GEMM_WITHOUT_C = 11
"""The opset from which C is optional; before it, a product without one is a MatMul."""


@dataclass(frozen=True)
class Product:
    """x (..., k) times w (k, n) or its transpose; `dims` are the result's, `bias` is renamed to them.

    With the weight on the left, w (n, k) @ x (..., k, m), x and the result are seen transposed.
    """

    x: Value
    w: Array
    w_dims: Dims
    dims: Dims
    bias: Array | None
    alpha: float
    beta: float
    transposed: bool
    weight: str
    left: bool

    @property
    def contracted(self) -> Dim:
        return self.x.known_dims[-1]

    @property
    def written(self) -> Dims:
        """The result's dims in the order in which the model has them."""
        return swapped(self.dims) if self.left else self.dims


def gemm(op: Op, ctx: Context) -> Derived:
    """A product with a weight, and a bias as one more term."""
    x, w, c = op.data, op.inputs[1], op.input(2)
    assert w is not None
    if x.dims is None or w.dims is None or (c is not None and c.dims is None):
        return Refused("the rank of an input of Gemm is unknown")
    if op.attribute("transA", 0):
        return Refused("Gemm with transA = 1 has its rows last", "export the layer as a Linear")
    transposed = bool(op.attribute("transB", 0))
    since = ctx.b.count
    value = linear(op, ctx, x, w, c, transposed, op.attribute("alpha", 1.0), op.attribute("beta", 1.0))
    return explained(op, ctx, value, x, since)


def explained(op: Op, ctx: Context, value: Value | Refused, x: Value, since: int) -> Derived:
    """The value alone, and a remark on the product of x that it is."""
    if isinstance(value, Refused):
        return value
    explain_product(op, ctx, value, x, extent_of(x.known_dims[-1]), since)
    return [replace(value, terms=value.terms and ctx.beside(value.terms, value.array, op.name))]


def swapped(dims: Dims) -> Dims:
    """The dims of the transposed matrices."""
    return (*dims[:-2], dims[-1], dims[-2])


def linear(
    op: Op,
    ctx: Context,
    x: Value,
    w: Value,
    c: Value | None,
    transposed: bool,
    alpha: float,
    beta: float,
    left: bool = False,
) -> Value | Refused:
    """The forms of x @ w + c: whole, split by parts and terms, or part by part, whichever costs least."""
    since = ctx.b.count
    w = fresh(ctx.b, w)
    k, n = (1, 0) if transposed else (0, 1)
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
    weight = fill(ctx.b, w.array, w.known_dims)
    product = Product(x, weight, w.known_dims, dims, bias, alpha, beta, transposed, w.name, left)
    best, terms, parts = forms_of(ctx, product, _whole(op, ctx, product), since)
    return ctx.result(op, dims, best, terms=terms, parts=parts)


def forms_of(ctx: Context, product: Product, whole: Array, since: int) -> tuple[Array, Terms | None, Parts | None]:
    """The product whole, as a sum of several, or part by part: what costs least as one array, and the other forms."""
    x, bias, dims = product.x, product.bias, product.dims
    whole = replace(whole, price=x.array.price + ctx.price([whole.tensor], since))
    best, terms = whole, None
    scaled = x.dtype in GEMM_DTYPES and ctx.opset >= GEMM_WITHOUT_C
    splittable = (bias is None or product.beta == 1.0) and (product.alpha == 1.0 or scaled)
    for candidate in _splits(ctx, product) if splittable else ():
        inherited = candidate.price
        added = add_up(ctx.b, candidate, product.written)
        inherited -= min(inherited, _spared(ctx, x.parts, added))
        price = inherited + ctx.price([added.tensor], since)
        if price < best.price:
            best = replace(added, price=price)
            terms = replace(candidate, price=inherited + ctx.price([a.tensor for _, a in candidate.signed], since))
    parts = _per_part(ctx, product, since) if splittable else None
    if parts is not None and terms is None:
        joined = join(ctx.b, parts.pieces, parts.axis, product.written)
        price = parts.price + ctx.price([joined.tensor], since)
        # Queries, keys and values are products of one input: one of them alone does not save what it takes to write it.
        best = replace(joined, price=price) if price < best.price - x.array.price else best
    if splittable and product.alpha == 1.0 and not product.left:
        multiply = partial(_multiply, ctx, product)
        other = normalized.split(ctx, x, product.w, product.w_dims, bias, multiply, dims)
        if other is not None and (price := x.array.price + ctx.price([other.tensor], since)) < best.price:
            best, terms = replace(other, price=price), None
    return best, terms, parts


def _per_part(ctx: Context, product: Product, since: int) -> Parts | None:
    """[a; b] @ W = [a@W; b@W]: parts on an axis that is not contracted stay parts."""
    x = product.x

    def run(arrays: list[Array], part: Renaming) -> Array:
        rows = _multiply(ctx, product, arrays[0], renamed(x.known_dims, part), product.w, product.w_dims)
        bias = () if product.bias is None else ((1, product.bias),)
        return add_up(ctx.b, Terms(((1, rows), *bias)), renamed(product.written, part))

    if x.parts is None or (product.bias is not None and product.bias.state(x.parts.axis) != "absent"):
        return None
    parts = part_by_part(ctx.b, [x], product.dims, run)
    if parts is None:
        return None
    return replace(parts, price=x.parts.price + ctx.price([a.tensor for _, a in parts.pieces], since))


def _whole(op: Op, ctx: Context, product: Product) -> Array:
    """The original node on the input's own rows."""
    x, x_dims = fill(ctx.b, product.x.array, product.x.known_dims, product.contracted), product.x.known_dims
    weight, n = lay(ctx.b, product.w, product.w_dims), product.dims[-1]
    if product.left:
        columns, below = natural(ctx.b, x, swapped(x_dims))
        out = (*below[:-2], n, below[-1])
        inputs = [weight, columns]
    else:
        inputs, c = [weight], op.input(2)
        if product.bias is not None and c is not None:
            touches = any(product.bias.state(a) != "absent" for a in n)
            bias = fill(ctx.b, product.bias, product.dims, n if touches else ())
            # C may not have rows that the product lacks: then the product is computed for all of them.
            rows_of_bias = [d for d in x_dims[:-1] if any(bias.state(a) != "absent" for a in d)]
            x, bias = alike(ctx.b, [x, bias], [x_dims, product.dims], flat(rows_of_bias))
            inputs.append(lay(ctx.b, bias, product.dims[len(product.dims) - len(c.known_dims) :]))
        rows, layout = natural(ctx.b, x, x_dims if c is not None else in_order(x, x_dims, [len(x_dims) - 1]))
        inputs.insert(0, rows)
        out = (*layout[:-1], n)
    tensor = ctx.again(op, inputs, [stored_shape(out, x.via)], [product.x.dtype])[0]
    return Array(tensor, out, x.via)


def _splits(ctx: Context, product: Product) -> list[Terms]:
    """The ways to have the product as several; their prices are those of what they multiply."""
    bias = () if product.bias is None else ((1, product.bias),)
    out = []
    parts = product.x.parts
    if parts is not None and parts.axis in product.contracted:
        for columns, price in _columns(ctx, product, parts):
            products = tuple((1, p) for p in _by_names(ctx, product, parts.axis, columns))
            if len(products) > 1:
                out.append(Terms((*products, *bias), price))
            out.extend(_scaled(ctx, product, parts.axis, columns, price, bias))
    terms = product.x.terms
    if terms is not None:
        products = tuple(
            (sign, _multiply(ctx, product, array, product.x.known_dims, product.w, product.w_dims))
            for sign, array in terms.signed
        )
        out.append(Terms((*products, *bias), terms.price))
    return out


@dataclass(frozen=True)
class Column:
    """What is multiplied by rows [low, high) of the weight: a piece of the input, or a term of one with its sign.

    A piece that is a product comes with its factors.
    """

    sub: Axis
    array: Array
    low: int
    high: int
    factors: Factors | None = None
    sign: int = 1


def _columns(ctx: Context, product: Product, parts: Parts) -> list[tuple[list[Column], float]]:
    """The pieces, and the pieces with sums taken apart where that is less to multiply; and what each costs.

    [q k q-k m] @ W  =  [q q] @ [W1; W3]  +  [k -k] @ [W2; W3]  +  m @ W4
    """
    edges = bounds(parts)
    if edges is None:
        return []
    spans = list(zip(parts.pieces, pairwise(edges), strict=True))
    forms = parts.apart or (None,) * len(spans)
    whole = [
        Column(sub, array, low, high, form if isinstance(form, Factors) else None)
        for ((sub, array), (low, high)), form in zip(spans, forms, strict=True)
    ]
    ways = [(whole, parts.price)]
    if any(isinstance(form, Terms) for form in parts.apart):
        apart: list[Column] = []
        price = parts.price
        for column, form in zip(whole, parts.apart, strict=True):
            is_less = isinstance(form, Terms) and sum(_size(ctx, a) for _, a in form.signed) < _size(ctx, column.array)
            if not isinstance(form, Terms) or not is_less:
                apart.append(column)
                continue
            price += form.price - column.array.price
            for sign, array in form.signed:
                sub = Axis(column.sub.extent, column.sub.name)
                summand = sub_array({column.sub: sub}, array)
                apart.append(Column(sub, summand, column.low, column.high, None, sign))
        if len(apart) > len(whole):
            ways.append((apart, price))
    return ways


def _size(ctx: Context, array: Array) -> int:
    return ctx.cost.elements(array.tensor.shape)


def _signed(ctx: Context, column: Column) -> Array:
    array, t = column.array, column.array.tensor
    return array if column.sign == 1 else replace(array, tensor=ctx.b.make("Neg", [t], t.known_shape))


def _by_names(ctx: Context, product: Product, axis: Axis, columns: list[Column]) -> list[Array]:
    """One product for each set of stored axes."""
    dims = product.x.known_dims
    contracted = set(product.contracted)

    def names(column: Column) -> Names:
        return frozenset((a, s) for a, s in column.array.names() if a is not column.sub and a not in contracted)

    by_names = groups([names(column) for column in columns])
    members = _worthwhile(ctx, product, axis, by_names, [column.high - column.low for column in columns])
    products = []
    for positions in members:
        chosen = _by_source([columns[i] for i in positions])
        sub, x = merge(ctx.b, [(c.sub, _signed(ctx, c)) for c in chosen], axis, dims)
        rows = [(piece := Axis(c.high - c.low), cut(ctx.b, product.w, axis, c.low, c.high, piece)) for c in chosen]
        w_sub, w = merge(ctx.b, rows, axis, product.w_dims)
        w = replace(w, layout=renamed(w.layout, {w_sub: (sub,)}))
        names_of_part = {axis: (sub,)}
        products.append(
            _multiply(ctx, product, x, renamed(dims, names_of_part), w, renamed(product.w_dims, names_of_part))
        )
    return products


def _scaled(
    ctx: Context, product: Product, axis: Axis, columns: list[Column], price: float, bias: tuple[tuple[int, Array], ...]
) -> Iterator[Terms]:
    """A piece that is a product, with one factor in the weight instead: both ways, where they differ on other rows.

        [q k q*k] @ W  =  q @ W1  +  k @ (W2 + q*W3)

    What multiplies the other factor alone is added to that weight.
    """
    column = next((c for c in columns if c.factors is not None), None)
    if column is None or column.factors is None or product.left or product.alpha != 1.0 or len(product.contracted) > 1:
        return
    left, right = column.factors.left, column.factors.right
    price += column.factors.price - column.array.price
    lead = flat(product.dims[:-1])
    for x, scale in ((left, right), (right, left)):
        scale = one_row(ctx.b, scale, [a for a in lead if x.state(a) == "stored"])
        rows, others = ([a for a in lead if array.state(a) != "absent"] for array in (x, scale))
        if set(rows) & set(others) or any(x.state(a) != "stored" for a in rows) or x.via or scale.via:
            continue
        # However the weight comes to be stored, its axes are those by which it is scaled, and its own.
        names = {axis: (column.sub,)}
        x_dims, w_dims = renamed(product.x.known_dims, names), renamed(product.w_dims, names)
        dims = (*((a,) for a in others), *w_dims)
        weight = _combined(ctx, "Mul", scale, _rows_of(ctx, product, axis, column, column.sub), dims)
        rest: list[Column] = []
        for c in columns:
            same = sub_array({c.sub: column.sub}, c.array)
            is_x = (same.tensor, same.layout, same.via) == (x.tensor, x.layout, x.via)
            if c is not column and is_x and c.sub.extent == column.sub.extent:  # one number, so many times
                more = _rows_of(ctx, product, axis, c, column.sub)
                weight = _combined(ctx, "Add" if c.sign == 1 else "Sub", weight, more, dims)
            elif c is not column:
                rest.append(c)
        summands = [*((1, p) for p in (_by_names(ctx, product, axis, rest) if rest else ())), *bias]
        x = fill(ctx.b, x, x_dims, [column.sub])
        if not others:
            yield Terms(((1, _multiply(ctx, product, x, x_dims, weight, w_dims)), *summands), price)
            continue
        yield Terms(((1, _for_each(ctx, product, x, weight, rows, others, column.sub)), *summands), price)


def _rows_of(ctx: Context, product: Product, axis: Axis, column: Column, sub: Axis) -> Array:
    """The rows of the weight that multiply a column, with the column's axis called `sub`."""
    return cut(ctx.b, product.w, axis, column.low, column.high, sub)


def _combined(ctx: Context, op_type: str, weight: Array, rows: Array, dims: Dims) -> Array:
    """A weight for each of `dims[:-2]`, or what scales one, with rows of the stored weight."""
    return pointwise(ctx.b, [weight, rows], [len(dims), 2], dims, lambda ts, shape: ctx.b.make(op_type, ts, shape))


def _for_each(
    ctx: Context, product: Product, x: Array, weight: Array, rows: list[Axis], others: list[Axis], sub: Axis
) -> Array:
    """The rows of x by a weight for each of `others`."""
    batch, n = tuple((a,) for a in others), product.dims[-1]
    tensors = [lay(ctx.b, x, (tuple(rows), (sub,))), lay(ctx.b, weight, (*batch, (sub,), n))]
    layout = (*batch, tuple(rows), n)
    return Array(ctx.b.make("MatMul", tensors, stored_shape(layout, ())), layout)


def _spared(ctx: Context, parts: Parts | None, result: Array) -> float:
    """What the pieces' prices count for cutting them apart, where the result needs what they were cut from."""
    pieces = () if parts is None else parts.pieces
    slices = dict.fromkeys(a.tensor.node for _, a in pieces if is_slice(a.tensor))  # in order, as floats are added up
    if not slices:
        return 0.0
    needed = set(reachable([result.tensor], min(node.serial for node in slices) - 1))
    return sum(ctx.cost.node_time(node) for node in slices if node not in needed)


def _by_source(columns: list[Column]) -> list[Column]:
    """Columns of one tensor next to each other, as they lie in it: the weight's rows are moved instead."""

    def start(column: Column) -> int:
        t = column.array.tensor
        return int(t.node.attribute("start")) if is_slice(t) else 0

    tensors = [c.array.tensor for c in columns]
    found = groups([t.node.inputs[0] if is_slice(t) else t for t in tensors])
    return [c for members in found.values() for c in sorted((columns[i] for i in members), key=start)]


def _worthwhile(
    ctx: Context, product: Product, axis: Axis, by_names: dict[Names, list[int]], widths: list[int]
) -> list[list[int]]:
    """Groups of positions, those that save less than a launch joined to the smallest group that differs along more."""
    lead = set(flat(product.dims[:-1]))
    n = ctx.cost.elements((extent_of(product.dims[-1]),))
    inner = ctx.cost.elements(tuple(a.extent for a in product.contracted if a is not axis))
    launch = ctx.cost.launch * (1.5 if len(product.dims) == 2 else 2)

    def rows(names: Names) -> int:
        return ctx.cost.elements(tuple(s.rows if isinstance(s, IndexMap) else a.extent for a, s in names if a in lead))

    out = dict(by_names)
    for key in sorted(by_names, key=rows):
        axes = {a for a, _ in key}
        larger = [other for other in out if rows(other) > rows(key) and axes <= {a for a, _ in other}]
        if not larger:
            continue
        target = min(larger, key=rows)
        width = inner * sum(widths[i] for i in out[key])
        saved = (rows(target) - rows(key)) * width * (NS_PER_MAC * n + NS_PER_ELEMENT)
        added = 0 if len(product.dims) == 2 else NS_PER_ELEMENT * n * rows(target)
        if saved < launch + added:
            out[target] = sorted([*out[target], *out.pop(key)])
    return list(out.values())


def _multiply(ctx: Context, product: Product, x: Array, x_dims: Dims, w: Array, w_dims: Dims) -> Array:
    """One part's product with its rows of the weight."""
    x = fill(ctx.b, x, x_dims, x_dims[-1])
    weight, transposed = lay(ctx.b, w, w_dims), product.transposed
    if weight.name is None:
        weight.name = f"{product.weight}.{side(ctx, x)}"
        ctx.origins[weight] = Origin(product.weight, side(ctx, x), "product")
    if product.left:
        columns, below = natural(ctx.b, x, swapped(x_dims))
        turned = (*below[:-2], product.dims[-1], below[-1])
        return Array(ctx.b.make("MatMul", [weight, columns], stored_shape(turned, x.via)), turned, x.via)
    rows, layout = natural(ctx.b, x, in_order(x, x_dims, [len(x_dims) - 1]))
    out = (*layout[:-1], product.dims[-1])
    if transposed and weight.op_type == "DequantizeLinear":  # runtimes fuse it with a product as it stands
        weight, transposed = ctx.b.transpose(weight, (1, 0)), False
    shape = stored_shape(out, x.via)
    if len(layout) == 2 and rows.dtype in GEMM_DTYPES and ctx.opset >= GEMM_WITHOUT_C:
        attributes: dict[str, float | int] = {}
        if transposed:
            attributes["transB"] = 1
        if product.alpha != 1.0:
            attributes["alpha"] = product.alpha
        return Array(ctx.b.make("Gemm", [rows, weight], shape, **attributes), out, x.via)
    if transposed:
        weight = ctx.b.transpose(weight, (1, 0))
    return Array(ctx.b.make("MatMul", [rows, weight], shape), out, x.via)
