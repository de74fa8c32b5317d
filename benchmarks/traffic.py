"""Rows a second of a replay, beside a plain loop and beside onnxruntime alone: `python -m benchmarks.traffic`.

The plain loop is what is written in an afternoon: it reads with pandas, groups by the id, and calls both models, for a
few requests before the replay and for as many after it. Its sessions have one thread, as those of the replay: a second
one saved a tenth of the calls' time of `mmoe_vanilla`, none of `wide_deep_vanilla`. The calls alone are those of the
same requests, one after the other, with inputs that are there already, times the cores. The last column is the share of
the replay's time, on all cores and with what comes before the first call and after the last, that was spent in calls.

Needs pandas, and `mari-onnx[traffic]`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime as ort

import mari_onnx
from examples.synthetic_logs import Model, write
from mari_onnx.measurement.machine import cores, described

SAMPLES = Path(__file__).parents[1] / "sample_models"


def plain(paths: list[Path], sessions: list[ort.InferenceSession]) -> Iterator[dict[str, Any]]:
    """The inputs of each request that the plain loop has called both models with."""
    import pandas as pd

    inputs = sessions[0].get_inputs()
    for path in paths:
        for _, rows in pd.read_parquet(path).groupby("request_id", sort=False):
            feeds = {}
            for each in inputs:
                values = rows[each.name].to_numpy()
                feeds[each.name] = np.stack(values) if values.dtype == object else values
            scores = [session.run(None, feeds)[0] for session in sessions]
            np.abs(scores[0] - scores[1]).max()
            yield feeds


def measured(name: str, requests: int, few: int, folder: Path) -> str:
    """A row of the table: the rows a second of a replay, of the plain loop, and of the calls alone in all processes."""
    path, fast = SAMPLES / f"{name}.onnx", folder / "fast.onnx"
    mari_onnx.optimize(path, user_inputs="user_*", verify=False).save(fast, overwrite=True)
    made = write(Model.read(path, ["user_*"]), folder / "logs", requests=requests, files=4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [ort.InferenceSession(str(each), options) for each in (path, fast)]
    loop, calls = plain(made, sessions), list[dict[str, Any]]()
    seconds = _taken(loop, few, calls)
    start = time.perf_counter()
    replay = mari_onnx.replay(
        path, fast, requests=str(folder / "logs"), request_id="request_id", user_inputs="user_*"
    ).replay
    whole = time.perf_counter() - start
    seconds += _taken(loop, few, calls)
    start = time.perf_counter()
    for feeds in calls:
        for session in sessions:
            session.run(None, feeds)
    alone = time.perf_counter() - start
    assert replay is not None and replay.compared == requests
    rows = sum(len(next(iter(feeds.values()))) for feeds in calls)
    ours, theirs = replay.rows / whole, rows / seconds
    in_calls = sum(each.seconds for each in replay.latency) / (cores() * whole)
    return (
        f"{name:24} {ours:10,.0f} {theirs:10,.0f} {ours / theirs:6.1f} {rows / alone * cores():12,.0f} {in_calls:7.0%}"
    )


def _taken(loop: Iterator[dict[str, Any]], few: int, calls: list[dict[str, Any]]) -> float:
    """The seconds in which the loop goes over a few more requests, whose inputs are added to `calls`."""
    start = time.perf_counter()
    calls += islice(loop, few)
    return time.perf_counter() - start


def main() -> None:
    """Print the table for some of the sample models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["din_vanilla", "mmoe_vanilla", "wide_deep_vanilla"])
    parser.add_argument("--requests", type=int, default=4_000, help="that are replayed, of about 500 candidates")
    parser.add_argument("--few", type=int, default=100, help="requests of the plain loop, before and after")
    given = parser.parse_args()
    print(described())
    print(f"{'rows a second':24} {'replay':>10} {'plain loop':>10} {'times':>6} {'calls alone':>12} {'in calls':>7}")
    for name in given.models:
        with TemporaryDirectory() as folder:
            print(measured(name, given.requests, given.few, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
