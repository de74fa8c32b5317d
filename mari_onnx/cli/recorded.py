"""The options for a file of recorded requests, in which an id says which candidates are of one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mari_onnx.cli import options

Command = TypeVar("Command", bound=Callable[..., Any])


def recorded(what: str) -> Callable[[Command], Command]:
    """Add `--requests` and `--request-id`; `what` says in words what the requests are for."""
    requests = click.option(
        "--requests",
        metavar="FILE",
        type=options.FILE,
        help=f"{what} A file .npz, .parquet or .jsonl with a column for each input, and a row for each candidate. "
        "Needs --request-id.",
    )
    request_id = click.option(
        "--request-id",
        metavar="COLUMN",
        help="The column of that file with the ids of requests: rows with the same id are candidates of one request.",
    )
    return lambda command: requests(request_id(command))
