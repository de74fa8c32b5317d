"""Trace each integer input to what it indexes, and so learn which values it may take.

An id is followed by running the operators that move it (see `tagging`), and what is learned of it where it arrives is
a table of tracers (see `tracers`). A packed matrix has bounds for each of its columns.

Inside the bodies of Loop and Scan nothing is run apart. An id that gets there, and nowhere else, is followed by name to
the tables that it indexes, and takes the range of the smallest: an offset that it is added to there is overlooked.

Not traced: ids combined with each other or scaled before they index, and float16 ids.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mari_onnx.errors import UserError
from mari_onnx.verification.inputs import references
from mari_onnx.verification.inputs.draw import Bounds, Input, extents
from mari_onnx.verification.inputs.tagging import Tagged, tag
from mari_onnx.verification.inputs.tracers import bounds
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source


@dataclass(frozen=True)
class Trace:
    """What was learned: bounds by input, and the symbols of leading axes that another input indexes (requests).

    `tables` are the stored tables whose rows an input indexes, each with the offset that is added to the id.
    """

    bounds: dict[str, Bounds]
    requests: frozenset[str] = frozenset()
    tables: Mapping[str, frozenset[tuple[str, int]]] = field(default_factory=dict)

    def overridden(self, ranges: Mapping[str, tuple[float, float]], inputs: Sequence[Input]) -> Trace:
        """With other ranges for some inputs. Raises UserError for one that there is not, or that is empty."""
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
    """Trace the inputs of a model. Raises RunError when it runs neither on ones nor on zeros at a small batch."""
    requests: frozenset[str] = frozenset()
    while True:
        tagged = _tagged_at(source, inputs, requests)
        found = references.requests(tagged)
        if found <= requests:
            return Trace(bounds(tagged), requests, references.tables(tagged))
        requests |= found  # the extents change with it, and with them the bounds


def _tagged_at(source: Source, inputs: Sequence[Input], requests: Collection[str]) -> Tagged:
    failure: RunError | None = None
    # Ones first: a history of padding only is an edge case, which can crash onnxruntime's GRU with the whole process.
    for batch, value in ((2, 1), (7, 1), (2, 0), (1, 0)):
        try:
            return tag(source, inputs, extents(inputs, batch, requests), value)
        except RunError as error:
            failure = failure or error
    assert failure is not None
    raise failure
