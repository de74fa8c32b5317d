"""Reports for people to read, on a terminal or in a log.

Names of tensors and inputs are data: they go into `Text`, never into rich's markup.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mari_onnx.report.model import (
    Change,
    Cost,
    Difference,
    Divergence,
    ModelFacts,
    Ranking,
    Remark,
    Report,
    Split,
    Structure,
    TensorFacts,
    Verification,
)

SHOWN = 10
"""How many rows of a list are shown, unless all of them are asked for."""

LARGE = 0.05
"""The share of the multiply-adds from which on a product is shown although nothing was done about it."""

ROWS = {"one": "one row", "tiled": "tiled", "requests": "one row a request", "shared": "shared"}

GOOD, BAD, WEAK, STRONG = "green", "bold red", "dim", "bold"
MARKS = {
    "applied": ("✓", GOOD),
    "refused": ("✗", "yellow"),
    "as is": ("·", WEAK),
    True: ("✓", GOOD),
    False: ("✗", BAD),
}


def to_text(report: Report, *, verbosity: int = 0, terminal: bool = False, width: int = 80) -> str:
    """The report in words and tables: below 0 the verdict alone, above 0 every remark.

    On a terminal there are colours, unless NO_COLOR is set, and lines end at `width`; elsewhere lines are as long as
    they have to be, so that a name is always found in one piece.
    """
    out = io.StringIO()
    console = Console(
        file=out,
        force_terminal=terminal,
        width=width if terminal else 10_000,
        highlight=False,
        soft_wrap=False,
        emoji=False,
        markup=False,
    )
    if verbosity >= 0:
        for title, section in _sections(report, everything=verbosity > 0):
            console.print(title)
            console.print(Padding(section, (0, 0, 1, 2)))
    console.print(_verdict(report))
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _sections(report: Report, *, everything: bool) -> Iterator[tuple[Text, RenderableType]]:
    yield _title("mari-onnx", f"{report.version} {report.command}"), _header(report)
    if report.command != "verify":
        yield _title("User inputs", "belong to the request"), _request_inputs(report, everything)
    if report.split:
        yield _title("Parts", f"multiply-adds at {_batch(report)} candidates"), _parts(report.split)
        yield _title("What crosses", "into the ranking model"), _crossings(report.split, everything)
    if report.calls:
        yield _title("Calls", "of the result"), Group(*map(Text, report.calls))
    if report.remarks:
        batch = f"multiply-adds at {report.cost_before.batch} candidates" if report.cost_before else ""
        yield _title("Products and remarks", batch), _remarks(report, everything)
    if report.cost_before:
        yield _title("Cost", f"of one request with {report.cost_before.batch} candidates"), _costs(report)
    if report.verification:
        about = f"seed {report.verification.seed}, {report.verification.effort} effort"
        if report.structure and (report.command == "verify" or everything):
            yield _title("Graph", "what is not the same"), _structure(report.structure, everything)
        yield _title("Verification", about), _verification(report.verification, everything)
        if report.verification.rankings:
            note = "of candidates by score, and how far scores are apart"
            yield _title("Order", note), _rankings(report.verification.rankings)
        if report.verification.divergence:
            yield _title("Where it begins", ""), _divergence(report.verification.divergence)


def _title(title: str, note: str) -> Text:
    return Text.assemble((title, STRONG), "  ", (note, WEAK))


def _table(*columns: str, header: bool = False) -> Table:
    """A table without lines; a column is named for its content, and `>` before the name aligns it right."""
    table = Table(box=None, show_header=header, header_style=WEAK, padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(
            name.lstrip(">"), justify="right" if name[:1] == ">" else "left", overflow="fold", no_wrap=name[:1] == ">"
        )
    return table


def _header(report: Report) -> RenderableType:
    table = _table("", "")
    table.add_row(Text("model", WEAK), _model(report.model))
    if report.optimized and report.command == "verify":
        table.add_row(Text("against", WEAK), _model(report.optimized))
    made_by = [report.model.producer, _opsets(report.model.opsets), f"IR {report.model.ir_version}"]
    table.add_row(Text("made by", WEAK), Text(", ".join(filter(None, made_by))))
    table.add_row(Text("inputs", WEAK), Text(_few(report.model.inputs)))
    table.add_row(Text("outputs", WEAK), Text(_few(report.model.outputs)))
    return table


def _model(model: ModelFacts) -> Text:
    name = Path(model.path).name if model.path else "(in memory)"
    facts = f"{size(model.bytes)}, {model.nodes:,} nodes, {model.initializers:,} initializers"
    return Text.assemble((name, "bold cyan"), f"  {facts}")


def _opsets(opsets: dict[str, int]) -> str:
    return ", ".join(f"opset {n}" if domain == "ai.onnx" else f"{domain} {n}" for domain, n in opsets.items())


def _few(tensors: Sequence[TensorFacts]) -> str:
    shown = ", ".join(tensor.name for tensor in tensors[:4])
    return f"{len(tensors)}: {shown}" + (", …" if len(tensors) > 4 else "")


def _typed(tensor: TensorFacts | None) -> str:
    if tensor is None:
        return ""
    return f"{tensor.dtype} [{' '.join('?' if dim is None else str(dim) for dim in tensor.shape)}]"


def _request_inputs(report: Report, everything: bool) -> RenderableType:
    if not report.request_inputs:
        return Text("none were found; --user-input 'user_*' names them", WEAK)
    if everything:
        types = {tensor.name: tensor for tensor in report.model.inputs}
        table = _table("", "", "", "")
        for given in report.request_inputs:
            kind = Text(_typed(types.get(given.name)), WEAK)
            table.add_row(Text(given.name), kind, Text(ROWS[given.rows]), Text(given.reason, WEAK))
        return table
    alike: dict[tuple[str, str], list[str]] = {}
    for given in report.request_inputs:
        alike.setdefault((ROWS[given.rows], given.reason), []).append(given.name)
    table = _table("", "")
    for (rows, reason), names in alike.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        table.add_row(Text(rows), Text.assemble(", ".join(names[:SHOWN]), more, (f"\n{reason}", WEAK)))
    return table


def _batch(report: Report) -> int:
    assert report.cost_before is not None
    return report.cost_before.batch


def _parts(split: Split) -> RenderableType:
    table = _table("", ">nodes", ">multiply-adds", ">size", header=True)
    for part in split.parts:
        table.add_row(Text(f"{part.role} model"), f"{part.nodes:,}", count(part.macs), size(part.bytes))
    table.add_row(Text("in one model", WEAK), "", Text(count(split.macs), WEAK), "")
    return table


def _crossings(split: Split, everything: bool) -> RenderableType:
    table = _table("", "", ">bytes", "", header=True)
    shown = split.crossings if everything else split.crossings[:SHOWN]
    for one in shown:
        kind = _typed(TensorFacts(one.name, one.dtype, one.shape))
        per = "request" if one.role == "user" else "item"
        how = "" if one.computed else "an input as it is"
        table.add_row(Text(one.name), Text(kind, WEAK), f"{one.bytes:,}", Text(f"for each {per}  {how}", WEAK))
    left = Counter("more" for _ in range(len(split.crossings) - len(shown)))
    return Group(table, *(Text(f"and {n} more (-v shows them)", WEAK) for n in left.values()), *map(Text, split.choice))


def _left_out(kinds: Counter[str]) -> list[Text]:
    if not kinds:
        return []
    listed = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    return [Text(f"and {kinds.total()} more: {listed} (-v shows them)", WEAK)]


def _remarks(report: Report, everything: bool) -> RenderableType:
    total = report.cost_before.macs if report.cost_before else sum(r.macs_before for r in report.remarks)
    ordered = sorted(report.remarks, key=lambda remark: -remark.macs_before)
    worth = [r for r in ordered if r.status != "as is" or r.macs_before >= LARGE * max(total, 1)]
    shown = ordered if everything else worth[:SHOWN]
    largest = max((remark.macs_before for remark in shown), default=0)
    table = _table("", ">before", ">after", ">of all", "", "", header=True)
    for remark in shown:
        numbers = [count(remark.macs_before), count(remark.macs_after)] if remark.macs_before else ["", ""]
        share = remark.macs_before / total if total else 0
        part = "" if not share else "<1%" if share < 0.01 else f"{share:.0%}"
        table.add_row(Text(*_mark(remark.status)), *numbers, part, _bar(remark, largest), _remark(remark, everything))
    left = Counter[str](r.status for r in ordered) - Counter[str](r.status for r in shown)
    return Group(table, *_left_out(left)) if shown else Group(*_left_out(left))


def _mark(what: str | bool) -> tuple[str, str]:
    return MARKS[what]


def _remark(remark: Remark, everything: bool) -> Text:
    text = Text.assemble(remark.tensor or remark.node, (f"  {remark.op_type}", WEAK))
    if remark.forms:
        text.append(f"\n{remark.forms}", "cyan")
    if remark.reason and (everything or remark.status == "refused" or not remark.forms):
        text.append(f"\n{remark.reason}", WEAK)
    if remark.next_step and (everything or remark.status == "refused"):
        text.append(f"\n→ {remark.next_step}")
    if everything:
        for because in remark.because:
            text.append(f"\n  because {because}", WEAK)
    return text


def _bar(remark: Remark, largest: int, width: int = 10) -> Text:
    """What is left of a product, and what is not: as long as the product's share of the largest one."""
    if not remark.macs_before:
        return Text()
    before = max(1, round(width * remark.macs_before / largest))
    after = min(before, math.ceil(before * remark.macs_after / remark.macs_before))
    return Text.assemble(("█" * after, "blue"), ("░" * (before - after), GOOD))


