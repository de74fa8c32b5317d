"""`mari-onnx inspect`"""

from __future__ import annotations

from pathlib import Path

import click

from mari_onnx.cli import options


@click.command(short_help="Show what belongs to the user, and what could be gained.")
@click.argument("model", metavar="MODEL.onnx", type=options.FILE)
@options.user_inputs
@options.batch
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to show it."
)
@options.verbosity
def inspect(model: Path, user_inputs: tuple[str, ...], batch: int, form: str, quiet: bool, verbose: bool) -> None:
    """Show what belongs to the user, what each product costs, and what could be gained. Nothing is run or written.

    \b
    Examples:
      mari-onnx inspect model.onnx
      mari-onnx inspect model.onnx -u 'user_*' --batch 200 -v
      mari-onnx inspect model.onnx -u 'user_*' --format json | jq .cost_after
    """
    import mari_onnx
    from mari_onnx.report.as_json import to_json

    report = mari_onnx.inspect(model, user_inputs=user_inputs, batch=batch)
    if form == "json":
        click.echo(to_json(report), nl=False)
    else:
        options.show(report, quiet=quiet, verbose=verbose)
