"""Writing a lowered program: its nodes, instructions and constants become protobuf messages with names, in order.

Example: the instruction Expand(x, shape) becomes NodeProto(Expand, ["user.id", "mari.concat_2"], ["user.id.expand"]).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.emission.constants import initialize, read_at_load, write_constant, write_copy
from mari_onnx.emission.names import unique
from mari_onnx.emission.protos import new_node, renamed_node, say_of
from mari_onnx.emission.runtime_quirks import attended, is_described, is_named_row, overwritten, unused_symbol
from mari_onnx.emission.shape_arithmetic import Instruction, Integers, Operand
from mari_onnx.emission.state import Emission, append, append_ours, describe
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import ROW, symbol


def write_code(emission: Emission) -> None:
    """Write every item of the lowered code, and an Identity for each output whose tensor has another name."""
    lowered = emission.lowered
    inline = read_at_load(emission)
    for item in lowered.code:
        if isinstance(item, Integers):
            _write_integers(emission, item)
        elif isinstance(item, Instruction):
            _write_instruction(emission, item)
        elif item.outputs[0].stored:
            stored = item.outputs[0]
            write_constant(emission, stored, emission.names[stored], inline=stored in inline)
        else:
            _write_original(emission, item)
    emission.names.update((tensor, name_of(emission, operand)) for tensor, operand in lowered.stands.items())
    for value, tensor in zip(lowered.program.outputs, lowered.outputs, strict=True):
        if emission.names[tensor] != value.name:
            proto = new_node("Identity", value.name, [emission.names[tensor]], value.name)
            append_ours(emission, in_place_of(emission, proto))


def name_of(emission: Emission, operand: Operand) -> str:
    """The name of an operand that has been written."""
    if isinstance(operand, Tensor):
        stands = emission.lowered.stands.get(operand)
        return emission.names[operand] if stands is None else name_of(emission, stands)
    if isinstance(operand, Instruction) and operand.of is not None:
        return emission.names[operand.of.outputs[0]]
    return emission.extents[operand]


def _write_integers(emission: Emission, stored: Integers) -> None:
    """Integers as a constant that is named after them: [-1, 4] is `mari.shape_m1_4`."""
    numbers = "_".join(str(v).replace("-", "m") for v in stored.values[:8])
    kind = "shape" if stored.dtype == TensorProto.INT64 else "extents"
    name = emission.extents[stored] = unique(emission, f"mari.{kind}_{numbers}", set(emission.extents.values()))
    array = np.array(stored.values, helper.tensor_dtype_to_np_dtype(stored.dtype))
    initialize(emission, name, numpy_helper.from_array(array, name))


def _write_instruction(emission: Emission, instruction: Instruction) -> None:
    inputs = [name_of(emission, operand) for operand in instruction.operands]
    if instruction.of is None:
        used = {*emission.extents.values(), *emission.names.values()}
        wanted = f"mari.{instruction.op_type.lower()}_{len(emission.extents)}"
        name = emission.extents[instruction] = unique(emission, wanted, used)
    else:
        name = emission.names[instruction.of.outputs[0]]
    proto = in_place_of(emission, new_node(instruction.op_type, name, inputs, name, **instruction.attributes))
    if instruction.arithmetic:
        append_ours(emission, proto)
        return
    first = instruction.operands[0]
    assert instruction.of is not None
    shape = first.shape if isinstance(first, Tensor) else (1,)
    append(emission, proto, None if shape is None else len(shape))
    _describe_new(emission, instruction.of)


def in_place_of(emission: Emission, node: onnx.NodeProto) -> onnx.NodeProto:
    """A new node, with what is said of the one that made its output in the original, unless that one is written too.

    Gemm(item, W_item, C) in place of the MatMul `/fc1/MatMul` is called so; an Expand of what the original Tanh makes
    of one row is a node of our own.
    """
    original = emission.model.makers.get(tuple(node.output))
    if original is not None and not emission.is_written(original):
        say_of(node, original)
    return node


def _write_original(emission: Emission, node: Node) -> None:
    """A node of the original, on the tensors that it reads now."""
    assert node.proto is not None
    for t in attended(node):
        describe(emission, t)
    inputs = ["" if t is None else name_of(emission, t) for t in node.inputs]
    for i, t in overwritten(node, emission.lowered.nodes):
        inputs[i] = write_copy(emission, t)
    captures = {name: new for name, t in node.captures if (new := name_of(emission, t)) != name}
    outputs = [emission.names[t] for t in node.outputs]
    append(emission, renamed_node(node.proto, inputs, outputs, captures=captures))
    _describe_new(emission, node)


def _describe_new(emission: Emission, node: Node) -> None:
    """Write down the shapes of the node's outputs that the original does not have."""
    for t in node.outputs:
        if not emission.names[t] or emission.names[t] in emission.model.names:
            continue
        if is_named_row(t, emission.model.opset):
            describe(emission, t, {symbol(ROW): unused_symbol(emission.model.input_symbols)})
        elif is_described(t):
            describe(emission, t)
