"""Single elements, by positions of the value's own rank."""

from __future__ import annotations

import numpy as np

from tests.property.graphs import FLOAT, INT64, Made, UnfitError, Writer
from tests.property.operators.columns import numbered
from tests.property.operators.ranges import span


def gather_elements(w: Writer) -> None:
    """Along one axis, by positions of the value's rank: those of a TopK, or some of a table for everybody."""
    x, axis, extent = numbered(w, 1)

    def fits(m: Made) -> bool:
        if m.dtype != INT64 or m.is_index or m.rank != x.rank or m.low < -extent or m.high >= extent:
            return False
        return all(i == axis or a == b for i, (a, b) in enumerate(zip(m.shape, x.shape, strict=True)))

    ids = w.pick(fits)
    w.write("GatherElements", [x, ids], ids.shape, span(x), x.dtype, axis=axis - x.rank if w.chance(30) else axis)


def positions(w: Writer) -> None:
    """Small whole numbers of the shape of something: what GatherElements and lookups read."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1)
    small = w.write("Clip", [x, *(w.constant(np.array(n, np.float32)) for n in (0, 1))], x.shape, (0, 1))
    ids = w.write("Cast", [small], x.shape, (0, 1), INT64, to=INT64)
    like = [m for m in w.made if m.shape == x.shape and m.dtype == FLOAT and isinstance(m.shape[-1], int) and m.exact]
    if like and x.shape[-1] != 1:
        source = w.choice(like)
        w.write("GatherElements", [source, ids], ids.shape, span(source), FLOAT, axis=x.rank - 1)


def scatter_elements(w: Writer) -> None:
    """The largest of each row, negated where they are."""
    x, axis, extent = numbered(w, 1)
    if x.dtype != FLOAT or not x.exact:
        raise UnfitError
    k = w.between(1, extent)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    outputs = [(shape, span(x), FLOAT), (shape, (0, extent - 1), INT64)]
    top, places = w.write_all("TopK", [x, w.ints([k])], outputs, axis=axis)
    updates = w.write("Neg", [top], shape, (-x.high, -x.low))
    bounds = (min(x.low, -x.high), max(x.high, -x.low))
    w.write("ScatterElements", [x, places, updates], x.shape, bounds, FLOAT, axis=axis)


def by_member(w: Writer) -> None:
    """An entry of each member of the batch, or its first ones the other way round."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[1], int))
    extent = int(str(x.shape[1]))
    ids = w.pick(lambda m: m.dtype == INT64 and m.shape == x.shape[:1] and m.low >= 0 and m.high <= extent)
    if w.chance(50):
        w.write("ReverseSequence", [x, ids], x.shape, span(x), FLOAT, batch_axis=0, time_axis=1)
        return
    if ids.high == extent or w.opset < 12:
        raise UnfitError
    axes, attributes = w.axes_form("Unsqueeze", [1])
    column = w.write("Unsqueeze", [ids, *axes], [*ids.shape, 1], span(ids), **attributes)
    w.write("GatherND", [x, column], [x.shape[0], *x.shape[2:]], span(x), FLOAT, batch_dims=1)
