"""Choose: of two tensors that hold the same, the one is taken that makes the whole plan cheaper.

A rule compares the forms of one value. It cannot know whether a Concat of all columns is cheap: another reader may need
the Concat anyway, and the readers are known only after the walk. So the builder records pairs of tensors that hold the
same (`Builder.choices`). Here each choice is switched on trial, and kept if the whole plan is cheaper with it.

Example: `Concat(user, item) @ W` and `user @ W_user + item @ W_item` hold the same. The second is cheaper alone. The
first may be cheaper if three other nodes read the Concat too.

A selection counts how often each node is used. So a trial costs only as much as the nodes that it adds and removes, and
a trial that does not pay is undone write by write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mari_onnx import budget
from mari_onnx.analysis.interpret import Program
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel, inputs_of, reachable
from mari_onnx.ir.expressions import Node, Tensor, is_reshape
from mari_onnx.ir.validate import check_expressions
from mari_onnx.planning.rows_alone import take_rows_alone
from mari_onnx.planning.shared_inputs import stack_siblings

PASSES = 3
"""The most times that all choices are tried: a later choice may make an earlier one pay."""


def choose(program: Program, whole: frozenset[str] = frozenset()) -> None:
    """Settle every choice of the program, those among its siblings and those of rows read alone (see `settle`).

    Nodes that compute one of the tensors in `whole` stay as they are in the original: none of them is a sibling, and
    all of their rows are computed.
    """
    b = program.context.b
    outputs = [plain(b, value) for value in program.outputs]
    nodes = sorted(reachable(outputs), key=lambda node: node.serial)
    take_rows_alone(b, nodes, program.context.opset, whole)
    stack_siblings(b, nodes, program.context.opset, whole)
    settle(program, program.context.cost)


def settle(program: Program, cost: CostModel, *, ordered: bool = False) -> None:
    """Settle the recorded choices, in place: the inputs of the program's nodes are the chosen tensors afterwards.

    They are `ordered` if each substitute is computed of tensors that are computed before the one that it stands for. No
    tensor can then come to need itself, whichever are chosen, and none is looked at for that.
    """
    b = program.context.b
    if not b.choices:
        return
    outputs = [b.resolve(plain(b, value)) for value in program.outputs]
    reads = _Reads(b)
    none_switched, all_switched = (_Selection(b, cost, reads, ordered) for _ in range(2))
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
    nanoseconds. `undo` has what the last trial wrote: the table, the key, and what was there before.
    """

    b: Builder
    model: CostModel
    reads: _Reads
    ordered: bool
    chosen: dict[Tensor, Tensor] = field(default_factory=dict)
    read: dict[Tensor, int] = field(default_factory=dict)
    uses: dict[Node, int] = field(default_factory=dict)
    cost: float = 0.0
    undo: list[tuple[dict[Any, Any], Any, Any]] = field(default_factory=list)

    def _write(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Write into one of the tables, or delete where the value is None, and note what was there before."""
        self.undo.append((table, key, table.get(key)))
        if value is None:
            del table[key]
        else:
            table[key] = value

    def _undo(self, cost: float) -> None:
        """Take back everything since `undo` was empty, when the cost was the given one."""
        while self.undo:
            table, key, before = self.undo.pop()
            if before is None:
                del table[key]
            else:
                table[key] = before
        self.cost = cost

    def resolve(self, t: Tensor) -> Tensor:
        return self.chosen.get(t, t)

    def count(self, t: Tensor, times: int) -> None:
        """Add reads of a tensor."""
        self._write(self.read, t, self.read.get(t, 0) + times)
        self._use(self.resolve(t).node, times)

    def _use(self, node: Node, times: int) -> None:
        """Add uses of a node, or take them back where `times` is negative.

        The first use of a node adds reads of the node's inputs, and with the last use these are taken back. No use at
        all of a node that is not used adds these reads too: the choice of a tensor that nothing reads yet then has its
        price, and what it is computed from is there for others.
        """
        stack = [(node, times)]
        while stack:
            node, times = stack.pop()
            before = self.uses.get(node, 0)
            if before or times:
                self._write(self.uses, node, before + times or None)
            if before and before + times:
                continue
            more = 1 if times >= 0 else -1
            self.cost += self.model.node_time(node) * more
            for t in self.reads.inputs(node):
                self._write(self.read, t, self.read.get(t, 0) + more)
                stack.append((self.resolve(t).node, more))

    def switch(self, choice: Mapping[Tensor, Tensor]) -> None:
        """Read the second tensor of each pair instead of the first, except where the second is computed from it.

        The second is used before the first no longer is: what both are computed from stays used meanwhile.
        """
        for t, substitute in choice.items():
            now = self.resolve(t)
            if substitute is now or (not self.ordered and self._is_computed_from(substitute, t)):
                continue
            times = self.read.get(t, 0)
            self._use(substitute.node, times)
            self._write(self.chosen, t, substitute)
            self._use(now.node, -times)

    def improved(self) -> _Selection:
        """The selection itself, after every switch that lowers the cost, until none does or after `PASSES` passes."""
        limits = budget.current()
        for _ in range(PASSES):
            start = self.cost
            for choice in reversed(self.b.choices):
                limits.check(lambda: "the plan was made")
                now = {t: self.resolve(t) for t in choice if self.read.get(t)}
                if not now:
                    continue
                is_on = all(choice[t] is substitute for t, substitute in now.items())
                self.undo.clear()
                before = self.cost
                self.switch({t: t if is_on else choice[t] for t in now})
                if self.cost >= before - 1e-6:  # switched back it might not be the same: see `_is_computed_from`
                    self._undo(before)
            if self.cost > start - 1e-6:
                break
        return self

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
