"""Shapes and element types of what no rule derives: the exporter's own word first, then onnx's inference.

onnx's inference runs at most once, on a copy without weights, and only when something is asked that the exporter
did not say. Where it fails the answer is "unknown", which every rule understands.
"""

from __future__ import annotations

from functools import cached_property

import onnx
from onnx import TensorProto, shape_inference

from mari_onnx.model import Model, Shape, shape_of
from mari_onnx.op import Op

SMALL = 1024
"""Bytes up to which a weight stays in the copy: shapes, axes and the like."""


class Inference:
    """What is known about outputs without a rule."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @cached_property
    def _inferred(self) -> dict[str, onnx.ValueInfoProto]:
        copy = onnx.ModelProto()
        source = self.model.proto
        copy.ir_version = source.ir_version
        copy.opset_import.extend(source.opset_import)
        copy.functions.extend(source.functions)
        copy.graph.node.extend(source.graph.node)
        copy.graph.input.extend(source.graph.input)
        copy.graph.output.extend(source.graph.output)
        for tensor in source.graph.initializer:
            if tensor.ByteSize() <= SMALL:
                copy.graph.initializer.append(tensor)
            else:
                copy.graph.initializer.append(
                    TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
                )
        found = _infer(copy)
        wrong = [node for node in copy.graph.node if node.op_type == "Attention" and _is_empty(found, node.output[0])]
        for node in wrong:
            node.op_type, info = "AttentionOfSomeWidth", found[node.output[0]]
            for extent in info.type.tensor_type.shape.dim:
                extent.Clear()
            copy.graph.value_info.append(info)
        return _infer(copy) if wrong else found

    def output(self, op: Op, i: int) -> tuple[Shape | None, int]:
        """Shape and element type of an output; symbols of onnx's own making (unk__0) are not symbols."""
        name = op.proto.output[i]
        if not name:
            return None, 0
        told = self.model.value_info.get(name)
        if told is not None and (shape := shape_of(told)) is not None:
            # torch.export writes 0 for extents that it does not know.
            return [None if e == 0 else e for e in shape], told.type.tensor_type.elem_type
        info = self._inferred.get(name)
        if info is None:
            return None, 0
        shape = shape_of(info)
        if shape is not None:
            shape = [None if isinstance(e, str) and e.startswith("unk__") else e for e in shape]
        return shape, info.type.tensor_type.elem_type

    def dtype(self, op: Op) -> int:
        """Element type of a node whose result is shape arithmetic."""
        match op.op_type:
            case "Shape" | "Size":
                return TensorProto.INT64
            case "Cast":
                return int(op.attribute("to"))
            case "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "Not" | "And" | "Or":
                return TensorProto.BOOL
            case "ConstantOfShape":
                return int(op.attribute("value").data_type)
            case "Where":
                return op.inputs[1].dtype if op.inputs[1] is not None else 0
            case _:
                return op.data.dtype


def _infer(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """What onnx infers, by name."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # it raises several unrelated types, all of which mean that nothing was learned
        return {}
    return {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}


def _is_empty(found: dict[str, onnx.ValueInfoProto], name: str) -> bool:
    """Whether an extent is 0, as onnx has it of Attention where it does not know the width of a head."""
    return name in found and 0 in (shape_of(found[name]) or ())
