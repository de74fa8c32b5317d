"""Several products of one input as one product, and several equal operations behind them as one operation.

    x @ W1, x @ W2, x @ W3           are the columns of x @ [W1 W2 W3]
    f(a), f(b), f(c)                 are the places of f of all, stacked as [rows, siblings, columns]
    a @ E, b @ E, c @ E              are the rows of [a; b; c] @ E

Example: a mixture of experts multiplies one input by the weights of four experts and of three gates. Queries, keys and
values of self-attention are three products of one input. The results of such products are called siblings here.

One product of all has fewer launches. Gates that weigh the same experts then read these once. In return, a sibling that
is read alone has to be copied out of the stack. So the separate products and the stack are both recorded, as a choice
of the builder, and `choose` takes what is cheaper for the whole plan.

Holds when the weights are stored and equally wide. The stack ends where an operator works along the axis of the
siblings: it goes on through elementwise operators, Softmax along the columns, and a product with one right side.
Rounding: none, but for the order in which a runtime adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.operators import OPERATORS, named

UNARY = named(lambda t: t.elementwise) | {"Identity"}
"""Operators that run on the whole stack, if they have no other input."""

WITH_CONSTANTS = named(lambda t: t.elementwise and t.broadcasts) | {"BatchNormalization"}
"""Operators that run on the whole stack, if their other inputs are constants with one number for each column."""


@dataclass(frozen=True)
class Stack:
    """Siblings as one tensor `[..., siblings, columns]`.

    The shape of a sibling is `[..., columns]` if the stack is `flat`, and `[..., 1, columns]` otherwise.
    """

    whole: Tensor
    siblings: tuple[Tensor, ...]
    flat: bool

    def place(self, b: Builder, i: int, shape: tuple[Extent, ...] | None = None) -> Tensor:
        """Sibling i as a slice of the whole, in the sibling's own shape or in the given one."""
        *lead, _, columns = self.whole.known_shape
        view = b.slice(self.whole, len(lead), i, i + 1)
        return b.reshape(view, shape or ((*lead, columns) if self.flat else view.known_shape))


def stack_siblings(b: Builder, nodes: Sequence[Node], opset: int, whole: frozenset[str] = frozenset()) -> None:
    """Record, as choices of the builder, which tensors of a plan are places of a stack.

    `nodes` are the nodes of the plan, each after its inputs. `opset` is the model's version of the standard operators.
    Those that compute a tensor in `whole` begin no stack.
    """
    stacker = _Stacker(b, opset, _readers(nodes))
    for products in _products_of_one_input(nodes, whole):
        stacker.stack(products)
    for node in nodes:
        if node.op_type == "Concat":
            stacker.join(node)


def _readers(nodes: Sequence[Node]) -> dict[Tensor, list[Node]]:
    """The nodes that read each tensor, once each."""
    readers: dict[Tensor, list[Node]] = {}
    for node in nodes:
        for t in dict.fromkeys(node.inputs):
            if t is not None:
                readers.setdefault(t, []).append(node)
    return readers


def _products_of_one_input(nodes: Sequence[Node], whole: frozenset[str]) -> Iterator[list[Node]]:
    """Groups of products that differ in nothing but the values of their stored weights and biases."""
    groups: dict[object, list[Node]] = {}
    for node in nodes:
        if _is_stackable(node) and (node.proto is None or whole.isdisjoint(node.proto.output)):
            x, w, *rest = node.inputs
            assert w is not None
            bias = rest[0] if rest else None
            key = (node.op_type, x, node.attributes, w.shape, w.dtype, None if bias is None else bias.shape)
            groups.setdefault(key, []).append(node)
    yield from (members for members in groups.values() if len(members) > 1)


def _is_stackable(node: Node) -> bool:
    """Whether a node is a computed x times a stored matrix; a bias has one number for each column."""
    if node.op_type not in ("Gemm", "MatMul") or node.captures or dict(node.attributes).get("transA"):
        return False
    x, w, *rest = node.inputs
    if x is None or x.stored or x.shape is None or node.outputs[0].shape is None:
        return False
    if w is None or not w.stored or w.shape is None or len(w.shape) != 2:
        return False
    bias = rest[0] if rest else None
    return bias is None or (bias.shape is not None and bias.shape[-1:] == node.outputs[0].known_shape[-1:])


