"""Attention over one sequence of the user's tokens and the candidates': matrices cut along rows and columns.

    [q_u; q_i] @ [k_u; k_i]'             = [q_u k_u'  q_u k_i'; q_i k_u'  q_i k_i']
    f(blocks, mask)                      = f(block, mask of the block), block by block
    Softmax([s_uu s_ui])                 = [Softmax(s_uu) 0], if the mask makes every weight of s_ui exactly 0
    ReduceMax([s_uu s_ui])               = ReduceMax(s_uu), if every element of s_ui is less than one of its row
    [p_uu 0; p_iu p_ii] @ [v_u; v_i]     = [p_uu v_u; p_iu v_u + p_ii v_i]
    diag(p) @ v                          = p * v, for candidates side by side that do not see each other

Under a causal mask no row of the user's history sees the candidate. The rows of the history are the user's then, in
every layer, and the keys and values of the history are shared by all candidates. Serving systems for language models
keep them in a cache of keys and values; here they are found in the graph.

A block of the Softmax is left out if each of its logits is -inf, or if, in each row, its largest possible logit lies so
far below a logit of another block that exp of the difference is 0 (see `without_weight`). The second case needs bounds
of the logits and, in each row, a column that is not masked (see `intervals`). Where the graph gives no bounds, the
caller may vouch for them: `--assume-masked` says that scores are smaller than `LARGEST_SCORE`. A block of a product is
left out if it is 0. Rows of the user's that see the candidates are told apart from those that do not (see `cuts`). The
history may be of any length, and what is said of a block holds for each.

A sink is one more column, which has a weight and no value: columns beside blocks are blocks (see `concat`), and so are
those that are left without it (see `columns`). Heads that a weight mixes are mixed block by block (see `linear`).

Candidates may stand side by side in one sequence, behind the history, under a mask that keeps them apart. The block of
candidates with candidates has a weight on its diagonal alone then: each has one logit, and not one for each other.

Holds for any numbers that are finite. A NaN or an infinity in a candidate's token makes the original's rows of the
user NaN as well, as 0 times NaN is NaN, and these rows alone differ. Rounding: sums are added block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from onnx import helper

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.cuts import cut_as_all, rows_apart
from mari_onnx.analysis.facts import CutProduct
from mari_onnx.analysis.positions import whole
from mari_onnx.analysis.pricing import price_in_blocks, priced
from mari_onnx.analysis.reasons import side
from mari_onnx.analysis.remarks import explain_seen
from mari_onnx.analysis.without_weight import (
    is_diagonal,
    masked_blocks,
    never_largest,
    own_alone,
    row_has,
    rows_of_zeros,
    rows_without_weight,
)
from mari_onnx.ir.arrays import cut, sub_array
from mari_onnx.ir.axes import Axis, Dims, Renaming, flat, renamed
from mari_onnx.ir.blocks import grid_of, of_rows
from mari_onnx.ir.extents import Extent, total
from mari_onnx.ir.forms import Array, Blocks, Parts, Place, Terms, Value
from mari_onnx.ir.part_by_part import Run
from mari_onnx.ir.parts import edges, join
from mari_onnx.ir.sums import add_up
from mari_onnx.report.model import LARGEST_SCORE


def remember(ctx: Context, value: Value, product: CutProduct) -> None:
    """Note that a product may be cut into blocks, if its right side is in parts along the columns.

    The blocks are made when a rule asks for them: most products in parts have readers that take the parts.
    """
    parts = product.w.parts
    if parts is not None and product.w.known_dims[-1] == (parts.axis,) and ctx.b.cuts_at(*edges(parts)):
        ctx.facts.cut_products[value.array.tensor] = product


def remember_outer(ctx: Context, value: Value, operands: Sequence[Value], dims: Dims, run: Run) -> None:
    """Note that an operation on rows and columns, such as x (L 1) - y (1 L), may be cut into blocks."""
    if len(operands) != 2 or value.blocks is not None or any(len(v.known_dims) != len(dims) for v in operands):
        return
    for (x, y), turned in ((operands, False), (operands[::-1], True)):
        if len(dims) > 1 and _is_cut(x, -2) and _is_cut(y, -1) and x.known_dims[-1] == y.known_dims[-2] == ():
            product = CutProduct(x, y, dims, partial(_turned, run) if turned else run, scores=False)
            remember(ctx, value, product)


def _is_cut(value: Value, position: int) -> bool:
    return value.parts is not None and value.known_dims[position] == (value.parts.axis,)


def _turned(run: Run, arrays: list[Array], part: Renaming) -> Array:
    return run(arrays[::-1], part)


def blocks_of(ctx: Context, value: Value) -> Blocks | None:
    """The blocks of a value: those that it has, or those of the product that it is."""
    product = ctx.facts.cut_products.get(value.array.tensor)
    if value.blocks is not None or product is None or set(flat(product.dims)) != set(flat(value.known_dims)):
        return value.blocks
    since, x, w = ctx.b.count, product.x, product.w
    assert w.parts is not None, "a cut product has columns in parts"
    columns = of_rows(w.parts)
    row: Axis | None = None
    lines: list[tuple[Axis | None, Array]] = [(None, x.array)]
    if x.parts is not None and x.known_dims[-2] == (x.parts.axis,) and ctx.b.cuts_at(*edges(x.parts)):
        row, lines = x.parts.axis, list(x.parts.pieces)
    made = Blocks(row, columns.column, tuple(sub for sub, _ in lines), columns.columns, columns.grid * len(lines))
    shapes = made
    made = made.each(lambda right, r, c: product.run([lines[r][1], right], shapes.around(r, c)))
    made = replace(made, diagonals=tuple(_products_of_own(ctx, product, shapes, [array for _, array in lines])))
    if product.scores:
        ctx.assumed_intervals.assumed.update({array.tensor: LARGEST_SCORE for line in made.grid for array in line})
    inherited = w.parts.price + (x.parts.price if row is not None and x.parts is not None else x.array.price)
    return priced(ctx.cost, made, since, inherited)


def in_blocks(ctx: Context, value: Value) -> Value:
    """The value with its blocks (see `blocks_of`)."""
    return value.changed(blocks=blocks_of(ctx, value)) if ctx.facts.cut_products else value


def _products_of_own(
    ctx: Context, product: CutProduct, blocks: Blocks, left: Sequence[Array]
) -> Iterator[tuple[Place, Array]]:
    """Of each square block of candidates the products of a row and the column of the same candidate."""
    for i, row in enumerate(blocks.rows):
        if row is None or i >= len(blocks.columns) or blocks.columns[i].extent != row.extent:
            continue
        if ctx.is_candidate(row) and product.own is not None:
            column = blocks.columns[i]
            yield (i, i), product.own(left[i], blocks.grid[i][i], row, column, blocks.column)


def block_by_block(op: Op, ctx: Context, operands: Sequence[Value], dims: Dims, run: Run, since: int) -> Blocks | None:
    """An elementwise operation on the operands' blocks. None where no operand has blocks, or they cannot be aligned."""
    like = cut_as_all(ctx, operands)
    if like is None or any(a is not None and (a,) not in dims for a in (like.row, like.column)):
        return None
    grids = [grid_of(ctx.b, v, like) for v in operands]
    found = [grid for grid in grids if grid is not None]
    if len(found) < len(grids):
        return None

    def block(_: Array, r: int, c: int) -> Array:
        arrays = [grid[r][c] for grid in found]
        return _as_it_is(op, ctx, arrays) or run(arrays, like.around(r, c))

    own: list[tuple[Place, Array]] = []
    for (r, c), _ in like.diagonals:
        on_diagonal = [_diagonal(ctx, v, grid[r][c], like, (r, c)) for v, grid in zip(operands, found, strict=True)]
        arrays = [array for array in on_diagonal if array is not None]
        if len(arrays) == len(operands):
            own.append(((r, c), _as_it_is(op, ctx, arrays) or run(arrays, like.on_diagonal(r))))
    made = replace(like.each(block), diagonals=tuple(own))
    return priced(ctx.cost, made, since, price_in_blocks(operands))


