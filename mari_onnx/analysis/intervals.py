"""Between which numbers each element of a tensor lies, whatever the inputs are.

    mask = Where(causal, 0, -1e9)     [0 0] or [-1e9 -1e9], element by element, as `causal` is a constant
    live = And(causal, padding)       [0 0] where `causal` is false, [0 1] elsewhere: `padding` is an input
    LayerNormalization(x) of 64       [-8 8], times the scale, plus the shift

A rule asks what a mask proves (see `rules.blocks`). Abstract interpretation with intervals is due to P. and R. Cousot
(1977). An interval has a single entry along every axis whose extent is a symbol, so what it says holds for every
extent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from mari_onnx.analysis.interval import LARGEST, Interval, between, exactly
from mari_onnx.analysis.interval_rules import KEEPS_ELEMENTS, MOVES, RULES, Use
from mari_onnx.analysis.norms import normalized
from mari_onnx.ir.cost import inputs_of
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.forms import Array

LARGEST_FLOAT: dict[int, float] = {
    helper.np_dtype_to_tensor_dtype(np.dtype(t)): float(np.finfo(t).max) for t in ("f2", "f4")
}
"""The largest number of each type of floats that are computed in less than the precision here."""


class Intervals:
    """The intervals of the tensors of one walk; `array_of` reads the elements of a stored tensor.

    `assumed` has tensors whose elements lie within a magnitude that the caller vouches for.
    """

    def __init__(self, array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]], opset: int) -> None:
        self.array_of, self.opset = array_of, opset
        self.assumed: dict[Tensor, float] = {}
        self._known: dict[Tensor, Interval] = {}

    def of(self, tensor: Tensor) -> Interval:
        """The interval of each element of a tensor whose rank is known."""
        stack = [(tensor, False)]
        while stack:
            t, ready = stack.pop()
            if t in self._known:
                continue
            if not ready and not t.stored:
                stack.append((t, True))
                stack.extend((i, False) for i in inputs_of(t.node) if i not in self._known)
            else:
                self._known[t] = self._checked(t, self._computed(t))
        return self._known[tensor]

    def vouched(self, arrays: Sequence[Array]) -> list[Tensor]:
        """The tensors of `assumed` that these arrays are computed from."""
        seen: set[Tensor] = set()
        stack = [array.tensor for array in arrays]
        while stack:
            t = stack.pop()
            if t not in seen:
                seen.add(t)
                stack.extend(() if t in self.assumed else inputs_of(t.node))
        return [t for t in self.assumed if t in seen]

    def _computed(self, t: Tensor) -> Interval:
        rank = len(t.shape or ())
        if t.stored:
            return exactly(fold(t, self.array_of))
        if t.node.is_source or t.shape is None or any(i is not None and i.shape is None for i in t.node.inputs):
            return between(-np.inf, np.inf, rank)
        inputs = [None if i is None else self._known[i] for i in t.node.inputs]
        if (largest := normalized(t, self.of)) is not None:
            return between(-largest, largest, rank)
        read = t.index == 0 and (t.node.proto is None or t.op_type not in MOVES)
        rule = RULES.get(t.op_type) if read else None
        with np.errstate(all="ignore"):
            result = rule(Use(t, t.node, [i for i in inputs if i is not None])) if rule is not None else None
        if result is None:
            result = self._evaluated(t, inputs)
        if result is None:
            moved = inputs[0] if t.op_type in KEEPS_ELEMENTS else None
            result = moved.whole(rank) if moved is not None else between(-np.inf, np.inf, rank)
        return result

    def _checked(self, t: Tensor, found: Interval) -> Interval:
        """The interval within what the element type can hold, and within what is assumed."""
        rank = len(t.shape or ())
        dtype = onnx.helper.tensor_dtype_to_np_dtype(t.dtype) if t.dtype else np.dtype(np.float32)
        if t.dtype == onnx.TensorProto.BOOL:
            found = Interval(np.clip(found.low, 0, 1), np.clip(found.high, 0, 1))
        elif dtype.kind in "iu":
            limits = np.iinfo(dtype.name)
            if np.any(found.low < limits.min) or np.any(found.high > limits.max):  # it may have wrapped around
                found = between(-np.inf, np.inf, rank)
        elif t.dtype in LARGEST_FLOAT:  # a number beyond the largest one is infinite
            most = LARGEST_FLOAT[t.dtype]
            found = Interval(*(np.where(np.abs(x) > most, np.copysign(np.inf, x), x) for x in (found.low, found.high)))
        if t in self.assumed:
            most = self.assumed[t]
            found = Interval(np.maximum(found.low, -most), np.minimum(found.high, most))
        return found if found.low.size <= LARGEST else found.whole(rank)

    def _evaluated(self, t: Tensor, inputs: Sequence[Interval | None]) -> Interval | None:
        """The elements of a constant that an operator without a rule computes, such as Trilu; None for other tensors.

        onnx's reference implementation computes them.
        """
        proto = t.node.proto
        if not t.constant or proto is None or proto.domain not in ("", "ai.onnx"):
            return None
        feeds: dict[str, npt.NDArray[Any]] = {}
        for name, tensor, interval in zip(proto.input, t.node.inputs, inputs, strict=True):
            if tensor is None or interval is None:
                continue
            shape = tuple(e for e in tensor.known_shape if isinstance(e, int))
            if not interval.is_known or math.prod(shape) > LARGEST:
                return None
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype)
            feeds[name] = np.broadcast_to(interval.low, shape).astype(dtype)
        infos = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                 for n, a in feeds.items()]  # fmt: skip
        output = onnx.helper.make_empty_tensor_value_info(proto.output[t.index])
        graph = onnx.helper.make_graph([proto], "constant", infos, [output])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", self.opset)])
        try:
            (result,) = ReferenceEvaluator(model).run(None, feeds)
        except Exception:  # the reference implementation raises several unrelated types of errors
            return None
        return exactly(np.asarray(result)) if np.asarray(result).ndim == len(t.known_shape) else None
