"""The way of ids through a graph: the operators that move them, and the nodes that use them.

An id reaches its table through operators that only move it, such as Cast, Concat, Slice or Tile, or shift it, such as
the Add of an offset.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from onnx import NodeProto

from mari_onnx.document.scopes import bodies, captures, reads

FIRST = frozenset({0})
"""The operands that are moved, for an operator that moves its first input."""

_ANY: frozenset[int] = frozenset(range(1 << 12))
MOVES: dict[str, frozenset[int]] = {
    **dict.fromkeys(("Cast", "CastLike", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"), FIRST),
    **dict.fromkeys(("Slice", "Split", "Gather", "GatherND", "GatherElements"), FIRST),
    **dict.fromkeys(("Transpose", "Expand", "Tile", "Pad"), FIRST),
    **dict.fromkeys(("Clip", "Mod", "Floor", "Ceil", "Round", "Abs", "Relu", "Trilu"), FIRST),
    **dict.fromkeys(("Concat", "Add", "Sub", "Mul", "Sum"), _ANY),
    "Where": frozenset({1, 2}),
    "ScatterND": frozenset({0, 2}),
    "ScatterElements": frozenset({0, 2}),
}
"""Operators that move or shift an id, with the operands that they move."""

SEQUENCES = {"SplitToSequence", "SequenceAt", "ConcatFromSequence"}
"""Operators that move ids in sequences, which are followed only within bodies."""

WRAPS = {"Clip", "Mod", "Abs", "Relu"}
"""Operators of `MOVES` that bring a value into a range. Tags are led around them, because they lie outside of it."""

INDEXES = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1, "OneHot": 0}
"""Operators that index something, with the operand that is the index."""

LENGTHS = {"RNN": 4, "GRU": 4, "LSTM": 4, "ReverseSequence": 1}
"""Operators that look at the first so many entries of each sequence, with the operand that says how many."""

COMPARES = {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"}
"""Operators that compare an id with something, for example to check its range."""


@dataclass(frozen=True)
class Use:
    """A node that uses a tensor of ids, `value`: as an index into the tensor `other`, as the lengths of the sequences
    in it, or in a comparison with it.
    """

    node: NodeProto
    value: str
    other: str

    @property
    def compares(self) -> bool:
        """Whether the ids are compared."""
        return self.node.op_type in COMPARES

    @property
    def measures(self) -> bool:
        """Whether the ids are the lengths of sequences."""
        return self.node.op_type in LENGTHS

    @property
    def indexes(self) -> bool:
        """Whether the ids are an index."""
        return self.node.op_type in INDEXES


@dataclass
class Flow:
    """The tensors that carry ids, the nodes that move ids, in graph order, and the uses of ids.

    A node may move one operand and take ids in another as well: the Gather of a tensor of ids by an index that is an id
    itself. Such a node is among `moves`, and its index is one of its fixed operands.
    """

    carried: set[str]
    moves: list[NodeProto] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)

    def follow(self, nodes: Iterable[NodeProto]) -> None:
        """Add what these nodes, in graph order, do with the ids that are carried so far."""
        for node in nodes:
            carried = {i for i, name in enumerate(node.input) if name in self.carried}
            index = INDEXES.get(node.op_type)
            if index in carried:
                assert index is not None
                self.uses.append(Use(node, node.input[index], node.input[1 - index]))
            if LENGTHS.get(node.op_type) in carried:
                self.uses.append(Use(node, node.input[LENGTHS[node.op_type]], node.input[0]))
            if node.op_type in COMPARES and len(carried) == 1:
                (side,) = carried
                self.uses.append(Use(node, node.input[side], node.input[1 - side]))
            if self._moves(node, carried):
                self.moves.append(node)
                self.carried.update(filter(None, node.output))

    def fixed(self, node: NodeProto) -> dict[int, str]:
        """The operands of a node in `moves` that are not moved ids, by position."""
        moved = MOVES.get(node.op_type, frozenset())
        return {i: n for i, n in enumerate(node.input) if n and not (n in self.carried and i in moved)}

    def _moves(self, node: NodeProto, carried: set[int]) -> bool:
        if node.op_type != "If":
            return node.domain in ("", "ai.onnx") and not carried.isdisjoint(MOVES.get(node.op_type, frozenset()))
        if self.carried.isdisjoint(captures(node)):
            return False
        branches = [(Flow(set(self.carried)), graph) for graph in bodies(node)]
        for flow, graph in branches:
            flow.follow(graph.node)
        return all(not flow.uses for flow, _ in branches)


def needed(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that the tensors in `wanted` depend on, in order."""
    wanted, kept = set(wanted), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]
