"""Whether a model's outputs can say that rows which should be identical are not."""

from __future__ import annotations

from onnx import TensorProto

from mari_onnx.document.graph_view import Model
from mari_onnx.errors import UserError
from mari_onnx.serving.modes import GUARD_OUTPUT, OPSET, Guard

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})


def check_guard(model: Model, guard: Guard) -> None:
    """Raise `UserError` unless the model's outputs can say that rows differ."""
    if model.opset < OPSET:
        raise UserError(
            f"a guard needs opset {OPSET}, and the model has {model.opset}", "export the model for a newer opset"
        )
    outputs = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}
    if guard == "output":
        if GUARD_OUTPUT in model.names:
            raise UserError(f"the model has a `{GUARD_OUTPUT}` already", "give the model that was exported")
        return
    for name, dtype in outputs.items():
        if dtype not in FLOATS:
            raise UserError(
                f"output `{name}` is no float, and so cannot be NaN where rows differ",
                f"use --guard=output, which adds an output `{GUARD_OUTPUT}` and leaves the others alone",
            )
