"""The column map: which column of the logs holds which input of the model, and how its values become the input's.

    [inputs]
    user_id = "uid"                 # the input `user_id` is the column `uid`

    [inputs.user_history]
    column = "clicks"               # the column; without it, the one of the input's name
    pad = 0                         # lists of several lengths are filled up with this value
    side = "start"                  # at their start; without it, at their end
    length = 50                     # to this length, where the model has any; without it, to the longest of a request
    keep = "last"                   # of longer lists, the last (or first) values are kept; without it, they are refused
    null = 0                        # in place of missing values, which are refused without it

    [inputs.scene]
    value = 3                       # the same value in all rows, and no column

An input that the map does not name is the column of its name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mari_onnx.errors import UserError

Number = int | float | bool | str


@dataclass(frozen=True)
class Column:
    """How an input is read; the fields are the keys of the map (see above)."""

    column: str
    pad: Number | None = None
    side: Literal["start", "end"] = "end"
    length: int | None = None
    keep: Literal["first", "last"] | None = None
    null: Number | None = None
    value: Number | None = None


KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "column": ((str,), "the name of a column"),
    "pad": ((int, float, bool, str), "a value"),
    "side": ((str,), '"start" or "end"'),
    "length": ((int,), "a whole number from 1 on"),
    "keep": ((str,), '"first" or "last"'),
    "null": ((int, float, bool, str), "a value"),
    "value": ((int, float, bool, str), "a value"),
}
"""The keys of an input: the types that a value may have, and what it is in words."""

WORDS = {"side": ("start", "end"), "keep": ("first", "last")}

ColumnMap = Mapping[str, Column]

SECTION = "inputs"


def read(path: Path) -> ColumnMap:
    """The map in a file. Raises UserError for one that cannot be read, and for keys and values that mean nothing."""
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"the column map {path} does not exist", "mari-onnx inputs --write-map writes one.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}", 'A line of it is like: user_id = "uid".') from error
    for section in stored:
        if section != SECTION or not isinstance(stored[section], dict):
            raise UserError(f"{path} has {section!r}", f"A column map has the section [{SECTION}] alone.")
    return {name: _column(path, name, given) for name, given in stored.get(SECTION, {}).items()}


def _column(path: Path, name: str, given: object) -> Column:
    if isinstance(given, str):
        return Column(given)
    if not isinstance(given, dict):
        raise UserError(f"{path}: input `{name}` is {given!r}", f'Give the name of a column: {name} = "uid".')
    for key, value in given.items():
        if key not in KEYS:
            raise UserError(f"{path}: input `{name}` has the key {key!r}", f"The keys are {', '.join(KEYS)}.")
        kinds, words = KEYS[key]
        fits = isinstance(value, kinds) and value in WORDS.get(key, (value,))
        if not fits or (key == "length" and (isinstance(value, bool) or value < 1)):
            raise UserError(f"{path}: {key} of input `{name}` is {value!r}", f"It has to be {words}.")
    if "value" in given and len(given) > 1:
        others = ", ".join(key for key in given if key != "value")
        raise UserError(
            f"{path}: input `{name}` has a value in all rows, and {others} besides", "Leave one of them out."
        )
    return Column(**{"column": name, **given})


def as_toml(columns: ColumnMap, notes: Mapping[str, str]) -> str:
    """The map as a file has it, with a comment before each input that has a note."""
    lines = ["# Which column of the logs holds which input of the model; see docs/traffic.md", f"[{SECTION}]"]
    for name, column in columns.items():
        if name in notes:
            lines += [f"# {line}" for line in notes[name].splitlines()]
        given = {each.name: getattr(column, each.name) for each in fields(Column)}
        shown = {key: value for key, value in given.items() if value is not None and (key, value) != ("side", "end")}
        if set(shown) == {"column"}:
            lines.append(f"{_key(name)} = {_value(column.column)}")
        else:
            inner = ", ".join(f"{key} = {_value(value)}" for key, value in shown.items())
            lines.append(f"{_key(name)} = {{ {inner} }}")
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
