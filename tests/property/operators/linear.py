"""Products with a weight, and Gemm."""

from __future__ import annotations

from tests.property.graphs import FLOAT, Made, UnfitError, Writer
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


def _weight_on_the_left(w: Writer, y: Made, trans_a: int, trans_b: int) -> Made:
    """Constants that multiply y from the left."""
    k, n = y.shape[trans_b], w.between(1, 3)
    if not isinstance(k, int):
        raise UnfitError
    return w.numbers([k, n] if trans_a else [n, k])


def _second(w: Writer, x: Made, trans_a: int, trans_b: int) -> Made:
    """What multiplies x from the right: constants, or something that was made."""
    k = x.shape[1 - trans_a]
    if isinstance(k, int) and w.chance(80):
        n = w.between(1, 3)
        return w.numbers([n, k] if trans_b else [k, n])
    return w.pick(lambda t: t.dtype == FLOAT and t.rank == 2 and t.shape[trans_b] == k, rough=True)


def gemm(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2, rough=True)
    trans_a, trans_b = int(w.chance(15)), int(w.chance(50))
    if w.chance(25):
        x, y = _weight_on_the_left(w, x, trans_a, trans_b), x
    else:
        y = _second(w, x, trans_a, trans_b)
    m, k, n = x.shape[trans_a], x.shape[1 - trans_a], y.shape[1 - trans_b]
    alpha, beta = w.choice([1.0, 1.0, 2.0, -1.0]), w.choice([1.0, 1.0, 2.0, -1.0])
    bias = None
    kind = w.between(0, 5)
    if kind <= 1:
        of_columns = [[n], [1, n]] if isinstance(n, int) else []
        of_rows = [[m, 1]] if isinstance(m, int) else []
        bias = w.numbers(w.choice([*of_columns, *of_rows, [1], [], [1, 1]]))
    elif kind <= 3:
        bias = w.pick(lambda t: t.dtype == FLOAT and t.rank <= 2 and broadcast(t.shape, (m, n)) == (m, n), rough=True)
    bound = int(abs(alpha)) * product_range(x, y, k)[1] + int(abs(beta)) * (bias.size if bias else 0)
    attributes = {"alpha": alpha, "beta": beta, "transA": trans_a, "transB": trans_b}
    said = {name: v for name, v in attributes.items() if v != (1.0 if name in ("alpha", "beta") else 0) or w.chance(30)}
    w.write("Gemm", [x, y] if bias is None else [x, y, bias], [m, n], (-bound, bound), **said)
