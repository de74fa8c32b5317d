"""The work of the original model: multiply-adds, nodes and time, counted node by node during the interpretation.

x [B, 4] @ w [4, 8]     B * 4 * 8 multiply-adds; they vary with the candidates, since the product has B rows
u [1, 4] @ w [4, 8]     32 multiply-adds that are fixed, whatever the number of candidates
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from mari_onnx.analysis.context import Op
from mari_onnx.ir.axes import extents
from mari_onnx.ir.cost import NO_WORK, CostModel, Shape, Work
from mari_onnx.ir.extents import symbols
from mari_onnx.ir.forms import Value


@dataclass
class Counter:
    """The work of the nodes so far, by the shapes that they have in the original.

    `candidates` are the symbols that count candidates. `constants` are the names of values that runtimes compute once,
    when they load the model.
    """

    cost: CostModel
    candidates: Collection[str]
    constants: set[str] = field(default_factory=set)
    work: Work = NO_WORK

    def node(self, op: Op, results: Sequence[Value]) -> None:
        """Add a node. An If adds nothing itself, since the nodes of the branch that it takes are added."""
        if op.op_type == "If":
            return
        if self.constants.issuperset(filter(None, op.proto.input)) and all(v.constant for v in results):
            self.constants.update(v.name for v in results)
            return
        inputs = [None if v is None else _shape(v) for v in op.inputs]
        outputs = [_shape(v) for v in results]
        described = op.op_type, inputs, outputs, op.attributes
        macs, alone = self.cost.macs(*described), self.cost.alone
        before = self.work
        self.work = Work(
            macs=before.macs + macs,
            fixed=before.fixed + (0 if not macs or self._varies(outputs) else macs),
            nodes=before.nodes + 1,
            time=before.time + self.cost.time(*described),
            alone=before.alone + (0.0 if alone is None else alone.time(*described)),
        )

    def apart(self) -> Counter:
        """A counter for the nodes of a body. It starts from this one's state, and does not add to this one."""
        return replace(self)

    def _varies(self, shapes: Sequence[Shape]) -> bool:
        return any(
            not isinstance(e, int) and not symbols(e).isdisjoint(self.candidates)
            for shape in shapes
            for e in shape or ()
        )


def _shape(value: Value) -> Shape:
    return None if value.dims is None else extents(value.dims)
