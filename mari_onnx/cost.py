"""What a graph costs: multiply-adds, bytes moved and a price for each node launched.

The constants are round figures for one thread of a current server core under onnxruntime; they rank forms of
the same value against each other and predict nothing. Extents that are symbols count as their reference:
the number of candidates for the candidate axis, one for what a request has once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from mari_onnx.extent import Extent, evaluate
from mari_onnx.tensors import Node, Tensor

NS_PER_LAUNCH = 1500.0
NS_PER_VIEW = 700.0
NS_PER_MAC = 0.03
NS_PER_BYTE = 0.08
NS_PER_TRANSCENDENTAL = 1.0
UNKNOWN_EXTENT = 32

VIEWS = frozenset({"Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"})
TRANSCENDENTAL = frozenset(
    {"Sigmoid", "Tanh", "Exp", "Log", "Softmax", "LogSoftmax", "Erf", "Gelu", "Selu", "Elu", "Softplus", "Pow", "Mish"}
)
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "Einsum", "GRU", "LSTM", "RNN", "MatMulInteger"})
ITEM_SIZE = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}


@dataclass(frozen=True)
class CostModel:
    """`reference` gives symbols their values; `batch` is that of the candidates."""

    batch: int
    reference: dict[str, int] = field(default_factory=dict)

    def elements(self, shape: tuple[Extent, ...] | None) -> int:
        """How many elements a tensor of this shape has at the reference; 0 for an unknown rank."""
        return 0 if shape is None else prod(evaluate(e, self.reference, UNKNOWN_EXTENT) for e in shape)

    def macs(
        self,
        op_type: str,
        inputs: list[tuple[Extent, ...] | None],
        outputs: list[tuple[Extent, ...] | None],
        trans_a: bool = False,
    ) -> int:
        """Multiply-adds of one node from the shapes of its inputs and outputs; 0 where they are unknown."""
        if op_type not in PRODUCTS or outputs[0] is None or inputs[0] is None or inputs[1] is None:
            return 0
        out = self.elements(outputs[0])
        match op_type:
            case "MatMul" | "MatMulInteger":
                return out * self.elements(inputs[0][-1:])
            case "Gemm":
                return out * self.elements(inputs[0][:1] if trans_a else inputs[0][-1:])
            case "Conv":
                return out * self.elements(inputs[1][1:])
            case "GRU" | "LSTM" | "RNN":
                recurrent = self.elements(inputs[2][1:]) if inputs[2] is not None else 0
                return self.elements(inputs[0][:2]) * (self.elements(inputs[1][1:]) + recurrent)
            case _:
                return out * self.elements(inputs[0][-1:])

    def node_macs(self, node: Node) -> int:
        shapes = [t.shape if t is not None else None for t in node.inputs]
        trans_a = node.op_type == "Gemm" and bool(dict(node.attributes).get("transA", 0))
        return self.macs(node.op_type, shapes, [t.shape for t in node.outputs], trans_a)

    def node_time(self, node: Node) -> float:
        """Nanoseconds, roughly."""
        if node.is_source or node.outputs[0].constant:
            return NS_PER_LAUNCH if node.op_type == "<extents>" else 0.0
        shapes = [t.shape if t is not None else None for t in node.inputs]
        outputs = [t.shape for t in node.outputs]
        moved = sum(self._bytes(t) for t in node.outputs)
        moved += min(moved, sum(self._bytes(t) for t in node.inputs if t is not None and not t.constant))
        return self.time(node.op_type, self.node_macs(node), moved, self.elements(outputs[0]) if shapes else 0)

    def time(self, op_type: str, macs: int, moved: int, written: int) -> float:
        if op_type in VIEWS:
            return NS_PER_VIEW
        transcendental = NS_PER_TRANSCENDENTAL * written if op_type in TRANSCENDENTAL else 0.0
        return NS_PER_LAUNCH + NS_PER_MAC * macs + NS_PER_BYTE * moved + transcendental

    def _bytes(self, t: Tensor) -> int:
        return self.elements(t.shape) * ITEM_SIZE.get(t.dtype, 4)

    def price(self, tensors: Iterable[Tensor], since: int) -> float:
        """What it takes to compute the tensors from those that the builder had made by `since`."""
        return sum(self.node_time(node) for node in reachable(tensors, since))


def reachable(tensors: Iterable[Tensor], since: int = 0) -> list[Node]:
    """The nodes that the tensors need, each once, inputs before users; only those made after `since`.

    A constant needs nothing: it is folded.
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
            if node.outputs[0].constant:
                continue
            needed = [t for t in node.inputs if t is not None] + [t for _, t in node.captures]
            stack.extend((t.node, False) for t in reversed(needed))
    return order
