"""Numbers on the command line: several of them, and numbers of bytes."""

from __future__ import annotations

import re

import click


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers from 1 on, separated by commas: `1,10,50`. A configuration has one of them, or a list."""

    name = "numbers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        given = value if isinstance(value, tuple | list) else str(value).split(",")
        numbers = [str(each).strip() for each in given]
        if not numbers or not all(each.isdecimal() and int(each) for each in numbers):
            self.fail(f"{value!r} is not one or more whole numbers from 1 on, as in 1,10,50", param, ctx)
        return tuple(map(int, numbers))


class Bytes(click.ParamType[int]):
    """A number of bytes: `200000000`, `200MB` or `1.5GB`."""

    name = "bytes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a number of bytes, as in 200MB", param, ctx)
        return round(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]])


fold_tables = click.option(
    "--fold-tables",
    metavar="BYTES",
    type=Bytes(),
    default=0,
    help="Multiply tables of embeddings by the weights of the products that read them, where that saves time: the file "
    "grows, by at most so much (200MB, say).",
)
