"""What is found about two given models: whether they are the same, and how much faster the second one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mari_onnx import pipeline
from mari_onnx.analysis.input_roles import InputRoles, check_rows, doubted_rows, roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.check import blaming
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.facts import facts
from mari_onnx.document.graph_view import Model
from mari_onnx.document.passport import check_parts
from mari_onnx.document.provenance import assumed
from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.graphs import Graphs, graph_as_it_is
from mari_onnx.installed import versions
from mari_onnx.measurement.options import Options as Measurement
from mari_onnx.pipeline import Progress
from mari_onnx.policies import of_times
from mari_onnx.report.graph import Graph
from mari_onnx.report.model import Configuration, Cost, Report
from mari_onnx.report.note import Note
from mari_onnx.report.split import Role
from mari_onnx.serving.mode import DrawnRows, Mode
from mari_onnx.serving.modes import mode_of, mode_of_result
from mari_onnx.serving.names import INDEX_INPUT, REQUESTS
from mari_onnx.serving.recompose import feeding, together
from mari_onnx.serving.two_graphs import optimized_alone
from mari_onnx.settings import DEFAULT_BATCH
from mari_onnx.verification.options import Known, Options
from mari_onnx.version import __version__


@dataclass(frozen=True)
class Called:
    """How the two models are called: globs over the user's inputs, and what tells requests apart."""

    user_inputs: tuple[str, ...] = ()
    request_index: str | None = None
    request_key: tuple[str, ...] = ()


Parts = Mapping[Role, Document]
"""The models that stand for a reference: an optimized one as `rank`, alone or behind the other models of a split."""


@dataclass(frozen=True)
class Paired:
    """The reference, and the models that stand for it, each with its role; the last one has the outputs."""

    reference: Document
    of_roles: Parts
    graph: Model
    roles: InputRoles
    mode: Mode
    drawn: DrawnRows

    @property
    def parts(self) -> tuple[Document, ...]:
        return tuple(self.of_roles.values())

    @property
    def optimized(self) -> Document:
        return self.parts[-1]

    @property
    def documents(self) -> tuple[Document, ...]:
        return self.reference, *self.parts


def parts_of(
    optimized: ModelLike, *, user_model: ModelLike | None = None, item_model: ModelLike | None = None
) -> Parts:
    """The models that stand for the reference together, read; the last of them is `optimized`, which has the outputs.

    Raises UserError where one cannot be read, and where they are not those of one split, or not all of them.
    """
    if item_model is not None and user_model is None:
        raise UserError("an item model runs beside a user model", "Give that of the same split: --user-model.")
    given: dict[Role, ModelLike | None] = {"user": user_model, "item": item_model, "rank": optimized}
    parts = {role: as_document(model) for role, model in given.items() if model is not None}
    if len(parts) > 1:
        check_parts(parts, complete=False)
    return parts


def paired(reference: ModelLike, of_roles: Parts, called: Called) -> Paired:
    """The models, read, and how the last of them is called. Raises UserError for what cannot be read or called so."""
    first, parts = as_document(reference), tuple(of_roles.values())
    with blaming(first, *parts):
        graph = Model(first)
        roles = roles_of(graph, called.user_inputs, DEFAULT_BATCH, mode_of(request_key=called.request_key))
        check_rows(roles)
        index = called.request_index if roles.tiled else None
        mode = mode_of_result(first, parts, index, called.request_key)
        return Paired(first, of_roles, graph, roles, mode, mode.drawn_rows(roles.tiled, called.request_key))


