"""The measurement in a process of its own, which holds nothing but the two models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mari_onnx import worker
from mari_onnx.errors import UserError
from mari_onnx.measurement.calls import Pair
from mari_onnx.measurement.options import Options
from mari_onnx.report.benchmark import Benchmark
from mari_onnx.verification.mapped import mapped


def measure(pair: Pair, options: Options, progress: worker.Progress | None = None) -> Benchmark:
    """What `procedure.measure` finds, within the time and the memory of the current budget.

    Raises UserError as that does, and where the process ends before it has an answer.
    """
    try:
        with TemporaryDirectory(prefix="mari-onnx-") as folder:
            reference, optimized = mapped([pair.reference, pair.optimized], Path(folder))
            sent = replace(pair, reference=reference, optimized=optimized)
            return worker.run(_measure, sent, options, progress=progress)
    except worker.StoppedError as stopped:
        raise UserError(f"nothing was measured: {stopped}", stopped.next_step) from stopped


def _measure(pair: Pair, options: Options) -> Benchmark:
    """Called in the child, which alone needs onnxruntime."""
    from mari_onnx.measurement import procedure

    return procedure.measure(pair, options, worker.say)
