"""`mari-onnx inputs`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import options, output
from mari_onnx.cli.progress import progress
from mari_onnx.cli.recorded import recorded


@click.command(short_help="Show all inputs, and what each would gain as the user's.")
@click.argument("model", metavar="MODEL.onnx", type=options.FILE)
@options.user_inputs
@options.batch
@recorded("Recorded candidates.")
@click.option(
    "--write-map",
    metavar="MAP.toml",
    type=options.FILE,
    help="Write a column map for the file of --requests, which is Parquet then: replay --columns reads it. What was "
    "guessed is said in comments.",
)
@options.bounded
@options.form
@options.report_files
@options.configured
@options.verbosity
def inputs(model: Path, form: str, report_files: tuple[Path, ...], quiet: bool, verbose: bool, **asked: Any) -> None:
    """Show all inputs of a model, and what would be gained if they were declared the user's with -u.

    For inputs whose names begin alike, the report has the multiply-adds of the model that `optimize` would make. With
    recorded requests it says which inputs are the same in all rows of each request, as a user's are, and else where the
    first one differs. What is named with -u already counts as declared.

    No model is run, and none is written.

    \b
    Examples:
      mari-onnx inputs model.onnx
      mari-onnx inputs model.onnx --requests candidates.parquet --request-id request_id
      mari-onnx inputs model.onnx -u 'user_*' --batch 200
    """
    import mari_onnx

    output.begin_reports(report_files, model, *([asked["requests"]] if asked["requests"] else []))
    with progress(quiet=quiet) as on_progress:
        report = mari_onnx.inputs(model, progress=on_progress, **asked)
    output.hand_over(report, report_files, [], quiet=quiet, verbose=verbose, form=form)
