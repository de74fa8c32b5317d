"""Symbols that stand for the same extent, each with the one symbol that represents it.

Concat([B, 3], [N, 4], axis=1)    proves B == N, since the original fails where they differ
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from mari_onnx.ir.extents import Extent, Poly, rename, symbol, symbols


def merged(
    same: Mapping[str, str], equal: Iterable[tuple[Extent, Extent]], preferred: Collection[str]
) -> dict[str, str]:
    """The map `same` with these equal extents as well; of two symbols a `preferred` one represents both."""
    out = dict(same)
    for a, b in equal:
        left, right = (single(rename(e, out)) for e in (a, b))
        if left and right and left != right:
            keep, drop = sorted((left, right), key=lambda s: (s not in preferred, s))
            out = {s: keep if to == drop else to for s, to in out.items()} | {drop: keep}
    return out


def single(extent: Extent) -> str | None:
    """The name of an extent that is one symbol; None for a number and for anything composed, such as 2*B."""
    if isinstance(extent, Poly) and extent == symbol(name := next(iter(symbols(extent)))):
        return name
    return None
