"""The tracers: functions that tell which values an input may take. `TRACERS` is the table, in order of precedence.

    measured     a length is at most the extent of the axis of time of the sequences that it is for
    indexed      an id is less than the extent of the axis that it indexes, less the offset that is added on the way
    compared     an integer that indexes nothing is near the number that it is compared with
    in_bodies    an id in a body of Loop or Scan is less than the extent of the smallest table that it indexes there

A tracer takes the tagged model and the limits that the tracers before it found. It adds limits to elements without any.
A new tracer is a function here and an entry of the table.
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


def measured(tagged: Tagged, so_far: Limits) -> Limits:
    """Limits from the sequences whose lengths are given. Length 0 is one: a history may be empty."""
    found = Limits.none(tagged.count)
    for at in tagged.arrivals:
        dims = tagged.shapes.get(at.use.other) if at.use.measures else None
        if dims:
            start = at.start[at.arrived]
            found.narrow(at.element[at.arrived], -start, dims[_time_axis(at.use.node)] - start)
    return so_far.or_else(found)


def indexed(tagged: Tagged, so_far: Limits) -> Limits:
    """Limits from the tables that ids index. Several fields may share a table, each from an offset of its own on."""
    found, offsets = Limits.none(tagged.count), _offsets(tagged.arrivals)
    for at in tagged.arrivals:
        extent = _indexed_extents(at.use, tagged.shapes, tagged.known, at.start.shape) if at.use.indexes else None
        if extent is not None:
            ends = np.minimum(extent, _next(at.start, offsets[at.use.other])) - 1
            found.narrow(at.element[at.arrived], -at.start[at.arrived], (ends - at.start)[at.arrived])
    return so_far.or_else(found)


def compared(tagged: Tagged, so_far: Limits) -> Limits:
    """Limits from the numbers that integers are compared with. A comparison of a float feature gives no limit."""
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
    """Limits from the smallest table that an integer input indexes in a body, for inputs without other limits."""
    ids = {name: frozenset({name}) for name, each in tagged.inputs.items() if each.dtype.kind in "iu"}
    reached: dict[str, int] = {}
    _follow(tagged.model.graph, ids, {}, reached, within=False)
    found = Limits.none(tagged.count)
    for name, rows in reached.items():
        part = tagged.part(name)
        if rows > 0 and _bounds(tagged, so_far, name) is None:
            found.high[part] = rows - 1
    return so_far.or_else(found)


TRACERS: tuple[Tracer, ...] = (measured, indexed, compared, in_bodies)


def bounds(tagged: Tagged) -> dict[str, Bounds]:
    """The ranges by input, for the inputs that a tracer finds limits for."""
    limits = Limits.none(tagged.count)
    for tracer in TRACERS:
        limits = tracer(tagged, limits)
    found = {name: _bounds(tagged, limits, name) for name in tagged.first}
    return {name: each for name, each in found.items() if each is not None}


def _bounds(tagged: Tagged, limits: Limits, name: str) -> Bounds | None:
    """The range of one input, the same for all places along dynamic axes; None where no element has limits."""
    part, shape = tagged.part(name), tagged.shapes_of_inputs[name]
    low, high = limits.low[part].reshape(shape), limits.high[part].reshape(shape)
    dynamic = tuple(axis for axis, dim in enumerate(tagged.inputs[name].dims) if isinstance(dim, str))
    low, high = low.max(axis=dynamic, keepdims=True), high.min(axis=dynamic, keepdims=True)
    traced = (high != _UNBOUNDED) & (low <= high)
    return Bounds(np.where(traced, low, 0), np.where(traced, high, 1)) if traced.any() else None


def _offsets(arrivals: Sequence[Arrival]) -> Mapping[str, Sequence[int]]:
    """By table, the offsets that are added to ids that index it, in order."""
    found: dict[str, set[int]] = defaultdict(set)
    for at in arrivals:
        if at.use.indexes:
            found[at.use.other].update(np.unique(at.start[at.arrived]).tolist())
    return {table: sorted(offsets) for table, offsets in found.items()}


def _compared(node: NodeProto, other: Array) -> tuple[int, int]:
    """The least range of integers for which a comparison with `other` is true for some and false for others."""
    low, high = (int(other.min()), int(other.max())) if other.size else (0, 1)
    if low == high:
        return low, high + 1
    strict = node.op_type in ("Less", "Greater")
    return low + strict, high + strict


def _time_axis(node: NodeProto) -> int:
    """The axis of time of the first input of an operator of `LENGTHS`."""
    attributes: dict[str, int] = {a.name: a.i for a in node.attribute}
    return attributes.get("time_axis" if node.op_type == "ReverseSequence" else "layout", 0)


def _indexed_extents(
    use: Use, shapes: Mapping[str, list[int]], known: Mapping[str, Array], shape: tuple[int, ...]
) -> Array | None:
    """For each element of an index, the extent of the axis that it indexes; None where it is not known."""
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
    """For each element of `start`, the next offset, where the rows of another field of a shared table begin.

    An offset that is larger by one is skipped: it shifts the ids of the same field, to make room for padding.
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
    """Follow ids through a graph by name.

    `carried` has the tensors that hold ids, each with the inputs that they come from, and is extended. `reached` gets,
    by input, the least extent that its ids index; only uses in bodies of Loop and Scan count (`within`).
    """
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
            # The body of a Loop gets the operands themselves. That of a Scan gets rows of some, which hold ids as well.
            inner.update((i.name, carried[n]) for i, n in zip(body.input, node.input, strict=False) if n in carried)
            _follow(body, inner, dict(shapes), reached, within=within or node.op_type in ("Loop", "Scan"))
            results = body.output[1:] if node.op_type == "Loop" else body.output
            for result, name in zip(results, node.output, strict=False):
                carried[name] = carried.get(name, frozenset()) | inner.get(result.name, frozenset())
        if found:
            carried.update((name, found) for name in node.output if name)