@dataclass
class _Stacker:
    """Makes stacks, and records them. `places` has the stack of each sibling and the sibling's position in it."""

    b: Builder
    opset: int
    readers: Mapping[Tensor, Sequence[Node]]
    places: dict[Tensor, tuple[Stack, int]] = field(default_factory=dict)

    def stack(self, products: Sequence[Node]) -> None:
        """Stack the products of one input, and then everything that is computed of each product in the same way."""
        stacks = [self._one_product(products)]
        while stacks:
            stack = stacks.pop()
            self._record(stack)
            stacks.extend(self._stacks_after(stack))

    def join(self, concat: Node) -> None:
        """Record that a Concat of siblings, of tensors of known rank, may read them from their stacks."""
        inputs = [t for t in concat.inputs if t is not None]
        if sum(t in self.places for t in inputs) < 2 or any(t.shape is None for t in (*inputs, *concat.outputs)):
            return
        axis = concat.attribute("axis")
        axis += len(concat.outputs[0].known_shape) if axis < 0 else 0
        pieces = [self._place(t) if t in self.places else t for t in inputs]
        self.b.also(concat.outputs[0], self.b.concat(pieces, axis))

    def _place(self, sibling: Tensor) -> Tensor:
        stack, i = self.places[sibling]
        return stack.place(self.b, i)

    def _record(self, stack: Stack) -> None:
        """Offer the place of each sibling instead of the sibling, and instead of a Reshape of the sibling."""
        self.places.update({t: (stack, i) for i, t in enumerate(stack.siblings)})
        choice = {t: stack.place(self.b, i) for i, t in enumerate(stack.siblings)}
        for i, t in enumerate(stack.siblings):
            reshapes = (n.outputs[0] for n in self.readers.get(t, ()) if n.op_type == "Reshape" and n.proto is None)
            choice |= {reshaped: stack.place(self.b, i, reshaped.known_shape) for reshaped in reshapes}
        self.b.choices.append(choice)

    def _one_product(self, products: Sequence[Node]) -> Stack:
        """The product of the common input with all weights side by side."""
        b, first, outputs = self.b, products[0], tuple(node.outputs[0] for node in products)
        x, weights, *biases = (
            [t for t in operands if t is not None] for operands in zip(*(node.inputs for node in products), strict=True)
        )
        *lead, columns = outputs[0].known_shape
        inputs = [x[0], b.concat(weights, 0 if dict(first.attributes).get("transB") else 1)]
        inputs.extend(self._side_by_side(addends) for addends in biases if addends)
        shape = (*lead, columns * len(products))
        wide = b.make(first.op_type, inputs, shape, outputs[0].dtype, **dict(first.attributes))
        wide.name_after(outputs[0], "siblings")
        return Stack(b.reshape(wide, (*lead, len(products), columns)), outputs, flat=True)

    def _side_by_side(self, addends: list[Tensor]) -> Tensor:
        """The biases of the products side by side.

        The biases of the item's products may be the user's products. These are one product already if they are all
        siblings of one stack, in this order.
        """
        *rows, width = addends[0].known_shape
        stack, _ = self.places.get(addends[0], (None, 0))
        if stack is not None and list(stack.siblings) == addends:
            return self.b.reshape(stack.whole, (*rows, width * len(addends)))
        return self.b.concat(addends, len(rows))

    def _stacks_after(self, stack: Stack) -> Iterator[Stack]:
        """Stacks of what is computed of each sibling in the same way."""
        first = stack.siblings[0]
        for node in self.readers.get(first, ()):
            if node.proto is not None and node.proto.domain not in ("", "ai.onnx"):  # only ONNX's own are written here
                continue
            found = [_counterpart(node, first, t, self.readers.get(t, ())) for t in stack.siblings]
            nodes = [n for n in found if n is not None]
            results = tuple(n.outputs[0] for n in nodes)
            if len(set(results)) < len(stack.siblings) or len(node.outputs) > 1:
                continue
            if any(t.shape is None for t in results):
                continue
            stacked = _run_on(_Step(self.b, stack, nodes, results, self.opset))
            if stacked is not None:
                yield stacked


@dataclass(frozen=True)
class _Step:
    """One operation on each sibling of a stack: `nodes` and `results` are in the order of the siblings."""

    b: Builder
    stack: Stack
    nodes: Sequence[Node]
    results: tuple[Tensor, ...]
    opset: int

    @property
    def node(self) -> Node:
        """The node of the first sibling."""
        return self.nodes[0]

    @property
    def axis(self) -> int | None:
        """The axis that the nodes work along, or the operator's default axis."""
        axis: int | None = dict(self.node.attributes).get("axis", OPERATORS[self.node.op_type].axis)
        return axis

    @property
    def reads_sibling_first(self) -> bool:
        return self.node.inputs[0] is self.stack.siblings[0]

    def stacked(self, whole: Tensor) -> Stack:
        """The results as one tensor, in the layout of the stack that was read."""
        return Stack(whole, self.results, self.stack.flat)


