"""The serving mode in which the caller sends one row for the whole call: `user` [B, 4] becomes [1, 4]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import onnx
from onnx import TensorProto, helper

from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.document.signature import Signature
from mari_onnx.report.model import RequestInput
from mari_onnx.serving.call_graph import CallGraph, leading_extent
from mari_onnx.serving.mode import Feed, SentOnce
from mari_onnx.serving.names import ONE, Options
from mari_onnx.serving.rows import OneRow, Rows


@dataclass(frozen=True)
class SingleRow(SentOnce):
    """A call holds one request, whose row is sent once."""

    @property
    def options(self) -> Options:
        return Options(ONE)

    def check(self, model: Model) -> None:
        """Every model is fit for this mode."""

    def role(self, name: str, why: str) -> RequestInput:
        return RequestInput(name, ONE, f"{why}: the caller sends its row once")

    def rows(self, requests: str) -> Rows:
        return OneRow()

    def signature(self, leading: Mapping[str, str], tiled: Sequence[str], requests: str) -> Signature:
        return Signature(tuple((name, 1) for name in tiled))

    def _sentences(self, names: str) -> tuple[str, ...]:
        return (
            f"Send the request's row once, leading extent 1, in: {names}.",
            "The other inputs, and the outputs, have a row for each candidate, as before.",
        )

    def feed(self, info: onnx.ValueInfoProto, original: onnx.ValueInfoProto | None) -> Feed | None:
        """The row is row 0 of the original's input, or zeros in a call without candidates."""
        if original is None or not leading_extent(info) == 1 != leading_extent(original):
            return None
        return partial(_first_row, original)


def _first_row(original: onnx.ValueInfoProto, call: CallGraph, to: str) -> None:
    source, dtype = original.name, original.type.tensor_type.elem_type
    if dtype != TensorProto.STRING:  # of which there is no zero
        shape = call.node("Shape", [source], f"{to}.shape")
        tail = call.slice(shape, 1, 2**62, f"{to}.tail")
        target = call.node("Concat", [call.ints("one", [1]), tail], f"{to}.row", axis=0)
        rank = len(shape_of(original) or ())
        zero = helper.make_tensor(f"together.zero{dtype}.{rank}", dtype, [1] * rank, [0])
        call.add(zero)
        zeros = call.node("Tile", [zero.name, target], f"{to}.zeros")  # older than Expand and ConstantOfShape
        source = call.node("Concat", [source, zeros], f"{to}.and_zeros", axis=0)
    call.slice(source, 0, 1, to)
