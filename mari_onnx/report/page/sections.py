"""The texts and tables of a page: what was decided, what it costs, what was compared, and which inputs are whose."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from mari_onnx.report import replay_words, survey_words
from mari_onnx.report.benchmark import Benchmark
from mari_onnx.report.benchmark_words import asked, broken_even, interval, tables
from mari_onnx.report.benchmark_words import where as timed_where
from mari_onnx.report.model import Divergence, Remark, Report, TensorFacts, Verification
from mari_onnx.report.numbers import count, counted, known, ratio, size, small
from mari_onnx.report.page.markup import add, add_table, say
from mari_onnx.report.precompute import Precomputed
from mari_onnx.report.replay import Replay
from mari_onnx.report.split import Split
from mari_onnx.report.survey_words import ROWS, typed
from mari_onnx.report.tables import Table
from mari_onnx.report.words import (
    MARKS,
    by_operator,
    cost_rows,
    effort,
    failed,
    judged,
    left_out,
    model_name,
    optimized_name,
    precision,
    sum_of_changes,
    surveyed_cost,
    where,
)

KINDS = {"✓": "good", "✗": "bad", "!": "warning", "·": "plain"}
"""The class of a verdict, by its mark."""


def verdict(parent: Xml.Element, report: Report) -> None:
    """The verdict, the gain in large, and what did not pass."""
    mark, _, words = judged(report)
    model = report.model
    add(parent, "p", f"mari-onnx {report.version} {report.command}", class_="tool")
    names = [model_name(model.path)] + ([optimized_name(report)] if report.optimized else [])
    add(parent, "h1", " → ".join(dict.fromkeys(names)))
    line = add(parent, "p", class_=f"verdict {KINDS[mark]}")
    add(line, "span", mark, class_="mark", aria_hidden="true")
    add(line, "span", words)
    tiles = add(parent, "ul", class_="tiles")
    for number, label in gains(report):
        tile = add(tiles, "li")
        add(tile, "strong", number)
        add(tile, "span", label)
    for policy in report.policies:
        add(parent, "p", f"{MARKS[policy.met][0]} {asked(policy)}", class_="good" if policy.met else "bad")
    for sentence in left_out(report):
        say(parent, sentence, class_="warning")


def gains(report: Report) -> Iterator[tuple[str, str]]:
    """The numbers that are shown in large, each with what it is a number of."""
    if report.benchmark:
        timings = sorted(report.benchmark.timings, key=lambda one: -one.speedup)
        for one in dict.fromkeys((timings[0], timings[-1])):
            yield ratio(one.speedup, 1), f"time at {timed_where(one)} ({interval(one.low, one.high)})"
    before, after = report.cost_before, report.cost_after
    if before and after and report.changed:
        if before.macs != after.macs:
            change = f"{count(before.macs)} → {count(after.macs)} multiply-adds at {counted(before.batch)}"
            yield ratio(before.macs, after.macs), f"arithmetic, {change}"
        yield f"{before.nodes:,} → {after.nodes:,}", "nodes that compute"
        if report.optimized:
            yield ratio(report.model.bytes, report.optimized.bytes), f"bytes, now {size(report.optimized.bytes)}"
    elif before:
        yield count(before.macs), f"multiply-adds at {counted(before.batch)}"
    if report.verification and report.verification.differences:
        n = len(report.verification.differences)
        yield f"{n - len(failed(report.verification)):,} of {n:,}", "comparisons passed"


def costs(parent: Xml.Element, report: Report) -> None:
    """The table of costs, and the models of a split with what crosses."""
    rows = list(cost_rows(report))
    if rows and report.cost_before:
        note = f"of one request with {counted(report.cost_before.batch)}"
        both = len(rows[0][2]) > 1
        columns = ("", "before", "after", "") if both else ("", "")
        shown = [
            (label.strip(), *map(form, values), *([ratio(values[0], values[-1])] if both else []))
            for label, form, values in rows
        ]
        add_table(parent, Table("Cost", note, columns, shown, words=0))
    if report.split:
        _split(parent, report.split)
    for sentence in report.calls:
        say(parent, sentence)


def _split(parent: Xml.Element, split: Split) -> None:
    parts = [(f"{p.role} model", f"{p.nodes:,}", count(p.macs), size(p.bytes), p.written or "") for p in split.parts]
    add_table(parent, Table("Models", "", ("", "nodes", "multiply-adds", "size", ""), parts, words=0))
    crossings = [
        (
            f"{one.bytes:,}", one.name, typed(TensorFacts(one.name, one.dtype, one.shape)),
            f"for each {'request' if one.role == 'user' else 'item'}" + ("" if one.computed else ", an input as it is"),
        )
        for one in split.crossings
    ]  # fmt: skip
    add_table(parent, Table("What crosses", "into the ranking model", ("bytes", "", "", ""), crossings, words=1))
    for sentence in split.choice:
        say(parent, sentence)


def measured(parent: Xml.Element, benchmark: Benchmark) -> None:
    """The tables of a benchmark, and where it was measured."""
    for table in tables(benchmark):
        add_table(parent, table)
    for even in benchmark.break_even:
        add(parent, "p", broken_even(even))
    add(parent, "p", f"Measured on {benchmark.machine}, {benchmark.runtime}.", class_="note")
    for note in benchmark.notes:
        say(parent, note.text, class_="warning")


def verified(parent: Xml.Element, report: Report, verification: Verification) -> None:
    """What was compared and what differs, with the failures first."""
    add(parent, "p", f"{effort(verification)[:1].upper()}{effort(verification)[1:]}.", class_="note")
    for one in failed(verification):
        add(parent, "p", f"✗ {one.output} at {where(one)}: {one.message}", class_="bad")
    for note in verification.notes:
        say(parent, note.text, class_="warning")
    if verification.divergence:
        _divergence(parent, verification.divergence)
    if verification.rankings:
        columns = ("best kept", "Kendall's tau", "places moved", "swapped within", "half", "90 %", "99 %", "all", "")
        orders = [
            (
                f"{each.overlap:.0%} of {each.top}", f"{each.tau:.6g}", f"{each.move:,}", small(each.gap),
                *map(small, each.quantiles), each.output,
            )
            for each in verification.rankings
        ]  # fmt: skip
        add_table(parent, Table("Order", "of candidates by score, and how far scores are apart", columns, orders, 8))
    compared = [
        (
            f"{one.batch:,}", known(one.float64), known(one.float64_bound), small(one.max_abs), small(one.bound),
            MARKS[one.passed][0], one.output, one.case,
        )
        for one in sorted(verification.differences, key=lambda one: one.passed)
    ]  # fmt: skip
    if compared:
        folded = add(parent, "details")
        add(folded, "summary", f"All {len(compared):,} comparisons")
        if verification.basis:
            add(folded, "p", f"Allowed in float64: {small(verification.rtol)} of the scale; {verification.basis}.")
        compared_by = ("batch", "in float64", "allowed", "difference", "allowed", "", "output", "case")
        add_table(folded, Table("", "", compared_by, compared, 5), "Comparisons")
    if report.structure:
        folded = add(parent, "details")
        add(folded, "summary", f"The graph: {sum_of_changes(report.structure)}")
        changes = [
            (f"{each.added:,}", f"{each.removed:,}", f"{each.changed:,}", each.op_type)
            for each in by_operator(report.structure.changes)
        ]
        add_table(folded, Table("", "", ("added", "removed", "changed", "operator"), changes, 3), "Changes by operator")


def _divergence(parent: Xml.Element, found: Divergence) -> None:
    rows = [("tensor", f"{found.tensor}, the first that differs: by {small(found.difference)} {precision(found)}")]
    rows += [("made by", node) for node in reversed(found.nodes[-4:])]
    rows += [("from", f"{', '.join(found.agreeing)}, which agree")] if found.agreeing else []
    rows += [("rule", f"{found.rule}: {found.reason}")] if found.rule else []
    if found.inputs:
        rows.append(("inputs", f"{found.inputs}: {counted(found.candidates or 0)}, the least that fails"))
    rows += [("again", found.command)] if found.command else []
    add_table(parent, Table("Where it begins", "", ("", ""), rows, 0))


def replayed(parent: Xml.Element, replay: Replay) -> None:
    """What recorded requests showed, what went wrong first."""
    for sentence in replay_words.problems(replay):
        say(parent, sentence, class_="warning" if replay.passed else "bad")
    for table in replay_words.tables(replay):
        add_table(parent, table)


def computed(parent: Xml.Element, made: Precomputed) -> None:
    """What was stored of the rows of a table."""
    for table in replay_words.computed_tables(made):
        add_table(parent, table)


def inputs(parent: Xml.Element, report: Report) -> None:
    """Every input with its role, and what could be declared where that was looked for."""
    if report.survey:
        for table in survey_words.tables(report.survey, surveyed_cost(report)):
            add_table(parent, table)
        return
    roles = {given.name: given for given in report.request_inputs}
    rows = []
    for tensor in report.model.inputs:
        given = roles.get(tensor.name)
        holds = ROWS[given.rows if given else "candidates"]
        rows.append((tensor.name, typed(tensor), "request" if given else "candidates", holds, _reason(given)))
    add_table(parent, Table("", "", ("input", "type", "role", "holds", "why"), rows, 0), "Inputs")
    outputs = [(tensor.name, typed(tensor)) for tensor in report.model.outputs]
    add_table(parent, Table("", "", ("output", "type"), outputs, 0), "Outputs")


def _reason(given: object) -> str:
    return getattr(given, "reason", "")


def remarks(parent: Xml.Element, report: Report) -> None:
    """What was done about each node, or why nothing was, the most arithmetic first."""
    ordered = sorted(report.remarks, key=lambda remark: -remark.macs_before)
    columns = ("before", "after", "", "node", "form", "why")
    rows = []
    for remark in ordered:
        numbers = [count(macs) if remark.macs_before else "" for macs in (remark.macs_before, remark.macs_after)]
        node = f"{remark.op_type} {remark.tensor}".strip()
        rows.append((*numbers, MARKS[remark.status][0], node, remark.forms, _why(remark)))
    folded = add(parent, "details")
    add(folded, "summary", f"All {len(rows):,} products and remarks")
    add_table(folded, Table("", "", columns, rows, 2), "Products and remarks")


def _why(remark: Remark) -> str:
    return f"{remark.reason} → {remark.next_step}" if remark.next_step else remark.reason


def settings(parent: Xml.Element, report: Report) -> None:
    """The options in effect, by which versions it was made, and how long that took."""
    made = [f"{name} {version}" for name, version in report.versions.items()]
    made += [f"{report.seconds:.3g} s"] if report.seconds is not None else []
    if made:
        add(parent, "p", f"Made by {', '.join(made)}.", class_="note")
    if report.configuration:
        rows = [(name, _setting(value)) for name, value in report.configuration.options.items()]
        note = f"from {report.configuration.file}" if report.configuration.file else ""
        add_table(parent, Table("Options", note, ("", ""), rows, 0))


def _setting(value: object) -> str:
    """A value as a user would give it; a dash for what is not set."""
    match value:
        case None | () | {}:
            return "-"
        case bool():
            return "yes" if value else "no"
        case tuple() | list():
            return " ".join(map(str, value))
        case _:
            return str(value)
