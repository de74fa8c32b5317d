"""Where blocks are cut further, so that what lacks the candidates is told apart from what does not.

rows (15 1) and rows (14 2)      are rows (14 1 1): a bias by the time of the next token
rows (16 1), of which the last   are rows (15 1 1): a token behind the history that sums it up, and that sees the
of the 16 sees the candidates    candidate as well
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.intervals import Intervals
from mari_onnx.analysis.reasons import side
from mari_onnx.analysis.without_weight import Rows
from mari_onnx.ir.blocks import cut_at, edges_of
from mari_onnx.ir.extents import Extent, sorted_extents
from mari_onnx.ir.forms import Blocks, Value
from mari_onnx.ir.parts import edges

Hidden: TypeAlias = Callable[[Intervals, Blocks, int, int], Rows]
"""For each row of a block, given as its place, or for all of them together, whether nothing of it matters."""

MOST_CUTS = 8
"""How many more cuts of rows there may be: a mask of a row each would make a node for each row."""


def cut_as_all(ctx: Context, operands: Sequence[Value]) -> Blocks | None:
    """The blocks of the first operand that has some; None where none has.

    They are cut where the blocks of other operands are, and where the user's parts end in those.
    """
    like = next((v.blocks for v in operands if v.blocks is not None), None)
    if like is None:
        return None
    rows, columns = edges_of(like.rows), edges_of(like.columns)
    for value in operands:
        cut, parts = value.blocks, value.parts
        if cut is not None and cut is not like and (cut.row, cut.column) == (like.row, like.column):
            rows, columns = rows + edges_of(cut.rows), columns + edges_of(cut.columns)
        elif parts is not None and cut is None and parts.axis in (like.row, like.column):
            sides = [side(ctx, array) for _, array in parts.pieces]
            own = [at for at, one, other in zip(edges(parts)[1:-1], sides, sides[1:], strict=False) if one != other]
            rows, columns = (rows + own, columns) if parts.axis is like.row else (rows, columns + own)
    return _cut(ctx, like, rows, columns) or like


def rows_apart(ctx: Context, blocks: Blocks, hidden: Hidden, *, assumed: bool = False) -> Blocks:
    """The blocks, cut between rows of which the candidates' columns are `hidden`, and others.

    With `assumed` the scores are as small as the caller vouches for. Rows whose number is a symbol stay together.
    """
    known = ctx.assumed_intervals if assumed else ctx.intervals
    at = edges_of(blocks.rows)
    more: set[int] = set()
    for r, (line, row) in enumerate(zip(blocks.grid, blocks.rows, strict=True)):
        sides = [side(ctx, array) for array in line]
        start = at[r]
        if row is None or "user" not in sides or not isinstance(row.extent, int) or not isinstance(start, int):
            continue
        for c in [c for c, of in enumerate(sides) if of == "item" and (r, c) not in blocks.alone]:
            found = np.broadcast_to(hidden(known, blocks, r, c), row.extent)
            more.update(start + int(i) for i in np.flatnonzero(found[1:] != found[:-1]) + 1)
    if not more or len(more) > MOST_CUTS:
        return blocks
    return _cut(ctx, blocks, [*at, *more], edges_of(blocks.columns)) or blocks


def _cut(ctx: Context, blocks: Blocks, rows: Sequence[Extent], columns: Sequence[Extent]) -> Blocks | None:
    """The blocks, cut at all of these places; None where their order depends on symbols."""
    in_order = [sorted_extents(places) for places in (rows, columns)]
    found = [places for places in in_order if places is not None]
    if len(found) < 2 or not ctx.b.cuts_at(*found[0], *found[1]):
        return None
    return cut_at(ctx.b, blocks, found[0], found[1])
