"""Products of two computed values."""

from __future__ import annotations

from mari_onnx.ir.extents import Extent
from tests.property.graphs import FLOAT, Made, UnfitError, Writer
from tests.property.operators.ranges import broadcast, product_range, span


def matmul(w: Writer) -> None:
    """Of two computed values, the second transposed first where that is what fits."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 1, rough=True)

    def fits(m: Made) -> bool:
        return (
            m.dtype == FLOAT
            and m.rank >= 1
            and x.shape[-1] in m.shape[-2:]
            and broadcast((1, *x.shape[:-2]), (1, *m.shape[:-2])) is not None
        )

    y = w.pick(fits, rough=True)
    if y.rank >= 2 and y.shape[-2] != x.shape[-1]:
        perm = [*range(y.rank - 2), y.rank - 1, y.rank - 2]
        y = w.write("Transpose", [y], [y.shape[p] for p in perm], span(y), perm=perm)
    if y.rank == 1 and y.shape[0] != x.shape[-1]:
        raise UnfitError
    lead = broadcast((1, *x.shape[:-2]), (1, *y.shape[:-2]))
    assert lead is not None
    lead = lead if max(x.rank, y.rank) > len(lead) + 1 else lead[len(lead) + 2 - max(x.rank, y.rank, 2) :]
    shape = [*lead, *x.shape[-2:-1], *(y.shape[-1:] if y.rank >= 2 else [])]
    w.write("MatMul", [x, y], shape, product_range(x, y, x.shape[-1]))


def pairs(w: Writer) -> None:
    """All pairs of columns of two values [b, h, d] and [b, m, d], or [b, h] and [b, m], and a product with a weight."""
    x = w.pick(
        lambda m: m.dtype == FLOAT and m.rank in (2, 3) and all(isinstance(e, int) for e in m.shape[1:]), rough=True
    )

    def fits(m: Made) -> bool:
        alike = m.dtype == FLOAT and m.rank == x.rank and isinstance(m.shape[1], int)
        return alike and (m.shape[0], *m.shape[2:]) == (x.shape[0], *x.shape[2:])

    z = x if w.chance(30) else w.pick(fits, rough=True)
    batch, h, m, rest = x.shape[0], x.shape[1], z.shape[1], [e for e in x.shape[2:] if isinstance(e, int)]
    assert isinstance(h, int)
    assert isinstance(m, int)
    bound = x.size * z.size
    if w.opset >= 12 and w.chance(40):
        equation = "bhd,bmd->bhmd" if rest else "bh,bm->bhm"
        made = w.write("Einsum", [x, z], [batch, h, m, *rest], (-bound, bound), equation=equation)
    else:
        axes, attributes = w.axes_form("Unsqueeze", [2])
        left = w.write("Unsqueeze", [x, *axes], [batch, h, 1, *rest], span(x), **attributes)
        axes, attributes = w.axes_form("Unsqueeze", [1])
        right = w.write("Unsqueeze", [z, *axes], [batch, 1, m, *rest], span(z), **attributes)
        op = "Mul" if rest or w.chance(50) else "MatMul"
        operands = [left, right] if op == "MatMul" or w.chance(50) else [right, left]
        made = w.write(op, operands, [batch, h, m, *rest], (-bound, bound))
    k, n = h * m, w.between(1, 3)
    flat = w.write("Reshape", [made, w.ints([0, k, *rest])], [batch, k, *rest], span(made))
    shape: list[Extent] = [batch, n, *rest]
    bounds = product_range(flat, weight := w.numbers([n, k]), k)
    match w.between(0, 2):
        case 0 if rest:
            w.write("Conv", [flat, w.numbers([n, k, 1])], shape, bounds)
        case 1 if rest:
            w.write("MatMul", [weight, flat], shape, bounds)
        case _:
            rows = w.write("Transpose", [flat], [batch, *rest, k], span(flat), perm=[0, 2, 1]) if rest else flat
            columns = w.write("Transpose", [weight], [k, n], (-2, 2), perm=[1, 0])
            w.write("MatMul", [rows, columns], [batch, *rest, n], bounds)


def per_token(w: Writer) -> None:
    """Tokens [.. n d] times weights [n d k] of each token: as an Einsum, as products of rows, or token by token."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 3 and all(isinstance(e, int) for e in m.shape[1:]), rough=True)
    batch, n, d = x.shape
    assert isinstance(n, int)
    assert isinstance(d, int)
    k = w.between(1, 3)
    weight = w.numbers([n, d, k])
    bounds = product_range(x, weight, d)
    shape: list[Extent] = [batch, n, k]
    match w.between(0, 2):
        case 0 if w.opset >= 12:
            w.write("Einsum", [x, weight], shape, bounds, equation="bnd,ndk->bnk")
        case 1:
            rows = w.write("Transpose", [x], [n, batch, d], span(x), perm=[1, 0, 2])
            product = w.write("MatMul", [rows, weight], [n, batch, k], bounds)
            w.write("Transpose", [product], shape, bounds, perm=[1, 0, 2])
        case _:
            axes, attributes = w.axes_form("Unsqueeze", [2])
            row = w.write("Unsqueeze", [x, *axes], [batch, n, 1, d], span(x), **attributes)
            product = w.write("MatMul", [row, weight], [batch, n, 1, k], bounds)
            axes, attributes = w.axes_form("Squeeze", [2])
            w.write("Squeeze", [product, *axes], shape, bounds, **attributes)
