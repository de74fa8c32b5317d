"""The explanation of a failed verification: the smallest inputs that fail, the first tensor that differs, its rule."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mari_onnx.document.staging import write_file
from mari_onnx.report.model import Difference, Divergence, Remark, Verification
from mari_onnx.report.note import Note
from mari_onnx.verification.compare import localize
from mari_onnx.verification.compare.judge import SAME_FUNCTION, distance, distances, misplaced
from mari_onnx.verification.comparison import Comparison
from mari_onnx.verification.inputs import recorded
from mari_onnx.verification.inputs.cases import Case
from mari_onnx.verification.inputs.draw import batch_symbols
from mari_onnx.verification.notes import noted
from mari_onnx.verification.runtimes.onnxruntime import Array, RunError, Values


def located(
    comparison: Comparison, verification: Verification, remarks: Sequence[Remark], failing: Path | None
) -> Verification:
    """The failed verification, with the `Divergence` of its worst failure.

    The smallest inputs that still fail are written to the file `failing`, where one is given. Whatever cannot be found
    or written becomes a note. `remarks` are those of the optimizer, if it has just made the model.
    """
    worst = _worst(comparison, verification)
    failure = _Failure(comparison, worst, *comparison.seen[worst.case, worst.batch])
    notes: list[Note] = []
    small, path = failure.feeds, None
    with noted(notes, "the smallest inputs that fail could not be found"):
        small = failure.smallest()
    found = Divergence(worst.output, worst.max_abs, worst.in_float64, "", "", 0)
    with noted(notes, "the tensor in which the difference begins could not be found"):
        same = verification.rtol if worst.in_float64 else SAME_FUNCTION
        first = localize.divergence(comparison.models, small, same, exactly=worst.in_float64, remarks=remarks)
        found = first or found
    if failing is not None:
        with noted(notes, f"the smallest inputs could not be written to {failing}"):
            _write(failing, small)
            path = str(failing)
    candidates = recorded.candidates(comparison.inputs, small, comparison.requests)
    case = failure.case
    found = replace(
        found, output=worst.output, case=case.label, batch=case.batch, candidates=candidates, inputs=path
    )  # fmt: skip
    return replace(verification, divergence=found, notes=(*verification.notes, *notes))


def _worst(comparison: Comparison, verification: Verification) -> Difference:
    """The failure that is the furthest from passing; edge cases count only where no other case failed."""
    failed = [one for one in verification.differences if one.is_located]
    usual = [one for one in failed if comparison.seen[one.case, one.batch][0].style in ("drawn", "given")]
    return max(usual or failed, key=lambda one: one.max_abs / one.bound if one.bound else math.inf)


def _write(path: Path, feeds: Values) -> None:
    """Write inputs as .npz, an array for each input by name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:  # numpy.savez takes no array of the name `file`
        for name, array in feeds.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.save(entry, array.astype(np.str_) if array.dtype == object else array, allow_pickle=False)
    write_file(path, out.getvalue())


@dataclass(frozen=True)
class _Failure:
    """One comparison that failed, and the inputs on which it did."""

    comparison: Comparison
    worst: Difference
    case: Case
    feeds: Values

    def smallest(self) -> Values:
        """Inputs that still fail, with as few candidates and as many zeros as are found in `localize.PATIENCE`."""
        comparison = self.comparison
        if comparison.exact is None and comparison.with_lengths:  # onnxruntime may crash on what is tried
            return dict(self.feeds)
        symbols = batch_symbols(comparison.inputs, comparison.requests)
        return localize.smallest(self.feeds, comparison.inputs, symbols, self.fails, self.first)

    @property
    def first(self) -> int:
        """The number of the candidate with the largest difference; 0 where the output has no axis of candidates."""
        worst = self.worst
        for seen in self.comparison.observations.get(worst.output, ()):
            if (seen.case.label, seen.case.batch) != (worst.case, worst.batch):
                continue
            a, b = seen.exact if worst.in_float64 and seen.exact else (seen.reference, seen.optimized)
            if a.shape == b.shape and a.shape[:1] == (worst.batch,) and a.size and a.dtype.kind == "f":
                off = np.where(np.isfinite(a) == np.isfinite(b), distances(a, b), np.inf)
                return int(np.argmax(off.reshape(worst.batch, -1).max(axis=1)))
        return 0

    def fails(self, feeds: Mapping[str, Array]) -> bool:
        """Whether other inputs fail in the same way as this comparison, by the same bounds."""
        comparison, worst = self.comparison, self.worst
        second = comparison.second if comparison.second and self.case.runtime == comparison.second[0] else None
        reference, optimized = second[1:] if second is not None else comparison.runs
        try:  # float64 first: it raises RunError on sequences that are all empty, on which onnxruntime may crash
            exact = None if comparison.exact is None else (comparison.exact[0](feeds), comparison.exact[1](feeds))
            expected = reference(feeds)[worst.output]
        except RunError:
            return False
        try:
            got = optimized(feeds)[worst.output]
        except RunError:
            return worst.failure == "does not run"
        if expected.shape != got.shape:
            return True
        if exact is None or comparison.tolerance is not None:
            return bool(misplaced(expected, got)) or distance(expected, got) > worst.bound
        a, b = exact[0][worst.output], exact[1][worst.output]
        if worst.in_float64:
            return bool(misplaced(a, b)) or distance(a, b) > (worst.float64_bound or 0.0)
        return bool(misplaced(expected, got)) or distance(got, a) > worst.bound
