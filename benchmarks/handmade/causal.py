"""A decoder that ranks: two causal layers over the user's history and the candidate, scored by the candidate's token.

By hand: the history runs through the layers once. Each candidate is one row that meets the keys of the history as a
product of rows, and its own key beside it; one Softmax goes over both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.handmade import tokens
from benchmarks.handmade.family import Constants, Family, Weights
from benchmarks.handmade.tokens import LAYERS, SIZES, Sizes


def exported(i: int) -> str:
    """Layer i as an exporter writes it, from x{i} to x{i+1}, both [batch, steps, width]."""
    projected = " ".join(
        f"""{p}{i}_m = MatMul (n{i}, W_{p}{i}) {p}{i}_r = Reshape ({p}{i}_m, heads)
            {p}{i} = Transpose <perm = [0, 2, 1, 3]> ({p}{i}_r)"""
        for p in "qkv"
    )
    return f"""
    n{i} = LayerNormalization (x{i}, norm{i}_W, norm{i}_b)
    {projected}
    kt{i} = Transpose <perm = [0, 1, 3, 2]> (k{i})
    products{i} = MatMul (q{i}, kt{i})
    scores{i} = Mul (products{i}, scale)
    masked{i} = Add (scores{i}, mask)
    weights{i} = Softmax <axis = -1> (masked{i})
    mixed{i} = MatMul (weights{i}, v{i})
    back{i} = Transpose <perm = [0, 2, 1, 3]> (mixed{i})
    merged{i} = Reshape (back{i}, whole)
    out{i} = MatMul (merged{i}, W_o{i})
    y{i} = Add (x{i}, out{i})
    m{i} = LayerNormalization (y{i}, norm{i}_W, norm{i}_b)
    inner{i} = MatMul (m{i}, W_1{i})
    act{i} = Relu (inner{i})
    outer{i} = MatMul (act{i}, W_2{i})
    x{i + 1} = Add (y{i}, outer{i})"""


def _inner(side: str, i: int) -> str:
    """The end of layer i for rows of one side, from their attention `{side}{i}_mix` on."""
    s = f"{side}{i}"
    return f"""
    {s}_out = MatMul ({s}_mix, W_o{i})
    {s}_y = Add ({side}{i}_x, {s}_out)
    {s}_m = LayerNormalization ({s}_y, norm{i}_W, norm{i}_b)
    {s}_inner = MatMul ({s}_m, W_1{i})
    {s}_act = Relu ({s}_inner)
    {s}_outer = MatMul ({s}_act, W_2{i})
    {side}{i + 1}_x = Add ({s}_y, {s}_outer)"""


def _by_hand(i: int) -> str:
    """Layer i of the history h [length, width] and of the candidates c [batch, width]."""
    last = i == LAYERS - 1
    history = f"""
    h{i}_n = LayerNormalization (h{i}_x, norm{i}_W, norm{i}_b)
    h{i}_km = MatMul (h{i}_n, W_k{i})
    h{i}_kr = Reshape (h{i}_km, rows_of_heads)
    h{i}_k = Transpose <perm = [1, 2, 0]> (h{i}_kr)
    h{i}_vm = MatMul (h{i}_n, W_v{i})
    h{i}_vr = Reshape (h{i}_vm, rows_of_heads)
    h{i}_v = Transpose <perm = [1, 0, 2]> (h{i}_vr)"""
    of_history = f"""
    h{i}_qm = MatMul (h{i}_n, W_q{i})
    h{i}_qr = Reshape (h{i}_qm, rows_of_heads)
    h{i}_q = Transpose <perm = [1, 0, 2]> (h{i}_qr)
    {tokens.history_attends(i)}
    {_inner("h", i)}"""
    candidate = f"""
    c{i}_n = LayerNormalization (c{i}_x, norm{i}_W, norm{i}_b)
    {" ".join(f"c{i}_{p}m = MatMul (c{i}_n, W_{p}{i}) c{i}_{p} = Reshape (c{i}_{p}m, rows_of_heads)" for p in "qkv")}
    {tokens.candidate_attends(i, f"c{i}_v")}
    {_inner("c", i)}"""
    return history + ("" if last else of_history) + candidate


def _layer(width: int) -> Callable[[Weights, int], Constants]:
    def constants(w: Weights, i: int) -> Constants:
        found: Constants = {f"W_{p}{i}": w.matrix(width, width) for p in "qkvo"}
        return found | {f"W_1{i}": w.matrix(width, 4 * width), f"W_2{i}": w.matrix(4 * width, width)}

    return constants


def family(sizes: Sizes = SIZES) -> Family:
    mask = np.where(np.tri(sizes.steps, dtype=bool), 0, -np.inf).astype(np.float32)
    export, hand = tokens.exported(exported, sizes), tokens.by_hand(_by_hand)
    return tokens.family(export, hand, mask, _layer(sizes.width), sizes)
