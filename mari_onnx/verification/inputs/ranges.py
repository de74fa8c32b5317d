"""Trace each integer input to what it indexes, and so learn which values it may take.

An id reaches its table through operators that only move it (Cast, Concat, Slice, Tile and the like) or shift it (Add of
an offset). Those are not interpreted here but run: the part of the graph between the inputs and the places where a
value is used as an index is cut out and run twice, once on zeros and once with another number, a *tag*, in every
element of every input. Where an index moved by a tag, that element of that input arrived there; what is left is the
offset. So a packed matrix has bounds for each of its columns, and no idiom of an exporter needs a rule.

Inside the bodies of Loop and Scan nothing is run apart. An id that gets there, and nowhere else, is followed by name to
the tables that it indexes, and takes the range of the smallest: an offset that it is added to there is overlooked.

Not traced: ids combined with each other or scaled before they index, and float16 ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, ValueInfoProto, numpy_helper
from onnx.external_data_helper import uses_external_data
from onnx.inliner import inline_local_functions

from mari_onnx.document.graph_view import bodies, captures, reads
from mari_onnx.errors import UserError
from mari_onnx.verification.inputs.draw import Bounds, Input, extents
from mari_onnx.verification.runtimes.onnxruntime import Array, RunError, Source, runner

_FIRST = frozenset({0})
_ANY: frozenset[int] = frozenset(range(1 << 12))
_MOVES: dict[str, frozenset[int]] = {
    **dict.fromkeys(("Cast", "CastLike", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"), _FIRST),
    **dict.fromkeys(("Slice", "Split", "Gather", "GatherND", "GatherElements"), _FIRST),
    **dict.fromkeys(("Transpose", "Expand", "Tile", "Pad"), _FIRST),
    **dict.fromkeys(("Clip", "Mod", "Floor", "Ceil", "Round", "Abs", "Relu", "Trilu"), _FIRST),
    **dict.fromkeys(("Concat", "Add", "Sub", "Mul", "Sum"), _ANY),
    "Where": frozenset({1, 2}),
    "ScatterND": frozenset({0, 2}),
    "ScatterElements": frozenset({0, 2}),
}
"""Operators that move or shift an id, and the operands that they do it to."""

_SEQUENCES = {"SplitToSequence", "SequenceAt", "ConcatFromSequence"}
"""The same for sequences, which only bodies are made of."""

_WRAPS = {"Clip", "Mod", "Abs", "Relu"}
"""Of those, the ones that bring a value into a range; the tags are kept out of it."""

_INDEXES = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1, "OneHot": 0}
"""Operators that index something, and the operand that is the index."""

_COMPARES = {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"}

_TAG = 1 << 20
"""Tags are _TAG, _TAG + 1, ... below twice that: exact in float32, and the sum of two is none."""

MOST_OFFSETS = 100
"""Fields of one shared table that are told apart."""

_UNBOUNDED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Trace:
    """What was learned: bounds by input, and the symbols of leading axes that another input indexes (requests).

    `tables` are the stored tables whose rows an input indexes, each with the offset that is added to the id.
    """

    bounds: dict[str, Bounds]
    requests: frozenset[str] = frozenset()
    tables: Mapping[str, frozenset[tuple[str, int]]] = field(default_factory=dict)

    def overridden(self, ranges: Mapping[str, tuple[float, float]], inputs: Sequence[Input]) -> Trace:
        """With other ranges for some inputs. Raises UserError for one that there is not, or that is empty."""
        bounds, known = dict(self.bounds), {each.name: each for each in inputs}
        for name, (low, high) in ranges.items():
            if name not in known:
                there = f"Its inputs are: {', '.join(known)}."
                raise UserError(f"The model has no input `{name}` to give a range.", there)
            if not low <= high:
                raise UserError(f"The range {low:g}:{high:g} of input `{name}` is empty.", "Give it as LOW:HIGH.")
            ids = known[name].dtype.kind in "iu" or (name in bounds and bounds[name].whole)
            if ids and not (float(low).is_integer() and float(high).is_integer()):
                raise UserError(f"Input `{name}` holds whole numbers, and {low:g}:{high:g} is no range of them.")
            dtype = np.int64 if ids else np.float64
            bounds[name] = Bounds(np.array(low, dtype), np.array(high, dtype), whole=ids)
        return replace(self, bounds=bounds)


def trace(source: Source, inputs: Sequence[Input]) -> Trace:
    """Trace the inputs of a model. Raises RunError when it runs neither on ones nor on zeros at a small batch."""
    requests: frozenset[str] = frozenset()
    while True:
        found = _trace_at(source, inputs, requests)
        if found.requests <= requests:
            return Trace(_in_bodies(source, inputs) | found.bounds, requests, found.tables)
        requests |= found.requests  # the extents change with it, and with them the bounds


def _trace_at(source: Source, inputs: Sequence[Input], requests: Collection[str]) -> Trace:
    failure: RunError | None = None
    # Ones first: a history of padding only is an edge case, which can crash onnxruntime's GRU with the whole process.
    for batch, value in ((2, 1), (7, 1), (2, 0), (1, 0)):
        try:
            return _Tracer(source, inputs, extents(inputs, batch, requests), value).trace()
        except RunError as error:
            failure = failure or error
    assert failure is not None
    raise failure


@dataclass(frozen=True)
class _Use:
    """A carried value used by a node, as an index or in a comparison with `other`."""

    node: NodeProto
    value: str
    other: str


@dataclass
class _Flow:
    """Where ids go: the nodes that move them, in order, and the uses that they come to.

    A node that also takes an id in another place than those that it moves (the index of a Gather of ids) moves all the
    same; there, the id is one of the node's fixed operands.
    """

    carried: set[str]
    moves: list[NodeProto] = field(default_factory=list)
    uses: list[_Use] = field(default_factory=list)

    def follow(self, nodes: Iterable[NodeProto]) -> None:
        for node in nodes:
            carried = {i for i, name in enumerate(node.input) if name in self.carried}
            index = _INDEXES.get(node.op_type)
            if index in carried:
                assert index is not None
                self.uses.append(_Use(node, node.input[index], node.input[1 - index]))
            if node.op_type in _COMPARES and len(carried) == 1:
                (side,) = carried
                self.uses.append(_Use(node, node.input[side], node.input[1 - side]))
            if self._moves(node, carried):
                self.moves.append(node)
                self.carried.update(filter(None, node.output))

    def fixed(self, node: NodeProto) -> dict[int, str]:
        """The operands of a move that stay as they are."""
        moved = _MOVES.get(node.op_type, frozenset())
        return {i: n for i, n in enumerate(node.input) if n and not (n in self.carried and i in moved)}

    def _moves(self, node: NodeProto, carried: set[int]) -> bool:
        if node.op_type != "If":
            return node.domain in ("", "ai.onnx") and not carried.isdisjoint(_MOVES.get(node.op_type, frozenset()))
        if self.carried.isdisjoint(captures(node)):
            return False
        branches = [(_Flow(set(self.carried)), graph) for graph in bodies(node)]
        for flow, graph in branches:
            flow.follow(graph.node)
        return all(not flow.uses for flow, _ in branches)


class _Tracer:
    """One tracing of a model at fixed extents; what is not traced is as it is when every input holds `value`."""

    def __init__(self, source: Source, inputs: Sequence[Input], sizes: Mapping[str, int], value: int) -> None:
        self.source = source
        self.model = inline_local_functions(source.proto) if source.proto.functions else source.proto
        self.inputs = {each.name: each for each in inputs}
        self.sizes = sizes
        self.constants = {t.name: t for t in self.model.graph.initializer}
        self.plain = {each.name: _filled(each, sizes, value) for each in inputs}
        self.zeros = {each.name: _filled(each, sizes, 0) for each in inputs}

    def trace(self) -> Trace:
        taggable = [each.name for each in self.inputs.values() if each.dtype.kind in "iuf" and each.dtype.itemsize >= 4]
        flow = _Flow(set(taggable))
        flow.follow(self.model.graph.node)
        moves = _needed(flow.moves, {use.value for use in flow.uses})
        known, shapes = self._run_plainly(moves, flow)

        tags, first = {}, _TAG
        for name in taggable:
            size = self.zeros[name].size
            if first + size < 2 * _TAG:
                tags[name] = first
                first += size
        tagged = {
            name: (np.arange(zeros.size) + tags[name]).reshape(zeros.shape).astype(zeros.dtype)
            if name in tags
            else zeros
            for name, zeros in self.zeros.items()
        }
        move = self._mover(moves, {use.value for use in flow.uses}, flow, known)
        at_zero, at_tags = move(self.zeros), move(tagged)
        return self._read(flow.uses, at_zero, at_tags, tags, known, shapes)

    def _run_plainly(self, moves: list[NodeProto], flow: _Flow) -> tuple[dict[str, Array], dict[str, list[int]]]:
        """What moves and comparisons take besides ids, and the shape of all that is indexed."""
        operands = {name for node in moves for name in flow.fixed(node).values()}
        operands |= {name for node in moves for name in {*captures(node)} - flow.carried}
        by_value = [use for use in flow.uses if use.node.op_type in _COMPARES | {"OneHot"}]
        operands |= {use.other for use in by_value if use.other not in flow.carried}
        indexed = {use.other for use in flow.uses if use not in by_value}
        known = {name: self.plain[name] for name in operands & self.plain.keys()}
        for name in operands & self.constants.keys():
            if uses_external_data(self.constants[name]):
                raise RunError(f"`{name}`, which moves ids, is in external data")
            known[name] = numpy_helper.to_array(self.constants[name])
        shapes = {name: list(self.constants[name].dims) for name in indexed & self.constants.keys()}

        probe = onnx.ModelProto()
        probe.CopyFrom(self.model)
        fetched = sorted(operands - known.keys())
        shaped = {name: f"{name}.shape" for name in sorted(indexed - self.constants.keys())}
        probe.graph.node.extend(onnx.helper.make_node("Shape", [name], [shape]) for name, shape in shaped.items())
        present = {output.name for output in probe.graph.output}
        wanted = [name for name in (*fetched, *shaped.values()) if name not in present]
        probe.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
        values = runner(self.source.variant(probe))(self.plain)
        known |= {name: values[name] for name in fetched}
        return known, shapes | {name: values[shape].tolist() for name, shape in shaped.items()}

    def _mover(
        self, moves: list[NodeProto], wanted: set[str], flow: _Flow, known: Mapping[str, Array]
    ) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """The moves as a function of the inputs; all else that they take is constant."""
        graph = onnx.helper.make_graph([], "moves", [], [])
        constants = {name: known[name] for node in moves for name in {*captures(node)} - flow.carried}
        for i, node in enumerate(moves):
            copy = graph.node.add()
            copy.CopyFrom(node)
            if node.op_type in _WRAPS:
                copy.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], node.output))
                continue
            for k, name in flow.fixed(node).items():
                copy.input[k] = f"{name}.fixed{i}"
                constants[copy.input[k]] = _transparent(node, known[name], flow.carried)
        outputs = sorted(wanted - self.inputs.keys())
        used = {name for node in graph.node for name in reads(node)}
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        graph.input.extend(i for i in self.model.graph.input if i.name in used and i.name in self.inputs)
        graph.output.extend(ValueInfoProto(name=name) for name in outputs)
        if not outputs:
            return lambda feeds: {name: feeds[name] for name in wanted}
        model = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        run = runner(self.source.variant(model))
        fed = [each.name for each in graph.input]

        def move(feeds: Mapping[str, Array]) -> dict[str, Array]:
            return run({name: feeds[name] for name in fed}) | {name: feeds[name] for name in wanted & feeds.keys()}

        return move

    def _read(
        self,
        uses: list[_Use],
        at_zero: Mapping[str, Array],
        at_tags: Mapping[str, Array],
        tags: Mapping[str, int],
        known: Mapping[str, Array],
        shapes: Mapping[str, list[int]],
    ) -> Trace:
        """Find the tags where values are used, and bound the elements that they name."""
        total = sum(self.zeros[name].size for name in tags)
        indexing, compared = _Limits.none(total), _Limits.none(total)
        origins = self._origins()
        requests: set[str] = set()
        tables: dict[str, set[tuple[str, int]]] = defaultdict(set)
        arrivals = []
        offsets = defaultdict(set)  # by table: several fields may share one, each from its own offset on
        for use in uses:
            start, end = (np.nan_to_num(np.rint(at[use.value])).astype(np.int64) for at in (at_zero, at_tags))
            element = end - start - _TAG
            arrived = (element >= 0) & (element < total)
            arrivals.append((use, start, element, arrived))
            if use.node.op_type not in _COMPARES:
                offsets[use.other].update(np.unique(start[arrived]).tolist())
        for use, start, element, arrived in arrivals:
            if use.node.op_type in _COMPARES:
                if use.other in known and np.isfinite(known[use.other]).all():
                    low, high = _compared(use.node, known[use.other])
                    compared.narrow(element[arrived], low - start[arrived], high - start[arrived])
                continue
            extent = _indexed_extents(use, shapes, known, start.shape)
            if extent is None:
                continue
            ends = np.minimum(extent, _next(start, sorted(offsets[use.other]))) - 1
            indexing.narrow(element[arrived], -start[arrived], (ends - start)[arrived])
            if use.other in self.constants:
                rows = _first_axis(use, start.shape) & arrived
                for offset in np.unique(start[rows])[:MOST_OFFSETS]:
                    for name in self._named(element[rows & (start == offset)], tags):
                        tables[name].add((use.other, int(offset)))
            if use.other in shapes:
                rows = _first_axis(use, start.shape) & arrived & (start == 0)
                for name in self._named(element[rows], tags):
                    requests |= self._requests(name, use.other, shapes, origins)
        bounds = dict(self._bounds(tags, indexing, compared))
        return Trace(bounds, frozenset(requests), {name: frozenset(found) for name, found in tables.items()})

    def _bounds(self, tags: Mapping[str, int], indexing: _Limits, compared: _Limits) -> Iterator[tuple[str, Bounds]]:
        either = indexing.or_else(compared)
        for name, first in tags.items():
            zeros = self.zeros[name]
            limits = either if zeros.dtype.kind in "iu" else indexing  # a feature is compared, too
            part = slice(first - _TAG, first - _TAG + zeros.size)
            low, high = limits.low[part].reshape(zeros.shape), limits.high[part].reshape(zeros.shape)
            dynamic = tuple(axis for axis, dim in enumerate(self.inputs[name].dims) if isinstance(dim, str))
            low, high = low.max(axis=dynamic, keepdims=True), high.min(axis=dynamic, keepdims=True)
            traced = (high != _UNBOUNDED) & (low <= high)
            if traced.any():
                yield name, Bounds(np.where(traced, low, 0), np.where(traced, high, 1))

    def _named(self, elements: Array, tags: Mapping[str, int]) -> list[str]:
        return [
            name
            for name, first in tags.items()
            if ((elements >= first - _TAG) & (elements < first - _TAG + self.zeros[name].size)).any()
        ]

    def _requests(
        self, index: str, indexed: str, shapes: Mapping[str, list[int]], origins: Mapping[str, set[str]]
    ) -> set[str]:
        """The symbol of the rows that input `index` picks from `indexed`, when they are another input's rows."""
        symbols = {rows for name in origins.get(indexed, ()) if (rows := self.inputs[name].rows) is not None}
        own = self.inputs[index].rows
        if own is None or own in symbols or not symbols or not shapes[indexed]:
            return set()
        return {symbol for symbol in symbols if shapes[indexed][0] == self.sizes[symbol]}

    def _origins(self) -> dict[str, set[str]]:
        """The inputs that each value is computed from; a shape is from none."""
        origins = {name: {name} for name in self.inputs}
        for node in self.model.graph.node:
            if node.op_type not in ("Shape", "Size"):
                found = set().union(*(origins.get(name, ()) for name in reads(node)))
                origins.update((name, found) for name in node.output)
        return origins


