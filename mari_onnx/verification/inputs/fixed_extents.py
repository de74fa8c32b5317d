"""Extents that an exporter wrote into the graph, of axes that it declared to be dynamic.

    history [batch, length]     traced at 15 steps, so that a Reshape to [16, batch, 8] wants 15 of history and one item

Such a model runs at one length alone. If it does not run at the length that is drawn otherwise, the numbers in the
graph are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx

from mari_onnx.document.scopes import all_nodes
from mari_onnx.report.note import Note
from mari_onnx.verification.inputs.cases import EDGE_BATCH
from mari_onnx.verification.inputs.draw import Input, batch_symbols, draw, extents
from mari_onnx.verification.runtimes.onnxruntime import Run, RunError

LONGEST = 4096
"""The longest axis that is tried."""

FEW = 16
"""Tensors of so many integers at most may hold shapes."""

TRIES = 64
"""How many extents are tried at most."""


def that_run(inputs: Sequence[Input], model: onnx.ModelProto, run: Run, notes: list[Note]) -> list[Input]:
    """The inputs with a number in the place of each inner symbol, if the model runs so and otherwise does not.

    A note names the symbols and the number.
    """
    inner = sorted({dim for each in inputs for dim in each.dims if isinstance(dim, str)} - batch_symbols(inputs))
    if not inner or _runs(inputs, run):
        return list(inputs)
    for extent in _numbers(model):
        fixed = [replace(each, dims=tuple(extent if dim in inner else dim for dim in each.dims)) for each in inputs]
        if _runs(fixed, run):
            names = ", ".join(f"`{name}`" for name in inner)
            said = f"the reference runs with {names} of {extent} and not of others that were tried"
            notes.append(Note("inputs-drawn", said))
            return fixed
    return list(inputs)


def _runs(inputs: Sequence[Input], run: Run) -> bool:
    feeds = draw(inputs, {}, extents(inputs, EDGE_BATCH), np.random.default_rng(0))
    try:
        run(feeds)
    except RunError:
        return False
    return True


def _numbers(model: onnx.ModelProto) -> Iterator[int]:
    """Integers in the graph that may count steps, each followed by one less: a sequence may have one step more."""
    tensors = [*model.graph.initializer]
    tensors += [
        a.t for node in all_nodes(model.graph) if node.op_type == "Constant" for a in node.attribute if a.HasField("t")
    ]
    stored = (t for t in tensors if t.data_type == onnx.TensorProto.INT64 and np.prod(t.dims, dtype=int) <= FEW)
    found = dict.fromkeys(int(e) for t in stored if not t.external_data for e in onnx.numpy_helper.to_array(t).flat)
    tried = dict.fromkeys(e for number in found for e in (number, number - 1) if 0 < e <= LONGEST)
    yield from list(tried)[:TRIES]
