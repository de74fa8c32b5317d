"""A failed verification says where it begins, and leaves the least that fails behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from mari_onnx.document.provenance import Origin, stamp
from mari_onnx.report.model import Divergence, Remark, Verification
from mari_onnx.verification.compare.localize import smallest
from mari_onnx.verification.inputs.draw import Input
from tests.verification import models
from tests.verification.models import parse, verify


def found(verification: Verification) -> Divergence:
    assert not verification.passed
    assert verification.divergence is not None
    return verification.divergence


def test_the_first_tensor_that_differs() -> None:
    divergence = found(verify(models.tower(), models.split_tower(swapped=True)))
    assert divergence.tensor == "h"  # not `a`, `z` or `score`, which differ too
    assert divergence.in_float64
    assert [node.split()[0] for node in divergence.nodes] == ["Slice", "Slice", "Gemm", "Gemm"]
    assert divergence.agreeing == ("x",)


def test_nothing_is_said_of_models_that_agree() -> None:
    assert verify(models.tower(), models.split_tower()).divergence is None


def test_a_form_of_a_tensor_is_known_by_the_provenance() -> None:
    """`ru` is `r` without the candidates that it repeats along: it agrees, and what was made of it does not."""
    first = parse(
        """f (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) {
            n = Shape <start = 0, end = 1> (item) k = Constant <value_ints = [4]> () s = Concat <axis = 0> (n, k)
            h = Expand (user, s)
            r = Relu (h)
            y = Add (r, item)
        }"""
    )
    second = parse(
        """f (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) {
            ru = Relu (user)
            t = Mul (ru, two)
            y = Add (t, item)
        }""",
        two=np.array([1.5], np.float32),
    )
    assert set(found(verify(first, second)).agreeing) == {"user", "item"}  # nothing says what `ru` is
    stamp(second, {"ru": Origin("r", "user", "elementwise")})
    divergence = found(verify(first, second))
    assert divergence.tensor == "y"
    assert set(divergence.agreeing) == {"ru", "item"}
    assert [node.split()[0] for node in divergence.nodes] == ["Mul", "Add"]


def test_accuracy_is_localized_in_the_precision_of_the_model() -> None:
    text = "f (float[B, 4] x) => (float[B, 4] y) {{ {} }}"
    precise = parse(text.format("t = Tanh (x) y = Neg (t)"))
    coarse = parse(
        text.format("s = Tanh (x) far = Add (s, c) t = Sub (far, c) y = Neg (t)"), c=np.array([1024], np.float32)
    )
    divergence = found(verify(precise, coarse))
    assert (divergence.tensor, divergence.in_float64) == ("t", False)


def test_the_least_that_fails_is_saved_and_fails_again(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    wrong = table.copy()
    wrong[37] += 1
    text = "f (int64[B] id, float[B, 4] x, float[B] z) => (float[B, 4] y) { e = Gather (table, id) y = Add (e, x) }"
    first, second = parse(text, table=table), parse(text, table=wrong)
    path = tmp_path / "failing.npz"
    divergence = found(verify(first, second, batches=(64,), failing=path))
    assert (divergence.candidates, divergence.inputs) == (1, str(path))
    with np.load(path) as saved:
        assert saved["id"].tolist() == [37]
        assert not saved["x"].any() and not saved["z"].any()
        assert saved["x"].shape == (1, 4)
    again = verify(first, second, inputs=path)
    assert not again.passed
    assert found(again).tensor == "e"


def test_candidates_that_fail_only_together() -> None:
    inputs = [Input("x", np.dtype(np.float32), ("B",))]
    feeds = {"x": np.arange(1, 17, dtype=np.float32)}
    small = smallest(feeds, inputs, {"B"}, lambda f: {3.0, 14.0} <= set(f["x"].tolist()))
    assert small["x"].tolist() == [3, 14]


def test_what_fails_with_nan_alone_is_made_small_by_that(tmp_path: Path) -> None:
    text = "f (float[B, 4] x, float[B, 4] z) => (float[B, 4] y) {{ {} }}"
    first = parse(text.format("h = Mul (x, two) y = Add (h, z)"), two=np.float32(2))
    second = parse(
        text.format("n = IsNaN (x) w = Where (n, nought, x) h = Mul (w, two) y = Add (h, z)"),
        two=np.float32(2), nought=np.float32(0),
    )  # fmt: skip
    divergence = found(verify(first, second, failing=tmp_path / "f.npz"))
    assert (divergence.case, divergence.tensor, divergence.in_float64) == ("not finite", "h", True)
    with np.load(tmp_path / "f.npz") as saved:
        assert np.isnan(saved["x"]).any() and not saved["z"].any()


def test_what_does_not_run_is_made_small_too(tmp_path: Path) -> None:
    first = parse("f (float[B, 2] x) => (float[B, 2] y) { y = Relu (x) }")
    second = parse(
        "f (float[B, 2] x) => (float[B, 2] y) { h, i = Split <axis = 0> (x, two) y = Relu (x) }", two=np.array([1, 1])
    )
    divergence = found(verify(first, second, batches=(1, 2, 7), failing=tmp_path / "f.npz"))
    assert divergence.output == "y"
    assert divergence.candidates == 1


def stamped() -> onnx.ModelProto:
    """A wrong optimized tower, with where its tensors come from."""
    wrong = models.split_tower(swapped=True)
    stamp(wrong, {"pu": Origin("h", "user", "product"), "h": Origin("h", "whole", "product")})
    return wrong


def test_the_rule_that_made_it() -> None:
    divergence = found(verify(models.tower(), stamped()))
    assert (divergence.tensor, divergence.rule, divergence.reason) == ("h", "product", "form of value `h`: whole")


def test_the_rule_of_the_nearest_tensor() -> None:
    wrong = models.split_tower(swapped=True)
    stamp(wrong, {"pu": Origin("h", "user", "linear"), "u": Origin("x", "part", "columns")})
    divergence = found(verify(models.tower(), wrong))
    assert (divergence.rule, divergence.reason) == ("linear", "form of value `h`: user")


def test_what_the_optimizer_remarks_on_the_value() -> None:
    remark = Remark("applied", "product", "n", "Gemm", "h", "10 become 5", "[B 4] = user () + item (B)")
    other = replace(remark, tensor="h.user", rule="other")  # not the value, whatever its name begins with
    divergence = found(verify(models.tower(), stamped(), remarks=[other, remark]))
    assert (divergence.rule, divergence.reason) == ("product", "[B 4] = user () + item (B): 10 become 5")
    refused = replace(remark, status="refused")
    assert found(verify(models.tower(), stamped(), remarks=[refused])).reason == "form of value `h`: whole"


def test_a_name_says_nothing() -> None:
    remark = Remark("applied", "product", "n", "Gemm", "h", "10 become 5")
    divergence = found(verify(models.tower(), models.split_tower(swapped=True), remarks=[remark]))
    assert (divergence.tensor, divergence.rule, divergence.reason) == ("h", "", "")


def test_tensors_of_bodies_are_no_matter() -> None:
    text = """f (float[B] x) => (float[B] y) {{
        t = Constant <value = bool {{1}}> ()
        h = If (t) <
            then_branch = yes () => (float[B] a) {{ a = {} (x) }},
            else_branch = no () => (float[B] b) {{ b = Neg (x) }}
        >
        y = Neg (h)
    }}"""
    divergence = found(verify(parse(text.format("Relu")), parse(text.format("Abs"))))
    assert divergence.tensor == "h"
