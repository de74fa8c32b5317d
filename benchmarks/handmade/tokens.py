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
