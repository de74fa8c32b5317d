"""Quantized models: QuantizeLinear, DequantizeLinear and products of integers.

    Q([a b])                = [Q(a) Q(b)]       elementwise; a scale for each channel is cut as the parts are
    Q([p_uu 0; p_iu p_ii])  = [Q(p_uu) Q(0); Q(p_iu) Q(p_ii)], and so weights of attention (see `blocks`)
    MatMulInteger(x, w)     lacks the axes that x lacks, in every dimension but the last
    MatMulInteger([a b], W) = MatMulInteger(a, Wa) + MatMulInteger(b, Wb), with the same zero points
    QLinearMatMul(x, w)     lacks the axes that x lacks, in every dimension but the last
    MatMulNBits([a b], W)   = MatMulNBits(a, Wa) + MatMulNBits(b, Wb), where a ends with a block of W
    QLinearMatMul, QGemm([a b], W) = the sum of the integer products of a and b, times the scales, quantized
    DynamicQuantizeLinear   takes the same range from one row as from B equal rows
    DynamicQuantizeLinear([a b]) has scale s and zero point z of the elements of a and of b, each as it is stored, and
                            is [QuantizeLinear(a, s, z) QuantizeLinear(b, s, z)]

Example: x = [user item] is quantized by one scale per column. The user's columns are quantized once, with their scales.

Holds for one scale for the whole tensor, and for a scale for each entry of one axis. A computed value that is quantized
in blocks keeps its plain form. A quantized weight is a constant, also if its scales are cut (see `stored_weights`).

DynamicQuantizeLinear takes its range from all rows of its input. This has four consequences. Rows that an index
selects are written out, as the rows that are not selected would widen the range. Parts are quantized by the range of
the whole. That is the range of the parts together if none can hold a NaN: what onnxruntime makes of one depends on
its place in the whole. One row for all candidates is quantized only if a call without candidates cannot tell the
difference: the extent is never 0, or no output has an element then.

Rounding: none, but for MatMulNBits, whose sum is re-associated. Sums of integers are exact in any order. Where a
processor saturates sums of two products (x86 without VNNI, for large weights of 8 bits), a runtime's product is not
that sum, and depends on the order of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import onnx

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.not_a_number import may_be_nan
from mari_onnx.analysis.pricing import price_in_parts, price_whole, priced
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rescaling import FLOAT, INT32, UINT8, added_to_sum, bias_of, last_step, of_result
from mari_onnx.analysis.rules import blocks
from mari_onnx.analysis.rules.along import run_along
from mari_onnx.analysis.rules.elementwise import Elementwise, along_axis, with_forms
from mari_onnx.analysis.rules.linear import aligned
from mari_onnx.analysis.rules.weight_rows import products_by_names, ways_to_cut
from mari_onnx.analysis.weight_product import WeightProduct
from mari_onnx.ir.arrays import fill, in_order, lay, natural, plain, stored_shape
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, Renaming, dim, extent_of, flat, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, positive
from mari_onnx.ir.extents import product as product_of
from mari_onnx.ir.forms import Array, Parts, Terms, Value
from mari_onnx.ir.part_by_part import part_by_part
from mari_onnx.ir.parts import Piece, bounds, groups, join, merge
from mari_onnx.ir.sums import add_up


def quantize(op: Op, ctx: Context) -> Derived:
    """QuantizeLinear and DequantizeLinear: of a constant in any way, of a computed value by tensor or by channel."""
    x, *scales = [v for v in op.inputs if v is not None]
    if x.dims is None or any(s.dims is None for s in scales):
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    dtype = _dtype(op, scales)
    if x.constant and not any(x.array.state(a) == "absent" for a in flat(x.dims)):
        tensors = [lay(ctx.b, x.array, x.dims), *(plain(ctx.b, s) for s in scales)]
        return [
            ctx.result(op, x.dims, Array(ctx.again(op, tensors, [tensors[0].shape], [dtype])[0], x.dims), dtype=dtype)
        ]
    if all(extent_of(flat(s.known_dims)) == 1 for s in scales):
        return _by_tensor(op, ctx, x, [plain(ctx.b, s) for s in scales], dtype)
    if op.attribute("block_size", 0) or any(len(s.known_dims) != 1 for s in scales):
        return Refused(f"{op.op_type} of a computed value, in blocks")
    return _by_channel(op, ctx, x, scales, dtype)


def _dtype(op: Op, scales: list[Value]) -> int:
    """The element type of the result.

    It is the attribute `output_dtype`, else the type of the scale for DequantizeLinear. For QuantizeLinear it is the
    type of the zero point, and uint8 without a zero point.
    """
    if op.attribute("output_dtype"):
        return int(op.attribute("output_dtype"))
    if op.op_type == "DequantizeLinear":
        return scales[0].dtype
    return scales[1].dtype if len(scales) > 1 else UINT8


def _by_tensor(op: Op, ctx: Context, x: Value, scales: list[Tensor], dtype: int) -> Derived:
    """One scale for the whole tensor: an elementwise operator."""
    x = blocks.in_blocks(ctx, x)
    dims, since = x.known_dims, ctx.b.count

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)

        def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
            return ctx.again(op, [*tensors, *scales], [shape], [dtype])[0]

        return pointwise(ctx.b, arrays, [len(out)], out, write)

    return [with_forms(op, ctx, Elementwise([x], dims, dtype, run), since)]


def _by_channel(op: Op, ctx: Context, x: Value, scales: list[Value], dtype: int) -> Derived:
    """A scale for each entry of one axis, along which the value is written out; the scales are cut as the parts are."""
    axis = op.axis % len(x.known_dims)
    since = ctx.b.count
    aligned = along_axis(ctx, x, scales, axis)
    if isinstance(aligned, Refused):
        return aligned
    dims, values = aligned

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        first = fill(ctx.b, arrays[0], out, out[axis])
        tensor, layout = natural(ctx.b, first, out)
        inputs = [tensor, *(lay(ctx.b, a, (out[axis],)) for a in arrays[1:])]
        return Array(ctx.again(op, inputs, [tensor.shape], [dtype])[0], layout, first.via)

    return [with_forms(op, ctx, Elementwise(values, dims, dtype, run), since)]


def dynamic_quantize(op: Op, ctx: Context) -> Derived:
    """DynamicQuantizeLinear, on one of several equal rows where the range is the same (see the conditions above)."""
    x = op.data
    if x.dims is None:
        return Refused("the rank of the input is unknown")
    array = _of_one_range(ctx, x.array, x.dims)
    tensor, layout = natural(ctx.b, array, x.dims)
    since = ctx.b.count
    results = ctx.again(op, [tensor], [tensor.shape, (), ()], [UINT8, FLOAT, UINT8])
    quantized, scale, zero_point = results
    whole = priced(ctx.cost, Array(quantized, layout, array.via), since, price_whole([x]))
    of_range, inherited = [scale, zero_point], price_whole([x]) + price_in_parts([x])
    if x.parts is not None and not may_be_nan(ctx, x.array.tensor):
        since, inherited = ctx.b.count, price_in_parts([x])
        of_range = _range_of_parts(op, ctx, x.parts, x.dims)
        ctx.b.choices.append(
            dict(zip((scale, zero_point), of_range, strict=True))
        )  # one without the other saves nothing
    parts = part_by_part(ctx.b, [x], x.dims, partial(_quantized_by, ctx, x, of_range))
    if parts is not None:
        parts = priced(ctx.cost, parts, since, inherited)
    return [
        ctx.result(op, x.dims, whole, dtype=UINT8, parts=parts),
        ctx.result(op, (), Array(scale, ()), dtype=FLOAT, output=1),
        ctx.result(op, (), Array(zero_point, ()), dtype=UINT8, output=2),
    ]


def _of_one_range(ctx: Context, array: Array, dims: Dims) -> Array:
    """The array with the range of the value: rows are written out where those that are stored may have another one."""
    written = [a for a, rows in array.via if rows.index is not None]
    repeated = [a for a in flat(dims) if array.state(a) == "absent"]
    written += [a for a in repeated if not positive(a.extent) and a.extent not in ctx.output_extents]
    return fill(ctx.b, array, dims, written)


def _range_of_parts(op: Op, ctx: Context, parts: Parts, dims: Dims) -> list[Tensor]:
    """The scale and the zero point of the whole value, by all elements of its parts as they are stored."""
    elements = []
    for sub, array in parts.pieces:
        tensor = _of_one_range(ctx, array, renamed(dims, {parts.axis: (sub,)})).tensor
        elements.append(ctx.b.reshape(tensor, (product_of(tensor.known_shape),)))
    every = ctx.b.concat(elements, 0)
    return ctx.again(op, [every], [every.shape, (), ()], [UINT8, FLOAT, UINT8])[1:]


def _quantized_by(ctx: Context, x: Value, scales: list[Tensor], arrays: list[Array], part: Renaming) -> Array:
    """A part of a value, quantized by the scale and the zero point of the whole value."""
    dims = renamed(x.known_dims, part)

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        return ctx.b.make("QuantizeLinear", [*tensors, *scales], shape, UINT8)

    return pointwise(ctx.b, arrays, [len(dims)], dims, write)


def product(op: Op, ctx: Context) -> Derived:
    """MatMulInteger, QLinearMatMul and QGemm with a weight: rows are independent, and sums of integers can be split."""
    x, since = op.data, ctx.b.count
    weight_input = 1 if op.op_type == "MatMulInteger" else 3
    w = op.input(weight_input)
    if x.dims is None or w is None or w.dims is None:
        return Refused(f"the rank of an input of {op.op_type} is unknown")
    if len(w.dims) != 2 or len(x.dims) < 2:
        return Refused(f"{op.op_type} of two computed values")
    if op.attribute("transA", 0):
        return Refused("QGemm with transA = 1 has its rows last", "export the layer as a Linear")
    of_y = of_result(op)
    per_row = [op.input(2)] if weight_input == 1 else [op.input(1), op.input(2), *of_y]
    if any(v is not None and (v.dims is None or extent_of(flat(v.dims)) != 1) for v in per_row):
        return Refused(f"{op.op_type} with a scale or zero point for each row")
    bias = bias_of(op)
    if bias is not None and (bias.dims is None or extent_of(flat(bias.dims[:-1])) != 1):
        return Refused(f"{op.op_type} with a bias for each row")
    dtype = INT32 if weight_input == 1 else FLOAT if of_y[1] is None else of_y[1].dtype
    if op.attribute("transB", 0):
        w = w.with_dims(w.dims[::-1])
    of_columns = aligned(ctx, x, w)
    if isinstance(of_columns, Refused):
        return _by_rows(op, ctx, tuple(Axis(a.extent, a.name) for a in w.known_dims[1]), dtype)
    derived = run_along(op, ctx, [len(x.dims) - 1], [(of_columns.dims, dtype)], op.inputs[1:])
    if isinstance(derived, Refused):
        return derived
    if (parts := derived[0].parts) is not None:  # what quantizes the result again takes its range from all rows
        joined, whole = join(ctx.b, parts.pieces, parts.axis, of_columns.dims), derived[0].array
        if joined.names() == whole.names():
            ctx.b.also(whole.tensor, lay(ctx.b, joined, whole.layout))
    value = _by_columns(op, ctx, of_columns, derived[0], since)
    explain_product(op, ctx, value, x, extent_of(x.dims[-1]), since)
    return [value]


def _by_columns(op: Op, ctx: Context, product: WeightProduct, whole: Value, since: int) -> Value:
    """The product as a sum of integer products, [a b] @ [Wa; Wb] = a @ Wa + b @ Wb, if that is cheaper than `whole`.

    All products have the zero points of the whole. The columns are cut as the input is. They are not cut into terms: a
    sum of bytes wraps around, and the sum of their products does not.
    """
    parts, last = product.x.parts, last_step(op, ctx, product.dims)
    ways = [] if parts is None or parts.axis not in product.contracted else ways_to_cut(ctx, parts)
    if parts is None or not ways or last is None:
        return whole
    integers = op.op_type == "MatMulInteger"
    given = op.inputs[2:] if integers else (op.inputs[2], op.inputs[5])
    zero_points = [None if v is None else plain(ctx.b, v) for v in given]

    def write(tensors: list[Tensor], shape: tuple[Extent, ...]) -> Tensor:
        if integers:
            return ctx.again(op, [*tensors, *zero_points], [shape], [INT32])[0]
        return ctx.b.make("MatMulInteger", [*tensors, *(z for z in zero_points if z is not None)], shape, INT32)

    columns, inherited = ways[0]
    products = products_by_names(ctx, replace(product, write=write), parts.axis, columns)
    if len(products) < 2:
        return whole
    terms = Terms(tuple((1, array) for array in (*products, *added_to_sum(op, ctx, product.dims))))
    added = priced(ctx.cost, last(add_up(ctx.b, terms, product.dims)), since, inherited)
    unsplit = priced(ctx.cost, whole.array, since, price_whole([op.data]))
    if unsplit.price <= added.price:
        if added.names() == unsplit.names():  # other products may need the parts quantized anyway
            ctx.b.also(unsplit.tensor, lay(ctx.b, added, unsplit.layout))
        return whole.changed(array=unsplit)
    if not integers:
        return whole.changed(array=added)
    terms = priced(ctx.cost, terms, since, inherited)
    return whole.changed(array=added, terms=ctx.terms_beside(terms, added, op.name))


def packed(op: Op, ctx: Context) -> Derived:
    """MatMulNBits, a product with a weight of packed bits: rows are independent, and blocks of columns are."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    since = ctx.b.count
    derived = _by_rows(op, ctx, dim(op.attribute("N"), str(op.attribute("N"))), op.data.dtype)
    return derived if isinstance(derived, Refused) else [_by_blocks(op, ctx, derived[0], since)]


