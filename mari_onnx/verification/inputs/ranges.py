"""The range of each input of ids, found by tracing the input to the tables that it indexes.

The operators that move an id are run on tagged inputs (see `tagging`), and tracers read the range off the places where
the tags arrive (see `tracers`). A matrix of ids of several fields has a range for each column.

Bodies of Loop and Scan are not run for this. An id that is used only there is followed by name to the tables that it
indexes, and has the range of the smallest. An offset that the body adds to it is overlooked.

Not traced are ids that are combined with each other or scaled before they index, and ids in float16.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mari_onnx.errors import UserError
from mari_onnx.report.note import Note
from mari_onnx.verification.inputs import references
from mari_onnx.verification.inputs.draw import Bounds, Input, batch_symbols, extents, listed_rows
from mari_onnx.verification.inputs.tagging import Tagged, tag
from mari_onnx.verification.inputs.tracers import bounds
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source


@dataclass(frozen=True)
class Trace:
    """What tracing found.

    `bounds` are the ranges by input. `requests` are the symbols of leading axes that count requests: those of a
    listwise model, and those whose rows another input selects. `tables` are, by input, the stored tables whose rows it
    indexes, each with the offset that is added to the id.
    """

    bounds: dict[str, Bounds]
    requests: frozenset[str] = frozenset()
    tables: Mapping[str, frozenset[tuple[str, int]]] = field(default_factory=dict)

    def overridden(self, ranges: Mapping[str, tuple[float, float]], inputs: Sequence[Input]) -> Trace:
        """The trace with other ranges, (least, largest) by input.

        Raises UserError for a name that is no input, for an empty range, and for ids with limits that are not whole.
        """
        bounds, known = dict(self.bounds), {each.name: each for each in inputs}
        for name, (low, high) in ranges.items():
            if name not in known:
                there = f"Its inputs are: {', '.join(known)}."
                raise UserError(f"a range is given for `{name}`, which is no input of the model", there)
            if not low <= high:
                raise UserError(f"the range {low:g}:{high:g} of input `{name}` is empty", "Give the lower limit first.")
            ids = known[name].dtype.kind in "iu" or (name in bounds and bounds[name].whole)
            if ids and not (float(low).is_integer() and float(high).is_integer()):
                raise UserError(
                    f"input `{name}` holds whole numbers, and a limit of the range {low:g}:{high:g} is not one",
                    "Give two whole numbers, as in 0:999.",
                )
            dtype = np.int64 if ids else np.float64
            bounds[name] = Bounds(np.array(low, dtype), np.array(high, dtype), whole=ids)
        return replace(self, bounds=bounds)


def trace(source: Source, inputs: Sequence[Input]) -> Trace:
    """Trace the inputs of a model. Raises RunError where it runs on neither ones nor zeros with few candidates."""
    requests = _of_requests(inputs)
    while True:
        tagged = _tagged_at(source, inputs, requests)
        found = references.requests(tagged)
        if found <= requests:
            return Trace(bounds(tagged), requests, references.tables(tagged))
        requests |= found  # an axis of requests has another extent, and with other extents the bounds change


def _of_requests(inputs: Sequence[Input]) -> frozenset[str]:
    """The axes that count requests by the shapes alone. Where lists have one length, calls differ in nothing else."""
    return listed_rows(inputs) - batch_symbols(inputs)


def traced_or_noted(
    source: Source, inputs: Sequence[Input], ranges: Mapping[str, tuple[float, float]]
) -> tuple[Trace, list[Note]]:
    """What is traced, with the ranges that were given instead, and notes on what could not be traced.

    Raises UserError as `Trace.overridden` does.
    """
    try:
        traced = trace(source, inputs)
    except RunError as error:
        problem = f"what the integer inputs index could not be traced ({error}): ids were drawn from 0 to 1"
        return Trace({}, _of_requests(inputs)).overridden(ranges, inputs), [Note("inputs-drawn", problem)]
    unknown = [each.name for each in inputs if each.dtype.kind in "iu" and each.name not in traced.bounds]
    said = f"index nothing that could be traced, drawn from 0 to 1: {', '.join(unknown)}"
    return traced.overridden(ranges, inputs), [Note("inputs-drawn", said)] if unknown else []


def _tagged_at(source: Source, inputs: Sequence[Input], requests: Collection[str]) -> Tagged:
    failure: RunError | None = None
    # Ones first: zeros make every history empty, on which the GRU of onnxruntime can crash the whole process.
    for batch, value in ((2, 1), (7, 1), (2, 0), (1, 0)):
        try:
            return tag(source, inputs, extents(inputs, batch, requests), value)
        except RunError as error:
            failure = failure or error
    assert failure is not None
    raise failure
