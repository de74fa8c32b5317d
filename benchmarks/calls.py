"""Calls of a model: the inputs of one request, made up from a description like those in samples.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx


def declared(meta: dict[str, Any], model: onnx.ModelProto) -> list[str]:
    """The user inputs of the description that the model has."""
    have = {i.name for i in model.graph.input}
    return [name for name in meta["user_inputs"] if name in have]


def call(
    meta: dict[str, Any], model: onnx.ModelProto, batch: int, seed: int = 0, requests: int = 3
) -> dict[str, npt.NDArray[Any]]:
    """One call for `batch` candidates: distinct items, ids over their whole range.

    The rows of a user input that the caller tiles are the same; where an index maps candidates to users there are
    `requests` of them, each with at least one candidate.
    """
    rng = np.random.default_rng([seed, batch])
    users, have = set(declared(meta, model)), {i.name for i in model.graph.input}
    out = {}
    for name, spec in meta["input_specs"].items():
        if name not in have:
            continue
        rows = spec["shape"][0] if spec["shape"] else 1
        shape = [d if isinstance(d, int) else requests if "req" in d else batch for d in spec["shape"]]
        tiled = name in users and rows == "batch"
        if name == meta.get("index_input"):
            out[name] = (np.arange(batch) * requests // max(batch, 1)).astype(spec["dtype"])
        elif tiled:
            out[name] = np.repeat(_draw(spec, [1, *shape[1:]], rng), batch, 0)
        else:
            out[name] = _draw(spec, shape, rng)
    return out


def _draw(spec: dict[str, Any], shape: list[int], rng: np.random.Generator) -> npt.NDArray[Any]:
    dtype, low, high = np.dtype(spec["dtype"]), spec.get("low", 0), spec.get("high", 1)
    if dtype.kind in "iub":
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)
