"""Projections of attention with the heads outermost: one batched product, instead of a product and a Transpose.

Attention projects x [.., k] to columns (h d), and needs the result as [h, .., d]:

    x [.., k] @ W [k, (h d)]               x [1, (..), k] @ W [h, k, d] (see `one_matrix`)
    x [.., k] @ W [k, (h d)] + b           [x 1] @ [W; b], likewise
    (x @ [Wq Wk Wv]) [.., columns of q]    x @ Wq, likewise

Only the stored weight is transposed and cut, when the model is written. Operators between the product and its reader,
such as a bias, a scale, a Concat of rows or an Expand, are applied to the result with the heads outermost.

Holds for stored weights, and where no other node reads the product, which would be computed twice. Rounding: only the
order in which a runtime adds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from onnx import helper

from mari_onnx.ir.axes import Axis
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Node, Tensor, first_input
from mari_onnx.ir.extents import Extent, product
from mari_onnx.ir.forms import Array
from mari_onnx.ir.unique_nodes import FOLDABLE

BY_COLUMN = ("Add", "Sub", "Mul")

Span: TypeAlias = tuple[int, int]
"""Columns [start, stop) of a product: those of q are the first third of x @ [Wq Wk Wv]."""


@dataclass
class Heads:
    """One walk from an array back to the products that its columns come from.

    `since` becomes the builder's count before the first node of the walk, so that a caller can price what these nodes
    are replaced by. `uses` counts how often each tensor of the original is read. In a `thrifty` walk no bias becomes a
    row of the weight, which takes one more multiply-add for each element.
    """

    b: Builder
    uses: Mapping[str, int]
    since: int
    thrifty: bool = False

    def outermost(self, array: Array, lead: Collection[Axis]) -> Array:
        """The array with those outer axes of its last dimension that are in `lead` outermost; itself where that fails.

        Example: (B L (h d)) with h in `lead` becomes (h B L d).
        """
        columns = array.layout[-1] if array.layout else ()
        outer = next((i for i, a in enumerate(columns) if a not in lead and a.extent != 1), 0)
        count = product(a.extent for a in columns[:outer])
        if count == 1 or not isinstance(count, int) or any(array.state(a) != "stored" for a in columns):
            return array
        width = array.tensor.known_shape[-1]
        found = self._columns(array.tensor, count, (0, width)) if isinstance(width, int) else None
        if found is None:
            return array
        return replace(array, tensor=found, layout=(columns[:outer], *array.layout[:-1], columns[outer:]))

    def _columns(self, t: Tensor, count: int, span: Span) -> Tensor | None:
        """The columns `span` of t, [.., (h d)], as [h, .., d]. None if no product with a stored weight makes them."""
        found = self._made_of(t, count, span)
        if found is not None and span == (0, t.known_shape[-1]):
            found.name_after(t, "heads")
        return found

    def _made_of(self, t: Tensor, count: int, span: Span) -> Tensor | None:
        """The same by the node that makes the tensor: a product, an operator on columns, or a move of rows."""
        if not self._can_be_rebuilt(t):
            return None
        self.since = min(self.since, t.node.serial - 1)
        match t.op_type:
            case "MatMul" | "Gemm":
                return self._product(t, count, span)
            case "Add" if (biased := self._biased(t.node, count, span)) is not None:
                return biased
            case op_type if op_type in BY_COLUMN:
                return self._by_column(t, count, span)
        return self._moved(t, count, span) if t.node.proto is None and t.op_type in FOLDABLE else None

    def _can_be_rebuilt(self, t: Tensor) -> bool:
        """Whether the tensor is made by a standard operator, from inputs of known rank, and is read once."""
        proto = t.node.proto
        standard = proto is None or proto.domain in ("", "ai.onnx")
        others = t.name is not None and self.uses.get(t.name, 1) > 1
        return standard and not others and not any(i is not None and i.shape is None for i in t.node.inputs)

    def _by_column(self, t: Tensor, count: int, span: Span) -> Tensor | None:
        """A sum, difference or product of columns: x [.., (h d)] * scale [(h d)] is x [h, .., d] * scale [h, 1, d]."""
        *rows, width = t.known_shape
        inputs = [i for i in t.node.inputs if i is not None]
        sides = [side for i in inputs if (side := self._operand(i, len(rows), count, width, span)) is not None]
        shape = (count, *rows, (span[1] - span[0]) // count)
        return self.b.make(t.op_type, sides, shape) if len(sides) == len(inputs) else None

    def _moved(self, t: Tensor, count: int, span: Span) -> Tensor | None:
        """A move of whole rows is done with the heads outermost; a Slice of columns becomes another `span`."""
        (*rows, width), first = t.known_shape, first_input(t)
        start, stop = span
        match t.op_type:
            case "Reshape" | "Expand" if first.known_shape[-1] == width:
                inner = self._columns(first, count, span)
                move = self.b.reshape if t.op_type == "Reshape" else self.b.expand
                return inner and move(inner, (count, *rows, (stop - start) // count))
            case "Slice" if t.node.attribute("axis") == len(rows):
                before = t.node.attribute("start")
                return self._columns(first, count, (before + start, before + stop))
            case "Concat" if (axis := t.node.attribute("axis")) < len(rows):
                pieces = [self._columns(piece, count, span) for piece in t.node.inputs if piece is not None]
                found = [piece for piece in pieces if piece is not None]
                return self.b.concat(found, axis + 1) if len(found) == len(pieces) else None
            case "Gather" if (axis := t.node.attribute("axis")) < len(first.known_shape) - 1:
                index = t.node.inputs[1]
                assert index is not None
                inner = self._columns(first, count, span)
                return inner and self.b.take(inner, index, axis + 1)
        return None

    def _biased(self, node: Node, count: int, span: Span) -> Tensor | None:
        """The Add of a product and a stored bias, one number for each column."""
        for t, bias in (node.inputs, node.inputs[::-1]):
            if t is None or bias is None or t.op_type != "MatMul" or self.uses.get(t.name or "", 1) > 1:
                continue
            if _for_each_column(bias, t):
                return self._product(t, count, span, bias)
        return None

    def _product(self, t: Tensor, count: int, span: Span, added: Tensor | None = None) -> Tensor | None:
        """A product with a stored weight as one for each head: x [1, (..), k] @ W [h, k, d].

        Its bias, or what is `added` to it, is one more row of the weight.
        """
        x, weight, *bias = t.node.inputs
        scaled = dict(t.node.attributes)
        if x is None or weight is None or not weight.stored or len(weight.known_shape) != 2:
            return None
        if scaled.get("transA") or any(scaled.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return None
        if scaled.get("transB"):
            weight = self.b.transpose(weight, (1, 0))
        (*rows, width), k = x.known_shape, weight.known_shape[0]
        if isinstance(width, int) and width != k:  # a product that onnxruntime refuses
            return None
        weight = self.b.slice(weight, 1, *span)
        each = (span[1] - span[0]) // count
        moved = self.b.transpose(self.b.reshape(weight, (k, count, each)), (1, 0, 2))
        lines = self.b.reshape(x, of_lines := one_matrix(product(rows), k))
        if (row := added or next(iter(bias), None)) is not None:  # an Add of [h, 1, d] would be slow: short runs
            if self.thrifty or not _for_each_column(row, t):
                return None
            row = self.b.slice(row, len(row.known_shape) - 1, *span)
            ones = np.ones((1,) * len(of_lines), helper.tensor_dtype_to_np_dtype(x.dtype))
            column = self.b.expand(self.b.constant(ones), (*of_lines[:-1], 1))
            lines = self.b.concat([lines, column], len(of_lines) - 1)
            moved = self.b.concat([moved, self.b.reshape(row, (count, 1, each))], 1)
        whole = self.b.make("MatMul", [lines, moved], (*of_lines[:-3], count, product(rows), each))
        return self.b.reshape(whole, (count, *rows, each))

    def _operand(self, t: Tensor, rows: int, count: int, width: Extent, span: Span) -> Tensor | None:
        """The other operand of an operator on columns: one number for a row, stored numbers for columns, or columns."""
        shape = (*(1,) * (rows + 1 - len(t.known_shape)), *t.known_shape)
        if shape[-1] == 1:
            return self.b.reshape(t, (1, *shape))
        if t.stored and shape[-1] == width:
            columns = self.b.slice(self.b.reshape(t, shape), rows, *span)
            by_head = self.b.reshape(columns, (*shape[:-1], count, (span[1] - span[0]) // count))
            return self.b.transpose(by_head, (rows, *range(rows), rows + 1))
        return self._columns(t, count, span) if len(shape) == len(t.known_shape) else None


def one_matrix(rows: Extent, columns: Extent) -> tuple[Extent, ...]:
    """The shape in which a matrix is multiplied by a batch of weights [h, k, d]: [1, rows, columns].

    OpenVINO multiplies [1, B, k] of a dynamic B by no batch of stored weights: each call fails. [1, 1, B, k] it does.
    """
    return (1, rows, columns) if isinstance(rows, int) else (1, 1, rows, columns)


def _for_each_column(bias: Tensor, t: Tensor) -> bool:
    """Whether the bias is stored, with one number for each column. C of Gemm may also be a column [n, 1]."""
    return bias.stored and bias.known_shape[-1:] == t.known_shape[-1:] == (product(bias.known_shape),)
