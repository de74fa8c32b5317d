"""Operators that work along dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from mari_onnx.ir.operators import OPERATORS
from tests.property.graphs import FLOAT, INT64, UnfitError, Writer
from tests.property.operators.ranges import count, span

REDUCTIONS = """
    ReduceSum ReduceSum ReduceMax ReduceMin ReduceMean ReduceSumSquare ReduceL1 ReduceL2 ReduceProd ReduceLogSum
    ReduceLogSumExp
"""


def reduce(w: Writer) -> None:
    x = w.floats(1)
    op = w.choice(REDUCTIONS.split())
    if op == "ReduceLogSum":  # of what is positive
        if not x.exact and x.size > 9:
            raise UnfitError  # so much more than it is that little of it is left
        above = w.constant(np.array(x.size + 1, np.float32))
        x = w.write("Add", [x, above], x.shape, (1, 2 * x.size + 1))
    elif op == "ReduceLogSumExp" and x.size > 9:
        raise UnfitError
    axes = sorted({w.between(0, x.rank - 1) for _ in range(w.between(1, 2))})
    keep = int(w.chance(50))
    said = [a - x.rank if w.chance(40) else a for a in axes]
    inputs, attributes = w.axes_form(op, said)
    if w.chance(10):
        axes, inputs, attributes = list(range(x.rank)), [], {}
        if w.opset >= OPERATORS[op].axes_input_from and w.chance(50):
            attributes["noop_with_empty_axes"] = 1
            inputs = [w.ints([])] if w.chance(50) else []
            axes, keep = [], 1
    shape = [1 if i in axes else e for i, e in enumerate(x.shape) if keep or i not in axes]
    n = count([x.shape[a] for a in axes])
    match op:
        case "ReduceSum":
            bounds = (n * min(x.low, 0), n * max(x.high, 0))
        case "ReduceSumSquare":
            bounds = (0, n * x.size**2)
        case "ReduceL1" | "ReduceL2":
            bounds = (0, n * x.size)
        case "ReduceProd":
            bounds = (-(max(x.size, 1) ** n), max(x.size, 1) ** n)
        case "ReduceLogSum" | "ReduceLogSumExp":
            bounds = (-9999, 9999)
        case _:
            bounds = span(x)
    if not axes and op in ("ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"):
        raise UnfitError  # runtimes disagree whether the elements are squared then
    rough = ("ReduceMean", "ReduceL2", "ReduceLogSumExp", "ReduceLogSum")
    w.write(op, [x, *inputs], shape, bounds, exact=op not in rough, keepdims=keep, **attributes)


def softmax(w: Writer) -> None:
    x = w.floats(1, rough=False)
    op = w.choice(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LayerNormalization", "RMSNormalization"])
    attributes = (
        {"axis": w.between(-x.rank, x.rank - 1)} if w.chance(80) or w.opset < OPERATORS["Softmax"].one_axis_from else {}
    )
    if op == "LpNormalization":
        w.write(op, [w.write("Add", [x, w.constant(np.array(x.size + 1, np.float32))], x.shape, (1, 2 * x.size + 1))],
                x.shape, (-1, 1), exact=False, **attributes)  # fmt: skip
    elif op == "LayerNormalization":
        width = x.shape[-1]
        if w.opset < 17 or not isinstance(width, int):
            raise UnfitError
        w.write(op, [x, w.numbers([width]), w.numbers([width])], x.shape, (-99, 99), exact=False, epsilon=1.0)
    elif op == "RMSNormalization":
        width = x.shape[-1]
        if w.opset < 23 or not isinstance(width, int):
            raise UnfitError
        w.write(op, [x, w.numbers([width])], x.shape, (-99, 99), exact=False, epsilon=1.0)
    else:
        w.write(op, [x], x.shape, (-9999, 1), exact=op == "Hardmax", **attributes)


def cumsum(w: Writer) -> None:
    x = w.floats(1)
    axis = w.between(0, x.rank - 1)
    n = count([x.shape[axis]])
    said = w.constant(np.array(axis - x.rank if w.chance(40) else axis, np.int64))
    attributes: dict[str, Any] = {"exclusive": int(w.chance(30)), "reverse": int(w.chance(30))}
    w.write("CumSum", [x, said], x.shape, (n * min(x.low, 0), n * max(x.high, 0)), **attributes)


def arg_extreme(w: Writer) -> None:
    x = w.floats(1, rough=False)
    axis, keep = w.between(0, x.rank - 1), int(w.chance(50))
    shape = [1 if i == axis else e for i, e in enumerate(x.shape) if keep or i != axis]
    bounds = (0, count([x.shape[axis]]) - 1)
    w.write(w.choice(["ArgMax", "ArgMin"]), [x], shape, bounds, INT64, axis=axis, keepdims=keep)


def top_k(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and any(isinstance(e, int) for e in m.shape))
    axis = w.choice([i for i, e in enumerate(x.shape) if isinstance(e, int)])
    extent = x.shape[axis]
    assert isinstance(extent, int)
    k = w.between(1, extent)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    outputs = [(shape, span(x), FLOAT), (shape, (0, extent - 1), INT64)]
    w.write_all("TopK", [x, w.ints([k])], outputs, axis=axis, largest=int(w.chance(60)))
