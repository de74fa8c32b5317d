"""Gather by what is computed or given: embeddings, rows of requests, the only row there is."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from mari_onnx.ir.extents import Extent
from tests.property.graphs import FLOAT, INT64, B, R, Writer
from tests.property.operators.columns import numbered
from tests.property.operators.ranges import span


def embedding(w: Writer) -> None:
    ids = w.pick(lambda m: m.dtype == INT64 and m.low >= -9 and m.high <= 40 and m.rank <= 3 and not m.is_index)
    rows = max(ids.high + 1, -ids.low)
    width = w.choice([1, 2, 4])
    if w.chance(15):
        w.write("Gather", [w.numbers([width, rows]), ids], [width, *ids.shape], (-2, 2), FLOAT, axis=1)
        return
    shape: list[Extent] = [rows, width]
    if w.chance(20):
        shape = [rows]
    w.write("Gather", [w.numbers([int(str(e)) for e in shape]), ids], [*ids.shape, *shape[1:]], (-2, 2), FLOAT)


def of_request(w: Writer) -> None:
    """Rows of requests, one for each candidate."""
    index = w.pick(lambda m: m.is_index)
    rows = w.pick(lambda m: m.rank > 0 and m.shape[0] == R, rough=True)
    shape = (B, *rows.shape[1:])
    if w.chance(30):
        axes, attributes = w.axes_form("Unsqueeze", [1])
        column = w.write("Unsqueeze", [index, *axes], [B, 1], (0, 0), **attributes)
        w.write("GatherND", [rows, column], shape, span(rows), rows.dtype)
    else:
        w.write("Gather", [rows, index], shape, span(rows), rows.dtype, axis=0)


def only_row(w: Writer) -> None:
    """The one row there is, for each candidate."""
    x = w.pick(lambda m: m.rank > 0 and m.shape[0] == 1, rough=True)
    like = w.pick(lambda m: m.shape == (B,) or m.shape[:1] == (B,))
    zeros = w.write(
        "ConstantOfShape",
        [w.shape_chain([like.shape[0]])],
        [B],
        (0, 0),
        INT64,
        value=numpy_helper.from_array(np.array([0], np.int64)),
    )
    w.write("Gather", [x, zeros], [B, *x.shape[1:]], span(x), x.dtype)


def gather_computed(w: Writer) -> None:
    """Elements of a computed tensor, by computed ids."""
    x, axis, extent = numbered(w, 2)
    ids = w.pick(lambda m: m.dtype == INT64 and m.low >= -extent and m.high < extent and m.rank <= 2 and not m.is_index)
    w.write("Gather", [x, ids], [*x.shape[:axis], *ids.shape, *x.shape[axis + 1 :]], span(x), x.dtype, axis=axis)


def one_hot(w: Writer) -> None:
    ids = w.pick(lambda m: m.dtype == INT64 and m.low >= 0 and m.high <= 6 and 1 <= m.rank <= 3 and not m.is_index)
    depth = w.between(1, 5)
    inputs = [ids, w.constant(np.array(depth, np.int64)), w.constant(np.array([0, 2], np.float32))]
    axis = w.between(0, ids.rank)
    shape = [*ids.shape[:axis], depth, *ids.shape[axis:]]
    w.write("OneHot", inputs, shape, (0, 2), FLOAT, axis=-1 if axis == ids.rank and w.chance(60) else axis)
