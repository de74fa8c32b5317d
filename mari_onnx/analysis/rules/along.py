"""Operators that work along some dimensions and treat the others independently.

    Softmax, LayerNormalization, CumSum, ArgMax, TopK, Reduce*, ...

    f(x) lacks the axes that x lacks, in every dimension that f does not work along
    f([a; b])                        = [f(a); f(b)]      for parts along such a dimension
    sum of [a b]                     = sum a + sum b     and the maximum is that of the parts' maxima
    sum over L of w (B L) * k (L D)  = w @ k
    TopK of all of equal numbers     = the numbers

Example: Softmax along L of scores [B L] that are the same for all candidates B is the Softmax of one row [L].

Holds when the dimensions that it works along are known. Those are written out first. Rounding: none, but for the order
in which sums are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mari_onnx.analysis.context import INT64, Context, Derived, Op
from mari_onnx.analysis.pricing import priced
from mari_onnx.analysis.rules import moments, normalized, pairs
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
    own: Sequence[int],
    outputs: Sequence[tuple[Dims, int]],
    rest: Sequence[Value | None] = (),
    *,
    in_place: bool = False,
) -> Derived:
    """The original node on its first input with dimensions `own`, which it works along, written out.

    `outputs` are the dims and the element type of each output. `rest` are the other inputs: they must be constants or
    have no axes, as a scale that differs along an axis that the input lacks would bring the axis back. The other
    dimensions may change places, unless each is to stay `in_place`.

    The result is part by part where the parts' axis is not one of those that the node works along.
    """
    if not all(v is None or v.constant or v.content is not None or v.dims == () for v in rest):
        return Refused(f"an input of {op.op_type} beside the first is computed by the model")
    x, since = op.data, ctx.b.count
    node = _Along(op, ctx, own, outputs, [None if v is None else plain(ctx.b, v) for v in rest], in_place)
    arrays = node.run(x.array, {})
    parts = None
    if x.parts is not None and len(outputs) == 1 and not any(x.parts.axis in x.known_dims[i] for i in own):
        arrays = [priced(ctx.cost, arrays[0], since, x.array.price)]
        parts = part_by_part(ctx.b, [x], outputs[0][0], lambda pieces, part: node.run(pieces[0], part)[0])
        parts = parts and priced(ctx.cost, parts, since, x.parts.price)
    return [
        ctx.result(op, dims, array, dtype=dtype, parts=parts, output=i)
        for i, (array, (dims, dtype)) in enumerate(zip(arrays, outputs, strict=True))
    ]


@dataclass(frozen=True)
class _Along:
    """A node that works along dimensions `own` of its first input; the others are as in `run_along`."""

    op: Op
    ctx: Context
    own: Sequence[int]
    outputs: Sequence[tuple[Dims, int]]
    rest: Sequence[Tensor | None]
    in_place: bool

    def run(self, array: Array, part: Renaming) -> list[Array]:
        """Its outputs for the input, or for a part of the input whose axes have other names."""
        x_dims = renamed(self.op.data.known_dims, part)
        array = fill(self.ctx.b, array, x_dims, [a for i in self.own for a in x_dims[i]])
        order = x_dims if self.in_place else in_order(array, x_dims, self.own)
        tensor, _ = natural(self.ctx.b, array, order)
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
    """Softmax, LogSoftmax and Hardmax: along one axis; before opset 13 along that one and all after it."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    rank = len(op.data.dims)
    axis = op.axis % max(rank, 1)
    own = [axis] if op.opset >= OPERATORS[op.op_type].one_axis_from else range(axis, rank)
    return run_along(op, ctx, own, [(op.data.dims, op.data.dtype)])


def cumsum(op: Op, ctx: Context) -> Derived:
    """Along one axis, which may be a tensor of rank 0."""
    axis = op.integers(1, "axis")
    if op.data.dims is None or not isinstance(axis, list):
        return axis if isinstance(axis, Refused) else Refused("the rank of the input is unknown")
    return run_along(op, ctx, [axis[0] % len(op.data.dims)], [(op.data.dims, op.data.dtype)], op.inputs[1:])


