"""Elementwise operators, and normalization by constants per channel.

    f(x, y)              is stored along the axes that x or y is stored along
    f([a b], c)          = [f(a, c) f(b, c)]         parts that are stored along the same axes are merged first
    (x @ W + u @ V) + b  is kept as terms too, of which u @ V + b lacks the candidates
    q (B k) - k (L k)    is kept as terms for a product that reads it: each lacks an axis of the sum
    x (B L k) @ W + b    = Gemm(x ((B L) k), W, b), if nothing else reads the product
    a * b                is kept as two factors too, for a reader that can use one of them alone
    (x - mean) + shift   has no terms, since its order decides which digits are lost
    BatchNorm([a b])     = [BatchNorm_a(a) BatchNorm_b(b)]   scale and shift are cut as the parts are
    CastLike(x, y)       = Cast(x), whatever axes y has
    Cast(x)              = x, with all its forms, if x has the type already

Example: x (1 4) is the user's and y (B 4) the item's. Relu(x) is computed for one row, and x + y for B rows.

Holds when the operands' extents are proven equal wherever they are not 1: a symbol that is 1 at run time would
broadcast. Rounding: none, but for sums of products, whose parts are added in another order. All other sums keep the
original's order (see `ir.sums`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mari_onnx.analysis.context import BOOL, DOUBLE, FLOAT, Context, Derived, Op
from mari_onnx.analysis.pricing import price_in_parts, price_in_terms, price_whole, priced, spared_by_sum
from mari_onnx.analysis.rules import blocks, moments, outer_products, pairs, relabel
from mari_onnx.analysis.spans import long_enough
from mari_onnx.analysis.surplus_rows import harmless_operands
from mari_onnx.ir.arrays import fill, lay, plain
from mari_onnx.ir.axes import Dims, Refused, Renaming, broadcast, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.cost import NS_PER_VIEW
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.extents import product as product_of
from mari_onnx.ir.forms import Array, Factors, Parts, Terms, Value
from mari_onnx.ir.operators import traits_of
from mari_onnx.ir.part_by_part import Run, part_by_part
from mari_onnx.ir.parts import join
from mari_onnx.ir.renaming import fresh, rename_value
from mari_onnx.ir.sums import add_up, terms_of

SUMS = ("Add", "Sub", "Neg", "Sum")


@dataclass(frozen=True)
class Elementwise:
    """An elementwise operation on `values`.

    `dims` are the dims of the result, whose axes the operands have as well, and `dtype` is its element type. `run` is
    the operation on one array of each operand: on the whole operands, or on one part of each.
    """

    values: Sequence[Value]
    dims: Dims
    dtype: int
    run: Run


def elementwise(op: Op, ctx: Context) -> Derived:
    """An elementwise operator, on the axes that any operand is stored along; in parts and as terms if operands are.

    Parameters, such as the bounds of Clip, are read in the shape that they have. Refused if the rank of an input is
    unknown, or if the operands' extents are not proven equal.
    """
    count = _operands(op)
    present = [v for v in op.inputs[:count] if v is not None]
    present = [blocks.in_blocks(ctx, v) for v in present]
    if any(v is not None and v.dims is None for v in op.inputs):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    if len(present) > 1 and not _broadcasts(op):
        return Refused(f"{op.op_type} does not broadcast in opset {op.opset}")
    present = _in_one_order(ctx, present)
    aligned = broadcast([v.known_dims for v in present])
    if ctx.cut_short:
        ctx.found_long_enough.update(long_enough([v.known_dims for v in present], ctx.cut_short))
    if isinstance(aligned, Refused):
        return aligned
    dims, names = aligned
    if op.op_type == "PRelu" and len(present[1].known_dims) > len(present[0].known_dims):
        return Refused("the slope of PRelu has more dimensions than its input")
    dtype = _dtype(op, present)
    ranks = [len(v.known_dims) for v in present]
    since = ctx.b.count
    values = [rename_value(ctx.b, v, n) for v, n in zip(present, names, strict=True)]
    parameters = [None if v is None else plain(ctx.b, v) for v in op.inputs[count:]]

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        rest = iter(tensors)
        inputs = [None if v is None else next(rest) for v in op.inputs[:count]]
        return ctx.again(op, [*inputs, *parameters], [shape], [dtype])[0]

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        if op.op_type == "PRelu":  # its slope broadcasts to the input, never the input to the slope
            of_slope = {a for a, _ in arrays[1].names()}
            arrays = [fill(ctx.b, arrays[0], out, of_slope), arrays[1]]
        arrays = harmless_operands(op, ctx, arrays, out)
        return pointwise(ctx.b, arrays, ranks, out, write)

    found = moments.of_row(op, ctx)
    value = with_forms(op, ctx, Elementwise(values, dims, dtype, run), since, summed=found is None)
    if found is not None:
        moments.remember(found, ctx, value)
    if op.op_type == "Mul":
        pairs.remember(ctx, op, value)
    return [value]


def _in_one_order(ctx: Context, operands: list[Value]) -> list[Value]:
    """The operands; one that has the axes of the first in another order within a dimension gets new ones.

    Example: x [B (2 4)], and x transposed to [B (4 2)]. The second gets the factors (2 2 2) of both, and no axis of x.
    """
    first, *rest = operands
    out = [first]
    for value in rest:
        pairs = zip(reversed(first.known_dims), reversed(value.known_dims), strict=False)
        out.append(fresh(ctx.b, value) if any(d != e and not set(d).isdisjoint(e) for d, e in pairs) else value)
    return out


def _broadcasts(op: Op) -> bool:
    """Whether operands of other shapes are repeated in the node's opset, as all forms of a result rely on."""
    traits = traits_of(op.op_type, op.proto.domain)
    return traits is None or op.opset >= traits.broadcasts_from


