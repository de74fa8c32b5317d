"""Operators that work along some dimensions, and do the same for each position of the other dimensions.

    Softmax, LayerNormalization, ArgMax, TopK, Reduce*, ...

    f(x) lacks the axes that x lacks, in every dimension that f does not work along
    f([a; b])                        = [f(a); f(b)]      for parts along such a dimension
    sum of [a b]                     = sum a + sum b
    maximum of [a b]                 = the larger of maximum a and maximum b, if nothing can be NaN
    sum over L of w (B L) * k (L D)  = w @ k
    TopK of n equal numbers, k = n   = the numbers

Example: Softmax works along L of scores [B L]. If the scores are the same for all candidates B, the rule runs the
Softmax on one row [L].

Holds when the dimensions that the operator works along are known. The input is written out along these dimensions
first. Rounding: none, but for the order in which sums are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mari_onnx.analysis.context import INT64, Context, Derived, Op
from mari_onnx.analysis.cuts import rows_apart
from mari_onnx.analysis.not_a_number import may_be_nan
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.rules import blocks, moments, normalized, pairs
from mari_onnx.analysis.surplus_rows import never_empty
from mari_onnx.analysis.without_weight import rows_never_largest, rows_of_zeros
from mari_onnx.ir.arrays import fill, in_order, lay, natural, one_row, plain, stored_shape
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, Renaming, dim, extent_of, flat, renamed
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.forms import Array, Factors, Parts, Terms, Value
from mari_onnx.ir.operators import OPERATORS
from mari_onnx.ir.part_by_part import part_by_part
from mari_onnx.ir.parts import bounds, groups, merge
from mari_onnx.ir.sums import add_up


def run_along(
    op: Op,
    ctx: Context,
    along: Sequence[int],
    outputs: Sequence[tuple[Dims, int]],
    rest: Sequence[Value | None] = (),
    *,
    in_place: bool = False,
) -> Derived:
    """The original node on its first input. The node works along the positions `along`, which are written out first.

    `outputs` are the dims and the element type of each output. `rest` are the other inputs. Each of them must be a
    constant or have no axes: a scale that differs for each candidate would make the result differ as well. The other
    dimensions of the first input may change places; with `in_place` they keep their order.

    The result is also in parts if the input is in parts along a dimension that the node does not work along. Refused if
    an input in `rest` is computed by the model.
    """
    if not all(v is None or is_stored(v) or v.content is not None or v.dims == () for v in rest):
        return Refused(f"an input of {op.op_type} beside the first is computed by the model")
    x, since = op.data, ctx.b.count
    node = _Along(op, ctx, along, outputs, [None if v is None else plain(ctx.b, v) for v in rest], in_place)
    arrays = node.run(x.array, {})
    parts = None
    if x.parts is not None and len(outputs) == 1 and not any(x.parts.axis in x.known_dims[i] for i in along):
        arrays = [priced(ctx.cost, arrays[0], since, x.array.price)]
        parts = part_by_part(ctx.b, [x], outputs[0][0], lambda pieces, part: node.run(pieces[0], part)[0])
        parts = parts and priced(ctx.cost, parts, since, x.parts.price)
    return [
        ctx.result(op, dims, array, dtype=dtype, parts=parts, output=i)
        for i, (array, (dims, dtype)) in enumerate(zip(arrays, outputs, strict=True))
    ]


def is_stored(value: Value) -> bool:
    """Whether a value is a constant that has all of its elements, and no row for each candidate that repeats."""
    return value.constant and all(value.array.state(a) == "stored" for a in flat(value.dims or ()) if a.extent != 1)


@dataclass(frozen=True)
class _Along:
    """A node that works along the positions `along` of its first input; the other fields are as in `run_along`."""

    op: Op
    ctx: Context
    along: Sequence[int]
    outputs: Sequence[tuple[Dims, int]]
    rest: Sequence[Tensor | None]
    in_place: bool

    def run(self, array: Array, part: Renaming) -> list[Array]:
        """The outputs for the input, or for a part of the input; `part` renames the axes to those of the part."""
        x_dims = renamed(self.op.data.known_dims, part)
        array = fill(self.ctx.b, array, x_dims, [a for i in self.along for a in x_dims[i]])
        order = x_dims if self.in_place else in_order(array, x_dims, self.along)
        tensor = never_empty(self.op, self.ctx, array, natural(self.ctx.b, array, order)[0], order, self.along)
        missing = {a for d in x_dims for a in d if array.state(a) == "absent"}
        moved = dict(zip(x_dims, order, strict=True))
        layouts = [
            tuple(tuple(a for a in moved.get(d, d) if a not in missing) for d in renamed(dims, part))
            for dims, _ in self.outputs
        ]
        shapes = [stored_shape(layout, array.via) for layout in layouts]
        results = self.ctx.again(self.op, [tensor, *self.rest], shapes, [dtype for _, dtype in self.outputs])
        return [Array(t, layout, array.via) for t, layout in zip(results, layouts, strict=True)]


def softmax(op: Op, ctx: Context) -> Derived:
    """Softmax, LogSoftmax and Hardmax: along one axis; before opset 13 along this axis and all later ones."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    rank = len(op.data.dims)
    axis = op.axis % max(rank, 1)
    along = [axis] if op.opset >= OPERATORS[op.op_type].one_axis_from else range(axis, rank)
    since, outputs = ctx.b.count, [(op.data.dims, op.data.dtype)]
    derived = run_along(op, ctx, along, outputs)
    if op.op_type == "Hardmax" or isinstance(derived, Refused) or list(along) != [rank - 1]:
        return derived
    node = _Along(op, ctx, along, outputs, [], in_place=False)
    return [blocks.softmax(op, ctx, derived[0], lambda array, part: node.run(array, part)[0], since)]


