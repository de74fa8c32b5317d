"""Constants that were moved, and constants that were combined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from mari_onnx.document.read import as_document
from mari_onnx.verification.compare.constants import changed_rows, combined
from mari_onnx.verification.compare.judge import SAME_FUNCTION
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.verification import models
from tests.verification.models import judged, parse, verify

Array = npt.NDArray[Any]

rng = np.random.default_rng(3)
TABLE = rng.standard_normal((64, 32))


def found(before: Array, after: Array) -> dict[str, float]:
    text = "f (float[B] x) => (float[B] y) { s = Size (w) y = Relu (x) }"
    a, b = (Source("a", as_document(parse(text, w=w))) for w in (before, after))
    return combined(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(
    "move",
    [
        lambda w: w,
        lambda w: w[3:20],
        lambda w: w[:, 3:9],
        lambda w: w.T,
        lambda w: np.concatenate([w[:4], w[:4], w[9:]]),
        lambda w: w.reshape(32, 2, 32),
        lambda w: np.pad(w, 1),
    ],
    ids=["same", "rows", "columns", "transposed", "repeated", "reshaped", "padded"],
)
def test_moved(dtype: type[np.floating], move: Callable[[Array], Array]) -> None:
    w = TABLE.astype(dtype)
    assert found(w, np.ascontiguousarray(move(w))) == {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(
    "combine",
    [lambda w: w + w[::-1], lambda w: w * 1.01, lambda w: w[:32] @ w[:32].T[:32]],
    ids=["added", "scaled", "multiplied"],
)
def test_combined(dtype: type[np.floating], combine: Callable[[Array], Array]) -> None:
    w = TABLE.astype(dtype)
    assert found(w, combine(w).astype(dtype)) == {"w": np.finfo(dtype).eps / 2}


def test_constants_of_bodies_and_nodes_are_looked_at() -> None:
    text = """f (float[B] x) => (float[B] y) {{
        t = Constant <value = bool {{1}}> ()
        y = If (t) <
            then_branch = yes () => (float[B] a) {{
                c = Constant <value = float[2] {{{}, 2.5}}> () r = ReduceSum (c) a = Add (x, r)
            }},
            else_branch = no () => (float[B] b) {{ b = Neg (x) }}
        >
    }}"""
    a, b = (Source("a", as_document(parse(text.format(value)))) for value in ("1.5", "1.75"))
    assert combined(a, a) == {}
    assert list(combined(a, b)) == ["c"]


def test_the_bound_follows_from_the_constants() -> None:
    """(x + x) @ w as x @ (w + w): right, and rounded once more."""
    text = "f (float[B, 64] x, float[B, 64] z) => (float[B, 32] y) {{ {} }}"
    w1, w2 = TABLE.astype(np.float32), rng.standard_normal((64, 32)).astype(np.float32)
    apart = parse(text.format("a = MatMul (x, w) b = MatMul (x, v) y = Add (a, b)"), w=w1, v=w2)
    together = parse(text.format("y = MatMul (x, w)"), w=w1 + w2)
    verification = verify(apart, together)
    assert verification.passed, verification
    assert verification.rtol == SAME_FUNCTION
    assert "`w`" in verification.basis
    for d in verification.differences:
        if d.case == "far":
            continue  # where only the accuracy is asked for
        assert d.float64 is not None and d.float64_bound is not None
        assert d.case == "zeros" or 0 < d.float64 < d.float64_bound < 1e-4 * d.max_abs / (d.max_rel or 1)
    near = judged(apart, parse(text.format("y = MatMul (x, w)"), w=(w1 + w2) * np.float32(1.0001)))
    assert not near.passed
    assert not verify(apart, together, moved=True).passed  # by promise only float64 rounds, and this is more


def test_a_whole_model_that_was_split() -> None:
    a, b = (Source("a", as_document(m)) for m in (models.tower(), models.split_tower()))
    assert combined(a, b) == {}
    assert list(combined(a, Source("b", as_document(models.tower(w=models.W * 1.01))))) == ["w"]


def test_external_data(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        paths.append(tmp_path / f"{name}.onnx")
        onnx.save(models.tower(), paths[-1], save_as_external_data=True, location=f"{name}.bin", size_threshold=100)
    a, b = (Source("a", as_document(path)) for path in paths)
    assert combined(a, b) == {}


def test_whole_numbers_are_meant_as_they_are() -> None:
    text = "f (float[B] x) => (float[B] y) {{ {} }}"
    plain = parse(text.format("y = Relu (x)"))
    rounded = parse(text.format("m = Mul (x, c) r = Round (m) y = Div (r, c)"), c=np.float32(1e6))
    assert combined(Source("a", as_document(plain)), Source("b", as_document(rounded))) == {}
    assert list(combined(Source("a", as_document(plain)), Source("b", as_document(parse(
        text.format("y = Mul (x, c)"), c=np.float32(0.1)))))) == ["c"]  # fmt: skip


def test_rows_that_changed_are_looked_up() -> None:
    """One row of a thousand: nothing drawn would come upon it."""
    table = rng.standard_normal((1000, 4)).astype(np.float32)
    other = table.copy()
    other[700, 2] *= 1.001
    text = """f (int64[B] a, int64[B] b) => (float[B, 4] y) {
        s = Sub (b, five) x = Gather (t, a) z = Gather (t, s) y = Add (x, z)
    }"""
    first, second = (parse(text, t=t, five=np.array(5)) for t in (table, other))
    assert changed_rows(Source("a", as_document(first)), Source("b", as_document(second)), "t").tolist() == [700]
    failed = [d.case for d in judged(first, second).differences if not d.passed]
    assert "changed rows" in failed
