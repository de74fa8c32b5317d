"""What a model takes as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.cost import Work
from tests.graphs import integers, parse


def work(text: str, batch: int = 50, users: tuple[str, ...] = (), **constants: Any) -> Work:
    model = Model(from_proto(parse(text, **constants)))
    return read(model, roles_of(model, users, batch)).interpreted(batch).work


def test_what_varies_with_the_candidates_and_what_does_not() -> None:
    body = "h = MatMul (user, w) y = Add (h, item)"
    tiled = work(f"g (float[B, 4] user, float[B, 3] item) => (float[B, 3] y) {{ {body} }}", w=integers(4, 3))
    one = work(f"g (float[1, 4] user, float[B, 3] item) => (float[B, 3] y) {{ {body} }}", w=integers(4, 3))
    assert (tiled.macs, tiled.fixed, tiled.nodes) == (50 * 4 * 3, 0, 2)
    assert (one.macs, one.fixed, one.nodes) == (12, 12, 2)


def test_the_original_counts_whoever_is_declared() -> None:
    text = "g (float[B, 4] user, float[B, 3] item) => (float[B, 3] y) { h = MatMul (user, w) y = Add (h, item) }"
    assert work(text, w=integers(4, 3)) == work(text, users=("user",), w=integers(4, 3))


def test_constants_are_computed_once() -> None:
    text = "g (float[B, 7] x) => (float[B, 3] y) { v = MatMul (w, k) y = MatMul (x, v) }"
    found = work(text, w=integers(7, 5), k=integers(5, 3))
    assert (found.macs, found.nodes) == (50 * 7 * 3, 1)


@pytest.mark.parametrize(("taken", "macs"), [(True, 12), (False, 0)])
def test_an_if_is_the_branch_that_it_takes(taken: bool, macs: int) -> None:
    text = """g (float[B, 4] x) => (float[B, 3] y) {
        y = If (yes) <then_branch = t () => (float[B, 3] p) { p = MatMul (x, w) },
                      else_branch = e () => (float[B, 3] q) { q = Gather <axis = 1> (x, three) }>
    }"""
    assert work(text, yes=np.array(taken), w=integers(4, 3), three=[0, 1, 2]).macs == 50 * macs


def test_a_single_candidate_beside_many() -> None:
    text = "g (float[B, 4] x) => (float[B, 300] y) { y = MatMul (x, w) }"
    found = work(text, batch=5000, w=integers(4, 300))
    assert found.alone < found.time / 10
