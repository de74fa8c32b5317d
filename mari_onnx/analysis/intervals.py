"""Between which numbers each element of a tensor lies, whatever the inputs are.

    mask = Where(causal, 0, -1e9)     [0 0] or [-1e9 -1e9], element by element, as `causal` is a constant
    live = And(causal, padding)       [0 0] where `causal` is false, [0 1] elsewhere: `padding` is an input
    LayerNormalization(x) of 64       [-8 8], times the scale, plus the shift

A rule asks what a mask proves (see `rules.blocks`). Abstract interpretation with intervals is due to P. and R. Cousot
(1977). An interval has a single entry along every axis whose extent is a symbol, so what it says holds for every
extent. It is asked for in a window then, such as the rows of the history and the column of the candidate, and positions
are compared as integers (see `positions`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from mari_onnx.analysis import position_rules
from mari_onnx.analysis.interval import LARGEST, Interval, between
from mari_onnx.analysis.interval import exactly as exact_interval
from mari_onnx.analysis.interval_moves import KEEPS_ELEMENTS, of_stored
from mari_onnx.analysis.interval_rules import RULES
from mari_onnx.analysis.norms import normalized
from mari_onnx.analysis.positions import Affine, Window, is_whole, whole
from mari_onnx.analysis.windows import Use, is_known_move, reads
from mari_onnx.ir.cost import inputs_of
from mari_onnx.ir.expressions import Tensor, fold
from mari_onnx.ir.forms import Array

LARGEST_FLOAT: dict[int, float] = {
    helper.np_dtype_to_tensor_dtype(np.dtype(t)): float(np.finfo(t).max) for t in ("f2", "f4")
}
"""The largest number of each type of floats that are computed in less than the precision here."""


class Intervals:
    """The intervals of the tensors of one walk; `array_of` reads the elements of a stored tensor.

    `assumed` has tensors whose elements lie within a magnitude that the caller vouches for. `at_least` has tensors of
    which a rule knows how small an element can be.
    """

    def __init__(self, array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]], opset: int) -> None:
        self.array_of, self.opset = array_of, opset
        self.assumed: dict[Tensor, float] = {}
        self.at_least: dict[Tensor, float] = {}
        self._known: dict[tuple[Tensor, Window], Interval] = {}

    def of(self, tensor: Tensor, window: Window | None = None) -> Interval:
        """The interval of each element of a tensor whose rank is known, or of those in a window.

        There is one entry for each index of a dimension that is asked for as a whole, and whose extent is a number.
        """
        asked = tensor, whole(tensor.shape or ()) if window is None else window
        stack = [(asked, False)]
        while stack:
            (t, here), ready = stack.pop()
            if (t, here) in self._known:
                continue
            needed = [] if t.stored else reads(t, here)
            if not ready and needed:
                stack.append(((t, here), True))
                stack.extend((read, False) for read in needed if read not in self._known)
            else:
                found, exact = self._computed(t, here, [self._known[read] for read in needed])
                self._known[t, here] = self._checked(t, here, found, exact)
        return self._known[asked]

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

    def _computed(self, t: Tensor, window: Window, inputs: list[Interval]) -> tuple[Interval, Affine | None]:
        rank = len(t.shape or ())
        unknown = between(-np.inf, np.inf, rank)
        if t.stored:
            array = fold(t, self.array_of)
            return of_stored(array, window), position_rules.of_stored(array, window)
        if t.op_type == "<extents>":
            return unknown, position_rules.of_extents(t)
        if t.node.is_source or t.shape is None or any(i is not None and i.shape is None for i in t.node.inputs):
            return unknown, None
        if (largest := normalized(t, self.of)) is not None:
            return between(-largest, largest, rank), None
        use = Use(t, t.node, inputs, window)
        rule = RULES.get(t.op_type) if is_known_move(t) else None
        try:
            with np.errstate(all="ignore"):
                result = rule(use) if rule is not None else None
        except ValueError:  # operands that do not broadcast: runtimes load such a node, and do not run it
            return unknown, None
        if result is None:
            result = self._evaluated(t)
        if result is None:
            result = inputs[0].whole(rank) if t.op_type in KEEPS_ELEMENTS and inputs else unknown
        return result, position_rules.position(use)

    def _checked(self, t: Tensor, window: Window, found: Interval, exact: Affine | None) -> Interval:
        """The interval within what the element type can hold, and within what is known or assumed besides."""
        rank = len(t.shape or ())
        if exact is not None and not exact.steps and isinstance(exact.constant, int):
            found = between(exact.constant, exact.constant, rank)
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
        if t in self.at_least:
            found = Interval(np.maximum(found.low, self.at_least[t]), found.high)
        entries = found.low.shape
        several = [i for i, s in enumerate(window) if entries[i] != 1 and not is_whole(s, t.known_shape[i])]
        found = found.over(several) if several else found if found.low.size <= LARGEST else found.whole(rank)
        return replace(found, exact=exact)

    def _evaluated(self, t: Tensor) -> Interval | None:
        """The elements of a constant that an operator without a rule computes, such as Range; None for other tensors.

        onnx's reference implementation computes them.
        """
        proto = t.node.proto
        if not t.constant or proto is None or proto.domain not in ("", "ai.onnx"):
            return None
        feeds: dict[str, npt.NDArray[Any]] = {}
        for name, tensor in zip(proto.input, t.node.inputs, strict=True):
            if tensor is None:
                continue
            interval = self.of(tensor)
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
        from onnx.reference import ReferenceEvaluator  # takes its time to import, and few models need it

        try:
            (result,) = ReferenceEvaluator(model).run(None, feeds)
        except Exception:  # the reference implementation raises several unrelated types of errors
            return None
        return exact_interval(np.asarray(result)) if np.asarray(result).ndim == len(t.known_shape) else None
