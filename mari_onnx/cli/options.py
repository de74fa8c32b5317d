"""Options that several commands have, and what they do with their report in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mari_onnx.errors import UserError

if TYPE_CHECKING:
    from mari_onnx.report.model import Report

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)

user_inputs = click.option(
    "-u",
    "--user-input",
    "user_inputs",
    metavar="GLOB",
    multiple=True,
    help="Inputs that hold the user (the request) and not a candidate, by name or pattern: 'user_*'. "
    "May be given several times. Inputs that show it by their shape need not be named.",
)

batch = click.option(
    "--batch",
    metavar="N",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Candidates of a typical request: what pays is judged, and costs are counted, at this number.",
)

report_file = click.option(
    "--report",
    "report_file",
    metavar="FILE",
    type=FILE,
    help="Also write the report, whatever the result, and replacing an older one: as Markdown (.md), JUnit XML (.xml) "
    "or JSON.",
)

form = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown", "junit", "github"]),
    default="text",
    show_default=True,
    help="How to show the report; github: as annotations of a workflow.",
)


def verbosity(command: Command) -> Command:
    """Add `-q` and `-v`, which the command gets as `quiet` and `verbose`."""
    verbose = click.option("-v", "--verbose", is_flag=True, help="Show every remark, and why.")
    quiet = click.option("-q", "--quiet", is_flag=True, help="Show the verdict alone, in one line.")
    return quiet(verbose(command))


def check_report_file(report_file: Path | None, *others: Path) -> None:
    """Raise `UserError` unless a report can be written there without losing a model."""
    from mari_onnx.document import check_writable

    if report_file is None:
        return
    if report_file.resolve() in [other.resolve() for other in others]:
        raise UserError(f"{report_file} is both a model and the report", "Give the report another name.")
    check_writable(report_file)


def hand_over(report: Report, report_file: Path | None, *, quiet: bool, verbose: bool, form: str = "text") -> None:
    """Write the report where it was asked for, show it, and end with exit code 1 if verification failed."""
    from mari_onnx.document import write_file
    from mari_onnx.report import render, view_of

    if report_file is not None:
        write_file(report_file, render(report, view_of(report_file)).encode("utf-8", "backslashreplace"))
    show(report, quiet=quiet, verbose=verbose, form=form)
    if report.verification is not None and not report.verification.passed:
        raise click.exceptions.Exit(1)


def show(report: Report, *, quiet: bool, verbose: bool, form: str = "text") -> None:
    """Print the report; for people in colour and to the width of the terminal, if there is one."""
    from rich.console import Console

    from mari_onnx.report import render
    from mari_onnx.report.text import to_text

    if form != "text":
        click.echo(render(report, form), nl=False)
        return

    console = Console()
    text = to_text(report, verbosity=verbose - quiet, terminal=console.is_terminal, width=console.width)
    click.echo(text, nl=False, color=console.is_terminal)
