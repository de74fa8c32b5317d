"""CumSum: running sums of the user's tokens and the candidate's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.analysis.rules.test_blocks import history_is_the_users
from tests.graphs import MANY, STYLES, Rewritten, integers, ranking, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)

TOKENS = "i = Unsqueeze <axes = [1]> (item) x = Concat <axis = 1> (user, i)"
LAST = "y = Gather <axis = 1> (c, place)"


def running(style: str, sums: str = "c = CumSum (x, along)", *, before: str = TOKENS, **given: Any) -> Rewritten:
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 4] y", "opset": 11, **given}
    constants: dict[str, Any] = {"along": np.array(1), "columns": np.array(-1), "place": np.array(5)}
    body = f"{before} {sums} {LAST}"
    return rewrite_and_check(ranking(style, body, **types, **{k: v for k, v in constants.items() if k in body}))


@styles
def test_sums_of_the_history_are_the_users(style: str) -> None:
    result = running(style)
    assert history_is_the_users(result)
    assert not any("[B 6 4]" in line for line in result.graph)


@styles
@pytest.mark.parametrize("opset", [13, 18])
def test_newer_models(style: str, opset: int) -> None:
    before = "i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i)"
    assert history_is_the_users(running(style, before=before, opset=opset, one=[1]))


@styles
def test_tokens_on_both_sides_and_between(style: str) -> None:
    before = f"{TOKENS} z = Concat <axis = 1> (i, user, i, user)"
    result = running(style, "c = CumSum (z, along)", before=before)
    assert result.program.values["c"].parts is not None


@styles
@pytest.mark.parametrize("attribute", ["exclusive", "reverse"])
def test_other_sums_are_left_whole(style: str, attribute: str) -> None:
    assert not history_is_the_users(running(style, f"c = CumSum <{attribute} = 1> (x, along)"))


@styles
def test_sums_along_the_columns(style: str) -> None:
    assert history_is_the_users(running(style, "c = CumSum (x, columns)"))


@styles
def test_linear_attention(style: str) -> None:
    """Sums of products of keys and values: those of the history are made once."""
    before = f"""{TOKENS} k = MatMul (x, wk) v = MatMul (x, wv) k4 = Unsqueeze <axes = [3]> (k)
        v4 = Unsqueeze <axes = [2]> (v) kv = Mul (k4, v4) m = CumSum (kv, along) q4 = Unsqueeze <axes = [2]> (x)
        o4 = MatMul (q4, m) o = Squeeze <axes = [2]> (o4)"""
    result = running(style, "c = Add (x, o)", before=before, wk=integers(4, 4), wv=integers(4, 4, seed=1))
    assert history_is_the_users(result)
    assert result.plan.work.macs < MANY * 6 * 3 * 16 / 2


def test_the_graph() -> None:
    """The history's sum is made once, and added to each candidate's."""
    result = running("one")
    assert result.graph == [
        "item.reshape [B 1 4] = Reshape (item)",
        "c.before [1 1 4] = ReduceSum (user_row)",
        "y.item [B 1 4] = Add (item.reshape, c.before)",
        "y [B 4] = Reshape (y.item)",
    ]
