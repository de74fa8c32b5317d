"""How the order of the candidates changes, which a ranking team looks at beside the differences of scores.

Candidates with equal scores are tied: they share a range of places, and no order among them is right or wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mari_onnx.report.histogram import Bin
from mari_onnx.report.model import Ranking
from mari_onnx.verification.runtimes.onnxruntime import Array

TOP = 10
"""How many of the best candidates are compared; of fewer than twice as many candidates, half of them are."""

MOST = 2000
"""The most candidates that are compared in pairs; from more, this many are picked at even distances."""


@dataclass(frozen=True)
class Order:
    """How the order of one list of candidates changed; the fields are those of `report.model.Ranking`."""

    candidates: int
    top: int
    overlap: float
    tau: float
    move: int
    gap: float


def order(before: Array, after: Array) -> Order:
    """Compare two lists of scores of the same candidates, both of shape [candidates] and finite.

    A candidate that is tied across the end of the top counts as in the top, up to the size of the top.
    """
    before, after = _picked(before, after)
    n = len(before)
    top, kept, move = places(before, after)
    signs = [np.sign(scores[:, None] - scores[None, :]).astype(np.int8) for scores in (before, after)]
    swapped = signs[0] * signs[1] < 0
    gap = float(np.abs(before[:, None] - before[None, :])[swapped].max(initial=0.0))
    return Order(n, top, kept / top if top else 1.0, _tau(*signs), move, gap)


def places(before: Array, after: Array) -> tuple[int, int, int]:
    """Of two lists of scores of the same candidates: the size of the top, how many of the first one's top candidates
    are still in it, and the most places that a candidate moved.
    """
    top = min(TOP, (len(before) + 1) // 2)
    ordered = after[np.argsort(-before, kind="stable")]
    if bool((ordered[1:] <= ordered[:-1]).all()):  # which most lists are, and which takes a fifth of the time
        return top, top, 0
    first = [_places(scores) for scores in (before, after)]
    kept = min(top, int(((first[0] < top) & (first[1] < top)).sum()))
    return top, kept, int(moves(before, after).max(initial=0))


def moves(before: Array, after: Array) -> Array:
    """By how many places each candidate moved; none if its ranges of places before and after overlap."""
    first, last = ([_places(scores, last=end) for scores in (before, after)] for end in (False, True))
    found: Array = np.maximum(np.maximum(first[1] - last[0], first[0] - last[1]), 0)
    return found


def histogram(values: Array) -> tuple[Bin, ...]:
    """The bins of finite values that are not negative, in their order, without those that are empty."""
    equal = int((values == 0).sum())
    exponents, counts = np.unique(np.floor(np.log2(values[values > 0])), return_counts=True)
    bins = (Bin(2.0**e, 2.0 ** (e + 1), int(n)) for e, n in zip(exponents.tolist(), counts, strict=True))
    return (*([Bin(0.0, 0.0, equal)] if equal else []), *bins)


def rankings(outputs: Iterable[tuple[str, Array, Array]], batches: Iterable[int]) -> tuple[Ranking, ...]:
    """One entry for each output that has a score for each candidate, or for each of its columns.

    `outputs` are the names with the values before and after, and `batches` the number of candidates of each.
    """
    seen: dict[str, list[tuple[Order, Array, Array]]] = {}
    for (output, before, after), batch in zip(outputs, batches, strict=True):
        for name, a, b in columns(output, before, after, batch):
            seen.setdefault(name, []).append((order(a, b), np.abs(a - b), moves(*_picked(a, b))))
    return tuple(_worst(name, cases) for name, cases in seen.items())


def _picked(before: Array, after: Array) -> tuple[Array, Array]:
    """The candidates whose order is looked at."""
    if len(before) <= MOST:
        return before, after
    picked = np.linspace(0, len(before) - 1, MOST).astype(np.int64)
    return before[picked], after[picked]


def _worst(name: str, cases: list[tuple[Order, Array, Array]]) -> Ranking:
    orders = [each for each, _, _ in cases]
    differences = np.concatenate([difference for _, difference, _ in cases])
    quantiles = np.quantile(differences, (0.5, 0.9, 0.99, 1)).tolist()
    return Ranking(
        output=name,
        candidates=max(each.candidates for each in orders),
        top=max(each.top for each in orders),
        overlap=min(each.overlap for each in orders),
        tau=min(each.tau for each in orders),
        move=max(each.move for each in orders),
        gap=max(each.gap for each in orders),
        quantiles=(quantiles[0], quantiles[1], quantiles[2], quantiles[3]),
        differences=histogram(differences),
        moves=histogram(np.concatenate([moved for _, _, moved in cases])),
    )


def columns(output: str, before: Array, after: Array, batch: int) -> Iterator[tuple[str, Array, Array]]:
    """The lists of scores in an output, named `score`, or `score[0]`, `score[1]` where it has several columns.

    An output with more than `TOP` columns is taken for an embedding, and has none.
    """
    if before.shape != after.shape or before.dtype.kind != "f" or batch < 2 or batch not in before.shape:
        return
    axis = before.shape.index(batch)
    if axis:
        before, after = np.moveaxis(before, axis, 0), np.moveaxis(after, axis, 0)
    a, b = (x.reshape(batch, -1).astype(np.float64) for x in (before, after))
    if a.shape[1] > TOP:  # an embedding, and not a score for each task
        return
    for i in range(a.shape[1]):
        finite = np.isfinite(a[:, i]) & np.isfinite(b[:, i])
        if finite.sum() > 1:
            yield f"{output}[{i}]" if a.shape[1] > 1 else output, a[finite, i], b[finite, i]


def _places(scores: Array, *, last: bool = False) -> Array:
    """The first (or last) place of each candidate, from 0 for the best; tied candidates share a range of places."""
    ordered = np.sort(-scores)
    found: Array = np.searchsorted(ordered, -scores, side="right" if last else "left") - int(last)
    return found


def _tau(before: Array, after: Array) -> float:
    """Kendall's tau-b, from the signs of the score differences of all pairs before and after.

    Where all candidates are tied in one of the two, it is 1 if they are tied in both, and 0 if not.
    """
    ours, theirs = np.count_nonzero(before), np.count_nonzero(after)
    if not ours or not theirs:
        return 1.0 if ours == theirs else 0.0
    agree = int((before.astype(np.int64) * after).sum())
    return float(agree / np.sqrt(float(ours) * float(theirs)))
