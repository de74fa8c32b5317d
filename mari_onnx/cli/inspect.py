"""`mari-onnx inspect`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import options, output


@click.command(cls=options.WithGuard, short_help="Show which inputs belong to the user, and what could be gained.")
@click.argument("model", metavar="MODEL.onnx", type=options.FILE)
@options.asked
@options.form
@options.report_files
@options.configured
@options.verbosity
def inspect(model: Path, form: str, report_files: tuple[Path, ...], quiet: bool, verbose: bool, **asked: Any) -> None:
    """Show which inputs belong to the user, what each product costs, and what could be gained.

    No model is run, and none is written.

    \b
    Examples:
      mari-onnx inspect model.onnx
      mari-onnx inspect model.onnx -u 'user_*' --batch 200 -v
      mari-onnx inspect model.onnx -u 'user_*' --request-key user_id --guard
      mari-onnx inspect model.onnx -u 'user_*' --format json | jq .cost_after
      mari-onnx inspect model.onnx -u 'user_*' --report page.html
    """
    import mari_onnx

    output.begin_reports(report_files, model)
    report = mari_onnx.inspect(model, **asked)
    output.hand_over(report, report_files, [], quiet=quiet, verbose=verbose, form=form)