def layer_normalization(op: Op, ctx: Context) -> Derived:
    """LayerNormalization and RMSNormalization: along the last dimensions, from `axis` on."""
    if op.data.dims is None or len(op.proto.output) > 1:
        return Refused("the rank of the input is unknown, or its mean is used")
    rank = len(op.data.dims)
    own = range(op.axis % rank, rank)
    derived = run_along(op, ctx, own, [(op.data.dims, op.data.dtype)], op.inputs[1:])
    if not isinstance(derived, Refused) and op.op_type == "LayerNormalization":
        normalized.remember(op, ctx, derived[0])
    return derived


def lp_normalization(op: Op, ctx: Context) -> Derived:
    """LpNormalization: along one axis."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    return run_along(op, ctx, [op.axis % len(op.data.dims)], [(op.data.dims, op.data.dtype)])


def arg_extreme(op: Op, ctx: Context) -> Derived:
    """The position of the largest or smallest along one axis."""
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    axis = op.axis % len(op.data.dims)
    return run_along(op, ctx, [axis], [(_reduced(op.data.dims, [axis], bool(op.attribute("keepdims", 1))), INT64)])


def top_k(op: Op, ctx: Context) -> Derived:
    """The k largest along one axis, and where they are."""
    k = op.input(1)
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    count = op.attribute("k") if k is None else None if k.content is None else k.content.flat[0]
    if count is None:
        return Refused("the k of TopK is computed by the model")
    axis = op.axis % len(op.data.dims)
    whole = count == extent_of(op.data.dims[axis])
    dims = (*op.data.dims[:axis], op.data.dims[axis] if whole else dim(count), *op.data.dims[axis + 1 :])
    derived = run_along(op, ctx, [axis], [(dims, op.data.dtype), (dims, INT64)], op.inputs[1:])
    if whole and not isinstance(derived, Refused) and op.data.repeats(axis):
        derived[0] = op.data.named(op.proto.output[0])  # equal values, in whatever order
    return derived


def reduce(op: Op, ctx: Context) -> Derived:
    """Sums, means, maxima and the like along some axes: whole, by parts, as a product, or as entries of one.

    The axes are an attribute in older operator versions and an input in newer ones.
    """
    if op.data.dims is None:
        return Refused("the rank of the input is unknown")
    axes = op.integers(1, "axes")
    if isinstance(axes, Refused):
        return axes
    rank = len(op.data.dims)
    if not axes:
        axes = [] if op.attribute("noop_with_empty_axes", 0) else list(range(rank))
    axes = [a % rank for a in axes]
    dims = _reduced(op.data.dims, axes, bool(op.attribute("keepdims", 1)))
    derived = run_along(op, ctx, axes, [(dims, op.data.dtype)], op.inputs[1:])
    if isinstance(derived, Refused):
        return derived
    value = pairs.summed(op, ctx, derived[0], axes)
    value = _over_parts(op, ctx, value, axes)
    value = _over_factors(op, ctx, value, axes)
    if (found := moments.of_row(op, ctx)) is not None:
        moments.remember(found, ctx, value)
    return [value]


COMBINE = {"ReduceSum": "Add", "ReduceSumSquare": "Add", "ReduceL1": "Add", "ReduceMax": "Max", "ReduceMin": "Min"}
"""What puts the results of a reduction over parts together."""


FLOATS, INTEGERS = (1, 10, 11), (6, 7)
"""Element types that Max and Min take in every opset, and those that they take from `INTEGER_MAX` on."""

INTEGER_MAX = 12
"""The opset from which Max and Min take integers, and runtimes those of 32 and 64 bits."""


def _over_parts(op: Op, ctx: Context, whole: Value, axes: Sequence[int]) -> Value:
    """Sum [a b] = sum a + sum b, each on its own axes; the maximum of the parts' maxima.

    `whole` is the result as it is known already.
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
    since = ctx.b.count
    reduced = _reduced_parts(op, ctx, parts, axes)
    if len(reduced) < 2:
        return whole
    dims, terms = whole.known_dims, None
    if combine == "Add":
        terms = priced(ctx.cost, Terms(tuple((1, array) for array in reduced)), since, parts.price)
        total = add_up(ctx.b, terms, dims)
    else:
        ranks = [len(dims)] * len(reduced)
        total = pointwise(ctx.b, reduced, ranks, dims, lambda ts, shape: ctx.b.make(combine, ts, shape))
    total = priced(ctx.cost, total, since, parts.price)
    own = priced(ctx.cost, whole.array, since, x.array.price)
    return replace(whole, array=total if total.price < own.price else own, terms=terms)


