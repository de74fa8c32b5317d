"""The models that are measured, loaded into the runtime in which they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

from mari_onnx.document.runtime import Session
from mari_onnx.errors import UserError
from mari_onnx.measurement.calls import Pair
from mari_onnx.measurement.turns import Call
from mari_onnx.report.note import Note
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME, SECOND_RUNTIMES
from mari_onnx.verification.runtimes.onnxruntime import Feeds, RunError, Source, Values
from mari_onnx.verification.runtimes.providers import partly_elsewhere, provider_of, session_in

Prepare = Callable[[Feeds], Call]
"""A loaded model, for one caller: what calls it with given feeds."""


@dataclass(frozen=True)
class _Loaded:
    """A model in a runtime. It takes its own of the feeds, and `outputs` are the names of what a call answers."""

    callers: Sequence[Prepare]
    inputs: Sequence[str]
    outputs: Sequence[str]

    def values(self, answer: Any) -> Values:
        return values(answer, self.outputs)

    def own(self, feeds: Feeds) -> Feeds:
        return {name: feeds[name] for name in self.inputs if name in feeds}


def values(answer: Any, outputs: Sequence[str]) -> Values:
    """What a call answered, by the names of a model's outputs: of onnxruntime it is a list, of OpenVINO a map."""
    if isinstance(answer, list):
        return dict(zip(outputs, answer, strict=True))
    return {name: answer[name] for name in outputs}


def loaded(
    pair: Pair, runtime: str, threads: int, callers: int = 1, notes: list[Note] | None = None
) -> list[list[Prepare]]:
    """Both models, not called yet, by so many callers at once, each call on so many threads: one `Prepare` a caller.

    Of a split, the second is the user model and then the ranking model in one call. The user model alone comes third,
    and the ranking model alone, to which the outputs of the user model are at hand, fourth. `notes` are added where the
    runtime leaves a part of a model to another. Raises UserError where the runtime is not installed, and where it
    cannot load one of them.
    """
    users = [] if pair.user is None else [Source("user", pair.user)]
    try:
        models = [_loaded(source, runtime, threads, callers, notes) for source in (*pair.sources, *users)]
    except RunError as error:
        raise UserError(
            f"{runtime} cannot load the models: {error}", f"Leave out --runtime: {DEFAULT_RUNTIME} runs them."
        ) from error
    if not users:
        return [list(model.callers) for model in models]
    reference, rank, user = models
    both, alone = (
        [make(user, rank, c) for c in range(callers)] for make in (_one_after_the_other, _with_the_first_at_hand)
    )
    return [list(reference.callers), both, [_of_its_own(user, c) for c in range(callers)], alone]


def _of_its_own(model: _Loaded, caller: int) -> Prepare:
    return lambda feeds: model.callers[caller](model.own(feeds))


def _one_after_the_other(first: _Loaded, second: _Loaded, caller: int) -> Prepare:
    """Calls of a model and then of another, which gets the outputs of the first one as well."""

    def prepare(feeds: Feeds) -> Call:
        begin, more = first.callers[caller](first.own(feeds)), second.own(feeds)
        return lambda: second.callers[caller]({**more, **first.values(begin())})()

    return prepare


def _with_the_first_at_hand(first: _Loaded, second: _Loaded, caller: int) -> Prepare:
    """Calls of the second model alone, with outputs of the first one that are computed before."""

    def prepare(feeds: Feeds) -> Call:
        made = first.values(first.callers[caller](first.own(feeds))())
        at_hand = {name: np.array(value) for name, value in made.items()}  # a later call may write into what it gave
        return second.callers[caller]({**second.own(feeds), **at_hand})

    return prepare


def _loaded(source: Source, runtime: str, threads: int, callers: int, notes: list[Note] | None) -> _Loaded:
    """A model in a runtime. Raises RunError where OpenVINO cannot load it."""
    inputs, outputs = ([each.name for each in some] for some in (source.proto.graph.input, source.proto.graph.output))
    if runtime in SECOND_RUNTIMES:
        from mari_onnx.verification.runtimes.openvino import calls_in_openvino

        return _Loaded(calls_in_openvino(source, threads, callers), inputs, outputs)
    return _Loaded([_calls_of(_session(source, runtime, threads, notes))] * callers, inputs, outputs)


def _session(source: Source, runtime: str, threads: int, notes: list[Note] | None) -> Session:
    """The model in onnxruntime, in the provider that `runtime` names if it names one."""
    if runtime == DEFAULT_RUNTIME:
        return source.session(threads)
    provider = provider_of(runtime)
    session = session_in(source, provider, threads)
    if notes is not None:
        notes += partly_elsewhere(source, session, provider)
    return session


def _calls_of(session: Session) -> Prepare:
    return lambda feeds: partial(session.run, None, dict(feeds))


def version(runtime: str) -> str:
    """The runtime with its version: `onnxruntime 1.32.0`, `onnxruntime 1.32.0 (CUDAExecutionProvider)`."""
    if runtime in SECOND_RUNTIMES:
        import openvino

        return f"{runtime} {openvino.__version__}"
    provider = "" if runtime == DEFAULT_RUNTIME else f" ({provider_of(runtime)})"
    return f"{DEFAULT_RUNTIME} {ort.__version__}{provider}"
