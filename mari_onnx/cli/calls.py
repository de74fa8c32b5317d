"""The options by which calls of models are drawn or recorded, for the commands that run models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from mari_onnx.cli import options
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME, RUNTIMES

Command = TypeVar("Command", bound=Callable[..., Any])


def _ranges(_ctx: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Options such as `user_id=0:999`, as limits by name: `{"user_id": (0.0, 999.0)}`."""
    found = {}
    for one in given:
        name, _, limits = one.rpartition("=")
        try:
            low, high = (float(limit) for limit in limits.split(":"))
        except ValueError:
            raise click.BadParameter(f"{one!r} is not of the form NAME=LOW:HIGH, as in user_id=0:999") from None
        if not name:
            raise click.BadParameter(f"{one!r} names no input; it should look like user_id=0:999")
        found[name] = (low, high)
    return found


def drawn(command: Command) -> Command:
    """Add `--seed`, `--inputs` and `--input-range`, which the command gets as `seed`, `inputs` and `input_ranges`."""
    seed = click.option(
        "--seed",
        metavar="N",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of the drawn inputs.",
    )
    inputs = click.option(
        "--inputs",
        metavar="PATH",
        type=options.FILE,
        help="Run recorded inputs instead of drawn ones: a file .npz, .jsonl or .parquet, or a folder with NAME.npy or "
        "test_data_set_N.",
    )
    input_ranges = click.option(
        "--input-range",
        "input_ranges",
        metavar="NAME=LOW:HIGH",
        multiple=True,
        callback=_ranges,
        help="Draw this input from LOW to HIGH, both included, in place of the range that is found in the graph. May "
        "be given several times.",
    )
    return seed(inputs(input_ranges(command)))


def _known(_ctx: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in RUNTIMES if name.startswith(begun)]


def runtime(what: str) -> Callable[[Command], Command]:
    """The option `--runtime`; `what` says in words what is done in that runtime."""
    return click.option(
        "--runtime",
        metavar=f"[{'|'.join(RUNTIMES)}|PROVIDER]",
        shell_complete=_known,
        default=DEFAULT_RUNTIME,
        show_default=True,
        help=f"{what} PROVIDER is an execution provider of the onnxruntime that is installed, such as cuda or "
        "CUDAExecutionProvider. openvino is an extra: pip install 'mari-onnx[openvino]'.",
    )