def without_axes(op: Op) -> Refused:
    """The reason for an input of unknown rank, and for a scalar: onnxruntime loads a CumSum of one, and runs it not."""
    unknown = op.data.dims is None
    return Refused("the rank of the input is unknown" if unknown else "the input is a scalar, which has no axis")


def layer_normalization(op: Op, ctx: Context) -> Derived:
    """LayerNormalization and RMSNormalization: along the last dimensions, from `axis` on."""
    if not op.data.dims or len(op.proto.output) > 1:
        return Refused("the mean is used, a further output") if op.data.dims else without_axes(op)
    rank = len(op.data.dims)
    along = range(op.axis % rank, rank)
    derived = run_along(op, ctx, along, [(op.data.dims, op.data.dtype)], op.inputs[1:])
    if not isinstance(derived, Refused) and op.op_type == "LayerNormalization":
        normalized.remember(op, ctx, derived[0])
    return derived


def lp_normalization(op: Op, ctx: Context) -> Derived:
    """LpNormalization: along one axis."""
    if not op.data.dims:
        return without_axes(op)
    return run_along(op, ctx, [op.axis % len(op.data.dims)], [(op.data.dims, op.data.dtype)])


def arg_extreme(op: Op, ctx: Context) -> Derived:
    """ArgMax and ArgMin: the position of the largest or smallest element along one axis."""
    if not op.data.dims:
        return without_axes(op)
    axis = op.axis % len(op.data.dims)
    return run_along(op, ctx, [axis], [(_reduced(op.data.dims, [axis], bool(op.attribute("keepdims", 1))), INT64)])


def top_k(op: Op, ctx: Context) -> Derived:
    """TopK: the k largest elements along one axis, and their positions."""
    k = op.input(1)
    if not op.data.dims:
        return without_axes(op)
    count = op.attribute("k") if k is None else None if k.content is None else k.content.flat[0]
    if count is None:
        return Refused("the k of TopK is computed by the model")
    axis = op.axis % len(op.data.dims)
    whole = count == extent_of(op.data.dims[axis])
    dims = (*op.data.dims[:axis], op.data.dims[axis] if whole else dim(count), *op.data.dims[axis + 1 :])
    derived = run_along(op, ctx, [axis], [(dims, op.data.dtype), (dims, INT64)], op.inputs[1:])
    if whole and not isinstance(derived, Refused) and op.data.repeats(axis):
        derived[0] = op.data.named(op.proto.output[0])  # equal numbers are the same in any order
    return derived


