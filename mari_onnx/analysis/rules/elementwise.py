"""Operators to which every axis is independent, and normalization by constants per channel.

    f(x, y)              is stored on the union of the axes on which x and y are stored
    f([a b], c)          = [f(a, c) f(b, c)]         part by part, parts of equal axes gathered first
    (a + b) + c          stays three terms until somebody needs the sum
    x (B L k) @ W + b    = Gemm(x ((B L) k), W, b), where the product is read by nothing else
    a * b                stays two factors too, for a sum or a product that would rather have one of them
    a - (b - c)          is the terms +a -b +c; those of one sign that differ along the same axes are one
    BatchNorm([a b])     = [BatchNorm_a(a) BatchNorm_b(b)]   scale and shift are cut as the parts are
    CastLike(x, y)       = Cast(x), however often y repeats

Holds when the operands' extents are proven equal wherever they are not 1: a symbol that is 1 at run time would
broadcast. Rounding: none, but for sums, whose terms may be added in another order.
"""

from __future__ import annotations

from dataclasses import replace

from mari_onnx.analysis.context import BOOL, DOUBLE, FLOAT, Context, Derived, Op
from mari_onnx.analysis.rules import moments, pairs
from mari_onnx.ir.axes import Dims, Refused, Renaming, broadcast, renamed
from mari_onnx.ir.cost import NS_PER_VIEW
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.extents import product as product_of
from mari_onnx.ir.forms import Array, Factors, Terms, Value
from mari_onnx.ir.layout import fill, join, lay, rename_value
from mari_onnx.ir.operators import traits_of
from mari_onnx.ir.unbatch import Run, add_up, part_by_part, pointwise

MAX_TERMS = 6


def elementwise(op: Op, ctx: Context) -> Derived:
    """On the union of the stored axes; part by part, and as terms, where the operands are."""
    present = [v for v in op.inputs if v is not None]
    if any(v.dims is None for v in present):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    aligned = broadcast([v.known_dims for v in present])
    if isinstance(aligned, Refused):
        return aligned
    dims, names = aligned
    if op.op_type == "PRelu" and len(present[1].known_dims) > len(present[0].known_dims):
        return Refused("the slope of PRelu has more dimensions than its input")
    dtype = _dtype(op, present)
    ranks = [len(v.known_dims) for v in present]
    since = ctx.b.count
    values = [rename_value(ctx.b, v, n) for v, n in zip(present, names, strict=True)]

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        rest = iter(tensors)
        inputs = [None if v is None else next(rest) for v in op.inputs]
        return ctx.again(op, inputs, [shape], [dtype])[0]

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        if op.op_type == "PRelu":  # its slope broadcasts to the input, never the input to the slope
            wanted = {a for a, _ in arrays[1].names()}
            arrays = [fill(ctx.b, arrays[0], out, wanted), arrays[1]]
        return pointwise(ctx.b, arrays, ranks, out, write)

    found = moments.of_row(op, ctx)
    value = with_forms(op, ctx, values, dims, dtype, since, run, summed=found is None)
    if found is not None:
        moments.remember(found, ctx, value)
    if op.op_type == "Mul":
        pairs.remember(ctx, op, value)
    return [value]


def cast_like(op: Op, ctx: Context) -> Derived:
    """Cast: of the second input only its type matters, and not how often it repeats."""
    x, like = op.data, op.inputs[1]
    if x.dims is None or like is None or not like.dtype or "saturate" in op.attributes:
        return Refused("CastLike of an input of unknown rank, or to a type that is not known")
    dims, dtype = x.dims, like.dtype
    since = ctx.b.count

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        return pointwise(
            ctx.b, arrays, [len(out)], out, lambda ts, shape: ctx.b.make("Cast", ts, shape, dtype, to=dtype)
        )

    return [with_forms(op, ctx, [x], dims, dtype, since, run)]


def batch_normalization(op: Op, ctx: Context) -> Derived:
    """Scale and shift per channel, dimension 1; in inference mode only."""
    if op.attribute("training_mode", 0) or len(op.proto.output) > 1:
        return Refused("BatchNormalization in training mode", "export the model in evaluation mode")
    x, *constants = [v for v in op.inputs if v is not None]
    if x.dims is None or len(x.dims) < 2 or any(c.dims is None or len(c.dims) != 1 for c in constants):
        return Refused("BatchNormalization of an input whose rank is not known")
    rank = len(x.dims)
    columns = [replace(c, dims=(*((),) * 1, c.known_dims[0], *((),) * (rank - 2))) for c in constants]
    aligned = broadcast([v.known_dims for v in (x, *columns)])
    if isinstance(aligned, Refused):
        return aligned
    dims, names = aligned
    since = ctx.b.count
    values = [rename_value(ctx.b, v, n) for v, n in zip((x, *columns), names, strict=True)]

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        channel = out[1]
        first = fill(ctx.b, arrays[0], out, channel)
        layout = tuple(tuple(a for a in d if first.state(a) != "absent") for d in out)
        tensors = [lay(ctx.b, first, layout), *(lay(ctx.b, a, (channel,)) for a in arrays[1:])]
        return Array(ctx.again(op, tensors, [tensors[0].shape], [x.dtype])[0], layout, first.via)

    return [with_forms(op, ctx, values, dims, x.dtype, since, run)]


