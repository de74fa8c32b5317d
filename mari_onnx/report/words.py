"""The words that all views of a report share, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TypeAlias, assert_never

from mari_onnx.input_names import likely
from mari_onnx.report.benchmark_words import asked, timed
from mari_onnx.report.model import (
    LARGEST_SCORE,
    Change,
    Cost,
    Difference,
    Divergence,
    Moved,
    Report,
    Structure,
    Verification,
)
from mari_onnx.report.numbers import count, microseconds, ratio, size, small
from mari_onnx.report.replay_words import computed, computed_tables, replayed
from mari_onnx.report.replay_words import failed as failed_replay
from mari_onnx.report.replay_words import tables as replay_tables
from mari_onnx.report.split import Split
from mari_onnx.report.survey_words import options, surveyed
from mari_onnx.report.survey_words import tables as survey_tables
from mari_onnx.report.tables import Table

GOOD, BAD, WEAK, STRONG = "green", "bold red", "dim", "bold"


MARKS = {
    "applied": ("✓", GOOD),
    "refused": ("✗", "yellow"),
    "broken": ("✗", BAD),
    "as is": ("·", WEAK),
    True: ("✓", GOOD),
    False: ("✗", BAD),
}

WARNING = ("!", "bold yellow")
"""The mark of a verdict that is not all good, and its style."""


FIXED_BATCH = "batch"
"""The rule of a remark on a number of candidates that was fixed at export."""


Row: TypeAlias = tuple[str, Callable[[float], str], list[float]]
"""A row of a table: its label, the function that writes its numbers, and the numbers."""


def cost_rows(report: Report) -> Iterator[Row]:
    """The table of costs, a row for each quantity: the number before, and the number after where the model changed.

    No time is estimated where it was measured.
    """
    costs = [cost for cost in (report.cost_before, report.cost_after if report.changed else None) if cost]
    if not costs:
        return
    yield "multiply-adds", count, [cost.macs for cost in costs]
    yield "  once for the request", count, [cost.macs_fixed for cost in costs]
    yield "  for each candidate", count, [cost.macs_per_candidate for cost in costs]
    yield "nodes that compute", count, [cost.nodes for cost in costs]
    if report.benchmark is None:
        yield "estimated time", microseconds, [cost.time_us for cost in costs]
    if report.optimized and report.changed:
        yield "size", size, [report.model.bytes, report.optimized.bytes]


def by_operator(changes: Iterable[Change]) -> list[Change]:
    """The changes added up over all scopes, one entry an operator; the operator with the most nodes comes first."""
    found: dict[str, Change] = {}
    for one in changes:
        so_far = found.get(one.op_type, Change(one.op_type, "", 0, 0, 0))
        added, removed = so_far.added + one.added, so_far.removed + one.removed
        found[one.op_type] = replace(so_far, added=added, removed=removed, changed=so_far.changed + one.changed)
    return sorted(found.values(), key=lambda one: (-(one.added + one.removed + one.changed), one.op_type))


def sum_of_changes(structure: Structure) -> str:
    """The structural difference in one line: `75 nodes kept, 2 changed, 4 added, 9 removed; initializers ...`."""
    changes = structure.changes
    added, removed, changed = (sum(getattr(c, kind) for c in changes) for kind in ("added", "removed", "changed"))
    nodes = f"{structure.kept:,} nodes kept, {changed:,} changed, {added:,} added, {removed:,} removed"
    more, less, other = structure.initializers_added, structure.initializers_removed, structure.initializers_changed
    before, after = structure.initializer_bytes
    grown = f"{size(before)} → {size(after)}" if before != after else size(after)
    return f"{nodes}; initializers {more:,} added, {less:,} removed, {other:,} changed ({grown})"


def model_name(path: str | None) -> str:
    """The file of a model, without its folder."""
    return PurePath(path).name if path else "(in memory)"


def optimized_name(report: Report) -> str:
    """The file of the optimized model; `bench` may have made one that is in no file."""
    path = (report.optimized.path if report.optimized else None) or report.written
    return model_name(path) if path or report.command != "bench" else "(as optimize makes it)"


def subject(report: Report) -> str | None:
    """The path of the file that the verdict is about: the optimized model if there is one, else the model read."""
    optimized = report.optimized.path if report.optimized else None
    return optimized or report.written or report.model.path


def failed(verification: Verification) -> list[Difference]:
    """The comparisons that failed."""
    return [one for one in verification.differences if not one.passed]


def unverified(verification: Verification) -> str:
    """Why nothing was compared, in words."""
    return "; ".join(note.text for note in verification.notes) or "no output was compared"


def precision(found: Divergence) -> str:
    """In which precision the models differ, in words."""
    return "in float64" if found.in_float64 else "in the model's own precision"


def effort(verification: Verification) -> str:
    """What was run, in words: `seed 0, standard effort, onnxruntime`."""
    return f"seed {verification.seed}, {verification.effort} effort, {verification.runtime}"


def closeness(difference: Difference) -> float:
    """How near a comparison came to failing: the difference divided by the bound, so that 1 is just allowed."""
    return difference.max_abs / difference.bound if difference.bound else difference.max_abs


def worst(verification: Verification) -> Difference:
    """The comparison that is the furthest from passing, of a verification in which one failed."""
    return max(failed(verification), key=closeness)


def where(difference: Difference) -> str:
    """The case of a comparison in words: `batch 7`, or `batch 7 (largest ids)` for an edge case."""
    batch = f"batch {difference.batch}"
    return batch if difference.case == "drawn" else f"{batch} ({difference.case})"


def judged(report: Report) -> tuple[str, str, str]:
    """The verdict: a mark (one of ✓ ✗ ! ·), its style for rich, and one sentence."""
    verification = report.verification
    if report.replay is not None and not report.replay.passed:
        return (*MARKS[False], failed_replay(report.replay))
    if verification is not None and not verification.passed:
        return (*MARKS[False], _failure(report, verification))
    if missed := [asked(policy) for policy in report.policies if not policy.met]:
        nothing = "; nothing was written" if report.command == "optimize" else ""
        return (*MARKS[False], f"Not met: {'; '.join(missed)}{nothing}")
    match report.command:
        case "optimize":
            return _optimized(report)
        case "split":
            return _optimized(report) if report.split is None else _was_split(report, report.split)
        case "verify":
            return (*MARKS[True], _same(report))
        case "inspect":
            return (*MARKS["as is"], _prospect(report))
        case "bench":
            return _was_timed(report)
        case "replay":
            return _was_replayed(report)
        case "precompute":
            made = report.precomputed
            return (*MARKS[report.passed], "Nothing was computed" if made is None else computed(made))
        case "inputs":
            found = None if report.survey is None else surveyed(report.survey, surveyed_cost(report))
            return (*MARKS["as is"], found or _prospect(report))
        case _:
            assert_never(report.command)


def _optimized(report: Report) -> tuple[str, str, str]:
    where = f"written to {report.written}" if report.written else "nothing was written"
    if not report.changed:
        where = where if report.written is None else f"{where} as it was"
        return (*MARKS["as is"], f"Nothing can be gained here{_why_nothing(report)}: {where}")
    gain = _gain(report.cost_before, report.cost_after)
    gain = gain[:1].upper() + gain[1:]
    if report.verification is None:
        return (*WARNING, f"{gain}, not verified: {where}")
    mark = WARNING if report.left_out else MARKS[True]
    return (*mark, f"{gain}, {_predictions(report)}{_without(report)}: {where}")


def _was_timed(report: Report) -> tuple[str, str, str]:
    if report.benchmark is None:
        return (*MARKS["as is"], f"Nothing can be gained here{_why_nothing(report)}: nothing was measured")
    faster, said = timed(report.benchmark)
    same = f", the same predictions{_condition(report)}{_without(report)}" if report.verification else ""
    mark = MARKS["as is"] if faster is None else MARKS[True] if faster and not report.left_out else WARNING
    return (*mark, f"{said}{same}")


def _was_replayed(report: Report) -> tuple[str, str, str]:
    if report.replay is None:
        return (*MARKS[False], "Nothing was compared")
    mark = WARNING if report.replay.unrunnable.requests else MARKS[True]
    # That rows are identical is no condition here: it was found in all requests.
    return (*mark, f"The same predictions{_small_scores(report)}: {replayed(report.replay)}")


def _why_nothing(report: Report) -> str:
    """Why nothing is gained, and what would help, where that is known of the whole model."""
    fixed = next((remark for remark in report.remarks if remark.rule == FIXED_BATCH), None)
    if fixed is not None:
        return f", because {fixed.reason} ({fixed.next_step})"
    return "" if report.request_inputs else f", because no input is known to belong to the request ({_declare(report)})"


def _declare(report: Report) -> str:
    """What to do where no input is known to belong to the request."""
    named = likely([each.name for each in report.model.inputs])
    if not named:
        return "--user-input 'user_*' names those that do"
    return f"{options(named)} names those that look like it"


def surveyed_cost(report: Report) -> Cost | None:
    """The cost with what is declared already, where that pays."""
    return report.cost_after if report.changed else report.cost_before


def about_tables(report: Report) -> Iterator[Table]:
    """The tables of what is about recorded requests, or about the rows of a table."""
    if report.survey:
        yield from survey_tables(report.survey, surveyed_cost(report))
    if report.replay:
        yield from replay_tables(report.replay)
    if report.precomputed:
        yield from computed_tables(report.precomputed)


def left_out(report: Report) -> Iterator[str]:
    """A sentence on each group of rewrites that failed the verification: what it is a sign of, and what is left."""
    for each in report.left_out:
        what = "A bug in mari-onnx" if each.is_bug else "A rewrite that this runtime computes less accurately"
        rule = f" (rule {each.rule})" if each.rule else ""
        nodes = f"The result passes with these nodes as they are in the original: {', '.join(each.tensors)}"
        left = nodes if each.tensors else "The model stays as it is"
        yield f"{what}{rule}: {each.message}. {left}. Please report it, with the model if you can share it"


def _without(report: Report) -> str:
    """How much of the plan was left out, for the verdict."""
    nodes = sum(len(each.tensors) for each in report.left_out)
    if not nodes:
        return ""
    return f", without the rewrite of {nodes} node{'s' * (nodes != 1)} that failed the verification"


def _was_split(report: Report, split: Split) -> tuple[str, str, str]:
    per = {"user": "request", "item": "item"}
    said = []
    for role, name in per.items():
        bytes_ = [one.bytes for one in split.crossings if one.role == role]
        if bytes_:
            said.append(f"{len(bytes_)} value{'s' * (len(bytes_) != 1)}, {size(sum(bytes_))} for each {name}")
    where = ", ".join(part.written for part in split.parts if part.written)
    where = f"written to {where}" if where else "nothing was written"
    verified = report.verification is not None
    same = f"{_predictions(report)}{_without(report)}" if verified else "not verified"
    if split.moved is not None:
        same += f" but for {split.crossing}, which moves scores by up to {split.moved:.1e} of their scale"
    mark = MARKS[True] if verified and not report.left_out else WARNING
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
    if not report.request_inputs and not _why_nothing(report).startswith(", because the number"):
        return f"No input is known to belong to the request: {_declare(report)}"
    return f"Nothing can be gained here{_why_nothing(report)}"


NAMED = 3
"""How many inputs a verdict names; more are counted."""


def _condition(report: Report) -> str:
    """On which calls a result that takes tiled rows was shown to predict the same; nothing where it is on all.

    A result that takes a request's row once has no such condition, although the original was called with equal rows.
    """
    conditions = [_identical(report), _small_scores(report)]
    return " and".join(filter(None, conditions))


def _small_scores(report: Report) -> str:
    """What the caller vouched for, where a mask is believed because of that."""
    return (
        f" where attention scores are below {LARGEST_SCORE:,} in magnitude (--assume-masked)" if report.assumed else ""
    )


def _identical(report: Report) -> str:
    """Which rows have to be identical."""
    if report.verification is None:
        return ""
    keys, tiled = report.verification.keys, {i.name for i in report.request_inputs if i.rows == "tiled"}
    names = [name for name in report.verification.tiled if name in tiled and name not in keys]
    if not names:
        return ""
    which = _listed(names) if len(names) <= NAMED else f"these {len(names)} inputs"
    if keys:
        return f" where rows with the same {_listed(keys)} are identical in {which}"
    return f" where the rows of {which} are identical"


def _listed(names: Sequence[str]) -> str:
    """`a`, `b` and `c`"""
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def _predictions(report: Report) -> str:
    """What was shown of the predictions: on which calls they are the same, and which of them moved by a step."""
    moved = "" if report.verification is None else _moved(report.verification.moved)
    return f"the same predictions{_condition(report)}{moved}"


def _moved(outputs: Sequence[Moved]) -> str:
    """How many values moved because the model rounds on the way, and how many the runtime itself moves."""
    if not outputs:
        return ""
    ours, runtime, values = (sum(getattr(o, of) for o in outputs) for of in ("moved", "by_runtime", "values"))
    most, apart = max(o.furthest_by_runtime for o in outputs), max(o.apart_without for o in outputs)
    without = f"at most {small(apart)} of the scale apart" if apart else "equal"
    theirs = (
        f"{runtime:,} of the original's, by up to {small(most)} of the scale" if runtime else "none of the original's"
    )
    return (
        f", but for {ours:,} of {values:,} values, which the model's own rounding moves by a step (onnxruntime's "
        f"optimizations move {theirs}; with them off, the two models are {without})"
    )


def _same(report: Report) -> str:
    verification = report.verification
    if verification is None or not verification.differences:
        return "Nothing was compared"
    batches = sorted({one.batch for one in verification.differences})
    outputs = {one.output for one in verification.differences}
    drawn = [one for one in verification.differences if one.case == "drawn"]  # edge cases may be of any scale
    largest = max(one.max_rel for one in drawn or verification.differences)
    which = ", ".join(map(str, batches))
    n = f"{len(outputs)} output{'s' * (len(outputs) != 1)}"
    said = _predictions(report)
    return f"{said[:1].upper()}{said[1:]}: {n} at batches {which}, at most {small(largest)} of the scale apart"


def _failure(report: Report, verification: Verification) -> str:
    bad = failed(verification)
    nothing = "; nothing was written" if report.command == "optimize" else ""
    if not bad:
        return f"Nothing was shown to be the same: {unverified(verification)}{nothing}"
    order = next((one for one in bad if one.failure == "order"), None)
    if order is not None:
        return f"The signatures differ: {order.message}{nothing}"
    elsewhere = next((one for one in bad if one.failure == "another runtime"), None)
    if elsewhere is not None:
        return f"{elsewhere.message}{nothing}"
    most = worst(verification)
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return (
        f"The predictions differ: {most.output} at {where(most)} by {small(most.max_abs)}, "
        f"where {small(most.bound)} is allowed{more}{nothing}"
    )
