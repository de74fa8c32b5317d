"""The steps from a model to a verified result.

Each step, and the folder that has its code:

    load        read a file into a `Document`, and view it as a graph                     document
    roles       decide which inputs belong to the request                                 analysis
    interpret   derive the forms of every value, by one rule for each operator family     analysis
    plan        choose forms and kernels, so that a call takes the least time             planning
    emit        write the chosen nodes into a copy of the document                        emission, partition
    verify      run the result beside the original; leave out what fails (`attempts`)     verification
    save        write all files, or none (done by the command)                            document

`optimize` and `split` take all of these steps, `inspect` stops before emitting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

import onnx

from mari_onnx.analysis.dynamic_batch import fixed_batch, with_dynamic_batch
from mari_onnx.analysis.input_roles import (
    InputRoles,
    check_candidates,
    check_rows,
    declared_inputs,
    doubted_rows,
    roles_of,
)
from mari_onnx.analysis.reading import Reading, read
from mari_onnx.attempts import Outcome, first_that_passes
from mari_onnx.document.check import blame, check, why_not_loaded
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.facts import facts
from mari_onnx.document.graph_view import Model
from mari_onnx.document.passport import Passport, fingerprint, without_metadata
from mari_onnx.document.provenance import stamp_assumed
from mari_onnx.document.read import as_document
from mari_onnx.document.serialized import size
from mari_onnx.emission import write
from mari_onnx.errors import UnloadableError, UserError
from mari_onnx.graphs import PARTS, Graphs, graph_as_it_is, with_graph
from mari_onnx.installed import versions
from mari_onnx.ir.cost import Work
from mari_onnx.partition.partition import Partition, partition
from mari_onnx.planning.kernels import with_kernels
from mari_onnx.planning.plan import Plan, Turn
from mari_onnx.planning.products import products_of, settled
from mari_onnx.planning.search import best_plan
from mari_onnx.planning.two_graphs import with_exported
from mari_onnx.report.model import LARGEST_SCORE, Command, Cost, Remark, Report
from mari_onnx.report.note import Note
from mari_onnx.report.words import FIXED_BATCH
from mari_onnx.rounded import with_half_crossings
from mari_onnx.serving.recompose import together
from mari_onnx.serving.two_graphs import exported_below, join, optimized_alone
from mari_onnx.settings import Settings
from mari_onnx.version import __version__

NEWER_OPSET = "export the model for a newer opset"

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of the current step, the number of steps done, and the number of all steps."""


def optimize(model: ModelLike, settings: Settings, *, verified: bool, progress: Progress | None) -> Outcome:
    """Write a model that computes the request's part once. See `mari_onnx.optimize`."""
    say = progress or silent
    say("reading", 0, 3)
    source, document = as_read(model, settings, verified=verified)
    say("analysing", 1, 3)
    reading = roles(document, settings)

    def attempt(whole: frozenset[str]) -> Outcome:
        plan = planned(leaving(reading, whole), settings)
        if settings.mode.demanded:
            require_writable(plan)
        report = described("optimize", plan, settings)
        if not report.changed:
            return Outcome(MappingProxyType({}), report, document)
        say("writing", 2, 3)
        written = write(plan.lowered)
        result = written.model
        stamp_assumed(result, report.assumed)
        report = with_graph(report, "after", result, written.macs(plan.cost), products_of(plan, written))
        if plan.turn is not None:
            result, report = beside_exported(result, document, plan.turn, report)
        outcome = Outcome({"rank": result}, report, document)
        return looked_into(outcome, plan, progress, verified=verified)

    outcome = first_that_passes(attempt, may_stay=not settings.mode.demanded and not settings.dynamic_batch)
    return marked(outcome, source, settings)


def looked_into(outcome: Outcome, plan: Plan, progress: Progress | None, *, verified: bool) -> Outcome:
    """The outcome of a plan with its verification, if there is to be one, and with why a model does not load."""
    models, document = list(outcome.models.values()), outcome.document
    try:
        for model in models if len(models) > 1 else ():  # the parts of a split are verified as one model
            require_loaded(model, document)
        if verified:
            moved, given = not plan.lowered.combines_constants, plan.reading.roles
            return replace(outcome, report=verify(outcome.report, document, models, given, progress, moved=moved))
    except UnloadableError as error:
        return replace(outcome, unloadable=error)
    return outcome


