"""The steps of a verification: check the signatures, trace the inputs, run both models, judge, explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mari_onnx.document.document import ModelLike
from mari_onnx.document.graph_view import shape_of
from mari_onnx.document.read import as_document
from mari_onnx.report.model import Verification
from mari_onnx.report.note import Note
from mari_onnx.serving.two_graphs import exported_below
from mari_onnx.verification.compare.constants import changed_rows
from mari_onnx.verification.compare.explain import located
from mari_onnx.verification.compare.judge import Tolerance
from mari_onnx.verification.comparison import Comparison, Progress
from mari_onnx.verification.inputs.calls import Drawn, Given
from mari_onnx.verification.inputs.cases import EFFORTS, Batches
from mari_onnx.verification.inputs.centres import centres
from mari_onnx.verification.inputs.different_extents import drawn_apart
from mari_onnx.verification.inputs.draw import Input, features_of, inputs_of, own_batch
from mari_onnx.verification.inputs.fixed_extents import that_run
from mari_onnx.verification.inputs.ranges import Trace, traced_or_noted
from mari_onnx.verification.notes import noted
from mari_onnx.verification.options import DEFAULTS, NOTHING_KNOWN, Known, Options
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME
from mari_onnx.verification.runtimes.answers import answering
from mari_onnx.verification.runtimes.onnxruntime import Array, Source
from mari_onnx.verification.signatures import check_signatures, check_tiled, order_of_outputs


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    known: Known = NOTHING_KNOWN,
    options: Options = DEFAULTS,
    progress: Progress | None = None,
) -> Verification:
    """Run both models on inputs at each number of candidates, compare every output, and explain a failure.

    A case that the reference itself cannot run is skipped, with a note; if no case is left, the verification fails.
    An exception while a failure is explained becomes a note, and the verdict stays. Without tolerances,
    `Verification.rtol` is the bound of the first question of `compare.judge`, the one in float64.
    `progress` is called with the next step in words, and with how many steps of how many are done.

    Raises UserError when a model cannot be loaded, and when inputs or outputs of the two models are not alike.
    """
    say = progress or _silent
    comparison = compare(reference, optimized, known, options, say)
    verification = comparison.verdict(options.seed, options.effort)
    verification = replace(verification, tiled=tuple(known.tiled), keys=tuple(known.keys))
    if not any(each.is_located for each in verification.differences):
        return verification
    say("looking for where it begins", 1, 2)
    notes: list[Note] = []
    with noted(notes, "where the difference begins could not be found"):
        failing = None if options.failing is None else Path(options.failing)
        verification = located(comparison, verification, known.remarks, failing)
    return replace(verification, notes=(*verification.notes, *notes))


def compare(
    reference: ModelLike,
    optimized: ModelLike,
    known: Known = NOTHING_KNOWN,
    options: Options = DEFAULTS,
    progress: Progress | None = None,
) -> Comparison:
    """Run both models and keep their outputs, which `Comparison.verdict` judges. Raises UserError as `verify` does."""
    say = progress or _silent
    models = Source("reference", as_document(reference)), Source("optimized", as_document(optimized))
    sessions = models[0].session(), models[1].session()
    check_signatures(*sessions)
    inputs = inputs_of(sessions[0])
    check_tiled(known.tiled, inputs)
    say("tracing inputs", 0, 1)
    notes = [
        Note("inputs-drawn", f"input `{info.name}` is declared without a shape: a scalar was drawn for it")
        for info in models[0].proto.graph.input
        if shape_of(info) is None
    ]
    runs = answering(models[0].runner(sessions[0])), answering(models[1].runner(sessions[1]))
    if options.inputs is None:
        inputs = that_run(inputs, models[0].proto, runs[0], notes)
    traced, unknown = traced_or_noted(models[0], inputs, options.input_ranges)
    if options.inputs is None:
        apart = drawn_apart(inputs, traced, known.tiled, runs, notes)
        if apart != inputs:  # the reference may run on these, and not on those of one extent
            inputs = apart
            traced, unknown = traced_or_noted(models[0], inputs, options.input_ranges)
    notes += unknown
    calls = _calls(models, inputs, traced, known, options, notes)
    tolerance = None
    if options.rtol is not None or options.atol is not None:
        tolerance = Tolerance(options.rtol or 0.0, options.atol or 0.0)
    order = order_of_outputs(*sessions)
    comparison = Comparison(models, runs, inputs, traced.requests, notes, tolerance, known.moved, order)
    if options.runtime != DEFAULT_RUNTIME:
        comparison.add_runtime(options.runtime)
    if known.assumed:
        comparison.vouch(known.assumed)
    comparison.run(calls, say)
    return comparison


def _silent(what: str, done: int, total: int) -> None:
    """A callback of progress that does nothing."""


def _calls(
    models: tuple[Source, Source],
    inputs: Sequence[Input],
    traced: Trace,
    known: Known,
    options: Options,
    notes: list[Note],
) -> Drawn | Given:
    """The calls to run: recorded ones where there are some, else drawn ones as the effort asks."""
    effort = EFFORTS[options.effort]
    batches = _batches(inputs, known, options, notes, exported_below(models[1].proto))
    if options.inputs is not None:
        return Given(inputs, traced, () if known.keys else known.tiled, notes, Path(options.inputs))
    chosen = {} if known.moved else _changed_ids(models, traced)
    drawn = Drawn(inputs, traced, known.tiled, known.keys, options.seed, effort, batches, notes, chosen)
    first = drawn.cases()[0] if drawn.needed else None
    if effort.edges and first is not None:
        drawn.centres = centres(models[0], features_of(inputs, traced.bounds), drawn.feeds(first))
    return drawn


def _changed_ids(models: tuple[Source, Source], traced: Trace) -> dict[str, Array]:
    """By input, the ids of the table rows whose stored values differ between the two models."""
    found: dict[str, Array] = {}
    for name, tables in traced.tables.items():
        ids = [changed_rows(*models, table) - offset for table, offset in tables]
        if any(each.size for each in ids):
            found[name] = np.unique(np.concatenate(ids))
    return found


def _batches(inputs: Sequence[Input], known: Known, options: Options, notes: list[Note], turn: int | None) -> Batches:
    """The numbers of candidates: of a model that takes one number only, that one.

    With fewer than `turn` candidates a model of two graphs runs the one, and from then on the other.
    """
    if (own := own_batch(inputs)) is not None:
        notes.append(
            Note("batch-other", "no input has a dynamic axis: the model was run at its own number of candidates")
        )
        return Batches([own])
    if options.batches is not None:
        return Batches(options.batches)
    effort = EFFORTS[options.effort]
    meant = known.batch
    if meant is not None and meant > MOST:
        said = f"run with {MOST:,} candidates at most, and not with {meant:,}; verify --batch {meant} does that"
        notes.append(Note("batch-other", said))
        meant = MOST
    if turn is not None:
        return Batches([*effort.batches, turn - 1, turn], meant, effort.further, turn)
    return Batches(effort.batches, meant, effort.further)


MOST = 2_000
"""The most candidates that are run without being asked for: in float64, activations of more may not fit into memory."""
