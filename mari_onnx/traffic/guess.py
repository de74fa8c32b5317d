"""The column map for a file of logs, as far as it can be guessed: by names, and by the first rows.

What was guessed is said in a comment, for the user to look at. What could not be is a line that has to be filled in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from mari_onnx.document.staging import write_file
from mari_onnx.errors import UserError
from mari_onnx.traffic.arrow import compute
from mari_onnx.traffic.cells import depth
from mari_onnx.traffic.columns import Column, as_toml
from mari_onnx.traffic.files import File, Piece, batches, found
from mari_onnx.verification.inputs.draw import Input

FIRST = 10_000
"""The rows that are looked at."""

NEAR = 0.7
"""How much alike two names are at least, where 1 is equal, that one is guessed to be the other."""


def write_map(path: Path, inputs: Sequence[Input], requests: Path) -> None:
    """Write the column map for a file, whole or not at all. Raises UserError where one of the two cannot be used."""
    if path.exists():
        raise UserError(f"{path} already exists", "Give another name: what was changed in a map is not overwritten.")
    (file, *_) = found([str(requests)])
    columns, notes = dict[str, Column](), dict[str, str]()
    taken = {each.name for each in inputs if each.name in file.types}
    for each in inputs:
        name, why = _name(each.name, [column for column in file.types if column not in taken], file.types)
        taken.add(name)
        columns[each.name] = Column(name)
        said = [why] if why else []
        if name in file.types:
            columns[each.name], more = _values(file, each, columns[each.name])
            said += more
        if said:
            notes[each.name] = "\n".join(said)
    write_file(path, as_toml(columns, notes).encode())


def _name(wanted: str, free: Sequence[str], there: Collection[str]) -> tuple[str, str]:
    """The column of an input, and how it was guessed; "" where it has the same name."""
    if wanted in there:
        return wanted, ""
    plain = {re.sub("[^a-z0-9]", "", name.lower()): name for name in free}
    near = difflib.get_close_matches(re.sub("[^a-z0-9]", "", wanted.lower()), plain, 1, NEAR)
    if near:
        return plain[near[0]], "guessed: the column whose name is the most alike"
    return wanted, f"not found: fill in the column; not taken are {', '.join(free) or 'none'}"


def _values(file: File, each: Input, column: Column) -> tuple[Column, list[str]]:
    """The column with what its values in the first rows need, and how that was guessed."""
    said, lists = [], depth(file.types[column.column])
    of_one = each.dims[2:] if each.dims[1:2] == (each.listed,) else each.dims[1:]
    length = of_one[0] if of_one else None
    nulls, lengths = False, set[int]()
    for group, rows in enumerate(file.rows[:1]):
        for _, batch in batches(Piece(file.place(group), 0, min(rows, FIRST)), [column.column]):
            array = batch[column.column]
            nulls |= bool(array.null_count)
            if 0 < lists <= len(of_one):
                lengths |= set(compute.unique(compute.list_value_length(array).drop_null()).to_pylist())
                nulls |= bool(array.flatten().null_count)
    filled = "" if each.dtype.kind == "U" else 0
    if nulls:
        column = replace(column, null=filled)
        said.append(f"guessed: values are missing, and {filled!r} takes their place")
    longest = length if isinstance(length, int) else max(lengths, default=0)
    if any(each < longest for each in lengths):
        column = replace(column, pad=filled)
        said.append(f"guessed: lists have {min(lengths)} to {max(lengths)} values, and are filled up with {filled!r}")
    if isinstance(length, int) and any(each > length for each in lengths):
        column = replace(column, keep="last")
        said.append(f"guessed: the model takes {length} values, and of {max(lengths)} the last are kept")
    return column, said
