"""One node of the plan as a node of the graph, in the operators of the model's opset."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto

from mari_onnx.emission.constants import write_constant
from mari_onnx.emission.protos import new_node, renamed_node
from mari_onnx.emission.runtime_quirks import adds_units, attended, is_described, needs_unsqueeze
from mari_onnx.emission.shapes import integers, shape_tensor
from mari_onnx.emission.state import Emission, append, append_ours, describe
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import ROW, Extent, Poly, divide, symbols
from mari_onnx.ir.operators import OPERATORS


def write_node(emission: Emission, node: Node) -> None:
    """The node with what it needs beside it: shapes that are computed, constants, descriptions of what is new."""
    tensor = node.outputs[0]
    name = emission.names[tensor]
    if node.op_type == "<input>":
        return
    if tensor.stored:
        write_constant(emission, tensor, name)
        return
    if node.op_type == "<extents>":
        _write_extents(emission, tensor, name)
        return
    inputs = ["" if t is None else emission.names[t] for t in node.inputs]
    if node.proto is not None:
        for t in attended(node):
            describe(emission, t)
        captures = {name: emission.names[t] for name, t in node.captures if emission.names[t] != name}
        again = renamed_node(node.proto, inputs, [emission.names[t] for t in node.outputs], captures=captures)
        append(emission, again)
    else:
        assert node.inputs[0] is not None
        append(emission, _lowered(emission, node, inputs, name), len(node.inputs[0].known_shape))
    for t in node.outputs:
        if is_described(t) and emission.names[t] and emission.names[t] not in emission.model.names:
            describe(emission, t)


def _write_extents(emission: Emission, tensor: Tensor, name: str) -> None:
    content = tensor.node.payload
    flat = shape_tensor(emission, list(content.flat), tensor.dtype, None)
    if content.ndim == 1:
        emission.names[tensor] = flat
    else:
        append_ours(emission, new_node("Reshape", name, [flat, integers(emission, list(content.shape))], name))


def _lowered(emission: Emission, node: Node, inputs: list[str], name: str) -> onnx.NodeProto:
    attributes = dict(node.attributes)
    source = node.inputs[0]
    match node.op_type:
        case "Reshape":
            shape = list(attributes["shape"])
            assert source is not None
            if needs_unsqueeze(source, shape):
                return _unsqueeze(emission, shape, inputs, name)
            unknown = [i for i, e in enumerate(shape) if not isinstance(e, int)]
            if len(unknown) <= 1:
                target = [e if isinstance(e, int) else -1 for e in shape]
                return new_node("Reshape", name, [*inputs, integers(emission, target)], name)
            if emission.model.opset >= 14:
                target_name = shape_tensor(emission, shape, TensorProto.INT64, source)
                return new_node("Reshape", name, [*inputs, target_name], name, allowzero=1)
            return _reshape_without_zeros(emission, node, inputs, name)
        case "Expand":
            target_name = shape_tensor(emission, list(attributes["shape"]), TensorProto.INT64, source)
            return new_node("Expand", name, [*inputs, target_name], name)
        case "Slice":
            axis, start, stop = attributes["axis"], attributes["start"], attributes["stop"]
            if emission.model.opset < OPERATORS["Slice"].axes_input_from:
                return new_node("Slice", name, inputs, name, axes=[axis], starts=[start], ends=[stop])
            bounds = [integers(emission, [v]) for v in (start, stop, axis)]
            return new_node("Slice", name, [*inputs, *bounds], name)
        case op_type if "axes" in attributes and emission.model.opset >= OPERATORS[op_type].axes_input_from:
            axes = integers(emission, list(attributes.pop("axes")))
            return new_node(node.op_type, name, [*inputs, axes], name, **attributes)
        case _:
            return new_node(node.op_type, name, inputs, name, **attributes)


def _unsqueeze(emission: Emission, shape: Sequence[Extent], inputs: list[str], name: str) -> onnx.NodeProto:
    """To this shape, of which the source has every extent but those of 1."""
    units = [i for i, e in enumerate(shape) if e == 1]
    if emission.model.opset >= OPERATORS["Unsqueeze"].axes_input_from:
        return new_node("Unsqueeze", name, [*inputs, integers(emission, units)], name)
    return new_node("Unsqueeze", name, inputs, name, axes=units)


def _reshape_without_zeros(emission: Emission, node: Node, inputs: list[str], name: str) -> onnx.NodeProto:
    """A Reshape to several symbols before opset 14, where a 0 stands for the source's own extent at that position.

    That is the wrong one where no candidates are left and the source has something else there: -1 says it then.
    """
    source, shape = node.inputs[0], list(node.attribute("shape"))
    assert source is not None
    have = source.known_shape
    if adds_units(source, shape):
        return _unsqueeze(emission, shape, inputs, name)
    providers = emission.program.providers.items()
    counted = {s for s, (t, _) in providers if t.op_type == "NonZero"}  # as many as a mask selects: none, perhaps
    candidates, leading = {*emission.program.context.candidates, ROW}, set(emission.model.leading_symbols.values())
    unknown = [i for i, e in enumerate(shape) if isinstance(e, Poly)]
    likely = ([i for i in unknown if symbols(shape[i]) & names] for names in (counted, candidates, leading))
    may_be_empty = next((found for found in likely if found), unknown)
    unlike = [i for i in may_be_empty if i >= len(have) or divide(have[i], shape[i]) is None]
    if unlike == may_be_empty:
        shape[unlike[0]] = -1
    return new_node("Reshape", name, [*inputs, shape_tensor(emission, shape, TensorProto.INT64, source)], name)
