"""Guards: how a written model reports that tiled rows are not identical.

    NanGuard      each output is multiplied by 1, which changes no bit of it, or by NaN
    OutputGuard   the model has one more output, `mari_guard`, a boolean of shape [1], false where rows differ

The comparison itself is written by `mari_onnx.planning.guard`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.document.graph_view import Model
from mari_onnx.errors import UserError
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.forms import Array, Value
from mari_onnx.serving.call_graph import CallGraph
from mari_onnx.serving.names import GUARD_OUTPUT, NAN, OUTPUT, GuardName

BOOL = TensorProto.BOOL

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})

OPSET = 11
"""The first opset that has Unique, and in which Equal compares floats."""


def require_opset(model: Model, what: str) -> None:
    """Raise `UserError` if the opset is too old for comparing rows, which the option `what` needs."""
    if model.opset < OPSET:
        problem = f"{what} needs opset {OPSET}, and the model has {model.opset}"
        raise UserError(problem, "export the model for a newer opset")


class Guard(ABC):
    """A way to tell the caller that the rows of a tiled input are not identical, as they were declared to be."""

    name: ClassVar[GuardName]

    sentence: ClassVar[str]
    """The instruction for the caller."""

    @property
    def outputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        """The outputs that a guarded model has in addition to the original's."""
        return ()

    def check(self, model: Model) -> None:
        """Raise `UserError` for an opset that is too old, and for outputs that cannot carry the guard's answer."""
        require_opset(model, "a guard")
        self._check_outputs(model)

    @abstractmethod
    def _check_outputs(self, model: Model) -> None: ...

    @abstractmethod
    def guarded(self, b: Builder, outputs: Sequence[Value], identical: Tensor) -> list[Value]:
        """The outputs of the guarded model; `identical`, a boolean scalar, is false where rows differ."""


@dataclass(frozen=True)
class NanGuard(Guard):
    """Every output is NaN where rows differ."""

    name = NAN
    sentence = "Where they are not identical, every output is NaN."

    def _check_outputs(self, model: Model) -> None:
        step = f"use --guard={OUTPUT}, which adds an output `{GUARD_OUTPUT}` and leaves the others alone"
        inputs = {i.name for i in model.inputs}
        for output in model.graph.output:
            if output.name in inputs:
                raise UserError(
                    f"output `{output.name}` is an input as well, and so cannot be NaN where rows differ", step
                )
            if output.type.tensor_type.elem_type not in FLOATS:
                raise UserError(f"output `{output.name}` is no float, and so cannot be NaN where rows differ", step)

    def guarded(self, b: Builder, outputs: Sequence[Value], identical: Tensor) -> list[Value]:
        return [_poisoned(b, value, identical) for value in outputs]


@dataclass(frozen=True)
class OutputGuard(Guard):
    """One more output, `mari_guard`, is false where rows differ. The other outputs stay."""

    name = OUTPUT
    sentence = f"`{GUARD_OUTPUT}`, a boolean of shape [1], is false where they are not identical."

    @property
    def outputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        return (helper.make_tensor_value_info(GUARD_OUTPUT, BOOL, [1]),)

    def _check_outputs(self, model: Model) -> None:
        if GUARD_OUTPUT in model.names:
            raise UserError(f"the model has a `{GUARD_OUTPUT}` already", "give the model that was exported")

    def guarded(self, b: Builder, outputs: Sequence[Value], identical: Tensor) -> list[Value]:
        shown = b.reshape(identical, (1,))
        shown.name = GUARD_OUTPUT
        return [*outputs, Value(GUARD_OUTPUT, None, BOOL, Array(shown, ()))]

    def fold(self, call: CallGraph, outputs: Sequence[onnx.ValueInfoProto], answers: Mapping[str, str]) -> None:
        """Write the original's outputs from those of a guarded model: NaN where `mari_guard` is false.

        `answers` has the name that each output of the guarded model has here. In a verification the tiled rows are
        identical, so that a guard which is false by mistake shows as a difference from the original.
        """
        for name, info in {info.name: info for info in outputs}.items():  # one may be listed twice
            dtype = info.type.tensor_type.elem_type
            if name == GUARD_OUTPUT or name in call.inputs:  # an input that is an output as well stays what it is
                continue
            if dtype not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
                call.node("Identity", [answers[name]], name)
                continue
            kind = helper.tensor_dtype_to_np_dtype(dtype)
            for word, number in (("right", 1), ("wrong", np.nan)):
                call.add(numpy_helper.from_array(np.array([number], kind), f"{name}.{word}"))
            factor = call.node("Where", [answers[GUARD_OUTPUT], f"{name}.right", f"{name}.wrong"], f"{name}.factor")
            call.node("Mul", [answers[name], factor], name)


def _poisoned(b: Builder, value: Value, identical: Tensor) -> Value:
    """The output times 1, or times NaN."""
    tensor = plain(b, value)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.dtype)
    one, nan = (b.constant(np.array(number, dtype)) for number in (1, np.nan))
    factor = b.make("Where", [identical, one, nan], (), tensor.dtype)
    proto = helper.make_node("Mul", ["", ""], [f"{value.name}.guarded"])
    (product,) = b.again(proto, [tensor, factor], [(tensor.shape, tensor.dtype)])
    if tensor.name == value.name:
        tensor.name = f"{value.name}.unguarded"
    return Value(value.name, None, value.dtype, Array(product, ()))
