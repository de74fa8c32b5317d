"""The values of a graph whose rows each depend on a single candidate.

The item model of a split computes a catalogue in batches of any size. A value may come from it only if its rows are
independent: the rows of candidate 3 are the same, whichever other candidates are in the batch. `Rows.walk` finds these
values. A value `[B, 8]` has one row for each candidate. A value `[(B L), 8]` has a block of `L` rows for each.

The walk is conservative. A node keeps rows independent if its operator is in the following table, and if the node works
along the axes that the table names. Every other node mixes the rows.

    elementwise, Cast, BatchNormalization       each operand has rows, or is a constant that repeats along the rows
    MatMul, Gemm with a constant on the right   a row of the left side gives a row of the product
    Gather(constant, rows)                      an embedding: an id gives a row of the table
    Concat, Slice, Split, Gather, Reduce*, Softmax, LayerNormalization, ...   along any axis but the first
    Reshape, Flatten, Squeeze, Unsqueeze        the first extent stays a multiple of the number of candidates
    Transpose                                   the first axis stays the first
    LabelEncoder, Scaler, TreeEnsemble*, ...    a row of features gives a row
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import onnx

from mari_onnx.ir.extents import Extent, divide
from mari_onnx.ir.operators import CLASSICAL, Traits, traits_of

Shape = tuple[Extent, ...]

UNKNOWN = Traits()
"""The traits of an operator that has no entry in `OPERATORS`."""


@dataclass
class Rows:
    """A walk over a graph that collects the values with independent rows.

    `candidates` is the number of candidates. `shape_of` gives the shape of a tensor, None where the shape is not known.
    `integers_of` gives the elements of a constant integer tensor, None for every other tensor. During the walk, `rows`
    names the values with independent rows, and `varying` names all values that are computed from an input.
    """

    graph: onnx.GraphProto
    candidates: Extent
    shape_of: Callable[[str], Shape | None]
    integers_of: Callable[[str], list[int] | None]
    rows: set[str] = field(default_factory=set)
    varying: set[str] = field(default_factory=set)

    def walk(self, inputs: Collection[str]) -> set[str]:
        """The names of all values with independent rows.

        `inputs` names the graph inputs of the items. An input is skipped if its first extent is not `candidates`.
        """
        self.varying = {i.name for i in self.graph.input}
        self.rows = {name for name in inputs if self.rows_per_candidate(name) == 1}
        for node in self.graph.node:
            given = [name for name in node.input if name]
            if self.varying.intersection(given) or any(a.g.node or a.graphs for a in node.attribute):
                self.varying.update(node.output)
                if self._keeps(node, given):
                    self.rows.update(name for name in node.output if name and self.rows_per_candidate(name) is not None)
        return self.rows

    def rows_per_candidate(self, name: str) -> Extent | None:
        """The number of rows in the block of one candidate; None if the first extent is no multiple of `candidates`."""
        shape = self.shape_of(name)
        return divide(shape[0], self.candidates) if shape else None

    def _keeps(self, node: onnx.NodeProto, given: Sequence[str]) -> bool:
        """Whether the rows of a node's outputs are independent; `given` names its inputs without the omitted ones."""
        if node.domain not in ("", "ai.onnx", CLASSICAL) or any(
            n in self.varying and n not in self.rows for n in given
        ):
            return False
        if any(self.shape_of(name) is None for name in (*self.rows.intersection(given), *node.output)):
            return False
        traits = traits_of(node.op_type, node.domain) or UNKNOWN
        keeps = _predicate(node.op_type, traits)
        return keeps is not None and keeps(_Operation(self, node, given, traits))


@dataclass(frozen=True)
class _Operation:
    """A node each of whose inputs has independent rows or is a constant.

    `given` names the inputs of the node without the omitted ones.
    """

    walk: Rows
    node: onnx.NodeProto
    given: Sequence[str]
    traits: Traits

    @property
    def constants(self) -> list[str]:
        """The inputs without rows."""
        return [name for name in self.given if name not in self.walk.rows]

    @property
    def first_has_rows(self) -> bool:
        return self.node.input[0] in self.walk.rows

    @property
    def only_first_has_rows(self) -> bool:
        return self.first_has_rows and self.constants == list(self.given[1:])

    @property
    def attributes(self) -> Mapping[str, Any]:
        return {a.name: onnx.helper.get_attribute_value(a) for a in self.node.attribute}

    @property
    def axis(self) -> int:
        """The axis that the node works along, or the operator's default axis."""
        return int(self.attributes.get("axis", self.traits.axis or 0))

    def axes(self, position: int) -> list[int] | None:
        """The axes that the node works along: an attribute, or the input at a position. None if they are not known."""
        if "axes" in self.attributes:
            return list(self.attributes["axes"])
        name = self.node.input[position] if position < len(self.node.input) else ""
        return self.walk.integers_of(name) if name else None

    def is_first_axis(self, axis: int) -> bool:
        """Whether an axis of the first input, which has rows, is the axis of the rows."""
        return axis % len(self.walk.shape_of(self.node.input[0]) or ()) == 0


