"""The public functions: optimize, split, inspect and verify. The command line is a thin layer over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias, Unpack

import onnx

from mari_onnx.analysis.input_roles import Sides, calls, declared_inputs, sides
from mari_onnx.analysis.interpret import Program, interpret
from mari_onnx.document.check import check
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.facts import facts
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import as_document
from mari_onnx.emission import emit
from mari_onnx.errors import UserError
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.expressions import Node
from mari_onnx.ir.extents import symbols
from mari_onnx.planning.search import REQUESTS, run
from mari_onnx.report.model import Command, Configuration, Cost, Report, Role
from mari_onnx.serving.modes import INDEX_INPUT, Guard, Serving, UserBatch
from mari_onnx.serving.recompose import together
from mari_onnx.verification.options import OptionFields
from mari_onnx.version import __version__

DEFAULT_BATCH = 500
WORTHWHILE = 0.99
"""Estimated time, against the original's, from which an optimized model is worth having."""

REARRANGED = 0.95
"""The same where the arithmetic stays what it is: fewer nodes by so little are within what estimates are good for."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done and how many there are."""


@dataclass(frozen=True)
class Optimized:
    """The result of `optimize`: the model to ship, and what was done to it.

    `model` is the original where `changed` is false. Check `report.verification.passed` before using it.
    """

    model: onnx.ModelProto
    report: Report
    document: Document

    @property
    def changed(self) -> bool:
        return self.report.changed


def optimize(
    model: ModelLike,
    *,
    user_inputs: Sequence[str] = (),
    batch: int = DEFAULT_BATCH,
    user_batch: UserBatch = "tiled",
    request_index: str | None = None,
    request_key: Sequence[str] = (),
    guard: Guard | None = None,
    verify: bool = True,
    progress: Progress | None = None,
) -> Optimized:
    """Compute once for the request whatever depends on the request alone.

    `user_inputs` are globs over input names, `batch` is the number of candidates for which it should pay. With
    `verify` both models are run against each other, and `report.verification` says how that went; a failure does not
    raise.

    The result has the original's inputs and outputs, unless told otherwise. Of declared inputs whose rows the caller
    repeats ("tiled") the first row is used, or the first of each distinct `request_key`, inputs that hold an id of the
    request; `guard` checks that the others are the same, and makes every output NaN ("nan") or a further output
    `mari_guard` false ("output") where they are not. With `user_batch` "one" they have leading extent 1 instead, and
    with "requests" a row for each of several requests, of which `request_index` (a new input if None) says which one
    a candidate has. `report.calls` says in words what the caller has to send.

    Raises UserError for a file that is not a usable model, for a glob that matches no input, and for a way of serving
    that contradicts itself or the model.
    """
    say = progress or _silent
    say("reading", 0, 3)
    document = as_document(model)
    say("analysing", 1, 3)
    graph = Model(document)
    serving = Serving(user_batch, request_index, tuple(request_key), guard)
    given = sides(graph, user_inputs, batch, serving)
    program = run(graph, given, batch)
    report = _report("optimize", graph, given, program, user_inputs)
    say("writing", 2, 3)
    result = document.proto
    if report.changed:
        result = emit(program, graph)
        optimized = facts(document.with_proto(result))
        report = replace(report, optimized=replace(optimized, path=None))
    if verify and report.changed:
        report = _verified(report, document, [document.with_proto(result)], given, progress)
    return Optimized(result, report, document)


def inspect(
    model: ModelLike,
    *,
    user_inputs: Sequence[str] = (),
    batch: int = DEFAULT_BATCH,
    user_batch: UserBatch = "tiled",
    request_index: str | None = None,
    request_key: Sequence[str] = (),
    guard: Guard | None = None,
) -> Report:
    """What `optimize` would do, and why: the paper's colouring for a person.

    Raises UserError as `optimize` does.
    """
    document = as_document(model)
    graph = Model(document)
    given = sides(graph, user_inputs, batch, Serving(user_batch, request_index, tuple(request_key), guard))
    return _report("inspect", graph, given, run(graph, given, batch), user_inputs)


@dataclass(frozen=True)
class SplitModels:
    """The result of `split`: models by role ("user", "item" where asked for, "rank"), and what was done.

    Check `report.verification.passed` before using them.
    """

    models: Mapping[Role, onnx.ModelProto]
    report: Report
    document: Document


