"""What a graph costs: multiply-adds, elements written and a price for each node launched.

The constants are nanoseconds of one thread of a server core under onnxruntime, round figures read off
`python -m benchmarks calibrate`, which measures a node of each kind and prints what is said here beside it. They rank
forms of the same value against each other: one node is predicted within a factor of about two, a model better.
Extents that are symbols count as their reference: the number of candidates for the candidate axis, one for what a
request has once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent, evaluate
from mari_onnx.ir.operators import FUSED_OPERATORS, OPERATORS, named

NS_PER_LAUNCH = 500.0
NS_PER_VIEW = 300.0
NS_PER_OPERAND = 75.0
"""For each operand after the second: a Concat of twenty costs as much as four nodes."""

NS_PER_MAC = 0.02
COLUMNS = 16
"""A product of fewer columns takes as long as one of so many, which is a vector register."""
NS_PER_PRODUCT = 150.0
NS_PER_MAC_OF_MANY = 0.035
MANY_ROWS = 256
"""A batch of products has a price for each, and packs each right side anew, which so many rows make up for."""

NS_PER_ELEMENT = 0.2
CACHED = 500_000
"""Elements beyond these come from memory and go back there, and cost twice as much."""
NS_PER_ELEMENT_OF = {name: traits.ns for name, traits in OPERATORS.items() if traits.ns is not None}
NS_PER_RUN = 9.0
"""For each stretch over which an operand of an element-wise operator is repeated, or is not: they come one by one."""
BROADCASTING = named(lambda t: t.broadcasts) - {"Where"}  # whose price for each element is that of its runs

NS_PER_ROW = 8.0
"""For each row of a table that Gather looks up, beside its elements; in Concat narrow rows cost less."""
NARROW = 16

NS_PER_BLOCK = 9.0
"""For each run of elements that Transpose keeps together and copies; a run that is one element is moved otherwise."""
NS_PER_ELEMENT_APART = 4.0
"""For each that it moves by itself, along with its neighbours in more than one axis."""

UNKNOWN_EXTENT = 32

VIEWS = named(lambda t: t.view)
PRODUCTS = named(lambda t: t.product) | named(lambda t: t.product, FUSED_OPERATORS)
READ_MORE = named(lambda t: t.reads_more)

Shape: TypeAlias = "tuple[Extent, ...] | None"


@dataclass(frozen=True)
class Work:
    """What a graph takes for one call.

    `macs` are its multiply-adds, `fixed` those of them that do not vary with the candidates. `nodes` compute something;
    stored tensors do not. `time` is in nanoseconds, and so is `alone`, that of a call with a single candidate.
    """

    macs: int = 0
    fixed: int = 0
    nodes: int = 0
    time: float = 0.0
    alone: float = 0.0


NO_WORK = Work()


@dataclass(frozen=True)
class CostModel:
    """`reference` gives symbols their values; `batch` is that of the candidates.

    `alone` is the cost of a call with a single candidate, and `emphasis` how much that counts beside this one. Where
    it is `thrifty`, no form is offered that takes less time with more arithmetic.
    """

    batch: int
    reference: dict[str, int] = field(default_factory=dict)
    alone: CostModel | None = None
    emphasis: float = 0.0
    thrifty: bool = False
    _times: dict[Node, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def launch(self) -> float:
        """Nanoseconds that a node counts for, whatever it does."""
        return NS_PER_LAUNCH * (1 + self.emphasis)

    def assume(self, extent: str, shape: Sequence[Extent]) -> None:
        """Count a symbol that the model's inputs do not give as the elements of this shape."""
        self.reference.setdefault(extent, self.elements(tuple(shape)))
        if self.alone is not None:
            self.alone.assume(extent, shape)

    def elements(self, shape: Shape) -> int:
        """How many elements a tensor of this shape has at the reference; 0 for an unknown rank."""
        if shape is None:
            return 0
        return prod([e if isinstance(e, int) else evaluate(e, self.reference, UNKNOWN_EXTENT) for e in shape])

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
            case "Attention" | "MultiHeadAttention":  # q k^T, and its product with v
                keys = sum(self.elements(s[-2:-1]) for s in (inputs[1], *inputs[4:5]) if s is not None)
                return (self.elements(inputs[0]) + out) * keys
            case "GRU" | "LSTM" | "RNN":
                recurrent = self.elements(inputs[2][1:]) if inputs[2] is not None else 0
                return self.elements(inputs[0][:2]) * (self.elements(inputs[1][1:]) + recurrent)
            case _:
                return out * self.elements(inputs[0][-1:])

    def time(
        self, op_type: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]
    ) -> float:
        """Nanoseconds of one node, roughly."""
        time = self._time(op_type, inputs, outputs, attributes)
        if self.alone is None or not self.emphasis:
            return time
        return time + self.emphasis * self.alone.time(op_type, inputs, outputs, attributes)

    def _time(
        self, op_type: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]
    ) -> float:
        if op_type in VIEWS:
            return NS_PER_VIEW
        operands = 1 if op_type == "Slice" else len(inputs)  # where it begins and ends is no data
        launch = NS_PER_LAUNCH + NS_PER_OPERAND * max(operands - 2, 0)
        written = sum(map(self.elements, outputs))
        if op_type in ("Attention", "MultiHeadAttention") and inputs[0] is not None:
            return 3 * launch + self._attention(self.macs(op_type, inputs, outputs, attributes), inputs[0], attributes)
        if op_type in PRODUCTS and (macs := self.macs(op_type, inputs, outputs, attributes)):
            return launch + self._product(macs, inputs[1], outputs[0])
        if op_type in ("Concat", "Gather") and inputs[0] is not None:
            axis = attributes.get("axis", 0)
            if op_type == "Gather":
                per_row, width = NS_PER_ROW, self.elements(inputs[0][axis:][1:])
            else:
                widths = [self.elements(s[axis:]) for s in inputs if s is not None]
                per_row, width = sum(NS_PER_ROW * min(w / NARROW, 1) for w in widths), sum(widths)
            return launch + per_row * written / max(width, 1) + NS_PER_ELEMENT / 2 * written
        if op_type == "Transpose" and inputs[0] is not None:
            return launch + self._transposed(inputs[0], attributes.get("perm", range(len(inputs[0]))[::-1]))
        read = max(map(self.elements, inputs), default=0) if op_type in READ_MORE else 0
        moved = max(written, read)
        memory = NS_PER_ELEMENT * (moved + max(moved - CACHED, 0))
        runs = self._runs(inputs, outputs[0]) if op_type in BROADCASTING else 0
        return launch + NS_PER_RUN * runs + max(NS_PER_ELEMENT_OF.get(op_type, NS_PER_ELEMENT) * moved, memory)

    def _runs(self, inputs: Sequence[Shape], out: Shape) -> int:
        """How many stretches of the result have each operand either going on or staying where it is.

        A last axis of extent 1 is one such stretch, if an operand has no axis before it: [500, 1] + [1] has 500.
        """
        shapes = [[self.elements((e,)) for e in shape] for shape in (out, *inputs) if shape is not None]
        if out is None or len(shapes) < 3:
            return 0
        width, repeated = 1, None
        for axis in range(1, len(out) + 1):
            extent, *extents = (shape[-axis] if axis <= len(shape) else 1 for shape in shapes)
            if extent == 1 and (repeated is not None or axis < min(map(len, shapes))):
                continue
            here = [e != extent for e in extents]
            if repeated not in (None, here):
                break
            width, repeated = width * extent, here
        runs = prod(shapes[0]) // max(width, 1)
        return runs if runs > 1 else 0

    def _product(self, macs: int, right: Shape, out: Shape) -> float:
        """Reading the right side takes about as long as one more row, for each product of a batch of them."""
        columns = max(self.elements(out and out[-1:]), 1)
        rows = max(self.elements(out) // columns, 1)
        padded = macs // columns * -(-columns // COLUMNS) * COLUMNS
        if right is None or self.elements(right[:-2]) <= 1:
            return NS_PER_MAC * padded * (1 + 1 / rows)
        products = self.elements(out and out[:-2])
        each = macs if columns == 1 else padded
        per_mac = NS_PER_MAC_OF_MANY if rows < products * MANY_ROWS else NS_PER_MAC
        return NS_PER_PRODUCT * products + per_mac * each * (1 + products / rows)

    def _transposed(self, shape: tuple[Extent, ...], perm: Sequence[int]) -> float:
        """Moving one axis inwards is fast, [h B L d] to [B L h d]; back it is a copy for each block of d."""
        extents = [self.elements((e,)) for e in shape]
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

    def _attention(self, macs: int, queries: tuple[Extent, ...], attributes: Mapping[str, Any]) -> float:
        """Two products for each head of each member of the batch, and the Softmax of what is between them."""
        merged = attributes.get("q_num_heads") or attributes.get("num_heads")
        heads = merged or self.elements(queries[1:2])
        size = self.elements(queries[-1:]) // (merged or 1)
        products = 2 * heads * self.elements(queries[:1])
        scores = macs / max(2 * size, 1)
        return NS_PER_PRODUCT * products + NS_PER_MAC_OF_MANY * macs + NS_PER_ELEMENT_OF["Softmax"] * scores

    def node_macs(self, node: Node) -> int:
        if node.outputs[0].constant:
            return 0
        return self.macs(node.op_type, *_shapes(node), dict(node.attributes))

    def node_time(self, node: Node) -> float:
        """Nanoseconds of a node that may never be written. Runtimes compute constants once.

        It is remembered: a node whose inputs are others is asked of another cost model (see `choose`).
        """
        time = self._times.get(node)
        if time is None:
            time = self._times[node] = self._node_time(node)
        return time

    def _node_time(self, node: Node) -> float:
        if node.is_source or node.outputs[0].constant:
            return self.launch if node.op_type == "<extents>" else 0.0
        return self.time(node.op_type, *_shapes(node), dict(node.attributes))

    def shape_arithmetic(self, nodes: Iterable[tuple[str, int]]) -> float:
        """Nanoseconds of nodes that compute shapes, a few numbers each: their operators and numbers of operands."""
        return sum(self.time(op_type, [(1,)] * operands, [(1,)], {}) for op_type, operands in nodes)

    def price(self, tensors: Iterable[Tensor], since: int) -> float:
        """What it takes to compute the tensors from those that the builder had made by `since`."""
        return sum(self.node_time(node) for node in reachable(tensors, since))


def _shapes(node: Node) -> tuple[list[Shape], list[Shape]]:
    return [None if t is None else t.shape for t in node.inputs], [t.shape for t in node.outputs]


def reachable(tensors: Iterable[Tensor], since: int = 0) -> list[Node]:
    """The nodes that the tensors need, each once, inputs before users; only those made after `since`.

    A stored constant needs nothing: it is folded.
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
    """What has to be computed before the node: its inputs and what its bodies read; of what is stored, nothing."""
    if node.outputs[0].stored:
        return []
    return [*(t for t in node.inputs if t is not None), *(t for _, t in node.captures)]
