"""Reports for people to read, on a terminal or in a log.

Names of tensors and inputs are data: they go into `Text`, never into rich's markup.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mari_onnx.report.benchmark import Benchmark, Policy
from mari_onnx.report.benchmark_words import SHOWN as SHOWN_NODES
from mari_onnx.report.benchmark_words import asked, broken_even, tables
from mari_onnx.report.model import (
    Change,
    Difference,
    Divergence,
    ModelFacts,
    Ranking,
    Remark,
    Report,
    Structure,
    TensorFacts,
    Verification,
)
from mari_onnx.report.numbers import count, counted, known, ratio, size, small
from mari_onnx.report.split import Split
from mari_onnx.report.survey_words import ROWS, typed
from mari_onnx.report.tables import Table as Words
from mari_onnx.report.words import (
    BAD,
    GOOD,
    MARKS,
    STRONG,
    WEAK,
    about_tables,
    by_operator,
    closeness,
    cost_rows,
    judged,
    left_out,
    model_name,
    optimized_name,
    precision,
    sum_of_changes,
    where,
)

SHOWN = 10
"""How many rows of a list are shown without `-v`."""


LARGE = 0.05
"""The share of the model's multiply-adds from which a product is shown even if it was left as it is."""


def to_text(report: Report, *, verbosity: int = 0, terminal: bool = False, width: int = 80) -> str:
    """The report in words and tables. `verbosity` below 0 shows the verdict alone, above 0 every remark.

    On a terminal there are colours, unless NO_COLOR is set, and lines are at most `width` characters long. Elsewhere
    lines are not broken, so that a search always finds a name in one piece.
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
    if report.survey or report.replay or report.precomputed:
        yield from _of_requests(report, everything)
        return
    if report.command != "verify":
        yield _title("User inputs", "belong to the request"), _request_inputs(report, everything)
    if report.split:
        yield _title("Parts", f"multiply-adds at {_batch(report)} candidates"), _parts(report.split, everything)
        yield _title("What crosses", "into the ranking model"), _crossings(report.split, everything)
    if report.calls:
        yield _title("Calls", "of the result"), Group(*map(Text, report.calls))
    if report.remarks and (report.command != "bench" or everything):
        batch = f"multiply-adds at {report.cost_before.batch} candidates" if report.cost_before else ""
        yield _title("Products and remarks", batch), _remarks(report, everything)
    if report.left_out:
        yield _title("Left out", "what failed the verification"), Group(*map(Text, left_out(report)))
    if report.cost_before:
        yield _title("Cost", f"of one request with {report.cost_before.batch} candidates"), _costs(report)
    if report.verification and (report.command != "bench" or everything or not report.verification.passed):
        yield from _verified(report, report.verification, everything)
    if report.benchmark:
        yield from _benchmark(report.benchmark, everything)
    if report.policies:
        yield _title("Asked for", ""), Group(*(_policy(policy) for policy in report.policies))


def _of_requests(report: Report, everything: bool) -> Iterator[tuple[Text, RenderableType]]:
    """The sections of what is about tables: a survey, a replay, a model run over rows."""
    for table in about_tables(report):
        yield _title(table.title, table.note), _shown(table)
    if report.verification:
        yield _title("Verification", "of the worst requests"), _verification(report.verification, everything)
        if report.verification.divergence:
            yield _title("Where it begins", ""), _divergence(report.verification.divergence)


def _verified(report: Report, verification: Verification, everything: bool) -> Iterator[tuple[Text, RenderableType]]:
    if report.structure and (report.command == "verify" or everything):
        yield _title("Graph", "what is not the same"), _structure(report.structure, everything)
    about = f"seed {verification.seed}, {verification.effort} effort"
    yield _title("Verification", about), _verification(verification, everything)
    if verification.rankings:
        note = "of candidates by score, and how far scores are apart"
        yield _title("Order", note), _rankings(verification.rankings)
    if verification.divergence:
        yield _title("Where it begins", ""), _divergence(verification.divergence)


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
    table.add_row(Text("model", WEAK), _model(report.model, model_name(report.model.path)))
    if report.optimized and report.command in ("verify", "bench", "replay"):
        table.add_row(Text("against", WEAK), _model(report.optimized, optimized_name(report)))
    made_by = [report.model.producer, _opsets(report.model.opsets), f"IR {report.model.ir_version}"]
    table.add_row(Text("made by", WEAK), Text(", ".join(filter(None, made_by))))
    table.add_row(Text("inputs", WEAK), Text(_few(report.model.inputs)))
    table.add_row(Text("outputs", WEAK), Text(_few(report.model.outputs)))
    return table


def _model(model: ModelFacts, name: str) -> Text:
    facts = f"{size(model.bytes)}, {model.nodes:,} nodes, {model.initializers:,} initializers"
    return Text.assemble((name, "bold cyan"), f"  {facts}")


def _opsets(opsets: dict[str, int]) -> str:
    return ", ".join(f"opset {n}" if domain == "ai.onnx" else f"{domain} {n}" for domain, n in opsets.items())


def _few(tensors: Sequence[TensorFacts]) -> str:
    shown = ", ".join(tensor.name for tensor in tensors[:4])
    return f"{len(tensors)}: {shown}" + (", …" if len(tensors) > 4 else "")


def _request_inputs(report: Report, everything: bool) -> RenderableType:
    if not report.request_inputs:
        return Text("none were found; mari-onnx inputs shows all of them", WEAK)
    if everything:
        types = {tensor.name: tensor for tensor in report.model.inputs}
        table = _table("", "", "", "")
        for given in report.request_inputs:
            kind = Text(typed(types.get(given.name)), WEAK)
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


def _parts(split: Split, everything: bool) -> RenderableType:
    table = _table("", ">nodes", ">multiply-adds", ">size", header=True)
    for part in split.parts:
        table.add_row(Text(f"{part.role} model"), f"{part.nodes:,}", count(part.macs), size(part.bytes))
    table.add_row(Text("in one model", WEAK), "", Text(count(split.macs), WEAK), "")
    said = [Text(f"fingerprint {split.fingerprint}", WEAK)] if everything and split.fingerprint else []
    return Group(table, *said)


def _crossings(split: Split, everything: bool) -> RenderableType:
    table = _table("", "", ">bytes", "", header=True)
    shown = split.crossings if everything else split.crossings[:SHOWN]
    for one in shown:
        kind = typed(TensorFacts(one.name, one.dtype, one.shape))
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
    unsettled = remark.status in ("refused", "broken")
    if remark.reason and (everything or unsettled or not remark.forms):
        text.append(f"\n{remark.reason}", WEAK)
    if remark.next_step and (everything or unsettled):
        text.append(f"\n→ {remark.next_step}")
    if everything:
        for because in remark.because:
            text.append(f"\n  because {because}", WEAK)
    return text


def _bar(remark: Remark, largest: int, width: int = 10) -> Text:
    """A bar as long as the product's share of the largest one; its full blocks are the arithmetic that is left."""
    if not remark.macs_before:
        return Text()
    before = max(1, round(width * remark.macs_before / largest))
    after = min(before, math.ceil(before * remark.macs_after / remark.macs_before))
    return Text.assemble(("█" * after, "blue"), ("░" * (before - after), GOOD))


