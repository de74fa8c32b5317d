"""Which inputs belong to the request, and why.

literal       leading extent 1, beside inputs whose leading extent is dynamic
declared      by the user; where the leading axis is that of the candidates, the caller repeats one row
indexed       rows that an integer input selects for each candidate
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from mari_onnx.cost import CostModel
from mari_onnx.errors import UserError
from mari_onnx.extent import ROW, symbol
from mari_onnx.interpret import Program, interpret
from mari_onnx.model import Model, shape_of
from mari_onnx.report.model import RequestInput

REQUESTS = 4
"""Requests in a batch of several, for the cost model."""


@dataclass(frozen=True)
class Sides:
    """The request-side inputs, those of them that the caller tiles, and the symbols that count candidates."""

    inputs: tuple[RequestInput, ...]
    tiled: tuple[str, ...]
    candidates: tuple[str, ...]


def leading_symbols(model: Model) -> dict[str, str]:
    """The symbol of each input's leading axis, where that is dynamic."""
    out = {}
    for info in model.inputs:
        shape = shape_of(info)
        if shape and not isinstance(shape[0], int):
            out[info.name] = shape[0] or f"{info.name}.0"
    return out


def declared_inputs(model: Model, globs: Sequence[str]) -> dict[str, str]:
    """The inputs that the globs name, and the glob that named each.

    Raises UserError for a glob that matches nothing.
    """
    names = [i.name for i in model.inputs]
    found: dict[str, str] = {}
    for glob in globs:
        matched = [n for n in names if fnmatch.fnmatchcase(n, glob)]
        if not matched:
            raise UserError(
                f"no input of the model matches the user input {glob!r}", f"its inputs are: {', '.join(names)}"
            )
        for name in matched:
            found.setdefault(name, glob)
    return found


def sides(model: Model, globs: Sequence[str], batch: int) -> Sides:
    """Decide for every input; raises UserError for a glob that matches nothing."""
    declared = declared_inputs(model, globs)
    leading = leading_symbols(model)
    known, selected, by_index = leading, set[str](), set[str]()
    if len(set(leading.values())) > 1:
        program = interpret(model, (), CostModel(batch), ())
        known = {name: program.same.get(s, s) for name, s in leading.items()}
        selected = set(program.context.selected)
        # Rows of requests are selected for the rows of another input; some of the items, by a mask or a TopK, are not.
        counts = set(known.values())
        by_index = {rows for rows, of in program.context.selected.items() if of & counts}
    candidates = {s for name, s in known.items() if name not in declared and s not in by_index}
    inputs: list[RequestInput] = []
    tiled: list[str] = []
    for info in model.inputs:
        name, shape = info.name, shape_of(info)
        why = f"declared by {declared[name]!r}" if name in declared else ""
        if name in leading and known[name] in (selected if name in declared else by_index):
            reason = f"{why or 'found'}: an index selects its rows for the candidates"
            inputs.append(RequestInput(name, "requests", reason))
        elif name in leading and name in declared and candidates and _named(known[name]) - candidates:
            reason = f"{why}: its leading axis {leading[name]} is not known to be the candidates', so all rows are used"
            inputs.append(RequestInput(name, "requests", reason))
        elif name in leading and name in declared:
            tiled.append(name)
            inputs.append(RequestInput(name, "tiled", f"{why}: the caller repeats its row, the first is used"))
        elif shape and shape[0] == 1 and leading:
            inputs.append(RequestInput(name, "one", f"{why or 'found'}: leading extent 1 beside dynamic ones"))
        elif name in declared:
            inputs.append(RequestInput(name, "shared", f"{why}: it has no axis of candidates"))
    request = {i.name for i in inputs}
    symbols = {s for n, s in leading.items() if n not in request} or {leading[n] for n in tiled}
    return Sides(tuple(inputs), tuple(tiled), tuple(sorted(symbols)))


def _named(name: str) -> set[str]:
    """The symbol, if the exporter gave it: then an axis that is called otherwise may be another."""
    return set() if name.startswith("unk__") or "." in name else {name}


def run(model: Model, given: Sides, batch: int) -> Program:
    """Interpret the model for these sides."""
    leading = leading_symbols(model)
    requests = {leading[i.name] for i in given.inputs if i.rows == "requests"}
    rows = sorted({leading[name] for name in given.tiled})
    reference = {ROW: 1, **dict.fromkeys(requests, REQUESTS), **dict.fromkeys((*given.candidates, *rows), batch)}
    # The caller repeats a row once for each candidate: so many rows have all tiled inputs, by their declaration.
    counts = rows if len(given.candidates) > 1 else [*given.candidates, *rows]
    equal = [(symbol(counts[0]), symbol(other)) for other in counts[1:]]
    reasons = {i.name: i.reason for i in given.inputs}
    return interpret(model, given.tiled, CostModel(batch, reference), given.candidates, reasons, equal)
