"""What cannot be compared is refused before anything is run."""

from __future__ import annotations

import pytest

from mari_onnx.errors import UserError
from mari_onnx.report.model import ModelFacts, Report
from mari_onnx.report.words import judged
from tests.verification.models import parse, verify


@pytest.mark.parametrize(
    ("optimized", "says"),
    [
        ("f (float[B, 2] z) => (float[B, 2] y) { y = Relu (z) }", "input `x` is only in the reference"),
        ("f (double[B, 2] x) => (float[B, 2] y) { y = Cast <to = 1> (x) }", "input `x` is tensor(float)"),
        ("f (float[B, 2, 1] x) => (float[B, 2, 1] y) { y = Relu (x) }", "input `x` has shape"),
        ("f (float[B, 2] x) => (float[B, 2] out) { out = Relu (x) }", "output `y` is only in the reference"),
    ],
)
def test_another_signature_cannot_be_compared(optimized: str, says: str) -> None:
    reference = parse("f (float[B, 2] x) => (float[B, 2] y) { y = Relu (x) }")
    with pytest.raises(UserError) as raised:
        verify(reference, parse(optimized))
    assert says in raised.value.message
    assert raised.value.next_step


SUM = "f (float[B, 2] x, float[B, 2] z) => (float[B, 2] a, float[B, 2] b) { a = Add (x, z) b = Sub (x, z) }"
TURNED = SUM.replace("float[B, 2] a, float[B, 2] b", "float[B, 2] b, float[B, 2] a")


def test_outputs_in_another_order() -> None:
    """A caller that takes a list of outputs gets others."""
    verification = verify(parse(SUM), parse(TURNED))
    assert not verification.passed
    (failed,) = [one for one in verification.differences if not one.passed]
    assert (failed.output, failed.failure) == ("a", "order")
    assert failed.message == "the outputs come in another order: `b`, `a`, and from the reference `a`, `b`"
    assert verification.divergence is None
    report = Report("verify", "1.0", ModelFacts(None, "", 8, {}, 1, 0, 0, (), ()), verification=verification)
    assert judged(report)[2] == f"The signatures differ: {failed.message}"


def test_an_order_beside_a_mistake() -> None:
    """Where a difference begins is said too."""
    verification = verify(parse(SUM), parse(TURNED.replace("Sub (x, z)", "Sub (z, x)")))
    failed = [one for one in verification.differences if not one.passed and one.case != "far"]
    assert {one.failure for one in failed} == {"order", "another function"}
    assert verification.divergence is not None
    assert verification.divergence.tensor == "b"


def test_many_outputs_in_another_order() -> None:
    names = [f"y{i}" for i in range(8)]
    outputs = ", ".join(f"float[B, 2] {name}" for name in names)
    other = ", ".join(f"float[B, 2] {name}" for name in [*names[:6], "y7", "y6"])
    nodes = " ".join(f"{name} = Relu (x)" for name in names)
    models = [parse(f"f (float[B, 2] x) => ({said}) {{ {nodes} }}") for said in (outputs, other)]
    (failed,) = [one for one in verify(*models).differences if not one.passed]
    assert failed.output == "y6"
    assert failed.message.count("...") == 2


def test_inputs_in_another_order_are_the_same() -> None:
    """They are sent by name."""
    assert verify(parse(SUM), parse(SUM.replace("float[B, 2] x, float[B, 2] z", "float[B, 2] z, float[B, 2] x"))).passed


def test_a_tiled_input_that_there_is_not() -> None:
    model = parse("f (float[B, 2] x) => (float[B, 2] y) { y = Relu (x) }")
    with pytest.raises(UserError, match="no input `users`, which is declared to be tiled"):
        verify(model, model, tiled=["users"])
