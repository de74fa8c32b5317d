"""Reports as Markdown for a comment on a pull request: verdict, failures and costs; the comparisons are folded away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mari_onnx.report.benchmark import Benchmark
from mari_onnx.report.benchmark_words import asked, broken_even, tables
from mari_onnx.report.model import Change, Difference, Divergence, Report, Structure, Verification
from mari_onnx.report.numbers import counted, known, ratio, size, small
from mari_onnx.report.replay_words import problems
from mari_onnx.report.tables import Table
from mari_onnx.report.words import (
    about_tables,
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
)

LIMIT = 65_536
"""The characters that a comment on GitHub may have."""

SHOWN = 40
"""How many rows a table has at most."""

_MARKS = {"✓": "✅", "✗": "❌", "!": "⚠️", "·": "ℹ️"}  # noqa: RUF001


def to_markdown(report: Report) -> str:
    """The report in GitHub's Markdown, short enough for a comment."""
    mark, _, verdict = judged(report)
    lines = [f"### {_MARKS[mark]} mari-onnx {report.command}: {_text(verdict)}", ""]
    lines += [f"{_code(model_name(report.model.path))}" + _against(report), ""]
    for sentence in left_out(report):
        lines += [f"> ⚠️ {_text(sentence)}", ""]
    if report.verification and report.verification.divergence:
        lines += _divergence(report.verification.divergence)
    for policy in report.policies:
        lines.append(f"- {'✅' if policy.met else '❌'} {_text(asked(policy))}")
    lines += [""] if report.policies else []
    lines += _cost(report)
    if report.benchmark:
        lines += _benchmark(report.benchmark)
    for sentence in problems(report.replay) if report.replay else ():
        lines += [f"> ⚠️ {_text(sentence)}", ""]
    for table in about_tables(report):
        lines += [f"**{table.title}** {_text(table.note)}", "", *_shown(table)]
    if report.verification:
        lines += _verification(report.verification)
        lines += _rankings(report.verification)
    if report.structure:
        lines += _structure(report.structure)
    text = "\n".join(lines).rstrip() + "\n"
    return text if len(text) <= LIMIT else text[: LIMIT - 40].rpartition("\n")[0] + "\n\n… (cut short)\n"


def _against(report: Report) -> str:
    if report.optimized is None:
        return ""
    return f" ({size(report.model.bytes)}) against {_code(optimized_name(report))} ({size(report.optimized.bytes)})"


def _cost(report: Report) -> Iterator[str]:
    rows = list(cost_rows(report))
    if not rows or report.cost_before is None:
        return
    yield from _table(
        (f"at {report.cost_before.batch} candidates", "before", "after", ""),
        (
            (label.strip(), form(values[0]), form(values[-1]), ratio(values[0], values[-1]))
            for label, form, values in rows
        ),
        right=(1, 2),
    )


def _shown(table: Table) -> Iterator[str]:
    return _table(table.columns, (tuple(map(_text, row)) for row in table.rows), right=range(table.words))


def _benchmark(benchmark: Benchmark) -> Iterator[str]:
    for table in tables(benchmark):
        shown = _shown(table)
        if table.title == "Time":
            yield f"**{table.title}** {_text(table.note)}"
            yield ""
            yield from shown
        else:
            yield from _folded(f"{table.title} {_text(table.note)}", shown)
    for even in benchmark.break_even:
        yield f"- {broken_even(even)}"
    yield f"- measured on {_text(benchmark.machine)}, {_text(benchmark.runtime)}"
    yield ""
    for note in benchmark.notes:
        yield f"> {_text(note.text)}"
    if benchmark.notes:
        yield ""


def _verification(verification: Verification) -> Iterator[str]:
    bad = failed(verification)
    for one in bad[:SHOWN]:
        yield f"- ❌ {_code(one.output)}, {_text(one.case)} at batch {one.batch}: {_text(one.message)}"
    if bad:
        yield ""
    for note in verification.notes:
        yield f"> {_text(note.text)}"
    if verification.notes:
        yield ""
    n, passed = len(verification.differences), sum(one.passed for one in verification.differences)
    yield from _folded(f"{passed} of {n} comparisons passed", _comparisons(verification))


