"""Classes of symbols that are proven equal, as a map from each symbol to the one that represents its class.

Concat([B, 3], [N, 4], axis=1)    proves B == N, since the original fails where they differ
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from mari_onnx.ir.extents import Extent, Poly, rename, symbol, symbols


def merged(
    same: Mapping[str, str], equal: Iterable[tuple[Extent, Extent]], preferred: Collection[str]
) -> dict[str, str]:
    """The map `same`, extended by the pairs of `equal` that are single symbols. A `preferred` symbol represents others.

    Example: {} with the pair (B, N) and N preferred is {B: N}.
    """
    representative = dict(same)
    for a, b in equal:
        left, right = (single(rename(e, representative)) for e in (a, b))
        if left and right and left != right:
            keep, drop = sorted((left, right), key=lambda s: (s not in preferred, s))
            representative = {s: keep if to == drop else to for s, to in representative.items()} | {drop: keep}
    return representative


def single(extent: Extent) -> str | None:
    """The name of an extent that is one symbol; None for a number and for anything composed, such as 2*B."""
    if isinstance(extent, Poly) and extent == symbol(name := next(iter(symbols(extent)))):
        return name
    return None
