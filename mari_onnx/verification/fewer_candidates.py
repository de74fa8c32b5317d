"""Is a model whose batch was made dynamic the same at the fixed number, and right at others?

    scores of 200 candidates in both models           the same
    scores of the first 2 of them in the new model    those that the two have among the 200

A model in which candidates see each other, by a Softmax over all scores, has other scores for fewer candidates. Whether
these are right cannot be shown here, and such a model is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from mari_onnx import worker
from mari_onnx.document.document import Document
from mari_onnx.document.graph_view import shape_of
from mari_onnx.errors import UserError

CLOSE = 1e-4
"""How far scores may be apart, as a part of their scale: kernels round otherwise for other numbers of rows."""

EXPORT = "Export the model with a dynamic batch axis."


def check_fewer_candidates(original: Document, dynamic: Document, batch: int) -> tuple[int, ...]:
    """The numbers of candidates at which the models were shown to agree. Raises UserError where they do not.

    `dynamic` is `original` with another extent than `batch` allowed, along the leading axis of its inputs.
    """
    try:
        problem, numbers = worker.run(_compared, original, dynamic, batch)
    except worker.StoppedError as stopped:
        problem, numbers = str(stopped), ()
    if problem:
        raise UserError(f"the batch cannot be made dynamic: {problem}", EXPORT)
    return numbers


def _compared(original: Document, dynamic: Document, batch: int) -> tuple[str, tuple[int, ...]]:
    """What is wrong, in words, or nothing; called in the child."""
    from mari_onnx.verification.inputs.draw import draw, extents, inputs_of
    from mari_onnx.verification.inputs.ranges import trace
    from mari_onnx.verification.runtimes.onnxruntime import RunError, Source

    fixed, free = Source("reference", original), Source("optimized", dynamic)
    session = fixed.session()
    inputs = inputs_of(session)
    try:
        bounds = trace(fixed, inputs).bounds
    except RunError:
        bounds = {}
    feeds = draw(inputs, bounds, extents(inputs, 2), np.random.default_rng(0))
    try:
        expected = fixed.runner(session)(feeds)
    except RunError as error:
        return f"the original does not run on inputs that were drawn for it ({error})", ()
    run = free.runner(free.session())
    counted = {info.name for info in dynamic.proto.graph.input if _leads(info)}
    numbers = tuple(dict.fromkeys(n for n in (batch, 1, 2, batch // 2, batch - 1) if n))
    for n in numbers:
        some = {name: value[:n] if name in counted else value for name, value in feeds.items()}
        try:
            found = run(some)
        except RunError as error:
            return f"with {n} candidates the result does not run ({error})", ()
        for name, whole in expected.items():
            rows = whole[:n] if len(whole.shape) and whole.shape[0] == batch else whole
            if rows.shape != found[name].shape:
                return f"output `{name}` of {n} candidates has the shape {list(found[name].shape)}", ()
            if not _close(rows, found[name]):
                among = "differs from that of the original" if n == batch else f"is not what they get among {batch}"
                return f"output `{name}` of {n} candidates {among}: candidates may depend on each other", ()
    return "", numbers


def _leads(info: onnx.ValueInfoProto) -> bool:
    """Whether the leading extent is a symbol."""
    shape = shape_of(info)
    return bool(shape) and shape is not None and isinstance(shape[0], str)


def _close(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """Whether two tensors are the same but for rounding."""
    if a.dtype.kind != "f":
        return bool((a == b).all())
    wide, other = a.astype(np.float64), b.astype(np.float64)
    scale = np.abs(wide[np.isfinite(wide)]).max(initial=0.0)
    return bool(np.allclose(wide, other, rtol=0, atol=CLOSE * scale, equal_nan=True))