def _diagonal(ctx: Context, value: Value, block: Array, like: Blocks, place: Place) -> Array | None:
    """The diagonal of a square block, along its rows; None where it would have to be taken out of the block."""
    r, c = place
    row, column = like.rows[r], like.columns[c]
    assert row is not None, "a square block has rows"
    if value.blocks is not None:
        return dict(value.blocks.diagonals).get(place) if value.blocks.rows == like.rows else None
    if block.state(row) == "absent" or block.state(column) == "absent":
        return sub_array({column: row}, block)
    at = [i for i, d in enumerate(block.layout) if d in ((row,), (column,))]
    if len(at) != 2:
        return None
    window = list(whole(block.tensor.known_shape))
    window[at[1]] = window[at[0]]
    number = ctx.intervals.of(block.tensor, tuple(window))
    if not number.is_known or len(np.unique(number.low)) != 1:
        return None
    dtype = helper.tensor_dtype_to_np_dtype(block.tensor.dtype)
    return Array(ctx.b.constant(np.array(number.low.flat[0], dtype)), ())


def _as_it_is(op: Op, ctx: Context, arrays: Sequence[Array]) -> Array | None:
    """The operand that a block is equal to: x + 0, x * 1 and Where(true, x, y) are x. None where there is none."""
    if op.op_type in ("Add", "Mul"):
        neutral = 0 if op.op_type == "Add" else 1
        return next((b for a, b in (arrays, arrays[::-1]) if _is(ctx, a, neutral)), None)
    if op.op_type == "Where":
        return next((arrays[i] for i, truth in ((1, 1), (2, 0)) if _is(ctx, arrays[0], truth)), None)
    return None