def _comparisons(verification: Verification) -> Iterator[str]:
    said = effort(verification)
    about = f"{said[:1].upper()}{said[1:]}."
    if verification.basis:
        about += f" Allowed in float64: {small(verification.rtol)} of the scale; {_text(verification.basis)}."
    yield about
    yield ""
    rows = sorted(verification.differences, key=lambda one: one.passed)[:SHOWN]
    yield from _table(
        ("case", "batch", "output", "in float64", "allowed", "difference", "allowed", ""),
        (_comparison(one) for one in rows),
        right=(1, 3, 4, 5, 6),
    )
    if len(verification.differences) > SHOWN:
        yield f"and {len(verification.differences) - SHOWN} more"
        yield ""


def _comparison(one: Difference) -> tuple[str, ...]:
    return (
        _text(one.case), str(one.batch), _code(one.output), known(one.float64), known(one.float64_bound),
        small(one.max_abs), small(one.bound), "✅" if one.passed else "❌",
    )  # fmt: skip


def _rankings(verification: Verification) -> Iterator[str]:
    if not verification.rankings:
        return
    yield from _table(
        ("order of candidates", "best kept", "Kendall's tau", "places moved", "swapped at most", "99 % differ by"),
        (
            (
                _code(each.output), f"{each.overlap:.0%} of {each.top}", f"{each.tau:.6g}", str(each.move),
                small(each.gap), small(each.quantiles[2]),
            )
            for each in verification.rankings[:SHOWN]
        ),
        right=(1, 2, 3, 4, 5),
    )  # fmt: skip


def _divergence(found: Divergence) -> Iterator[str]:
    by = f"{small(found.difference)} {precision(found)}"
    yield f"**Begins at** {_code(found.tensor)}, the first tensor that differs: by {by}."
    if found.nodes:
        yield f"- made by {_some(found.nodes)}"
    if found.agreeing:
        yield f"- from {_some(found.agreeing)}, which agree"
    if found.rule:
        yield f"- rule {_code(found.rule)}: {_text(found.reason)}"
    if found.inputs:
        yield f"- the least that fails is in {_code(found.inputs)} ({counted(found.candidates or 0)})"
    if found.command:
        yield f"- again: {_code(found.command)}"
    yield ""


def _structure(structure: Structure) -> Iterator[str]:
    rows: list[Change] = by_operator(structure.changes)
    table = _table(
        ("operator", "added", "removed", "changed"),
        ((_code(each.op_type), str(each.added), str(each.removed), str(each.changed)) for each in rows[:SHOWN]),
        right=(1, 2, 3),
    )
    yield from _folded(f"Graph: {sum_of_changes(structure)}", table)


def _some(names: Sequence[str], most: int = 4) -> str:
    """The last few of the names, which are the nearest to the tensor that differs."""
    shown = ", ".join(_code(name) for name in names[-most:])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _folded(summary: str, content: Iterable[str]) -> Iterator[str]:
    yield f"<details><summary>{summary}</summary>"
    yield ""
    yield from content
    yield "</details>"
    yield ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        return
    aligned = set(right)
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join('---:' if i in aligned else '---' for i in range(len(header)))} |"
    for row in rows:
        cells = (cell.replace("|", "\\|") for cell in row)  # a | ends a cell even within code
        yield f"| {' | '.join(cells)} |"
    yield ""


def _code(name: str) -> str:
    """The name as code, with a fence that fits names with backquotes."""
    name = name.replace("\n", " ")
    fence = "``" if "`" in name else "`"
    return f"{fence} {name} {fence}" if fence == "``" else f"`{name}`"


def _text(words: str) -> str:
    """Words with all markup escaped, except for names in backquotes, which stay code."""
    escaped = words.replace("\\", "\\\\").replace("<", "&lt;").replace("\n", " ")
    return "`".join(part if i % 2 else _plain(part) for i, part in enumerate(escaped.split("`")))


def _plain(part: str) -> str:
    return part.replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
