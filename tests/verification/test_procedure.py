from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from mari_onnx.errors import ModelError, UserError
from mari_onnx.report.model import Difference, Verification
from mari_onnx.verification.compare.judge import SAME_FUNCTION
from tests.notes import said

from . import models
from .models import parse, verify


def failures(verification: Verification) -> str:
    assert not verification.passed
    return " ".join(d.message for d in verification.differences if not d.passed)


def drawn(verification: Verification) -> list[Difference]:
    return [d for d in verification.differences if d.case == "drawn"]


def test_a_model_is_itself() -> None:
    verification = verify(models.tower(), models.tower())
    assert verification.passed
    assert [(d.case, d.batch) for d in verification.differences] == [
        *(("drawn", batch) for batch in (1, 2, 7, 64)),
        ("zeros", 7),
        ("large", 64),
        ("not finite", 64),
        ("far", 64),
        *(("drawn", batch) for batch in (3, 63, 65, 128)),
    ]
    assert all(d.max_abs == 0 and 0 < d.bound < 1e-5 for d in verification.differences if d.case != "far")
    assert verification.rtol == SAME_FUNCTION
    assert "same constants" in verification.basis
    assert verification.notes == ()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batches", [(1, 2, 7, 64), (1,), (0,), (0, 5)])
def test_a_sum_in_another_order_is_the_same(seed: int, batches: tuple[int, ...]) -> None:
    assert verify(models.tower(), models.split_tower(), seed=seed, batches=batches, tiled=["user"]).passed


@pytest.mark.parametrize(
    "wrong",
    [
        models.tower(w=models.W * np.where(np.arange(len(models.W)) == 3, 1.01, 1)[:, None]),
        models.tower(w=models.W * 1.01),
        models.split_tower(swapped=True),
        models.split_tower(cut=models.USER - 1, swapped=True),
        models.split_tower(bias=False),
        models.tower(w=np.roll(models.W, 1, axis=0)),
    ],
    ids=["row off by 1 %", "weight off by 1 %", "swapped slices", "segment off by one", "no bias", "rows off by one"],
)
def test_a_mistake_is_seen(wrong: onnx.ModelProto) -> None:
    assert "not the same function" in failures(verify(models.tower(), wrong, tiled=["user"]))


def test_rounding_that_the_reference_does_not_have_is_seen() -> None:
    text = "f (float[B, 4] x) => (float[B, 4] y) {{ {} }}"
    precise = parse(text.format("y = Tanh (x)"))
    coarse = parse(text.format("t = Tanh (x) far = Add (t, c) y = Sub (far, c)"), c=np.array([1024], np.float32))
    assert "less accurate" in failures(verify(precise, coarse))
    assert verify(coarse, precise).passed


STANDARDIZED = (
    "d = Sub (item, mean) s = Add (d, shift) y = MatMul (s, w)",
    "c = Sub (shift, mean) s = Add (item, c) y = MatMul (s, w)",
)
"""(item - mean) + shift, and the same in an order that loses the digits of the shift."""

LOG_SOFTMAX = (
    "m = ReduceMax <axes = [-1]> (item) d = Sub (item, m) e = Exp (d) n = ReduceSum (e, last) l = Log (n) {}",
    "y = Sub (d, l)",
    "q = Add (l, m) y = Sub (item, q)",
)


def standardized(body: str, size: float = 1e6) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    mean, shift = size + size / 1000 * rng.standard_normal(8), rng.standard_normal(8)
    constants = {"mean": mean, "shift": shift, "w": rng.standard_normal((8, 8))}
    text = f"g (float[1, 4] user, float[B, 8] item) => (float[B, 8] y) {{ {body} }}"
    return parse(text, **{name: array.astype(np.float32) for name, array in constants.items()})


@pytest.mark.parametrize("size", [300, 3e4, 1e6])
def test_digits_that_are_lost_near_the_means_of_features(size: float) -> None:
    right, lossy = (standardized(body, size) for body in STANDARDIZED)
    verification = verify(right, lossy)
    assert {d.case for d in verification.differences if not d.passed} == {"centred"}
    assert "less accurate" in failures(verification)
    assert verify(right, right).passed
    assert verify(lossy, right).passed


def test_digits_that_are_lost_where_features_are_far_from_zero() -> None:
    text, *orders = LOG_SOFTMAX
    right, lossy = (
        parse(f"g (float[B, 8] item) => (float[B, 8] y) {{ {text.format(order)} }}", last=np.array([-1]))
        for order in orders
    )
    verification = verify(right, lossy)
    assert {d.case for d in verification.differences if not d.passed} == {"far"}
    assert verify(right, right).passed