def _is(ctx: Context, array: Array, number: float) -> bool:
    """Whether each element is known to be this number."""
    interval = ctx.intervals.of(array.tensor)
    return interval.is_known and bool(np.all(interval.low == number))


def softmax(op: Op, ctx: Context, whole: Value, run: Callable[[Array, Renaming], Array], since: int) -> Value:
    """The Softmax along the last dimension, in blocks; `whole` is its result as it is known so far.

    Blocks of one row are joined, so that one Softmax runs over all of them, and cut apart again. Blocks that have no
    weight are left out before. A remark names the node if no mask proves that of the candidates' columns. Likewise the
    LogSoftmax, in which blocks that are -inf stay so: one of -1e9 has a weight of 0, and a logarithm that is finite.
    """
    x, blocks, log = op.data, blocks_of(ctx, op.data), op.op_type == "LogSoftmax"
    if blocks is None or blocks.alone or not whole.known_dims or whole.known_dims[-1] != (blocks.column,):
        return whole
    blocks = rows_apart(ctx, blocks, rows_without_weight, assumed=ctx.assume_masked)
    lines, seen, alone = [], [], set[Place]()
    for r, line in enumerate(blocks.grid):
        gains = any(side(ctx, array) == "user" for array in line)  # else no block of the row lacks the candidates
        masked = masked_blocks(ctx.intervals, blocks, r) if gains else []
        if log:
            masked = [c for c in masked if _is(ctx, line[c], -np.inf)]
        elif gains and not masked and blocks.row is not None and any(_is_computed_once(ctx, a) for a in line):
            assumed = masked_blocks(ctx.assumed_intervals, blocks, r)
            if assumed and ctx.assume_masked:
                ctx.facts.assumed.setdefault(whole.name, []).extend(ctx.assumed_intervals.vouched(line))
                masked = assumed
            else:
                seen.append(bool(assumed))
        kept = [c for c in range(len(line)) if c not in masked]
        own = {c: a for c in kept if not log and (a := own_alone(ctx.intervals, blocks, r, c)) is not None}
        if not own and ctx.assume_masked and not log:
            own = {c: a for c in kept if (a := own_alone(ctx.assumed_intervals, blocks, r, c)) is not None}
            if own:
                ctx.facts.assumed.setdefault(whole.name, []).extend(ctx.assumed_intervals.vouched(line))
        alone |= {(r, c) for c in own}
        lines.append(_over(ctx, blocks, r, kept, own, -np.inf if log else 0, x.known_dims, run))
    if seen:
        explain_seen(op, ctx, assumed=all(seen))
    made = replace(blocks, grid=tuple(lines), diagonals=(), alone=frozenset(alone))
    made = priced(ctx.cost, made, since, blocks.price)
    array = priced(ctx.cost, whole.array, since, x.array.price)
    return whole.changed(array=array, blocks=made)