def _reduced_parts(op: Op, ctx: Context, parts: Parts, axes: Sequence[int]) -> list[Array]:
    """The original node on the parts of its input, those that are stored along the same axes as one."""
    x, keep = op.data, bool(op.attribute("keepdims", 1))
    reduced: list[Array] = []
    for members in groups([array.names() - {(sub, "stored")} for sub, array in parts.pieces]).values():
        sub, array = merge(ctx.b, [parts.pieces[i] for i in members], parts.axis, x.known_dims)
        dims = renamed(x.known_dims, {parts.axis: (sub,)})
        array = fill(ctx.b, array, dims, [a for i in axes for a in dims[i]])
        tensor, layout = natural(ctx.b, array, dims)
        layout = _reduced(layout, axes, keep)
        inputs = [tensor, *(None if v is None else plain(ctx.b, v) for v in op.inputs[1:])]
        shape = stored_shape(layout, array.via)
        reduced.append(Array(ctx.again(op, inputs, [shape], [x.dtype])[0], layout, array.via))
    return reduced


def _over_factors(op: Op, ctx: Context, whole: Value, axes: Sequence[int]) -> Value:
    """Sum of weight (B L) * step (L k) over L: a product (B L) @ (L k) of matrices."""
    x, factors = op.data, op.data.factors
    if factors is None or op.op_type != "ReduceSum" or not axes or whole.parts is not None or whole.terms is not None:
        return whole
    since = ctx.b.count
    product = _summed_product(ctx, x, factors, [a for i in axes for a in x.known_dims[i]])
    if product is None:
        return whole
    price = priced(ctx.cost, product, since, factors.price).price
    own = x.array.price + ctx.cost.node_time(whole.array.tensor.node)
    return whole.changed(array=product) if price < own else whole


def _summed_product(ctx: Context, x: Value, factors: Factors, over: list[Axis]) -> Array | None:
    """One MatMul that multiplies the factors and sums over the axes `over`.

    None where a factor is stored through an index, or repeats along an axis that is summed over.
    """
    kept = [a for a in flat(x.known_dims) if a not in over]
    left = one_row(ctx.b, factors.left, [a for a in kept if factors.right.state(a) == "stored"])
    right = one_row(ctx.b, factors.right, [a for a in kept if left.state(a) == "stored"])
    if left.via or right.via or any(a.extent != 1 and "absent" in (left.state(a), right.state(a)) for a in over):
        return None
    states = {a: (left.state(a), right.state(a)) for a in kept}
    both, rows, columns = (
        tuple(a for a in kept if states[a] == wanted)
        for wanted in (("stored", "stored"), ("stored", "absent"), ("absent", "stored"))
    )
    batch = tuple((a,) for a in both)
    of_left = lay(ctx.b, left, (*batch, rows, tuple(over)))
    of_right = lay(ctx.b, right, (*batch, tuple(over), columns))
    layout = (*batch, rows, columns)
    return Array(ctx.b.make("MatMul", [of_left, of_right], stored_shape(layout, ())), layout)


def _reduced(dims: Dims, axes: Sequence[int], keep: bool) -> Dims:
    """The dims of a reduction's result: those at `axes` are left out, or stay with extent 1 to `keep` the rank."""
    out: list[Dim] = []
    for i, d in enumerate(dims):
        if i not in axes:
            out.append(d)
        elif keep:
            out.append(())
    return tuple(out)
