"""`mari-onnx verify`"""

from __future__ import annotations

from pathlib import Path

import click

from mari_onnx.cli import options
from mari_onnx.cli.progress import progress


@click.command(short_help="Tell whether two models make the same predictions.")
@click.argument("reference", metavar="REF.onnx", type=options.FILE)
@click.argument("optimized", metavar="OPT.onnx", type=options.FILE)
@options.user_inputs
@click.option(
    "--batch",
    "batches",
    metavar="N",
    type=click.IntRange(min=0),
    multiple=True,
    help="Candidates to compare at. May be given several times.  [default: those of --effort]",
)
@click.option(
    "--effort",
    type=click.Choice(["quick", "standard", "thorough"]),
    default="standard",
    show_default=True,
    help="How much to run: 1 and 7 candidates alone; 1 2 7 64 and edge cases; or 500 besides, and four draws of each.",
)
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs.")
@click.option(
    "--rtol", metavar="X", type=click.FloatRange(min=0), help="Allow this much of an output's largest magnitude."
)
@click.option("--atol", metavar="X", type=click.FloatRange(min=0), help="Allow this much, absolutely.")
@options.report_file
@options.verbosity
def verify(
    reference: Path,
    optimized: Path,
    user_inputs: tuple[str, ...],
    batches: tuple[int, ...],
    effort: str,
    seed: int,
    rtol: float | None,
    atol: float | None,
    report_file: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Tell whether two models make the same predictions, by running both.

    Two questions are asked at several numbers of candidates, with distinct candidates and valid ids: is it the same
    function (in float64), and is it as accurate (in the model's own precision)? No tolerance has to be chosen;
    --rtol and --atol replace the answer by a plain comparison. The exit code is 1 if the models differ.

    \b
    Examples:
      mari-onnx verify model.onnx fast.onnx -u 'user_*'
      mari-onnx verify model.onnx fast.onnx -u 'user_*' --batch 1 --batch 1000 --seed 7
      mari-onnx verify model.onnx fast.onnx -u 'user_*' --rtol 1e-5 --atol 1e-7
    """
    import mari_onnx

    options.check_report_file(report_file, reference, optimized)
    with progress(quiet=quiet) as on_progress:
        report = mari_onnx.verify(
            reference,
            optimized,
            user_inputs=user_inputs,
            batches=batches or None,
            effort=effort,
            seed=seed,
            rtol=rtol,
            atol=atol,
            progress=on_progress,
        )
    options.hand_over(report, report_file, quiet=quiet, verbose=verbose)