def _is_computed_once(ctx: Context, array: Array) -> bool:
    """Whether an array is the user's, and no constant, such as the logit of a sink."""
    return side(ctx, array) == "user" and not array.tensor.constant


def _over(
    ctx: Context,
    blocks: Blocks,
    r: int,
    kept: Sequence[int],
    own: Mapping[int, Array],
    other: float,
    dims: Dims,
    run: Callable[[Array, Renaming], Array],
) -> tuple[Array, ...]:
    """The Softmax over the blocks `kept` of a row, and `other` in place of the rest; `dims` are those of the matrix.

    Of a block in `own` nothing but the diagonal has a weight: each row has one column there, and not as many as rows.
    """
    dtype = helper.tensor_dtype_to_np_dtype(blocks.grid[r][0].tensor.dtype)
    left_out = Array(ctx.b.constant(np.array(other, dtype)), ())
    columns = {c: Axis(1) if c in own else blocks.columns[c] for c in kept}
    axis = Axis(total(column.extent for column in columns.values()), blocks.column.name)
    of_row = {**blocks.around(r, 0), blocks.column: (axis,)}
    pieces = [(columns[c], own[c] if c in own else blocks.grid[r][c]) for c in kept]
    weights = run(join(ctx.b, pieces, axis, renamed(dims, of_row)), of_row)
    start: Extent = 0
    line = []
    for c in range(len(blocks.columns)):
        if c not in columns:
            line.append(left_out)
            continue
        column, stop = columns[c], start + columns[c].extent
        part = cut(ctx.b, weights, axis, start, stop, column)
        line.append(replace(part, layout=renamed(part.layout, {column: ()})) if c in own else part)
        start = stop
    return tuple(line)


def summed(
    ctx: Context, cut: Blocks, dims: Dims, run: Callable[[int, int], Array], since: int, inherited: float
) -> tuple[Array, Parts | None] | None:
    """A sum over the columns of each row, without the blocks that are 0: an array, and the rows as parts.

    `run` makes the summand of the block at a place, and `dims` are those of the sum. None where no block is 0 in any of
    several rows, as every row has seen the candidates then.
    """
    empty = [[c for c, array in enumerate(line) if _is(ctx, array, 0)] for line in cut.grid]

    def of_row(r: int, kept: Sequence[int]) -> Array:
        return add_up(ctx.b, Terms(tuple((1, run(r, c)) for c in kept), of_products=True), _in_row(cut, dims, r))

    return _row_by_row(ctx, cut, dims, (empty, of_row), since, inherited)