def require_loaded(model: onnx.ModelProto, document: Document) -> None:
    """Raise UnloadableError where onnxruntime does not load a model that is written, and loads what it is made of.

    It may load neither, as it has to be told of the library of a custom operator.
    """
    why = why_not_loaded(document.with_proto(model))
    if why and not why_not_loaded(document):
        raise UnloadableError(f"onnxruntime cannot load the optimized model: {why}")


def beside_exported(
    result: onnx.ModelProto, document: Document, turn: Turn, report: Report
) -> tuple[onnx.ModelProto, Report]:
    """The result beside the graph as it was exported, and the report on it; both as they were if that does not load.

    onnxruntime settles an If of a known condition in a graph. In a branch it looks at both sides of that If, and may
    refuse what follows.
    """
    join(result, document.proto, turn.counted, turn.below)
    if why_not_loaded(document.with_proto(result), optimize=True):
        return optimized_alone(result), report
    said = f"With fewer than {turn.below} candidates, the graph runs as it was exported."
    return result, replace(report, calls=(*report.calls, said))


def split(model: ModelLike, settings: Settings, *, verified: bool, progress: Progress | None) -> Outcome:
    """Cut the model into a user model, perhaps an item model, and a ranking model. See `mari_onnx.split`."""
    say = progress or silent
    say("reading", 0, 3)
    source, document = as_read(model, settings, verified=verified)
    if exported_below(document.proto) is not None:
        problem = "the model cannot be split: it holds the exported graph and an optimized one"
        raise UserError(problem, "give the model as it was exported")
    say("analysing", 1, 3)
    reading = roles(document, settings, cut=True)

    def attempt(whole: frozenset[str]) -> Outcome:
        plan, parts = in_parts(leaving(reading, whole), settings, say)
        report = replace(described("split", plan, settings), split=parts.report)
        for part in parts.models.values():
            stamp_assumed(part, report.assumed)
        for role, part in parts.models.items():
            report = with_graph(report, PARTS[role], part, parts.macs)
        return looked_into(Outcome(parts.models, report, document), plan, progress, verified=verified)

    outcome = first_that_passes(attempt, may_stay=False)
    if settings.crossing is not None:
        outcome = with_half_crossings(outcome, reading.roles, verified=verified)
    return marked(outcome, source, settings)


def in_parts(reading: Reading, settings: Settings, say: Progress) -> tuple[Plan, Partition]:
    """The plan and its models; where items are declared, of two plans that whose ranking model takes less time.

    One keeps apart what follows from the items alone, and the other is that of a model whose items are not declared. In
    DIN `q @ (diag(k) W_m + W_q)` is one product for each step k of the history. With `q @ W_q` from the item model it
    is a product and a sum, which take longer although there is less arithmetic.

    Raises UserError where a plan cannot be written, and where it cannot be cut.
    """
    plan = planned(reading, settings, written=True)
    require_writable(plan)
    say("cutting", 2, 3)
    parts = partition(plan, settings.max_bytes)
    if not reading.premises.items:
        return plan, parts
    undeclared = replace(reading, premises=replace(reading.premises, items=()))
    other = planned(undeclared, settings, written=True)
    if other.lowered.lacking:
        return plan, parts
    declared = replace(other, reading=reading)
    if (others := cut_or_none(declared, settings)) is not None:
        return (declared, others) if others.rank_time < parts.rank_time else (plan, parts)
    alone = cut_or_none(other, settings)
    if alone is not None and (saved := 1 - alone.rank_time / parts.rank_time) >= NOTICED:
        said = f"Without an item model the ranking model is estimated to take {saved:.0%} less time."
        parts = replace(parts, report=replace(parts.report, choice=(*parts.report.choice, said)))
    return plan, parts


