"""The public functions: `optimize`, `split`, `inspect`, `inputs`, `verify` and `bench`. The command line calls them.

result = mari_onnx.optimize("ranker.onnx", user_inputs=["user_*"], batch=500)
if result.changed and result.report.verification.passed:
    onnx.save(result.model, "ranker.optimized.onnx")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

from mari_onnx import pipeline, two_models
from mari_onnx.arguments import flag, names
from mari_onnx.budget import MAX_MEMORY, TIMEOUT, Limits, current, within
from mari_onnx.demands import MAKING, BenchFields, OptimizeDemands, SplitDemands, parted, recorded
from mari_onnx.document.check import blaming
from mari_onnx.document.document import ModelLike
from mari_onnx.document.passport import check_parts
from mari_onnx.document.read import as_document
from mari_onnx.errors import UserError
from mari_onnx.measurement.options import Options as Measurement
from mari_onnx.partition.partition import NO_BOUNDS
from mari_onnx.pipeline import Progress
from mari_onnx.policies import Trust, of_times
from mari_onnx.report.model import Configuration, Report
from mari_onnx.report.split import Role
from mari_onnx.results import OnFailure, Optimized, SplitModels, check, model_of
from mari_onnx.serving.modes import mode_of
from mari_onnx.serving.names import ONE, REQUESTS, TILED, GuardName, UserBatch
from mari_onnx.settings import DEFAULT_BATCH, Settings
from mari_onnx.survey.auto import shown
from mari_onnx.survey.survey import survey
from mari_onnx.traffic.functions import write_column_map
from mari_onnx.two_models import Called
from mari_onnx.verification.options import OptionFields, Options, Place


def optimize(
    model: ModelLike,
    *,
    user_inputs: str | Sequence[str] = (),
    batch: int | Sequence[int] = DEFAULT_BATCH,
    user_batch: UserBatch = TILED,
    request_index: str | None = None,
    request_key: str | Sequence[str] = (),
    guard: GuardName | None = None,
    allow_no_candidates: bool = False,
    dynamic_batch: bool = False,
    assume_masked: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
    **demands: Unpack[OptimizeDemands],
) -> Optimized:
    """Write a model that computes everything that depends on the request alone once for a request.

    `model` is a path or a ModelProto. `user_inputs` are globs, or one glob, over names of inputs of the user.
    `batch` is the number of candidates at which costs are counted. With two of them, such as [1, 500], calls with the
    smaller number count as much as those with the larger one. Where the model as it was exported is faster for few
    candidates, the result may hold both graphs, and choose by the number of candidates. With `verify` the result is run
    beside the original, and `report.verification` has the outcome.

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

    These arguments are keywords, too:

        timeout, max_memory   the seconds that analysis and verification may take (300), and the gigabytes of memory in
                              one process (8). The models run in a child process. Where that is over its limits, or
                              onnxruntime crashes in it, the verification fails with a note that says so.
        min_gain,             policies: the least times that the arithmetic becomes less, whether any gain is asked for,
        require_gain,         and the most times that the file becomes larger. What was found is in `report.policies`.
        max_size_growth
        fold_tables           the bytes that tables of embeddings may take that are multiplied in advance by the weights
                              of the products that read them, so that a product is a row that is looked up (0)
        require_verified,     policies: whether a changed model has to be verified, and the codes of the notes that its
        allow_notes           verification may have (see `report.note`)
        requests, request_id  with `user_inputs="auto"`: a file of recorded requests, and its column of ids. The inputs
                              that are the same in all rows of each request, and not in all requests, are the user's.
        metadata              whether a changed model says what it was made from, and how (see `document.passport`)
        on_failure            "raise" raises FailedError where the verification failed or a policy is not met, and by
                              default, "report", `report.passed` says so.

    Raises UserError for a file that is no usable model, for a glob that matches no input, for options that contradict
    each other or the model, and where all inputs with the candidates' axis are the user's: every candidate would get
    the same score. With `allow_no_candidates` such a model, a tower of the user alone, is optimized all the same.
    Raises UserError where the analysis is over its time or memory.
    """
    mode = mode_of(user_batch, request_index, names("request_key", request_key), guard)
    asked = parted(demands)
    settings = Settings(
        names("user_inputs", user_inputs),
        batch,
        mode,
        allow_no_candidates=allow_no_candidates,
        dynamic_batch=dynamic_batch,
        assume_masked=assume_masked,
        fold_tables=asked.fold_tables,
        metadata=asked.metadata,
    )
    flag("verify", verify)
    with within(**asked.limits):
        document = as_document(model)
        if taken := shown(document, settings, asked.requests):
            settings = replace(settings, user_inputs=taken.names)
        with blaming(document):
            made = pipeline.optimize(document, settings, verified=verify, progress=progress)
        report = _timed(replace(made.report, policies=asked.judged(made.report)))
        report = taken.explained(report) if taken else report
    report = _passed(report, asked.on_failure)
    return Optimized(made.models.get("rank", made.document.proto), report, made.document)


def inspect(
    model: ModelLike,
    *,
    user_inputs: str | Sequence[str] = (),
    batch: int | Sequence[int] = DEFAULT_BATCH,
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
    mode = mode_of(user_batch, request_index, names("request_key", request_key), guard)
    settings = Settings(
        names("user_inputs", user_inputs),
        batch,
        mode,
        allow_no_candidates=allow_no_candidates,
        dynamic_batch=dynamic_batch,
        assume_masked=assume_masked,
    )
    with within(**limits):
        document = as_document(model)
        with blaming(document):
            return _timed(pipeline.inspect(document, settings))


def split(
    model: ModelLike,
    *,
    user_inputs: str | Sequence[str] = (),
    item_inputs: str | Sequence[str] = (),
    batch: int | Sequence[int] = DEFAULT_BATCH,
    user_batch: UserBatch = ONE,
    request_index: str | None = None,
    dynamic_batch: bool = False,
    assume_masked: bool = False,
    crossing: Literal["float16"] | None = None,
    max_bytes: Mapping[Role, int] = NO_BOUNDS,
    verify: bool = True,
    progress: Progress | None = None,
    **demands: Unpack[SplitDemands],
) -> SplitModels:
    """Cut a model into a user model, which runs once for a request, and a ranking model, which takes its outputs.

    The user model takes one row, `user` [1, 4], or with `user_batch="requests"` or a `request_index` one row for each
    of R requests, [R, 4]. `item_inputs` are globs over inputs that depend on the item alone, such as `item_id`. With
    them a third model is cut off, which computes what depends on these inputs alone and can run before any request.
    `report.split` lists the crossings: the outputs of one model that are inputs of another. With `crossing="float16"`
    those that are computed in float32 cross in half precision, and `report.split.moved` is how far that moves scores.
    `max_bytes` are the most bytes that may cross in float32 for a request and for an item: {"user": 4096, "item": 256}.
    The other arguments are those of `optimize`; `verify` runs the models together beside the original.

    Raises UserError as `optimize` does, if no part of the model depends on the user alone, and where more bytes cross
    than may.
    """
    mode = mode_of(user_batch if request_index is None else REQUESTS, request_index)
    items = names("item_inputs", item_inputs)
    asked = parted(demands, gains=False)
    settings = Settings(
        names("user_inputs", user_inputs),
        batch,
        mode,
        items,
        dynamic_batch=dynamic_batch,
        assume_masked=assume_masked,
        metadata=asked.metadata,
        fold_tables=asked.fold_tables,
        crossing=crossing,
        max_bytes=max_bytes,
    )
    flag("verify", verify)
    with within(**asked.limits):
        document = as_document(model)
        with blaming(document):
            made = pipeline.split(document, settings, verified=verify, progress=progress)
        report = _timed(replace(made.report, policies=asked.judged(made.report)))
    return SplitModels(made.models, _passed(report, asked.on_failure), made.document)


def check_pair(user_model: ModelLike, rank_model: ModelLike, *, item_model: ModelLike | None = None) -> str:
    """The fingerprint that the models of one split have in common: a part of the key of a cache.

    Raises UserError where they are not those of one split, such as yesterday's user model and today's ranking model,
    where one takes the place of another, and for a model without a fingerprint. No model is run.
    """
    given: dict[Role, ModelLike | None] = {"user": user_model, "item": item_model, "rank": rank_model}
    parts = {role: as_document(model) for role, model in given.items() if model is not None}
    found = check_parts(parts, complete=True)
    assert found is not None, "the models are complete"
    return found


def verify(
    reference: ModelLike,
    optimized: ModelLike | Optimized,
    *,
    user_inputs: str | Sequence[str] = (),
    request_index: str | None = None,
    request_key: str | Sequence[str] = (),
    user_model: ModelLike | None = None,
    item_model: ModelLike | None = None,
    timeout: float = TIMEOUT,
    max_memory: float = MAX_MEMORY,
    allow_notes: Sequence[str] | None = None,
    progress: Progress | None = None,
    **options: Unpack[OptionFields],
) -> Report:
    """Whether two models are the same function and equally accurate; see `mari_onnx.verification`.

    `optimized` is a model, or the result of `optimize`. It may be called in any way that `optimize` can write: the way
    is found from its inputs and outputs. It may also be a ranking model, together with its `user_model` and
    `item_model`. In the inputs that are generated, tiled
    rows are all identical (one request), unless a `request_key` or a `request_index` tells several requests apart.

    The options are the fields of `mari_onnx.verification.Options`, each as a keyword:

        effort              how much is run: "quick", "standard" or "thorough"
        batches             numbers of candidates, instead of those of `effort`
        seed, inputs,       on which inputs the models are run
        input_ranges
        rtol, atol          compare with these tolerances, instead of asking the two questions
        runtime             a second runtime
        failing             a path: the smallest inputs on which the models differ are written there, as .npz

    `allow_notes` is a policy: the codes of the notes that the verification may have (see `report.note`).

    No plan is made. Raises UserError if a model cannot be used, if a glob matches no input, if the signatures differ in
    a way that no serving mode explains, and if the models of a split are not those of one split.
    """
    trust = Trust(allow_notes=allow_notes)
    with within(timeout, max_memory):
        parts = two_models.parts_of(model_of(optimized), user_model=user_model, item_model=item_model)
        called = Called(names("user_inputs", user_inputs), request_index, names("request_key", request_key))
        report = two_models.verify(reference, parts, called, Options(**options), progress)
        return _timed(replace(report, policies=trust.judged(report)))


def inputs(
    model: ModelLike,
    *,
    user_inputs: str | Sequence[str] = (),
    batch: int | Sequence[int] = DEFAULT_BATCH,
    requests: Place | None = None,
    request_id: str | None = None,
    write_map: Place | None = None,
    progress: Progress | None = None,
    **limits: Unpack[Limits],
) -> Report:
    """What each input of a model is, and what would be gained if it were declared the user's: `report.survey`.

    `requests` is a file of recorded candidates, .npz, .parquet or .jsonl, with a column for each input, and
    `request_id` is its column of the ids of requests. With them the report says which inputs are the same in all rows
    of each request, as those of a user are. Without them it has the groups of inputs whose names begin alike.

    `write_map` is a path: a column map for the file, which is Parquet then, is written there for `mari_onnx.replay`,
    with comments on what of it was guessed. The ids need not be named for that.

    No model is run. Raises UserError for a model or a file that cannot be used, and where one of the two is missing.
    """
    if write_map is not None and requests is None:
        raise UserError("a column map is of a file", "Give that, too: --requests.")
    known = recorded(requests, request_id) if write_map is None or request_id is not None else None
    with within(**limits):
        document = as_document(model)
        with blaming(document):
            if write_map is not None and requests is not None:
                write_column_map(document, Path(requests), Path(write_map))
            settings = Settings(names("user_inputs", user_inputs), batch, mode_of())
            return _timed(survey(document, settings, known, progress))


def bench(
    reference: ModelLike,
    optimized: ModelLike | Optimized | None = None,
    *,
    user_inputs: str | Sequence[str] = (),
    request_index: str | None = None,
    request_key: str | Sequence[str] = (),
    user_model: ModelLike | None = None,
    item_model: ModelLike | None = None,
    progress: Progress | None = None,
    **options: Unpack[BenchFields],
) -> Report:
    """How much faster `optimized` is than `reference`, on this machine: `report.benchmark`.

    Both are called in turns in each of six processes, and their times are compared round by round. Where no `optimized`
    is given, `reference` is optimized first, with these options of `optimize`: `batch`, `user_batch`, `guard`,
    `allow_no_candidates`, `dynamic_batch`, `assume_masked` and `verify`. If nothing can be gained then, or the
    verification fails, nothing is measured, and `report.benchmark` is None.

    `optimized` may also be the ranking model of a split, together with its `user_model` and `item_model`. A call is
    then one of the user model and one of the ranking model, and the report has the times of each alone, too. What the
    item model computes is at hand.

    Inputs are drawn as for `verify`, so that tiled rows are identical. The other options are the fields of
    `mari_onnx.measurement.Options`, each as a keyword:

        batches             numbers of candidates: 1, 10, 50, 200 and 1000
        threads             numbers of threads: 1
        concurrency         numbers of calls at once, made by threads that share a model: 1
        runtime             "onnxruntime" or "openvino"
        seconds             for each number of candidates, of threads and of calls at once: 4
        seed, inputs,       on which inputs the models are called
        input_ranges,
        extents
        profile             whether the time of each node is measured as well
        min_speedup,        policies: what was found is in `report.policies`
        max_slowdown

    `timeout` is for making the model, and once more for measuring. Raises UserError as `optimize` and `verify` do, and
    where the models do not end in that time.
    """
    given: dict[str, Any] = dict(options)
    making = {name: given.pop(name) for name in MAKING if name in given}
    limits = {name: given.pop(name) for name in ("timeout", "max_memory") if name in given}
    settings = Measurement(**given)
    called = Called(names("user_inputs", user_inputs), request_index, names("request_key", request_key))
    if optimized is not None:
        with within(**limits):
            parts = two_models.parts_of(model_of(optimized), user_model=user_model, item_model=item_model)
            return _timed(two_models.bench(reference, parts, called, settings, progress))
    if user_model is not None or item_model is not None:
        raise UserError("the ranking model of the split is missing", "Give it as the second model.")
    result = optimize(
        reference, user_inputs=user_inputs, request_index=request_index, request_key=request_key, progress=progress,
        **making, **limits,
    )  # fmt: skip
    made = replace(result.report, command="bench")
    if not result.changed:
        return replace(made, policies=of_times((), settings.min_speedup, settings.max_slowdown))
    if not made.passed:
        return made
    with within(**limits):
        parts = two_models.parts_of(model_of(result))
        timed = _timed(two_models.bench(result.document, parts, called, settings, progress))
    seconds = round((made.seconds or 0) + (timed.seconds or 0), 3)
    options_of_both = Configuration({**_options(made), **_options(timed)})
    return replace(
        made, benchmark=timed.benchmark, policies=timed.policies, configuration=options_of_both, seconds=seconds
    )


def _options(report: Report) -> Mapping[str, object]:
    return {} if report.configuration is None else report.configuration.options


def _timed(report: Report) -> Report:
    """The report with the time since the current budget began."""
    return replace(report, seconds=current().spent)


def _passed(report: Report, on_failure: OnFailure) -> Report:
    """The report. Raises FailedError where that is asked for."""
    check(report, failed=on_failure == "report")
    return report