def _by_blocks(op: Op, ctx: Context, whole: Value, since: int) -> Value:
    """MatMulNBits as a sum of one product for each set of columns, if that is cheaper than `whole`, the result by rows.

    Each block of columns has a scale of its own, and runtimes may round the input within a block. So all edges of the
    input's parts have to be edges of blocks. A weight with zero points is not cut, as these are packed across blocks.
    """
    x, weight, scales = op.data, op.inputs[1], op.inputs[2]
    parts, block = x.parts, int(op.attribute("block_size"))
    edges = None if parts is None or x.known_dims[-1] != (parts.axis,) else bounds(parts)
    if parts is None or edges is None or any(edge % block for edge in edges) or any(op.inputs[3:]):
        return whole
    if not all(v is not None and v.array.tensor.stored for v in (weight, scales)) or op.attribute("weight_prepacked"):
        return whole
    by_names = groups([array.names() - {(sub, "stored")} for sub, array in parts.pieces])
    if len(by_names) < 2:
        return whole
    products = []
    for members in by_names.values():
        piece = merge(ctx.b, [parts.pieces[i] for i in members], parts.axis, x.known_dims)
        spans = [(edges[i] // block, edges[i + 1] // block) for i in members]
        products.append((1, _product_of_blocks(op, ctx, parts.axis, piece, spans, whole.known_dims[-1])))
    terms = Terms(tuple(products))
    added = priced(ctx.cost, add_up(ctx.b, terms, whole.known_dims), since, parts.price)
    unsplit = priced(ctx.cost, whole.array, since, price_whole([x]))
    if unsplit.price <= added.price:
        return whole.changed(array=unsplit)
    terms = priced(ctx.cost, terms, since, parts.price)
    return whole.changed(array=added, terms=ctx.terms_beside(terms, added, op.name))


def _product_of_blocks(
    op: Op, ctx: Context, axis: Axis, piece: Piece, spans: Sequence[tuple[int, int]], columns: Dim
) -> Array:
    """MatMulNBits of a piece of the input along `axis`, and of the blocks of the weight in `spans`."""
    b, (sub, array), (weight, scales) = ctx.b, piece, (v.array.tensor for v in op.inputs[1:3] if v is not None)
    dims = renamed(op.data.known_dims, {axis: (sub,)})
    array = fill(b, array, dims, [sub])
    tensor, layout = natural(b, array, in_order(array, dims, [len(dims) - 1]))
    by_block = b.reshape(scales, weight.known_shape[:2])
    weight, by_block = (b.concat([b.slice(t, 1, *span) for span in spans], 1) for t in (weight, by_block))
    if len(scales.known_shape) == 1:
        by_block = b.reshape(by_block, (product_of(by_block.known_shape),))
    proto = onnx.NodeProto()
    proto.CopyFrom(op.proto)
    next(a for a in proto.attribute if a.name == "K").i = int(str(sub.extent))
    out = (*layout[:-1], columns)
    made = b.again(proto, [tensor, weight, by_block], [(stored_shape(out, array.via), op.data.dtype)])[0]
    return Array(made, out, array.via)


def _by_rows(op: Op, ctx: Context, columns: Dim, dtype: int) -> Derived:
    """A product of independent rows, whose result has these columns."""
    x, since = op.data, ctx.b.count
    dims = (*x.known_dims[:-1], columns)
    derived = run_along(op, ctx, [len(dims) - 1], [(dims, dtype)], op.inputs[1:])
    if not isinstance(derived, Refused):
        explain_product(op, ctx, derived[0], x, extent_of(x.known_dims[-1]), since)
    return derived