NOTICED = 0.01
"""The share of the time from which the report says that the ranking model would be faster without an item model."""


def cut_or_none(plan: Plan, settings: Settings) -> Partition | None:
    """The models of a plan; None where one has nothing to compute, or too much crosses."""
    try:
        return partition(plan, settings.max_bytes)
    except UserError:
        return None


def marked(outcome: Outcome, source: Document, settings: Settings) -> Outcome:
    """The outcome with the passport in its new models, in place; or without any metadata, if that is asked for.

    `source` is the model that was given, which may have another batch than `outcome.document`. The models that were
    verified differ from these by metadata alone, and no runtime computes with that.
    """
    report, models = outcome.report, outcome.models
    if not models:
        return outcome
    if settings.metadata:
        options = dict(settings.configuration(report.command).options)
        del options["metadata"]
        rows = {given.name: given.rows for given in report.request_inputs}
        Passport(report.version, source, options, rows).stamp(models)
    else:
        for proto in models.values():
            without_metadata(proto)
    if report.split is not None:
        written = {role: outcome.document.with_proto(proto) for role, proto in models.items()}
        parts = [
            replace(part, bytes=size(models[part.role]), sha256=written[part.role].sha256)
            for part in report.split.parts
        ]
        found = fingerprint(models["rank"])
        report = replace(report, split=replace(report.split, parts=tuple(parts), fingerprint=found))
    else:
        report = replace(report, optimized=replace(facts(outcome.document.with_proto(models["rank"])), path=None))
    return replace(outcome, report=report)


def leaving(reading: Reading, whole: frozenset[str]) -> Reading:
    """The reading, with the nodes that compute these tensors left as they are."""
    return replace(reading, premises=replace(reading.premises, whole=whole))


def inspect(model: ModelLike, settings: Settings) -> Report:
    """The report on what `optimize` would do, and why."""
    _, document = as_read(model, settings, verified=False)
    return described("inspect", planned(roles(document, settings), settings), settings)


def planned(reading: Reading, settings: Settings, *, written: bool = False) -> Plan:
    """The best plan, with faster kernels if it is `written` or pays without them."""
    plan = best_plan(reading, settings.batch)
    if written or settings.mode.demanded or plan.pays:
        return with_exported(with_kernels(plan, fold_tables=settings.fold_tables))
    return plan


def as_read(model: ModelLike, settings: Settings, *, verified: bool) -> tuple[Document, Document]:
    """The model as it was given, and as it is optimized: on request with a dynamic batch, else the same document.

    Where that is `verified`, it was run beside the model as it was given, and with fewer candidates. Raises UserError
    where the graph allows no dynamic batch.
    """
    document = as_document(model)
    if not settings.dynamic_batch:
        return document, document
    dynamic, batch = with_dynamic_batch(document)
    check(dynamic)
    if verified:
        from mari_onnx.verification.fewer_candidates import check_fewer_candidates

        check_fewer_candidates(document, dynamic, batch)
    return document, dynamic


def roles(document: Document, settings: Settings, *, cut: bool = False) -> Reading:
    """The document's graph with the roles of its inputs; `cut` says that the written model will be cut into several.

    Raises UserError for a glob that matches nothing, for an input that is both the user's and the items', and where
    all inputs with the candidates' axis are the user's.
    """
    graph = Model(document)
    input_roles = roles_of(graph, settings.user_inputs, settings.batch, settings.mode)
    if not settings.allow_no_candidates:
        check_candidates(graph, input_roles)
    check_rows(input_roles)
    items = declared_inputs(graph, settings.item_inputs, "item")
    shared = [i.name for i in input_roles.inputs if i.name in items]
    if shared:
        raise UserError(f"input `{shared[0]}` cannot be the user's and the items'", "narrow -u or --item-input")
    found = read(graph, input_roles, tuple(items), cut=cut, assume_masked=settings.assume_masked)
    return replace(found, premises=replace(found.premises, few=settings.few))


def require_writable(plan: Plan) -> None:
    """Raise UserError unless the plan can be written in the model's opset."""
    if plan.lowered.lacking:
        raise UserError(plan.lowered.lacking, NEWER_OPSET)


