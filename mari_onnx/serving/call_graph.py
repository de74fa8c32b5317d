"""Nodes that compute the inputs of a written model from a call of the original.

Example: the written model takes `user` [1, 4]. The nodes take row 0 of the original's `user` [B, 4], so that both
models can be run on the same inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.document.graph_view import shape_of
from mari_onnx.ir.operators import OPERATORS

RANGE = 11
"""The first opset that has Range."""


def fed_inputs(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """The inputs that a caller has to send, by name: those that have no initializer as default."""
    stored = {t.name for t in model.graph.initializer}
    return {i.name: i for i in model.graph.input if i.name not in stored}


def leading_extent(info: onnx.ValueInfoProto) -> int | str | None:
    """The extent of the leading axis: a number, a symbol, or None where the model states none."""
    shape = shape_of(info)
    return shape[0] if shape else None


@dataclass
class CallGraph:
    """The nodes and constants written so far, in operators of `opset`; `inputs` are those of the original."""

    inputs: dict[str, onnx.ValueInfoProto]
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a node with this output was written."""
        return any(name in node.output for node in self.nodes)

    def add(self, constant: onnx.TensorProto) -> None:
        self.initializers[constant.name] = constant

    def node(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Write a node, and return the name of its output."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def slice(self, source: str, start: int, stop: int, output: str) -> str:
        """Write the rows [start, stop) of a tensor, and return the name of the result."""
        if self.opset < OPERATORS["Slice"].axes_input_from:
            return self.node("Slice", [source], output, starts=[start], ends=[stop], axes=[0])
        return self.node("Slice", [source, *(self.ints(f"at{i}", [i]) for i in (start, stop, 0))], output)

    def take(self, source: str, rows: str, output: str) -> str:
        """Write the rows of one of the original's inputs that have these numbers.

        onnxruntime 1.32 gathers the first string of each row alone: strings are gathered along the last axis.
        """
        info = self.inputs[source]
        rank = len(shape_of(info) or ())
        if info.type.tensor_type.elem_type != TensorProto.STRING or rank < 2:
            return self.node("Gather", [source, rows], output, axis=0)
        columns = self.node("Transpose", [source], f"{output}.columns", perm=[*range(1, rank), 0])
        taken = self.node("Gather", [columns, rows], f"{output}.taken", axis=rank - 1)
        return self.node("Transpose", [taken], output, perm=[rank - 1, *range(rank - 1)])

    def row_count(self, rows: str, name: str) -> str:
        """Write the number of rows of a tensor, as [1]. The names of the nodes' outputs begin with `name`."""
        return self.slice(self.node("Shape", [rows], f"{name}.shape"), 0, 1, f"{name}.rows")

    def row_numbers(self, rows: str, output: str) -> str:
        """Write the number of each row of a tensor: 0, 1, 2, ..."""
        return self.numbers(self.row_count(rows, output), output)

    def numbers(self, count: str, output: str) -> str:
        """Write the numbers from 0 up to and without `count`, which has the shape [1]."""
        scalar = self.node("Reshape", [count, self.ints("scalar", [])], f"{output}.scalar")
        if self.opset >= RANGE:
            return self.node("Range", [self.ints("zero", 0), scalar, self.ints("step", 1)], output)
        outputs = [f"{output}.last", f"{output}.counted"]
        self.nodes.append(helper.make_node("Loop", [scalar, "", self.ints("zero", 0)], outputs, body=_each_number()))
        return self.node("Reshape", [outputs[1], self.ints("flat", [-1])], output)

    def ints(self, name: str, values: int | list[int]) -> str:
        """Write an int64 constant, a scalar or a list, and return its name."""
        constant = numpy_helper.from_array(np.array(values, np.int64), f"together.{name}")
        self.add(constant)
        return constant.name


def _each_number() -> onnx.GraphProto:
    """The body of a Loop that gives the number of each of its trips, and of the last one besides."""
    names = ("trip", "goes_on", "before", "still", "last", "number")
    kinds = [TensorProto.BOOL if name in ("goes_on", "still") else TensorProto.INT64 for name in names]
    infos = [helper.make_tensor_value_info(f"together.{n}", kind, []) for n, kind in zip(names, kinds, strict=True)]
    pairs = (("goes_on", "still"), ("trip", "last"), ("trip", "number"))
    nodes = [helper.make_node("Identity", [f"together.{a}"], [f"together.{b}"]) for a, b in pairs]
    return helper.make_graph(nodes, "each number", infos[:3], infos[3:])
