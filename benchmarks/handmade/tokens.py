"""Rankers over one sequence of the user's history and the candidate, scored by the candidate's token.

The export runs all layers on [batch, steps, width]. By hand, the history h [length, width] and the candidates
c [batch, width] go through the layers apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.handmade.family import Constants, Family, Weights, expand

LAYERS = 2


@dataclass(frozen=True)
class Sizes:
    """How many tokens the history has, how wide they are, and in how many heads they attend."""

    length: int = 64
    width: int = 32
    heads: int = 2

    @property
    def steps(self) -> int:
        """The tokens of the history, and the candidate's."""
        return self.length + 1

    @property
    def head(self) -> int:
        """The width of a head."""
        return self.width // self.heads


SIZES = Sizes()


def exported(layer: Callable[[int], str], sizes: Sizes) -> str:
    """The model as an exporter writes it; layer i leads from x{i} to x{i+1}."""
    return f"""
    {expand("history_ids", "history_rows", "item_id", sizes.length)}
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


def family(
    export: str, hand: str, mask: npt.NDArray[np.float32], layer: Callable[[Weights, int], Constants], sizes: Sizes
) -> Family:
    """The family with a mask [steps, steps] and the constants that each layer has beside its norm."""
    w, length, width = Weights(), sizes.length, sizes.width
    position = w.table(width, sizes.steps)
    constants: Constants = {"item_table": w.table(width), "one": [1], "two": [2], "zero": [0], "place": length}
    constants |= {"position": position, "history_position": position[:length], "item_position": position[length]}
    constants |= {"mask": mask, "history_mask": mask[:length, :length], "share": mask[-1, -1]}
    constants |= {"scale": w.scalar(sizes.head**-0.5), "widths": [length, 1], "W_score": w.matrix(width, 1)}
    constants |= {"heads": [0, sizes.steps, sizes.heads, sizes.head], "whole": [-1, sizes.steps, width]}
    constants |= {"rows_of_heads": [-1, sizes.heads, sizes.head], "rows": [-1, width]}
    for i in range(LAYERS):
        constants |= layer(w, i)
        constants |= {f"norm{i}_W": 1 + w.bias(width), f"norm{i}_b": w.bias(width)}
    inputs = f"int64[1, {length}] history_ids, int64[batch] item_id"
    return Family(f"({inputs}) => (float[batch, 1] score)", export, hand, constants)
