"""Products of one input with several weights, as one product.

    x @ W1, x @ W2, x @ W3           are the columns of x @ [W1 W2 W3]
    f(a), f(b), f(c)                 are the places of f of all, stacked as [rows, siblings, columns]
    a @ E, b @ E, c @ E              are the rows of [a; b; c] @ E

The experts of a mixture and their gates, queries, keys and values. One product is as many launches less, and three
gates that weigh the same experts read these once; what it takes is a copy wherever a sibling is wanted alone. So both
are remembered, and the whole plan decides (see `choose`).

Holds for weights of the same width that are stored, and for operators that leave the axis of the siblings alone: those
of one operand, Softmax along the columns, a product with the same right side. Rounding: none, but for the order in
which a runtime adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.operators import OPERATORS, named

ALONE = named(lambda t: t.elementwise) | {"Identity"}
"""Operators that may be given one operand."""

WITH_CONSTANTS = named(lambda t: t.elementwise and t.broadcasts) | {"BatchNormalization"}
"""Operators that may take constants beside, one for each column."""


@dataclass(frozen=True)
class Stack:
    """Siblings as [..., siblings, columns]; each of them is [..., 1, columns], or [..., columns] where it is `flat`."""

    whole: Tensor
    siblings: tuple[Tensor, ...]
    flat: bool

    def place(self, b: Builder, i: int, shape: tuple[Extent, ...] | None = None) -> Tensor:
        """Sibling i as it comes out of the whole, in its own shape or in another."""
        *lead, _, columns = self.whole.known_shape
        view = b.slice(self.whole, len(lead), i, i + 1)
        return b.reshape(view, shape or ((*lead, columns) if self.flat else view.known_shape))


def stack_siblings(b: Builder, nodes: Sequence[Node], opset: int) -> None:
    """Remember, for the nodes of a plan, what could be had from one product instead of several."""
    users: dict[Tensor, list[Node]] = {}
    for node in nodes:
        for t in dict.fromkeys(node.inputs):
            if t is not None:
                users.setdefault(t, []).append(node)
    found: dict[Tensor, tuple[Stack, int]] = {}
    for members in _products(nodes):
        stacks = [_one_product(b, members, found)]
        while stacks:
            stack = stacks.pop()
            found.update({t: (stack, i) for i, t in enumerate(stack.siblings)})
            choice = {t: stack.place(b, i) for i, t in enumerate(stack.siblings)}
            for i, t in enumerate(stack.siblings):
                shaped = (n.outputs[0] for n in users.get(t, ()) if n.op_type == "Reshape" and n.proto is None)
                choice |= {out: stack.place(b, i, out.known_shape) for out in shaped}
            b.choices.append(choice)
            stacks.extend(_after(b, stack, users, opset))
    for node in nodes:
        if node.op_type == "Concat" and sum(t in found for t in node.inputs if t is not None) > 1:
            axis, joined = node.attribute("axis"), [t for t in node.inputs if t is not None]
            axis += len(node.outputs[0].known_shape) if axis < 0 else 0
            places = [found[t][0].place(b, found[t][1]) if t in found else t for t in joined]
            b.also(node.outputs[0], b.concat(places, axis))


def _products(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Products of the same input that differ in their stored weights alone."""
    groups: dict[object, list[Node]] = {}
    for node in nodes:
        if node.op_type not in ("Gemm", "MatMul") or node.captures:
            continue
        x, w, *rest = node.inputs
        if (
            x is None
            or w is None
            or x.stored
            or not w.stored
            or w.shape is None
            or len(w.shape) != 2
            or x.shape is None
            or node.outputs[0].shape is None
        ):
            continue
        if dict(node.attributes).get("transA"):
            continue
        bias = rest[0] if rest else None
        if bias is not None and (bias.shape is None or bias.shape[-1:] != node.outputs[0].known_shape[-1:]):
            continue
        key = (node.op_type, x, node.attributes, w.shape, w.dtype, None if bias is None else bias.shape)
        groups.setdefault(key, []).append(node)
    yield from (members for members in groups.values() if len(members) > 1)


def _one_product(b: Builder, members: Sequence[Node], found: Mapping[Tensor, tuple[Stack, int]]) -> Stack:
    """The product of the members' input with all their weights side by side."""
    first, outputs = members[0], tuple(node.outputs[0] for node in members)
    x, weights, *biases = (
        [t for t in given if t is not None] for given in zip(*(node.inputs for node in members), strict=True)
    )
    *lead, columns = outputs[0].known_shape
    inputs = [x[0], b.concat(weights, 0 if dict(first.attributes).get("transB") else 1)]
    for own in filter(None, biases):
        *rows, width = own[0].known_shape
        stack = found[own[0]][0] if own[0] in found else None
        if stack is not None and list(stack.siblings) == own:  # the user's part, which is one product already
            inputs.append(b.reshape(stack.whole, (*rows, width * len(members))))
        else:
            inputs.append(b.concat(own, len(rows)))
    shape = (*lead, columns * len(members))
    wide = b.make(first.op_type, inputs, shape, outputs[0].dtype, **dict(first.attributes))
    if outputs[0].name is not None:
        wide.name = wide.name or f"{outputs[0].name}.siblings"
    return Stack(b.reshape(wide, (*lead, len(members), columns)), outputs, flat=True)


