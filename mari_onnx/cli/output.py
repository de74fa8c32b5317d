"""How a command writes and shows its report, and what it remembers of the files that it wrote."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

import click

from mari_onnx.errors import UserError

if TYPE_CHECKING:
    from mari_onnx.report.model import ModelFacts, Report
    from mari_onnx.report.split import Part

Facts = TypeVar("Facts", "ModelFacts", "Part")

SETTINGS = "mari-onnx configuration"
"""The key under which a context has the path of the file of settings that was read."""


def begin_reports(report_files: Sequence[Path], *others: Path) -> None:
    """Remove older reports, so that a run which fails before it writes one leaves none that might be taken for its own.

    Raises `UserError` unless a report can be written to each file. `others` are models, which none may replace.
    """
    from mari_onnx.document.save import check_writable
    from mari_onnx.report import view_of

    for file in report_files:
        if file.resolve() in [other.resolve() for other in others]:
            raise UserError(f"{file} is both a model and the report", "Give --report another file name.")
        check_writable(file)
        view_of(file)
    for file in report_files:
        file.resolve().unlink(missing_ok=True)


def with_file(report: Report) -> Report:
    """The report with the path of the file of settings that was read."""
    if report.configuration is None:
        return report
    file = click.get_current_context().meta.get(SETTINGS)
    return replace(report, configuration=replace(report.configuration, file=file))


@contextmanager
def postponed(problems: list[Exception]) -> Iterator[None]:
    """Keep what is raised inside until the verdict is shown: `hand_over` raises it then."""
    try:
        yield
    except Exception as error:
        problems.append(error)


def as_written(facts: Facts, file: Path) -> Facts:
    """The facts about a model with the digest of its file, in which external data may have another name."""
    from mari_onnx.document.document import file_sha256

    return replace(facts, sha256=file_sha256(file))


_WRITTEN = "mari-onnx written files"


def was_written(files: Sequence[Path]) -> None:
    """Remember the files that this command has written, for the message of whatever ends it."""
    click.get_current_context().meta.setdefault(_WRITTEN, []).extend(files)


def written_files(ctx: click.Context) -> list[Path]:
    """The files that the command of a context has written so far."""
    files: list[Path] = ctx.meta.get(_WRITTEN, [])
    return files


STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable of a GitHub workflow with the file that a step adds its summary to, as Markdown."""


def hand_over(
    report: Report,
    report_files: Sequence[Path],
    problems: list[Exception],
    *,
    quiet: bool,
    verbose: bool,
    form: str = "text",
) -> None:
    """Write the report where it was asked for, show it, and end with exit code 1 if the result did not pass.

    `problems` are what was postponed, and what keeps the report from being written or shown is one more. After the
    verdict the first of them is raised; where the result did not pass, that decides the exit code, and the problems are
    only said.
    """
    from mari_onnx.document.staging import write_file
    from mari_onnx.report import render, view_of

    report = with_file(report)
    for file in report_files:
        with postponed(problems):
            write_file(file, render(report, view_of(file)).encode("utf-8", "backslashreplace"), was_written)
    with postponed(problems):
        show(report, quiet=quiet, verbose=verbose, form=form)
    summary = os.environ.get(STEP_SUMMARY) if form == "github" else None
    if summary:
        with postponed(problems), Path(summary).open("a", encoding="utf-8") as added_to:
            added_to.write(render(report, "markdown"))
    if not report.passed:
        for problem in problems:
            click.echo(f"Error: {problem}", err=True)
        raise click.exceptions.Exit(1)
    if problems:
        raise problems[0]


def show(report: Report, *, quiet: bool, verbose: bool, form: str = "text") -> None:
    """Print the report; as text on a terminal, in colour and to its width."""
    from rich.console import Console

    from mari_onnx.report import render
    from mari_onnx.report.as_text import to_text

    if form != "text":
        show_text(render(report, form))
        return

    console = Console()
    text = to_text(report, verbosity=verbose - quiet, terminal=console.is_terminal, width=console.width)
    show_text(text, color=console.is_terminal)


def silence(stream: TextIO) -> None:
    """Let what is left in a stream go nowhere: Python writes it once more at the end, and would fail again."""
    with suppress(OSError, ValueError):
        number = stream.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def show_text(text: str, *, color: bool = False) -> None:
    """Print to the standard output. Raises `UserError` where that is full; nobody who reads it is a BrokenPipeError."""
    try:
        click.echo(text, nl=False, color=color)
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise UserError(
            f"the standard output cannot be written: {error.strerror}", "Send it elsewhere, or make room."
        ) from error
