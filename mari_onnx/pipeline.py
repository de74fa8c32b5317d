"""The way of one model: load, roles, interpret, plan, emit, verify, save.

    load        a file becomes a `Document`, and that the graph that the analysis reads       document
    roles       which inputs are the request's, and what the caller sends of them             analysis
    interpret   every value gets its forms, one rule for each operator family                 analysis
    plan        of a few interpretations the one that takes least, if it is worth having      planning
    emit        the nodes of that plan become ONNX, grafted onto the document                 emission, partition
    verify      what was made runs beside the original                                        verification
    save        all files appear, or none does                                                document, by the command

`optimize`, `split` and `inspect` go this way, each as far as it has to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

import onnx

from mari_onnx.analysis.input_roles import InputRoles, declared_inputs, roles_of
from mari_onnx.analysis.reading import Reading, read
from mari_onnx.document.check import check
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.facts import facts
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import as_document
from mari_onnx.emission import write
from mari_onnx.errors import UserError
from mari_onnx.ir.cost import Work
from mari_onnx.partition.partition import partition
from mari_onnx.planning.plan import Plan
from mari_onnx.planning.search import best_plan
from mari_onnx.report.model import Command, Configuration, Cost, Remark, Report, Role
from mari_onnx.serving.mode import Mode
from mari_onnx.serving.recompose import together
from mari_onnx.version import __version__

NEWER_OPSET = "export the model for a newer opset"

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done and how many there are."""


@dataclass(frozen=True)
class Wishes:
    """What is asked for. Inputs are named by globs, and `batch` is the number of candidates for which it should pay."""

    user_inputs: tuple[str, ...]
    batch: int
    mode: Mode
    item_inputs: tuple[str, ...] = ()

    def configuration(self, command: Command) -> Configuration:
        """The same for the report."""
        options = {"user_inputs": self.user_inputs, "batch": self.batch, **asdict(self.mode.options)}
        return Configuration({**options, "item_inputs": self.item_inputs} if command == "split" else options)


@dataclass(frozen=True)
class Made:
    """What came of a model: new models by role, none where the original is as good, and what was done."""

    models: Mapping[Role, onnx.ModelProto]
    report: Report
    document: Document


def optimize(model: ModelLike, wishes: Wishes, *, verified: bool, progress: Progress | None) -> Made:
    """The model as one that computes the request's part once."""
    say = progress or silent
    say("reading", 0, 3)
    document = as_document(model)
    say("analysing", 1, 3)
    reading = roles(document, wishes)
    plan = best_plan(reading, wishes.batch)
    if wishes.mode.demanded:
        require_writable(plan)
    report = described("optimize", plan, wishes)
    if not report.changed:
        return Made(MappingProxyType({}), report, document)
    say("writing", 2, 3)
    result = write(plan.lowered).model
    report = replace(report, optimized=replace(facts(document.with_proto(result)), path=None))
    if verified:
        report = verify(report, document, [result], reading.roles, progress)
    return Made({"rank": result}, report, document)


def split(model: ModelLike, wishes: Wishes, *, verified: bool, progress: Progress | None) -> Made:
    """The model as two, or three: the user's part, the items' part and the ranking model."""
    say = progress or silent
    say("reading", 0, 3)
    document = as_document(model)
    say("analysing", 1, 3)
    plan = best_plan(roles(document, wishes), wishes.batch)
    require_writable(plan)
    say("cutting", 2, 3)
    parts = partition(plan)
    for part in parts.models.values():
        check(document.with_proto(part))
    report = replace(described("split", plan, wishes), changed=True, split=parts.report)
    if verified:
        report = verify(report, document, list(parts.models.values()), plan.reading.roles, progress)
    return Made(parts.models, report, document)


def inspect(model: ModelLike, wishes: Wishes) -> Report:
    """What `optimize` would do, and why."""
    return described("inspect", best_plan(roles(as_document(model), wishes), wishes.batch), wishes)


def roles(document: Document, wishes: Wishes) -> Reading:
    """The document with the roles of its inputs.

    Raises UserError for a glob that matches nothing, and for an input that would be the user's and the items'.
    """
    graph = Model(document)
    given = roles_of(graph, wishes.user_inputs, wishes.batch, wishes.mode)
    items = declared_inputs(graph, wishes.item_inputs, "item")
    both = [i.name for i in given.inputs if i.name in items]
    if both:
        raise UserError(f"input `{both[0]}` cannot be the user's and the items'", "narrow -u or --item-input")
    return read(graph, given, tuple(items))


def require_writable(plan: Plan) -> None:
    """Raise UserError unless the plan can be written in the model's opset."""
    if plan.lowered.lacking:
        raise UserError(plan.lowered.lacking, NEWER_OPSET)


def described(command: Command, plan: Plan, wishes: Wishes) -> Report:
    """The report on a plan: what it would change, and what that takes, before and after."""
    given = plan.reading.roles
    remarks = [*plan.program.context.remarks]
    if lacking := plan.lowered.lacking:
        name = plan.reading.model.graph.output[0].name
        remarks.append(Remark("refused", "opset", "", "", name, lacking, next_step=NEWER_OPSET))
    return Report(
        command, __version__, facts(plan.reading.model.document), given.inputs, tuple(remarks),
        cost(plan.program.work, wishes.batch), cost(plan.work, wishes.batch),
        calls=given.mode.instructions(given.tiled), changed=wishes.mode.demanded or plan.pays,
        configuration=wishes.configuration(command),
    )  # fmt: skip


def cost(work: Work, batch: int) -> Cost:
    """What a graph takes, for the report: time in microseconds."""
    per_candidate = (work.macs - work.fixed) / batch
    return Cost(batch, work.macs, work.fixed, per_candidate, work.nodes, round(work.time / 1e3, 3))


def verify(
    report: Report, document: Document, models: Sequence[onnx.ModelProto], given: InputRoles, progress: Progress | None
) -> Report:
    """The report, with how the verification of what was made went, and how its graph differs from the original's."""
    from mari_onnx.verification import Known, structural_difference  # onnxruntime takes its time to import
    from mari_onnx.verification import verify as compare

    parts = [document.with_proto(model) for model in models]
    drawn = given.mode.drawn_rows(given.tiled)
    # Constants are only ever moved, so that float64 is the whole of what may round.
    whole = together(document, parts, given.mode)
    known = Known(drawn.tiled, drawn.keys, moved=True, remarks=report.remarks)
    verification = compare(document, whole, known, progress=progress)
    result = parts[0] if len(parts) == 1 else whole
    return replace(report, verification=verification, structure=structural_difference(document, result))


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""