def split(
    model: ModelLike,
    *,
    user_inputs: Sequence[str] = (),
    item_inputs: Sequence[str] = (),
    batch: int = DEFAULT_BATCH,
    user_batch: UserBatch = "one",
    request_index: str | None = None,
    verify: bool = True,
    progress: Progress | None = None,
) -> SplitModels:
    """Two models of one: the user's part, once for each request, and the ranking model, which takes what it computed.

    The user model takes one row, or with `user_batch` "requests" or a `request_index` one for each of several requests.
    `item_inputs` are globs over the inputs that hold what an item has whoever asks: what depends on them alone becomes
    a third model. What crosses, and why, is in `report.split`. With `verify` the parts together are run against the
    original.

    Raises UserError as `optimize` does, and where there is nothing to cut off.
    """
    from mari_onnx.partition.partition import partition

    say = progress or _silent
    say("reading", 0, 3)
    document = as_document(model)
    say("analysing", 1, 3)
    graph = Model(document)
    serving = Serving(user_batch, request_index)
    given = sides(graph, user_inputs, batch, serving)
    items = declared_inputs(graph, item_inputs, "item")
    both = [i.name for i in given.inputs if i.name in items]
    if both:
        raise UserError(f"input `{both[0]}` cannot be the user's and the items'", "narrow -u or --item-input")
    program = run(graph, given, batch, items)
    say("cutting", 2, 3)
    parts = partition(program, graph, given, items)
    for part in parts.models.values():
        check(document.with_proto(part))
    report = _report("split", graph, given, program, user_inputs)
    configuration = Configuration(
        {**_configuration(user_inputs, batch, serving).options, "item_inputs": tuple(item_inputs)}
    )
    report = replace(report, changed=True, split=parts.report, configuration=configuration)
    if verify:
        documents = [document.with_proto(part) for part in parts.models.values()]
        report = _verified(report, document, documents, given, progress)
    return SplitModels(parts.models, report, document)


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    *,
    user_inputs: Sequence[str] = (),
    request_index: str | None = None,
    request_key: Sequence[str] = (),
    user_model: ModelLike | None = None,
    item_model: ModelLike | None = None,
    progress: Progress | None = None,
    **options: Unpack[OptionFields],
) -> Report:
    """Whether two models are the same function and equally accurate; see `mari_onnx.verification`.

    The optimized model may be called as `optimize` can have it, and may be a ranking model that takes values from a
    `user_model` and an `item_model`. Tiled inputs hold a single request's row unless a `request_key`, or the
    `request_index` of an optimized model that takes one row a request, tells several apart.

    The options are the fields of `mari_onnx.verification.Options`, each as a keyword: `effort`, "quick", "standard" or
    "thorough", says how much is run, and `batches` replace its numbers of candidates; `seed`, `inputs` and
    `input_ranges` say on which inputs; `rtol` and `atol` replace the two questions by a plain comparison; `runtime`
    names a second runtime; `failing` is where the smallest inputs on which the models differ are written, as .npz.

    Both models are run and neither is planned. Raises UserError when a model cannot be used, when a glob matches no
    input and when the signatures differ.
    """
    from mari_onnx.verification import Known, Options, structural_difference
    from mari_onnx.verification import verify as compare
    from mari_onnx.verification.notes import noted

    wishes = Options(**options)
    first, second = as_document(reference), as_document(optimized)
    graph = Model(first)
    given = sides(graph, user_inputs, DEFAULT_BATCH, Serving(request_key=tuple(request_key)))
    parts = [as_document(part) for part in (user_model, item_model) if part is not None]
    index = request_index if given.tiled else None
    tiled, keys = _drawn(given.tiled, request_key, index, [*parts, second])
    whole = together(first, [*parts, second], index)
    verification = compare(first, whole, Known(tiled, keys), wishes, progress)
    result = whole if parts else second
    before = after = structure = None
    notes: list[str] = []
    with noted(notes, "how the two graphs differ could not be found"):
        structure = structural_difference(first, result)
    with noted(notes, "the arithmetic of the two models could not be counted"):
        other = Model(result)
        before, after = _as_it_is(graph, given), _as_it_is(other, sides(other, user_inputs, DEFAULT_BATCH))
    said = {"user_inputs": tuple(user_inputs), "request_index": request_index, "request_key": tuple(request_key)}
    shown = ("batches", "effort", "seed", "rtol", "atol")
    said |= {name: getattr(wishes, name) for name in shown}
    return Report(
        "verify", __version__, facts(first), given.inputs, cost_before=before, cost_after=after,
        verification=replace(verification, notes=(*verification.notes, *notes)), optimized=facts(second),
        changed=first.proto != second.proto, structure=structure, configuration=Configuration(said),
    )  # fmt: skip


