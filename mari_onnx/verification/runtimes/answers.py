"""What a model answers, as tensors: those that stand in a sequence or in a map are taken out of it.

s: a sequence of two tensors        s[0], s[1]
p: a map for each candidate         p['no'], p['yes'], each with one number for each candidate (ZipMap)
o: an optional that holds nothing   no tensor
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mari_onnx.verification.runtimes.onnxruntime import Run, Values


def answering(run: Run) -> Run:
    """A run of which every answer is a tensor."""
    return lambda feeds: tensors_of(run(feeds), np.float32)


def tensors_of(answers: Mapping[str, Any], floats: npt.DTypeLike) -> Values:
    """The tensors in the answers of a model; `floats` is the element type of a map's floats, which come without one."""
    found: Values = {}
    for name, answer in answers.items():
        found.update(_tensors(name, answer, floats))
    return found


def _tensors(name: str, answer: Any, floats: npt.DTypeLike) -> Values:
    match answer:
        case None:
            return {}
        case Mapping():
            return {f"{name}[{key!r}]": _array([answer[key]], floats) for key in answer}
        case list() if answer and all(isinstance(each, Mapping) for each in answer):
            return _columns(name, answer, floats)
        case list():
            return tensors_of({f"{name}[{i}]": each for i, each in enumerate(answer)}, floats)
        case _:
            return {name: np.asarray(answer)}


def _columns(name: str, maps: Sequence[Mapping[Any, Any]], floats: npt.DTypeLike) -> Values:
    """One number for each map, by key; None in a map without that key."""
    keys = dict.fromkeys(key for each in maps for key in each)
    return {f"{name}[{key!r}]": _array([each.get(key) for each in maps], floats) for key in keys}


def _array(values: list[Any], floats: npt.DTypeLike) -> npt.NDArray[Any]:
    array = np.array(values)
    return array.astype(floats) if array.dtype.kind == "f" else array
