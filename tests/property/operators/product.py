"""Products of two computed values."""

from __future__ import annotations

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