def reduce(op: Op, ctx: Context) -> Derived:
    """Reductions such as ReduceSum and ReduceMax along some axes.

    The result is had in up to four ways: from the whole input, from the input's parts, as a product of the input's
    factors, and as entries of a product of rows with rows (see `pairs`). The axes are an attribute in older versions of
    the operators and an input in newer ones.
    """
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    axes = op.integers(1, "axes")
    if isinstance(axes, Refused):
        return axes
    rank = len(op.data.dims)
    if not axes:
        axes = [] if op.attribute("noop_with_empty_axes", 0) else list(range(rank))
    axes = list(dict.fromkeys(a % max(rank, 1) for a in axes))[:rank]  # one may be there twice; a scalar has none
    dims, since = _reduced(op.data.dims, axes, bool(op.attribute("keepdims", 1))), ctx.b.count
    derived = run_along(op, ctx, axes, [(dims, op.data.dtype)], op.inputs[1:])
    if isinstance(derived, Refused):
        return derived
    value = pairs.summed(op, ctx, derived[0], axes)
    value = _over_parts(op, ctx, value, axes, since)
    value = _over_factors(op, ctx, value, axes)
    value = _over_blocks(op, ctx, value, axes)
    if (found := moments.of_row(op, ctx)) is not None:
        moments.remember(found, ctx, value)
    return [value]


COMBINE = {"ReduceSum": "Add", "ReduceSumSquare": "Add", "ReduceL1": "Add", "ReduceMax": "Max", "ReduceMin": "Min"}
"""For each reduction, the operator that combines the results of the parts: Max of ReduceMax a and ReduceMax b."""


FLOATS, INTEGERS = (1, 10, 11), (6, 7)
"""Element types that Max and Min take in every opset, and the further ones from opset `INTEGER_MAX` on."""

INTEGER_MAX = 12
"""The opset from which Max and Min take integers. Runtimes have them for integers of 32 and 64 bits."""


def _over_parts(op: Op, ctx: Context, whole: Value, axes: Sequence[int], began: int) -> Value:
    """The result as terms, sum [a b] = sum a + sum b, each term on the axes of its part; or as the parts' maximum.

    `whole` is the result as it is known so far, made of nodes with a serial larger than `began`. It is returned as it
    is where the input has no parts along `axes`.
    """
    x, parts = op.data, op.data.parts
    combine = COMBINE.get(op.op_type)
    if parts is None or combine is None or not any(parts.axis in x.known_dims[i] for i in axes):
        return whole
    if op.opset < OPERATORS[combine].broadcasts_from:
        return whole
    if combine != "Add" and x.dtype not in (FLOATS + INTEGERS if op.opset >= INTEGER_MAX else FLOATS):
        return whole
    if bounds(parts) is None:
        return whole
    # Some places of a NaN make a maximum NaN, in others it is lost: onnxruntime's ReduceMax, unlike its Max, goes by
    # the place in the whole.
    if combine != "Add" and any(may_be_nan(ctx, array.tensor) for _, array in parts.pieces):
        return whole
    since = ctx.b.count
    reduced = _reduced_parts(op, ctx, parts, axes)
    if len(reduced) < 2:
        return whole
    dims, terms = whole.known_dims, None
    if combine == "Add":
        terms = priced(ctx.cost, Terms(tuple((1, array) for array in reduced), of_products=True), since, parts.price)
        total = add_up(ctx.b, terms, dims)
    else:
        ranks = [len(dims)] * len(reduced)
        total = pointwise(ctx.b, reduced, ranks, dims, lambda ts, shape: ctx.b.make(combine, ts, shape))
    total = priced(ctx.cost, total, since, parts.price)
    unsplit = priced(ctx.cost, whole.array, began, x.array.price)
    return replace(whole, array=total if total.price < unsplit.price else unsplit, terms=terms)


def _reduced_parts(op: Op, ctx: Context, parts: Parts, axes: Sequence[int]) -> list[Array]:
    """The original node on the parts of its input; parts that are stored along the same axes are merged first."""
    x, keep = op.data, bool(op.attribute("keepdims", 1))
    reduced: list[Array] = []
    for members in groups([array.names() - {(sub, "stored")} for sub, array in parts.pieces]).values():
        sub, array = merge(ctx.b, [parts.pieces[i] for i in members], parts.axis, x.known_dims)
        reduced.append(_reduced_part(op, ctx, array, renamed(x.known_dims, {parts.axis: (sub,)}), axes, keep=keep))
    return reduced


