"""`mari-onnx inspect`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import options


@click.command(cls=options.WithGuard, short_help="Show which inputs belong to the user, and what could be gained.")
@click.argument("model", metavar="MODEL.onnx", type=options.FILE)
@options.asked
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the report.",
)
@options.configured
@options.verbosity
def inspect(model: Path, form: str, quiet: bool, verbose: bool, **asked: Any) -> None:
    """Show which inputs belong to the user, what each product costs, and what could be gained.

    No model is run, and none is written.

    \b
    Examples:
      mari-onnx inspect model.onnx
      mari-onnx inspect model.onnx -u 'user_*' --batch 200 -v
      mari-onnx inspect model.onnx -u 'user_*' --request-key user_id --guard
      mari-onnx inspect model.onnx -u 'user_*' --format json | jq .cost_after
    """
    import mari_onnx
    from mari_onnx.report.as_json import to_json

    report = options.with_file(mari_onnx.inspect(model, **asked))
    if form == "json":
        options.show_text(to_json(report))
    else:
        options.show(report, quiet=quiet, verbose=verbose)
