"""The tracers: what tells which values an input may take. `TRACERS` is the table, in order of precedence.

    indexed      the extent of the axis that an id indexes, less the offset that is added to it on the way
    compared     the number that an integer is compared with, where it indexes nothing
    in_bodies    the extent of the smallest table that an id indexes in a body of Loop or Scan, followed by name

A tracer takes what was seen of the tagged model and the limits that the tracers before it found, and gives limits where
these have none. To add one is a function here and a row in the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto

from mari_onnx.document.scopes import bodies
from mari_onnx.verification.inputs.draw import Bounds
from mari_onnx.verification.inputs.flow import FIRST, INDEXES, MOVES, SEQUENCES, Use
from mari_onnx.verification.inputs.tagging import Arrival, Tagged
from mari_onnx.verification.runtimes.onnxruntime import Array

_UNBOUNDED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Limits:
    """The least and the largest value, inclusive, of every element of every input, by its number in `Tagged`."""

    low: Array
    high: Array

    @classmethod
    def none(cls, total: int) -> Limits:
        """No limits of so many elements."""
        return cls(np.zeros(total, np.int64), np.full(total, _UNBOUNDED))

    @property
    def missing(self) -> Array:
        """Which elements have no limits."""
        found: Array = self.high == _UNBOUNDED
        return found

    def narrow(self, elements: Array, low: Array, high: Array) -> None:
        """Bound elements, in place."""
        np.maximum.at(self.low, elements, low)
        np.minimum.at(self.high, elements, high)

    def or_else(self, other: Limits) -> Limits:
        """These, and the other's where there are none."""
        return Limits(np.where(self.missing, other.low, self.low), np.where(self.missing, other.high, self.high))


Tracer = Callable[[Tagged, Limits], Limits]


def indexed(tagged: Tagged, so_far: Limits) -> Limits:
    """The rows of the tables that ids index. Several fields may share a table, each from its own offset on."""
    found, offsets = Limits.none(tagged.count), _offsets(tagged.arrivals)
    for at in tagged.arrivals:
        extent = None if at.use.compares else _indexed_extents(at.use, tagged.shapes, tagged.known, at.start.shape)
        if extent is not None:
            ends = np.minimum(extent, _next(at.start, offsets[at.use.other])) - 1
            found.narrow(at.element[at.arrived], -at.start[at.arrived], (ends - at.start)[at.arrived])
    return so_far.or_else(found)


def compared(tagged: Tagged, so_far: Limits) -> Limits:
    """The numbers that integers are compared with. A feature of floats is compared, too, and that bounds nothing."""
    found = Limits.none(tagged.count)
    for at in tagged.arrivals:
        other = tagged.known.get(at.use.other) if at.use.compares else None
        if other is not None and np.isfinite(other).all():
            low, high = _compared(at.use.node, other)
            found.narrow(at.element[at.arrived], low - at.start[at.arrived], high - at.start[at.arrived])
    for name, each in tagged.inputs.items():
        if each.dtype.kind not in "iu":
            found.high[tagged.part(name)] = _UNBOUNDED
    return so_far.or_else(found)


def in_bodies(tagged: Tagged, so_far: Limits) -> Limits:
    """The smallest table that an integer input indexes in a body, for inputs of which nothing else is known."""
    ids = {name: frozenset({name}) for name, each in tagged.inputs.items() if each.dtype.kind in "iu"}
    reached: dict[str, int] = {}
    _follow(tagged.model.graph, ids, {}, reached, within=False)
    found = Limits.none(tagged.count)
    for name, rows in reached.items():
        part = tagged.part(name)
        if rows > 0 and _bounds(tagged, so_far, name) is None:
            found.high[part] = rows - 1
    return so_far.or_else(found)


TRACERS: tuple[Tracer, ...] = (indexed, compared, in_bodies)


def bounds(tagged: Tagged) -> dict[str, Bounds]:
    """The values that each input may take, for those that a tracer bounds."""
    limits = Limits.none(tagged.count)
    for tracer in TRACERS:
        limits = tracer(tagged, limits)
    found = {name: _bounds(tagged, limits, name) for name in tagged.first}
    return {name: each for name, each in found.items() if each is not None}