def test_digits_that_are_lost_on_recorded_inputs(tmp_path: Path) -> None:
    """The original's own error is that on the inputs as they were recorded, of whatever size they are."""
    right, lossy = (standardized(body) for body in STANDARDIZED)
    rng = np.random.default_rng(1)
    for name, size in (("near", 1e6), ("usual", 0)):
        item = (size + rng.standard_normal((20, 8))).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", user=np.zeros((1, 4), np.float32), item=item)
    assert "less accurate" in failures(verify(right, lossy, inputs=str(tmp_path / "near.npz")))
    assert verify(right, right, inputs=str(tmp_path / "near.npz")).passed
    assert verify(right, lossy, inputs=str(tmp_path / "usual.npz")).passed


def test_what_is_not_asked_where_features_are_far() -> None:
    """A variance as E[x^2] - E[x]^2, whose digits float64 loses as well, and a choice between scores that are alike."""
    text = """g (float[B, 8] x) => (float[B] v, int64[B] best) {{
        s = Mul (x, x) q = ReduceMean <axes = [1], keepdims = 0> (s) m = ReduceMean <axes = [1], keepdims = 0> (x)
        {} v = Sub (q, r) p = MatMul (x, w) best = ArgMax <axis = 1, keepdims = 0> (p)
    }}"""
    w = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    first, second = (parse(text.format(square), w=w) for square in ("r = Mul (m, m)", "r = Pow (m, two)"))
    second.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2, np.float32), "two"))
    verification = verify(first, second)
    assert verification.passed
    (far,) = [d for d in verification.differences if d.case == "far"]
    assert (far.output, far.float64, far.float64_bound) == ("v", None, None)


def test_shape_and_type_of_an_output() -> None:
    text = "f (float[B, 4] x) => (float[A, C] y) {{ {} }}"
    reference = parse(text.format("y = Relu (x)"))
    other = parse(text.format("r = Relu (x) y = Transpose (r)"))
    assert "shape [4, 2], but the reference has [2, 4]" in failures(verify(reference, other, batches=(2,)))


def test_another_shape_of_an_output_that_was_rounded() -> None:
    """Values on the edge of a rounding step are counted among those of both models, which two shapes do not allow."""
    text = "f (float[B, 4] x) => (float[A, C] y) {{ r = Round (x) {} }}"
    reference, other = (parse(text.format(end)) for end in ("y = Relu (r)", "h = Relu (r) y = Transpose (h)"))
    assert "shape [4, 2], but the reference has [2, 4]" in failures(verify(reference, other, batches=(2,)))


def test_nan_must_be_at_the_same_places() -> None:
    text = "f (float[B, 4] x) => (float[B, 4] y) {{ {} }}"
    reference = parse(text.format("zero = Sub (x, x) y = Mul (x, zero)"))
    other = parse(text.format("zero = Sub (x, x) o = Div (zero, zero) y = Mul (x, o)"))
    assert "NaN in only one of the two" in failures(verify(reference, other))
    assert "NaN in only one of the two" in failures(verify(reference, other, rtol=1, atol=1))


def kinds(verification: Verification) -> set[str | None]:
    return {d.failure for d in verification.differences}


def test_kinds_of_failures() -> None:
    """The kind does not depend on words: each failure has one, and what passed has none."""
    text = "f (float[B, 4] x) => (float[A, C] y) {{ {} }}"
    plain = parse(text.format("y = Relu (x)"))
    assert kinds(verify(plain, plain)) == {None}
    assert kinds(verify(plain, parse(text.format("y = Abs (x)")), batches=(7,))) >= {"another function"}
    assert kinds(verify(plain, parse(text.format("r = Relu (x) y = Transpose (r)")), batches=(2,))) >= {"shape"}
    coarse = parse(text.format("t = Relu (x) far = Add (t, c) y = Sub (far, c)"), c=np.array([1024], np.float32))
    found = [d for d in verify(plain, coarse).differences if d.case == "drawn" and not d.passed]
    assert {(d.failure, d.in_float64) for d in found} == {("accuracy", False)}
    halves = parse(text.format("h, i = Split <axis = 0> (x, two) y = Relu (x)"), two=np.array([1, 1]))
    assert {d.failure for d in verify(plain, halves, batches=(7,)).differences} == {"does not run"}


def test_a_feature_under_a_root_is_made_positive() -> None:
    verification = verify(*[parse("f (float[B, 4] x) => (float[B, 4] y) { y = Sqrt (x) }")] * 2)
    assert verification.passed
    assert verification.notes == ()


def test_nothing_finite_is_said() -> None:
    verification = verify(*[parse("f (float[B, 4] x) => (float[B, 4] y) { z = Sub (x, x) y = Div (z, z) }")] * 2)
    assert verification.passed
    assert "nowhere finite" in said(verification.notes)[0]


def test_integers_must_be_equal() -> None:
    text = "f (float[B, 4] x) => (int64[B] y) {{ y = {} <axis = 1, keepdims = 0> (x) }}"
    assert "not equal" in failures(verify(parse(text.format("ArgMax")), parse(text.format("ArgMin"))))


