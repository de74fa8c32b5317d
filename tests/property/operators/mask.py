"""Rows that a mask selects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mari_onnx.ir.extents import Poly
from tests.property.graphs import BOOL, FLOAT, INT64, Writer
from tests.property.operators.ranges import span


def masked(w: Writer) -> None:
    """y = data, y[mask] = f(x[mask]): rows that a mask selects, and back where they came from."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank > 0 and isinstance(m.shape[0], Poly))
    data = w.pick(lambda m: m.dtype == FLOAT and m.shape == x.shape)
    gate = w.pick(lambda m: m.dtype == FLOAT and m.rank > 0 and m.shape[0] == x.shape[0])
    if gate.rank > 1:
        axes = list(range(1, gate.rank))
        inputs, attributes = w.axes_form("ReduceMax", axes)
        gate = w.write("ReduceMax", [gate, *inputs], gate.shape[:1], span(gate), keepdims=0, **attributes)
    threshold = w.constant(np.array(w.between(-2, 2), np.float32))
    mask = w.write("Greater", [gate, threshold], gate.shape, (0, 1), BOOL)
    every_place = x.rank > 1 and w.chance(40)
    if every_place:
        inputs, attributes = w.axes_form("Unsqueeze", list(range(1, x.rank)))
        column = w.write("Unsqueeze", [mask, *inputs], [x.shape[0], *[1] * (x.rank - 1)], (0, 1), **attributes)
        mask = w.write("Expand", [column, w.shape_chain(x.shape)], x.shape, (0, 1))
    # The number of rows has no symbol that a run could be sized by: these tensors are for this chain alone.
    found = w.hidden("NonZero", [mask.name])
    places = w.hidden("Transpose", [found], perm=[1, 0])
    rows = w.hidden("GatherND", [x.name, places])
    low, high = span(x)
    for _ in range(w.between(0, 2)):
        if w.chance(50):
            rows, (low, high) = w.hidden("Neg", [rows]), (-high, -low)
        elif every_place or w.chance(50):
            rows, (low, high) = w.hidden("Relu", [rows]), (max(low, 0), max(high, 0))
        else:
            other = w.pick(lambda m: m.dtype == FLOAT and m.shape == x.shape)
            others = w.hidden("GatherND", [other.name, places])
            rows = w.hidden("Add", [rows, others])
            low, high = low + other.low, high + other.high
    bounds = min(low, data.low), max(high, data.high)
    placed = replace(x, name=places, dtype=INT64)
    w.write("ScatterND", [data, placed, replace(x, name=rows)], data.shape, bounds)
