"""How two reports in JSON differ: today's export against yesterday's.

    model      nodes, size, opsets, inputs and outputs
    roles      which inputs belong to the request, and by which rows
    gain       the arithmetic before and after, the nodes, the size, the measured speed-up
    verdict    whether it passed, its policies, and the codes of its notes
    remarks    products that are refused, and were not before

A change is for the worse where the second report passes less, gains less by more than `NOTICED`, refuses what the first
did not, or no longer has an input as the request's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mari_onnx.errors import UserError
from mari_onnx.report.model import SCHEMA_VERSION
from mari_onnx.report.numbers import count, size

NOTICED = 0.01
"""The share of a gain that may be lost without being for the worse."""

WRITTEN = "Give a file that --report FILE.json wrote."

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Changed:
    """A fact that is another in the second report; `before` and `after` are "" where one report does not have it."""

    about: str
    what: str
    before: str
    after: str
    worse: bool = False


def read_report(path: Path) -> Fields:
    """A report that was written with `--report FILE.json`. Raises UserError for any other file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} cannot be read as JSON: {error}", "Give a file that --report FILE.json wrote."
        ) from error
    if not isinstance(found, dict) or "schema_version" not in found:
        raise UserError(f"{path} is no report of mari-onnx", WRITTEN)
    if found["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{path} is of schema_version {found['schema_version']}, and this version reads {SCHEMA_VERSION}",
            "Run the command again that wrote it.",
        )
    return found


def changes(before: Fields, after: Fields) -> list[Changed]:
    """What is another in the second report, in the order of the docstring above. Raises UserError for two commands."""
    if before["command"] != after["command"]:
        raise UserError(
            f"one report is of {before['command']} and the other of {after['command']}", "Compare two of one command."
        )
    return [*_model(before, after), *_roles(before, after), *_gain(before, after), *_verdict(before, after),
            *_remarks(before, after)]  # fmt: skip


def _model(before: Fields, after: Fields) -> Iterator[Changed]:
    for what, read, written in _FACTS:
        yield from _fact("model", what, read(before["model"]), read(after["model"]), written)
    for kind in ("inputs", "outputs"):
        one, other = ({each["name"]: _typed(each) for each in report["model"][kind]} for report in (before, after))
        yield from _named("model", kind.removesuffix("s"), one, other)


def _typed(tensor: Fields) -> str:
    return f"{tensor['dtype']} [{' '.join('?' if e is None else str(e) for e in tensor['shape'])}]"


_FACTS: tuple[tuple[str, Callable[[Fields], Any], Callable[[Any], str]], ...] = (
    ("producer", lambda m: m["producer"], str),
    ("opsets", lambda m: m["opsets"], lambda opsets: ", ".join(f"{domain} {n}" for domain, n in opsets.items())),
    ("nodes", lambda m: m["nodes"], lambda n: f"{n:,}"),
    ("initializers", lambda m: m["initializers"], lambda n: f"{n:,}"),
    ("size", lambda m: m["bytes"], size),
)


def _roles(before: Fields, after: Fields) -> Iterator[Changed]:
    one, other = ({each["name"]: each["rows"] for each in report["request_inputs"]} for report in (before, after))
    there = {each["name"] for each in after["model"]["inputs"]}
    yield from _named("roles", "input", one, other, worse=lambda name: name in there)


def _gain(before: Fields, after: Fields) -> Iterator[Changed]:
    had, has = _ratio(before), _ratio(after)
    if f"{had:.3g}" != f"{has:.3g}":
        yield Changed("gain", "times less arithmetic", f"{had:.3g}", f"{has:.3g}", has < had * (1 - NOTICED))
    for what, key in (("multiply-adds before", "cost_before"), ("multiply-adds after", "cost_after")):
        yield from _fact("gain", what, _of(before[key], "macs"), _of(after[key], "macs"), count)
    for what, key in (("nodes after", "nodes"), ("size after", "bytes")):
        written = size if key == "bytes" else (lambda n: f"{n:,}")
        yield from _fact("gain", what, _of(before["optimized"], key), _of(after["optimized"], key), written)
    one, other = _times(before), _times(after)
    for (batch, threads, callers), first in one.items():
        second = other.get((batch, threads, callers))
        if second is not None and f"{first['speedup']:.3g}" != f"{second['speedup']:.3g}":
            shown = [f"{t['speedup']:.3g} ({t['low']:.3g} to {t['high']:.3g})" for t in (first, second)]
            what = f"speed-up at {batch} candidates on {threads} threads"
            what += f" in {callers} calls at once" * (callers != 1)
            yield Changed("gain", what, shown[0], shown[1], second["high"] < first["low"])


def _times(report: Fields) -> dict[tuple[int, int, int], Fields]:
    """What was measured, by the numbers of candidates, of threads and of calls at once."""
    timings = report["benchmark"]["timings"] if report["benchmark"] else ()
    return {(each["batch"], each["threads"], each["concurrency"]): each for each in timings}


def _ratio(report: Fields) -> float:
    """By how much the arithmetic became less; 1 where the model stays as it was, or nothing was counted."""
    before, after = report["cost_before"], report["cost_after"]
    return float(before["macs"] / after["macs"]) if before and after and after["macs"] else 1.0


def _verdict(before: Fields, after: Fields) -> Iterator[Changed]:
    passed = [_of(report["verification"], "passed") for report in (before, after)]
    said = {True: "passed", False: "failed", None: "not verified"}
    if passed[0] != passed[1]:
        yield Changed("verdict", "verification", said[passed[0]], said[passed[1]], passed[1] is not True)
    one, other = ({p["name"]: "met" if p["met"] else "not met" for p in r["policies"]} for r in (before, after))
    for each in _named("verdict", "policy", one, other):
        yield Changed(each.about, each.what, each.before, each.after, each.after == "not met")
    one, other = (dict.fromkeys(_codes(report), "noted") for report in (before, after))
    for each in _named("verdict", "note", one, other):
        yield Changed(each.about, each.what, each.before, each.after, bool(each.after))


def _codes(report: Fields) -> list[str]:
    return [note["code"] for note in (report["verification"] or {"notes": ()})["notes"]]


def _remarks(before: Fields, after: Fields) -> Iterator[Changed]:
    """Products that are refused in one report alone, by the name of their result."""
    one, other = (
        {r["tensor"]: r["reason"] for r in report["remarks"] if r["status"] in ("refused", "broken")}
        for report in (before, after)
    )
    for name in dict.fromkeys([*one, *other]):
        if (name in one) != (name in other):
            yield Changed("remarks", name, one.get(name, ""), other.get(name, ""), name in other)


def _named(
    about: str,
    kind: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
    worse: Callable[[str], bool] = lambda _: False,
) -> Iterator[Changed]:
    """What is there by name in one of the two alone, or is another; `worse` says of a name whether losing it is."""
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name, ""), after.get(name, "")
        if one != other:
            yield Changed(about, f"{kind} {name}", one, other, not other and worse(name))


def _fact(about: str, what: str, before: Any, after: Any, written: Callable[[Any], str]) -> Iterator[Changed]:
    if before != after:
        shown = ["" if each is None else written(each) for each in (before, after)]
        yield Changed(about, what, shown[0], shown[1])


def _of(fields: Fields | None, key: str) -> Any:
    return None if fields is None else fields[key]
