"""Which names of leading axes are in doubt, because an operator takes rows together or selects some of them.

    history [N, 4], item [N, 3]     ReduceMean(history) along axis 0: N may be the length of the user's history
    rows [N, 4], index [N]          Gather(rows, index): N may be the number of requests, and that of candidates
    user [N, 4], item [N, 3]        Concat(user, item) along axis 1: the rows of both are those of the batch

Nearly all names are those of the batch, and an interpretation that shows it takes time. So this walk only looks at the
nodes that read rows, and follows them: a tensor has the rows of the inputs that it is computed from, unless its first
axis is another one. It is no proof. A name that it does not doubt is taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from mari_onnx.document.graph_view import Model
from mari_onnx.document.scopes import bodies, reads
from mari_onnx.ir.operators import traits_of

WITH_BODIES = frozenset({"If", "Loop", "Scan"})

Rows: TypeAlias = frozenset[str]
"""The inputs whose rows a tensor has."""

NONE: Rows = frozenset()

LARGE = 2**31 - 1
"""An end of a Slice from which on it means the end of the axis."""

SHAPES = frozenset({"Shape", "Size"})


def names_in_doubt(model: Model, leading: Mapping[str, str]) -> set[str]:
    """The names among `leading`, which has the name of each input's leading axis, that are not taken at their word.

    Rows of them are taken together, or no node reads what comes of all inputs that have one.
    """
    rows = {name: frozenset({name}) for name in leading}
    read_by = dict(rows)
    met = {name: name for name in leading}
    doubt: set[str] = set()
    made: dict[str, onnx.NodeProto] = {}
    for proto in _nodes(model.graph):
        if proto.op_type == "Constant":
            made[proto.output[0]] = proto
        read = reads(proto) if proto.op_type in WITH_BODIES else proto.input
        behind = {read_by[name] for name in read if name in read_by}
        if not behind or proto.op_type in SHAPES:
            continue
        all_behind = behind.pop() if len(behind) == 1 else _together(met, NONE.union(*behind), leading)
        outputs = list(filter(None, proto.output))
        read_by.update(dict.fromkeys(outputs, all_behind))
        given = [rows.get(name, NONE) for name in read]
        if proto.op_type == "NonZero" or not any(given):
            continue
        found, kept = _effect(_Node(model, proto, made, leading, given))
        if found:
            doubt.update(leading[name] for name in found)
        if kept:
            rows.update(dict.fromkeys(outputs, kept))
    several: dict[str, set[str]] = {}
    for name, axis in leading.items():
        several.setdefault(axis, set()).add(_met(met, name))
    return doubt | {axis for axis, inputs in several.items() if len(inputs) > 1}


def _together(met: dict[str, str], rows: Rows, leading: Mapping[str, str]) -> Rows:
    """Note that a node reads what comes of all these inputs. Of those with one name, one is left for all."""
    first: dict[str, str] = {}
    for name in rows:
        one = _met(met, name)
        met[one] = first.setdefault(leading[one], one)
    return frozenset(first.values())


def _met(met: Mapping[str, str], name: str) -> str:
    """The input that stands for all that met `name`."""
    while met[name] != name:
        name = met[name]
    return name


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, each If after the nodes of its branches, which read what they read by name."""
    for node in graph.node:
        if node.op_type == "If":
            for branch in bodies(node):
                yield from _nodes(branch)
        yield node


@dataclass(frozen=True)
class _Node:
    """A node with the rows that each of its inputs has, and the names of their axes."""

    model: Model
    proto: onnx.NodeProto
    made: Mapping[str, onnx.NodeProto]
    """The nodes of constants, by the names of these."""

    leading: Mapping[str, str]
    rows: list[Rows]

    @property
    def all(self) -> Rows:
        return self.rows[0] if len(self.rows) == 1 else NONE.union(*self.rows)

    def of(self, i: int) -> Rows:
        """The rows of input i."""
        return self.rows[i] if i < len(self.rows) else NONE

    def alike(self, i: int, j: int) -> Rows:
        """The rows of input i whose axis has the name of one of input j."""
        names = {self.leading[name] for name in self.of(j)}
        return frozenset(name for name in self.of(i) if self.leading[name] in names)

    def integers(self, attribute: str, i: int) -> list[int] | None:
        """An attribute, or the constant elements of input i; None where it is left out or computed."""
        for a in self.proto.attribute:
            if a.name == attribute:
                return list(a.ints) or [a.i]
        name = self.proto.input[i] if i < len(self.proto.input) else ""
        tensor = self.model.constant(self.made[name]) if name in self.made else self.model.initializers.get(name)
        return None if tensor is None else [int(e) for e in self.model.array_of(tensor).flat]


