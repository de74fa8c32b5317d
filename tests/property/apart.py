"""Values in the rarer of their forms, read at once by operators of families drawn at random.

Sums, products and concatenations of what is a request's and what is an item's, and concatenations of these: each of
them has to come before an operator of each family, which does not happen often by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.property import fused
from tests.property.graphs import FLOAT, INT64, B, Made, R, UnfitError, Writer
from tests.property.operators import (
    Maker,
    along,
    attention,
    classical,
    einsum,
    elements,
    linear,
    lookup,
    mask,
    product,
    quantized,
    recurrent,
    spatial,
)
from tests.property.operators.ranges import count, span
from tests.property.ranking import calculated, for_candidates, joined

READERS: dict[str, Sequence[Maker]] = {
    "along": [along.softmax, along.cumsum, along.arg_extreme, along.top_k],
    "attention": [fused.attention, attention.attention],
    "classical": [classical.trees, classical.linear_model, classical.scaled],
    "einsum": [einsum.einsum],
    "elements": [elements.positions, elements.by_member, elements.scatter_elements, elements.scatter_elements],
    "fused": [
        fused.gelu,
        fused.matmul,
        fused.gemm,
        fused.conv,
        fused.skip_layer_normalization,
        fused.simplified_layer_normalization,
    ],
    "linear": [linear.gemm],
    "lookup": [lookup.gather_computed, lookup.embedding, lookup.one_hot],
    "mask": [mask.masked],
    "product": [product.matmul, product.per_token, product.pairs, linear.linear],
    "quantized": [quantized.quantize, quantized.quantize_dynamically, fused.packed],
    "recurrent": [recurrent.recurrent, recurrent.conv],
    "spatial": [spatial.image, spatial.pad, spatial.triangle],
}
"""What writes an operator of each family of rules; columns, elements and shapes are everywhere."""

SMALL = 4
"""Bounds what goes into a sum or a product here, so that the exponents of an attention stay small."""


def once(w: Writer, dtype: int) -> Made:
    """Something of the request's in two dimensions, for each candidate: repeated, tiled or through an index."""
    tiled = {s.made.name for s in w.sources if s.tiled}
    plain = [m for m in w.made if m.rank >= 1 and m.dtype == dtype and _is_small(m)]
    kinds = [
        [m for m in plain if m.name in tiled],
        [m for m in plain if m.shape[0] == R and any(i.is_index for i in w.made)],
        [m for m in plain if m.shape[0] == 1],
    ]
    return _flat(w, for_candidates(w, w.choice(w.choice([found for found in kinds if found]))))


def each(w: Writer, dtype: int) -> Made:
    """Something of the items' in two dimensions."""
    tiled = {s.made.name for s in w.sources if s.tiled}
    found = [m for m in w.made if m.dtype == dtype and m.shape[:1] == (B,) and m.name not in tiled and not m.is_index]
    return _flat(w, w.choice([m for m in found if _is_small(m)]))


def _is_small(m: Made) -> bool:
    return m.exact and m.size <= SMALL and all(isinstance(e, int) for e in m.shape[1:])


def _flat(w: Writer, x: Made) -> Made:
    if x.rank == 2:
        return x
    width = count(x.shape[1:])
    return w.write("Reshape", [x, w.ints([-1, width])], (x.shape[0], width), span(x))


def _columns(w: Writer, x: Made, width: int) -> Made:
    """So many of its columns, again from the first where there are fewer."""
    have = count(x.shape[1:])
    if have == width:
        return x
    return w.write("Gather", [x, w.ints([i % have for i in range(width)])], (x.shape[0], width), span(x), axis=1)


def _either(w: Writer, op: str, x: Made, y: Made) -> Made:
    return calculated(w, op, *((x, y) if w.chance(50) else (y, x)))


def apart(w: Writer) -> None:
    """A value in one of the forms, and some of what reads it."""
    dtype = INT64 if w.chance(10) else FLOAT
    width = w.choice([2, 4])
    x, y = (_columns(w, m, width) for m in (once(w, dtype), each(w, dtype)))
    match w.between(0, 6):
        case 0 | 1:
            made = _either(w, w.choice(["Add", "Sub"]), x, y)
        case 2 | 3:
            made = _either(w, "Mul", x, y)
        case 4:
            made = joined(w, [x, y], 1)
        case kind:
            made = joined(w, [x, y, _either(w, ["Add", "Mul"][kind - 5], x, y)], 1)
    if w.chance(20):
        made = w.write("Cast", [made], made.shape, span(made), dtype, to=dtype)
    if w.chance(70):
        inner = w.choice([2, width])
        outer = count(made.shape[1:]) // inner
        made = w.write("Reshape", [made, w.ints([-1, outer, inner])], (B, outer, inner), span(made))
    for _ in range(w.between(1, 3)):
        _read(w, made)


def _read(w: Writer, made: Made) -> None:
    w.wanted = made
    readers = READERS[w.choice(list(READERS))]
    for _ in range(4):
        try:
            w.choice(readers)(w)
            break
        except UnfitError:
            continue
    w.wanted = None


APART: dict[Maker, int] = {apart: 16}
"""What writes a value in one of the rarer forms, and how often it is chosen."""
