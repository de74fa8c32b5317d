"""What all views say of a survey of inputs: its tables as rows of text, and the verdict."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from mari_onnx.report.model import Cost, TensorFacts
from mari_onnx.report.numbers import count, ratio
from mari_onnx.report.survey import Recorded, Survey, Within
from mari_onnx.report.tables import Table

ROWS = {
    "one": "one row",
    "tiled": "tiled",
    "requests": "one row a request",
    "shared": "shared",
    "candidates": "a row a candidate",
}
"""The words for what the leading axis of an input holds."""

WHY = {"prefix": "", "likely": "by their names", "recorded": "by the recorded requests"}


def typed(tensor: TensorFacts | None) -> str:
    """The element type and the dims: `int64 [batch 20]`."""
    if tensor is None:
        return ""
    return f"{tensor.dtype} [{' '.join('?' if dim is None else str(dim) for dim in tensor.shape)}]"


def tables(survey: Survey, cost: Cost | None) -> Iterator[Table]:
    """The inputs, and what could be declared; `cost` is that of the model with what is declared already."""
    within = ("within a request",) if survey.recorded else ()
    yield Table(
        "Inputs", _requests(survey.recorded) if survey.recorded else "", ("", "", "holds", *within, "feeds"),
        [
            (
                each.name, typed(TensorFacts(each.name, each.dtype, each.shape)), ROWS[each.rows],
                *([_within(each.within)] if within else []), ", ".join(each.feeds),
            )
            for each in survey.inputs
        ],
        words=0,
    )  # fmt: skip
    if cost is None or not survey.declarations:
        return
    now = f"multiply-adds at {cost.batch:,} candidates, now {count(cost.macs)}"
    more = f"; {survey.left} groups were not tried" if survey.left else ""
    yield Table(
        "If they were the user's", now + more, ("after", "inputs", "", "", ""),
        [
            (
                "-" if each.macs is None else count(each.macs), str(len(each.inputs)), options(each.globs),
                each.refused if each.macs is None else ratio(cost.macs, each.macs), WHY[each.why],
            )
            for each in survey.declarations
        ],
        words=2,
    )  # fmt: skip


def options(globs: Sequence[str]) -> str:
    """The globs as options: `-u 'user_*' -u hour`."""
    return " ".join(f"-u {shlex.quote(glob)}" for glob in globs)


def _within(found: Within | None) -> str:
    if found is None:
        return "not recorded"
    return "the same" if found.same else f"differs ({found.example})"


def _requests(recorded: Recorded) -> str:
    return f"{recorded.rows:,} rows of {recorded.requests:,} requests, {recorded.several:,} of them with several rows"


def surveyed(survey: Survey, cost: Cost | None) -> str:
    """The sentence of the verdict."""
    if survey.recorded is not None and not survey.recorded.several:
        return "No recorded request has several rows, so that they do not tell which inputs are the same in all of them"
    best = survey.suggested
    if best is None or best.macs is None or cost is None:
        known = [each.name for each in survey.inputs if each.rows != "candidates"]
        if known:
            return f"{_counted(len(known))} known to be the request's, and nothing speaks for declaring others"
        return "Nothing tells which inputs are the user's: name those that all candidates of a request share with -u"
    n = len(best.inputs)
    saved = ratio(cost.macs, best.macs)
    gain = (
        "no arithmetic is saved"
        if best.macs >= cost.macs or saved == "the same"
        else (f"{saved} arithmetic ({count(cost.macs)} → {count(best.macs)} multiply-adds)")
    )
    if best.why == "likely":
        which = "input that looks" if n == 1 else f"{n} inputs that look"
        return f"{options(best.globs)} declares the {which} like the user's by name: {gain}"
    which = "input that is" if n == 1 else f"{n} inputs that are"
    requests = f" of {survey.recorded.several:,} requests" if survey.recorded else ""
    return f"{options(best.globs)} declares the {which} the same in all rows{requests}: {gain}"


def _counted(inputs: int) -> str:
    return f"{inputs} input{'s are' if inputs != 1 else ' is'}"
