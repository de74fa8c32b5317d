"""The table of tracers: each gives limits where those before it have none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mari_onnx.document.read import as_document
from mari_onnx.verification.inputs import tracers
from mari_onnx.verification.inputs.draw import inputs_of
from mari_onnx.verification.inputs.ranges import trace
from mari_onnx.verification.inputs.tagging import Tagged
from mari_onnx.verification.inputs.tracers import Limits
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.notes import said
from tests.verification.models import parse, verify


def model() -> onnx.ModelProto:
    """`ids` is looked up and compared, `flag` compared alone, and nothing is known of `other`."""
    return parse(
        """f (int64[B] ids, int64[B] flag, int64[B] other) => (float[B, 2] y) {
            e = Gather (table, ids) small = Less (ids, three) set = Equal (flag, three) o = Cast <to = 1> (other)
            c = Cast <to = 1> (small) d = Cast <to = 1> (set) s = Sum (c, d, o) u = Unsqueeze (s, one) y = Add (e, u)
        }""",
        table=np.zeros((10, 2), np.float32), three=np.array(3), one=np.array([1]),
    )  # fmt: skip


def largest() -> dict[str, int]:
    source = Source("reference", as_document(model()))
    bounds = trace(source, inputs_of(source.session())).bounds
    return {name: int(np.max(each.high)) for name, each in bounds.items()}


def test_an_index_goes_before_a_comparison() -> None:
    assert largest() == {"ids": 9, "flag": 4}


def test_a_tracer_is_a_function_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(tagged: Tagged, so_far: Limits) -> Limits:
        found = Limits.none(tagged.count)
        for name in ("ids", "other"):
            found.high[tagged.part(name)] = 77
        return so_far.or_else(found)

    monkeypatch.setattr(tracers, "TRACERS", (*tracers.TRACERS, named))
    assert largest() == {"ids": 9, "flag": 4, "other": 77}


def lengths(body: str, x: str = "float[5, B, 3]") -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    return parse(
        f"f ({x} x, int64[B] lengths) => (float[K, L, M] y) {{ {body} }}",
        w=rng.standard_normal((1, 6, 3)).astype(np.float32), r=rng.standard_normal((1, 6, 2)).astype(np.float32),
        one=np.array(1), axis=np.array([1]), steps=np.arange(5), eight=np.arange(8),
        places=rng.standard_normal((9, 3)).astype(np.float32),
    )  # fmt: skip


GRU = "i = Cast <to = 6> (lengths) h, last = GRU <hidden_size = 2> (x, w, r, , i) y = Identity (last)"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GRU, (0, 5)),
        ("y = ReverseSequence (x, lengths)", (0, 5)),
        ("y = ReverseSequence <time_axis = 0, batch_axis = 1> (x, lengths)", (0, 5)),
        ("t = Transpose <perm = [1, 0, 2]> (x)"
         "y = ReverseSequence <time_axis = 1, batch_axis = 0> (t, lengths)", (0, 5)),
        ("n = Add (lengths, one) y = ReverseSequence (x, n)", (0, 4)),
        # What a length indexes or is compared with besides may be longer than the sequence.
        ("y0 = ReverseSequence (x, lengths) p = Gather (places, lengths) y = Add (y0, p)", (0, 5)),
        ("y0 = ReverseSequence (x, lengths) u = Unsqueeze (lengths, axis) l = Less (eight, u) c = Cast <to = 1> (l)"
         "s = ReduceMax <axes = [1]> (c) y = Add (y0, s)", (0, 5)),
    ],
)  # fmt: skip
def test_a_length_is_at_most_that_of_the_sequence(body: str, expected: tuple[int, int]) -> None:
    model = lengths(body)
    source = Source("reference", as_document(model))
    found = trace(source, inputs_of(source.session()))
    assert (found.bounds["lengths"].low.min(), found.bounds["lengths"].high.max()) == expected
    assert not found.requests
    verification = verify(model, model)
    assert verification.passed
    assert not any("only ids 0 and 1" in note or "drawn from 0 to 1" in note for note in said(verification.notes))


@pytest.mark.parametrize(
    "body",
    [
        "c = Cast <to = 1> (lengths) u = Unsqueeze (c, axis) y = Add (x, u)",  # a feature
        "m = Mul (lengths, lengths) y = ReverseSequence (x, m)",  # scaled on the way
    ],
)
def test_what_is_no_length(body: str) -> None:
    source = Source("reference", as_document(lengths(body)))
    assert "lengths" not in trace(source, inputs_of(source.session())).bounds