def test_tolerances_replace_the_questions() -> None:
    reference, other = models.tower(), models.tower(w=models.W * 1.01)
    found = verify(reference, other)
    largest = max(d.max_abs for d in found.differences)
    relative = max(d.max_rel for d in found.differences)
    assert verify(reference, other, atol=largest * 1.001).passed
    assert not verify(reference, other, atol=largest * 0.999).passed
    assert not verify(reference, other, rtol=relative * 0.9).passed
    loose = verify(reference, other, rtol=0.1, atol=0.5)
    assert (loose.passed, loose.rtol, loose.atol) == (True, 0.1, 0.5)
    for d in drawn(loose):
        assert d.bound == pytest.approx(0.5 + 0.1 * d.max_abs / d.max_rel)


def test_a_batch_that_the_reference_cannot_run_is_skipped() -> None:
    needs_two = "f (float[B, 2] x) => (float[B, 2] y) { h = Split <axis = 0> (x) y = Relu (x) }"
    reference = parse(
        needs_two.replace("h = Split", "h, i = Split").replace("(x) y", "(x, half) y"), half=np.array([1, 1])
    )
    verification = verify(reference, reference, batches=(1, 2))
    assert verification.passed
    assert [d.batch for d in drawn(verification)] == [2]
    assert said(verification.notes)[0].startswith("batch 1 was skipped: the reference does not run")
    nothing = verify(reference, reference, batches=(1,))
    assert not nothing.passed
    assert nothing.differences == ()
    optimized_only = verify(parse("f (float[B, 2] x) => (float[B, 2] y) { y = Relu (x) }"), reference, batches=(1, 2))
    assert [(d.batch, d.passed) for d in drawn(optimized_only)] == [(1, False), (2, True)]
    assert "does not run" in optimized_only.differences[0].message
    assert optimized_only.differences[0].max_abs == math.inf


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\x08\x07\x12\xff not a model")
    with pytest.raises(ModelError, match="not an ONNX model"):
        verify(bad, bad)
    with pytest.raises(UserError, match="does not exist"):
        verify(tmp_path / "none.onnx", bad)
    unknown = parse("f (float[B, 2] x) => (float[B, 2] y) { y = Relu (x) }")
    unknown.graph.node[0].op_type = "Unheard"
    with pytest.raises(UserError, match="Unheard"):
        verify(models.tower(), unknown)
    with pytest.raises(UserError, match="no input `users`"):
        verify(models.tower(), models.tower(), tiled=["users"])
    with pytest.raises(UserError):
        verify(models.tower(), models.tower(), batches=())


def test_external_data(tmp_path: Path) -> None:
    for name, model in (("a", models.tower()), ("b", models.split_tower()), ("c", models.tower(w=models.W * 1.01))):
        onnx.save(
            model, tmp_path / f"{name}.onnx", save_as_external_data=True, location=f"{name}.bin", size_threshold=100
        )
    assert verify(tmp_path / "a.onnx", tmp_path / "b.onnx").passed
    assert "not the same function" in failures(verify(tmp_path / "a.onnx", str(tmp_path / "c.onnx")))


def test_a_fixed_batch_is_run_once() -> None:
    model = parse("f (float[3, 2] x) => (float[3, 2] y) { y = Relu (x) }")
    verification = verify(model, model)
    assert {d.batch for d in verification.differences} == {3}
    assert "no input has a dynamic axis" in said(verification.notes)[0]


def test_what_breaks_after_the_comparison_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("mari_onnx.verification.comparison.rankings", boom)
    found = verify(models.tower(), models.split_tower())
    assert found.passed
    assert said(found.notes) == ("what becomes of the order of the candidates could not be found (RuntimeError: boom)",)


def test_the_seed_decides() -> None:
    reference, other = models.tower(), models.split_tower()
    assert verify(reference, other, seed=3) == verify(reference, other, seed=3)


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    verify(models.tower(), models.tower(), batches=(2, 3), progress=lambda *step: told.append(step))
    assert told[:3] == [("tracing inputs", 0, 1), ("batch 2", 1, 7), ("batch 3", 2, 7)]
    assert told[-1] == ("far at batch 3", 6, 7)


@pytest.mark.parametrize(
    ("body", "steady"),
    [
        ("n = Relu (x) y = Relu (n)", True),
        (
            "n, m, v = BatchNormalization <training_mode = 1> (x, ones, zeros, zeros, ones) y = Relu (n)",
            False,
        ),
        ("n = RandomNormalLike (x) y = Add (x, n)", False),
    ],
)
def test_a_reference_that_answers_otherwise_at_the_second_call(body: str, steady: bool) -> None:
    """onnxruntime writes the running mean into the stored one, which is the bias here as well."""
    used = {"ones": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32)} if "ones" in body else {}
    model = parse(f"g (float[B, 4] x) => (float[B, 4] y) {{ {body} }}", **used)
    codes = [note.code for note in verify(model, model).notes]
    assert ("reference-varies" in codes) == (not steady)
