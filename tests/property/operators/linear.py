"""Products with a weight, and Gemm."""

from __future__ import annotations

from mari_onnx.ir.extents import Extent
from tests.property.graphs import FLOAT, Writer
from tests.property.operators.ranges import broadcast, product_range


def linear(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int), rough=True)
    n = w.between(1, 3)
    width = x.shape[-1]
    assert isinstance(width, int)
    weight = w.numbers([width, n])
    if w.chance(20):
        weight = w.write("Transpose", [w.numbers([n, width])], [width, n], (-2, 2), perm=[1, 0])
    y = w.write("MatMul", [x, weight], [*x.shape[:-1], n], product_range(x, weight, width))
    if w.chance(60):
        bias = w.numbers([n])
        operands = [bias, y] if w.chance(50) else [y, bias]
        w.write("Add", operands, y.shape, (y.low - 2, y.high + 2))


def gemm(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2, rough=True)
    trans_a = int(w.chance(15))
    m, k = x.shape[::-1] if trans_a else x.shape
    trans_b = int(w.chance(50))
    if isinstance(k, int) and w.chance(80):
        n: Extent = w.between(1, 3)
        assert isinstance(n, int)
        y = w.numbers([n, k] if trans_b else [k, n])
    else:
        y = w.pick(lambda t: t.dtype == FLOAT and t.rank == 2 and t.shape[trans_b] == k, rough=True)
        n = y.shape[1 - trans_b]
    alpha, beta = w.choice([1.0, 1.0, 2.0, -1.0]), w.choice([1.0, 1.0, 2.0, -1.0])
    bias = None
    kind = w.between(0, 5)
    if kind <= 1 and isinstance(n, int):
        bias = w.numbers(w.choice([[n], [1, n], [1], [], [1, 1]]))
    elif kind <= 3:
        bias = w.pick(lambda t: t.dtype == FLOAT and t.rank <= 2 and broadcast(t.shape, (m, n)) == (m, n), rough=True)
    bound = int(abs(alpha)) * product_range(x, y, k)[1] + int(abs(beta)) * (bias.size if bias else 0)
    attributes = {"alpha": alpha, "beta": beta, "transA": trans_a, "transB": trans_b}
    said = {name: v for name, v in attributes.items() if v != (1.0 if name in ("alpha", "beta") else 0) or w.chance(30)}
    w.write("Gemm", [x, y] if bias is None else [x, y, bias], [m, n], (-bound, bound), **said)
