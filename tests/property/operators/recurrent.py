"""Recurrent layers and convolutions."""

from __future__ import annotations

import numpy as np

from tests.property.graphs import FLOAT, Made, UnfitError, Writer
from tests.property.operators.ranges import span


def recurrent(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 3 and isinstance(m.shape[2], int) and m.size < 30, rough=True)
    if w.chance(60):
        x = w.write("Transpose", [x], [x.shape[1], x.shape[0], x.shape[2]], span(x), perm=[1, 0, 2])
    length, batch, width = x.shape
    op, gates = w.choice([("GRU", 3), ("LSTM", 4), ("RNN", 1)])
    hidden, bidirectional = 2, w.chance(30)
    d = 2 if bidirectional else 1
    assert isinstance(width, int)
    inputs: list[Made | None] = [x, w.numbers([d, gates * hidden, width]), w.numbers([d, gates * hidden, hidden])]
    start = [m for m in w.made if m.dtype == FLOAT and m.shape == (d, batch, hidden) and m.size < 30]
    if start and w.chance(60):
        inputs += [None, None, w.choice(start)]
    outputs = [([length, d, batch, hidden], (-1, 1), FLOAT), ([d, batch, hidden], (-1, 1), FLOAT)]
    attributes = {"direction": "bidirectional"} if bidirectional else {}
    w.write_all(op, inputs, outputs[: w.between(1, 2)], exact=False, hidden_size=hidden, **attributes)


def conv(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank in (3, 4) and isinstance(m.shape[1], int), rough=True)
    channels, spatial = x.shape[1], x.shape[2:]
    if not all(isinstance(e, int) for e in spatial):
        raise UnfitError
    assert isinstance(channels, int)
    kernel = [w.between(1, min(int(str(e)), 2)) for e in spatial]
    weight = w.numbers([w.between(1, 2), channels, *kernel])
    bound = x.size * 2 * channels * int(np.prod(kernel))
    if w.chance(30):
        strides = [w.between(1, 2) for _ in spatial]
        out = [-(-int(str(e)) // stride) for e, stride in zip(spatial, strides, strict=True)]
        attributes = {"auto_pad": w.choice(["SAME_UPPER", "SAME_LOWER"]), "strides": strides}
    else:
        pads = [w.between(0, 1) for _ in spatial]
        out = [int(str(e)) + 2 * p - k + 1 for e, p, k in zip(spatial, pads, kernel, strict=True)]
        attributes = {"pads": [*pads, *pads]}
    w.write("Conv", [x, weight], [x.shape[0], weight.shape[0], *out], (-bound, bound), **attributes)
