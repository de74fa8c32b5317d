"""What libraries do to images, and to edges of a dimension."""

from __future__ import annotations

import numpy as np

from tests.property.graphs import FLOAT, UnfitError, Writer
from tests.property.operators.columns import numbered
from tests.property.operators.ranges import span

POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")

NORMALIZED = ("InstanceNormalization", "GroupNormalization", "LRN", "MeanVarianceNormalization")


def image(w: Writer) -> None:
    """What libraries do to images: on channels and two dimensions of places."""
    x = w.pick(
        lambda m: (
            m.dtype == FLOAT and m.rank in (2, 3) and m.size <= 30 and all(isinstance(e, int) for e in m.shape[1:])
        )
    )
    added = [3] if x.rank == 3 else [2, 3] if w.chance(60) else [1, 3]
    axes, attributes = w.axes_form("Unsqueeze", added)
    shape = [*x.shape, 1] if x.rank == 3 else [x.shape[0], *((x.shape[1], 1) if 2 in added else (1, x.shape[1])), 1]
    x = w.write("Unsqueeze", [x, *axes], shape, span(x), **attributes)
    if 0 in x.shape:  # onnxruntime 1.32 does not survive some of them
        raise UnfitError
    lead, channels, places, _ = x.shape
    c, n = int(str(channels)), int(str(places))
    match op := w.choice([*POOLS, *NORMALIZED, "DepthToSpace", "SpaceToDepth", "Resize", "Compress", "ConvTranspose"]):
        case "MaxPool" | "AveragePool" | "LpPool":
            kernel = w.between(1, n)
            exact = {"p": 1} if op == "LpPool" else {}
            bounds = span(x) if op == "MaxPool" else (-x.size * n, x.size * n)
            shape = [lead, c, n - kernel + 1, 1]
            w.write(op, [x], shape, bounds, exact=op == "MaxPool", kernel_shape=[kernel, 1], **exact)
        case "GlobalMaxPool" | "GlobalAveragePool" | "GlobalLpPool":
            if op == "GlobalLpPool" and w.opset >= 22:  # onnxruntime has none
                raise UnfitError
            w.write(op, [x], [lead, c, 1, 1], (-x.size * n, x.size * n), exact=op == "GlobalMaxPool")
        case "LRN":
            w.write(op, [x], x.shape, (-999, 999), exact=False, size=3)
        case "MeanVarianceNormalization":
            if w.half:  # what onnx says that it is made of has a constant in float32
                raise UnfitError
            shifted = w.write("Add", [x, w.numbers([c, n, 1])], x.shape, (x.low - 2, x.high + 2))
            w.write(op, [shifted], x.shape, (-999, 999), exact=False, axes=[0, 2, 3] if w.chance(50) else [1, 2])
        case "InstanceNormalization" | "GroupNormalization":
            if op == "GroupNormalization" and w.opset < 21:
                raise UnfitError
            groups = {"num_groups": 1} if op == "GroupNormalization" else {}
            scales = [w.numbers([c]), w.numbers([c])]
            w.write(op, [x, *scales], x.shape, (-999, 999), exact=False, epsilon=1.0, **groups)
        case "DepthToSpace":
            if c % 4:
                raise UnfitError
            w.write(op, [x], [lead, c // 4, n * 2, 2], span(x), blocksize=2)
        case "SpaceToDepth":
            w.write(op, [x], x.shape, span(x), blocksize=1)
        case "Resize":
            sizes = w.constant(np.array([1, 1, 2, 1], np.float32))
            region = w.constant(np.array([], np.float32))
            w.write(op, [x, region, sizes], [lead, c, n * 2, 1], span(x), mode="nearest")
        case "Compress":
            chosen = [w.chance(50) for _ in range(n - 1)] + [True]
            w.write(op, [x, w.constant(np.array(chosen))], [lead, c, sum(chosen), 1], span(x), axis=2)
        case "ConvTranspose":
            bound = x.size * 2 * c
            w.write(op, [x, w.numbers([c, 2, 1, 1])], [lead, 2, n, 1], (-bound, bound))


def pad(w: Writer) -> None:
    x, axis, extent = numbered(w, 1)
    if x.dtype != FLOAT:
        raise UnfitError
    before, after = w.between(0, 1), w.between(0, 2)
    pads = [0] * (2 * x.rank)
    pads[axis], pads[x.rank + axis] = before, after
    shape = [*x.shape[:axis], extent + before + after, *x.shape[axis + 1 :]]
    w.write("Pad", [x, w.ints(pads)], shape, (min(x.low, 0), max(x.high, 0)))


def triangle(w: Writer) -> None:
    if w.opset < 14:
        raise UnfitError
    x = w.floats(2, rough=False)
    w.write("Trilu", [x], x.shape, (min(x.low, 0), max(x.high, 0)), upper=w.between(0, 1))
