from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from mari_onnx.document.read import as_document
from mari_onnx.verification.float64.raised import raise_feeds, raised
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.verification import models
from tests.verification.models import parse, verify


def test_everything_is_raised() -> None:
    model = parse(
        """f (float[B, 2] x) => (float[B, 2] y) {
            h = Cast <to = 10> (x)
            s = Add (h, half)
            c = Constant <value_float = 0.1> ()
            f = Cast <to = 1> (s)
            n = Shape (x)
            zeros = ConstantOfShape (n)
            z = Add (f, zeros)
            y = Mul (z, c)
        }""",
        half=np.array([0.5], np.float16),
    )
    source = Source("reference", as_document(raised(model)))
    run = source.runner(source.session())
    x = np.array([[1 / 3, 2 / 3]], np.float32)
    y = run(raise_feeds({"x": x}))["y"]
    assert y.dtype == np.float64
    assert np.abs(y - (x.astype(np.float64) + 0.5) * np.float64(np.float32(0.1))).max() < 1e-15
    assert model.graph.input[0].type.tensor_type.elem_type == 1


def test_large_constants_are_cast_in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mari_onnx.verification.float64.raised._LARGE", 16)
    model = raised(models.tower())
    stored = {t.name: numpy_helper.to_array(t).dtype for t in model.graph.initializer}
    assert stored["w.stored"] == np.float32
    assert verify(models.tower(), models.split_tower()).passed


def test_rows_are_cast_and_not_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups in the table `t`, one of them in a branch, read it as it is stored; what else reads `u` reads a Cast."""
    model = parse(
        """f (int64[B] i, float[B, 2] x, bool c) => (float[B, 2] y) {
            e = Gather (t, i)
            g = Gather (u, i)
            b = If (c) <then_branch = p () => (float[B, 2] d) { d = Gather (t, i) },
                        else_branch = n () => (float[B, 2] d) { d = MatMul (x, u) }>
            y = Sum (e, g, b)
        }""",
        t=np.arange(8, dtype=np.float32).reshape(4, 2) / 3,
        u=np.arange(4, dtype=np.float32).reshape(2, 2) / 7,
    )
    feeds = {"i": np.array([1, 0]), "x": np.array([[1, 2], [3, 4]], np.float32)}
    runs = {}
    for large in (16, 1 << 26):
        monkeypatch.setattr("mari_onnx.verification.float64.raised._LARGE", large)
        source = Source("reference", as_document(found := raised(model)))
        runs[large] = source.runner(source.session())
        casts = [node.input[0] for node in found.graph.node if node.op_type == "Cast"]
        assert ("t.stored" in casts, "u.stored" in casts) == (False, large == 16)
    for c in (True, False):
        few, all_of_it = (run(raise_feeds({**feeds, "c": np.array(c)}))["y"] for run in runs.values())
        assert few.dtype == np.float64
        np.testing.assert_array_equal(few, all_of_it)