Row: TypeAlias = tuple[str, Callable[[float], str], list[float]]


def cost_rows(report: Report) -> Iterator[Row]:
    """What is counted of a model: a label, how its numbers are written, and they themselves, before and after."""
    costs = [cost for cost in (report.cost_before, report.cost_after if report.changed else None) if cost]
    if not costs:
        return
    yield "multiply-adds", count, [cost.macs for cost in costs]
    yield "  once for the request", count, [cost.macs_fixed for cost in costs]
    yield "  for each candidate", count, [cost.macs_per_candidate for cost in costs]
    yield "nodes that compute", count, [cost.nodes for cost in costs]
    yield "estimated time", microseconds, [cost.time_us for cost in costs]
    if report.optimized and report.changed:
        yield "size", size, [report.model.bytes, report.optimized.bytes]


def _costs(report: Report) -> RenderableType:
    rows = list(cost_rows(report))
    table = _table("", ">before", ">after", "", header=len(rows[0][2]) > 1)
    for label, form, values in rows:
        before, after = values[0], values[-1]
        change = Text(ratio(before, after), GOOD if after < before else WEAK) if len(values) > 1 else ""
        table.add_row(Text(label), *map(form, values), *[""] * (2 - len(values)), change)
    return table


def by_operator(changes: Iterable[Change]) -> list[Change]:
    """The changes of all scopes together, those of the most nodes first."""
    found: dict[str, Change] = {}
    for one in changes:
        so_far = found.get(one.op_type, Change(one.op_type, "", 0, 0, 0))
        added, removed = so_far.added + one.added, so_far.removed + one.removed
        found[one.op_type] = replace(so_far, added=added, removed=removed, changed=so_far.changed + one.changed)
    return sorted(found.values(), key=lambda one: (-(one.added + one.removed + one.changed), one.op_type))