def _run_on(step: _Step) -> Stack | None:
    """The operation on the whole stack; None if the operation has to run on each sibling."""
    if step.node.op_type in UNARY and len(step.node.inputs) == 1:
        return _unary(step)
    run = ON_STACK.get(step.node.op_type)
    return None if run is None else run(step)


def _unary(step: _Step) -> Stack:
    node, whole = step.node, step.stack.whole
    attributes = dict(node.attributes)
    return step.stacked(step.b.make(node.op_type, [whole], whole.known_shape, step.results[0].dtype, **attributes))


def _with_constants(step: _Step) -> Stack | None:
    """A normalization, a bias or a slope: the siblings' constants, one number for each column, side by side."""
    b, stack, first = step.b, step.stack, step.node
    *lead, count, columns = stack.whole.known_shape
    if not stack.flat or (first.op_type == "BatchNormalization" and len(lead) != 1):
        return None
    inputs: list[Tensor] = []
    for position, t in enumerate(first.inputs):
        if t is stack.siblings[0]:
            inputs.append(b.reshape(stack.whole, (*lead, count * columns)))
            continue
        constants = [c for n in step.nodes if (c := n.inputs[position]) is not None and c.shape == (columns,)]
        if len(constants) < len(step.nodes):
            return None
        inputs.append(b.concat(constants, 0))
    wide = b.make(first.op_type, inputs, (*lead, count * columns), step.results[0].dtype, **dict(first.attributes))
    return step.stacked(b.reshape(wide, stack.whole.known_shape))


def _reshape(step: _Step) -> Stack | None:
    """A Reshape of each sibling that adds or removes the dimension of extent 1 leaves the stack as it is."""
    *lead, _, columns = step.stack.whole.known_shape
    before, after = (*lead, columns), (*lead, 1, columns)
    result = step.results[0].known_shape
    if result != (after if step.stack.flat else before):
        return None
    return Stack(step.stack.whole, step.results, flat=not step.stack.flat)


def _softmax(step: _Step) -> Stack | None:
    """Softmax along the columns, from the opset on in which it works along one axis."""
    if step.opset < OPERATORS["Softmax"].one_axis_from:
        return None
    if step.axis not in (-1, len(step.results[0].known_shape) - 1):
        return None
    return step.stacked(step.b.make("Softmax", [step.stack.whole], step.stack.whole.known_shape, axis=-1))


def _gather(step: _Step) -> Stack | None:
    """A Gather of the same rows of each sibling: of siblings with rows, so the stack has three dimensions or more."""
    rows = step.node.inputs[1]
    if not step.reads_sibling_first or step.axis != 0 or rows is None:
        return None
    if not step.stack.flat or len(step.stack.whole.known_shape) < 3:
        return None
    return step.stacked(step.b.take(step.stack.whole, rows))


def _product(step: _Step) -> Stack | None:
    """Each sibling [..., 1, k] times the same right side [..., k, n]: the siblings are the rows of one product."""
    if step.stack.flat or not step.reads_sibling_first:
        return None
    whole, right = step.stack.whole, step.node.inputs[1]
    if right is None or right.shape is None or right.shape[:-2] != whole.known_shape[:-2]:
        return None
    shape = (*whole.known_shape[:-1], right.shape[-1])
    return step.stacked(step.b.make("MatMul", [whole, right], shape))


_OnStack: TypeAlias = Callable[[_Step], Stack | None]

ON_STACK: Mapping[str, _OnStack] = {
    **dict.fromkeys(WITH_CONSTANTS, _with_constants),
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Gather": _gather,
    "MatMul": _product,
}
"""How an operator with other inputs, or with an axis, runs on the whole stack."""


def _counterpart(node: Node, first: Tensor, sibling: Tensor, readers: Sequence[Node]) -> Node | None:
    """The reader of a sibling that does the same as `node` does with the first sibling.

    Its other inputs are the same as the node's, or constants of the same shape and type where these may differ.
    """

    def corresponds(of_node: Tensor | None, of_reader: Tensor | None) -> bool:
        if of_node is first:
            return of_reader is sibling
        if of_node is None or of_reader is None:
            return of_reader is of_node
        if of_reader is of_node:
            return True
        may_differ = node.op_type in WITH_CONSTANTS and of_node.stored and of_reader.stored
        return may_differ and (of_node.shape, of_node.dtype) == (of_reader.shape, of_reader.dtype)

    kind = (node.op_type, node.attributes, len(node.inputs))
    same_kind = (n for n in readers if (n.op_type, n.attributes, len(n.inputs)) == kind)
    return next((n for n in same_kind if all(map(corresponds, node.inputs, n.inputs))), None)
