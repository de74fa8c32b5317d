"""Scores that move by a whole step, because the model rounds on the way: Round, and every quantization.

    Round(2.4999999) = 2, Round(2.5000001) = 3     a sum in another order moves the number by its last bit

Which side a number on the edge falls to is chance: onnxruntime's own optimizations move scores in the same way. So the
report says how many scores moved, how many those optimizations move, and how far apart the models are without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx

from mari_onnx.document.scopes import all_nodes
from mari_onnx.report.model import Moved
from mari_onnx.verification.compare.judge import ACCURACY_FACTOR, ACCURACY_FLOOR, Observation, distances, scale_of, ulp
from mari_onnx.verification.inputs.cases import Case
from mari_onnx.verification.runtimes.onnxruntime import Array, Values

ROUNDS = frozenset({"Round", "QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "QGemm"})

QUANTIZED = "QLinear"
"""How the names of operators begin that quantize their result: QLinearMatMul, QLinearConcat."""

Both = Callable[[Case], tuple[Values, Values]]
"""The outputs of both models in a case, by name."""


def rounds(model: onnx.ModelProto) -> bool:
    """Whether the model rounds on the way to its outputs, so that a score may move by a whole step."""
    graphs: Iterable[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    return any(n.op_type in ROUNDS or n.op_type.startswith(QUANTIZED) for g in graphs for n in all_nodes(g))


def moved(observations: Mapping[str, Sequence[Observation]], without: Both) -> tuple[Moved, ...]:
    """The outputs of which values moved by more than a sum in another order does.

    That is `ACCURACY_FACTOR` times the median difference, plus `ACCURACY_FLOOR` units in the last place. `without` runs
    a case in both models without the runtime's optimizations. It is called if a value moved.
    """
    found = []
    for name, seen in observations.items():
        scale, dtype = scale_of(seen), seen[0].reference.dtype
        ours = _joined(distances(each.reference, each.optimized) for each in seen)
        floor = ACCURACY_FLOOR * ulp(scale, dtype) if dtype.kind == "f" else 0.0
        usual = ACCURACY_FACTOR * float(np.median(ours)) + floor if ours.size else floor
        if not np.any(ours > usual):
            continue
        off = [tuple(each[name] for each in without(one.case)) for one in seen]
        runtime = _joined(distances(one.reference, plain) for one, (plain, _) in zip(seen, off, strict=True))
        apart = _joined(distances(*pair) for pair in off)
        found.append(
            Moved(
                output=name,
                values=ours.size,
                moved=int(np.count_nonzero(ours > usual)),
                by_runtime=int(np.count_nonzero(runtime > usual)),
                furthest_by_runtime=float(runtime.max()) / (scale or 1.0),
                apart_without=float(apart.max()) / (scale or 1.0),
            )
        )
    return tuple(found)


def _joined(arrays: Iterable[Array]) -> Array:
    return np.concatenate([a.ravel() for a in arrays])
