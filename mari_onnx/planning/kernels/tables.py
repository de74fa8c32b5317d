"""Tables multiplied in advance: a product of looked-up rows looks up rows of the product.

    T[ids] @ W                        = (T @ W)[ids]
    [T[i] U[j] x] @ [W1; W2; W3]      = (T @ W1)[i] + (U @ W2)[j] + x @ W3

T @ W is computed here, in float64, and rounded once. It is larger than T where W has more columns than rows, so that
this is done on request alone, up to a number of bytes (`Site.room`).

Holds for float32 and float64 where the table and the weight are stored and finite, and small enough for products.
Rounding: that of a product whose terms were added in a wider type; then the order in which the summands are added.
What is no id of T is none of T @ W.

Measured with onnxruntime 1.32.0: 40 tables of width 64 and a product with 256 columns take 0.5 of the time with 100
candidates, and with 500, whose rows do not fit into the cache, 0.4 to 0.85. Of width 32 they take longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mari_onnx.ir.expressions import Node, Tensor, first_input
from mari_onnx.ir.extents import product
from mari_onnx.ir.operators import OPERATORS
from mari_onnx.planning.kernels.site import DOUBLE, FLOAT, Offer, Site, is_ours

NARROWEST = 48
"""Rows of fewer numbers are multiplied in the time in which the rows of the product are read and added."""

LARGEST = 1e15
"""Numbers of tables and weights beyond this might leave the range of float32 where they are multiplied."""


class _Columns(NamedTuple):
    """A tensor whose rows are the columns [start, stop) of what is multiplied."""

    tensor: Tensor
    start: int
    stop: int


def product_of_lookups(site: Site, node: Node) -> Iterator[Offer]:
    """A product with a stored weight, of rows that are looked up, or joined of some that are.

    Each offer multiplies the tables from one width on in advance: the wider the rows, the more is saved.
    """
    attributes = dict(node.attributes)
    x, weight, *added = node.inputs
    y = node.outputs[0]
    plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1 and not attributes.get("transA")
    if not site.room or not plain or x is None or weight is None or x.dtype not in (FLOAT, DOUBLE):
        return
    if x.shape is None or y.shape is None or not weight.stored or len(weight.known_shape) != 2:
        return
    if product(y.shape[:-1]) == 1:  # the one row of a request saves nothing, and takes the room of candidates' tables
        return
    columns = _columns(x)
    lookups = [each for each in columns if each.stop - each.start >= NARROWEST and _is_lookup(each.tensor)]
    if not lookups or not _is_small(site, weight):
        return
    weight = site.b.transpose(weight, (1, 0)) if attributes.get("transB") else weight
    most = 0
    for width in sorted({each.stop - each.start for each in lookups}):
        chosen, size = _within(site, [each for each in lookups if each.stop - each.start >= width], weight)
        most = max(most, size)
        if chosen:
            yield Offer(_sum(site, y, columns, chosen, weight, added[0] if added else None), [node])
    site.room -= most


def _columns(t: Tensor, start: int = 0) -> list[_Columns]:
    """The tensors that a tensor's rows are joined of; none where a width is not known, and so not where others are."""
    width = t.known_shape[-1]
    if not isinstance(width, int):
        return []
    source = t.node.inputs[0] if OPERATORS.get(t.op_type) is not None and OPERATORS[t.op_type].view else None
    if source is not None and source.shape is not None and source.shape[-1:] == (width,):
        return _columns(source, start)  # the same rows along other axes
    if t.op_type != "Concat" or dict(t.node.attributes).get("axis", 0) not in (len(t.known_shape) - 1, -1):
        return [_Columns(t, start, start + width)]
    found: list[_Columns] = []
    for each in t.node.inputs:
        assert each is not None, "a Concat leaves no operand out"
        part = _columns(each, start)
        if not part:
            return []
        found, start = [*found, *part], part[-1].stop
    return found


def _is_lookup(t: Tensor) -> bool:
    """Whether the rows are those of a stored table, by ids."""
    if not is_ours(t.node, "Gather") or dict(t.node.attributes).get("axis", 0) != 0 or t.constant:
        return False
    table = first_input(t)
    return table.stored and len(table.known_shape) == 2


def _within(site: Site, lookups: Sequence[_Columns], weight: Tensor) -> tuple[list[_Columns], int]:
    """Those of the lookups whose products fit into the room that is left, and the bytes that they take."""
    chosen, taken = [], 0
    for each in lookups:
        table = first_input(each.tensor)
        rows, columns = table.known_shape[0], weight.known_shape[1]
        assert isinstance(rows, int) and isinstance(columns, int), "a stored tensor has numbers of rows and columns"
        size = rows * columns * (4 if table.dtype == FLOAT else 8)
        if taken + size <= site.room and _is_small(site, table):
            chosen.append(each)
            taken += size
    return chosen, taken


def _is_small(site: Site, t: Tensor) -> bool:
    array = site.array(t)
    return array is not None and bool(np.all(np.abs(array) <= LARGEST))  # False for a NaN


def _sum(
    site: Site, y: Tensor, columns: Sequence[_Columns], chosen: Sequence[_Columns], weight: Tensor, added: Tensor | None
) -> Tensor:
    """The product as rows of products of tables, the product of all other columns, and what is added to it.

    One summand is added after the other, while its rows are in the cache: a Sum of 40 reads them from memory.
    """
    b, (*lead, wide) = site.b, y.known_shape
    rest = [each for each in columns if each not in chosen]
    total = added
    if rest:
        parts = [b.reshape(each.tensor, (product(lead), each.stop - each.start)) for each in rest]
        weights = b.concat([b.slice(weight, 0, each.start, each.stop) for each in rest], 0)
        operands = [b.concat(parts, 1), weights, *([added] if added is not None else [])]
        flat = b.make("Gemm" if added is not None else "MatMul", operands, (product(lead), wide), y.dtype)
        total = b.reshape(flat, y.known_shape)
    for each in chosen:
        table, ids = each.tensor.node.inputs
        assert table is not None and ids is not None, "a Gather has two operands"
        rows = b.multiplied(table, b.slice(weight, 0, each.start, each.stop))
        found = b.make("Gather", [rows, ids], (*ids.known_shape, wide), y.dtype, axis=0)
        found.name_after(each.tensor, "multiplied")
        found = b.reshape(found, y.known_shape)
        total = found if total is None else b.make("Add", [found, total], y.known_shape, y.dtype)
    assert total is not None, "one lookup is chosen"
    return total
