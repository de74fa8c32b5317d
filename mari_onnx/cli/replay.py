"""`mari-onnx replay`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mari_onnx.cli import engines, options, output
from mari_onnx.cli.progress import progress

WORST, JOURNAL = ".worst.jsonl", ".replay.jsonl"
"""The endings of the files of the worst requests and of the journal, unless they are given."""


@click.command(short_help="Compare two models on recorded requests.")
@click.argument("reference", metavar="REF.onnx", type=options.FILE)
@click.argument("optimized", metavar="OPT.onnx", type=options.FILE)
@click.option(
    "--requests",
    metavar="PATTERN",
    multiple=True,
    required=True,
    help="Parquet files of recorded requests: a quoted pattern, a folder, or an address of fsspec. May be given "
    "several times. Folders such as date=2026-11-30 are a column.",
)
@click.option(
    "--request-id",
    metavar="COLUMN",
    required=True,
    help="The column of the ids of requests. Rows with one id follow each other, and are candidates of one request.",
)
@engines.columns
@options.user_inputs
@click.option(
    "--request-index",
    metavar="NAME",
    help="The integer input of OPT.onnx that has, for each candidate, the number of the request's row.",
)
@click.option(
    "--request-key",
    metavar="INPUT",
    multiple=True,
    help="Calls mix users: rows of a request with the same value of this input, an id, are one user's. May be given "
    "several times.",
)
@options.parts
@click.option(
    "--sort",
    is_flag=True,
    help="Sort the logs by that column first, into temporary files: rows of a request need not be together then.",
)
@click.option(
    "--sample",
    metavar="SHARE",
    type=click.FloatRange(min=0, min_open=True, max=1),
    default=1.0,
    show_default=True,
    help="Replay this share of the requests, drawn by their ids: the same ones in each run.",
)
@engines.engine
@click.option("--rtol", metavar="X", type=click.FloatRange(min=0), help="Compare plainly, as verify does.")
@click.option("--atol", metavar="X", type=click.FloatRange(min=0), help="The absolute part of that; 0 without it.")
@click.option(
    "--worst",
    metavar="FILE.jsonl",
    type=options.FILE,
    help="Where to write the worst requests, which verify --inputs runs.  [default: OPT.worst.jsonl in the working "
    "directory]",
)
@click.option(
    "--resume", is_flag=True, help="Go on with an interrupted replay: row groups in its journal are not done again."
)
@click.option(
    "--journal",
    metavar="FILE.jsonl",
    type=options.FILE,
    help="Where finished row groups are written down until the end.  [default: OPT.replay.jsonl in the working "
    "directory]",
)
@options.bounded
@options.form
@options.report_files
@options.configured
@options.verbosity
def replay(
    reference: Path,
    optimized: Path,
    form: str,
    report_files: tuple[Path, ...],
    quiet: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Tell whether two models make the same predictions on recorded requests, such as a day of logs.

    All requests are run through both models, and differences, order and latency are reported by quantile. The worst
    requests are verified as `verify` does, which is the verdict, and saved. The promise that rows of the user's inputs
    are identical within a request is checked on all of them.

    If the predictions differ, or a promise is broken, the exit code is 1. Memory does not grow with the logs. Needs
    pyarrow: pip install 'mari-onnx[traffic]'.

    \b
    Examples:
      mari-onnx replay model.onnx fast.onnx -u 'user_*' --requests 'logs/*.parquet' --request-id id
      mari-onnx replay model.onnx fast.onnx -u 'user_*' --requests logs --request-id id --sample 0.01
      mari-onnx replay model.onnx fast.onnx -u 'user_*' --requests logs --request-id id --resume
      mari-onnx replay model.onnx rank.onnx -u 'user_*' --requests logs --request-id id
                       --user-model user.onnx
    """
    import mari_onnx
    from mari_onnx.document.save import check_writable
    from mari_onnx.document.staging import LONGEST_NAME, cut_name

    output.begin_reports(report_files, reference, optimized)
    for name, ending in (("worst", WORST), ("journal", JOURNAL)):
        if chosen[name] is None:
            chosen[name] = Path(cut_name(optimized.stem, LONGEST_NAME - len(ending)) + ending)
        check_writable(chosen[name])
    with progress(quiet=quiet) as on_progress:
        report = mari_onnx.replay(reference, optimized, progress=on_progress, **chosen)
    output.hand_over(report, report_files, [], quiet=quiet, verbose=verbose, form=form)
