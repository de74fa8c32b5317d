"""A measurement in processes of its own: one in which the calls are made, and some in which they are timed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mari_onnx import worker
from mari_onnx.errors import UserError
from mari_onnx.measurement import procedure
from mari_onnx.measurement.calls import Pair
from mari_onnx.measurement.options import Options
from mari_onnx.measurement.result import PROCESSES, benchmark
from mari_onnx.report.benchmark import Benchmark
from mari_onnx.verification.mapped import mapped


def measure(pair: Pair, options: Options, progress: worker.Progress | None = None) -> Benchmark:
    """Measure both models, within the time and the memory of the current budget.

    Raises UserError as `procedure.prepare` does, and where a process ends before it has an answer.
    """
    say = progress or _silent
    share = options.seconds / PROCESSES
    try:
        with TemporaryDirectory(prefix="mari-onnx-") as folder:
            given = {"reference": pair.reference, "optimized": pair.optimized, "user": pair.user, "item": pair.item}
            there = {name: document for name, document in given.items() if document is not None}
            light: dict[str, Any] = dict(zip(there, mapped(list(there.values()), Path(folder)), strict=True))
            pair = replace(pair, **light)
            say("making calls", 0, 1)
            prepared = worker.run(procedure.prepare, pair, options, alone=True)
            chosen = prepared.settings
            found = [
                worker.run(
                    procedure.times, pair, chosen, options, share, n, progress=partial(_of_all, say, n), alone=True
                )
                for n in range(PROCESSES)
            ]
    except worker.StoppedError as stopped:
        raise UserError(f"nothing was measured: {stopped}", stopped.next_step) from stopped
    return benchmark(prepared, found, options)


def _of_all(say: worker.Progress, process: int, what: str, done: int, total: int) -> None:
    """Tell about the progress of one process as a part of that of all."""
    say(what, process * total + done, PROCESSES * total)


def _silent(what: str, done: int, total: int) -> None:
    """A callback of progress that does nothing."""
