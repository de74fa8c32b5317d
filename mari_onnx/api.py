"""The public functions: `optimize`, `split`, `inspect` and `verify`. The command line is a thin layer over them.

result = mari_onnx.optimize("ranker.onnx", user_inputs=["user_*"], batch=500)
if result.changed and result.report.verification.passed:
    onnx.save(result.model, "ranker.optimized.onnx")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import onnx

from mari_onnx import pipeline
from mari_onnx.analysis.input_roles import InputRoles, roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.budget import MAX_MEMORY, TIMEOUT, Limits, within
from mari_onnx.document.check import blaming
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.facts import facts
from mari_onnx.document.graph_view import Model
from mari_onnx.document.provenance import assumed
from mari_onnx.document.read import as_document
from mari_onnx.pipeline import Progress, Settings
from mari_onnx.report.model import Configuration, Cost, Report, Role
from mari_onnx.serving.modes import mode_of, mode_of_result
from mari_onnx.serving.names import ONE, REQUESTS, TILED, GuardName, UserBatch
from mari_onnx.serving.recompose import together
from mari_onnx.verification.options import OptionFields
from mari_onnx.version import __version__

DEFAULT_BATCH = 500


@dataclass(frozen=True)
class Optimized:
    """The result of `optimize`: the model, and the report on how it was made.

    `model` is the original where `changed` is false. Check `report.verification.passed` before you use it.
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
    user_inputs: str | Sequence[str] = (),
    batch: int = DEFAULT_BATCH,
    user_batch: UserBatch = TILED,
    request_index: str | None = None,
    request_key: str | Sequence[str] = (),
    guard: GuardName | None = None,
    allow_no_candidates: bool = False,
    dynamic_batch: bool = False,
    assume_masked: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
    **limits: Unpack[Limits],
) -> Optimized:
    """Write a model that computes everything that depends on the request alone once for a request.

    `model` is a path or a ModelProto. `user_inputs` are globs, or one glob, over names of inputs of the user.
    `batch` is the number of candidates at which costs are counted. With `verify` the result is run beside the original,
    and `report.verification` has the outcome; a failed verification does not raise.

    By default the result has the original's inputs and outputs. A declared input whose rows the caller repeats is
    "tiled": of `user` [B, 4] the first row is used. These options change the way in which the result is called:

        request_key             names of inputs such as `user_id`. A call may mix requests: the first row of each
                                distinct key is used.
        guard="nan"             every output is NaN where tiled rows are not identical
        guard="output"          a boolean output `mari_guard` [1] is false where tiled rows are not identical
        user_batch="one"        tiled inputs have leading extent 1: `user` [1, 4]
        user_batch="requests"   tiled inputs have a row for each of R requests: `user` [R, 4]. An integer input [B]
                                selects the row of each candidate: `request_index`, or a new input if that is None.

    A causal mask of -inf keeps what stands before a candidate in a sequence apart from it. One of a finite number, such
    as -1e9, does so only where scores of attention are not as large. Where the graph gives no bound of the scores,
    `assume_masked` vouches that they, as q k' before a scale, are below 4,000 in magnitude. `report.assumed` has the
    nodes that needed it.

    `report.calls` says in words what the caller has to send.

    `dynamic_batch` makes a leading extent that was fixed at export, such as 200 in all inputs, one that may be any
    number. With `verify` the result is also compared with the model as it was exported, at that number, and with itself
    for fewer candidates. Raises UserError where the graph does not allow it, or candidates depend on each other.

    `limits` are `timeout`, the seconds that analysis and verification may take (300), and `max_memory`, the gigabytes
    of memory in one process (8). The models run in a child process. Where that is over its limits, or onnxruntime
    crashes in it, the verification fails with a note that says so.

    Raises UserError for a file that is no usable model, for a glob that matches no input, for options that contradict
    each other or the model, and where all inputs with the candidates' axis are the user's: every candidate would get
    the same score. With `allow_no_candidates` such a model, a tower of the user alone, is optimized all the same.
    Raises UserError where the analysis is over its time or memory.
    """
    mode = mode_of(user_batch, request_index, _names(request_key), guard)
    settings = Settings(
        _names(user_inputs),
        batch,
        mode,
        allow_no_candidates=allow_no_candidates,
        dynamic_batch=dynamic_batch,
        assume_masked=assume_masked,
    )
    with within(**limits):
        document = as_document(model)
        with blaming(document):
            made = pipeline.optimize(document, settings, verified=verify, progress=progress)
    return Optimized(made.models.get("rank", made.document.proto), made.report, made.document)


def inspect(
    model: ModelLike,
    *,
    user_inputs: str | Sequence[str] = (),
    batch: int = DEFAULT_BATCH,
    user_batch: UserBatch = TILED,
    request_index: str | None = None,
    request_key: str | Sequence[str] = (),
    guard: GuardName | None = None,
    allow_no_candidates: bool = False,
    dynamic_batch: bool = False,
    assume_masked: bool = False,
    **limits: Unpack[Limits],
) -> Report:
    """The report on what `optimize` would do with the same arguments, and why. No model is written.

    Raises UserError as `optimize` does.
    """
    mode = mode_of(user_batch, request_index, _names(request_key), guard)
    settings = Settings(
        _names(user_inputs),
        batch,
        mode,
        allow_no_candidates=allow_no_candidates,
        dynamic_batch=dynamic_batch,
        assume_masked=assume_masked,
    )
    with within(**limits):
        document = as_document(model)
        with blaming(document):
            return pipeline.inspect(document, settings)


@dataclass(frozen=True)
class SplitModels:
    """The result of `split`: models by role ("user", "rank", and "item" if asked for), and the report.

    Check `report.verification.passed` before you use them.
    """

    models: Mapping[Role, onnx.ModelProto]
    report: Report
    document: Document


