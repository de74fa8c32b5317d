"""The Attention operator over the user's tokens and the candidate's, with masks of each kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.analysis.rules.test_blocks import CAUSAL, CLOSE, filled, history_is_the_users, model
from tests.graphs import STYLES, Rewritten, integers, rewrite, rewrite_and_check

HEADS = "q_num_heads = 2, kv_num_heads = 2"
PADDING = """first = Gather <axis = 2> (user, zero_place) there = Greater (first, number)
    n = Shape <end = 1> (item) rows = Concat <axis = 0> (n, one) always = Expand (true, rows)
    all_there = Concat <axis = 1> (there, always) there4 = Unsqueeze (all_there, one_two) both = And (mask, there4)"""
OF_PADDING: dict[str, Any] = {"zero_place": np.array(0), "number": np.float32(0), "one_two": [1, 2], "true": [[True]]}


def of_operator(node: str, before: str = "", style: str = "tiled", **constants: Any) -> Rewritten:
    """The layer with an Attention in the place of scores, weights and their product."""
    return rewrite_and_check(model(style, before, summed=f"c = {node}", opset=23, **constants), **CLOSE)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("scale", ["", ", scale = 0.3"])
def test_a_causal_operator(style: str, scale: str) -> None:
    result = of_operator(f"Attention <{HEADS}, is_causal = 1{scale}> (q, k, v)", style=style)
    assert history_is_the_users(result)


@pytest.mark.parametrize("mask", [CAUSAL, filled(CAUSAL, -np.inf)], ids=["boolean", "float"])
def test_a_mask(mask: Any) -> None:
    assert history_is_the_users(of_operator(f"Attention <{HEADS}> (q, k, v, mask)", mask=mask))


def test_no_mask_proves_nothing() -> None:
    assert not history_is_the_users(of_operator(f"Attention <{HEADS}> (q, k, v)"))


def test_fewer_heads_of_keys() -> None:
    node = "Attention <q_num_heads = 2, kv_num_heads = 1, is_causal = 1> (q, k1, v1)"
    before = "k1, k2 = Split <axis = 2, num_outputs = 2> (k) v1, v2 = Split <axis = 2, num_outputs = 2> (v)"
    assert history_is_the_users(of_operator(node, before, wq=integers(4, 4) / 8))


def test_a_row_that_attends_to_nothing_is_0() -> None:
    """As the operator has it; a Softmax of its logits would be NaN."""
    result = of_operator(f"Attention <{HEADS}> (q, k, v, both)", PADDING, mask=CAUSAL, **OF_PADDING)
    assert history_is_the_users(result)
    assert "ReduceMax" in result.ops


def test_two_masks_may_leave_a_row_nothing() -> None:
    later = np.triu(np.ones_like(CAUSAL), 1)
    result = of_operator(f"Attention <{HEADS}, is_causal = 1> (q, k, v, mask)", mask=later)
    assert not history_is_the_users(result)


@pytest.mark.parametrize("attribute", ["softcap = 2.0", "qk_matmul_output_mode = 1"])
def test_what_is_not_written_out(attribute: str) -> None:
    result = rewrite(
        model("tiled", "", summed=f"c = Attention <{HEADS}, is_causal = 1, {attribute}> (q, k, v)", opset=23)
    )
    assert not history_is_the_users(result)


def test_the_products() -> None:
    result = of_operator(f"Attention <{HEADS}, is_causal = 1> (q, k, v)", style="one")
    assert "Attention" not in result.ops
    assert "Expand" not in result.ops
    shapes = [line.split(" = ")[0].split(" ", 1)[1] for line in result.graph if " = Softmax" in line]
    assert shapes == ["[B 2 1 6]"]
