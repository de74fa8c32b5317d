"""Choose: of two tensors that hold the same, the one is taken that makes the whole plan cheaper.

A rule compares the forms of one value. It cannot know whether a Concat of all columns is cheap: another reader may need
the Concat anyway, and the readers are known only after the walk. So the builder records pairs of tensors that hold the
same (`Builder.choices`). Here each choice is switched on trial, and kept if the whole plan is cheaper with it.

Example: `Concat(user, item) @ W` and `user @ W_user + item @ W_item` hold the same. The second is cheaper alone. The
first may be cheaper if three other nodes read the Concat too.

A selection counts how often each node is used. So a trial costs only as much as the nodes that it adds and removes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mari_onnx import budget
from mari_onnx.analysis.interpret import Program
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel, inputs_of, reachable
from mari_onnx.ir.expressions import Node, Tensor, is_reshape
from mari_onnx.ir.validate import check_expressions
from mari_onnx.planning.shared_inputs import stack_siblings

PASSES = 3
"""The most times that all choices are tried: a later choice may make an earlier one pay."""


def choose(program: Program) -> None:
    """Settle every choice of the program, and those among its siblings (see `settle`)."""
    b = program.context.b
    outputs = [plain(b, value) for value in program.outputs]
    stack_siblings(b, sorted(reachable(outputs), key=lambda node: node.serial), program.context.opset)
    settle(program, program.context.cost)


def settle(program: Program, cost: CostModel) -> None:
    """Settle the recorded choices, in place: the inputs of the program's nodes are the chosen tensors afterwards."""
    b = program.context.b
    if not b.choices:
        return
    outputs = [b.resolve(plain(b, value)) for value in program.outputs]
    reads = _Reads(b)
    none_switched, all_switched = (_Selection(b, cost, reads) for _ in range(2))
    for selection in (none_switched, all_switched):
        for tensor in outputs:
            selection.count(tensor, 1)
    for choice in b.choices:  # some choices pay only together
        all_switched.switch(choice)
    best = min((none_switched.improved(), all_switched.improved()), key=lambda selection: selection.cost)
    _read_chosen(b, best, outputs)
    b.choices.clear()
    check_expressions("planning", map(b.resolve, outputs))


def _read_chosen(b: Builder, best: _Selection, outputs: Sequence[Tensor]) -> None:
    """Make every node read the tensors of the best selection, and note these in `Builder.chosen`."""
    substitutes = best.chosen | {t: _substitute(best, t) for t in outputs}
    earlier = {t: substitutes.get(substitute, substitute) for t, substitute in b.chosen.items()}
    b.chosen.update({t: substitute for t, substitute in (earlier | substitutes).items() if substitute is not t})
    for node in list(best.uses):
        node.inputs = tuple(None if t is None else _substitute(best, t) for t in node.inputs)
        if is_reshape(node.outputs[0]):
            node.inputs = (_before_reshapes(best, node.inputs[0]),)
        node.captures = tuple((name, best.resolve(t)) for name, t in node.captures)
    for tensor, substitute in b.chosen.items():
        substitute.name_after(tensor)


def _substitute(selection: _Selection, t: Tensor) -> Tensor:
    """The tensor that is read instead of t, without Reshapes that lead back to the shape before them."""
    substitute = selection.resolve(t)
    source = _before_reshapes(selection, substitute)
    return source if source.shape == substitute.shape else substitute


def _before_reshapes(selection: _Selection, t: Tensor | None) -> Tensor:
    """The tensor before a chain of Reshapes: the last Reshape of the chain may read this tensor directly."""
    assert t is not None
    while is_reshape(t):
        (source,) = t.node.inputs
        assert source is not None
        t = selection.resolve(source)
    return t


