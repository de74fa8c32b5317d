"""`mari-onnx precompute`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import engines, options, output
from mari_onnx.cli.progress import progress


@click.command(short_help="Run the item model of a split over a table.")
@click.argument("part", metavar="PART.onnx", type=options.FILE)
@click.option(
    "--table",
    metavar="PATTERN",
    multiple=True,
    required=True,
    help="Parquet files with a row for each item: a quoted pattern, a folder, or an address of fsspec. May be given "
    "several times.",
)
@click.option("--out", metavar="FOLDER", type=options.FILE, required=True, help="The folder of the store.")
@click.option(
    "--key",
    metavar="COLUMN",
    help="The column that tells rows apart.  [default: the only one of ids that the model takes]",
)
@engines.columns
@engines.engine
@click.option("--overwrite", is_flag=True, help="Remove parts of another model or table from the folder.")
@options.bounded
@options.form
@options.report_files
@options.configured
@options.verbosity
def precompute(
    part: Path, form: str, report_files: tuple[Path, ...], quiet: bool, verbose: bool, **chosen: Any
) -> None:
    """Run a model over a table, such as the item model of a split over all items.

    Each row group of the table becomes a Parquet file with the key of each row, and a list of numbers for each output.
    The metadata of each file has the fingerprint of the split, so that a service can tell that the ranking model is of
    the same one. A second run computes only what is missing. Needs pyarrow: pip install 'mari-onnx[traffic]'.

    \b
    Examples:
      mari-onnx precompute item.onnx --table 'items/*.parquet' --out store --key item_id
      mari-onnx precompute item.onnx --table items.parquet --out store --columns map.toml --overwrite
    """
    import mari_onnx

    output.begin_reports(report_files, part)
    with progress(quiet=quiet) as on_progress:
        report = mari_onnx.precompute(part, progress=on_progress, **chosen)
    output.hand_over(report, report_files, [], quiet=quiet, verbose=verbose, form=form)
