"""Which values of a graph consist of rows, one block of them for each candidate, that depend on that candidate alone.

A conservative walk: a node keeps rows apart where it is known to, by its operator and the axes that it works along, and
everything else does not. A block may be several rows: [B, L, K] made [(B L), K] still has one block for each candidate.

    elementwise, Cast, BatchNormalization       operands are rows of one shape, or constants that have no axis there
    MatMul, Gemm with a constant on the right   rows of the left side are rows of the product
    Gather(constant, rows)                      an embedding
    Concat, Slice, Split, Gather, Reduce*, Softmax, LayerNormalization, ...   along any axis but the first
    Reshape, Flatten, Squeeze, Unsqueeze        the first extent stays a multiple of the candidates'
    Transpose                                   the first axis stays the first
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import onnx

from mari_onnx.ir.extents import Extent, divide
from mari_onnx.ir.operators import OPERATORS, Traits

Shape = tuple[Extent, ...]

UNKNOWN = Traits()


@dataclass
class Rows:
    """A graph, and what is known of its tensors: extents, and the integers in a constant."""

    graph: onnx.GraphProto
    candidates: Extent
    shape_of: Callable[[str], Shape | None]
    integers_of: Callable[[str], list[int] | None]
    rows: set[str] = field(default_factory=set)
    varying: set[str] = field(default_factory=set)

    def walk(self, inputs: Collection[str]) -> set[str]:
        """The names of all values that consist of rows; `inputs` are those that do, if they have the candidates."""
        self.varying = {i.name for i in self.graph.input}
        self.rows = {name for name in inputs if self._blocks(name) == 1}
        for node in self.graph.node:
            given = [name for name in node.input if name]
            if self.varying.intersection(given) or any(a.g.node or a.graphs for a in node.attribute):
                self.varying.update(node.output)
                if self._keeps(node, given):
                    self.rows.update(name for name in node.output if name and self._blocks(name) is not None)
        return self.rows

    def _blocks(self, name: str) -> Extent | None:
        """How many rows a block has; None where the first extent is no multiple of the candidates'."""
        shape = self.shape_of(name)
        return divide(shape[0], self.candidates) if shape else None

    def _keeps(self, node: onnx.NodeProto, given: list[str]) -> bool:
        """Whether a node whose inputs are rows or constants keeps the rows apart."""
        if node.domain not in ("", "ai.onnx") or any(n in self.varying and n not in self.rows for n in given):
            return False
        shapes = {
            name: self.shape_of(name) for name in (*given, *node.output) if name in self.rows or name in node.output
        }
        if any(shape is None for shape in shapes.values()):
            return False
        first, constants = node.input[0], [name for name in given if name not in self.rows]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        rank = len(shapes[first] or ()) if first in self.rows else 0
        traits = OPERATORS.get(node.op_type, UNKNOWN)
        match node.op_type:
            case _ if traits.elementwise:
                return self._broadcasts(given, constants)
            case "BatchNormalization":
                return first in self.rows and constants == given[1:] and not attributes.get("training_mode")
            case "MatMul":
                right = self.shape_of(node.input[1])
                small = right is not None and len(right) < max(rank, 3)
                return first in self.rows and constants == given[1:] and rank > 1 and small
            case "Gemm":
                return first in self.rows and not attributes.get("transA") and self._plain_gemm(given, constants)
            case "Gather":
                axis = int(attributes.get("axis", traits.axis or 0))
                if first in self.rows:
                    return constants == given[1:] and axis % rank != 0
                return axis == 0
            case "Transpose":
                return bool(attributes.get("perm", [-1])[0] == 0)
            case _ if traits.view:
                return first in self.rows and constants == given[1:] and self._blocks(node.output[0]) is not None
            case "Slice":
                axes = self._axes(node, attributes, 3)
                return first in self.rows and axes is not None and all(axis % rank for axis in axes)
            case _ if traits.reduction:
                axes = self._axes(node, attributes, 1)
                return first in self.rows and bool(axes) and all(axis % rank for axis in axes or ())
            case op if traits.along:  # no older default is the first axis where this one is not
                every = all(name in self.rows for name in given) if op == "Concat" else constants == given[1:]
                return every and int(attributes.get("axis", traits.axis or 0)) % rank != 0
        return False

    def _broadcasts(self, given: list[str], constants: list[str]) -> bool:
        """Whether the first axes of all operands that are rows meet, and no constant has an axis there."""
        shapes = [self.shape_of(name) or () for name in given if name not in constants]
        rank = len(shapes[0])
        if any(len(shape) != rank or shape[0] != shapes[0][0] for shape in shapes):
            return False
        others = [self.shape_of(name) for name in constants]
        return all(s is not None and (len(s) < rank or (len(s) == rank and s[0] == 1)) for s in others)

    def _plain_gemm(self, given: list[str], constants: list[str]) -> bool:
        addend = given[2:3]
        stored = [name for name in addend if name in constants]
        return given[1] in constants and self._broadcasts([given[0], *addend], stored)

    def _axes(self, node: onnx.NodeProto, attributes: dict[str, Any], position: int) -> list[int] | None:
        if "axes" in attributes:
            return list(attributes["axes"])
        given = node.input[position] if position < len(node.input) else ""
        return self.integers_of(given) if given else None
