"""`mari-onnx verify`"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mari_onnx.cli import options
from mari_onnx.cli.progress import progress
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EFFORTS
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME, RUNTIMES

if TYPE_CHECKING:
    from mari_onnx.report.model import Report


def _ranges(_ctx: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, tuple[float, float]]:
    """`user_id=0:999` as a name and two numbers."""
    found = {}
    for one in given:
        name, _, limits = one.rpartition("=")
        try:
            low, high = (float(limit) for limit in limits.split(":"))
        except ValueError:
            raise click.BadParameter(f"{one!r} is not of the form NAME=LOW:HIGH, as in user_id=0:999") from None
        if not name:
            raise click.BadParameter(f"{one!r} names no input; it should look like user_id=0:999")
        found[name] = (low, high)
    return found


@click.command(short_help="Tell whether two models make the same predictions.")
@click.argument("reference", metavar="REF.onnx", type=options.FILE)
@click.argument("optimized", metavar="OPT.onnx", type=options.FILE)
@options.user_inputs
@click.option(
    "--request-index", metavar="NAME", help="OPT.onnx takes one row a request, and this input says which one."
)
@click.option(
    "--request-key", metavar="INPUT", multiple=True, help="The calls mix users, told apart by this input, an id."
)
@click.option("--user-model", metavar="USER.onnx", type=options.FILE, help="OPT.onnx takes values that this computes.")
@click.option("--item-model", metavar="ITEM.onnx", type=options.FILE, help="The same, for what the items have.")
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
    type=click.Choice(list(EFFORTS)),
    default=DEFAULT_EFFORT,
    show_default=True,
    help=f"How much to run. {'; '.join(f'{name}: {effort.words}' for name, effort in EFFORTS.items())}. What is not "
    "essential is left out, with a note, when the time is over.",
)
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default=DEFAULT_RUNTIME,
    show_default=True,
    help="Compare in another runtime, too (pip install 'mari-onnx[openvino]').",
)
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs.")
@click.option(
    "--inputs",
    metavar="PATH",
    type=options.FILE,
    help="Run recorded inputs instead of drawn ones: .npz, .jsonl, .parquet, or a folder of .npy or test_data_set_N.",
)
@click.option(
    "--input-range",
    "input_ranges",
    metavar="NAME=LOW:HIGH",
    multiple=True,
    callback=_ranges,
    help="Draw an input from this range, in place of the one that was traced. May be given several times.",
)
@click.option(
    "--rtol", metavar="X", type=click.FloatRange(min=0), help="Allow this much of an output's largest magnitude."
)
@click.option("--atol", metavar="X", type=click.FloatRange(min=0), help="Allow this much, absolutely.")
@click.option(
    "--failing",
    metavar="FILE.npz",
    type=options.FILE,
    help="Where to write the smallest inputs that fail, if any do.  [default: OPT.failing.npz, in this folder]",
)
@options.form
@options.report_file
@options.configured
@options.verbosity
def verify(
    reference: Path,
    optimized: Path,
    form: str,
    report_file: Path | None,
    quiet: bool,
    verbose: bool,
    **wishes: Any,
) -> None:
    """Tell whether two models make the same predictions, by running both.

    Two questions are asked at several numbers of candidates, with distinct candidates and valid ids: is it the same
    function (in float64), and is it as accurate (in the model's own precision)? No tolerance has to be chosen;
    --rtol and --atol replace the answer by a plain comparison. The exit code is 1 if the models differ; the report
    then says in which tensor that begins, and the smallest inputs that show it are written to a file. OPT.onnx may be
    called otherwise than REF.onnx, as `optimize` and `split` can have it.

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

    options.check_report_file(report_file, reference, optimized)
    wishes["batches"] = wishes["batches"] or None
    if wishes["failing"] is not None:
        check_writable(wishes["failing"])
    elif wishes["inputs"] is None and os.access(Path.cwd(), os.W_OK):
        wishes["failing"] = Path(f"{optimized.stem}.failing.npz")
    with progress(quiet=quiet) as on_progress:
        report = mari_onnx.verify(reference, optimized, progress=on_progress, **wishes)
    command = _command(reference, optimized, wishes)
    options.hand_over(_reproducible(report, command), report_file, [], quiet=quiet, verbose=verbose, form=form)


AGAIN = {
    "user_inputs": "-u",
    "request_key": "--request-key",
    "request_index": "--request-index",
    "user_model": "--user-model",
    "item_model": "--item-model",
    "rtol": "--rtol",
    "atol": "--atol",
}
"""The options that a failure needs to be reproduced on its own inputs."""


def _command(reference: Path, optimized: Path, wishes: Mapping[str, Any]) -> list[str]:
    """The command, as far as it matters once the inputs are there."""
    command = ["mari-onnx", "verify", str(reference), str(optimized)]
    for name, option in AGAIN.items():
        given = wishes[name]
        for one in given if isinstance(given, tuple) else () if given is None else (given,):
            command += [option, str(one)]
    return command


def _reproducible(report: Report, command: list[str]) -> Report:
    """The report, with the command that fails again on the inputs that were written."""
    verification = report.verification
    if verification is None or verification.divergence is None or verification.divergence.inputs is None:
        return report
    found = verification.divergence
    again = shlex.join([*command, "--inputs", str(found.inputs)])
    return replace(report, verification=replace(verification, divergence=replace(found, command=again)))
