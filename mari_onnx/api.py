"""The public functions: optimize, inspect and verify. The command line is a thin layer over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import onnx

from mari_onnx.document import Document, ModelLike, as_document, facts
from mari_onnx.emit import emit, planned
from mari_onnx.extent import symbols
from mari_onnx.interpret import Program
from mari_onnx.model import Model
from mari_onnx.report.model import Command, Cost, Report
from mari_onnx.request import Sides, run, sides
from mari_onnx.tensors import Node
from mari_onnx.version import __version__

DEFAULT_BATCH = 500
WORTHWHILE = 0.99
"""Estimated time, against the original's, from which an optimized model is worth having."""

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
    verify: bool = True,
    progress: Progress | None = None,
) -> Optimized:
    """Compute once for the request whatever depends on the request alone.

    `user_inputs` are globs over input names, `batch` is the number of candidates for which it should pay. The
    result has the original's inputs and outputs. With `verify` both models are run against each other, and
    `report.verification` says how that went; a failure does not raise.

    Raises UserError for a file that is not a usable model and for a glob that matches no input.
    """
    say = progress or _silent
    say("reading", 0, 3)
    document = as_document(model)
    say("analysing", 1, 3)
    graph = Model(document)
    given = sides(graph, user_inputs, batch)
    program = run(graph, given, batch)
    report = _report("optimize", graph, given, program)
    say("writing", 2, 3)
    result = document.proto
    if report.changed:
        result = emit(program, graph)
        optimized = facts(document.with_proto(result))
        report = replace(report, optimized=replace(optimized, path=None))
    if verify and report.changed:
        report = _verified(report, document, document.with_proto(result), given, progress)
    return Optimized(result, report, document)


def inspect(model: ModelLike, *, user_inputs: Sequence[str] = (), batch: int = DEFAULT_BATCH) -> Report:
    """What `optimize` would do, and why: the paper's colouring for a person.

    Raises UserError for a file that is not a usable model and for a glob that matches no input.
    """
    document = as_document(model)
    graph = Model(document)
    given = sides(graph, user_inputs, batch)
    return _report("inspect", graph, given, run(graph, given, batch))


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    *,
    user_inputs: Sequence[str] = (),
    batches: Sequence[int] | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    effort: str = "standard",
    inputs: str | Path | None = None,
    input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    failing: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Whether two models are the same function and equally accurate; see `mari_onnx.verification`.

    `effort` ("quick", "standard" or "thorough") says how much is run; `batches` replace its numbers of candidates.
    `inputs` is a file or a folder of inputs to run instead of drawn ones, and `input_ranges` are the least and the
    largest value to draw for an input. When the models differ, the smallest inputs on which they do are written to
    `failing`, as .npz.

    Raises UserError when a model cannot be used, when a glob matches no input and when the signatures differ.
    """
    first, second = as_document(reference), as_document(optimized)
    graph, other = Model(first), Model(second)
    given = sides(graph, user_inputs, DEFAULT_BATCH)
    from mari_onnx.verification import attributed, structure
    from mari_onnx.verification import verify as compare

    verification = compare(
        first, second, tiled=given.tiled, batches=batches, seed=seed, rtol=rtol, atol=atol, effort=effort,
        given=None if inputs is None else Path(inputs), ranges=input_ranges,
        failing=None if failing is None else Path(failing), progress=progress,
    )  # fmt: skip
    program = run(graph, given, DEFAULT_BATCH)
    if verification.divergence is not None:
        found = attributed(verification.divergence, program.context.remarks)
        verification = replace(verification, divergence=found)
    return Report(
        "verify", __version__, facts(first), given.inputs, cost_before=_cost(program),
        cost_after=_cost(run(other, sides(other, user_inputs, DEFAULT_BATCH), DEFAULT_BATCH)),
        verification=verification, optimized=facts(second), changed=first.proto != second.proto,
        structure=structure(first, second),
    )  # fmt: skip


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _verified(report: Report, document: Document, result: Document, given: Sides, progress: Progress | None) -> Report:
    """The report, with how the verification of what was made went, and what it is made of."""
    from mari_onnx.verification import attributed, structure  # onnxruntime takes its time to import
    from mari_onnx.verification import verify as compare

    # Constants are only ever moved, so that float64 is the whole of what may round.
    verification = compare(document, result, tiled=given.tiled, moved=True, progress=progress)
    if verification.divergence is not None:
        verification = replace(verification, divergence=attributed(verification.divergence, report.remarks))
    return replace(report, verification=verification, structure=structure(document, result))


def _pays(report: Report) -> bool:
    before, after = report.cost_before, report.cost_after
    assert before is not None and after is not None
    return bool(report.request_inputs) and after.macs <= before.macs and after.time_us < WORTHWHILE * before.time_us


def _report(command: Command, graph: Model, given: Sides, program: Program) -> Report:
    nodes, arithmetic = planned(program, graph)
    cost = program.context.cost
    batch = cost.batch
    fixed = sum(cost.node_macs(n) for n in nodes if not _varies(n, program))
    total = sum(cost.node_macs(n) for n in nodes)
    time = sum(cost.node_time(n) for n in nodes) + cost.shape_arithmetic(arithmetic)
    after = Cost(
        batch, total, fixed, (total - fixed) / batch, len(nodes) + len(arithmetic), round(time / 1e3, 3)
    )  # fmt: skip
    report = Report(
        command, __version__, facts(graph.document), given.inputs, tuple(program.context.remarks), _cost(program), after
    )  # fmt: skip
    return replace(report, changed=_pays(report))


def _cost(program: Program) -> Cost:
    """What the model that was interpreted costs as it is."""
    batch = program.context.cost.batch
    return Cost(
        batch, program.macs, program.macs_fixed, (program.macs - program.macs_fixed) / batch, program.nodes,
        round(program.time / 1e3, 3),
    )  # fmt: skip


def _varies(node: Node, program: Program) -> bool:
    """Whether anything that the node computes has the candidates in its shape."""
    return any(
        not isinstance(e, int) and symbols(e) & program.context.candidates for t in node.outputs for e in t.shape or ()
    )