def _operands(op: Op) -> int:
    """How many of the node's first inputs are operands, and no parameters."""
    traits = traits_of(op.op_type, op.proto.domain)
    return len(op.inputs) if traits is None else traits.operands


def cast(op: Op, ctx: Context) -> Derived:
    """Cast: the same value if it has the element type already, else an elementwise operator."""
    return relabel.identity(op, ctx) if op.attribute("to") == op.data.dtype else elementwise(op, ctx)


def cast_like(op: Op, ctx: Context) -> Derived:
    """CastLike as a Cast: only the element type of the second input matters, not its axes."""
    x, like = op.data, op.inputs[1]
    if x.dims is None or like is None or not like.dtype or "saturate" in op.attributes:
        return Refused("CastLike of an input of unknown rank, or to a type that is not known")
    if like.dtype == x.dtype:
        return relabel.identity(op, ctx)
    dims, dtype = x.dims, like.dtype
    since = ctx.b.count

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        arrays = harmless_operands(op, ctx, arrays, out)
        return pointwise(
            ctx.b, arrays, [len(out)], out, lambda ts, shape: ctx.b.make("Cast", ts, shape, dtype, to=dtype)
        )

    return [with_forms(op, ctx, Elementwise([x], dims, dtype, run), since)]


def batch_normalization(op: Op, ctx: Context) -> Derived:
    """BatchNormalization in inference mode: a scale and a shift for each channel. The channels are dimension 1."""
    if op.attribute("training_mode", 0) or len(op.proto.output) > 1:
        return Refused("BatchNormalization in training mode", "export the model in evaluation mode")
    x, *constants = [v for v in op.inputs if v is not None]
    if x.dims is None or len(x.dims) < 2 or any(c.dims is None or len(c.dims) != 1 for c in constants):
        return Refused("BatchNormalization of an input whose rank is not known")
    since = ctx.b.count
    aligned = along_axis(ctx, x, constants, 1)
    if isinstance(aligned, Refused):
        return aligned
    dims, values = aligned

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        channel = out[1]
        first = fill(ctx.b, arrays[0], out, channel)
        layout = tuple(tuple(a for a in d if first.state(a) != "absent") for d in out)
        tensors = [lay(ctx.b, first, layout), *(lay(ctx.b, a, (channel,)) for a in arrays[1:])]
        return Array(ctx.again(op, tensors, [tensors[0].shape], [x.dtype])[0], layout, first.via)

    return [with_forms(op, ctx, Elementwise(values, dims, x.dtype, run), since)]


