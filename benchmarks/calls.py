"""Random calls of a model, from a description of its inputs like those in sample_models/samples.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx


def declared(meta: dict[str, Any], model: onnx.ModelProto) -> list[str]:
    """The inputs that the description declares to be the user's, as far as the model has them."""
    have = {i.name for i in model.graph.input}
    return [name for name in meta["user_inputs"] if name in have]


def call(
    meta: dict[str, Any], model: onnx.ModelProto, batch: int, seed: int = 0, requests: int = 3
) -> dict[str, npt.NDArray[Any]]:
    """The inputs of one call for `batch` candidates: distinct items, ids over their whole range.

    A tiled input of the user has identical rows. Where an index maps candidates to users, there are `requests` users,
    each with at least one candidate if there are enough.
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
