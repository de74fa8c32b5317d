"""`mari-onnx optimize`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import options, output, policies
from mari_onnx.cli.numbers import fold_tables
from mari_onnx.cli.progress import progress
from mari_onnx.cli.recorded import recorded


@click.command(cls=options.WithGuard, short_help="Write a model that computes the user's part once.")
@click.argument("model", metavar="IN.onnx", type=options.FILE)
@click.argument("path", metavar="OUT.onnx", type=options.FILE)
@options.asked
@fold_tables
@recorded("Recorded requests, from which -u auto takes the user's inputs.")
@policies.gains
@policies.trust
@options.writing
def optimize(model: Path, path: Path, writing: options.Writing, **asked: Any) -> None:
    """Write a model that computes the user's part once instead of once for each candidate.

    With -u auto the inputs that hold the user are those that are the same in all rows of each recorded request, and
    the report has the evidence.

    The result has the inputs and the outputs of the original, and replaces it without any change of the caller.
    With --user-batch or --guard=output the signature changes, and the report says what the caller has to send.

    Before anything is written, both models are run and compared. A result with other predictions is not written,
    and the exit code is 1. Where nothing can be gained, the model is written as it was.

    \b
    Examples:
      mari-onnx optimize model.onnx fast.onnx -u 'user_*'
      mari-onnx optimize model.onnx fast.onnx -u user_id -u 'hist_*' --batch 200
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --dry-run -v
      mari-onnx optimize model.onnx fast.onnx -u auto --requests log.parquet --request-id id
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --guard
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --user-batch one
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --request-key user_id
      mari-onnx optimize model.onnx fast.onnx -u 'user_*' --min-gain 1.5 --report report.xml -q
    """
    import mari_onnx
    from mari_onnx.document.save import save

    writing.check(model, [path])
    with progress(quiet=writing.quiet) as on_progress:
        result = mari_onnx.optimize(
            model, **asked, verify=not writing.no_verify, metadata=not writing.no_metadata, progress=on_progress
        )
    report, problems = result.report, list[Exception]()
    if writing.wants(report):
        with output.postponed(problems):
            save(result.document, result.model, path, overwrite=writing.overwrite, written=output.was_written)
            made = report.optimized and output.as_written(report.optimized, path)
            report = replace(report, written=str(path), optimized=made)
    writing.hand_over(report, problems)
