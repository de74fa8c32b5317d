"""Models that others made, through `optimize`, beside onnxruntime: `make suite`.

python -m tests.suite                          onnx's node tests in every setting, and models inside packages
python -m tests.suite --part 1/20              every 20th run of them
python -m tests.suite --only test_gather_0     the runs of one test, here, with the models as ONNX text
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import click
import onnx

from mari_onnx.ir import validate
from tests.suite.node_tests import NodeTest, node_tests
from tests.suite.packages import download, package_tests
from tests.suite.runs import FAULTS, FINE, Outcome, examine, verify
from tests.suite.settings import NotApplicableError, Variation, declarations, variations, verified, wrap
from tests.suite.workers import EndedError, Say, run, serve

SECONDS = 330
"""How long a run may take; a command ends within 300 by itself, and onnxruntime alone does not on some of the tests."""


@cache
def all_tests() -> Mapping[str, NodeTest]:
    """The tests of the installed onnx, and the models in packages as far as they have been downloaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx computes its expectations with overflows
        return {**node_tests(), **package_tests()}


def all_variations() -> list[Variation]:
    """The runs, in the order of the tests."""
    found: list[Variation] = []
    for test in all_tests().values():
        found += declarations(test) if "==" in test.name else variations(test)
        if not test.name.startswith("onnx=="):  # they are verified in the versions of the installed onnx
            found += verified(test)
    return found


def do(job: Sequence[Any], say: Say) -> dict[str, Any] | None:
    """A run; None if the setting does not apply to the test."""
    variation = Variation(*job)
    try:
        wrapped = wrap(all_tests()[variation.test], variation)
    except NotApplicableError:
        return None
    way = verify if variation.verified else examine
    return asdict(way(wrapped, say))


def row(variation: Variation) -> str:
    """The row of the table in which a run is counted."""
    if "==" in variation.test:
        return "in packages, verified" if variation.verified else "in packages"
    return "verified" if variation.verified else variation.setting


def outcome(result: dict[str, Any] | EndedError) -> Outcome:
    """What became of a run, also of one whose process ended."""
    if not isinstance(result, EndedError):
        return Outcome(**result)
    if result.phase == "original":
        return Outcome("onnxruntime died", str(result))
    return Outcome("too slow" if result.too_slow else "died", str(result))


class Table:
    """Runs by setting and kind."""

    def __init__(self) -> None:
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.macs: dict[str, list[int]] = {}

    def add(self, setting: str, found: Outcome) -> None:
        self.kinds[setting, found.kind] += 1
        sums = self.macs.setdefault(setting, [0, 0])
        for i, macs in enumerate(found.macs):
            sums[i] += macs

    @property
    def faults(self) -> int:
        return sum(count for (_, kind), count in self.kinds.items() if kind in FAULTS)

    def show(self) -> None:
        kinds = [k for k in (*FINE, *FAULTS) if any(kind == k for _, kind in self.kinds)]
        rows = [["setting", "runs", *kinds, "multiply-adds before", "after"]]
        for setting, (before, after) in self.macs.items():
            counts = [self.kinds[setting, kind] for kind in kinds]
            rows.append([setting, *(f"{n:,}" for n in (sum(counts), *counts, before, after))])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _part(text: str | None) -> tuple[int, int]:
    first, _, step = (text or "1/1").partition("/")
    return int(first) - 1, int(step)


@click.command()
@click.option("--part", metavar="I/N", help="Every Nth run, from the Ith on.")
@click.option("--only", metavar="TEST", help="The runs of one test, in this process.")
@click.option("--setting", help="The runs in one setting.")
@click.option("--workers", type=int, default=os.cpu_count() or 1)
@click.option("--download", "downloading", is_flag=True, help="Download the packages first, if they are not there.")
@click.option("--serve", "serving", is_flag=True, hidden=True)
def main(
    part: str | None, only: str | None, setting: str | None, workers: int, downloading: bool, serving: bool
) -> None:
    """Run them, and show a table; the exit code is 1 for any fault."""
    validate.ENABLED = True
    if serving:
        all_tests()
        serve(do)
        return
    if downloading:
        download()
    jobs = [v for v in all_variations() if setting in (None, row(v))]
    if only is not None:
        for variation in (v for v in jobs if v.test == only):
            _show_one(variation)
        return
    first, step = _part(part)
    jobs = jobs[first::step]
    started, table = time.monotonic(), Table()
    command = [sys.executable, "-m", "tests.suite", "--serve"]
    for variation, result in zip(jobs, run(command, jobs, workers, SECONDS), strict=True):
        if result is None:
            continue
        found = outcome(result)
        table.add(row(variation), found)
        if found.kind in FAULTS or found.kind == "onnxruntime died":
            click.echo(f"{found.kind}: {variation}\n    {found.detail[:600]}")
    table.show()
    click.echo(f"{table.faults} faults, {time.monotonic() - started:.0f} s")
    sys.exit(bool(table.faults))


def _show_one(variation: Variation) -> None:
    result = do(variation, lambda phase: None)
    if result is not None:
        found = Outcome(**result)
        click.echo(f"{found.kind}: {variation} {found.detail}")
        if found.kind in FAULTS:
            click.echo(onnx.printer.to_text(wrap(all_tests()[variation.test], variation).model))


if __name__ == "__main__":
    main()
