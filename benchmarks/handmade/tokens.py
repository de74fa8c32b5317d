"""Rankers over one sequence of the user's history and the candidate, scored by the candidate's token.

The export runs all layers on [batch, steps, width]. By hand, the history h [length, width] and the candidates
c [batch, width] go through the layers apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.handmade.family import Constants, Family, Weights, expand

LENGTH, WIDTH, HEADS, LAYERS = 64, 32, 2, 2
STEPS, HEAD = LENGTH + 1, WIDTH // HEADS


def exported(layer: Callable[[int], str]) -> str:
    """The model as an exporter writes it; layer i leads from x{i} to x{i+1}."""
    return f"""
    {expand("history_ids", "history_rows", "item_id", LENGTH)}
    item1 = Unsqueeze (item_id, one)
    ids = Concat <axis = 1> (history_rows, item1)
    embedded = Gather (item_table, ids)
    x0 = Add (embedded, position)
    {" ".join(map(layer, range(LAYERS)))}
    last = Gather <axis = 1> (x{LAYERS}, place)
    logit = MatMul (last, W_score)
    score = Sigmoid (logit)"""


def by_hand(layer: Callable[[int], str]) -> str:
    """The model by hand; layer i leads from h{i}_x and c{i}_x to h{i+1}_x and c{i+1}_x."""
    return f"""
    history_e = Gather (item_table, history_ids)
    history = Squeeze (history_e, zero)
    h0_x = Add (history, history_position)
    item_e = Gather (item_table, item_id)
    c0_x = Add (item_e, item_position)
    {" ".join(map(layer, range(LAYERS)))}
    logit = MatMul (c{LAYERS}_x, W_score)
    score = Sigmoid (logit)"""


def history_attends(i: int) -> str:
    """Softmax attention of the history in layer i, by hand: from h{i}_q, h{i}_k and h{i}_v to h{i}_mix."""
    return f"""
    h{i}_s = MatMul (h{i}_q, h{i}_k)
    h{i}_scaled = Mul (h{i}_s, scale)
    h{i}_masked = Add (h{i}_scaled, history_mask)
    h{i}_p = Softmax <axis = -1> (h{i}_masked)
    h{i}_pv = MatMul (h{i}_p, h{i}_v)
    h{i}_back = Transpose <perm = [1, 0, 2]> (h{i}_pv)
    h{i}_mix = Reshape (h{i}_back, rows)"""


def candidate_attends(i: int, value: str) -> str:
    """That of the candidates, each with a key of its own under the same Softmax: from c{i}_q and c{i}_k to c{i}_mix."""
    return f"""
    c{i}_qt = Transpose <perm = [1, 0, 2]> (c{i}_q)
    c{i}_s = MatMul (c{i}_qt, h{i}_k)
    c{i}_qk = Mul (c{i}_q, c{i}_k)
    c{i}_sum = ReduceSum <keepdims = 1> (c{i}_qk, two)
    c{i}_own = Transpose <perm = [1, 0, 2]> (c{i}_sum)
    c{i}_all = Concat <axis = 2> (c{i}_s, c{i}_own)
    c{i}_scaled = Mul (c{i}_all, scale)
    c{i}_p = Softmax <axis = -1> (c{i}_scaled)
    c{i}_ph, c{i}_po = Split <axis = 2> (c{i}_p, widths)
    c{i}_pv = MatMul (c{i}_ph, h{i}_v)
    c{i}_vt = Transpose <perm = [1, 0, 2]> ({value})
    c{i}_pov = Mul (c{i}_po, c{i}_vt)
    c{i}_sum2 = Add (c{i}_pv, c{i}_pov)
    c{i}_back = Transpose <perm = [1, 0, 2]> (c{i}_sum2)
    c{i}_mix = Reshape (c{i}_back, rows)"""


def family(export: str, hand: str, mask: npt.NDArray[np.float32], layer: Callable[[Weights, int], Constants]) -> Family:
    """The family with a mask [steps, steps] and the constants that each layer has beside its norm."""
    w = Weights()
    position = w.table(WIDTH, STEPS)
    constants: Constants = {"item_table": w.table(WIDTH), "one": [1], "two": [2], "zero": [0], "place": LENGTH}
    constants |= {"position": position, "history_position": position[:LENGTH], "item_position": position[LENGTH]}
    constants |= {"mask": mask, "history_mask": mask[:LENGTH, :LENGTH], "share": mask[-1, -1]}
    constants |= {"scale": w.scalar(HEAD**-0.5), "widths": [LENGTH, 1], "W_score": w.matrix(WIDTH, 1)}
    constants |= {"heads": [0, STEPS, HEADS, HEAD], "whole": [-1, STEPS, WIDTH]}
    constants |= {"rows_of_heads": [-1, HEADS, HEAD], "rows": [-1, WIDTH]}
    for i in range(LAYERS):
        constants |= layer(w, i)
        constants |= {f"norm{i}_W": 1 + w.bias(WIDTH), f"norm{i}_b": w.bias(WIDTH)}
    inputs = f"int64[1, {LENGTH}] history_ids, int64[batch] item_id"
    return Family(f"({inputs}) => (float[batch, 1] score)", export, hand, constants)
