"""Rows that are read alone: a slice of rows is taken before what works row by row, and no other row is computed.

    f(x)[:, 50:51]                  = f(x[:, 50:51])        f elementwise, Softmax or a normalization of each row,
                                                            or to integers and back by one scale
    (x @ w)[50:51]                  = x[50:51] @ w          and so for each matrix of a batch
    Concat([a, b])[50:51]           = b                     of a with 50 rows and b with one
    Reshape(x, [51 B, d])[50 B:]    = Reshape(x[50:51], [B, d])

Example: attention over a history and a candidate, of which the candidate's token alone is read behind it. Then there is
one query, and one row goes through the layers behind, where there were 51.

Other nodes may read all rows, and then a slice of them is cheaper. So both tensors are recorded, as a choice of the
builder, and `choose` takes what is cheaper for the whole plan.

Holds for rows at constant places of an axis of a known extent. Rounding: only the order in which a runtime adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import inputs_of
from mari_onnx.ir.expressions import Node, Tensor, first_input, is_place, is_reshape, is_slice
from mari_onnx.ir.extents import Extent, divide, product
from mari_onnx.ir.operators import FUSED_OPERATORS, named, traits_of

ELEMENTWISE = named(lambda t: t.elementwise) | named(lambda t: t.elementwise, FUSED_OPERATORS) | {"Identity"}
BY_ROW = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization"), 1),
    **dict.fromkeys(("SimplifiedLayerNormalization", "BiasGelu", "FastGelu"), 1),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), 2),
}
"""What works along the last dimension, and how many of the first inputs have rows."""

BY_SCALE = frozenset({"QuantizeLinear", "DequantizeLinear"})
REDUCTIONS = named(lambda t: t.reduction)

ALONE = "rows"
"""What rows that are computed alone are called, as a form of all rows: `scores.rows`."""

PRODUCTS = {**dict.fromkeys(("MatMul", "Gemm", "FusedMatMul", "MatMulInteger"), (0, 1)), "QLinearMatMul": (0, 3)}
"""Products of matrices, and the places of both sides among the inputs."""

PER_ROW = {"MatMulInteger": (2,), "QLinearMatMul": (1, 2, 6, 7)}
"""Which further inputs may have a number for each row. The others have one for each column, or for all."""

OTHER_ROWS = ("transA", "transBatchA", "transBatchB")
"""Attributes of a product with which its rows are no rows of its left side."""

DEEPEST = 100
"""Through so many nodes rows are taken earlier."""


@dataclass(frozen=True)
class Rows:
    """The rows [start, stop) of `count` in a dimension: (before count after) at `position`, such as L in (B L d)."""

    position: int
    start: int
    stop: int
    count: int
    before: Extent = 1
    after: Extent = 1

    @property
    def alone(self) -> bool:
        """Whether the dimension has no other axis."""
        return self.before == 1 and self.after == 1

    def of(self, shape: Sequence[Extent]) -> tuple[Extent, ...]:
        """The shape of these rows of a tensor with this shape."""
        dim = product((self.before, self.stop - self.start, self.after))
        return (*shape[: self.position], dim, *shape[self.position + 1 :])


def take_rows_alone(b: Builder, nodes: Sequence[Node], opset: int, whole: frozenset[str] = frozenset()) -> None:
    """Record, as choices of the builder, the slices of rows in a plan that products before them need not compute whole.

    `nodes` are the nodes of the plan, each after its inputs. `opset` is the model's version of the standard operators.
    Those that compute a tensor in `whole` compute all of its rows.
    """
    read = Counter(t for node in nodes for t in dict.fromkeys(inputs_of(node)))
    taken = _Taken(b, opset, whole, {t for t, times in read.items() if times > 1})
    for node in nodes:
        if len(node.outputs) == 1 and (rows := _rows_of(t := node.outputs[0])) is not None:
            found = taken.rows(first_input(t), rows)
            if found is not None and found in taken.of_products:
                b.also(t, b.reshape(found, t.known_shape))
            while taken.instead:  # after the choice by which they are read
                b.also(*taken.instead.pop())


def _rows_of(t: Tensor) -> Rows | None:
    """The rows that a Slice or a Gather of one place reads; None for another node, and for an axis that is a symbol."""
    if t.shape is None or not (is_slice(t) or is_place(t)):
        return None
    source, axis = first_input(t), t.node.attribute("axis")
    if source.shape is None or not isinstance(count := source.shape[axis], int):
        return None
    if is_slice(t):
        start, stop = t.node.attribute("start"), t.node.attribute("stop")
        known = isinstance(start, int) and isinstance(stop, int) and "rows" not in dict(t.node.attributes)
        return Rows(axis, start, stop, count) if known else None
    place = t.node.inputs[1]
    assert place is not None
    at = int(place.node.payload)
    return Rows(axis, at, at + 1, count) if 0 <= at < count else None


@dataclass
class _Taken:
    """The walks back from slices of rows.

    `shared` are the tensors that several nodes read. Another one may need all rows, and then those that are read alone
    are cut out of all: `instead` has the two, which are a choice as well. `of_products` are the results that need fewer
    rows of some product.
    """

    b: Builder
    opset: int
    whole: frozenset[str]
    shared: Set[Tensor]
    instead: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    of_products: set[Tensor] = field(default_factory=set)
    depth: int = 0
    known: dict[tuple[Tensor, Rows], Tensor | None] = field(default_factory=dict)

    def rows(self, t: Tensor, rows: Rows) -> Tensor | None:
        """The rows of a tensor, taken as early as they can be; None where they do not stand together."""
        if (t, rows) not in self.known:
            self.depth += 1
            made = self._made(t, rows) if self.depth < DEEPEST and not t.constant else None
            self.depth -= 1
            if made is not None and not self.of_products.isdisjoint(inputs_of(made.node)):
                self.of_products.add(made)
            if rows.alone and (made is None or (t in self.shared and made in self.of_products)):
                sliced = self.b.slice(t, rows.position, rows.start, rows.stop)
                if made is not None:
                    self.instead.append((made, sliced))
                else:
                    made = sliced
            self.known[t, rows] = made
        return self.known[t, rows]

    def _made(self, t: Tensor, rows: Rows) -> Tensor | None:
        """The rows by the node that makes the tensor; None where it is no node that works row by row."""
        node, proto = t.node, t.node.proto
        inputs, traits = node.inputs, traits_of(t.op_type, "" if proto is None else proto.domain)
        if len(node.outputs) > 1 or node.captures or (proto is not None and traits is None):
            return None
        if any(i is not None and i.shape is None for i in inputs):
            return None
        if proto is not None and not self.whole.isdisjoint(proto.output):
            return None
        if t.op_type in ELEMENTWISE:
            operands = len(inputs) if traits is None else traits.operands
            found = [i if k >= operands or i is None else self._broadcast(i, t, rows) for k, i in enumerate(inputs)]
            return self._again(t, found, rows)
        if t.op_type in BY_ROW:
            axis = dict(node.attributes).get("axis", traits and traits.default_axis(self.opset))
            return self._by_row(t, rows, axis)
        if t.op_type in BY_SCALE:
            first, *scales = inputs
            one = first is not None and all(i is None or product(i.known_shape) == 1 for i in scales)
            return self._again(t, [self.rows(first, rows), *scales], rows) if one and first is not None else None
        if t.op_type in REDUCTIONS:
            return self._reduced(t, rows)
        if t.op_type in PRODUCTS:
            return self._product(t, rows)
        return self._moved(t, rows) if proto is None else None

    def _again(self, t: Tensor, inputs: Sequence[Tensor | None], rows: Rows) -> Tensor | None:
        """The node on other inputs, as many as it has; None where one of them could not be had."""
        node, shape = t.node, rows.of(t.known_shape)
        if any(new is None and old is not None for new, old in zip(inputs, node.inputs, strict=True)):
            return None
        if node.proto is not None:
            (made,) = self.b.again(node.proto, inputs, [(shape, t.dtype)])
        else:
            present = [i for i in inputs if i is not None]
            made = self.b.make(t.op_type, present, shape, t.dtype, **dict(node.attributes))
        made.name_after(t, ALONE)
        return made

    def _broadcast(self, operand: Tensor, t: Tensor, rows: Rows) -> Tensor | None:
        """The rows of an operand that is broadcast to t: all of it, where it is the same for all rows."""
        shape = operand.known_shape
        position = rows.position - (len(t.known_shape) - len(shape))
        if position < 0 or shape[position] == 1:
            return operand
        if shape[position] != t.known_shape[rows.position]:
            return None
        return self.rows(operand, replace(rows, position=position))

    def _by_row(self, t: Tensor, rows: Rows, axis: int | None) -> Tensor | None:
        """Softmax and normalizations along the last dimension, and what has a bias along it."""
        last = len(t.known_shape) - 1
        count = BY_ROW[t.op_type]
        data, parameters = t.node.inputs[:count], t.node.inputs[count:]
        if axis not in (-1, last, None) or rows.position == last:
            return None
        if any(p is not None and len(p.known_shape) > 1 for p in parameters):
            return None
        return self._again(t, [*(None if x is None else self._broadcast(x, t, rows) for x in data), *parameters], rows)

    def _reduced(self, t: Tensor, rows: Rows) -> Tensor | None:
        """A reduction along other dimensions, which stay with the extent 1."""
        first, *axes = t.node.inputs
        shape = () if first is None else first.known_shape
        if first is None or len(shape) != len(t.known_shape) or shape[rows.position] != t.known_shape[rows.position]:
            return None
        return self._again(t, [self.rows(first, rows), *axes], rows)

    def _product(self, t: Tensor, rows: Rows) -> Tensor | None:
        """The rows of a product are those of its left side; those of a batch are those of both sides."""
        inputs, (first, second) = t.node.inputs, PRODUCTS[t.op_type]
        left, right, from_end = inputs[first], inputs[second], len(t.known_shape) - rows.position
        if left is None or right is None or from_end < 2 or any(map(dict(t.node.attributes).get, OTHER_ROWS)):
            return None
        if len(left.known_shape) < 2 or len(right.known_shape) < 2:
            return None
        of_rows = [i for k, i in enumerate(inputs) if k in PER_ROW.get(t.op_type, ())]
        if any(i is not None and product(i.known_shape) != 1 for i in of_rows):
            return None
        taken = [i if i is None or t.op_type in PER_ROW else self._broadcast(i, t, rows) for i in inputs]
        taken[first] = self._broadcast(left, t, rows)
        taken[second] = right if from_end == 2 else self._broadcast(right, t, rows)
        made = self._again(t, taken, rows)
        if made is not None:
            self.of_products.add(made)
        return made

    def _moved(self, t: Tensor, rows: Rows) -> Tensor | None:
        """Rows of what a rule moved."""
        shape = rows.of(t.known_shape)
        if is_reshape(t):
            source = first_input(t)
            before = _before_reshape(t, source, rows)
            taken = None if before is None else self.rows(source, before)
            return None if taken is None else self.b.reshape(taken, shape)
        match t.op_type:
            case "Transpose":
                perm = t.node.attribute("perm")
                taken = self.rows(first_input(t), replace(rows, position=perm[rows.position]))
                return None if taken is None else self.b.transpose(taken, perm)
            case "Expand":
                taken = self._broadcast(first_input(t), t, rows)
                return None if taken is None else self.b.expand(taken, shape)
            case "Concat" if (axis := t.node.attribute("axis")) != rows.position:
                pieces = [self.rows(piece, rows) for piece in t.node.inputs if piece is not None]
                found = [piece for piece in pieces if piece is not None]
                return self.b.concat(found, axis) if len(found) == len(pieces) else None
            case "Concat" if rows.alone:
                return self._piece(t, rows)
        return None

    def _piece(self, t: Tensor, rows: Rows) -> Tensor | None:
        """Rows of a Concat that are all of one piece; None where they are of several."""
        low = 0
        for piece in t.node.inputs:
            assert piece is not None
            count = piece.known_shape[rows.position]
            if not isinstance(count, int):
                return None
            if low <= rows.start and rows.stop <= low + count:
                inside = replace(rows, start=rows.start - low, stop=rows.stop - low, count=count)
                return piece if rows.stop - rows.start == count else self.rows(piece, inside)
            low += count
        return None


def _before_reshape(t: Tensor, source: Tensor, rows: Rows) -> Rows | None:
    """The same rows in the tensor that t is a Reshape of; None where no dimension of it has them."""
    before = product((*t.known_shape[: rows.position], rows.before))
    sofar: Extent = 1
    for position, extent in enumerate(source.known_shape):
        outer = divide(before, sofar)
        inner = None if outer is None else divide(extent, product((outer, rows.count)))
        if outer is not None and inner is not None and extent != 1:
            return replace(rows, position=position, before=outer, after=inner)
        sofar = sofar * extent if sofar != 1 else extent
    return None