def _in_bodies(source: Source, inputs: Sequence[Input]) -> dict[str, Bounds]:
    """The ranges of integer inputs that index something in a body, by the extent of the smallest table there."""
    model = inline_local_functions(source.proto) if source.proto.functions else source.proto
    ids = {each.name: frozenset({each.name}) for each in inputs if each.dtype.kind in "iu"}
    reached: dict[str, int] = {}
    _follow(model.graph, ids, {}, reached, within=False)
    return {name: Bounds(np.array(0), np.array(rows - 1)) for name, rows in reached.items() if rows > 0}


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
        index = _INDEXES.get(node.op_type)
        if within and index is not None and index < len(node.input) and node.op_type != "OneHot":
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            dims = shapes.get(node.input[1 - index])
            for name in carried.get(node.input[index], ()) if dims else ():
                assert dims is not None
                reached[name] = min(reached.get(name, dims[axis]), dims[axis])
        moved = _MOVES.get(node.op_type, _FIRST if node.op_type in _SEQUENCES else frozenset())
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


@dataclass(frozen=True)
class _Limits:
    """Bounds of every element of every input, by the number in its tag."""

    low: Array
    high: Array

    @classmethod
    def none(cls, total: int) -> _Limits:
        return cls(np.zeros(total, np.int64), np.full(total, _UNBOUNDED))

    def narrow(self, elements: Array, low: Array, high: Array) -> None:
        np.maximum.at(self.low, elements, low)
        np.minimum.at(self.high, elements, high)

    def or_else(self, other: _Limits) -> _Limits:
        """These, and the other's where there are none."""
        missing = self.high == _UNBOUNDED
        return _Limits(np.where(missing, other.low, self.low), np.where(missing, other.high, self.high))


