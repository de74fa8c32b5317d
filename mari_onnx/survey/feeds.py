"""What an input feeds: the first operators behind it that do more than move its elements."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from mari_onnx.document.graph_view import Model
from mari_onnx.document.scopes import reads_of_elements

MOVES = frozenset(
    ("Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")
)
"""Operators that are passed over."""

LOOKUPS = frozenset(("Gather", "GatherElements", "GatherND"))

SHOWN = 2
"""How many operators are named; more are counted."""


class Feeds:
    """The operators behind each tensor of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(reads_of_elements(node)):
                self.readers.setdefault(name, []).append(node)

    def of(self, name: str) -> tuple[str, ...]:
        """What an input feeds, in words: `Gather user.weight [400 16]`, `Concat x`."""
        found = list(dict.fromkeys(self._first(name, set())))
        more = (f"and {len(found) - SHOWN} more",) if len(found) > SHOWN else ()
        return (*found[:SHOWN], *more)

    def _first(self, name: str, seen: set[str]) -> Iterator[str]:
        if name in seen:
            return
        seen.add(name)
        for node in self.readers.get(name, ()):
            if node.op_type in MOVES and name == node.input[0]:
                for output in node.output:
                    yield from self._first(output, seen)
            else:
                yield self._named(node)

    def _named(self, node: onnx.NodeProto) -> str:
        table = self.model.initializers.get(node.input[0]) if node.op_type in LOOKUPS else None
        if table is None:
            return f"{node.op_type} {next(filter(None, node.output), '')}"
        return f"{node.op_type} {table.name} [{' '.join(map(str, table.dims))}]"