def _elementwise(op: _Operation) -> bool:
    return _broadcasts(op.walk, op.given, op.constants)


def _broadcasts(walk: Rows, given: Sequence[str], constants: Sequence[str]) -> bool:
    """Whether the rows of all operands meet row by row, and no constant has an extent along them.

    Example: `x [B, 4] + y [B, 4]` and `x [B, 4] + bias [4]` do. `x [B, 4] + y [2, B, 4]` does not.
    """
    shapes = [walk.shape_of(name) or () for name in given if name not in constants]
    rank = len(shapes[0])
    if any(len(shape) != rank or shape[0] != shapes[0][0] for shape in shapes):
        return False
    others = [walk.shape_of(name) for name in constants]
    return all(s is not None and (len(s) < rank or (len(s) == rank and s[0] == 1)) for s in others)


def _batch_normalization(op: _Operation) -> bool:
    return op.only_first_has_rows and not op.attributes.get("training_mode")


def _matmul(op: _Operation) -> bool:
    """A constant on the right must have no batch dimension that meets the rows of the left side."""
    left, right = (op.walk.shape_of(name) for name in op.node.input[:2])
    rank = len(left or ())
    return op.only_first_has_rows and rank > 1 and right is not None and len(right) < max(rank, 3)


def _gemm(op: _Operation) -> bool:
    if not op.first_has_rows or op.attributes.get("transA"):
        return False
    first, weight, *addend = op.given
    constants = op.constants
    return weight in constants and _broadcasts(op.walk, [first, *addend], [n for n in addend if n in constants])


def _gather(op: _Operation) -> bool:
    if op.first_has_rows:
        return op.only_first_has_rows and not op.is_first_axis(op.axis)
    return op.axis == 0


def _transpose(op: _Operation) -> bool:
    return bool(op.attributes.get("perm", [-1])[0] == 0)


def _slice(op: _Operation) -> bool:
    axes = op.axes(3)
    return op.first_has_rows and axes is not None and not any(map(op.is_first_axis, axes))


def _view(op: _Operation) -> bool:
    return op.only_first_has_rows and op.walk.rows_per_candidate(op.node.output[0]) is not None


def _reduction(op: _Operation) -> bool:
    """A reduction without axes is one along all axes, the first included."""
    axes = op.axes(1)
    return op.first_has_rows and bool(axes) and not any(map(op.is_first_axis, axes or ()))


def _concat(op: _Operation) -> bool:
    return not op.constants and not op.is_first_axis(op.axis)


def _along(op: _Operation) -> bool:
    """An operator along one axis. Softmax has another default axis before opset 13, which is not the first either."""
    return op.only_first_has_rows and not op.is_first_axis(op.axis)


Predicate: TypeAlias = Callable[[_Operation], bool]

KEEPS_ROWS: Mapping[str, Predicate] = {
    "BatchNormalization": _batch_normalization,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Gather": _gather,
    "Transpose": _transpose,
    "Slice": _slice,
    "Concat": _concat,
}
"""Whether a node of an operator keeps rows independent."""

KINDS: Sequence[tuple[Callable[[Traits], bool], Predicate]] = (
    (lambda traits: traits.elementwise, _elementwise),
    (lambda traits: traits.view, _view),
    (lambda traits: traits.reduction, _reduction),
    (lambda traits: traits.along, _along),
)
"""The same for the operators of a kind."""


def _predicate(op_type: str, traits: Traits) -> Predicate | None:
    """The predicate for an operator, None if every node of the operator is taken to mix the rows."""
    return KEEPS_ROWS.get(op_type) or next((predicate for is_kind, predicate in KINDS if is_kind(traits)), None)
