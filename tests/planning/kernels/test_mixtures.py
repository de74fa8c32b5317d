"""Mixtures of a few experts: a product for each candidate, written as scaled rows that are added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.planning.kernels.mixtures import row
from mari_onnx.planning.kernels.site import FLOAT, Site
from tests.graphs import integers, parse
from tests.planning.kernels.compare import assert_same_on, kept, ordinary, replaced

TEXT = "g (float[B, T, 3] gates, float[B, 3, 40] item) => (float[B, T, 40] y) { y = MatMul (gates, item) }"


def mixtures(count: int) -> str:
    """Gates that are rows of one product with the experts, of which each is wanted alone."""
    body = "all = Concat <axis = 1> (a, b, c) e = Reshape (all, three) m = MatMul (gates, e) "
    body += " ".join(f"r{i} = Gather <axis = 1> (m, i{i}) y{i} = Relu (r{i})" for i in range(count))
    outputs = ", ".join(f"float[B, 40] y{i}" for i in range(count))
    experts = "float[B, 40] a, float[B, 40] b, float[B, 40] c"
    return f"g (float[B, {count}, 3] gates, {experts}) => ({outputs}) {{ {body} }}"


def test_the_graph() -> None:
    model = parse(TEXT.replace("T", "1"))
    result = replaced(model)
    assert "MatMul" not in result.ops
    assert [result.ops.count(op) for op in ("Slice", "Gather", "Mul", "Sum")] == [3, 3, 3, 1]
    assert_same_on(model, result, rtol=1e-5, gates=abs(ordinary(9, 1, 3)), item=abs(ordinary(9, 3, 40)))
    assert result.plan.work.macs == 0


def test_rows_of_one_product() -> None:
    stored: dict[str, Any] = {"i0": 0, "i1": 1, "three": [-1, 3, 40]}
    result = replaced(parse(mixtures(2), **stored), batch=500)
    assert "MatMul" not in result.ops
    assert result.ops.count("Sum") == 2


def test_a_row_of_any_number() -> None:
    """The place of the last one is not known before the model runs."""
    batch, length = symbol("B"), symbol("T")
    site = Site(Builder(), 17, onnx.numpy_helper.to_array)
    gates, item = (site.b.input(name, (batch, rows, 3), FLOAT) for name, rows in (("gates", 1 + length), ("item", 3)))
    whole = site.b.make("MatMul", [gates, item], (batch, 1 + length, 3))
    assert not list(row(site, site.b.slice(whole, 1, length, 1 + length).node))
    assert list(row(site, site.b.slice(whole, 1, 0, 1).node))
    assert list(row(site, site.b.take(whole, site.b.constant(np.array(0, np.int64)), 1).node))


def test_pieces_of_a_concat_are_not_copied() -> None:
    body = "c = Concat <axis = 1> (a, b) e = Reshape (c, two) y = MatMul (gates, e)"
    text = f"g (float[B, 1, 2] gates, float[B, 40] a, float[B, 40] b) => (float[B, 1, 40] y) {{ {body} }}"
    result = replaced(parse(text, two=[-1, 2, 40]))
    assert {"Concat", "MatMul", "Gather"}.isdisjoint(result.ops)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (TEXT.replace("T", "4"), {}),
        (TEXT.replace("T", "1").replace("3", "40"), {}),
        ("g (float[B, 1, 3] item) => (float[B, 1, 40] y) { y = MatMul (item, w) }", {"w": integers(1, 3, 40)}),
        ("g (float[B, 3] item) => (float[B, 40] y) { y = MatMul (item, w) }", {"w": integers(3, 40)}),
        ("g (float[B, 1, 3] gates, float[3, 40] item) => (float[B, 1, 40] y) { y = MatMul (gates, item) }", {}),
    ],
    ids=["several rows that are wanted together", "many terms", "a stored weight", "rows", "one right side"],
)
def test_what_is_left_alone(text: str, stored: dict[str, Any]) -> None:
    kept(parse(text, **stored))
