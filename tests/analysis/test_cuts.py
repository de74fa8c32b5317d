"""Rows of the user's that see the candidates, beside those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.analysis.reasons import side
from tests.analysis.rules.test_blocks import (
    ADDED,
    CAUSAL,
    CHOSEN,
    CLOSE,
    LENGTH,
    TOKENS,
    WIDTH,
    Mask,
    filled,
    history_is_the_users,
    model,
    styles,
)
from tests.graphs import Rewritten, Session, rewrite, rewrite_and_check

LAST_AXIS: dict[str, Any] = {"last_axis": [-1], "none": np.float32(0)}


def leaking(*rows: int) -> Mask:
    """A causal mask in which some rows of the history see the candidate."""
    mask = CAUSAL.copy()
    mask[list(rows), LENGTH] = True
    return mask


def users_rows(result: Rewritten, name: str = "c") -> list[tuple[int | str, str]]:
    """How many rows each part has, and whose they are."""
    parts = result.program.values[name].parts
    found = [] if parts is None else parts.pieces
    return [(axis.extent if isinstance(axis.extent, int) else "", side(result.program.context, a)) for axis, a in found]


@styles
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([4], [(4, "user"), (2, "item")]),
        ([2], [(2, "user"), (1, "item"), (2, "user"), (1, "item")]),
        ([0, 1], [(2, "item"), (3, "user"), (1, "item")]),
        ([0, 1, 2, 3, 4], []),
    ],
)
def test_rows_that_see_the_candidate(style: str, rows: list[int], expected: list[tuple[int, str]]) -> None:
    result = rewrite_and_check(model(style, ADDED, mask=filled(leaking(*rows), -np.inf)), **CLOSE)
    found = users_rows(result)
    assert [(n, who) for n, who in found if who == "user"] == [(n, who) for n, who in expected if who == "user"]
    assert sum(int(n) for n, _ in found) in (0, TOKENS)


@styles
@pytest.mark.parametrize("attention", ["p = Mul (r, mask)", "p = Where (truth, r, none)"])
def test_rows_without_a_denominator(style: str, attention: str) -> None:
    mask = leaking(3)
    constants: dict[str, Any] = {"mask": mask.astype(np.float32), "truth": mask, "none": np.float32(0)}
    result = rewrite_and_check(model(style, f"r = Relu (s) {attention}", **constants))
    assert users_rows(result)[0] == (3, "user")


@pytest.mark.parametrize(
    "attention",
    [
        """a = Relu (s) p0 = Mul (a, mask) total = ReduceSum <keepdims = 1> (p0, last_axis) p = Mul (p0, total)""",
        """m0 = Where (truth, s, filler) top = ReduceMax <axes = [2]> (m0) d = Sub (m0, top) e = Exp (d)
        total = ReduceSum (e, last_axis) p = Div (e, total)""",
    ],
)
def test_rows_with_a_denominator_of_their_own(attention: str) -> None:
    mask = leaking(3)
    constants = {**LAST_AXIS, "mask": mask.astype(np.float32), "truth": mask, "filler": np.float32(-np.inf)}
    result = rewrite_and_check(model("tiled", attention, **constants), **CLOSE)
    assert users_rows(result)[0] == (3, "user")


def test_rows_under_a_finite_mask() -> None:
    bounded = CHOSEN.replace("s, filler", "t, filler").replace("m =", "t = Tanh (s) m =")
    for filler, users in ((-1e9, True), (-90.0, False)):
        result = rewrite_and_check(model("tiled", bounded, mask=leaking(4), filler=np.float32(filler)), **CLOSE)
        assert bool(users_rows(result)) == users


def test_more_rows_apart_than_pay() -> None:
    """A mask of every other row would make a node for each row."""
    many = 20
    rng = np.random.default_rng(0)
    mask = np.tri(many + 1, dtype=np.bool_)
    mask[1:many:2, many] = True
    result = rewrite(_of_length(many, mask, rng))
    assert users_rows(result) == []


def _of_length(length: int, mask: Mask, rng: np.random.Generator) -> Any:
    attention = "m = Add (s, mask) p = Softmax <axis = -1> (m)"
    graph = model("tiled", attention, mask=np.where(mask, 0, -np.inf).astype(np.float32))
    for info in graph.graph.input:
        if info.name == "user":
            info.type.tensor_type.shape.dim[1].dim_value = length
    return graph


@styles
def test_a_bias_by_the_time_of_the_next_token(style: str) -> None:
    """The last of the user's rows has the candidate's time beside its own: another bias for each candidate."""
    attention = """first = Gather <axis = 2> (x, zero_place) later = Slice (first, one, end, one)
        own = Slice (first, last_place, end, one) next = Concat <axis = 1> (later, own)
        down = Unsqueeze (next, two) across = Unsqueeze (first, one) apart = Sub (down, across) far = Abs (apart)
        biased = Add (s, far) a = Relu (biased) p = Mul (a, mask)"""
    constants: dict[str, Any] = {
        "zero_place": np.array(0), "two": [2], "end": [2**62], "last_place": [-1], "mask": CAUSAL.astype(np.float32),
    }  # fmt: skip
    result = rewrite_and_check(model(style, attention, **constants))
    assert users_rows(result)[0] == (LENGTH - 1, "user")
    assert not history_is_the_users(result)


@pytest.mark.parametrize("rows", [[0], [2], [4], [1, 3]])
def test_what_is_called_the_users_is_the_same_for_other_candidates(rows: list[int]) -> None:
    """Bit by bit, in the original."""
    graph = model("tiled", ADDED, mask=filled(leaking(*rows), -np.inf))
    result = rewrite(graph)
    graph.graph.output.add().name = "c"
    session, rng = Session(graph), np.random.default_rng(0)
    user = np.repeat(rng.normal(size=(1, LENGTH, WIDTH)), 3, axis=0).astype(np.float32)
    (_, one), (_, other) = (
        session.run({"user": user, "item": rng.normal(size=(3, WIDTH)).astype(np.float32)}) for _ in range(2)
    )
    start = 0
    for extent, who in users_rows(result):
        same = np.array_equal(one[:, start : start + int(extent)], other[:, start : start + int(extent)])
        assert same == (who == "user")
        start += int(extent)
    assert start == TOKENS
