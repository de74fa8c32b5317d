"""Prices of forms, by which the cheapest form of a value is chosen.

A price is an estimate in nanoseconds of one thread, made by the cost model (see `ir.cost`) for a call with the
reference number of candidates (`--batch`, 500 unless told otherwise):

    price = inherited + made - spared

    inherited    the prices of the operands' forms that this form is made of
    made         the nodes that the builder made for this form since the rule began, and that it needs
    spared       nodes which the inherited prices count, and which this form does without

A value with a single form has the price 0 (see `Context.result`), because it is computed whatever is chosen later.
Prices count from there on, and only rank the forms of one value against each other.

Example, with 500 candidates: x = Concat(u (1 4), i (B 3)) and y = Relu(x), where u and i have one form each.

    x in parts        0          nothing is written: the parts are u and i
    x as one array    3,500.0    an Expand of u (900.0) and a Concat (2,600.0)
    y in parts        1,300.8    the parts of x, and two Relus: of 4 numbers (500.8) and of 1,500 (800.0)
    y as one array    4,700.0    the array of x, and one Relu of 3,500 numbers (1,200.0)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from mari_onnx.ir.arrays import natural
from mari_onnx.ir.axes import Dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel, inputs_of
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.forms import Array, Blocks, Parts, Terms, Value
from mari_onnx.ir.part_by_part import Run, part_by_part
from mari_onnx.ir.parts import join

Form = TypeVar("Form", Array, Parts, Terms, Blocks)


def priced(cost: CostModel, form: Form, since: int, inherited: float, spared: float = 0.0) -> Form:
    """The form with its price in nanoseconds: `inherited`, plus what was made for it since, minus what is `spared`.

    `since` is `Builder.count` as it was when the rule began: what the form needs of later nodes was made for it.
    """
    price = inherited + cost.price(tensors_of(form), since) - spared
    return form if price == form.price else replace(form, price=price)


def tensors_of(form: Array | Parts | Terms | Blocks) -> list[Tensor]:
    """The tensors that a form stores: one of an array, one for each piece of parts, summand of terms, or block."""
    match form:
        case Array():
            return [form.tensor]
        case Parts():
            return [array.tensor for _, array in form.pieces]
        case Terms():
            return [array.tensor for _, array in form.signed]
        case Blocks():  # what is read of a square block is known later: its diagonal, or all of it as in any form
            own = dict(form.diagonals)
            return [own.get((r, c), a).tensor for r, line in enumerate(form.grid) for c, a in enumerate(line)]


def price_in_order(b: Builder, cost: CostModel, array: Array, dims: Dims, since: int) -> float:
    """The price of the array with its axes in the order of `dims`, as most readers need it, in nanoseconds."""
    return cost.price([natural(b, array, dims)[0]], since)


def price_whole(values: Iterable[Value]) -> float:
    """The price of having each of the values as one array."""
    return sum(v.array.price for v in values)


def price_in_parts(values: Iterable[Value]) -> float:
    """The price of having each of the values in parts, those that are not in parts as one array."""
    return sum(v.parts.price if v.parts is not None else v.array.price for v in values)


def price_in_blocks(values: Iterable[Value]) -> float:
    """The price of having each of the values in blocks, those that are not in blocks as one array."""
    return sum(v.blocks.price if v.blocks is not None else v.array.price for v in values)


def price_in_terms(values: Iterable[Value]) -> float:
    """The price of having each of the values as terms, those that are no sum as one array."""
    return sum(v.terms.price if v.terms is not None else v.array.price for v in values)


def whole_or_joined(
    b: Builder, cost: CostModel, operands: Sequence[Value], dims: Dims, whole: Array, run: Run, since: int
) -> tuple[Array, Parts | None]:
    """The result of an operation as its cheapest array and in parts, with their prices.

    `whole` is the result of the operands as arrays, and `run` the operation on parts of them (see `part_by_part`). The
    array is `whole` or the joined parts. Without parts there is nothing to choose.
    """
    parts = part_by_part(b, operands, dims, run)
    if parts is None:
        return whole, None
    parts = priced(cost, parts, since, price_in_parts(operands))
    whole = priced(cost, whole, since, price_whole(operands))
    joined = priced(cost, join(b, parts.pieces, parts.axis, dims), since, parts.price)
    return (joined if joined.price < whole.price else whole), parts


def not_needed(nodes: Iterable[Node], by: Sequence[Tensor]) -> list[Node]:
    """Those of the nodes that the tensors `by` can be computed without, in the given order.

    The order is kept because times of nodes are added up in floating point, and each run must give the same sum. The
    walk is breadth-first and ends when all nodes were met, since most sums read all of their terms directly.
    """
    given = dict.fromkeys(nodes)
    missing = set(given)
    seen: set[Node] = set()
    queue = deque(t.node for t in by)
    oldest = min((node.serial for node in missing), default=0)
    while queue and missing:
        node = queue.popleft()
        if node in seen or node.serial < oldest:  # a node is made after what it reads
            continue
        seen.add(node)
        if node in missing:
            missing.remove(node)
            oldest = min((other.serial for other in missing), default=0)
        queue.extend(t.node for t in inputs_of(node))
    return [node for node in given if node in missing]


def spared_by_sum(sums: Iterable[Terms], total: Array) -> list[Node]:
    """The nodes that compute the terms of sums, less those that their total is computed from.

    Example: item @ W_i and user @ W_u are terms. The total Gemm(item, W_i, C = user @ W_u) needs the second product and
    not the first: the Gemm with C is another node.
    """
    return not_needed((array.tensor.node for terms in sums for _, array in terms.signed), [total.tensor])
