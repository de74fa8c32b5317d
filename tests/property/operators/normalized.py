"""LayerNormalization between columns and a layer."""

from __future__ import annotations

from tests.property.graphs import FLOAT, UnfitError, Writer
from tests.property.operators.ranges import hull


def normalized_columns(w: Writer) -> None:
    """LayerNormalization between columns and a layer."""
    if w.opset < 17:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int) and m.size <= 30)
    y = w.pick(
        lambda m: m.dtype == FLOAT and m.shape[:-1] == x.shape[:-1] and isinstance(m.shape[-1], int) and m.size <= 30
    )
    width = int(str(x.shape[-1])) + int(str(y.shape[-1]))
    both = w.write("Concat", [x, y], [*x.shape[:-1], width], hull(x, y), axis=x.rank - 1)
    scale = [w.numbers([width])] + ([w.numbers([width])] if w.chance(70) else [])
    z = w.write("LayerNormalization", [both, *scale], both.shape, (-99, 99), exact=False, epsilon=1.0)
    n = w.choice([2, 32])
    bound = 2 * width * 99
    w.write("MatMul", [z, w.numbers([width, n])], [*x.shape[:-1], n], (-bound, bound), exact=False)
