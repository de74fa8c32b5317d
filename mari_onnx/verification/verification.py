"""The verification of an optimized model against the one it was made from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import onnx
import onnxruntime as ort

from mari_onnx.document import ModelLike, as_document
from mari_onnx.errors import UserError
from mari_onnx.report.model import Difference, Verification
from mari_onnx.verification.compare import (
    HARDLY_JUDGED,
    SAME_FUNCTION,
    SAME_RECURRENCE,
    Observation,
    Tolerance,
    failure,
    judge,
    own_error,
)
from mari_onnx.verification.float64 import has_recurrence, raise_feeds, raised
from mari_onnx.verification.inputs import Input, draw, extents, inputs_of
from mari_onnx.verification.ranges import Trace, trace
from mari_onnx.verification.runtime import Array, Run, RunError, Source, interpreter, runner

DEFAULT_BATCHES = (1, 2, 7, 64)

_RAISABLE = 1_500_000_000


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    *,
    tiled: Collection[str] = (),
    batches: Sequence[int] = DEFAULT_BATCHES,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verification:
    """Run both models on drawn inputs at each number of candidates, and compare every output.

    The rows of `tiled` inputs are identical, as their callers repeat them. Without tolerances the two questions of
    `compare.judge` are asked, the first of them in float64; `Verification.rtol` is then that question's bound. With
    `rtol` or `atol` (the other is 0), outputs pass when |optimized - reference| <= atol + rtol * max|reference|.
    A batch that the reference itself cannot run is skipped, with a note; when none is left, verification fails.
    `progress` is called with what is done next, and how many steps of how many are behind.

    Raises UserError when a model cannot be loaded, and when the two cannot be called alike.
    """
    if not batches or min(batches) < 0:
        raise UserError("There is nothing to verify at.", "Give one batch or more, each 0 or larger.")
    tolerance = None if rtol is None and atol is None else Tolerance(rtol or 0.0, atol or 0.0)
    models = Source("reference", as_document(reference)), Source("optimized", as_document(optimized))
    sessions = models[0].session(), models[1].session()
    _same_signature(*sessions)
    inputs = inputs_of(sessions[0])
    if unknown := sorted(set(tiled) - {each.name for each in inputs}):
        raise UserError(
            f"The model has no input `{unknown[0]}` to be tiled.",
            f"Its inputs are: {', '.join(each.name for each in inputs)}.",
        )

    notes: list[str] = []
    say = progress or (lambda *_: None)
    say("tracing inputs", 0, len(batches) + 1)
    traced = _trace(models[0], inputs, notes)
    exact = _float64(models, notes) if tolerance is None else None
    same = SAME_RECURRENCE if any(has_recurrence(each.proto) for each in models) else SAME_FUNCTION
    if not any(isinstance(dim, str) for each in inputs for dim in each.dims):
        notes.append("no input has a dynamic axis: the model was run once, as it is")
        batches = [max((each.dims[0] for each in inputs if each.dims and isinstance(each.dims[0], int)), default=1)]

    observations: dict[str, list[Observation]] = {}
    differences: list[Difference] = []
    for done, batch in enumerate(dict.fromkeys(batches), 1):
        say(f"batch {batch}", done, len(batches) + 1)
        run = runner(sessions[0])
        drawn = _draw(run, inputs, traced, batch, seed, tiled, notes)
        if drawn is None:
            continue
        feeds, expected = drawn
        try:
            got = runner(sessions[1])(feeds)
        except RunError as error:
            differences += failure(batch, expected, f"the optimized model does not run: {error}")
            continue
        exactly = _run_exactly(exact, feeds, batch, notes)
        for name, value in expected.items():
            pair = None if exactly is None else (exactly[0][name], exactly[1][name])
            observations.setdefault(name, []).append(Observation(batch, name, value, got[name], pair))

    for name, seen in observations.items():
        differences += judge(seen, tolerance, same)
        if (off := own_error(seen)) > HARDLY_JUDGED:
            notes.append(
                f"output `{name}`: the reference is {off:.1%} off its own float64 result, so this tells little"
            )
    if not differences:
        notes.append("nothing was compared: the reference ran at no batch")
    reported = tolerance or Tolerance(same, 0.0)
    differences.sort(key=lambda d: list(batches).index(d.batch))
    passed = bool(differences) and all(d.passed for d in differences)
    return Verification(passed, seed, reported.rtol, reported.atol, tuple(differences), tuple(notes))


def _same_signature(reference: ort.InferenceSession, optimized: ort.InferenceSession) -> None:
    """Raise UserError unless the two are called alike: the same names, types and ranks."""
    sides = (
        ("input", reference.get_inputs(), optimized.get_inputs()),
        ("output", reference.get_outputs(), optimized.get_outputs()),
    )
    for kind, expected, got in sides:
        a, b = {each.name: each for each in expected}, {each.name: each for each in got}
        for name in [*a, *b]:
            if name not in a or name not in b:
                where = "reference" if name in a else "optimized"
                problem = f"{kind} `{name}` is only in the {where} model"
            elif a[name].type != b[name].type:
                problem = f"{kind} `{name}` is {a[name].type} in the reference, {b[name].type} in the optimized model"
            elif kind == "input" and len(a[name].shape) != len(b[name].shape):
                of_a, of_b = a[name].shape, b[name].shape
                problem = f"{kind} `{name}` has shape {of_a} in the reference, {of_b} in the optimized model"
            else:
                continue
            raise UserError(
                f"The models cannot be compared: {problem}.",
                "Give a model and what was made of it, with the signature kept.",
            )


def _trace(source: Source, inputs: Sequence[Input], notes: list[str]) -> Trace:
    try:
        traced = trace(source, inputs)
    except RunError as error:
        notes.append(f"what the integer inputs index could not be traced ({error}): ids were drawn from 0 to 1")
        return Trace({})
    unknown = [each.name for each in inputs if each.dtype.kind in "iu" and each.name not in traced.bounds]
    if unknown:
        notes.append(f"index nothing that could be traced, drawn from 0 to 1: {', '.join(unknown)}")
    return traced


def _draw(
    run: Run,
    inputs: Sequence[Input],
    traced: Trace,
    batch: int,
    seed: int,
    tiled: Collection[str],
    notes: list[str],
) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """Inputs that the reference can run, and what it makes of them; None, and a note, when there are none."""
    sizes = extents(inputs, batch, traced.requests)

    def attempt(largest_id: int | None, nonnegative: bool) -> tuple[dict[str, Array], dict[str, Array]] | RunError:
        rng = np.random.default_rng([seed, batch])
        feeds = draw(inputs, traced.bounds, sizes, rng, tiled=tiled, largest_id=largest_id, nonnegative=nonnegative)
        try:
            return feeds, run(feeds)
        except RunError as error:
            return error

    largest_id = None
    drawn = attempt(largest_id, nonnegative=False)
    if isinstance(drawn, RunError):
        problem, largest_id = drawn, 1
        drawn = attempt(largest_id, nonnegative=False)
        if isinstance(drawn, RunError):
            notes.append(f"batch {batch} was skipped: the reference does not run ({problem})")
            return None
        notes.append(f"batch {batch}: only ids 0 and 1, because the reference does not run on larger ones ({problem})")
    if not _finite(drawn[1]):  # the logarithm or the root of a negative feature tells nothing
        again = attempt(largest_id, nonnegative=True)
        drawn = again if not isinstance(again, RunError) and _finite(again[1]) else drawn
    feeds, outputs = drawn
    for name, value in outputs.items():
        if value.size and value.dtype.kind == "f" and not np.isfinite(value).any():
            notes.append(f"batch {batch}: output `{name}` of the reference is nowhere finite, so this tells little")
    return feeds, outputs


def _finite(outputs: dict[str, Array]) -> bool:
    return all(np.isfinite(value).all() for value in outputs.values() if value.dtype.kind == "f")


def _float64(models: tuple[Source, Source], notes: list[str]) -> tuple[Run, Run] | None:
    """Both models in float64; None, and a note, where one cannot be had."""
    try:
        return _raise(models[0]), _raise(models[1])
    except RunError as error:
        notes.append(f"compared in the model's own precision only: {error}")
        return None


def _raise(source: Source) -> Run:
    if source.document.bytes > _RAISABLE:
        raise RunError(f"the {source.role} model is too large to be raised to float64")
    model = raised(source.proto)
    try:
        return runner(source.variant(model))
    except RunError:  # onnxruntime has no float64 kernel for some operator
        if source.document.base_dir is not None:
            onnx.load_external_data_for_model(model, str(source.document.base_dir))
        return interpreter(model)


def _run_exactly(
    models: tuple[Run, Run] | None, feeds: dict[str, Array], batch: int, notes: list[str]
) -> tuple[dict[str, Array], dict[str, Array]] | None:
    if models is None:
        return None
    try:
        return models[0](raise_feeds(feeds)), models[1](raise_feeds(feeds))
    except RunError as error:
        notes.append(f"batch {batch}: compared in the model's own precision only, float64 does not run ({error})")
        return None
