"""The engine on Dask: the distributed scheduler, on this machine or that of `DASK_SCHEDULER_ADDRESS`."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mari_onnx.errors import UserError
from mari_onnx.traffic.engines.engine import Job, Settings, Stopped

PLUGIN = "mari-onnx"
"""The name of what each worker is given, also one that is started in place of another."""

DIED = "its process died on Dask"

AHEAD = 2
"""Tasks of each process that are handed out at a time."""


def run(job: Job, tasks: Sequence[Any], settings: Settings) -> Iterator[tuple[Any, Any]]:
    """See `engines`. A cluster is started for the run, unless a scheduler is given."""
    try:
        import dask
        import distributed
    except ImportError as error:
        raise UserError("dask.distributed is not installed", "pip install 'mari-onnx[dask]'") from error
    given = {"distributed.scheduler.allowed-failures": 0, "distributed.logging.distributed": "critical"}
    with dask.config.set(given):
        cluster = None
        if (address := dask.config.get("scheduler-address", None)) is None:
            cluster = distributed.LocalCluster(
                n_workers=settings.workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
            )
        client = distributed.Client(address or cluster, set_as_default=False)
        try:
            client.register_plugin(_plugin(distributed, job), name=PLUGIN)
            yield from _results(distributed, client, tasks, settings)
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def _results(distributed: Any, client: Any, tasks: Sequence[Any], settings: Settings) -> Iterator[tuple[Any, Any]]:
    """All tasks; those that a worker had when it died are done again in the end, each by itself.

    A worker has several tasks at a time, and only one of them may have been its end.
    """
    left, of, suspects = iter(tasks), dict[str, Any](), list[Any]()

    def submitted(count: int) -> list[Any]:
        futures = []
        for task in islice(left, count):
            futures.append(client.submit(_do, task, pure=False))
            of[futures[-1].key] = task
        return futures

    ended = distributed.as_completed(submitted(AHEAD * settings.workers), loop=client.loop)
    for future in ended:
        task = of.pop(future.key)
        try:
            yield task, _found(future)
        except distributed.KilledWorker:
            suspects.append(task)
        for following in submitted(1):
            ended.add(following)
    for task in suspects:
        try:
            yield task, _found(client.submit(_do, task, pure=False))
        except distributed.KilledWorker:
            yield task, Stopped(DIED, "look into the logs of Dask, or run it with --engine local")


def _found(future: Any) -> Any:
    """The result of a task. Raises UserError where that is the result."""
    result = future.result()
    if isinstance(result, UserError):
        raise result
    return result


def _plugin(distributed: Any, job: Job) -> Any:
    """What each worker is given: the job, and the folder of the driver, from which relative paths lead."""
    plugin: Any = distributed.WorkerPlugin()
    plugin.name, plugin.job, plugin.folder, plugin.opened = PLUGIN, pickle.dumps(job), str(Path.cwd()), None
    return plugin


def _do(task: Any) -> Any:
    """Called in a worker. An error of the user's is returned, so that it arrives as it is, and ends the run."""
    from distributed import get_worker

    plugin = get_worker().plugins[PLUGIN]
    try:
        if plugin.opened is None:
            if Path(plugin.folder).is_dir():
                os.chdir(plugin.folder)
            plugin.opened = pickle.loads(plugin.job).opened()
        return plugin.opened(task)
    except UserError as error:
        return error