def _as_it_is(graph: Model, given: Sides) -> Cost:
    """What a model costs as it is, at the usual number of candidates: every tiled input has a row for each of them."""
    leading = graph.leading_symbols
    candidates = {*given.candidates, *(leading[name] for name in given.tiled)}
    selected = {leading[i.name] for i in given.inputs if i.rows == "requests" and i.name not in given.tiled}
    extents = {**dict.fromkeys(selected, REQUESTS), **dict.fromkeys(candidates, DEFAULT_BATCH)}
    return _cost(interpret(graph, (), CostModel(DEFAULT_BATCH, extents), candidates))


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _verified(
    report: Report, document: Document, parts: Sequence[Document], given: Sides, progress: Progress | None
) -> Report:
    """The report, with how the verification of what was made went, and what it is made of."""
    from mari_onnx.verification import Known, structural_difference
    from mari_onnx.verification import verify as compare

    index = given.serving.request_index if given.tiled else None
    tiled, keys = _drawn(given.tiled, given.serving.request_key, index, parts)
    # Constants are only ever moved, so that float64 is the whole of what may round.
    whole = together(document, parts, index)
    verification = compare(document, whole, Known(tiled, keys, moved=True, remarks=report.remarks), progress=progress)
    result = parts[0] if len(parts) == 1 else whole
    return replace(report, verification=verification, structure=structural_difference(document, result))


def _drawn(
    tiled: Sequence[str], key: Sequence[str], index: str | None, parts: Sequence[Document]
) -> tuple[Sequence[str], Sequence[str]]:
    """The inputs of which several rows are alike when a call is made up, and what tells the requests apart.

    A new index gives each candidate a request of its own: then no rows are alike.
    """
    if key or index:
        return tiled, [*key, *([index] if index else ())]
    new_index = any(i.name == INDEX_INPUT for part in parts for i in part.proto.graph.input)
    return () if new_index else tiled, ()


def _pays(report: Report, weight: float) -> bool:
    before, after = report.cost_before, report.cost_after
    assert before is not None and after is not None
    enough = WORTHWHILE if after.macs < WORTHWHILE * before.macs else REARRANGED
    faster = after.time_us * weight < enough * before.time_us
    return bool(report.request_inputs) and after.macs <= before.macs and faster


def _report(command: Command, graph: Model, given: Sides, program: Program, user_inputs: Sequence[str]) -> Report:
    nodes, arithmetic = program.plan
    cost = program.context.cost
    batch = cost.batch
    fixed = sum(cost.node_macs(n) for n in nodes if not _varies(n, program))
    total = sum(cost.node_macs(n) for n in nodes)
    time = sum(cost.node_time(n) for n in nodes) + cost.shape_arithmetic(arithmetic)
    after = Cost(
        batch, total, fixed, (total - fixed) / batch, len(nodes) + len(arithmetic), round(time / 1e3, 3)
    )  # fmt: skip
    report = Report(
        command, __version__, facts(graph.document), given.inputs, tuple(program.context.remarks), _cost(program),
        after, calls=calls(given), configuration=_configuration(user_inputs, batch, given.serving),
    )  # fmt: skip
    return replace(report, changed=given.serving.demanded or _pays(report, program.weight))


def _cost(program: Program) -> Cost:
    """What the model that was interpreted costs as it is."""
    batch = program.context.cost.batch
    return Cost(
        batch, program.macs, program.macs_fixed, (program.macs - program.macs_fixed) / batch, program.nodes,
        round(program.time / 1e3, 3),
    )  # fmt: skip


def _configuration(user_inputs: Sequence[str], batch: int, serving: Serving) -> Configuration:
    return Configuration({"user_inputs": tuple(user_inputs), "batch": batch, **asdict(serving)})


def _varies(node: Node, program: Program) -> bool:
    """Whether anything that the node computes has the candidates in its shape."""
    return any(
        not isinstance(e, int) and symbols(e) & program.context.candidates for t in node.outputs for e in t.shape or ()
    )