def _filled(each: Input, sizes: Mapping[str, int], value: int) -> Array:
    return np.full(each.shape(sizes), *((str(value), object) if each.dtype.kind == "U" else (value, each.dtype)))


def _needed(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that compute what is wanted, in order."""
    wanted, kept = set(wanted), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]


def _transparent(node: NodeProto, value: Array, carried: set[str]) -> Array:
    """An operand of Mul or Where that lets every id through: a mask is taken for open, a choice falls on the ids."""
    if node.op_type == "Mul":
        return np.where(value == 0, np.ones_like(value), value)
    if node.op_type == "Where" and value.dtype == np.bool_ and (node.input[1] in carried) != (node.input[2] in carried):
        return np.full_like(value, node.input[1] in carried)
    return value


def _compared(node: NodeProto, other: Array) -> tuple[int, int]:
    """Bounds that let a comparison come out both ways."""
    low, high = (int(other.min()), int(other.max())) if other.size else (0, 1)
    if low == high:
        return low, high + 1
    strict = node.op_type in ("Less", "Greater")
    return low + strict, high + strict


def _indexed_extents(
    use: _Use, shapes: Mapping[str, list[int]], known: Mapping[str, Array], shape: tuple[int, ...]
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


def _first_axis(use: _Use, shape: tuple[int, ...]) -> Array:
    """Which elements of an index run over the leading axis."""
    attributes = {a.name: a.i for a in use.node.attribute}
    if use.node.op_type == "GatherND" and not attributes.get("batch_dims", 0):
        return np.broadcast_to(np.arange(shape[-1]) == 0, shape)
    return np.full(shape, use.node.op_type == "Gather" and not attributes.get("axis", 0))


def _next(start: Array, offsets: Sequence[int]) -> Array:
    """The next offset after each one, where another field's part of a shared table begins.

    An offset that is only one further shifts the same ids, as a history may be to make room for padding.
    """
    if not offsets:
        return np.full(start.shape, _UNBOUNDED)
    place = np.searchsorted(offsets, start + 1, side="right")
    following: Array = np.append(offsets, _UNBOUNDED)[place]
    return following
