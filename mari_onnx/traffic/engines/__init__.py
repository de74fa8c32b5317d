"""Engines: where the tasks of a job run. Each is a module of this folder with a function of this kind:

    run(job, tasks, settings)    yields each task, as it ends, with its result or with why it has none

A job is a value that can be pickled. Its `opened` gives the function that does one task, and is called once in each
process: it loads the models. An engine does each task once, or again where the process that did it has died, and so a
task has no effects but its result. What a task raises ends the run; a process that dies twice over one task only stops
that task, whose result is then a `Stopped`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from mari_onnx.traffic.engines.engine import Job, Settings

LOCAL = "local"

ENGINES = (LOCAL, "ray", "dask")
"""The choices of `--engine`: the names of the modules. All but the first are extras of the package."""


def run(engine: str, job: Job, tasks: Sequence[Any], settings: Settings) -> Iterator[tuple[Any, Any]]:
    """The tasks with their results, in the order in which they end.

    Raises UserError for an engine whose package is not installed, and what a task raises.
    """
    ended = 0
    for result in import_module(f"mari_onnx.traffic.engines.{engine}").run(job, tasks, settings):
        ended += 1
        yield result
    if ended != len(tasks):  # a task that is lost would pass unseen
        raise RuntimeError(f"the engine {engine} ended {ended} of {len(tasks)} tasks")
