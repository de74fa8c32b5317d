"""Choose: where the same can be had in two ways, what the rest of the graph needs decides.

The rules compare the forms of one value with each other. Whether a Concat of all columns is cheap also depends on
whether somebody else needs it, which is known when the walk is over. So the builder remembers tensors that hold the
same (`Builder.also`), and here each of them is tried against the whole plan, from the outputs backwards, as long as
that makes the plan cheaper. Uses are counted, so that a trial costs no more than what it changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mari_onnx.cost import CostModel, inputs_of
from mari_onnx.interpret import Program
from mari_onnx.layout import plain
from mari_onnx.tensors import Builder, Node, Tensor

PASSES = 3


def choose(program: Program) -> None:
    """Settle every choice of the program, in place: the inputs of its nodes are the chosen tensors afterwards."""
    b = program.context.b
    outputs = [plain(b, value) for value in program.outputs]
    if not b.alternatives:
        return
    plans = [_Plan(b, program.context.cost) for _ in range(2)]
    for plan in plans:
        for tensor in outputs:
            plan.want(tensor, 1)
    for t, others in b.alternatives.items():  # some choices pay only together
        for other in others:
            plans[1].switch(t, other)
    for plan in plans:
        plan.improve()
    best = min(plans, key=lambda plan: plan.cost)
    b.chosen.update(best.chosen)
    for node in list(best.uses):
        node.inputs = tuple(None if t is None else best.resolve(t) for t in node.inputs)
        node.captures = tuple((name, best.resolve(t)) for name, t in node.captures)
    for tensor, stands in best.chosen.items():
        stands.name = stands.name or tensor.name


@dataclass
class _Plan:
    """The nodes that are needed under some choices: how often each is used, and what all of them cost."""

    b: Builder
    model: CostModel
    chosen: dict[Tensor, Tensor] = field(default_factory=dict)
    wanted: Counter[Tensor] = field(default_factory=Counter)
    uses: Counter[Node] = field(default_factory=Counter)
    cost: float = 0.0

    def resolve(self, t: Tensor) -> Tensor:
        return self.chosen.get(t, t)

    def want(self, t: Tensor, times: int) -> None:
        """Count uses of a tensor, or take them back; a node that is used first brings its inputs along."""
        stack = [(t, times)]
        while stack:
            t, times = stack.pop()
            self.wanted[t] += times
            node = self.resolve(t).node
            before = self.uses[node]
            self.uses[node] += times
            first, last = not before, not self.uses[node]
            if first or last:
                self.cost += self.model.node_time(node) * (1 if first else -1)
                stack.extend((i, 1 if first else -1) for i in inputs_of(node))
            if last:
                del self.uses[node]

    def switch(self, t: Tensor, stands: Tensor) -> None:
        """Have the uses of one tensor served by another, unless that is computed from it."""
        if self._reaches(stands, t):
            return
        times = self.wanted[t]
        self.want(t, -times)
        self.chosen[t] = stands
        self.want(t, times)

    def improve(self) -> None:
        """Switch whatever makes the plan cheaper, until nothing does."""
        for _ in range(PASSES):
            start = self.cost
            for t in sorted(self.b.alternatives, key=lambda t: -t.node.serial):
                for other in (t, *self.b.alternatives[t]):
                    cost, now = self.cost, self.resolve(t)
                    if other is now or not self.wanted[t]:
                        continue
                    self.switch(t, other)
                    if self.cost > cost - 1e-6:
                        self.switch(t, now)
            if self.cost > start - 1e-6:
                return

    def _reaches(self, source: Tensor, t: Tensor) -> bool:
        """Whether the source is computed from a tensor: then it cannot stand for it."""
        seen: set[Node] = set()
        stack = inputs_of(source.node)
        while stack:
            i = stack.pop()
            if i is t:
                return True
            node = self.resolve(i).node
            if node not in seen:
                seen.add(node)
                stack.extend(inputs_of(node))
        return False
