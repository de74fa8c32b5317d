"""The models that are measured, loaded into the runtime in which they are called."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnxruntime as ort

from mari_onnx.document.runtime import Session
from mari_onnx.errors import UserError
from mari_onnx.measurement.calls import Pair
from mari_onnx.measurement.turns import Call
from mari_onnx.report.note import Note
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME, SECOND_RUNTIMES
from mari_onnx.verification.runtimes.onnxruntime import Feeds, RunError, Source
from mari_onnx.verification.runtimes.providers import partly_elsewhere, provider_of, session_in

Prepare = Callable[[Feeds], Call]
"""A loaded model, for one caller: what calls it with given feeds."""


def loaded(
    pair: Pair, runtime: str, threads: int, callers: int = 1, notes: list[Note] | None = None
) -> list[list[Prepare]]:
    """Both models, not called yet, by so many callers at once, each call on so many threads: one `Prepare` a caller.

    `notes` are added where the runtime leaves a part of a model to another. Raises UserError where the runtime is not
    installed, and where it cannot load one of them.
    """
    sources = Source("reference", pair.reference), Source("optimized", pair.optimized)
    if runtime not in SECOND_RUNTIMES:
        sessions = [_session(source, runtime, threads, notes) for source in sources]
        return [[_calls_of(session)] * callers for session in sessions]
    from mari_onnx.verification.runtimes.openvino import calls_in_openvino

    try:
        return [calls_in_openvino(source, threads, callers) for source in sources]
    except RunError as error:
        raise UserError(
            f"{runtime} cannot load the models: {error}", f"Leave out --runtime: {DEFAULT_RUNTIME} runs them."
        ) from error


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
