"""Execution providers of onnxruntime, such as that for CUDA, by their names.

What a provider does not take, even all of a model, onnxruntime runs on the CPU, and does not say so. A session in a
provider is therefore asked for the nodes that each provider has.
"""

from __future__ import annotations

from collections import Counter

import onnxruntime as ort

from mari_onnx.document.runtime import Session
from mari_onnx.errors import UserError
from mari_onnx.report.note import Note
from mari_onnx.verification.runtimes import RUNTIMES
from mari_onnx.verification.runtimes.onnxruntime import Run, Source

OTHER_NAMES = {"directml": "dml"}
"""Names by which providers are known, that are not those of onnxruntime."""


def provider_of(runtime: str) -> str:
    """The provider that is meant: of `cuda`, or of its full name, `CUDAExecutionProvider`.

    Raises UserError where the onnxruntime that is installed has none of that name.
    """
    found = ort.get_available_providers()
    wanted = _short(runtime)
    for provider in found:
        if _short(provider) == OTHER_NAMES.get(wanted, wanted):
            return str(provider)
    raise UserError(
        f"there is no runtime {runtime!r} here",
        f"Choose one of {', '.join(RUNTIMES)}, or an execution provider of the onnxruntime that is installed: "
        f"{', '.join(sorted(found))}. Other packages, such as onnxruntime-gpu, have others.",
    )


def _short(name: str) -> str:
    return name.casefold().removesuffix("executionprovider")


def session_in(source: Source, provider: str, threads: int = 1) -> Session:
    """The model in a provider, and on the CPU what the provider does not take.

    Raises UserError where it cannot be loaded, and where the provider takes nothing.
    """
    session = source.session(threads, provider)
    loaded, taken = session.get_providers(), _nodes(session)
    if provider not in loaded:
        raise UserError(
            f"onnxruntime could not use {provider} for the {source.role} model, and went on with {', '.join(loaded)}",
            "Look at what onnxruntime says above: a library or a device of that provider may be missing.",
        )
    if taken and not taken[provider]:
        raise UserError(
            f"{provider} runs no node of the {source.role} model: onnxruntime gave all {taken.total():,} to "
            f"{', '.join(taken)}",
            f"Leave out --runtime: the CPU runs it. {provider} takes none of its operators, or of their types.",
        )
    return session


def partly_elsewhere(source: Source, session: Session, provider: str) -> list[Note]:
    """A note on the nodes that the provider does not run, if there are any."""
    taken = _nodes(session)
    if not (others := taken.total() - taken[provider]):
        return []
    said = f"{provider} runs {taken[provider]:,} nodes of the {source.role} model, and the CPU the other {others:,}"
    return [Note("runtime-lacking", said)]


def _nodes(session: Session) -> Counter[str]:
    """How many nodes each provider runs, as onnxruntime has fused them."""
    found: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        found[subgraph.ep_name] += len(subgraph.get_nodes())
    return found


def run_in_provider(source: Source, provider: str) -> Run:
    """The model in a provider, as a function from feeds to outputs by name. Raises UserError as `session_in` does."""
    return source.runner(session_in(source, provider))
