"""The verification of an optimized model against the one it was made from, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mari_onnx.document.document import ModelLike
from mari_onnx.document.read import as_document
from mari_onnx.report.model import Verification
from mari_onnx.verification.compare.constants import changed_rows
from mari_onnx.verification.compare.explain import located
from mari_onnx.verification.compare.judge import Tolerance
from mari_onnx.verification.comparison import Comparison, Progress
from mari_onnx.verification.inputs.calls import Drawn, Given
from mari_onnx.verification.inputs.cases import EFFORTS
from mari_onnx.verification.inputs.draw import Input, inputs_of
from mari_onnx.verification.inputs.ranges import Trace, trace
from mari_onnx.verification.notes import noted
from mari_onnx.verification.options import NOTHING_KNOWN, USUAL, Known, Options
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME
from mari_onnx.verification.runtimes.answers import answering
from mari_onnx.verification.runtimes.onnxruntime import Array, RunError, Source, runner
from mari_onnx.verification.signatures import check_signatures, check_tiled


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    known: Known = NOTHING_KNOWN,
    options: Options = USUAL,
    progress: Progress | None = None,
) -> Verification:
    """Run both models on inputs at each number of candidates, compare every output, and explain a failure.

    Without tolerances `Verification.rtol` is the bound of the first of the two questions of `compare.judge`, the one
    that is asked in float64. A case that the reference itself cannot run is skipped, with a note; when none is left,
    verification fails. What goes wrong while a failure is explained is a note: the verdict stays.
    `progress` is called with what is done next, and how many steps of how many are behind.

    Raises UserError when a model cannot be loaded, and when the two cannot be called alike.
    """
    say = progress or _silent
    comparison = compare(reference, optimized, known, options, say)
    verification = comparison.verdict(options.seed, options.effort)
    if verification.passed or not comparison.seen:
        return verification
    say("looking for where it begins", 1, 2)
    notes: list[str] = []
    with noted(notes, "where the difference begins could not be found"):
        failing = None if options.failing is None else Path(options.failing)
        verification = located(comparison, verification, known.remarks, failing)
    return replace(verification, notes=(*verification.notes, *notes))


def compare(
    reference: ModelLike,
    optimized: ModelLike,
    known: Known = NOTHING_KNOWN,
    options: Options = USUAL,
    progress: Progress | None = None,
) -> Comparison:
    """Run both models, and keep what was seen of them: `Comparison.verdict` judges it.

    Raises UserError as `verify` does.
    """
    say = progress or _silent
    models = Source("reference", as_document(reference)), Source("optimized", as_document(optimized))
    sessions = models[0].session(), models[1].session()
    check_signatures(*sessions)
    inputs = inputs_of(sessions[0])
    check_tiled(known.tiled, inputs)
    say("tracing inputs", 0, 1)
    notes: list[str] = []
    traced = _traced(models[0], inputs, notes)
    calls = _calls(models, inputs, traced, known, options, notes)
    tolerance = None
    if options.rtol is not None or options.atol is not None:
        tolerance = Tolerance(options.rtol or 0.0, options.atol or 0.0)
    runs = answering(runner(sessions[0])), answering(runner(sessions[1]))
    comparison = Comparison(models, runs, inputs, traced.requests, notes, tolerance, known.moved)
    if options.runtime != DEFAULT_RUNTIME:
        comparison.also(options.runtime)
    comparison.run(calls, say)
    return comparison


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _calls(
    models: tuple[Source, Source],
    inputs: Sequence[Input],
    traced: Trace,
    known: Known,
    options: Options,
    notes: list[str],
) -> Drawn | Given:
    """The inputs that are run: recorded ones, or drawn ones of the effort."""
    effort = EFFORTS[options.effort]
    batches = _batches(inputs, options.batches or effort.batches, notes)
    traced = traced.overridden(options.input_ranges, inputs)
    if options.inputs is not None:
        return Given(inputs, traced, () if known.keys else known.tiled, notes, Path(options.inputs))
    chosen = {} if known.moved else _changed_ids(models, traced)
    return Drawn(inputs, traced, known.tiled, known.keys, options.seed, effort, batches, notes, chosen)


def _changed_ids(models: tuple[Source, Source], traced: Trace) -> dict[str, Array]:
    """The ids, by input, of rows that the two models store differently."""
    found: dict[str, Array] = {}
    for name, tables in traced.tables.items():
        ids = [changed_rows(*models, table) - offset for table, offset in tables]
        if any(each.size for each in ids):
            found[name] = np.unique(np.concatenate(ids))
    return found


def _batches(inputs: Sequence[Input], batches: Sequence[int], notes: list[str]) -> Sequence[int]:
    if any(isinstance(dim, str) for each in inputs for dim in each.dims):
        return batches
    notes.append("no input has a dynamic axis: the model was run at its own number of candidates")
    return [max((each.dims[0] for each in inputs if each.dims and isinstance(each.dims[0], int)), default=1)]


def _traced(source: Source, inputs: Sequence[Input], notes: list[str]) -> Trace:
    try:
        traced = trace(source, inputs)
    except RunError as error:
        notes.append(f"what the integer inputs index could not be traced ({error}): ids were drawn from 0 to 1")
        return Trace({})
    unknown = [each.name for each in inputs if each.dtype.kind in "iu" and each.name not in traced.bounds]
    if unknown:
        notes.append(f"index nothing that could be traced, drawn from 0 to 1: {', '.join(unknown)}")
    return traced