def _costs(report: Report) -> RenderableType:
    rows = list(cost_rows(report))
    table = _table("", ">before", ">after", "", header=len(rows[0][2]) > 1)
    for label, form, values in rows:
        before, after = values[0], values[-1]
        change = Text(ratio(before, after), GOOD if after < before else WEAK) if len(values) > 1 else ""
        table.add_row(Text(label), *map(form, values), *[""] * (2 - len(values)), change)
    return table


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
    rows = [
        ("tensor", f"{found.tensor}\nthe first that differs, by {small(found.difference)} {precision(found)}"),
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


def _nearest(names: Sequence[str], most: int = 4) -> str:
    """The last few of the names, one a line, the nearest to the tensor that differs first."""
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
    notes = [Text(f"note: {note.text}", "yellow") for note in verification.notes]
    basis = [Text(f"allowed in float64: {small(verification.rtol)} of the scale; {verification.basis}", WEAK)]
    said = [(one, one.message) for one in shown if one.message]
    messages = [Text(f"{one.output} at {where(one)}: {words}", WEAK if one.passed else BAD) for one, words in said]
    blank = [Text()] if messages else []
    return Group(table, *_left_out(left), *(basis if raised and verification.basis else ()), *notes, *blank, *messages)


def _worst(differences: Sequence[Difference]) -> list[Difference]:
    """All comparisons that failed; and of the others, for each output, the one that came closest to failing."""
    worst: dict[tuple[str, tuple[str, int] | None], Difference] = {}
    for one in differences:
        key = (one.output, None if one.passed else (one.case, one.batch))
        if key not in worst or closeness(one) > closeness(worst[key]):
            worst[key] = one
    return list(worst.values())


def _shown(table: Words) -> RenderableType:
    out = _table(*(f">{name}" if i < table.words else name for i, name in enumerate(table.columns)), header=True)
    for row in table.rows:
        out.add_row(*map(Text, row))
    return out


def _benchmark(benchmark: Benchmark, everything: bool) -> Iterator[tuple[Text, RenderableType]]:
    for table in tables(benchmark, None if everything else SHOWN_NODES):
        yield _title(table.title, table.note), _shown(table)
    where = [Text(f"{benchmark.machine}, {benchmark.runtime}")]
    even = [Text(broken_even(one)) for one in benchmark.break_even if len(benchmark.timings) > 1]
    notes = [Text(f"note: {note.text}", "yellow") for note in benchmark.notes]
    yield _title("Measured on", ""), Group(*where, *even, *notes)


def _policy(policy: Policy) -> Text:
    return Text.assemble(_mark(policy.met), " ", asked(policy))


# The verdict


def _verdict(report: Report) -> Text:
    mark, style, words = judged(report)
    return Text.assemble((f"{mark} ", style), (words, STRONG))
