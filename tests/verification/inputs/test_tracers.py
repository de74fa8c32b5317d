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
from tests.verification.models import parse


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
