"""The engine on Ray: actors that hold the sessions, on this machine or on the cluster of `RAY_ADDRESS`."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mari_onnx.errors import UserError
from mari_onnx.traffic.engines.engine import ATTEMPTS, Job, Settings, Stopped

DIED = "its process died on Ray"


def run(job: Job, tasks: Sequence[Any], settings: Settings) -> Iterator[tuple[Any, Any]]:
    """See `engines`. Ray is started for the run, unless it runs already."""
    try:
        import ray
    except ImportError as error:
        raise UserError("ray is not installed", "pip install 'mari-onnx[ray]'") from error
    started = not ray.is_initialized()
    if started:
        _start(ray, settings)
    try:
        yield from _results(ray, ray.put(pickle.dumps(job)), tasks, settings)
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, settings: Settings) -> None:
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if "RAY_ADDRESS" not in os.environ:
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        given |= {"num_cpus": settings.workers, "include_dashboard": False, "runtime_env": {"env_vars": paths}}
    ray.init(**given)


def _results(ray: Any, job: Any, tasks: Sequence[Any], settings: Settings) -> Iterator[tuple[Any, Any]]:
    """Each actor has one task at a time. One that has died is replaced, and its task is done again."""
    kind = ray.remote(num_cpus=1)(_Worker)
    left, waiting = iter(tasks), dict[Any, tuple[Any, Any, int]]()
    folder = str(Path.cwd())

    def hand(actor: Any, task: Any, attempt: int) -> None:
        waiting[actor.do.remote(task)] = (actor, task, attempt)

    for task in islice(left, settings.workers):
        hand(kind.remote(job, folder), task, 1)
    while waiting:
        (first, *_), _ = ray.wait(list(waiting), num_returns=1)
        actor, task, attempt = waiting.pop(first)
        try:
            result = ray.get(first)
        except ray.exceptions.RayActorError:
            actor = kind.remote(job, folder)
            if attempt < ATTEMPTS:
                hand(actor, task, attempt + 1)
                continue
            result = Stopped(DIED, "look into the logs of Ray, or run it with --engine local")
        if isinstance(result, UserError):
            raise result
        if (following := next(left, None)) is not None:
            hand(actor, following, 1)
        yield task, result


class _Worker:
    """The actor: a process with the models loaded. Relative paths lead from the folder of the driver."""

    def __init__(self, job: bytes, folder: str) -> None:
        if Path(folder).is_dir():
            os.chdir(folder)
        self.job = job
        self.opened: Callable[[Any], Any] | None = None

    def do(self, task: Any) -> Any:
        """The result of a task; an error of the user's is returned, so that it arrives as it is."""
        try:
            self.opened = self.opened or pickle.loads(self.job).opened()
            return self.opened(task)
        except UserError as error:
            return error
