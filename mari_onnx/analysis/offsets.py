"""Offsets in equal steps, such as the bags of a loop begin at: 0, 20, 40, ...

    Range(0, 20*B, 20)                0, 20, ..., B numbers
    Concat(Range(0, 20*B, 20), 20*B)  the same with one number more

The numbers of such a tensor are as many as there are candidates, so that no content holds them. They are found by the
nodes that make the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx

from mari_onnx.analysis.shape_values import Content
from mari_onnx.ir.axes import extents
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Value

TO_THE_END = 2**31 - 1
"""Exporters write this number or a larger one where a Slice goes to the end."""


@dataclass(frozen=True)
class Progression:
    """The integers first, first + step, ..., as many as `count`."""

    first: Extent
    step: Extent
    count: Extent

    def entry(self, index: Extent) -> Extent:
        return self.first + self.step * index


def elements_of(value: Value | None) -> Content | None:
    """The elements of an integer or boolean tensor, where all of them are known."""
    if value is None or value.content is None or any(e is None for e in value.content.flat):
        return None
    return value.content


def progression(name: str, values: Mapping[str, Value], makers: Mapping[str, onnx.NodeProto]) -> Progression | None:
    """The progression that a tensor holds; None where it is not known to hold one.

    `values` are those of the graph by name, and `makers` the nodes that make them.
    """
    node = makers.get(name)
    if node is None or name not in values:
        return None
    if node.op_type == "Range":
        return _range(node, values)
    found = progression(node.input[0], values, makers) if node.input else None
    if found is None or node.op_type in ("Identity", "Cast"):
        return found
    given = [elements_of(values.get(i)) for i in node.input[1:]]
    numbers: list[Extent] = [e.item() for e in given if e is not None and e.size == 1]
    if len(numbers) < len(given):
        return None
    if node.op_type == "Concat" and numbers == [found.entry(found.count)]:
        return replace(found, count=found.count + 1)
    if node.op_type == "Slice" and len(numbers) >= 2:
        return _left_over(found, numbers)
    return None


def _range(node: onnx.NodeProto, values: Mapping[str, Value]) -> Progression | None:
    given = [elements_of(values.get(i)) for i in node.input]
    dims = values[node.output[0]].dims
    numbers: list[Extent] = [e.item() for e in given if e is not None and e.size == 1]
    return Progression(numbers[0], numbers[2], extents(dims)[0]) if len(numbers) == 3 and dims else None


def _left_over(found: Progression, numbers: list[Extent]) -> Progression | None:
    """What a Slice [start:] leaves, of start, end, and where they are given axis and step."""
    start, end, *more = numbers
    whole = isinstance(end, int) and end >= TO_THE_END and more in ([], [0], [0, 1])
    if not whole or not isinstance(start, int) or start < 0:
        return None
    return Progression(found.entry(start), found.step, found.count - start)
