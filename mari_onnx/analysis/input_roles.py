"""Which inputs belong to the request, and why.

literal       leading extent 1, beside inputs whose leading extent is dynamic
declared      by the user; where the leading axis is that of the candidates, the caller repeats one row
indexed       rows that an integer input selects for each candidate

What becomes of rows that the caller repeats is a matter of how the model is served; see `serving` and `tiled`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from mari_onnx.analysis.interpret import interpret
from mari_onnx.analysis.premises import NOTHING
from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.errors import UserError
from mari_onnx.ir.cost import CostModel
from mari_onnx.report.model import RequestInput
from mari_onnx.serving.guard import check_guard
from mari_onnx.serving.modes import AS_EXPORTED, GUARD_OUTPUT, INDEX_INPUT, Serving, check


@dataclass(frozen=True)
class Sides:
    """The request-side inputs, those of them that the caller tiles, and the symbols that count candidates."""

    inputs: tuple[RequestInput, ...]
    tiled: tuple[str, ...]
    candidates: tuple[str, ...]
    serving: Serving = AS_EXPORTED


def declared_inputs(model: Model, globs: Sequence[str], whose: str = "user") -> dict[str, str]:
    """The inputs that the globs name, and the glob that named each.

    Raises UserError for a glob that matches nothing.
    """
    names = [i.name for i in model.inputs]
    found: dict[str, str] = {}
    for glob in globs:
        matched = [n for n in names if fnmatch.fnmatchcase(n, glob)]
        if not matched:
            raise UserError(
                f"no input of the model matches the {whose} input {glob!r}", f"its inputs are: {', '.join(names)}"
            )
        for name in matched:
            found.setdefault(name, glob)
    return found


def sides(model: Model, globs: Sequence[str], batch: int, serving: Serving = AS_EXPORTED) -> Sides:
    """Decide for every input.

    Raises UserError for a glob that matches nothing and for a way of serving that the model does not allow.
    """
    declared = {**dict.fromkeys(serving.request_key, ""), **declared_inputs(model, globs)}
    check(model, serving)
    if serving.request_index is not None:
        declared.pop(serving.request_index, None)
    leading = model.leading_symbols
    known, selected, by_index = leading, set[str](), set[str]()
    if len(set(leading.values())) > 1:
        program = interpret(model, NOTHING, CostModel(batch))
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
        why = f"declared by {declared[name]!r}" if declared.get(name) else "the key" if name in declared else ""
        if name in leading and known[name] in (selected if name in declared else by_index):
            reason = f"{why or 'found'}: an index selects its rows for the candidates"
            inputs.append(RequestInput(name, "requests", reason))
        elif name in leading and name in declared and candidates and named(known[name]) - candidates:
            reason = f"{why}: its leading axis {leading[name]} is not known to be the candidates', so all rows are used"
            inputs.append(RequestInput(name, "requests", reason))
        elif name in leading and name in declared:
            tiled.append(name)
            inputs.append(_tiled(name, why, serving))
        elif shape and shape[0] == 1 and leading:
            inputs.append(RequestInput(name, "one", f"{why or 'found'}: leading extent 1 beside dynamic ones"))
        elif name in declared:
            inputs.append(RequestInput(name, "shared", f"{why}: it has no axis of candidates"))
    request = {i.name for i in inputs}
    symbols = {s for n, s in leading.items() if n not in request} or {leading[n] for n in tiled}
    found = Sides(tuple(inputs), tuple(tiled), tuple(sorted(symbols)), serving)
    _check_tiled(model, found)
    return found


def _tiled(name: str, why: str, serving: Serving) -> RequestInput:
    if serving.user_batch == "one":
        return RequestInput(name, "one", f"{why}: the caller sends its row once")
    if serving.user_batch == "requests":
        index = serving.request_index or INDEX_INPUT
        return RequestInput(name, "requests", f"{why}: the caller sends a row for each request of `{index}`")
    if serving.request_key:
        keys = " and ".join(f"`{key}`" for key in serving.request_key)
        return RequestInput(name, "tiled", f"{why}: the caller repeats its rows, the first of each {keys} is used")
    return RequestInput(name, "tiled", f"{why}: the caller repeats its row")


def _check_tiled(model: Model, found: Sides) -> None:
    """Raise UserError where what was asked for the tiled inputs cannot be had."""
    serving = found.serving
    others = [key for key in serving.request_key if key not in found.tiled]
    if others:
        raise UserError(f"input `{others[0]}` is not known to have the candidates as its leading axis", None)
    if serving.guard is not None:
        if not found.tiled:
            raise UserError(
                "there is nothing to guard: no input is declared whose rows the caller repeats",
                "declare the user's inputs with -u, or leave the guard out",
            )
        check_guard(model, serving.guard)
    outputs = {o.name for o in model.graph.output}
    for name in found.tiled if serving.user_batch != "tiled" else ():
        if name in outputs:
            raise UserError(f"`{name}` is an output as well, and one of its shapes cannot change alone", None)
    already = any(i.rows in ("one", "requests") for i in found.inputs)
    if serving.user_batch != "tiled" and not found.tiled and not already:
        raise UserError(
            "no input is declared whose rows the caller repeats, so none can be sent otherwise",
            "declare the user's inputs: -u 'user_*'",
        )


def named(name: str) -> set[str]:
    """The symbol, if the exporter gave it: then an axis that is called otherwise may be another."""
    return set() if name.startswith("unk__") or "." in name else {name}


def calls(given: Sides) -> tuple[str, ...]:
    """What the caller of the result has to send and may expect, a sentence each; nothing where nothing is tiled."""
    if not given.tiled:
        return ()
    names, serving = ", ".join(f"`{name}`" for name in given.tiled), given.serving
    match serving.user_batch:
        case "one":
            return (
                f"Send the request's row once, leading extent 1, in: {names}.",
                "The other inputs, and the outputs, have a row for each candidate, as before.",
            )
        case "requests":
            index = serving.request_index or INDEX_INPUT
            new = "" if serving.request_index else ", a new input, int64, one entry for each candidate"
            return (
                f"Send one row for each request in: {names}.",
                f"Send in `{index}`{new}: the number of the row, from 0, that the candidate's request has.",
            )
    alike = "All rows"
    if serving.request_key:
        alike = f"Rows with the same {' and '.join(f'`{key}`' for key in serving.request_key)}"
    said = [f"{alike} must be identical, and whichever of them is at hand is used, in: {names}."]
    if serving.guard == "nan":
        said.append("Where they are not identical, every output is NaN.")
    elif serving.guard == "output":
        said.append(f"`{GUARD_OUTPUT}`, a boolean of shape [1], is false where they are not identical.")
    return tuple(said)