def along_axis(ctx: Context, x: Value, vectors: Sequence[Value], axis: int) -> tuple[Dims, list[Value]] | Refused:
    """The dims and the operands, on common axes, of a value [.., C, ..] and vectors [C] along its dimension `axis`."""
    after = len(x.known_dims) - axis - 1
    columns = [v.with_dims((*((),) * axis, v.known_dims[0], *((),) * after)) for v in vectors]
    aligned = broadcast([v.known_dims for v in (x, *columns)])
    if isinstance(aligned, Refused):
        return aligned
    dims, names = aligned
    return dims, [rename_value(ctx.b, v, n) for v, n in zip((x, *columns), names, strict=True)]


def with_forms(op: Op, ctx: Context, operation: Elementwise, since: int, *, summed: bool = True) -> Value:
    """The first output of the node, with every form that the operation gives.

    `since` is the builder's count before the rule. Without `summed`, a sum is not kept as terms: it is added in the
    original's order.
    """
    values, dims = operation.values, operation.dims
    array = operation.run([v.array for v in values], {})
    multiplied = op.op_type in ("Mul", "Einsum")
    factors = _factors(operation) if multiplied else None
    # The only form of a value has no price (see `Context.result`), and most values have one.
    if factors is not None or op.op_type in SUMS or any(v.parts is not None or v.blocks is not None for v in values):
        array = priced(ctx.cost, array, since, price_whole(values))
    parts = _part_by_part(ctx, operation, since)
    if parts is not None:
        joined = priced(ctx.cost, join(ctx.b, parts.pieces, parts.axis, dims), since, parts.price)
        array = joined if joined.price < array.price else array
    terms = None
    if summed and op.op_type in SUMS:
        array, terms = _or_summed(op, ctx, operation, array, since)
    if _takes_bias(op, ctx) and len(values) == 2:
        array = _or_gemm(ctx, operation, array, since)
    cut = blocks.block_by_block(op, ctx, values, dims, operation.run, since)
    result = ctx.result(op, dims, array, dtype=operation.dtype, parts=parts, terms=terms, factors=factors, blocks=cut)
    if multiplied:
        outer_products.remember(ctx, values, result)
    blocks.remember_outer(ctx, result, values, dims, operation.run)
    return result.changed(written=_as_written(operation))


def _part_by_part(ctx: Context, operation: Elementwise, since: int) -> Parts | None:
    """f([a b], c) = [f(a, c) f(b, c)]."""
    parts = part_by_part(ctx.b, operation.values, operation.dims, operation.run)
    return None if parts is None else priced(ctx.cost, parts, since, price_in_parts(operation.values))


def _or_summed(op: Op, ctx: Context, operation: Elementwise, whole: Array, since: int) -> tuple[Array, Terms | None]:
    """The cheaper of `whole` and of the sum of all operands' terms; and the terms themselves."""
    terms = _terms(op, ctx, operation)
    if terms is None:
        return whole, None
    inherited = price_in_terms(operation.values)
    if not terms.of_products:
        return whole, priced(ctx.cost, terms, since, inherited)
    added = add_up(ctx.b, terms, operation.dims)
    of_operands = [v.terms for v in operation.values if v.terms is not None]
    spared = sum(map(ctx.cost.node_time, spared_by_sum(of_operands, added)))
    added = priced(ctx.cost, added, since, inherited, spared)
    terms = priced(ctx.cost, terms, since, inherited)
    return (added, ctx.terms_beside(terms, added, op.name)) if added.price < whole.price else (whole, terms)


