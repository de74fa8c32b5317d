"""Choose: where the same can be had in two ways, what the rest of the graph needs decides.

The rules compare the forms of one value with each other. Whether a Concat of all columns is cheap also depends on
whether somebody else needs it, which is known when the walk is over. So the builder remembers tensors that hold the
same (`Builder.choices`), and here each choice is tried against the whole plan, from the outputs backwards, as long as
that makes the plan cheaper. Uses are counted, so that a trial costs no more than what it changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mari_onnx.analysis.interpret import Program
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel, inputs_of, reachable
from mari_onnx.ir.expressions import Node, Tensor, is_reshape
from mari_onnx.ir.layout import plain
from mari_onnx.planning.shared_inputs import stack_siblings

PASSES = 3


def choose(program: Program) -> None:
    """Settle every choice of the program, in place: the inputs of its nodes are the chosen tensors afterwards."""
    b = program.context.b
    outputs = [plain(b, value) for value in program.outputs]
    stack_siblings(b, sorted(reachable(outputs), key=lambda node: node.serial), program.context.opset)
    if not b.choices:
        return
    plans = [_Plan(b, program.context.cost) for _ in range(2)]
    for plan in plans:
        for tensor in outputs:
            plan.want(tensor, 1)
    for choice in b.choices:  # some pay only together
        plans[1].switch(choice)
    best = min((plan.improved() for plan in plans), key=lambda plan: plan.cost)
    settled = best.chosen | {t: _settled(best, t) for t in outputs}
    b.chosen.update({t: stands for t, stands in settled.items() if stands is not t})
    for node in list(best.uses):
        node.inputs = tuple(None if t is None else _settled(best, t) for t in node.inputs)
        if is_reshape(node.outputs[0]):
            node.inputs = (_before_reshapes(best, node.inputs[0]),)
        node.captures = tuple((name, best.resolve(t)) for name, t in node.captures)
    for tensor, stands in b.chosen.items():
        stands.name = stands.name or tensor.name


def _settled(plan: _Plan, t: Tensor) -> Tensor:
    """What stands for a tensor; a Reshape to the shape that was there before is none."""
    stands = plan.resolve(t)
    source = _before_reshapes(plan, stands)
    return source if source.shape == stands.shape else stands


def _before_reshapes(plan: _Plan, t: Tensor | None) -> Tensor:
    """What one Reshape after another was made of: the last one is enough."""
    assert t is not None
    while is_reshape(t):
        (source,) = t.node.inputs
        assert source is not None
        t = plan.resolve(source)
    return t


@dataclass
class _Plan:
    """The nodes that are needed under some choices: how often each is used, and what all of them cost.

    `wanted` counts the uses of tensors, before it is asked what stands for them. `needs` remembers the inputs of nodes.
    """

    b: Builder
    model: CostModel
    chosen: dict[Tensor, Tensor] = field(default_factory=dict)
    wanted: defaultdict[Tensor, int] = field(default_factory=lambda: defaultdict(int))
    uses: defaultdict[Node, int] = field(default_factory=lambda: defaultdict(int))
    cost: float = 0.0
    needs: dict[Node, list[Tensor]] = field(default_factory=dict)

    def resolve(self, t: Tensor) -> Tensor:
        return self.chosen.get(t, t)

    def inputs(self, node: Node) -> list[Tensor]:
        """What has to be computed before a node."""
        found = self.needs.get(node)
        if found is None:
            found = self.needs[node] = inputs_of(node)
        return found

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
                stack.extend((i, 1 if first else -1) for i in self.inputs(node))
            if last:
                del self.uses[node]

    def switch(self, choice: Mapping[Tensor, Tensor]) -> None:
        """Have the uses of some tensors served by others, except where those are computed from them."""
        for t, stands in choice.items():
            if stands is self.resolve(t) or self._reaches(stands, t):
                continue
            times = self.wanted[t]
            self.want(t, -times)
            self.chosen[t] = stands
            self.want(t, times)

    def improved(self) -> _Plan:
        """The plan with whatever switched that makes it cheaper, until nothing does."""
        plan = self
        for _ in range(PASSES):
            start = plan.cost
            for choice in reversed(self.b.choices):
                now = {t: plan.resolve(t) for t in choice if plan.wanted[t]}
                if not now:
                    continue
                back = all(choice[t] is stands for t, stands in now.items())
                # A trial that fails is thrown away: on the way back one tensor might wait for another.
                trial = replace(plan, chosen=dict(plan.chosen), wanted=plan.wanted.copy(), uses=plan.uses.copy())
                trial.switch({t: t if back else choice[t] for t in now})
                plan = trial if trial.cost < plan.cost - 1e-6 else plan
            if plan.cost > start - 1e-6:
                break
        return plan

    def _reaches(self, source: Tensor, t: Tensor) -> bool:
        """Whether the source is computed from a tensor: then it cannot stand for it."""
        seen: set[Node] = set()
        stack = list(self.inputs(source.node))
        # A node is made after its inputs. So below this serial there is no `t`, unless something later stands in there.
        lowest = min((s.node.serial for s, stands in self.chosen.items() if s is not stands), default=t.node.serial)
        lowest = min(lowest, t.node.serial)
        while stack:
            i = stack.pop()
            if i is t:
                return True
            node = self.resolve(i).node
            if node.serial > lowest and node not in seen:
                seen.add(node)
                stack.extend(self.inputs(node))
        return False
