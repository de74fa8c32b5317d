"""One product of the user's columns and the item's, what can be noted of it, and what is lowered as text."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import StringStringEntryProto, helper

from mari_onnx.emission.shape_arithmetic import Instruction, Integers, Operand
from mari_onnx.ir.expressions import Node
from tests.graphs import integers, ranking

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"


WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}


def model(**changes: Any) -> onnx.ModelProto:
    return ranking("one", BODY, **{**WEIGHTS, **changes})


def entry(key: str) -> StringStringEntryProto:
    return StringStringEntryProto(key=key, value=f"{key} value")


def as_inputs(proto: onnx.ModelProto) -> onnx.ModelProto:
    for t in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    return proto


def shown(item: Operand | Node) -> str:
    """What is lowered, with what it reads in place: `Expand(item, Concat<axis = 0>(Shape<start = 0>(item), [4]))`."""
    if isinstance(item, Integers):
        return str(list(item.values))
    if isinstance(item, Instruction):
        said = ", ".join(f"{name} = {value}" for name, value in item.attributes.items())
        attributes = f"<{said}>" if said else ""
        return f"{item.op_type}{attributes}({', '.join(map(shown, item.operands))})"
    tensor = item.outputs[0] if isinstance(item, Node) else item
    return tensor.name or tensor.op_type
