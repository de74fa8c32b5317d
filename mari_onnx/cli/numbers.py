"""Lists of numbers on the command line."""

from __future__ import annotations

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
