"""Loops over bags of ids, as both exporters of PyTorch write EmbeddingBag: all turns at once.

    for t in 0 .. B-1:  y[t] = ReduceSum(Gather(table, ids[t*L : t*L + L]))     ids [B*L], as exported
    y = ReduceSum(Gather(table, Reshape(ids, [B, L])), axis 1)                  what stands for the loop

The body is traced once, for a turn t that is a symbol. What it computes of t alone is evaluated as shapes are: the
start t*L of the bag is an entry of the offsets 0, L, 2*L, ... The rows [t*L, t*L + L) of a tensor are row t of the
tensor [B, L, ...], and each node that computes with this row becomes the same node on all rows (see `all_rows`). The
rules then find what the user's rows have in common.

The dynamo exporter collects rows in a sequence, and divides the sum of the last bag by a count. Of an If on t == B - 1
the first branch is traced with t = B - 1, and both branches have to give the same. With a padding index a loop in the
loop goes over the places of the bag, and keeps those with other ids: a Where, of a place p that is a symbol.

A loop of one turn, as over the one bag of a user's row, is its body, of turn 0.

Holds when each turn reads rows of its own and nothing of the turns before it, and when the number of turns is known
before the first. Rounding: the mean of the last bag is computed as that of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import onnx
from onnx import TensorProto

from mari_onnx.analysis import all_rows
from mari_onnx.analysis.all_rows import INTEGERS, AllRows, Chosen, Fixed, NotTracedError, Rows, axis_of, is_scalar
from mari_onnx.analysis.context import INT64, Context, Op
from mari_onnx.analysis.offsets import Progression, elements_of, progression
from mari_onnx.analysis.one_row import counts
from mari_onnx.analysis.shape_values import Content, content
from mari_onnx.ir.axes import Refused, extents
from mari_onnx.ir.extents import Extent, Poly, compare, product, symbol, total
from mari_onnx.ir.forms import Value

TURN, PLACE = symbol(all_rows.TURN), symbol(all_rows.PLACE)

COMPARES = frozenset({"Equal", "Less"})
BOOLEAN = frozenset({"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or"})
EXACT_FLOAT = 2**24
"""Up to here a count is the same number as a float32."""


AS_A_SUM = "an EmbeddingBag can be written as an Embedding, and the sum, mean or maximum of what it gives"
INNER = "its body has a Loop of a kind that is not understood"


@dataclass(frozen=True)
class Collected:
    """A sequence to which the body adds one tensor in each turn; None before it does."""

    added: Rows | None = None


@dataclass(frozen=True)
class Places:
    """Places of a bag that a loop keeps: `grown` says that this one is kept too, and `kept` in which places that is."""

    grown: bool = False
    kept: Rows | None = None


Traced: TypeAlias = "Value | Rows | Fixed | Collected | Places | Chosen"
Env: TypeAlias = "dict[str, Traced]"


@dataclass(frozen=True)
class AllTurns:
    """What stands for a loop: its nodes, and what each of its outputs is: rows, a sequence of them, or a counter."""

    nodes: AllRows
    outputs: list[Rows | Collected | Value]


def all_turns(
    ctx: Context, op: Op, values: Mapping[str, Value], makers: Mapping[str, onnx.NodeProto]
) -> AllTurns | Refused | None:
    """The nodes that stand for a loop of as many turns as there are candidates; None for any other loop.

    `values` are those of the graph around the loop by name, and `makers` the nodes that make them. Refused where the
    turns are not known to be rows of what the loop reads.
    """
    try:
        trace = _Trace(ctx, op, values, makers)
    except NotTracedError:
        return None
    try:
        return trace.loop() if trace.turns == 1 or counts(ctx, trace.turns) else None
    except NotTracedError as why:
        return None if trace.turns == 1 else Refused(f"a Loop over the candidates is not understood: {why}", AS_A_SUM)


class _Trace:
    """One loop of so many `turns`. `turn` is the number of the turn: TURN, and where it is the last that number.

    `place` is the first place that a loop in the loop goes over, None outside of one, and `width` how many they are.
    """

    def __init__(self, ctx: Context, op: Op, values: Mapping[str, Value], makers: Mapping[str, onnx.NodeProto]) -> None:
        self.ctx, self.op, self.values, self.makers = ctx, op, values, makers
        self.nodes = AllRows(ctx.b, op.opset, values)
        self.turns = self._turns()
        self.turn: Extent = 0 if self.turns == 1 else TURN
        self.place: Extent | None = None
        self.width: int = 0
        self.compared: dict[str, tuple[str, Extent, Extent]] = {}

    def loop(self) -> AllTurns:
        body: onnx.GraphProto = self.op.attribute("body")
        starts = [self._start(name) for name in self.op.proto.input[2:]]
        env: Env = {
            body.input[0].name: self.nodes.number(self.turn, INT64),
            body.input[1].name: self.nodes.number(True, TensorProto.BOOL),
        }
        env.update((i.name, self._counted(s, self.turn)) for i, s in zip(body.input[2:], starts, strict=True))
        condition, *after = self._graph(body, env)
        if self.turns == 1:
            goes_on = self.op.input(0) is not None or (isinstance(condition, Value) and _is(condition, False))
        elif self.op.input(0) is None:
            goes_on = self.compared.get(body.output[0].name) == ("Less", TURN + 1, self.turns)
        else:
            goes_on = isinstance(condition, Value) and _is(condition, True)
        if not goes_on:
            raise NotTracedError("whether it goes on is decided in each turn")
        states = [self._end(state, start) for state, start in zip(after, starts, strict=False)]
        rows = [v for v in after[len(starts) :] if isinstance(v, Rows)]
        if len(states) + len(rows) < len(after):
            raise NotTracedError("what it collects is no row of what it reads")
        return AllTurns(self.nodes, [*states, *rows])

    # The number of turns, and what is kept from turn to turn

    def _turns(self) -> Extent:
        """The number of turns: an input of the loop, or n of one that goes on while its counter is less than n."""
        trips, condition = self.op.input(0), self.op.input(1)
        if trips is not None:
            given = elements_of(trips)
            if given is not None and (condition is None or _is(condition, True)):
                return _one(given)
        elif condition is not None and _is(condition, True):
            return 1  # if the body says so, which is seen when it is traced
        elif (maker := self.makers.get(self.op.proto.input[1])) is not None and maker.op_type == "Less":
            first, last = (elements_of(self._outer(name)) for name in maker.input)
            if first is not None and last is not None and _one(first) == 0:
                return _one(last)
        raise NotTracedError("how often it runs is not known before it runs")

    def _start(self, name: str) -> Value | Collected:
        maker = self.makers.get(name)
        if maker is not None and maker.op_type == "SequenceEmpty":
            return Collected()
        value = self._outer(name)
        elements = elements_of(value)
        if elements is None or elements.size != 1 or value.dtype not in INTEGERS:
            raise NotTracedError(f"it keeps the state `{name}` from turn to turn")
        return value

    def _counted(self, start: Value | Collected, turn: Extent) -> Value | Collected:
        """A state at the start of a turn: the sequence, or a counter."""
        if isinstance(start, Collected) or start.content is None:
            return start
        return self.nodes.number(start.content + turn, start.dtype)

    def _end(self, state: Traced, start: Value | Collected) -> Collected | Value:
        """A state after the last turn. Raises unless the counter grows by one in each."""
        if isinstance(state, Collected) and state.added is not None:
            return state
        following, end = (self._counted(start, turn) for turn in (self.turn + 1, self.turns))
        if isinstance(state, Value) and isinstance(following, Value) and _alike(state, following):
            return end
        raise NotTracedError("it keeps a state from turn to turn")

    # Tensors

    def _outer(self, name: str) -> Value:
        value = self.values.get(name)
        if value is None or value.dims is None:
            raise NotTracedError(f"the shape of `{name}` is not known")
        return value

    def _stored(self, tensor: TensorProto) -> Traced:
        """A constant of the body: its elements where they are integers, else one among the nodes."""
        known = tensor.data_type in (*INTEGERS, TensorProto.BOOL)
        elements = self.ctx.array_of(tensor).astype(object) if known else None
        return self.nodes.stored(tensor) if elements is None else self.nodes.number(elements, tensor.data_type)

    # Nodes of the body

    def _graph(self, graph: onnx.GraphProto, env: Mapping[str, Traced]) -> list[Traced]:
        """The outputs of a graph in the body, or of the body itself."""
        known = {**env, **{t.name: self._stored(t) for t in graph.initializer}}
        for node in graph.node:
            known.update(zip(node.output, self._node(node, known), strict=True))
        return [self._read(known, o.name) for o in graph.output]

    def _read(self, env: Mapping[str, Traced], name: str) -> Traced:
        return env[name] if name in env else self._outer(name)

    def _node(self, node: onnx.NodeProto, env: Env) -> Sequence[Traced]:
        if node.domain not in ("", "ai.onnx"):
            raise NotTracedError(f"its body has {node.domain}.{node.op_type}")
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            return [self._stored(node.attribute[0].t)]
        read = [self._read(env, name) for name in node.input if name]
        if node.op_type == "If":
            return self._if(node, env, read[0])
        if node.op_type == "Loop":
            return self._over_places(node, env, read)
        if read and all(isinstance(v, Value) for v in read):
            op = Op(node, tuple(v for v in read if isinstance(v, Value)), self.op.opset)
            if (found := self._of_numbers(op)) is not None:
                return [found]
        elif (found := self._of_rows(node, read)) is not None:
            return [found]
        raise NotTracedError(f"its body has {node.op_type}, of a kind that is not understood")

    def _of_numbers(self, op: Op) -> Traced | None:
        """A node that reads no row: an entry of offsets, the rows of a turn, or the arithmetic of its number."""
        name, given = op.proto.input[0], [elements_of(v) for v in op.inputs[1:]]
        located = op.op_type in ("Gather", "Slice") and elements_of(op.data) is None
        if located and all(e is not None and e.size == 1 for e in given):
            places = [_one(e) for e in given if e is not None]
            offsets = progression(name, self.values, self.makers)
            shape = (1,) if op.op_type == "Slice" or given[0] is None else given[0].shape
            if offsets is not None and (entry := self._entry(op, offsets, places)) is not None:
                return self.nodes.number(np.full(shape, entry, object), op.data.dtype)
            if name in self.values and (rows := self._rows(op, places)) is not None:
                return rows
        read = [elements_of(v) for v in op.inputs]
        if op.op_type == "CastLike" and read[0] is not None and {v.dtype for v in op.inputs if v} <= INTEGERS:
            return self.nodes.number(read[0], op.inputs[1].dtype if op.inputs[1] else INT64)
        if op.op_type == "Cast" and read[0] is not None and _is_count(read[0], op.attribute("to")):
            return replace(op.data, name="", dtype=op.attribute("to"))
        if op.op_type in COMPARES and all(e is not None and e.size == 1 for e in read):
            a, b = (_one(e) for e in read if e is not None)
            self.compared[op.name] = op.op_type, a, b
        elements = content(op, self.ctx)
        if elements is not None and all(e is not None for e in elements.flat):
            dtype = TensorProto.BOOL if op.op_type in BOOLEAN else INT64
            return self.nodes.number(elements, op.attribute("to", dtype) if op.op_type == "Cast" else dtype)
        return replace(op.data, name="", content=None) if op.name in self.compared else None  # decided by the turn

    def _entry(self, op: Op, offsets: Progression, places: Sequence[Extent]) -> Extent | None:
        """The entry of the offsets that belongs to the turn: Gather by its number, or a Slice of one entry."""
        index, *more = places
        if more != [index + 1, 0, 1][: len(more)] or (op.op_type == "Slice" and not more):
            return None
        ahead = index - self.turn
        last = ahead + self.turns - 1
        if axis_of(op.proto) or not isinstance(ahead, int) or ahead < 0 or compare(last, offsets.count) != -1:
            return None
        return offsets.entry(index)

    def _rows(self, op: Op, places: Sequence[Extent]) -> Rows | None:
        """The rows [t*L, t*L + L) of a tensor [turns*L, ...], or its place t*L + p: row t of it as [turns, L, ...]."""
        start, *more = places
        if op.op_type == "Gather":
            if self.place is None or start != self.place + PLACE or len(op.data.known_dims) != 1:
                return None
            start, more = self.place, [self.place + self.width]
        if not more or list(more[1:]) != [0, 1][: len(more) - 1] or not op.data.dims:
            return None
        return self._row(op.proto.input[0], start, more[0] - start)

    def _row(self, name: str, start: Extent, width: Extent) -> Rows | None:
        whole, *rest = extents(self._outer(name).known_dims)
        if not all(isinstance(e, int) for e in (width, *rest)) or width * self.turn != start:
            return None
        if compare(width, 0) != 1 or whole != width * self.turns:
            return None
        shape = (width, *rest)
        return Rows(self.nodes.emit("Reshape", [name, self.nodes.integers([-1, *shape])], name), shape)

    def _of_rows(self, node: onnx.NodeProto, read: Sequence[Traced]) -> Traced | None:
        """A node that reads rows of the turn, or what was made of them."""
        first, second = read[0], read[1] if len(read) > 1 else None
        if isinstance(first, Collected):
            adds = node.op_type == "SequenceInsert" and first.added is None and len(read) == 2
            return Collected(second) if adds and isinstance(second, Rows) else None
        if isinstance(first, Places):
            return self._of_places(node, first, second)
        if isinstance(second, Places):
            whole = node.op_type == "Gather" and isinstance(first, Value) and not axis_of(node)
            rows = self._row(node.input[0], self.turn * self.width, self.width) if whole else None
            return None if rows is None or second.kept is None else Chosen(rows, second.kept)
        operands = [v for v in read if isinstance(v, Rows | Fixed | Value | Chosen)]
        if self.place is not None and any(not isinstance(v, Rows) and not is_scalar(v) for v in operands):
            return None
        return self.nodes.node(node, operands, alone=self.place is not None)

    def _of_places(self, node: onnx.NodeProto, places: Places, added: Traced | None) -> Traced | None:
        """A node that reads the places of a bag which a loop keeps: one more place, or how many they are."""
        if node.op_type == "Identity":
            return places
        if node.op_type == "Size" and places.kept is not None:
            return self.nodes.count(places.kept, node.output[0])
        elements = elements_of(added) if isinstance(added, Value) else None
        here = elements is not None and self.place is not None and elements.tolist() == [self.place + PLACE]
        return Places(grown=True) if node.op_type == "Concat" and here and places == Places() else None

    # Branches, and loops over places

    def _if(self, node: onnx.NodeProto, env: Env, condition: Traced) -> Sequence[Traced]:
        """The outputs of the branch that is taken. Of both, where rows decide, and where both give the same."""
        then, other = (next(a.g for a in node.attribute if a.name == n) for n in ("then_branch", "else_branch"))
        known = elements_of(condition) if isinstance(condition, Value) else None
        if known is not None:
            return self._graph(then if known.item() else other, env)
        if isinstance(condition, Rows):
            results = zip(self._graph(then, env), self._graph(other, env), strict=True)
            return [self._either(node, condition, *both) for both in results]
        kind, a, b = self.compared.get(node.input[0], ("", 0, 0))
        last = self.turns - 1
        if kind != "Equal" or self.turn != TURN or a - b not in (TURN - last, last - TURN):
            raise NotTracedError("a branch of its body depends on what it reads")
        self.turn = last
        first = self._graph(then, {name: self._in_turn(value, last) for name, value in env.items()})
        self.turn = TURN
        second = self._graph(other, env)
        if first != second or not all(isinstance(v, Rows) for v in first):
            raise NotTracedError("its last turn computes something else than those before it")
        return second

    def _either(self, node: onnx.NodeProto, condition: Rows, then: Traced, other: Traced) -> Traced:
        """What one branch gives where rows decide: a Where; or the places that a loop keeps where it is true."""
        if then == Places(grown=True) and other == Places():
            return Places(kept=condition)
        if isinstance(then, Rows | Fixed) and isinstance(other, Rows | Fixed):
            alone = all(v.shape == condition.shape for v in (then, other))
            if alone if self.place is not None else condition.shape == ():
                return self.nodes.where(condition, then, other, node.output[0])
        raise NotTracedError("a branch of its body depends on what it reads")

    def _over_places(self, node: onnx.NodeProto, env: Env, read: Sequence[Traced]) -> Sequence[Traced]:
        """A loop over the places of a bag, [t*L, t*L + L), that keeps some of them: the last place, and those kept."""
        body = next(a.g for a in node.attribute if a.name == "body")
        kind, start, stop = self.compared.get(node.input[1], ("", 0, 0))
        width, counter, kept = stop - start, *read[-2:]
        numbers = [elements_of(v) if isinstance(v, Value) else None for v in (counter, kept)]
        at_start = numbers[0] is not None and numbers[0].size == 1 and _one(numbers[0]) == start
        empty = numbers[1] is not None and numbers[1].shape == (0,)
        loops = len(node.input) == 4 and not node.input[0] and len(body.output) == 3 and self.place is None
        if not (
            loops and kind == "Less" and at_start and empty and isinstance(width, int) and start == width * self.turn
        ):
            raise NotTracedError(INNER)
        self.place, self.width = start, width
        _, condition, place, list_ = (i.name for i in body.input)
        here = self.nodes.number(start + PLACE, INT64)
        known = {**env, condition: self.nodes.number(True, TensorProto.BOOL), place: here, list_: Places()}
        _, after, places = self._graph(body, known)
        self.place = None
        goes_on = self.compared.get(body.output[0].name) == ("Less", start + PLACE + 1, stop)
        one_more = isinstance(after, Value) and _alike(after, self.nodes.number(start + PLACE + 1, INT64))
        if not (goes_on and one_more and isinstance(places, Places) and places.kept is not None):
            raise NotTracedError(INNER)
        return [self.nodes.number(stop, INT64), places]

    def _in_turn(self, value: Traced, turn: Extent) -> Traced:
        """What is known of a number, in one turn."""
        if not isinstance(value, Value) or value.content is None:
            return value
        elements = np.empty(value.content.shape, object)
        for place, e in np.ndenumerate(value.content):
            elements[place] = _substituted(e, turn) if isinstance(e, Poly) else e
        return replace(self.nodes.number(elements, value.dtype), name=value.name)


def _substituted(extent: Poly, turn: Extent) -> Extent:
    """The extent with the number of the turn in place of its symbol."""
    terms = extent.terms
    return total(c * product(turn if s == all_rows.TURN else symbol(s) for s in monomial) for monomial, c in terms)


def _one(elements: Content) -> Extent:
    """The one element of a tensor of extents."""
    found: Extent = elements.item()
    return found


def _is(value: Value, known: bool) -> bool:
    elements = elements_of(value)
    return elements is not None and elements.size == 1 and elements.item() is known


def _alike(value: Value, other: Value) -> bool:
    """Whether two values hold the same numbers."""
    a, b = elements_of(value), elements_of(other)
    return a is not None and b is not None and a.tolist() == b.tolist()


def _is_count(elements: Content, to: int) -> bool:
    """Whether integers are the same numbers as floats of this type."""
    exact = to in (TensorProto.FLOAT, TensorProto.DOUBLE)
    return exact and all(type(e) is int and 0 <= e <= EXACT_FLOAT for e in elements.flat)