def _bounds(tagged: Tagged, limits: Limits, name: str) -> Bounds | None:
    """The limits of an input's elements, the same along dynamic axes; None where no element has any."""
    part, shape = tagged.part(name), tagged.shapes_of_inputs[name]
    low, high = limits.low[part].reshape(shape), limits.high[part].reshape(shape)
    dynamic = tuple(axis for axis, dim in enumerate(tagged.inputs[name].dims) if isinstance(dim, str))
    low, high = low.max(axis=dynamic, keepdims=True), high.min(axis=dynamic, keepdims=True)
    traced = (high != _UNBOUNDED) & (low <= high)
    return Bounds(np.where(traced, low, 0), np.where(traced, high, 1)) if traced.any() else None


def _offsets(arrivals: Sequence[Arrival]) -> Mapping[str, Sequence[int]]:
    """The offsets from which on ids index each table, in order."""
    found: dict[str, set[int]] = defaultdict(set)
    for at in arrivals:
        if not at.use.compares:
            found[at.use.other].update(np.unique(at.start[at.arrived]).tolist())
    return {table: sorted(offsets) for table, offsets in found.items()}


def _compared(node: NodeProto, other: Array) -> tuple[int, int]:
    """Bounds that let a comparison come out both ways."""
    low, high = (int(other.min()), int(other.max())) if other.size else (0, 1)
    if low == high:
        return low, high + 1
    strict = node.op_type in ("Less", "Greater")
    return low + strict, high + strict


def _indexed_extents(
    use: Use, shapes: Mapping[str, list[int]], known: Mapping[str, Array], shape: tuple[int, ...]
) -> Array | None:
    """The extent of the axis that each element of an index runs over; None when it is not known."""
    attributes = {a.name: a.i for a in use.node.attribute}
    if use.node.op_type == "OneHot":
        return np.broadcast_to(known[use.other].ravel()[0], shape) if use.other in known else None
    dims = shapes.get(use.other)
    if not dims:
        return None
    if use.node.op_type.endswith("ND"):
        first = attributes.get("batch_dims", 0)
        return np.broadcast_to(np.asarray(dims[first : first + shape[-1]]), shape)
    return np.broadcast_to(dims[attributes.get("axis", 0)], shape)


def _next(start: Array, offsets: Sequence[int]) -> Array:
    """The next offset after each one, where another field's part of a shared table begins.

    An offset that is only one further shifts the same ids, as a history may be to make room for padding.
    """
    if not offsets:
        return np.full(start.shape, _UNBOUNDED)
    place = np.searchsorted(offsets, start + 1, side="right")
    following: Array = np.append(offsets, _UNBOUNDED)[place]
    return following


def _follow(
    graph: GraphProto,
    carried: dict[str, frozenset[str]],
    shapes: dict[str, list[int]],
    reached: dict[str, int],
    *,
    within: bool,
) -> None:
    """Extend `carried`, values by the inputs whose ids they hold, and note what those index within bodies."""
    shapes |= {t.name: list(t.dims) for t in graph.initializer}
    for node in graph.node:
        index = INDEXES.get(node.op_type)
        if within and index is not None and index < len(node.input) and node.op_type != "OneHot":
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            dims = shapes.get(node.input[1 - index])
            for name in carried.get(node.input[index], ()) if dims else ():
                assert dims is not None
                reached[name] = min(reached.get(name, dims[axis]), dims[axis])
        moved = MOVES.get(node.op_type, FIRST if node.op_type in SEQUENCES else frozenset())
        found = frozenset().union(*(carried.get(n, ()) for i, n in enumerate(node.input) if i in moved))
        for body in bodies(node):
            inner = dict(carried)
            # Loop hands over its operands as they are; Scan hands over rows of some, which are ids as well.
            inner.update((i.name, carried[n]) for i, n in zip(body.input, node.input, strict=False) if n in carried)
            _follow(body, inner, dict(shapes), reached, within=within or node.op_type in ("Loop", "Scan"))
            results = body.output[1:] if node.op_type == "Loop" else body.output
            for result, name in zip(results, node.output, strict=False):
                carried[name] = carried.get(name, frozenset()) | inner.get(result.name, frozenset())
        if found:
            carried.update((name, found) for name in node.output if name)
