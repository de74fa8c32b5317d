"""What a graph costs: multiply-adds, elements written and a price for each node launched.

The constants are nanoseconds of one thread of a server core under onnxruntime. They are round figures from
`python -m benchmarks calibrate`, which measures a node of each kind and prints the estimate beside it. They rank forms
of the same value against each other: the estimate for one node is right within a factor of about two, that for a whole
model is closer. A symbol counts as its reference: 500 (`--batch`) for the candidates, 1 for the rows of one request.

Example: Gemm of [500, 160] with [160, 96] is 7.7 million multiply-adds, about 0.15 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent, evaluate
from mari_onnx.ir.operators import FUSED_OPERATORS, MANY, OPERATORS, named

NS_PER_LAUNCH = 500.0
NS_PER_VIEW = 300.0
NS_PER_OPERAND = 75.0
"""For each operand after the second: a Concat of twenty costs as much as four nodes."""

NS_PER_MAC = 0.02
COLUMNS = 16
"""A product with fewer columns takes as long as one with so many, since they fill one vector register."""
NS_PER_PRODUCT = 150.0
NS_PER_MAC_OF_MANY = 0.035
MANY_ROWS = 256
SHARED_ROWS = 16
"""In a batch of products each has its price, and packs its right side. From so many rows on, packing pays.