def sum_of_changes(structure: Structure) -> str:
    """The structural difference in one line."""
    changes = structure.changes
    added, removed, changed = (sum(getattr(c, kind) for c in changes) for kind in ("added", "removed", "changed"))
    nodes = f"{structure.kept:,} nodes kept, {changed:,} changed, {added:,} added, {removed:,} removed"
    more, less, other = structure.initializers_added, structure.initializers_removed, structure.initializers_changed
    before, after = structure.initializer_bytes
    grown = f"{size(before)} → {size(after)}" if before != after else size(after)
    return f"{nodes}; initializers {more:,} added, {less:,} removed, {other:,} changed ({grown})"


def _structure(structure: Structure, everything: bool) -> RenderableType:
    if everything:
        table = _table("operator", "scope", ">added", ">removed", ">changed", header=True)
        for one in structure.changes:
            table.add_row(one.op_type, Text(one.scope), *_numbers(one))
        return Group(Text(sum_of_changes(structure)), table)
    operators = by_operator(structure.changes)
    table = _table("operator", ">added", ">removed", ">changed", header=True)
    for one in operators[:SHOWN]:
        table.add_row(one.op_type, *_numbers(one))
    left = Counter(one.op_type for one in operators[SHOWN:])
    return Group(Text(sum_of_changes(structure)), *([table] if operators else []), *_left_out(left))


def _numbers(one: Change) -> list[str]:
    return [f"{n:,}" if n else "" for n in (one.added, one.removed, one.changed)]


