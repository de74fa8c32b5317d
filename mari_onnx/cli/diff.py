"""`mari-onnx diff`"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mari_onnx.cli import options, output

if TYPE_CHECKING:
    from mari_onnx.report.changes import Changed


@click.command(short_help="Compare two reports: today's export against yesterday's.")
@click.argument("before", metavar="A.json", type=options.FILE)
@click.argument("after", metavar="B.json", type=options.FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="Form of what is printed.",
)
def diff(before: Path, after: Path, form: str) -> None:
    """Compare two reports of one command, which --report FILE.json wrote: gain, structure, roles, verdict, remarks.

    The exit code is 1 where the second is worse: it passes less, gains at least 1 % less, refuses a product that the
    first did not, or an input does not belong to the request any more.

    \b
    Examples:
      mari-onnx diff yesterday.json today.json
      mari-onnx diff yesterday.json today.json --format markdown
    """
    from mari_onnx.report.changes import changes, read_report

    found = changes(read_report(before), read_report(after))
    if form == "json":
        output.show_text(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False) + "\n")
    else:
        output.show_text(_table(found, markdown=form == "markdown"))
    if any(each.worse for each in found):
        raise click.exceptions.Exit(1)


def _table(found: Sequence[Changed], *, markdown: bool) -> str:
    """A line for each change, with a mark where it is for the worse, and the verdict."""
    worse = sum(each.worse for each in found)
    verdict = (
        f"{worse} of {len(found)} changes are for the worse" if worse else f"{len(found)} changes, none for the worse"
    )
    header = ("", "about", "what", "before", "after")
    rows = [("✗" if each.worse else "", each.about, each.what, each.before, each.after) for each in found]
    if markdown:
        cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (header, *rows)]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        return "\n".join([verdict, "", lines[0], "|" + " --- |" * len(header), *lines[1:], ""])
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, verdict, ""])
