"""The rows that the ids of each input select: those of stored tables, and those of other inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from mari_onnx.document.scopes import reads
from mari_onnx.verification.inputs.flow import Use
from mari_onnx.verification.inputs.tagging import Tagged
from mari_onnx.verification.runtimes.onnxruntime import Array

MOST_OFFSETS = 100
"""The most offsets, one a field, that are told apart in one shared table."""


def tables(tagged: Tagged) -> dict[str, frozenset[tuple[str, int]]]:
    """By input, the stored tables whose rows it indexes, each with the offset that is added to the id."""
    found: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for at in tagged.arrivals:
        if not at.use.indexes or at.use.other not in tagged.stored or at.use.other not in tagged.shapes:
            continue
        rows = _first_axis(at.use, at.start.shape) & at.arrived
        for offset in np.unique(at.start[rows])[:MOST_OFFSETS]:
            for name in tagged.named(at.element[rows & (at.start == offset)]):
                found[name].add((at.use.other, int(offset)))
    return {name: frozenset(each) for name, each in found.items()}


def requests(tagged: Tagged) -> frozenset[str]:
    """The symbols of leading axes of inputs whose rows another input selects; such an axis counts requests."""
    found: set[str] = set()
    origins = _origins(tagged)
    for at in tagged.arrivals:
        if not at.use.indexes or not tagged.shapes.get(at.use.other):
            continue
        rows = _first_axis(at.use, at.start.shape) & at.arrived & (at.start == 0)
        for name in tagged.named(at.element[rows]):
            found |= _rows_of(tagged, name, at.use.other, origins)
    return frozenset(found)


def _rows_of(tagged: Tagged, index: str, indexed: str, origins: Mapping[str, set[str]]) -> set[str]:
    """The symbol of the rows that input `index` picks from `indexed`, when they are another input's rows."""
    symbols = {rows for name in origins.get(indexed, ()) if (rows := tagged.inputs[name].rows) is not None}
    own = tagged.inputs[index].rows
    if own is None or own in symbols:
        return set()
    return {symbol for symbol in symbols if tagged.shapes[indexed][0] == tagged.sizes[symbol]}


def _origins(tagged: Tagged) -> dict[str, set[str]]:
    """By tensor, the inputs that it is computed from; the result of Shape or Size counts as computed from none."""
    origins = {name: {name} for name in tagged.inputs}
    for node in tagged.model.graph.node:
        if node.op_type not in ("Shape", "Size"):
            found = set().union(*(origins.get(name, ()) for name in reads(node)))
            origins.update((name, found) for name in node.output)
    return origins


def _first_axis(use: Use, shape: tuple[int, ...]) -> Array:
    """Which elements of an index of this shape select along the leading axis of the indexed tensor."""
    attributes = {a.name: a.i for a in use.node.attribute}
    if use.node.op_type == "GatherND" and not attributes.get("batch_dims", 0):
        return np.broadcast_to(np.arange(shape[-1]) == 0, shape)
    return np.full(shape, use.node.op_type == "Gather" and not attributes.get("axis", 0))
