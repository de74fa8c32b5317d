"""What cannot be compared is refused before anything is run."""

from __future__ import annotations

import pytest

from mari_onnx.errors import UserError
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


def test_a_tiled_input_that_there_is_not() -> None:
    model = parse("f (float[B, 2] x) => (float[B, 2] y) { y = Relu (x) }")
    with pytest.raises(UserError, match="no input `users`, which is declared to be tiled"):
        verify(model, model, tiled=["users"])