def split(
    model: ModelLike,
    *,
    user_inputs: str | Sequence[str] = (),
    item_inputs: str | Sequence[str] = (),
    batch: int = DEFAULT_BATCH,
    user_batch: UserBatch = ONE,
    request_index: str | None = None,
    dynamic_batch: bool = False,
    assume_masked: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
    **limits: Unpack[Limits],
) -> SplitModels:
    """Cut a model into a user model, which runs once for a request, and a ranking model, which takes its outputs.

    The user model takes one row, `user` [1, 4], or with `user_batch="requests"` or a `request_index` one row for each
    of R requests, [R, 4]. `item_inputs` are globs over inputs that depend on the item alone, such as `item_id`. With
    them a third model is cut off, which computes what depends on these inputs alone and can run before any request.
    `report.split` lists the crossings: the outputs of one model that are inputs of another. The other arguments are
    those of `optimize`; `verify` runs the models together beside the original.

    Raises UserError as `optimize` does, and if no part of the model depends on the user alone.
    """
    mode = mode_of(user_batch if request_index is None else REQUESTS, request_index)
    settings = Settings(
        _names(user_inputs), batch, mode, _names(item_inputs), dynamic_batch=dynamic_batch, assume_masked=assume_masked
    )
    with within(**limits):
        document = as_document(model)
        with blaming(document):
            made = pipeline.split(document, settings, verified=verify, progress=progress)
    return SplitModels(made.models, made.report, made.document)


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    *,
    user_inputs: str | Sequence[str] = (),
    request_index: str | None = None,
    request_key: str | Sequence[str] = (),
    user_model: ModelLike | None = None,
    item_model: ModelLike | None = None,
    timeout: float = TIMEOUT,
    max_memory: float = MAX_MEMORY,
    progress: Progress | None = None,
    **options: Unpack[OptionFields],
) -> Report:
    """Whether two models are the same function and equally accurate; see `mari_onnx.verification`.

    `optimized` may be called in any way that `optimize` can write: the way is found from its inputs and outputs. It may
    also be a ranking model, together with its `user_model` and `item_model`. In the inputs that are generated, tiled
    rows are all identical (one request), unless a `request_key` or a `request_index` tells several requests apart.

    The options are the fields of `mari_onnx.verification.Options`, each as a keyword:

        effort              how much is run: "quick", "standard" or "thorough"
        batches             numbers of candidates, instead of those of `effort`
        seed, inputs,       on which inputs the models are run
        input_ranges
        rtol, atol          compare with these tolerances, instead of asking the two questions
        runtime             a second runtime
        failing             a path: the smallest inputs on which the models differ are written there, as .npz

    No plan is made. Raises UserError if a model cannot be used, if a glob matches no input, and if the signatures
    differ in a way that no serving mode explains.
    """
    parts = [part for part in (user_model, item_model) if part is not None]
    with within(timeout, max_memory):
        return _verified(
            reference, [*parts, optimized], _names(user_inputs), request_index, _names(request_key), progress, options
        )


def _verified(
    reference: ModelLike,
    models: Sequence[ModelLike],
    user_inputs: tuple[str, ...],
    request_index: str | None,
    request_key: tuple[str, ...],
    progress: Progress | None,
    options: OptionFields,
) -> Report:
    """The report of `verify`; the last of `models` is the optimized model, and those before it are parts of a split."""
    from mari_onnx.verification import Known, Options, structural_difference
    from mari_onnx.verification import verify as compare
    from mari_onnx.verification.notes import noted

    settings = Options(**options)
    first, second = as_document(reference), as_document(models[-1])
    parts = list(map(as_document, models[:-1]))
    with blaming(first, second, *parts):
        graph = Model(first)
        roles = roles_of(graph, user_inputs, DEFAULT_BATCH, mode_of(request_key=request_key))
        index = request_index if roles.tiled else None
        mode = mode_of_result(first, [*parts, second], index, request_key)
        drawn_rows = mode.drawn_rows(roles.tiled, request_key)
        whole = together(first, [*parts, second], mode)
        of_first, of_second = facts(first), facts(second)
    result = whole if parts else second
    before = after = structure = None
    notes: list[str] = []
    with noted(notes, "how the two graphs differ could not be found"):
        structure = structural_difference(first, result)
    with noted(notes, "the arithmetic of the two models could not be counted"):
        other = Model(result)
        before, after = _as_it_is(graph, roles), _as_it_is(other, roles_of(other, user_inputs, DEFAULT_BATCH))
    with blaming(first, second, *parts):
        relied_on = tuple(dict.fromkeys(name for part in [*parts, second] for name in assumed(part.proto)))
        known = Known(drawn_rows.tiled, drawn_rows.keys, assumed=relied_on)
        verification = compare(first, whole, known, settings, progress)
    configuration = {"user_inputs": user_inputs, "request_index": request_index, "request_key": request_key}
    shown = ("batches", "effort", "seed", "rtol", "atol")
    configuration |= {name: getattr(settings, name) for name in shown}
    return Report(
        "verify", __version__, of_first, roles.inputs, cost_before=before, cost_after=after,
        verification=replace(verification, notes=(*verification.notes, *notes)), optimized=of_second,
        changed=first.proto != second.proto, structure=structure, configuration=Configuration(configuration),
        assumed=relied_on,
    )  # fmt: skip


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Names or globs as a tuple. A string is one of them, and not a sequence of letters."""
    return (given,) if isinstance(given, str) else tuple(given)


def _as_it_is(graph: Model, roles: InputRoles) -> Cost:
    """The cost of one call of a model at the default number of candidates. No plan is made."""
    return pipeline.cost(read(graph, roles).work(DEFAULT_BATCH), DEFAULT_BATCH)
