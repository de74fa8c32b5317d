"""`mari-onnx bench`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import calls, options, output, policies
from mari_onnx.cli.numbers import Numbers
from mari_onnx.cli.progress import progress
from mari_onnx.measurement.options import BATCHES, SECONDS


def _together(_ctx: click.Context, _option: click.Parameter, given: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(number for numbers in given for number in numbers))


def _extents(_ctx: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, int]:
    """Options such as `length=50`, by name: `{"length": 50}`."""
    found = {}
    for one in given:
        name, _, extent = one.rpartition("=")
        if not name or not extent.isdecimal():
            raise click.BadParameter(f"{one!r} is not of the form NAME=N, as in length=50")
        found[name] = int(extent)
    return found


def _shown(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


optimize_batch = click.option(
    "--optimize-batch",
    "batch",
    metavar="N[,N]",
    type=Numbers(),
    default="500",
    show_default=True,
    help="Without OPT.onnx: the --batch of `optimize`.",
)


@click.command(cls=options.WithGuard, short_help="Measure how much faster the optimized model is.")
@click.argument("reference", metavar="REF.onnx", type=options.FILE)
@click.argument("optimized", metavar="[OPT.onnx]", type=options.FILE, required=False)
@options.user_inputs
@options.parts
@click.option(
    "--batch",
    "bench_batches",
    metavar="N,N",
    type=Numbers(),
    multiple=True,
    default=[_shown(BATCHES)],
    show_default=True,
    callback=_together,
    help="Numbers of candidates to measure at. May be given several times.",
)
@click.option(
    "--threads",
    metavar="N,N",
    type=Numbers(),
    multiple=True,
    default=["1"],
    show_default=True,
    callback=_together,
    help="Numbers of threads that a call may use.",
)
@click.option(
    "--concurrency",
    metavar="N,N",
    type=Numbers(),
    multiple=True,
    default=["1"],
    show_default=True,
    callback=_together,
    help="Numbers of calls at once. Of more than one, so many threads call one session without a pause, and their "
    "speed-up is that of the calls that end in a second.",
)
@calls.runtime("Measure in this runtime.")
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    default=SECONDS,
    show_default=True,
    help="Time of calls for each number of candidates, of threads and of calls at once. Where calls are slow it takes "
    "longer.",
)
@click.option("--profile", is_flag=True, help="Measure the time of each node, too, with the most candidates.")
@policies.times
@calls.drawn
@click.option(
    "--extent",
    "extents",
    metavar="NAME=N",
    multiple=True,
    callback=_extents,
    help="Extent of a dynamic axis that counts no candidates, such as the length of a history. May be given several "
    "times.",
)
@options.asked_with(optimize_batch)
@click.option("--no-verify", is_flag=True, help="Without OPT.onnx: measure the result without verifying it.")
@options.form
@options.report_files
@options.configured
@options.verbosity
def bench(
    reference: Path,
    optimized: Path | None,
    form: str,
    report_files: tuple[Path, ...],
    bench_batches: tuple[int, ...],
    no_verify: bool,
    quiet: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Measure how much faster OPT.onnx is than REF.onnx, on this machine.

    Both models are called in turns in one process, so that other work on the machine disturbs both alike, and their
    times are compared round by round. Six processes do that, one after the other. The report has the speed-up with its
    interval, for each number of candidates, and from how many candidates on the model is no slower.

    With --user-model, OPT.onnx is the ranking model of a split: a call is one of the user model and one of OPT.onnx,
    and the time of each alone is shown as well. What an item model computes is at hand.

    Without OPT.onnx, REF.onnx is optimized first, as `optimize` does it; no model is written. The options that say how,
    such as --guard, are not used where OPT.onnx is given.

    \b
    Examples:
      mari-onnx bench model.onnx -u 'user_*'
      mari-onnx bench model.onnx fast.onnx -u 'user_*' --batch 1,100,500 --threads 1,4
      mari-onnx bench model.onnx fast.onnx -u 'user_*' --batch 500 --concurrency 1,8
      mari-onnx bench model.onnx fast.onnx -u 'user_*' --inputs requests.jsonl
      mari-onnx bench model.onnx -u 'user_*' --batch 500 --min-speedup 1.2 --report bench.xml
      mari-onnx bench model.onnx -u 'user_*' --batch 500 --profile
      mari-onnx bench model.onnx rank.onnx -u 'user_*' --user-model user.onnx
    """
    import mari_onnx

    parts = (optimized, chosen["user_model"], chosen["item_model"])
    output.begin_reports(report_files, reference, *(part for part in parts if part is not None))
    with progress(quiet=quiet) as on_progress:
        report = mari_onnx.bench(
            reference, optimized, batches=bench_batches, verify=not no_verify, progress=on_progress, **chosen
        )
    output.hand_over(report, report_files, [], quiet=quiet, verbose=verbose, form=form)
