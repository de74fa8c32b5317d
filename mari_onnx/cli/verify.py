"""`mari-onnx verify`"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mari_onnx.cli import calls, options, output, policies
from mari_onnx.cli.progress import progress
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EFFORTS
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME

if TYPE_CHECKING:
    from mari_onnx.report.model import Report


FAILING = ".failing.npz"
"""The ending of the file of the smallest inputs that fail, unless it is given."""


@click.command(short_help="Tell whether two models make the same predictions.")
@click.argument("reference", metavar="REF.onnx", type=options.FILE)
@click.argument("optimized", metavar="OPT.onnx", type=options.FILE)
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
    help="Draw calls that mix users: rows with the same value of this input, an id, are one request's. May be given "
    "several times.",
)
@options.parts
@click.option(
    "--batch",
    "batches",
    metavar="N",
    type=click.IntRange(min=0),
    multiple=True,
    help="Number of candidates to compare at. May be given several times.  [default: those of --effort]",
)
@click.option(
    "--effort",
    type=click.Choice(list(EFFORTS)),
    default=DEFAULT_EFFORT,
    show_default=True,
    help=f"How much to run. {'; '.join(f'{name}: {effort.words}' for name, effort in EFFORTS.items())}. When the time "
    "is over, the cases beside the first at each number of candidates are left out, with a note.",
)
@calls.runtime(f"Compare in this runtime besides {DEFAULT_RUNTIME}.")
@calls.drawn
@click.option(
    "--rtol",
    metavar="X",
    type=click.FloatRange(min=0),
    help="Compare plainly: |difference| <= ATOL + RTOL * the output's largest magnitude.",
)
@click.option("--atol", metavar="X", type=click.FloatRange(min=0), help="The absolute part of that; 0 without it.")
@click.option(
    "--failing",
    metavar="FILE.npz",
    type=options.FILE,
    help="Where to write the smallest inputs that fail, if any do.  [default: OPT.failing.npz in the working "
    "directory]",
)
@policies.allow_notes
@options.bounded
@options.form
@options.report_files
@options.configured
@options.verbosity
def verify(
    reference: Path,
    optimized: Path,
    form: str,
    report_files: tuple[Path, ...],
    quiet: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Tell whether two models make the same predictions, by running both.

    Both models get the same calls, at several numbers of candidates, with distinct candidates and valid ids. Two
    questions are asked: is OPT.onnx the same function (in float64), and is it as accurate as REF.onnx (in the model's
    own precision)? No tolerance has to be chosen; with --rtol or --atol the outputs are compared plainly instead.

    If the models differ, the exit code is 1. The report names the first tensor that differs, and the smallest inputs
    that show the difference are written to a file. OPT.onnx may have another signature than REF.onnx, as `optimize`
    and `split` write it.

    \b
    Examples:
      mari-onnx verify model.onnx fast.onnx -u 'user_*'
      mari-onnx verify model.onnx fast.onnx -u 'user_*' --batch 1 --batch 1000 --seed 7
      mari-onnx verify model.onnx fast.onnx -u 'user_*' --inputs requests.jsonl
      mari-onnx verify model.onnx fast.onnx -u 'user_*' --format github --report verified.xml
      mari-onnx verify model.onnx fast.onnx -u 'user_*' --rtol 1e-5 --atol 1e-7
      mari-onnx verify model.onnx rank.onnx -u 'user_*' --user-model user.onnx
    """
    import mari_onnx
    from mari_onnx.document.save import check_writable
    from mari_onnx.document.staging import LONGEST_NAME, cut_name

    parts = (chosen["user_model"], chosen["item_model"])
    output.begin_reports(report_files, reference, optimized, *(part for part in parts if part is not None))
    chosen["batches"] = chosen["batches"] or None
    if chosen["failing"] is not None:
        check_writable(chosen["failing"])
    elif chosen["inputs"] is None and os.access(Path.cwd(), os.W_OK):
        chosen["failing"] = Path(cut_name(optimized.stem, LONGEST_NAME - len(FAILING)) + FAILING)
    with progress(quiet=quiet) as on_progress:
        report = mari_onnx.verify(reference, optimized, progress=on_progress, **chosen)
    command = _command(reference, optimized, chosen)
    output.hand_over(_reproducible(report, command), report_files, [], quiet=quiet, verbose=verbose, form=form)


REPRODUCING = {
    "user_inputs": "-u",
    "request_key": "--request-key",
    "request_index": "--request-index",
    "user_model": "--user-model",
    "item_model": "--item-model",
    "rtol": "--rtol",
    "atol": "--atol",
}
"""The options that a command needs to show a failure again on the inputs in a file, by parameter."""


def _command(reference: Path, optimized: Path, chosen: Mapping[str, Any]) -> list[str]:
    """The command with the options that matter when the inputs come from a file; `--seed` and `--batch` do not."""
    command = ["mari-onnx", "verify", str(reference), str(optimized)]
    for name, option in REPRODUCING.items():
        given = chosen[name]
        for one in given if isinstance(given, tuple) else () if given is None else (given,):
            command += [option, str(one)]
    return command


def _reproducible(report: Report, command: list[str]) -> Report:
    """The report with the command that shows the failure again, on the inputs that were written to a file."""
    verification = report.verification
    if verification is None or verification.divergence is None or verification.divergence.inputs is None:
        return report
    found = verification.divergence
    again = shlex.join([*command, "--inputs", str(found.inputs)])
    return replace(report, verification=replace(verification, divergence=replace(found, command=again)))
