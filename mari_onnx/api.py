"""The public functions: optimize, split, inspect and verify. The command line is a thin layer over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import onnx

from mari_onnx import pipeline
from mari_onnx.analysis.input_roles import InputRoles, roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.facts import facts
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import as_document
from mari_onnx.pipeline import Progress, Wishes
from mari_onnx.report.model import Configuration, Cost, Report, Role
from mari_onnx.serving.modes import mode_of, mode_of_result
from mari_onnx.serving.names import ONE, REQUESTS, TILED, GuardName, UserBatch
from mari_onnx.serving.recompose import together
from mari_onnx.verification.options import OptionFields
from mari_onnx.version import __version__

DEFAULT_BATCH = 500


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
    user_batch: UserBatch = TILED,
    request_index: str | None = None,
    request_key: Sequence[str] = (),
    guard: GuardName | None = None,
    allow_no_candidates: bool = False,
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

    Raises UserError for a file that is not a usable model, for a glob that matches no input, for a way of serving that
    contradicts itself or the model, and where every input with the candidates' axis is the user's, so that all
    candidates would get one score: a tower of the user alone is one, and for that there is `allow_no_candidates`.
    """
    mode = mode_of(user_batch, request_index, request_key, guard)
    wishes = Wishes(tuple(user_inputs), batch, mode, allow_no_candidates=allow_no_candidates)
    made = pipeline.optimize(model, wishes, verified=verify, progress=progress)
    return Optimized(made.models.get("rank", made.document.proto), made.report, made.document)


def inspect(
    model: ModelLike,
    *,
    user_inputs: Sequence[str] = (),
    batch: int = DEFAULT_BATCH,
    user_batch: UserBatch = TILED,
    request_index: str | None = None,
    request_key: Sequence[str] = (),
    guard: GuardName | None = None,
    allow_no_candidates: bool = False,
) -> Report:
    """What `optimize` would do, and why: the paper's colouring for a person.

    Raises UserError as `optimize` does.
    """
    mode = mode_of(user_batch, request_index, request_key, guard)
    return pipeline.inspect(model, Wishes(tuple(user_inputs), batch, mode, allow_no_candidates=allow_no_candidates))


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
    user_batch: UserBatch = ONE,
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
    mode = mode_of(user_batch if request_index is None else REQUESTS, request_index)
    wishes = Wishes(tuple(user_inputs), batch, mode, tuple(item_inputs))
    made = pipeline.split(model, wishes, verified=verify, progress=progress)
    return SplitModels(made.models, made.report, made.document)


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
    given = roles_of(graph, user_inputs, DEFAULT_BATCH, mode_of(request_key=request_key))
    parts = [as_document(part) for part in (user_model, item_model) if part is not None]
    index = request_index if given.tiled else None
    mode = mode_of_result(first, [*parts, second], index, request_key)
    drawn = mode.drawn_rows(given.tiled, request_key)
    whole = together(first, [*parts, second], mode)
    of_first, of_second = facts(first), facts(second)
    verification = compare(first, whole, Known(drawn.tiled, drawn.keys), wishes, progress)
    result = whole if parts else second
    before = after = structure = None
    notes: list[str] = []
    with noted(notes, "how the two graphs differ could not be found"):
        structure = structural_difference(first, result)
    with noted(notes, "the arithmetic of the two models could not be counted"):
        other = Model(result)
        before, after = _as_it_is(graph, given), _as_it_is(other, roles_of(other, user_inputs, DEFAULT_BATCH))
    said = {"user_inputs": tuple(user_inputs), "request_index": request_index, "request_key": tuple(request_key)}
    shown = ("batches", "effort", "seed", "rtol", "atol")
    said |= {name: getattr(wishes, name) for name in shown}
    return Report(
        "verify", __version__, of_first, given.inputs, cost_before=before, cost_after=after,
        verification=replace(verification, notes=(*verification.notes, *notes)), optimized=of_second,
        changed=first.proto != second.proto, structure=structure, configuration=Configuration(said),
    )  # fmt: skip


def _as_it_is(graph: Model, given: InputRoles) -> Cost:
    """What a model takes as it is, at the usual number of candidates; nothing is planned."""
    return pipeline.cost(read(graph, given).work(DEFAULT_BATCH), DEFAULT_BATCH)
