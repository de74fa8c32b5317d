"""The verification in a process of its own: a model that never ends, or crashes onnxruntime, only fails it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from mari_onnx import worker
from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.read import as_document
from mari_onnx.report.model import Verification
from mari_onnx.report.note import Note
from mari_onnx.verification.mapped import mapped
from mari_onnx.verification.options import DEFAULTS, NOTHING_KNOWN, Known, Options
from mari_onnx.worker import Progress


def verify(
    reference: ModelLike,
    optimized: ModelLike,
    known: Known = NOTHING_KNOWN,
    options: Options = DEFAULTS,
    progress: Progress | None = None,
) -> Verification:
    """What `procedure.verify` finds, within the time and the memory of the current budget.

    Where the process ends before it has an answer, the verification fails, and its note says why. Raises UserError as
    `procedure.verify` does.
    """
    documents = as_document(reference), as_document(optimized)
    try:
        with TemporaryDirectory(prefix="mari-onnx-") as folder:
            return worker.run(_verify, *mapped(documents, Path(folder)), known, options, progress=progress)
    except worker.StoppedError as stopped:
        notes = (Note("stopped", f"{stopped}; {stopped.next_step}"),)
        return Verification(
            passed=False,
            seed=options.seed,
            rtol=options.rtol or 0.0,
            atol=options.atol or 0.0,
            differences=(),
            notes=notes,
            effort=options.effort,
            tiled=tuple(known.tiled),
            keys=tuple(known.keys),
        )


def _verify(reference: Document, optimized: Document, known: Known, options: Options) -> Verification:
    """Called in the child, which alone needs onnxruntime."""
    from mari_onnx.verification import procedure

    return procedure.verify(reference, optimized, known, options, worker.say)