def largest(
    op: Op, ctx: Context, cut: Blocks, dims: Dims, run: Callable[[Array, Dims], Array], since: int
) -> tuple[Array, Parts | None] | None:
    """The largest element of each row, as in `summed`: without the blocks of which no element is the largest.

    `run` takes it of columns, given as an array and its dims. A row has at least what one of its elements is: a filler
    lies as far below the largest logit then as below that one.
    """
    hidden = [never_largest(ctx.intervals, cut, r) for r in range(len(cut.grid))]
    if cut.row is not None and not any(hidden) and ctx.assume_masked:
        hidden = [never_largest(ctx.assumed_intervals, cut, r) for r in range(len(cut.grid))]
        scores = [t for line, c in zip(cut.grid, hidden, strict=True) if c for t in ctx.assumed_intervals.vouched(line)]
        if scores:
            ctx.facts.assumed.setdefault(op.name, []).extend(scores)

    def of_row(r: int, kept: Sequence[int]) -> Array:
        axis = Axis(total(cut.columns[c].extent for c in kept), cut.column.name)
        in_row = renamed(_in_row(cut, op.data.known_dims, r), {cut.column: (axis,)})
        array = run(join(ctx.b, [(cut.columns[c], cut.grid[r][c]) for c in kept], axis, in_row), in_row)
        for known in (ctx.intervals, ctx.assumed_intervals):
            known.at_least[array.tensor] = float(row_has(known, cut, r).min())
        return array

    return _row_by_row(ctx, cut, dims, (hidden, of_row), since, cut.price)


def _in_row(cut: Blocks, dims: Dims, r: int) -> Dims:
    return renamed(dims, {cut.row: (sub,)}) if cut.row and (sub := cut.rows[r]) else dims


def _row_by_row(
    ctx: Context,
    cut: Blocks,
    dims: Dims,
    reduction: tuple[Sequence[Sequence[int]], Callable[[int, Sequence[int]], Array]],
    since: int,
    inherited: float,
) -> tuple[Array, Parts | None] | None:
    """A reduction of each row to one element: the blocks of each that do not matter, and what reduces the others."""
    left_out, of_row = reduction
    if cut.row is not None and not any(left_out):
        return None
    kept = [[c for c in range(len(cut.columns)) if c not in without] for without in left_out]
    if not all(kept):
        return None
    rows = [of_row(r, columns) for r, columns in enumerate(kept)]
    if cut.row is None:
        return priced(ctx.cost, rows[0], since, inherited), None
    pieces = tuple((sub, array) for sub, array in zip(cut.rows, rows, strict=True) if sub is not None)
    parts = priced(ctx.cost, Parts(cut.row, pieces), since, inherited)
    return priced(ctx.cost, join(ctx.b, pieces, cut.row, dims), since, inherited), parts


def contracted(ctx: Context, product: CutProduct, since: int) -> tuple[Array, Parts | None] | None:
    """The product x @ w as a sum over the blocks of x, without those that are 0: an array, and the rows as parts.

    None where x has no blocks, is not cut along its columns, or has no block of zeros in any of several rows.
    """
    x, w, dims = product.x, product.w, product.dims
    blocks = blocks_of(ctx, x)
    if blocks is None or x.known_dims[-1] != (blocks.column,):
        return None
    blocks = rows_apart(ctx, blocks, rows_of_zeros)
    of_w = grid_of(ctx.b, w, Blocks(None, blocks.column, (None,), blocks.columns, ()))
    if of_w is None:
        return None
    inherited = blocks.price + (w.parts.price if w.parts is not None else w.array.price)
    grid, (right,) = blocks.grid, of_w
    own = {(r, c): grid[r][c] for r, c in blocks.alone}
    own |= {place: a for place, a in blocks.diagonals if is_diagonal(ctx.intervals, blocks, *place)}

    def summand(r: int, c: int) -> Array:
        row = blocks.rows[r]
        if (r, c) in own and row is not None and product.own is not None:
            return product.own(own[r, c], right[c], row, blocks.columns[c], blocks.column)
        return product.run([grid[r][c], right[c]], blocks.around(r, c))

    return summed(ctx, blocks, dims, summand, since, inherited)
