"""The engine of this machine: a few processes, each with its own sessions."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mari_onnx import budget, worker
from mari_onnx.traffic.engines.engine import ATTEMPTS, Job, Settings, Stopped

AHEAD = 2
"""Tasks of each process that are handed out at a time."""


def run(job: Job, tasks: Sequence[Any], settings: Settings) -> Iterator[tuple[Any, Any]]:
    """See `engines`. The time of the current budget is that in which some task has to end.

    The processes are children of this one (see `worker`), and end with it.
    """
    limits, left = budget.current(), iter(tasks)
    with TemporaryDirectory(prefix="mari-onnx-") as folder:
        path = Path(folder, "job")
        path.write_bytes(pickle.dumps(job))
        with ThreadPoolExecutor(settings.workers) as pool:
            waiting: set[Future[tuple[Any, Any]]] = set()
            try:
                while True:
                    for task in islice(left, AHEAD * settings.workers - len(waiting)):
                        waiting.add(pool.submit(copy_context().run, _result, path, task))
                    if not waiting:
                        return
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for each in done:
                        limits.renew()
                        yield each.result()
            except BaseException:
                for each in waiting:
                    each.cancel()
                limits.end()  # the children are stopped, for whose answers nobody waits
                raise


def _result(path: Path, task: Any) -> tuple[Any, Any]:
    """A task with its result. Where its process dies, it is done again in another one."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return task, worker.run(_do, path, task)
        except worker.StoppedError as stopped:
            if attempt == ATTEMPTS or budget.current().left < 0:
                return task, Stopped(str(stopped), stopped.next_step)
    raise AssertionError


def _do(path: Path, task: Any) -> Any:
    """Called in the child."""
    return _opened(path)(task)


@lru_cache(maxsize=1)
def _opened(path: Path) -> Callable[[Any], Any]:
    job: Job = pickle.loads(path.read_bytes())
    return job.opened()
