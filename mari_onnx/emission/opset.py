"""Whether what was lowered can be written in the opset of the model.

    Expand(x, shape)          is Tile(x, repeats) before opset 8
    Concat of float8          is in no opset, and a plan that needs it cannot be written

A rule describes what could be computed, whatever the opset is; here each operator that is new is looked up in ONNX's
own schemas.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import onnx
from onnx import TensorProto, helper

from mari_onnx.emission.shape_arithmetic import Instruction, Integers, Operand
from mari_onnx.ir.expressions import Node, Tensor

OLDEST = 7
"""The first opset in which the operators of arithmetic broadcast as all later ones do, and the first of onnxruntime."""

EXPAND = 8
"""The first opset with Expand."""


def lacking(code: Iterable[Node | Integers | Instruction], opset: int) -> str:
    """What the code needs and the opset does not have, in words; "" where it has all of it."""
    instructions = [item for item in code if isinstance(item, Instruction)]
    if instructions and opset < OLDEST:
        return f"the model has opset {opset}, and nothing is written for one before {OLDEST}"
    for item in instructions:
        types, result = tuple(map(_dtype, item.operands)), _dtype(item)
        if not _has(item.op_type, types, result, opset):
            return f"the model's opset {opset} has no {item.op_type} of {TensorProto.DataType.Name(result).lower()}"
    return ""


def _dtype(operand: Operand) -> int:
    """The element type of an operand, 0 where it is not known."""
    match operand:
        case Tensor() | Integers():
            return operand.dtype
        case Instruction(of=Node() as made):
            return made.outputs[0].dtype
        case _:
            return int(operand.attributes.get("to", TensorProto.INT64))


@lru_cache(maxsize=4096)
def _has(op_type: str, types: tuple[int, ...], result: int, opset: int) -> bool:
    """Whether an opset has an operator with operands of these element types, and such a result."""
    try:
        schema = onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return False
    if not schema.min_input <= len(types) <= schema.max_input:
        return False
    allowed = {each.type_param_str: each.allowed_type_strs for each in schema.type_constraints}
    wanted = [schema.inputs[min(i, len(schema.inputs) - 1)].type_str for i in range(len(types))]
    pairs = zip((*types, result), (*wanted, schema.outputs[0].type_str), strict=True)
    return all(not dtype or _named(dtype) in allowed.get(of, [of]) for dtype, of in pairs)


def _named(dtype: int) -> str:
    """The element type as schemas call it: `tensor(float)`."""
    return helper.tensor_dtype_to_string(dtype).replace("TensorProto.", "tensor(").lower() + ")"
