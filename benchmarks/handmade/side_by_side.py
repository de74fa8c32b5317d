"""A decoder that ranks all candidates in one sequence behind the history, each hidden from the others by the mask.

By hand it is the decoder of `causal`: the history runs through the layers once, and each candidate is one row.
"""

from __future__ import annotations

from benchmarks.handmade import causal
from benchmarks.handmade.family import Family, Weights
from benchmarks.handmade.tokens import LAYERS, SIZES, Sizes

_EXPORTED = f"""
    history_e = Gather (item_table, history_ids)
    history = Add (history_e, history_position)
    item_e = Gather (item_table, item_id)
    item = Add (item_e, item_position)
    items = Unsqueeze (item, zero)
    x0 = Concat <axis = 1> (history, items)
    count1 = Shape <start = 1, end = 2> (x0)
    count = Squeeze (count1, zero)
    column = Range (first, count, step)
    row = Unsqueeze (column, one)
    before = LessOrEqual (column, row)
    in_history = Less (column, place)
    seen = And (before, in_history)
    own = Equal (column, row)
    visible = Or (seen, own)
    mask = Where (visible, zero_number, nothing)
    {" ".join(map(causal.exported, range(LAYERS)))}
    candidates = Slice (x{LAYERS}, places, ends, one)
    logits = MatMul (candidates, W_score)
    logit = Squeeze (logits, zero)
    score = Sigmoid (logit)"""


def family(sizes: Sizes = SIZES) -> Family:
    """As many candidates as there are, behind the history."""
    alone = causal.family(sizes)
    constants = {name: given for name, given in alone.constants.items() if name != "mask"}
    constants |= {"heads": [1, -1, sizes.heads, sizes.head], "whole": [1, -1, sizes.width]}
    constants |= {"first": 0, "step": 1, "places": [sizes.length], "ends": [2**31 - 1]}
    constants |= {"zero_number": Weights.scalar(0), "nothing": Weights.scalar(-float("inf"))}
    return Family(alone.signature, _EXPORTED, alone.by_hand, constants)
