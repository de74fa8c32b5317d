"""Which window of each operand an operator reads for a window of its result.

    x[:, L:] in columns 0 to 1           x in columns L to L+1
    Concat(ids, ones) in column L        ones in column 0, where L ids come first
    a [T 1] + b [T], row by row          a in the same rows, b in the same columns
    MatMul                               both operands as a whole

An operator without an entry here reads its operands as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

from mari_onnx.analysis.interval import Interval
from mari_onnx.analysis.positions import Index, Stretch, Window, is_whole, whole
from mari_onnx.ir.axes import units_moved
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent, at_most
from mari_onnx.ir.operators import FUSED_OPERATORS, named

Reading: TypeAlias = list[tuple[Tensor, Window]]
"""The operands that are read, each with its window."""

MOVES: frozenset[str] = frozenset({"Reshape", "Transpose", "Expand", "Slice", "Concat", "Gather"})
"""Moves of data have attributes of their own where a rule made them. Those of the original are not read here."""


@dataclass(frozen=True)
class Use:
    """A node whose first output is asked for in a window, and the intervals of what it reads for that."""

    tensor: Tensor
    node: Node
    inputs: list[Interval]
    window: Window

    @property
    def rank(self) -> int:
        return len(self.tensor.known_shape)

    def attribute(self, name: str, default: Any = None) -> Any:
        return dict(self.node.attributes).get(name, default)

    def input(self, i: int) -> Tensor:
        return present(self.node)[i]


def present(node: Node) -> list[Tensor]:
    """The inputs that are there."""
    return [t for t in node.inputs if t is not None]


def is_known_move(t: Tensor) -> bool:
    """Whether a tensor is the first output of a node whose attributes are known: any but a move of the original.

    DynamicQuantizeLinear has three outputs, of which each has an interval.
    """
    known = t.index == 0 or t.op_type == "DynamicQuantizeLinear"
    return known and (t.node.proto is None or t.op_type not in MOVES)


def reads(t: Tensor, window: Window) -> Reading:
    """What the node of a tensor reads for a window of the tensor."""
    rule = READS.get(t.op_type) if is_known_move(t) and t.shape is not None else None
    if rule is None or any(i.shape is None for i in present(t.node)):
        return [(i, whole(i.shape or ())) for i in present(t.node)]
    return rule(t, window)


def _aligned(t: Tensor, window: Window) -> Reading:
    """Operands that broadcast. An operand of another extent is read as a whole, by an index of its own."""
    return [(i, _within(i.known_shape, t.known_shape, window)) for i in present(t.node)]


def _within(shape: Sequence[Extent], target: Sequence[Extent], window: Window) -> Window:
    found, more = [], len(target) - len(shape)
    for i, extent in enumerate(shape):
        if extent == 1:
            found.append(Stretch(0, Index(1, i - len(shape))))
        elif i + more >= 0 and extent == target[i + more]:
            found.append(window[i + more])
        else:
            found.append(Stretch(0, Index(extent, i)))
    return tuple(found)


def _first(t: Tensor, window: Window) -> Reading:
    """The first operand has the elements in the same places; the others are read as a whole."""
    first, *rest = present(t.node)
    return [(first, window), *((i, whole(i.known_shape)) for i in rest)]


def common(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many extents two shapes have in common, from the first one on."""
    same = 0
    for e, f in zip(a, b, strict=False):
        if e != f:
            break
        same += 1
    return same


def _reshaped(t: Tensor, window: Window) -> Reading:
    """Dimensions that are only moved keep their stretch, and so do those at the end that are cut alike."""
    (x,) = present(t.node)
    source, target = x.known_shape, t.known_shape
    found = list(whole(source))
    moved = units_moved(source, target)
    if moved is not None:
        for stretch, i in zip(window, moved, strict=True):
            if i is not None:
                found[i] = stretch
    else:
        end = common(source[::-1], target[::-1])
        found[len(source) - end :] = window[len(target) - end :]
    return [(x, tuple(found))]


def _transposed(t: Tensor, window: Window) -> Reading:
    (x,) = present(t.node)
    stretches = dict(zip(t.node.attribute("perm"), window, strict=True))
    return [(x, tuple(stretches[i] for i in range(len(window))))]


def is_cut_by_numbers(t: Tensor, window: Window) -> bool:
    """Whether a Slice has numbers for its limits, and is asked for as a whole: its elements are known one by one."""
    (x,), axis = present(t.node), t.node.attribute("axis")
    limits = (x.known_shape[axis], t.node.attribute("start"), t.node.attribute("stop"))
    return all(isinstance(e, int) for e in limits) and is_whole(window[axis], t.known_shape[axis])


def _sliced(t: Tensor, window: Window) -> Reading:
    (x,), axis = present(t.node), t.node.attribute("axis")
    if is_cut_by_numbers(t, window):
        stretch = Stretch(0, Index(x.known_shape[axis], axis - len(window)))
    else:
        stretch = window[axis].moved(t.node.attribute("start"))
    return [(x, (*window[:axis], stretch, *window[axis + 1 :]))]


def _joined(t: Tensor, window: Window) -> Reading:
    """The one operand that has all of the window, or each operand as a whole along the axis."""
    inputs, axis = present(t.node), t.node.attribute("axis") % len(window)
    extents = [i.known_shape[axis] for i in inputs]
    here = window[axis]
    for x, stop in zip(inputs, accumulate(extents), strict=True):
        start = stop - x.known_shape[axis]
        if at_most(start, here.start) and at_most(here.stop, stop):
            return [(x, (*window[:axis], here.moved(start * -1), *window[axis + 1 :]))]
    every = [Stretch(0, Index(e, axis - len(window))) for e in extents]
    return [(x, (*window[:axis], s, *window[axis + 1 :])) for x, s in zip(inputs, every, strict=True)]


def _gathered(t: Tensor, window: Window) -> Reading:
    """Gather: the table as a whole along the axis."""
    (table, places), axis = present(t.node), t.node.attribute("axis")
    behind = axis + len(places.known_shape)
    every = whole(table.known_shape)[axis]
    return [(table, (*window[:axis], every, *window[behind:])), (places, window[axis:behind])]


READS: Mapping[str, Callable[[Tensor, Window], Reading]] = {
    **dict.fromkeys(named(lambda t: t.elementwise) | named(lambda t: t.elementwise, FUSED_OPERATORS), _aligned),
    **dict.fromkeys(("Expand", "Identity"), _aligned),
    **dict.fromkeys(("Clip", "Trilu", "QuantizeLinear", "DequantizeLinear"), _first),
    "Reshape": _reshaped,
    "Transpose": _transposed,
    "Slice": _sliced,
    "Concat": _joined,
    "Gather": _gathered,
}
"""By operator: what it reads for a window of its result."""
