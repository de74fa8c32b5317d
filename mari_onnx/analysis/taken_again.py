"""Sums to which a constant is added, and from which a constant is taken again: they round on purpose.

    (x + C) - C             with C = 1.5 * 2**23 rounds x to a whole number
    Clip(x + C, a, b) - C   the same, within bounds

The sum x + C is rounded at the size of C, whatever the size of x. So C may not be added to a part of x first: the parts
would be rounded in place of their sum. A bias that is not taken again is of the size of what it is added to.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from mari_onnx.document.scopes import all_nodes, reads

SUMS = ("Add", "Sub", "Sum")

KEEPS_ELEMENTS = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice", "Split"}
    | {"Concat", "Gather", "Cast", "CastLike", "Clip", "Min", "Max", "Relu", "Dropout"}
)
"""Operators of which each element of the result is one of the input, or a bound."""


def taken_again(graph: onnx.GraphProto, constants: Iterable[str]) -> frozenset[str]:
    """The names of tensors, computed by the graph, to which a constant is added or from which one is taken.

    Among them are those whose elements only move before that, as in a Reshape. `constants` are the stored tensors.
    """
    nodes = list(all_nodes(graph))
    known = set(constants)
    for node in nodes:
        if node.op_type == "Constant" or (node.input and node.input[0] in known and known.issuperset(reads(node))):
            known.update(node.output)
    found: set[str] = set()
    for node in reversed(nodes):
        of_sum = node.op_type in SUMS and not known.isdisjoint(node.input)
        if of_sum or (node.op_type in KEEPS_ELEMENTS and not found.isdisjoint(node.output)):
            found.update(name for name in reads(node) if name not in known)
    return frozenset(found)
