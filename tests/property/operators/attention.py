"""Attention with heads, a mask, a window, a cap, or causal."""

from __future__ import annotations

from typing import Any

import onnx

from tests.property.graphs import FLOAT, Made, UnfitError, Writer
from tests.property.operators.ranges import span

HAS_WINDOWS = "left_window_size" in onnx.defs.get_schema("Attention", 25).attributes
"""onnx knows windows from 1.23 on."""


def attention(w: Writer) -> None:
    if w.opset < 23:
        raise UnfitError

    def fits(m: Made) -> bool:
        return m.dtype == FLOAT and m.rank == 3 and m.size <= 16 and isinstance(m.shape[2], int)

    q = w.pick(fits)
    width = int(str(q.shape[2]))
    k = w.pick(lambda m: fits(m) and (m.shape[0], m.shape[2]) == (q.shape[0], width))
    v = w.pick(lambda m: fits(m) and m.shape == k.shape)
    inputs = [q, k, v]
    if isinstance(q.shape[1], int) and isinstance(k.shape[1], int) and w.chance(50):
        inputs.append(w.numbers([q.shape[1], k.shape[1]]))
    heads = 2 if width % 2 == 0 and w.chance(50) else 1
    attributes: dict[str, Any] = {"is_causal": 1} if w.chance(40) else {}
    if w.chance(20):
        attributes["softcap"] = 2.0
    if w.opset >= 25 and HAS_WINDOWS and w.chance(40):
        attributes |= {"left_window_size": w.between(-1, 2), "right_window_size": w.between(-1, 2)}
    w.write("Attention", inputs, q.shape, span(v), exact=False, q_num_heads=heads, kv_num_heads=heads, **attributes)