Effect: TypeAlias = tuple[Rows, Rows]
"""The rows that a node takes together, and those that its outputs have."""


def _effect(node: _Node) -> Effect:
    traits = traits_of(node.proto.op_type, node.proto.domain)
    if node.proto.op_type == "If":
        return NONE, node.all
    if traits is None:
        return node.all, NONE
    if traits.elementwise:
        return NONE, node.all
    if traits.reduction:
        return _reduction(node)
    if node.proto.op_type in EFFECTS:
        return EFFECTS[node.proto.op_type](node)
    given = node.integers("axis", LARGE)
    axis = given[0] if given else traits.default_axis(node.model.opset)
    return node.all if traits.along and axis == 0 else NONE, node.all


def _reduction(node: _Node) -> Effect:
    axes = node.integers("axes", 1)
    if axes is None:
        return node.all, NONE
    return node.all if any(axis == 0 or axis < -1 for axis in axes) else NONE, node.all


def _transpose(node: _Node) -> Effect:
    order = node.integers("perm", LARGE)
    matrix = order is None or order == [1, 0]
    return node.all if matrix else NONE, node.all if order and order[0] == 0 else NONE


def _gather(node: _Node) -> Effect:
    """A lookup in rows takes them together unless the index has other rows, such as those of candidates."""
    data, index = node.of(0), node.of(1)
    if (node.integers("axis", LARGE) or [0]) != [0]:
        return node.alike(0, 1), node.all
    return node.alike(0, 1) if index else data, index


def _gather_nd(node: _Node) -> Effect:
    return node.alike(0, 1), node.of(1)


def _slice(node: _Node) -> Effect:
    """A Slice from 0 to the end of the axis keeps all rows."""
    axes, starts, ends = (node.integers(name, i) for name, i in (("axes", 3), ("starts", 1), ("ends", 2)))
    if axes is None or 0 not in axes:
        return NONE, node.all
    first = axes.index(0)
    whole = starts is not None and ends is not None and starts[first] == 0 and ends[first] >= LARGE
    return NONE if whole else node.all, node.all


def _squeeze(node: _Node) -> Effect:
    axes = node.integers("axes", 1)
    return node.all if axes and 0 in axes else NONE, node.all


def _gemm(node: _Node) -> Effect:
    turned = node.integers("transA", LARGE) == [1]
    return node.of(1) | (node.of(0) if turned else NONE), node.all


def _einsum(node: _Node) -> Effect:
    equation = next(a.s.decode() for a in node.proto.attribute if a.name == "equation").replace(" ", "")
    terms, _, result = equation.partition("->")
    first = [term[:1] == result[:1] for term in terms.split(",")]
    return NONE.union(*(rows for rows, kept in zip(node.rows, first, strict=False) if not kept)), node.all


def _recurrent(node: _Node) -> Effect:
    """The first axis is that of steps, unless the layout says otherwise."""
    return NONE if node.integers("layout", LARGE) == [1] else node.of(0), NONE


def _all(node: _Node) -> Effect:
    return node.all, node.all


EFFECTS: Mapping[str, Callable[[_Node], Effect]] = {
    "Transpose": _transpose,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Slice": _slice,
    "Squeeze": _squeeze,
    **dict.fromkeys(("Gemm", "FusedGemm"), _gemm),
    "Einsum": _einsum,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("CumSum", "Compress"), _all),
}
"""What the nodes of an operator do with rows, where its traits do not say it."""
