"""The calls that are measured: drawn as the verification draws them, or recorded, as each of the two models takes them.

The optimized model may take other inputs than the reference, such as one row of the user instead of one for each
candidate. They are computed from those of the reference, before anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median_low

import numpy as np

from mari_onnx.document.document import Document
from mari_onnx.document.runtime import Session
from mari_onnx.errors import UserError
from mari_onnx.measurement.options import Options
from mari_onnx.report.note import Note
from mari_onnx.serving.names import GUARD_OUTPUT
from mari_onnx.serving.recompose import SENT, sent_inputs
from mari_onnx.verification.inputs.calls import Drawn, Given
from mari_onnx.verification.inputs.cases import EFFORTS, Batches, Case
from mari_onnx.verification.inputs.draw import LENGTH, Input, batch_symbols, inputs_of, listed_rows, own_batch
from mari_onnx.verification.inputs.fixed_extents import that_run
from mari_onnx.verification.inputs.ranges import Trace, traced_or_noted
from mari_onnx.verification.runtimes.answers import answering
from mari_onnx.verification.runtimes.onnxruntime import Feeds, Run, Source
from mari_onnx.verification.signatures import Argument, check_signatures, check_tiled


@dataclass(frozen=True)
class Pair:
    """Two models, and how the second is called.

    `feeding` computes the inputs of the optimized model from those of the reference; None where they are the same. The
    rows of `tiled` inputs are identical in each call, or with `keys` those with the same keys. `request` are the inputs
    of the request. Where the optimized model takes a row for each request, `index` is the input that selects them.

    Of a split, the optimized model is the ranking model. A call of it is one of the `user` model and then one of its
    own. What the `item` model computes is at hand.
    """

    reference: Document
    optimized: Document
    feeding: Document | None = None
    tiled: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    index: str | None = None
    user: Document | None = None
    item: Document | None = None

    @property
    def sources(self) -> tuple[Source, Source]:
        """Both models; of a split, the ranking model is the second."""
        return Source("reference", self.reference), Source(
            "optimized" if self.user is None else "ranking", self.optimized
        )

    @property
    def parts(self) -> tuple[Document, ...]:
        """The models that stand for the reference; the last one has the outputs."""
        return *(part for part in (self.user, self.item) if part is not None), self.optimized


@dataclass(frozen=True)
class Setting:
    """Calls that are measured together, with `batch` candidates: the feeds of the reference and of the optimized model.

    Of a split, the latter are those of the user model and those of the ranking model that it does not compute.
    Recorded calls are measured together, whatever their numbers of candidates; `batch` is the median of these.
    """

    batch: int
    feeds: Sequence[tuple[Feeds, Feeds]]


def _run(document: Document, session: Session) -> Run:
    """A function of inputs, of which the model takes its own."""
    taken, run = [each.name for each in session.get_inputs()], Source("feeding", document).runner(session)
    return lambda feeds: run({name: feeds[name] for name in taken})


class _Sent:
    """How the optimized model is called: with what `Pair.feeding` makes of the reference's inputs."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.session = None if pair.feeding is None else Source("feeding", pair.feeding).session()
        self.run = None if pair.feeding is None or self.session is None else _run(pair.feeding, self.session)
        self.items = None if pair.item is None else _run(pair.item, Source("item", pair.item).session())

    def feeds(self, of_reference: Feeds) -> Feeds:
        sent = of_reference
        if self.run is not None:
            sent = {name.removeprefix(SENT): array for name, array in self.run(of_reference).items()}
            sent = sent if self.pair.index is None else each_request_once(sent, self.pair.index, self.pair.tiled)
        return sent if self.items is None else {**sent, **self.items(sent)}

    def check(self, reference: Session, parts: Sequence[Session]) -> None:
        """Raise UserError unless both models take the reference's inputs and have its outputs; a guard is one more."""
        own, optimized = {output.name for output in reference.get_outputs()}, parts[-1]
        sent = sent_inputs(self.pair.parts)
        taken = {each.name: each for part in parts for each in part.get_inputs() if each.name in sent}
        inputs = list(taken.values()) if self.session is None else self.session.get_inputs()
        outputs = [o for o in optimized.get_outputs() if o.name != GUARD_OUTPUT or o.name in own]
        check_signatures(reference, _Signature(inputs, outputs))


@dataclass(frozen=True)
class _Signature:
    inputs: Sequence[Argument]
    outputs: Sequence[Argument]

    def get_inputs(self) -> Sequence[Argument]:
        return self.inputs

    def get_outputs(self) -> Sequence[Argument]:
        return self.outputs


