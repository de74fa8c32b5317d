"""The options by which a command fails where a result is not what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from mari_onnx.report.note import CODES

Command = TypeVar("Command", bound=Callable[..., Any])

NO_NOTE = "none"
"""The word for no code at all."""


def _codes(_ctx: click.Context, _option: click.Parameter, given: Sequence[str]) -> tuple[str, ...] | None:
    """The codes; None where nothing was asked for."""
    return tuple(code for code in given if code != NO_NOTE) if given else None


allow_notes = click.option(
    "--allow-notes",
    metavar="CODE",
    type=click.Choice([*CODES, NO_NOTE]),
    multiple=True,
    callback=_codes,
    help=f"Fail where the verification has a note with another code, such as {CODES[0]}; `none` allows no note. May be "
    "given several times.",
)

require_verified = click.option(
    "--require-verified",
    is_flag=True,
    help="Fail, and write nothing, where a changed model was not verified.",
)


def trust(command: Command) -> Command:
    """Add `--require-verified` and `--allow-notes`, which the command gets as `require_verified` and `allow_notes`."""
    return require_verified(allow_notes(command))


def gains(command: Command) -> Command:
    """Add the policies of what an optimized model gains: `min_gain`, `require_gain` and `max_size_growth`."""
    min_gain = click.option(
        "--min-gain",
        metavar="X",
        type=click.FloatRange(min=0, min_open=True),
        help="Fail, and write nothing, unless the arithmetic before is at least X times that after.",
    )
    require_gain = click.option(
        "--require-gain",
        is_flag=True,
        help="Fail, and write nothing, where there is neither less arithmetic nor fewer nodes.",
    )
    max_size_growth = click.option(
        "--max-size-growth",
        metavar="X",
        type=click.FloatRange(min=0, min_open=True),
        help="Fail, and write nothing, if the size after is more than X times that before: 1.1 allows 10 % more.",
    )
    return min_gain(require_gain(max_size_growth(command)))


def times(command: Command) -> Command:
    """Add the policies of measured times: `min_speedup` and `max_slowdown`."""
    min_speedup = click.option(
        "--min-speedup",
        metavar="X",
        type=click.FloatRange(min=0, min_open=True),
        help="Fail unless the time before is at least X times the time after, with every number of candidates and "
        "threads.",
    )
    max_slowdown = click.option(
        "--max-slowdown",
        metavar="X",
        type=click.FloatRange(min=0, min_open=True),
        help="Fail if the time after is more than X times the time before with any of them: 1.05 allows 5 % more.",
    )
    return min_speedup(max_slowdown(command))
