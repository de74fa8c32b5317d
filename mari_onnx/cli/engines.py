"""The options of the commands that read Parquet and work on it in several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mari_onnx.cli import options
from mari_onnx.traffic.engines import ENGINES, LOCAL

Command = TypeVar("Command", bound=Callable[..., Any])

columns = click.option(
    "--columns",
    metavar="MAP.toml",
    type=options.FILE,
    help="Which column is which input, and how it is padded.  [default: the columns of the inputs' names]",
)


def engine(command: Command) -> Command:
    """Add `--engine`, `--workers` and `--threads`, which the command gets by these names."""
    engine = click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default=LOCAL,
        show_default=True,
        help="Where row groups are worked on. local: in processes on this machine; ray, dask: on a cluster, or in "
        "processes that they start here; each is an extra of its name: pip install 'mari-onnx[NAME]'.",
    )
    workers = click.option(
        "--workers",
        metavar="N",
        type=click.IntRange(min=1),
        help="Processes that work on row groups.  [default: as many as there are cores]",
    )
    threads = click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Threads of each session.",
    )
    return engine(workers(threads(command)))