def _reduced_part(op: Op, ctx: Context, array: Array, dims: Dims, axes: Sequence[int], *, keep: bool) -> Array:
    """The original node on a part of its input, which has these dims."""
    array = fill(ctx.b, array, dims, [a for i in axes for a in dims[i]])
    tensor, layout = natural(ctx.b, array, dims)
    layout = _reduced(layout, axes, keep)
    inputs = [tensor, *(None if v is None else plain(ctx.b, v) for v in op.inputs[1:])]
    return Array(ctx.again(op, inputs, [stored_shape(layout, array.via)], [op.data.dtype])[0], layout, array.via)


def _over_blocks(op: Op, ctx: Context, whole: Value, axes: Sequence[int]) -> Value:
    """The sum over the columns of blocks, row by row, without the blocks that are 0; or the largest of them."""
    x, keep = op.data, bool(op.attribute("keepdims", 1))
    cut = blocks.blocks_of(ctx, x) if op.op_type in ("ReduceSum", "ReduceMax") else None
    if cut is None or cut.alone or cut.row is None or [x.known_dims[i] for i in axes] != [(cut.column,)]:
        return whole
    since, dims = ctx.b.count, whole.known_dims
    of = rows_apart(ctx, cut, rows_of_zeros if op.op_type == "ReduceSum" else rows_never_largest)

    def reduced(array: Array, of_array: Dims) -> Array:
        return _reduced_part(op, ctx, array, of_array, axes, keep=keep)

    def summand(r: int, c: int) -> Array:
        return reduced(of.grid[r][c], renamed(x.known_dims, of.around(r, c)))

    if op.op_type == "ReduceMax":
        found = blocks.largest(op, ctx, of, dims, reduced, since)
    else:
        found = blocks.summed(ctx, of, dims, summand, since, of.price)
    if found is None:
        return whole
    array, parts = found
    unsplit = priced(ctx.cost, whole.array, since, x.array.price)
    return whole.changed(array=array if array.price < unsplit.price else unsplit, parts=parts)


def _over_factors(op: Op, ctx: Context, whole: Value, axes: Sequence[int]) -> Value:
    """The result as a matrix product: the sum over L of weight (B L) * step (L k) is weight @ step."""
    x, factors = op.data, op.data.factors
    if factors is None or op.op_type != "ReduceSum" or not axes or whole.parts is not None or whole.terms is not None:
        return whole
    if ctx.cost.thrifty:  # a product has multiply-adds, where Mul and ReduceSum have none
        return whole
    since = ctx.b.count
    product = _summed_product(ctx, x, factors, [a for i in axes for a in x.known_dims[i]])
    if product is None:
        return whole
    price = priced(ctx.cost, product, since, factors.price).price
    price_before = x.array.price + ctx.cost.node_time(whole.array.tensor.node)
    return whole.changed(array=product) if price < price_before else whole


def _summed_product(ctx: Context, x: Value, factors: Factors, over: list[Axis]) -> Array | None:
    """One MatMul that multiplies the factors and sums over the axes `over`.

    None if a factor is stored through an index, or repeats along an axis in `over`.
    """
    kept = [a for a in flat(x.known_dims) if a not in over]
    left = one_row(ctx.b, factors.left, [a for a in kept if factors.right.state(a) == "stored"])
    right = one_row(ctx.b, factors.right, [a for a in kept if left.state(a) == "stored"])
    if left.via or right.via or any(a.extent != 1 and "absent" in (left.state(a), right.state(a)) for a in over):
        return None
    states = {a: (left.state(a), right.state(a)) for a in kept}
    both, rows, columns = (
        tuple(a for a in kept if states[a] == of_both)
        for of_both in (("stored", "stored"), ("stored", "absent"), ("absent", "stored"))
    )
    batch = tuple((a,) for a in both)
    of_left = lay(ctx.b, left, (*batch, rows, tuple(over)))
    of_right = lay(ctx.b, right, (*batch, tuple(over), columns))
    layout = (*batch, rows, columns)
    return Array(ctx.b.make("MatMul", [of_left, of_right], stored_shape(layout, ())), layout)


def _reduced(dims: Dims, axes: Sequence[int], keep: bool) -> Dims:
    """The dims of a reduction's result: the dims at `axes` are left out, or with `keep` replaced by extent 1."""
    out: list[Dim] = []
    for i, d in enumerate(dims):
        if i not in axes:
            out.append(d)
        elif keep:
            out.append(())
    return tuple(out)
