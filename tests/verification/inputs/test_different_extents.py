"""Axes of one name are drawn with different extents where the reference runs on that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx.document.read import as_document
from mari_onnx.report.note import Note
from mari_onnx.verification.inputs.different_extents import drawn_apart
from mari_onnx.verification.inputs.draw import Input, extents, inputs_of
from mari_onnx.verification.inputs.ranges import trace
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.graphs import integers, parse
from tests.notes import said


def apart(
    reference: onnx.ModelProto, optimized: onnx.ModelProto, tiled: Sequence[str] = ()
) -> tuple[list[Input], list[str]]:
    """The inputs, and the notes."""
    sources = [Source(name, as_document(model)) for name, model in (("a", reference), ("b", optimized))]
    first, second = (source.session() for source in sources)
    inputs, notes = inputs_of(first), list[Note]()
    found = drawn_apart(
        inputs, trace(sources[0], inputs), tiled, (sources[0].runner(first), sources[1].runner(second)), notes
    )
    return found, list(said(notes))


def drawn(inputs: Sequence[Input], batch: int = 7) -> dict[str, tuple[int, ...]]:
    """The shapes that are drawn."""
    sizes = extents(inputs, batch)
    return {each.name: each.shape(sizes) for each in inputs}


def model(inputs: str, body: str) -> onnx.ModelProto:
    return parse(f"g ({inputs}) => (float[M] y) {{ {body} }}", one=[1], zero=[0])


@pytest.mark.parametrize(
    ("inputs", "body", "shapes"),
    [
        # The mean of a history whose length has the name of the candidates.
        (
            "float[N, N] h, float[N, 3] i",
            "m = ReduceMean <axes = [1], keepdims = 1> (h) y = Concat <axis = 1> (m, i)",
            {"h": (7, 4), "i": (7, 3)},
        ),
        # Two histories of one length, and two that may differ.
        ("float[N, N] h, float[N, N] k, float[N, 1] i", "s = Add (h, k) y = Mul (s, i)", {"h": (7, 4), "k": (7, 4)}),
        (
            "float[N, N] h, float[N, N] k",
            "s = ReduceMax <axes = [1]> (h) t = ReduceMax <axes = [1]> (k) y = Concat <axis = 1> (s, t)",
            {"h": (7, 4), "k": (7, 6)},
        ),
        # The history is of no candidate.
        ("float[N, 3] h, float[N, 3] i", "m = ReduceMax <axes = [0]> (h) y = Concat <axis = 0> (m, i)", {"i": (7, 3)}),
        # A square matrix, and axes that an operator joins.
        ("float[N, N] h, float[N, 3] i", "y = MatMul (h, i) z = Add (h, i)", {"h": (7, 7), "i": (7, 3)}),
        ("float[N, 2] h, float[N, 3] i", "y = Concat <axis = 1> (h, i)", {"h": (7, 2), "i": (7, 3)}),
    ],
)  # fmt: skip
def test_what_is_drawn(inputs: str, body: str, shapes: dict[str, tuple[int, ...]]) -> None:
    own = model(inputs, body.replace("z = Add (h, i)", "t = Transpose (h) z = MatMul (t, h) a = Add (z, h)"))
    found, notes = apart(own, own)
    assert shapes.items() <= drawn(found).items()
    assert notes == []


def test_rows_that_the_caller_repeats_are_as_many_as_there_are_candidates() -> None:
    own = model("float[N, 3] h, float[N, 3] i", "m = ReduceMax <axes = [0]> (h) y = Concat <axis = 0> (m, i)")
    assert drawn(apart(own, own, ["h", "i"])[0]) == {"h": (7, 3), "i": (7, 3)}


def test_a_promise_that_the_optimized_model_relies_on() -> None:
    """Rows of both users are selected by one index: they are computed together, and the names say that they may be."""
    own = model(
        "float[R, 2] a, float[R, 3] b, int64[B] i",
        "c = Gather (a, i) d = Gather (b, i) y = Concat <axis = 1> (c, d)",
    )
    other = model("float[R, 2] a, float[R, 3] b, int64[B] i", "c = Concat <axis = 1> (a, b) y = Gather (c, i)")
    found, notes = apart(own, other)
    assert found == inputs_of(Source("a", as_document(own)).session())
    assert notes[0] == (
        "the optimized model needs axes named `R` to be equal, and the reference does not: `a`[0] and `b`[0]"
    )
    assert mari_onnx.verify(own, other).verification.passed  # type: ignore[union-attr]


def test_a_length_that_is_read_off_the_candidates() -> None:
    """The score is wrong wherever a history is not as long as there are candidates. With equal extents that passed."""
    body = """
        s = Shape ({of}) n = Gather (s, {axis}) f = Cast <to = 1> (n) t = ReduceSum <keepdims = 1> (history, one)
        m = Div (t, f) x = Concat <axis = 1> (m, item) y = MatMul (x, w)
    """
    right, wrong = (
        parse(
            f"g (float[N, N] history, float[N, 3] item) => (float[M, 2] y) {{ {body.format(of=of, axis=axis)} }}",
            one=[1], zero_=np.array(0), one_=np.array(1), w=integers(4, 2),
        )
        for of, axis in (("history", "one_"), ("item", "zero_"))
    )  # fmt: skip
    verification = mari_onnx.verify(right, wrong).verification
    assert verification is not None
    assert not verification.passed
