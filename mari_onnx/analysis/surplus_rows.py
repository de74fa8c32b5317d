"""Surplus rows: rows that are stored, and that the value does not have. The original never reads them.

    user_id[index]       stored as user_id (R)       a row that no candidate refers to is surplus
    Expand(hour, [B])    stored as hour ()           in a call without candidates, the only row is surplus
    x[mask] / y[mask]    stored as x (B) and y (B)   the rows that the mask leaves out are surplus

A few operators fail on some elements (see `Traits.checked`): Gather on an index out of its table, Div on an integer 0.
A caller may have such an element in a surplus row. Example: a batch of requests is padded with the id -1000. The
original gathers the ids of the candidates before it looks them up, and runs. So `harmless` replaces the elements of
surplus rows before the operator reads them:

    Gather(table, user_id)    becomes Gather(table, user_id * referred), in which referred (R) is 1 or 0
    Div(100, visits)          becomes Div(100, Where(referred, visits, 1))

The first row of a tiled input is never surplus, as there is one only if there is a candidate; nor is the row of a
distinct request key. The user model of a split computes all rows that it is sent, since it does not see the candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from mari_onnx.analysis.context import BOOL, INT64, Context, Op
from mari_onnx.analysis.equal_extents import single
from mari_onnx.ir.arrays import fill
from mari_onnx.ir.axes import Axis, Dims, extent_of, flat
from mari_onnx.ir.broadcasting import pointwise
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, positive, product, symbol
from mari_onnx.ir.forms import Array, IndexMap, State
from mari_onnx.ir.operators import traits_of

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})

INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64})

CHOSEN: Mapping[int, npt.NDArray[np.generic]] = {
    TensorProto.INT32: np.array(1, np.int32),
    TensorProto.INT64: np.array(1, np.int64),
    TensorProto.FLOAT: np.array(1, np.float32),
    TensorProto.DOUBLE: np.array(1, np.float64),
    TensorProto.STRING: np.array("1", np.object_),
}
"""The element types of which onnxruntime has a Where, each with an element on which no operator fails."""

LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND", "ScatterElements"})
"""Operators whose integers are numbers of rows along axes of the first input."""

SIGN_AND_WHERE = 9
"""The opset from which there are these operators, and Scatter."""


def harmless(op: Op, ctx: Context, i: int, array: Array, dims: Dims, beside: Sequence[Array] = ()) -> Array:
    """An array of input i in which no element of a surplus row makes the operator fail; elsewhere it is the same.

    `dims` are the dims of the input, or of the result if the operator is elementwise. `beside` are the arrays of its
    other operands: an integer 0 as divisor is met in each row that another operand has.
    """
    if array.tensor.constant or not _may_fail(op, i):
        return array
    surplus = list(_surplus(ctx, [array, *beside], dims))
    if not surplus:
        return array
    if array.tensor.dtype not in CHOSEN or ctx.opset < SIGN_AND_WHERE or _looks_up_candidates(op, ctx):
        return fill(ctx.b, array, dims, [axis for axis, _ in surplus])
    source, dtype = array.tensor, array.tensor.dtype
    of_zero = dtype in INTEGERS and op.op_type not in ("Div", "Mod")
    for there in _there(ctx, surplus, dtype if of_zero else INT64):
        array = _or_zero(ctx, array, there, dims) if of_zero else _or_one(ctx, array, there, dims)
    array.tensor.name_after(source, "referred")
    return array


def _looks_up_candidates(op: Op, ctx: Context) -> bool:
    """Whether the table of a lookup has a row for each candidate. Without candidates it has none, not even row 0."""
    if op.op_type not in LOOKUPS or op.data.dims is None:
        return False
    return any(ctx.is_candidate(a) for a in flat(_looked_up(op, op.data.dims)))


def _looked_up(op: Op, table: Dims) -> Dims:
    """The dimensions of a table along which a lookup has numbers of rows."""
    if op.op_type != "GatherND":
        return (table[op.axis],)
    first, indices = op.attribute("batch_dims", 0), op.inputs[1]
    width = None if indices is None or not indices.dims else extent_of(indices.dims[-1])
    return table[first : first + width] if isinstance(width, int) else table[first:]


def _or_zero(ctx: Context, array: Array, there: Array, dims: Dims) -> Array:
    """The integers of the array, and 0 in surplus rows: a table has a row 0, and a sequence may have a length of 0."""
    dtype = array.tensor.dtype
    return pointwise(
        ctx.b, [array, there], [len(dims)] * 2, dims, lambda ts, shape: ctx.b.make("Mul", ts, shape, dtype)
    )


def _or_one(ctx: Context, array: Array, there: Array, dims: Dims) -> Array:
    """The elements of the array, and 1 in surplus rows."""
    dtype = array.tensor.dtype
    one = Array(ctx.b.constant(CHOSEN[dtype]), ())
    where = replace(there, tensor=ctx.b.make("Cast", [there.tensor], there.tensor.known_shape, BOOL, to=BOOL))
    return pointwise(
        ctx.b, [where, array, one], [len(dims), len(dims), 0], dims,
        lambda ts, shape: ctx.b.make("Where", ts, shape, dtype),
    )  # fmt: skip


def harmless_operands(op: Op, ctx: Context, arrays: Sequence[Array], dims: Dims) -> list[Array]:
    """The arrays of an elementwise operator's operands, in which no element of a surplus row makes it fail.

    `dims` are those of the result.
    """
    changed = list(arrays)
    for i, array in enumerate(arrays):
        if _may_fail(op, i):
            changed[i] = harmless(op, ctx, i, array, dims, [*arrays[:i], *arrays[i + 1 :]])
    return changed


def never_empty(op: Op, ctx: Context, array: Array, tensor: Tensor, dims: Dims, along: Sequence[int]) -> Tensor:
    """The array's tensor, laid out as `dims`, in which a surplus row that has no element along some dimensions has one.

    In a call without candidates, onnxruntime runs the ArgMax of a history that is empty, and not that of the one row
    that is stored of it. The element is a 0. Rows that have elements get none.
    """
    traits = traits_of(op.op_type, op.proto.domain)
    if traits is None or not traits.nonempty or ctx.opset < SIGN_AND_WHERE or not list(_surplus(ctx, [array], dims)):
        return tensor
    for i in along:
        if not positive(tensor.known_shape[i]):
            tensor = _with_an_element(ctx, tensor, i)
    return tensor


def never_without_rows(ctx: Context, table: Tensor, ids: Array, dims: Dims, along: Sequence[int]) -> Tensor:
    """The table of a lookup, in which a dimension that may have no row has one if surplus rows are looked up in it.

    `dims` are the dims of the ids, and `along` are the dimensions of the table that they have numbers of rows of. In a
    call without candidates the original looks nothing up, and the table may be empty.
    """
    empty = [i for i in along if not positive(table.known_shape[i])]
    for i in empty if list(_surplus(ctx, [ids], dims)) else ():
        table = _with_an_element(ctx, table, i)
    return table


def _with_an_element(ctx: Context, tensor: Tensor, position: int) -> Tensor:
    """The tensor with a zero behind its last element along a dimension that has none, and as it is otherwise."""
    b, shape = ctx.b, tensor.known_shape
    length = b.extents(np.array([shape[position]], object), INT64)
    missing = b.make("Sub", [b.constant(np.array([1])), b.make("Sign", [length], (1,))], (1,))
    others = [b.extents(np.array(part, object), INT64) for part in (shape[:position], shape[position + 1 :]) if part]
    target = b.make("Concat", [*others[: bool(position)], missing, *others[bool(position) :]], (len(shape),), axis=0)
    name = symbol(f"missing:{shape[position]}")
    zeros = b.make(
        "ConstantOfShape", [target], (*shape[:position], name, *shape[position + 1 :]), tensor.dtype, number=0
    )
    whole = (*shape[:position], shape[position] + name, *shape[position + 1 :])
    return b.make("Concat", [tensor, zeros], whole, axis=position)


def _may_fail(op: Op, i: int) -> bool:
    """Whether the operator fails on some elements of input i, whose type matters for some of them."""
    traits, value = traits_of(op.op_type, op.proto.domain), op.inputs[i]
    if traits is None or i not in traits.checked or value is None:
        return False
    match op.op_type:
        case "Div" | "Mod":
            return value.dtype not in FLOATS
        case "Cast" | "CastLike":
            return value.dtype == TensorProto.STRING
        case "Binarizer":
            return value.dtype in FLOATS
        case _:
            return True


def _surplus(ctx: Context, arrays: Sequence[Array], dims: Dims) -> Iterator[tuple[Axis, State]]:
    """The axes along which the operator may read surplus rows, each with the state that the arrays have it in.

    An axis that the arrays have in several ways is written out before the operator runs.
    """
    if ctx.computes_all_rows:
        return
    for axis in flat(dims):
        states = {array.state(axis) for array in arrays} - {"absent"}
        state = states.pop() if states else "absent"
        if not states and state != "stored" and not _has_all_rows(ctx, axis, state):
            yield axis, state


def _has_all_rows(ctx: Context, axis: Axis, state: State) -> bool:
    """Whether an axis in this state has an index for each row that is stored."""
    if isinstance(state, IndexMap):
        return state.onto if state.index is not None else single(axis.extent) in ctx.repeated
    return positive(axis.extent) or (ctx.sent_once and single(axis.extent) in ctx.repeated)


def _there(ctx: Context, surplus: Sequence[tuple[Axis, State]], dtype: int) -> Iterator[Array]:
    """Arrays of integers: 1 for a row that the value has, 0 for a surplus one."""
    counts: list[Extent] = []
    for axis, state in surplus:
        if isinstance(state, IndexMap) and state.index is not None:
            yield Array(_referred(ctx, state.index, state.rows, dtype), ((axis,),), ((axis, state),))
        else:
            counts.append(axis.extent)
    if counts:
        count = ctx.b.extents(np.array([product(counts)], object), dtype)
        yield Array(ctx.b.make("Sign", [count], (1,), dtype), ((),))


def _referred(ctx: Context, index: Tensor, rows: Extent, dtype: int) -> Tensor:
    """1 where the index has the number of the row, else 0, as [rows]. An index -1 is that of the last row."""
    nowhere, everywhere = (_repeated(ctx, n, dtype, e) for n, e in ((0, rows), (1, index.known_shape[0])))
    referred = ctx.b.make("ScatterElements", [nowhere, index, everywhere], (rows,), dtype, axis=0)
    for tensor, form in ((nowhere, "zeros"), (everywhere, "ones"), (referred, "referred")):
        tensor.name_after(index, form)
    return referred


def _repeated(ctx: Context, number: int, dtype: int, times: Extent) -> Tensor:
    shape = ctx.b.extents(np.array([times], object), INT64)
    return ctx.b.make("ConstantOfShape", [shape], (times,), dtype, number=number)