def each_request_once(feeds: Feeds, index: str, rows: Sequence[str]) -> Feeds:
    """The feeds with one row for each request, as a caller sends them; `index` selects the rows of the inputs `rows`.

    What computes these inputs from the reference's may send a row for each candidate, and rows that none has.
    """
    selected = feeds[index]
    found: dict[tuple[object, ...], int] = {}
    numbers = [found.setdefault(_request(feeds, rows, int(row)), len(found)) for row in selected]
    first = [int(selected[numbers.index(number)]) for number in range(len(found))]
    once = {name: np.ascontiguousarray(feeds[name][first]) for name in rows}
    return {**feeds, **once, index: np.array(numbers, selected.dtype)}


def _request(feeds: Feeds, rows: Sequence[str], row: int) -> tuple[object, ...]:
    """What tells requests apart: all that is in a row."""
    return tuple(tuple(np.ravel(feeds[name][row]).tolist()) for name in rows)


def settings(pair: Pair, options: Options, notes: list[Note]) -> list[Setting]:
    """The settings, that with the fewest candidates first; `notes` are added where a call is not what a caller sends.

    Raises UserError where a model cannot be loaded, where their inputs or outputs are not alike, where a recorded call
    does not fit, and where the reference does not run on any call.
    """
    reference, sent = pair.sources[0], _Sent(pair)
    session = reference.session()
    sent.check(session, [Source("optimized", part).session() for part in pair.parts])
    inputs = inputs_of(session)
    check_tiled(pair.tiled, inputs)
    inputs, run = _with_extents(inputs, options), answering(reference.runner(session))
    if options.inputs is None:
        inputs = that_run(inputs, reference.proto, run, notes)
    traced, unknown = traced_or_noted(reference, inputs, options.input_ranges)
    calls: Drawn | Given
    if options.inputs is not None:
        calls = Given(inputs, traced, () if pair.keys else pair.tiled, notes, Path(options.inputs))
        cases = calls.cases()
    else:
        notes += [*unknown, *_unknown_extents(inputs, traced)]
        batches = Batches(_batches(inputs, options, notes))
        calls = Drawn(inputs, traced, pair.tiled, pair.keys, options.seed, EFFORTS["quick"], batches, notes)
        cases = [Case("drawn", batch, seed=(options.seed, batch)) for batch in batches.needed]
    ran = {case: found[0] for case in cases if (found := calls.run(case, run)) is not None}
    if not ran:
        why = "; ".join(note.text for note in notes) or "there is none in the file"
        raise UserError(
            f"the reference model runs on no call: {why}",
            "Give calls that it runs on (--inputs calls.npz), or the ranges of its ids (--input-range NAME=LOW:HIGH).",
        )
    both = {case: (feeds, sent.feeds(feeds)) for case, feeds in ran.items()}
    if options.inputs is not None:
        return [Setting(median_low([case.batch for case in both]), list(both.values()))]
    return [Setting(case.batch, [feeds]) for case, feeds in both.items()]


def _with_extents(inputs: Sequence[Input], options: Options) -> list[Input]:
    """The inputs with the given extents, and one request in a call of a listwise model unless another number is given.

    Recorded calls keep their own number.

    Raises UserError for an extent that is of no axis, or of the candidates'.
    """
    axes = {dim for each in inputs for dim in each.dims if isinstance(dim, str)}
    for name, extent in options.extents.items():
        if name not in axes:
            there = f"The dynamic axes are: {', '.join(sorted(axes))}." if axes else "It has no dynamic axis."
            raise UserError(f"an extent is given for `{name}`, which is no dynamic axis of the inputs", there)
        if name in batch_symbols(inputs):
            raise UserError(f"axis `{name}` counts the candidates", "Give their numbers with --batch.")
        if extent < 1:
            raise UserError(f"the extent {extent} of axis `{name}` is too small", "Give 1 or more.")
    one = listed_rows(inputs) if options.inputs is None else ()
    extents = {**dict.fromkeys(one, 1), **options.extents}
    return [replace(each, dims=tuple(extents.get(str(dim), dim) for dim in each.dims)) for each in inputs]


def _unknown_extents(inputs: Sequence[Input], traced: Trace) -> list[Note]:
    """A note on the axes whose extent nobody gave."""
    counted = batch_symbols(inputs, traced.requests) | traced.requests
    axes = sorted({dim for each in inputs for dim in each.dims if isinstance(dim, str)} - counted)
    if not axes:
        return []
    shown = ", ".join(f"`{axis}`" for axis in axes)
    said = f"drawn with an extent of {LENGTH}, which takes less time than a larger one: {shown} (--extent NAME=N)"
    return [Note("inputs-drawn", said)]


def _batches(inputs: Sequence[Input], options: Options, notes: list[Note]) -> list[int]:
    """The numbers of candidates: of a model that takes one number only, that one."""
    own = own_batch(inputs)
    if own is None:
        return sorted(set(options.batches))
    said = f"the model takes one number of candidates alone, and was called with it: {own}"
    notes.append(Note("batch-other", said))
    return [own]
