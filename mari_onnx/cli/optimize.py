"""`mari-onnx optimize`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import options
from mari_onnx.cli.numbers import fold_tables
from mari_onnx.cli.progress import progress


@click.command(cls=options.WithGuard, short_help="Write a model that computes the user's part once.")
@click.argument("model", metavar="IN.onnx", type=options.FILE)
@click.argument("output", metavar="OUT.onnx", type=options.FILE)
@options.asked
@fold_tables
@click.option(
    "--min-gain",
    metavar="X",
    type=click.FloatRange(min=0, min_open=True),
    help="Fail, and write nothing, unless the arithmetic before is at least X times that after.",
)
@click.option(
    "--require-gain",
    is_flag=True,
    help="Fail, and write nothing, where there is neither less arithmetic nor fewer nodes.",
)
@click.option(
    "--max-size-growth",
    metavar="X",
    type=click.FloatRange(min=0, min_open=True),
    help="Fail, and write nothing, if the size after is more than X times that before: 1.1 allows 10 % more.",
)
@options.writing
def optimize(model: Path, output: Path, writing: options.Writing, **asked: Any) -> None:
    """Write a model that computes the user's part once instead of once for each candidate.

    The result has the inputs and the outputs of the original, and replaces it without any change of the caller.
    With --user-batch or --guard=output the signature changes, and the report says what the caller has to send.

    Before anything is written, both models are run and compared. A result with other predictions is not written,
    and the exit code is 1. Where nothing can be gained, the model is written as it was.

    \b
    Examples:
      mari-onnx optimize model.onnx fast.onnx -u 'user_*'
      mari-onnx optimize model.onnx fast.onnx -u user_id -u 'hist_*' --batch 200
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --dry-run -v
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --guard
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --user-batch one
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --request-key user_id
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --min-gain 1.5 --report report.xml -q
    """
    import mari_onnx
    from mari_onnx.document.save import save

    writing.check(model, [output])
    with progress(quiet=writing.quiet) as on_progress:
        result = mari_onnx.optimize(
            model, **asked, verify=not writing.no_verify, metadata=not writing.no_metadata, progress=on_progress
        )
    report, problems = result.report, list[Exception]()
    if writing.wants(report):
        with options.postponed(problems):
            save(result.document, result.model, output, overwrite=writing.overwrite, written=options.was_written)
            report = replace(report, written=str(output))
    writing.hand_over(report, problems)