def _rankings(rankings: Sequence[Ranking]) -> RenderableType:
    table = _table(
        "output", ">best kept", ">tau", ">moved", ">swapped within", ">half", ">90%", ">99%", ">all", header=True
    )
    for each in rankings:
        table.add_row(
            Text(each.output), f"{each.overlap:.0%} of {each.top}", f"{each.tau:.6g}", f"{each.move:,}",
            small(each.gap), *map(small, each.quantiles),
        )  # fmt: skip
    return table


def _divergence(found: Divergence) -> RenderableType:
    precision = "in float64" if found.in_float64 else "in the model's own precision"
    rows = [
        ("tensor", f"{found.tensor}\nthe first that differs, by {small(found.difference)} {precision}"),
        ("made by", _nearest(found.nodes)),
        ("from", f"{_nearest(found.agreeing)}\nwhich agree" if found.agreeing else ""),
        ("rule", f"{found.rule}: {found.reason}" if found.rule else ""),
        ("inputs", f"{found.inputs}: {counted(found.candidates or 0)}, and as many zeros as still fail"),
        ("again", found.command or ""),
    ]
    table = _table("", "")
    for label, words in rows:
        if words and (label != "inputs" or found.inputs):
            table.add_row(Text(label, WEAK), Text(words))
    return table


def counted(candidates: int) -> str:
    """1 candidate, 2 candidates"""
    return f"{candidates:,} candidate{'s' * (candidates != 1)}"


