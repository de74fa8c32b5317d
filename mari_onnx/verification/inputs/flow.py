"""Where ids go in a graph: the operators that move them, and the places where they are used.

An id reaches its table through operators that only move it (Cast, Concat, Slice, Tile and the like) or shift it (Add of
an offset).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from onnx import NodeProto

from mari_onnx.document.scopes import bodies, captures, reads

FIRST = frozenset({0})
"""The operand of an operator that moves its first input."""

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
"""Operators that move or shift an id, and the operands that they do it to."""

SEQUENCES = {"SplitToSequence", "SequenceAt", "ConcatFromSequence"}
"""The same for sequences, which only bodies are made of."""

WRAPS = {"Clip", "Mod", "Abs", "Relu"}
"""Of those, the ones that bring a value into a range; the tags are kept out of it."""

INDEXES = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1, "OneHot": 0}
"""Operators that index something, and the operand that is the index."""

COMPARES = {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"}
"""Operators that compare an id with something, as a check of its range does."""


@dataclass(frozen=True)
class Use:
    """A carried value used by a node, as an index or in a comparison with `other`."""

    node: NodeProto
    value: str
    other: str

    @property
    def compares(self) -> bool:
        """Whether the value is compared, and not an index."""
        return self.node.op_type in COMPARES


@dataclass
class Flow:
    """Where ids go: the nodes that move them, in order, and the uses that they come to.

    A node that also takes an id in another place than those that it moves (the index of a Gather of ids) moves all the
    same; there, the id is one of the node's fixed operands.
    """

    carried: set[str]
    moves: list[NodeProto] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)

    def follow(self, nodes: Iterable[NodeProto]) -> None:
        for node in nodes:
            carried = {i for i, name in enumerate(node.input) if name in self.carried}
            index = INDEXES.get(node.op_type)
            if index in carried:
                assert index is not None
                self.uses.append(Use(node, node.input[index], node.input[1 - index]))
            if node.op_type in COMPARES and len(carried) == 1:
                (side,) = carried
                self.uses.append(Use(node, node.input[side], node.input[1 - side]))
            if self._moves(node, carried):
                self.moves.append(node)
                self.carried.update(filter(None, node.output))

    def fixed(self, node: NodeProto) -> dict[int, str]:
        """The operands of a move that stay as they are."""
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
    """The nodes that compute what is wanted, in order."""
    wanted, kept = set(wanted), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]