def with_forms(
    op: Op, ctx: Context, values: list[Value], dims: Dims, dtype: int, since: int, run: Run, *, summed: bool = True
) -> Value:
    """Every form that `run` gives on values whose axes are those of `dims`, the result's.

    A sum that is not to be `summed` otherwise than the original has it is no terms.
    """
    array = run([v.array for v in values], {})
    own_price = sum(v.array.price for v in values)
    array = replace(array, price=own_price + ctx.price([array.tensor], since))
    parts = part_by_part(ctx.b, values, dims, run)
    if parts is not None:
        inherited = sum(v.parts.price if v.parts is not None else v.array.price for v in values)
        parts = replace(parts, price=inherited + ctx.price([a.tensor for _, a in parts.pieces], since))
        joined = join(ctx.b, parts.pieces, parts.axis, dims)
        price = parts.price + ctx.price([joined.tensor], since)
        array = replace(joined, price=price) if price < array.price else array
    terms = _sum(op, ctx, values, dims) if summed and op.op_type in ("Add", "Sub", "Neg", "Sum") else None
    if terms is not None:
        inherited = sum(v.terms.price if v.terms is not None else v.array.price for v in values)
        added = add_up(ctx.b, terms, dims)
        before = [v.terms for v in values if v.terms is not None]
        spared = sum(map(ctx.cost.node_time, ctx.unneeded(before, added)))
        price = inherited + ctx.price([added.tensor], since) - spared
        terms = replace(terms, price=inherited + ctx.price([a.tensor for _, a in terms.signed], since))
        if price < array.price:
            array = replace(added, price=price)
            terms = ctx.beside(terms, added, op.name)
    if op.op_type == "Add" and len(values) == 2:
        for product, bias in (values, values[::-1]):
            fused = _as_gemm(ctx, product, bias.array, dims)
            if fused is not None:
                spared = ctx.cost.node_time(product.array.tensor.node)
                price = own_price + ctx.price([fused.tensor], since) + NS_PER_VIEW - spared
                if price < array.price:
                    array = replace(fused, price=price)
    factors = None
    if op.op_type == "Mul" and dtype in (FLOAT, DOUBLE) and not any(v.constant for v in values):
        left, right = (v.array for v in values)
        if left.names() != right.names():
            factors = Factors(left, right, own_price)
    result = ctx.result(op, dims, array, dtype=dtype, parts=parts, terms=terms, factors=factors)
    varying = [v for v in values if not v.constant]
    as_given = len(varying) == 1 and varying[0].written is not None
    written = run([v.written or v.array for v in values], {}) if as_given else None
    return replace(result, written=written)


def _sum(op: Op, ctx: Context, values: list[Value], dims: Dims) -> Terms | None:
    """The summands of all operands; those stored alike are added at once."""
    signed: list[tuple[int, Array]] = []
    for i, value in enumerate(values):
        sign = -1 if op.op_type == "Neg" or (op.op_type == "Sub" and i == 1) else 1
        # A term broadcasts to the value's own shape before it broadcasts to the sum's; both are the same sum.
        own = value.terms.signed if value.terms is not None else ((1, value.array),)
        signed.extend((sign * s, replace(a, price=0.0)) for s, a in own)
    merged: list[tuple[int, Array]] = []
    for sign, array in signed:
        match = next((i for i, (s, a) in enumerate(merged) if s == sign and a.names() == array.names()), None)
        if match is None:
            merged.append((sign, array))
        else:
            merged[match] = (sign, add_up(ctx.b, Terms(((1, merged[match][1]), (1, array))), dims))
    distinct = {array.names() for _, array in merged}
    if len(merged) > MAX_TERMS or len(distinct) < 2:
        return None
    return Terms(tuple(merged))


def _as_gemm(ctx: Context, product: Value, bias: Array, dims: Dims) -> Array | None:
    """A product on rows with its bias, x (B L k) @ W + b = Gemm(x ((B L) k), W, b): the sum is no pass of its own.

    Holds when the product has two computed dimensions or more, is read by nothing else, and b repeats along them.
    """
    t = product.array.tensor
    if t.op_type != "MatMul" or t.dtype not in (FLOAT, DOUBLE) or product.known_dims != dims or ctx.opset < 7:
        return None
    if t.node.proto is None or t.node.proto.output[0] != product.name or ctx.uses.get(product.name) != 1:
        return None
    x, w = t.node.inputs
    assert x is not None and w is not None
    if x.shape is None or not w.constant or w.shape is None or len(w.shape) != 2:
        return None
    *rows, n = product.array.layout
    if len(rows) < 2:
        return None
    if any(a not in n for a, _ in bias.names()):
        return None
    bias = fill(ctx.b, bias, dims, n)
    count = product_of(t.known_shape[:-1])
    x = ctx.b.reshape(x, (count, w.shape[0]))
    gemm = ctx.b.make("Gemm", [x, w, lay(ctx.b, bias, (n,))], (count, w.shape[1]))
    return Array(gemm, (tuple(a for d in rows for a in d), n), product.array.via)


def _dtype(op: Op, present: list[Value]) -> int:
    traits = traits_of(op.op_type, op.proto.domain)
    match traits and traits.result:
        case "boolean":
            return BOOL
        case "to":
            return int(op.attribute("to"))
        case "second":
            return present[1].dtype
        case _:
            return present[0].dtype