The rows of one matrix on the left, as a weight is, stay in the cache for all products, so that fewer are enough.
"""

NS_PER_ELEMENT = 0.2
CACHED = 500_000
"""Elements beyond so many do not fit into the cache, and cost twice as much."""
NS_PER_ELEMENT_OF = {name: traits.ns for name, traits in OPERATORS.items() if traits.ns is not None}
NS_PER_RUN = 9.0
"""For each run of an elementwise operator with broadcasting: a stretch over which each operand advances or repeats."""
BROADCASTING = named(lambda t: t.broadcasts) - {"Where"}  # the price of an element of Where includes its runs

NS_PER_ELEMENT_REDUCED = 0.08
NS_PER_REDUCTION = 120.0
"""For each index of the axes before a reduced one that others follow, as the reduction then begins anew."""

NS_PER_ROW = 8.0
"""For each row that Gather looks up or Concat copies, beside its elements."""
NARROW = 16
"""Concat copies rows of fewer elements at a lower price, in proportion to their width."""

NS_PER_BLOCK = 9.0
"""For each block of neighbouring elements that Transpose copies together."""
NS_PER_ELEMENT_APART = 4.0
"""For each element that Transpose moves alone, because its neighbours go elsewhere along more than one axis."""

NS_PER_IF = 1200.0
NS_PER_CAPTURE = 40.0
NS_PER_NODE_OF_BRANCH = 130.0
"""For an If with the comparison that it goes by, for each input or constant that the graph of a branch reads, and for
each node there: the same nodes take longer in a branch, 40 to 300 ns each."""

UNKNOWN_EXTENT = 32
"""What a symbol without a reference counts as."""

VIEWS = named(lambda t: t.view)
PRODUCTS = named(lambda t: t.product) | named(lambda t: t.product, FUSED_OPERATORS)
READ_MORE = named(lambda t: t.reads_more)
REDUCTIONS = named(lambda t: t.reduction)
EXTREMES = frozenset({"ReduceMax", "ReduceMin"})
VARIADIC = named(lambda t: t.elementwise and t.broadcasts and t.most == MANY)

Shape: TypeAlias = "tuple[Extent, ...] | None"

Sizes: TypeAlias = tuple[int, ...]
"""The extents of a shape as numbers."""


@dataclass(frozen=True)
class Work:
    """What a graph takes for one call.

    `macs` are its multiply-adds, and `fixed` those of them that do not vary with the candidates. `nodes` is the number
    of nodes that are run; constants are computed when the model is loaded and do not count. `time` is in nanoseconds,
    and `alone` is the time of a call with a single candidate.
    """

    macs: int = 0
    fixed: int = 0
    nodes: int = 0
    time: float = 0.0
    alone: float = 0.0


NO_WORK = Work()


@dataclass(frozen=True)
class CostModel:
    """Estimates for calls in which symbols have the values of `reference`. `batch` is the number of candidates.

    `alone` is the model of a call with a single candidate, whose times are added `emphasis` times to those of this
    model. A rule that asks a `thrifty` model offers no form that takes less time with more arithmetic.
    """

    batch: int
    reference: dict[str, int] = field(default_factory=dict)
    alone: CostModel | None = None
    emphasis: float = 0.0
    thrifty: bool = False
    _times: dict[Node, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    _alike: dict[tuple[str, tuple[Shape, ...], tuple[Shape, ...]], float] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def launch(self) -> float:
        """Nanoseconds that each node costs beside its work, weighed for the call with a single candidate."""
        return NS_PER_LAUNCH * (1 + self.emphasis)

    def assume(self, extent: str, shape: Sequence[Extent]) -> None:
        """Give a symbol that is no extent of an input the number of elements of this shape as its reference."""
        if extent not in self.reference:
            self.reference[extent] = self.elements(tuple(shape))
            self._alike.clear()
        if self.alone is not None:
            self.alone.assume(extent, shape)

    def elements(self, shape: Shape) -> int:
        """How many elements a tensor of this shape has at the reference; 0 for an unknown rank."""
        return 0 if shape is None else prod(self.sizes(shape))

    def sizes(self, shape: tuple[Extent, ...]) -> Sizes:
        """The extents of a shape at the reference."""
        return tuple([e if isinstance(e, int) else evaluate(e, self.reference, UNKNOWN_EXTENT) for e in shape])

    def macs(
        self, op_type: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]
    ) -> int:
        """Multiply-adds of one node from the shapes of its inputs and outputs; 0 where they are unknown."""
        if op_type not in PRODUCTS or len(inputs) < 2 or outputs[0] is None or inputs[0] is None or inputs[1] is None:
            return 0
        out = self.elements(outputs[0])
        match op_type:
            case "Gemm" | "FusedGemm":
                return out * self.elements(inputs[0][:1] if attributes.get("transA") else inputs[0][-1:])
            case "Conv" | "FusedConv":
                return out * self.elements(inputs[1][1:])
            case "Attention" | "MultiHeadAttention" | "GroupQueryAttention":  # q k^T, and its product with v
                keys = sum(self.elements(s[-2:-1]) for s in (inputs[1], *inputs[4:5]) if s is not None)
                return (self.elements(inputs[0]) + out) * keys
            case "GRU" | "LSTM" | "RNN":
                recurrent = self.elements(inputs[2][1:]) if inputs[2] is not None else 0
                return self.elements(inputs[0][:2]) * (self.elements(inputs[1][1:]) + recurrent)
            case "Einsum":
                return self._einsum_macs(inputs, attributes["equation"].decode())
            case _:
                return out * self.elements(inputs[0][-1:])

    def _einsum_macs(self, inputs: Sequence[Shape], equation: str) -> int:
        """Multiply-adds of an Einsum of several operands. They are multiplied one after the other, as runtimes do.

        A letter is summed over as soon as no later operand has it.
        """
        left, _, result = equation.replace(" ", "").partition("->")
        terms = left.split(",")
        extents: dict[str, int] = {}
        total = 0
        for i, (term, shape) in enumerate(zip(terms, inputs, strict=True)):
            extents |= {letter: self.elements((e,)) for letter, e in zip(term, shape or (), strict=False)}
            total += prod(extents.values()) if i else 0
            needed = {*result, *"".join(terms[i + 1 :])}
            extents = {letter: e for letter, e in extents.items() if letter in needed}
        return total

    def time(
        self, op_type: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]
    ) -> float:
        """Nanoseconds of one node, roughly.

        The time of a node without attributes is cached: many nodes of a graph are one operator on the same shapes.
        """
        if attributes:
            time = self._time(op_type, inputs, outputs, attributes)
        else:
            described = op_type, tuple(inputs), tuple(outputs)
            if (known := self._alike.get(described)) is None:
                known = self._alike[described] = self._time(op_type, inputs, outputs, attributes)
            time = known
        if self.alone is None or not self.emphasis:
            return time
        return time + self.emphasis * self.alone.time(op_type, inputs, outputs, attributes)

    def _time(
        self, op_type: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]
    ) -> float:
        if op_type in VIEWS:
            return NS_PER_VIEW
        operands = 1 if op_type == "Slice" else len(inputs)  # starts and ends are written as inputs and are no data
        launch = NS_PER_LAUNCH + NS_PER_OPERAND * max(operands - 2, 0)
        written = sum(map(self.elements, outputs))
        if op_type in ("Attention", "MultiHeadAttention", "GroupQueryAttention") and inputs[0] is not None:
            return 3 * launch + self._attention(self.macs(op_type, inputs, outputs, attributes), inputs[0], attributes)
        if op_type in PRODUCTS and (macs := self.macs(op_type, inputs, outputs, attributes)):
            return launch + self._product(macs, inputs[0], inputs[1], outputs[0])
        if op_type == "Slice" and inputs[0] is not None and outputs[0] is not None:
            return launch + NS_PER_ROW / 2 * self._before(inputs[0], outputs[0]) + NS_PER_ELEMENT / 2 * written
        if op_type in ("Concat", "Gather") and inputs[0] is not None:
            axis = attributes.get("axis", 0)
            if op_type == "Gather":
                per_row, width = NS_PER_ROW if axis == 0 else NS_PER_ROW / 2, self.elements(inputs[0][axis:][1:])
            else:
                widths = [self.elements(s[axis:]) for s in inputs if s is not None]
                per_row, width = sum(NS_PER_ROW * min(w / NARROW, 1) for w in widths), sum(widths)
            return launch + per_row * written / max(width, 1) + NS_PER_ELEMENT / 2 * written
        if op_type == "Transpose" and inputs[0] is not None:
            return launch + self._transposed(inputs[0], attributes.get("perm", range(len(inputs[0]))[::-1]))
        if op_type in REDUCTIONS and inputs[0] is not None and outputs[0] is not None:
            return launch + self._reduced(op_type, inputs[0], outputs[0])
        read = max(map(self.elements, inputs), default=0) if op_type in READ_MORE else 0
        moved = max(written, read) * (max(len(inputs) - 1, 1) if op_type in VARIADIC else 1)
        memory = NS_PER_ELEMENT * (moved + max(moved - CACHED, 0))
        runs = self._runs(inputs, outputs[0]) if op_type in BROADCASTING else 0
        return launch + NS_PER_RUN * runs + max(NS_PER_ELEMENT_OF.get(op_type, NS_PER_ELEMENT) * moved, memory)

    def _runs(self, inputs: Sequence[Shape], out: Shape) -> int:
        """The number of runs of a broadcasting operator; 0 if there is one run alone.

        A run is a longest stretch of the result over which each operand either advances or repeats one element:
        [500, 8] + [500, 1] has 500 runs of 8. A last axis of extent 1 is a run of its own if an operand has no axis
        before it: [500, 1] + [1] has 500.
        """
        given = [self.sizes(shape) for shape in inputs if shape is not None]
        if out is None or len(given) < 2:
            return 0
        result, rank = self.sizes(out), min(len(out), *map(len, given))
        if all(sizes == result for sizes in given):
            return 0
        width, repeated = 1, None
        for axis in range(1, len(result) + 1):
            extent, extents = result[-axis], [sizes[-axis] if axis <= len(sizes) else 1 for sizes in given]
            if extent == 1 and (repeated is not None or axis < rank):
                continue
            repeats_here = [e != extent for e in extents]
            if repeated not in (None, repeats_here):
                break
            width, repeated = width * extent, repeats_here
        runs = prod(result) // max(width, 1)
        return runs if runs > 1 else 0

    def _product(self, macs: int, left: Shape, right: Shape, out: Shape) -> float:
        """Nanoseconds of a product. Reading the right side counts as one more row, for each product of a batch."""
        columns = max(self.elements(out and out[-1:]), 1)
        rows = max(self.elements(out) // columns, 1)
        padded = macs // columns * -(-columns // COLUMNS) * COLUMNS
        if right is None or self.elements(right[:-2]) <= 1:
            return NS_PER_MAC * padded * (1 + 1 / rows)
        products = self.elements(out and out[:-2])
        each = macs if columns == 1 else padded
        enough = products * (SHARED_ROWS if left is not None and len(left) == 2 else MANY_ROWS)
        per_mac = NS_PER_MAC_OF_MANY if rows < enough else NS_PER_MAC
        return NS_PER_PRODUCT * products + per_mac * each * (1 + products / rows)

    def _transposed(self, shape: tuple[Extent, ...], perm: Sequence[int]) -> float:
        """Nanoseconds of a Transpose. One axis moves inwards fast: [h B L d] to [B L h d]. The way back copies."""
        if len(perm) != len(shape):  # it does not run
            return 0
        extents = self.sizes(shape)
        moved = [p for p in perm if extents[p] != 1]
        order = [sorted(moved).index(p) for p in moved]
        sizes = [extents[p] for p in sorted(moved)]
        while order and order[-1] == len(order) - 1:
            order.pop()
        while order and order[0] == 0:
            order = [i - 1 for i in order[1:]]
            sizes = sizes[1:]
        written, block = self.elements(shape), max(prod(sizes[len(order) :]), 1)
        inwards = order == [*range(1, len(order)), 0] and len(order) != 2
        if inwards or len(order) < 2 or (block == 1 and order[1:] == list(range(len(order) - 1))):
            return NS_PER_ELEMENT * written
        return NS_PER_ELEMENT / 2 * written + (NS_PER_BLOCK if block > 1 else NS_PER_ELEMENT_APART) * written / block

    def _reduced(self, op_type: str, shape: tuple[Extent, ...], out: tuple[Extent, ...]) -> float:
        """Nanoseconds of a reduction. It begins anew for each index before the reduced axes, unless they are last."""
        is_last = not out or shape[-1] != out[-1] or shape[: len(out)] == out
        begins = 0 if is_last or op_type in EXTREMES else self._before(shape, out)
        return NS_PER_ELEMENT_REDUCED * self.elements(shape) + NS_PER_REDUCTION * (begins if begins > 1 else 0)

    def _before(self, shape: tuple[Extent, ...], out: tuple[Extent, ...]) -> int:
        """How many indices there are of the axes before the first one that has another extent in the result."""
        lead = next((i for i, (before, after) in enumerate(zip(shape, out, strict=False)) if before != after), len(out))
        return self.elements(shape[:lead])

    def _attention(self, macs: int, queries: tuple[Extent, ...], attributes: Mapping[str, Any]) -> float:
        """Nanoseconds of two products for each head and batch entry, and of the Softmax between them."""
        merged = attributes.get("q_num_heads") or attributes.get("num_heads")
        heads = merged or self.elements(queries[1:2])
        size = self.elements(queries[-1:]) // (merged or 1)
        products = 2 * heads * self.elements(queries[:1])
        scores = macs / max(2 * size, 1)
        return NS_PER_PRODUCT * products + NS_PER_MAC_OF_MANY * macs + NS_PER_ELEMENT_OF["Softmax"] * scores

    def node_macs(self, node: Node) -> int:
        """Multiply-adds of a node that may never be written; none for a constant."""
        if node.op_type not in PRODUCTS or node.outputs[0].constant:
            return 0
        return self.macs(node.op_type, *_shapes(node), dict(node.attributes))

    def node_time(self, node: Node) -> float:
        """Nanoseconds of a node that may never be written; 0 for a constant, which runtimes compute once.

        The result is cached: a node's inputs never change while one cost model is asked.
        """
        time = self._times.get(node)
        if time is None:
            time = self._times[node] = self._node_time(node)
        return time

    def fuse(self, last: Node, others: Sequence[Node]) -> None:
        """Price nodes of which a runtime makes one: together they take as long as the last of them."""
        if others:
            self._times[last] = self.node_time(last) - sum(map(self.node_time, others))

    def _node_time(self, node: Node) -> float:
        if node.is_source or node.outputs[0].constant:
            return self.launch if node.op_type == "<extents>" else 0.0
        return self.time(node.op_type, *_shapes(node), dict(node.attributes))

    def shape_arithmetic(self, nodes: Iterable[tuple[str, int]]) -> float:
        """Nanoseconds of nodes that compute shapes. Each is given as its operator and its number of operands."""
        return sum(self.time(op_type, [(1,)] * operands, [(1,)], {}) for op_type, operands in nodes)

    def price(self, tensors: Iterable[Tensor], since: int) -> float:
        """Nanoseconds to compute the tensors, counting the nodes alone whose serial is larger than `since`."""
        return sum(self.node_time(node) for node in reachable(tensors, since))


def _shapes(node: Node) -> tuple[list[Shape], list[Shape]]:
    return [None if t is None else t.shape for t in node.inputs], [t.shape for t in node.outputs]


def reachable(tensors: Iterable[Tensor], since: int = 0) -> list[Node]:
    """The nodes that the tensors need, each once, inputs before users; only those with a serial larger than `since`.

    The inputs of a stored tensor are left out: it is folded into one initializer.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(t.node, False) for t in tensors]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen and node.serial > since:
            seen.add(node)
            stack.append((node, True))
            stack.extend((t.node, False) for t in reversed(inputs_of(node)))
    return order


def inputs_of(node: Node) -> list[Tensor]:
    """The tensors that the node reads: its inputs, and those that its bodies capture. None for a stored node."""
    if node.outputs[0].stored:
        return []
    inputs = [t for t in node.inputs if t is not None]
    return inputs + [t for _, t in node.captures] if node.captures else inputs