def described(command: Command, plan: Plan, settings: Settings) -> Report:
    """The report on a plan: roles of inputs, remarks on nodes, and the cost of a call before and after."""
    found = plan.reading.roles
    document = plan.reading.model.document
    remarks = settled(plan)
    if any(remark.status == "broken" for remark in remarks):
        blame(document)
    if (fixed := fixed_batch(plan.reading.model)) is not None:
        remarks.append(of_fixed_batch(plan.reading.model.inputs[0].name, fixed))
    if lacking := plan.lowered.lacking:
        name = plan.reading.model.graph.output[0].name
        remarks.append(Remark("refused", "opset", "", "", name, lacking, next_step=NEWER_OPSET))
    relied_on, calls = tuple(plan.program.context.facts.assumed), found.mode.instructions(found.tiled)
    if relied_on and found.mode.guard is not None:
        calls = (*calls, f"So it is where a score of attention reaches {LARGEST_SCORE:,} in magnitude.")
    if doubt := doubted_rows(plan.reading.model, found):
        calls = (*calls, doubt)
    changed = settings.mode.demanded or settings.dynamic_batch or plan.pays or command == "split"
    batch = found.length_of_lists or settings.batch
    return Report(
        command, __version__, facts(document), found.inputs, tuple(remarks if changed else map(not_done, remarks)),
        cost(plan.program.work, batch), cost(plan.work, batch) if changed else None, calls=calls,
        configuration=settings.configuration(command), versions=versions(), changed=changed,
        assumed=relied_on, graphs=Graphs(graph_as_it_is("before", plan.reading, plan.program)),
    )  # fmt: skip


def not_done(remark: Remark) -> Remark:
    """The remark on a node of a model that stays as it is, because all rewrites together gain nothing."""
    if remark.status != "applied":
        return remark
    reason = f"it could be, but nothing would be gained in the whole model: {remark.reason}"
    step = "if calls have more candidates, count more: --batch"
    return replace(remark, status="as is", reason=reason, next_step=step, macs_after=remark.macs_before)


def of_fixed_batch(name: str, batch: int) -> Remark:
    """The remark on a model that takes one number of candidates alone."""
    return Remark(
        "refused", FIXED_BATCH, "", "", name,
        f"the number of candidates is fixed at {batch}, the leading extent of all inputs, so that no axis counts them",
        next_step="export with a dynamic batch axis, or let --dynamic-batch make it one",
    )  # fmt: skip


def cost(work: Work, batch: int) -> Cost:
    """The work of one call as the report has it, with the time in microseconds. `work.time` is in nanoseconds."""
    per_candidate = (work.macs - work.fixed) / batch
    return Cost(batch, work.macs, work.fixed, per_candidate, work.nodes, round(work.time / 1e3, 3))


def verify(
    report: Report,
    document: Document,
    models: Sequence[onnx.ModelProto],
    input_roles: InputRoles,
    progress: Progress | None,
    *,
    moved: bool,
) -> Report:
    """The report with the result of the verification, and with the differences between the two graphs.

    Where constants are `moved` and never computed, in float64 both models have the same constants.
    """
    from mari_onnx.verification import Known, structural_difference  # slow to import
    from mari_onnx.verification import verify as compare
    from mari_onnx.verification.notes import noted

    parts = [document.with_proto(model) for model in models]
    drawn = input_roles.mode.drawn_rows(input_roles.tiled)
    whole = together(document, parts, input_roles.mode)
    batch = report.cost_before.batch if report.cost_before else None
    known = Known(drawn.tiled, drawn.keys, batch, moved=moved, remarks=report.remarks, assumed=report.assumed)
    verification = compare(document, whole, known, progress=progress)
    result = parts[0] if len(parts) == 1 else whole
    notes: list[Note] = []
    with noted(notes, "how the two graphs differ could not be found"):
        report = replace(report, structure=structural_difference(document, result))
    return replace(report, verification=replace(verification, notes=(*verification.notes, *notes)))


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""