def _or_gemm(ctx: Context, operation: Elementwise, array: Array, since: int) -> Array:
    """The cheaper of `array` and of a Gemm, in which one operand is the product and the other one the bias."""
    first, second = operation.values
    inherited = price_whole(operation.values)
    for product, bias in ((first, second), (second, first)):
        fused = _as_gemm(ctx, product, bias.array, operation.dims)
        if fused is not None:
            fused = priced(ctx.cost, fused, since, inherited)
            # A Reshape separates the merged rows (B L) again, and the product without the bias is not computed.
            price = fused.price + NS_PER_VIEW - ctx.cost.node_time(product.array.tensor.node)
            array = replace(fused, price=price) if price < array.price else array
    return array


def _factors(operation: Elementwise) -> Factors | None:
    """The operands of a product as factors; None if one is a constant, or both are stored along the same axes."""
    values = operation.values
    if operation.dtype not in (FLOAT, DOUBLE) or any(v.constant for v in values):
        return None
    left, right = (v.array for v in values)
    return Factors(left, right, price_whole(values)) if left.names() != right.names() else None


def _as_written(operation: Elementwise) -> Array | None:
    """The operation on the rows as the caller sends them (see `Value.written`); None if several operands vary."""
    varying = [v for v in operation.values if not v.constant]
    if len(varying) != 1 or varying[0].written is None:
        return None
    return operation.run([v.written or v.array for v in operation.values], {})


def _terms(op: Op, ctx: Context, operation: Elementwise) -> Terms | None:
    """The terms of a sum; None where it is known as a whole only (see `terms_of`)."""
    minus = [op.op_type == "Neg" or (op.op_type == "Sub" and i == 1) for i in range(len(operation.values))]
    signed = [(-1 if m else 1, v) for m, v in zip(minus, operation.values, strict=True)]
    return terms_of(ctx.b, signed, operation.dims, takes_bias=_takes_bias(op, ctx))


def _takes_bias(op: Op, ctx: Context) -> bool:
    """Whether a constant that the node adds may be a bias: it is not taken from the sum again."""
    return op.op_type == "Add" and op.name not in ctx.taken_again


def _as_gemm(ctx: Context, product: Value, bias: Array, dims: Dims) -> Array | None:
    """A product of rows and its bias as one Gemm: x (B L k) @ W + b = Gemm(x ((B L) k), W, b).

    The Gemm adds the bias while it multiplies, so the result is not read and written once more. Holds when the product
    has two or more dimensions of rows, nothing else reads it, and b repeats along the rows. None otherwise.
    """
    if product.known_dims != dims or not _may_be_gemm(ctx, product):
        return None
    t, (*rows, n) = product.array.tensor, product.array.layout
    if len(rows) < 2 or any(a not in n for a, _ in bias.names()):
        return None
    x, w = t.node.inputs
    assert x is not None and w is not None and w.shape is not None
    bias = fill(ctx.b, bias, dims, n)
    count = product_of(t.known_shape[:-1])
    x = ctx.b.reshape(x, (count, w.shape[0]))
    gemm = ctx.b.make("Gemm", [x, w, lay(ctx.b, bias, (n,))], (count, w.shape[1]))
    return Array(gemm, (tuple(a for d in rows for a in d), n), product.array.via)


def _may_be_gemm(ctx: Context, product: Value) -> bool:
    """Whether the value is a MatMul of the original by a constant matrix, in floats, with one reader."""
    t = product.array.tensor
    if t.op_type != "MatMul" or t.dtype not in (FLOAT, DOUBLE) or ctx.opset < GEMM_BROADCASTS_C:
        return False
    if t.node.proto is None or t.node.proto.output[0] != product.name or ctx.read_counts.get(product.name) != 1:
        return False
    x, w = t.node.inputs
    assert x is not None and w is not None
    return x.shape is not None and w.constant and w.shape is not None and len(w.shape) == 2


GEMM_BROADCASTS_C = 7
"""The opset from which the bias of a Gemm broadcasts without an attribute."""


def _dtype(op: Op, present: list[Value]) -> int:
    """The element type of the result."""
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
