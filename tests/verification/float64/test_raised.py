from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from mari_onnx.document.read import as_document
from mari_onnx.verification.float64.raised import raise_feeds, raised
from mari_onnx.verification.runtimes.onnxruntime import Source, runner
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
    run = runner(Source("reference", as_document(raised(model))).session())
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