def _after(b: Builder, stack: Stack, users: Mapping[Tensor, list[Node]], opset: int) -> Iterator[Stack]:
    """Stacks of what is computed of each sibling alike."""
    for node in users.get(stack.siblings[0], ()):
        if node.proto is not None and node.proto.domain not in ("", "ai.onnx"):  # what is written here is ONNX's own
            continue
        alike = [_alike(node, stack.siblings[0], t, users.get(t, ())) for t in stack.siblings]
        siblings = tuple(n.outputs[0] for n in alike if n is not None)
        if len(set(siblings)) < len(stack.siblings) or len(node.outputs) > 1:
            continue
        shape, out = stack.whole.known_shape, siblings[0].known_shape
        attributes = dict(node.attributes)
        if node.op_type in WITH_CONSTANTS and stack.flat and len(node.inputs) > 1:
            yield from _with_constants(b, stack, [n for n in alike if n is not None], siblings)
        elif node.op_type == "Reshape":
            if stack.flat and out == (*shape[:-2], 1, shape[-1]):
                yield Stack(stack.whole, siblings, flat=False)
            elif not stack.flat and out == (*shape[:-2], shape[-1]):
                yield Stack(stack.whole, siblings, flat=True)
        elif node.op_type in ALONE and len(node.inputs) == 1:
            yield Stack(
                b.make(node.op_type, [stack.whole], shape, siblings[0].dtype, **attributes), siblings, stack.flat
            )
        elif node.op_type == "Softmax" and opset >= OPERATORS["Softmax"].one_axis_from:
            if attributes.get("axis", OPERATORS["Softmax"].axis) in (-1, len(out) - 1):
                yield Stack(b.make("Softmax", [stack.whole], shape, axis=-1), siblings, stack.flat)
        elif (
            node.op_type == "Gather"
            and node.inputs[0] is stack.siblings[0]
            and attributes.get("axis", OPERATORS["Gather"].axis) == 0
        ):
            rows = node.inputs[1]
            if rows is not None and len(shape) > 2 and stack.flat:
                yield Stack(b.take(stack.whole, rows), siblings, flat=True)
        elif node.op_type == "MatMul" and not stack.flat and node.inputs[0] is stack.siblings[0]:
            right = node.inputs[1]
            if right is not None and right.shape is not None and right.shape[:-2] == shape[:-2]:
                wide = (*shape[:-1], right.shape[-1])
                yield Stack(b.make("MatMul", [stack.whole, right], wide), siblings, flat=False)


def _with_constants(b: Builder, stack: Stack, nodes: Sequence[Node], siblings: tuple[Tensor, ...]) -> Iterator[Stack]:
    """Normalization, a bias, a slope: the siblings' constants, one for each column, side by side."""
    first, (*lead, count, columns) = nodes[0], stack.whole.known_shape
    if first.op_type == "BatchNormalization" and len(lead) != 1:
        return
    inputs: list[Tensor] = []
    for position, t in enumerate(first.inputs):
        if t is stack.siblings[0]:
            inputs.append(b.reshape(stack.whole, (*lead, count * columns)))
            continue
        constants = [c for node in nodes if (c := node.inputs[position]) is not None and c.shape == (columns,)]
        if len(constants) < len(nodes):
            return
        inputs.append(b.concat(constants, 0))
    wide = b.make(first.op_type, inputs, (*lead, count * columns), siblings[0].dtype, **dict(first.attributes))
    yield Stack(b.reshape(wide, stack.whole.known_shape), siblings, flat=True)


def _alike(node: Node, first: Tensor, t: Tensor, candidates: Sequence[Node]) -> Node | None:
    """The node that does with t what `node` does with the first sibling: same other inputs, or constants of its own."""

    def same(own: Tensor | None, other: Tensor | None) -> bool:
        if own is first or own is None or other is None:
            return other is (t if own is first else None)
        constants = node.op_type in WITH_CONSTANTS and own.stored and other.stored
        return other is own or (constants and (own.shape, own.dtype) == (other.shape, other.dtype))

    kind = (node.op_type, node.attributes, len(node.inputs))
    found = (n for n in candidates if (n.op_type, n.attributes, len(n.inputs)) == kind)
    return next((n for n in found if all(map(same, node.inputs, n.inputs))), None)