def verify(reference: ModelLike, parts: Parts, called: Called, options: Options, progress: Progress | None) -> Report:
    """The report of `mari_onnx.verify`."""
    from mari_onnx.verification import structural_difference
    from mari_onnx.verification import verify as compare
    from mari_onnx.verification.notes import noted

    pair = paired(reference, parts, called)
    with blaming(*pair.documents):
        whole = together(pair.reference, pair.parts, pair.mode)
    result = whole if len(pair.parts) > 1 else pair.optimized
    notes: list[Note] = []
    report, structure = described(pair, result, called, notes), None
    with noted(notes, "how the two graphs differ could not be found"):
        structure = structural_difference(pair.reference, result)
    with blaming(*pair.documents):
        known = Known(pair.drawn.tiled, pair.drawn.keys, assumed=report.assumed)
        verification = compare(pair.reference, whole, known, options, progress)
    shown = {name: getattr(options, name) for name in ("batches", "effort", "seed", "rtol", "atol")}
    return replace(
        report, structure=structure, verification=replace(verification, notes=(*verification.notes, *notes)),
        configuration=configuration(called, shown),
    )  # fmt: skip


def bench(
    reference: ModelLike, parts: Parts, called: Called, options: Measurement, progress: Progress | None
) -> Report:
    """The report of `mari_onnx.bench` for two given models, or for a model and those of its split."""
    from mari_onnx.measurement.apart import measure
    from mari_onnx.measurement.calls import Pair

    pair, notes = paired(reference, parts, called), list[Note]()
    with blaming(*pair.documents):
        whole = together(pair.reference, pair.parts, pair.mode) if len(parts) > 1 else pair.optimized
        sent = feeding(pair.reference, pair.parts, pair.mode)
        request = tuple(given.name for given in pair.roles.inputs)
        report = replace(described(pair, whole, called, notes), command="bench")
        # A verification sends a row for each candidate where a service sends one for each request.
        measured = Pair(
            pair.reference, pair.optimized, sent, pair.roles.tiled, pair.drawn.keys, request, _index(pair.mode),
            parts.get("user"), parts.get("item"),
        )  # fmt: skip
        benchmark = measure(measured, options, progress)
    shown = {each.name: getattr(options, each.name) for each in fields(options)}
    return replace(
        report, benchmark=replace(benchmark, notes=(*benchmark.notes, *notes)),
        policies=of_times(benchmark.timings, options.min_speedup, options.max_slowdown),
        configuration=configuration(called, shown),
    )  # fmt: skip


def _index(mode: Mode) -> str | None:
    """The input that selects the rows of requests in a written model, if there is one."""
    return (mode.options.request_index or INDEX_INPUT) if mode.options.user_batch == REQUESTS else None


def described(pair: Paired, result: Document, called: Called, notes: list[Note]) -> Report:
    """What is known before a model runs, as a report of `verify`. `result` is the optimized model in one piece."""
    from mari_onnx.verification.notes import noted

    counted: dict[str, Any] = {}
    if doubt := doubted_rows(pair.graph, pair.roles):
        notes.append(Note("rows-of-requests", doubt))
    with noted(notes, "the arithmetic of the two models could not be counted"):
        other = Model(result.with_proto(optimized_alone(result.proto)))
        before, first = _as_it_is("before", pair.graph, pair.roles)
        after, second = _as_it_is("after", other, roles_of(other, called.user_inputs, DEFAULT_BATCH))
        counted = {"cost_before": before, "cost_after": after, "graphs": Graphs(first, second)}
    return Report(
        "verify", __version__, facts(pair.reference), pair.roles.inputs, optimized=facts(pair.optimized),
        versions=versions(),
        changed=pair.reference.proto != pair.optimized.proto,
        assumed=tuple(dict.fromkeys(name for part in pair.parts for name in assumed(part.proto))),
        **counted,
    )  # fmt: skip


def configuration(called: Called, options: dict[str, object]) -> Configuration:
    """How the models are called, and these other options, for a report."""
    given = {each.name: getattr(called, each.name) for each in fields(called)}
    return Configuration({**given, **options})


def _as_it_is(title: str, model: Model, roles: InputRoles) -> tuple[Cost, Callable[[Graph | None], Graph]]:
    """The cost of a call of a model at the default number of candidates, and what makes its graph. No plan is made."""
    reading = read(model, roles)
    program = reading.interpreted(DEFAULT_BATCH)
    return pipeline.cost(program.work, DEFAULT_BATCH), graph_as_it_is(title, reading, program)