class _Reads:
    """What each node reads, cached: all its tensors, and those of its choices that it reads with no other between.

    Example: of `relu(a + choice) @ w`, where `a` needs another choice `c`, the choices read are `choice` and `c`, and
    not those that `choice` and `c` are computed from. A set of choices is an int with one bit for each, so that a union
    is one operation.
    """

    def __init__(self, b: Builder) -> None:
        self.choices = list(dict.fromkeys(t for choice in b.choices for t in choice))
        self.bits = {t: 1 << i for i, t in enumerate(self.choices)}
        self._inputs: dict[Node, list[Tensor]] = {}
        self._nearest: dict[Node, int] = {}

    def inputs(self, node: Node) -> list[Tensor]:
        """The tensors that have to be computed before a node."""
        found = self._inputs.get(node)
        if found is None:
            found = self._inputs[node] = inputs_of(node)
        return found

    def nearest(self, node: Node) -> int:
        """The choices that a node reads, directly or through nodes that are no choice."""
        known, stack = self._nearest, [node]
        while stack:
            inputs = self.inputs(stack[-1])
            unknown = [t.node for t in inputs if t not in self.bits and t.node not in known]
            if unknown:
                stack.extend(unknown)
                continue
            found = 0
            for t in inputs:
                found |= self.bits.get(t) or known[t.node]
            known[stack.pop()] = found
        return known[node]


@dataclass
class _Selection:
    """One decision for each choice, the nodes that are needed then, and their estimated time.

    `chosen` has the tensor that is read instead of another. `read` counts how often each tensor is asked for, before it
    is substituted, and `uses` counts how often each node is used, after that. `cost` is the time of all used nodes in
    nanoseconds.
    """

    b: Builder
    model: CostModel
    reads: _Reads
    chosen: dict[Tensor, Tensor] = field(default_factory=dict)
    read: defaultdict[Tensor, int] = field(default_factory=lambda: defaultdict(int))
    uses: defaultdict[Node, int] = field(default_factory=lambda: defaultdict(int))
    cost: float = 0.0

    def resolve(self, t: Tensor) -> Tensor:
        return self.chosen.get(t, t)

    def count(self, t: Tensor, times: int) -> None:
        """Add reads of a tensor, or take them back where `times` is negative.

        The first read of a node adds reads of the node's inputs, and with the last read these are taken back.
        """
        stack = [(t, times)]
        while stack:
            t, times = stack.pop()
            self.read[t] += times
            node = self.resolve(t).node
            before = self.uses[node]
            self.uses[node] += times
            first, last = not before, not self.uses[node]
            if first or last:
                self.cost += self.model.node_time(node) * (1 if first else -1)
                stack.extend((i, 1 if first else -1) for i in self.reads.inputs(node))
            if last:
                del self.uses[node]

    def switch(self, choice: Mapping[Tensor, Tensor]) -> None:
        """Read the second tensor of each pair instead of the first, except where the second is computed from it."""
        for t, substitute in choice.items():
            if substitute is self.resolve(t) or self._is_computed_from(substitute, t):
                continue
            times = self.read[t]
            self.count(t, -times)
            self.chosen[t] = substitute
            self.count(t, times)

    def improved(self) -> _Selection:
        """The selection after every switch that lowers the cost, until no switch does or after `PASSES` passes."""
        best, limits = self, budget.current()
        for _ in range(PASSES):
            start = best.cost
            for choice in reversed(self.b.choices):
                limits.check(lambda: "the plan was made")
                now = {t: best.resolve(t) for t in choice if best.read[t]}
                if not now:
                    continue
                is_on = all(choice[t] is substitute for t, substitute in now.items())
                # A failed trial is thrown away. It is not switched back, as that may fail: see `_is_computed_from`.
                trial = replace(best, chosen=dict(best.chosen), read=best.read.copy(), uses=best.uses.copy())
                trial.switch({t: t if is_on else choice[t] for t in now})
                best = trial if trial.cost < best.cost - 1e-6 else best
            if best.cost > start - 1e-6:
                break
        return best

    def _is_computed_from(self, tensor: Tensor, source: Tensor) -> bool:
        """Whether a tensor needs a source under the present choices: the tensor then cannot replace the source."""
        sought, seen, found = self.reads.bits[source], 0, self.reads.nearest(tensor.node)
        while found and not found & sought:
            seen |= found
            behind = 0
            while found:
                last = found.bit_length() - 1
                found ^= 1 << last
                behind |= self.reads.nearest(self.resolve(self.reads.choices[last]).node)
            found = behind & ~seen
        return bool(found)