def _nearest(names: Sequence[str], most: int = 4) -> str:
    """The last few of them, one a line."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return "\n".join([*reversed(names[-most:]), *more])


def _verification(verification: Verification, everything: bool) -> RenderableType:
    differences = verification.differences
    shown = differences if everything or len(differences) <= SHOWN + 2 else _worst(differences)
    raised = any(one.float64 is not None for one in differences)
    table = _table(
        "case", ">batch", "output", *([">in float64", ">allowed"] if raised else []), ">difference", ">allowed", "",
        header=True,
    )  # fmt: skip
    for difference in shown:
        exact = [known(difference.float64), known(difference.float64_bound)] if raised else []
        table.add_row(
            Text(difference.case), f"{difference.batch:,}", Text(difference.output), *exact, small(difference.max_abs),
            small(difference.bound), Text(*_mark(difference.passed)),
        )  # fmt: skip
    left = Counter("passed" for _ in range(len(differences) - len(shown)))
    notes = [Text(f"note: {note}", "yellow") for note in verification.notes]
    basis = [Text(f"allowed in float64: {small(verification.rtol)} of the scale; {verification.basis}", WEAK)]
    said = [(one, one.message) for one in shown if one.message]
    messages = [Text(f"{one.output} at {where(one)}: {words}", WEAK if one.passed else BAD) for one, words in said]
    blank = [Text()] if messages else []
    return Group(table, *_left_out(left), *(basis if raised and verification.basis else ()), *notes, *blank, *messages)


def _worst(differences: Sequence[Difference]) -> list[Difference]:
    """Everything that failed, and of each output that passed the comparison that came closest to failing."""
    worst: dict[tuple[str, tuple[str, int] | None], Difference] = {}
    for one in differences:
        key = (one.output, None if one.passed else (one.case, one.batch))
        if key not in worst or _closeness(one) > _closeness(worst[key]):
            worst[key] = one
    return list(worst.values())


def _closeness(difference: Difference) -> float:
    return difference.max_abs / difference.bound if difference.bound else difference.max_abs


def where(difference: Difference) -> str:
    """In which case the two were compared, in words."""
    batch = f"batch {difference.batch}"
    return batch if difference.case == "drawn" else f"{batch} ({difference.case})"


# The verdict


def _verdict(report: Report) -> Text:
    mark, style, words = judged(report)
    return Text.assemble((f"{mark} ", style), (words, STRONG))


def judged(report: Report) -> tuple[str, str, str]:
    """The verdict: a mark, its style on a terminal, and one sentence."""
    verification = report.verification
    if verification is not None and not verification.passed:
        return (*MARKS[False], _failure(report, verification))
    match report.command:
        case "split" if report.split is not None:
            return _was_split(report, report.split)
        case "verify":
            return (*MARKS[True], _same(verification))
        case "inspect":
            return (*MARKS["as is"], _prospect(report))
        case _:
            return _optimized(report)


def _optimized(report: Report) -> tuple[str, str, str]:
    where = f"written to {report.written}" if report.written else "nothing was written"
    if not report.changed:
        where = where if report.written is None else f"{where} as it was"
        return (*MARKS["as is"], f"Nothing can be gained here: {where}")
    gain = _gain(report.cost_before, report.cost_after)
    gain = gain[:1].upper() + gain[1:]
    if report.verification is None:
        return ("!", "bold yellow", f"{gain}, not verified: {where}")
    return (*MARKS[True], f"{gain}, the same predictions: {where}")


def _was_split(report: Report, split: Split) -> tuple[str, str, str]:
    per = {"user": "request", "item": "item"}
    said = []
    for role, name in per.items():
        bytes_ = [one.bytes for one in split.crossings if one.role == role]
        if bytes_:
            said.append(f"{len(bytes_)} value{'s' * (len(bytes_) != 1)}, {size(sum(bytes_))} for each {name}")
    where = ", ".join(part.written for part in split.parts if part.written)
    where = f"written to {where}" if where else "nothing was written"
    same = "not verified" if report.verification is None else "the same predictions"
    mark = ("!", "bold yellow") if report.verification is None else MARKS[True]
    return (*mark, f"Split, {'; '.join(said)}: {same}, {where}")


def _gain(before: Cost | None, after: Cost | None) -> str:
    if before is None or after is None:
        return "optimized"
    if after.macs < 0.99 * before.macs:
        less = f"{ratio(before.macs, after.macs)} arithmetic"
        return f"{less} ({count(before.macs)} → {count(after.macs)} multiply-adds)"
    return f"{before.nodes:,} → {after.nodes:,} nodes, about {ratio(before.time_us, after.time_us)} time"


def _prospect(report: Report) -> str:
    if report.cost_before and report.cost_after and report.changed:
        return f"To be gained: {_gain(report.cost_before, report.cost_after)}"
    if not report.request_inputs:
        return "No input is known to belong to the request: --user-input 'user_*' names those that do"
    return "Nothing can be gained here"


def _same(verification: Verification | None) -> str:
    if verification is None or not verification.differences:
        return "Nothing was compared"
    batches = sorted({one.batch for one in verification.differences})
    outputs = {one.output for one in verification.differences}
    drawn = [one for one in verification.differences if one.case == "drawn"]  # edge cases may be of any scale
    largest = max(one.max_rel for one in drawn or verification.differences)
    which = ", ".join(map(str, batches))
    n = f"{len(outputs)} output{'s' * (len(outputs) != 1)}"
    return f"The same predictions: {n} at batches {which}, at most {small(largest)} of the scale apart"


def _failure(report: Report, verification: Verification) -> str:
    failed = [one for one in verification.differences if not one.passed]
    nothing = "; nothing was written" if report.command == "optimize" else ""
    if not failed:
        return f"Nothing was shown to be the same: {'; '.join(verification.notes) or 'no output was compared'}{nothing}"
    worst = max(failed, key=_closeness)
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return (
        f"The predictions differ: {worst.output} at {where(worst)} by {small(worst.max_abs)}, "
        f"where {small(worst.bound)} is allowed{more}{nothing}"
    )


# Numbers


def count(number: float) -> str:
    """12345678 -> 12.3 M"""
    for unit, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * unit:
            return f"{number / unit:.3g}{suffix}" if number < 999.5 * unit else f"{number / unit:,.0f}{suffix}"
    return f"{number:.3g}"


def size(number: float) -> str:
    """1636722 -> 1.64 MB"""
    return f"{count(number)}B" if number >= 999.5 else f"{number:.0f} B"


def microseconds(number: float) -> str:
    """1234.5 -> 1.23 ms"""
    return f"{number / 1000:.3g} ms" if number >= 999.5 else f"{number:.3g} µs"


def small(number: float) -> str:
    """0.00000012345 -> 1.2e-07"""
    return "0" if number == 0 else f"{number:.1e}" if math.isfinite(number) else str(number)


def known(number: float | None) -> str:
    """The number, and a dash where there is none."""
    return "-" if number is None else small(number)


def ratio(before: float, after: float) -> str:
    """What became of a quantity: 3.0 times less, 12% more, the same"""
    if before == after or abs(after - before) < 0.005 * before:
        return "the same"
    if after == 0:
        return "none is left"
    if before == 0:
        return ""
    if after <= before:
        return f"{before / after:.1f} times less" if before / after >= 1.25 else f"{1 - after / before:.0%} less"
    return f"{after / before:.1f} times more" if after / before >= 1.25 else f"{after / before - 1:.0%} more"
