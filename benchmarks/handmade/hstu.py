"""HSTU: two layers of attention by SiLU in place of a Softmax, over the user's history and the candidate.

By hand: the history runs through the layers once. A candidate's row meets the keys of the history and its own key; no
denominator joins them.
"""

from __future__ import annotations

import numpy as np

from benchmarks.handmade import tokens
from benchmarks.handmade.family import Constants, Family, Weights
from benchmarks.handmade.tokens import LAYERS, SIZES


def _silu(x: str, y: str) -> str:
    return f"{y}_s = Sigmoid ({x}) {y} = Mul ({x}, {y}_s)"


def _exported(i: int) -> str:
    """Layer i as an exporter writes it, from x{i} to x{i+1}, both [batch, steps, width]."""
    projected = " ".join(f"{p}{i}_m = MatMul (n{i}, W_{p}{i}) {_silu(f'{p}{i}_m', f'{p}{i}_a')}" for p in "uqkv")
    heads = " ".join(
        f"{p}{i}_r = Reshape ({p}{i}_a, heads) {p}{i} = Transpose <perm = [0, 2, 1, 3]> ({p}{i}_r)" for p in "qkv"
    )
    return f"""
    n{i} = LayerNormalization (x{i}, norm{i}_W, norm{i}_b)
    {projected} {heads}
    kt{i} = Transpose <perm = [0, 1, 3, 2]> (k{i})
    scores{i} = MatMul (q{i}, kt{i})
    {_silu(f"scores{i}", f"act{i}")}
    weights{i} = Mul (act{i}, mask)
    mixed{i} = MatMul (weights{i}, v{i})
    back{i} = Transpose <perm = [0, 2, 1, 3]> (mixed{i})
    merged{i} = Reshape (back{i}, whole)
    m{i} = LayerNormalization (merged{i}, norm{i}_W, norm{i}_b)
    gated{i} = Mul (m{i}, u{i}_a)
    out{i} = MatMul (gated{i}, W_o{i})
    x{i + 1} = Add (x{i}, out{i})"""


def _projected(s: str, i: int, names: str) -> str:
    return f"{s}_n = LayerNormalization ({s}_x, norm{i}_W, norm{i}_b) " + " ".join(
        f"{s}_{p}m = MatMul ({s}_n, W_{p}{i}) {_silu(f'{s}_{p}m', f'{s}_{p}')}" for p in names
    )


def _gated(side: str, i: int) -> str:
    s = f"{side}{i}"
    return f"""
    {s}_m = LayerNormalization ({s}_mix, norm{i}_W, norm{i}_b)
    {s}_gated = Mul ({s}_m, {s}_u)
    {s}_out = MatMul ({s}_gated, W_o{i})
    {side}{i + 1}_x = Add ({s}_x, {s}_out)"""


def _by_hand(i: int) -> str:
    """Layer i of the history h [length, width] and of the candidates c [batch, width]."""
    last = i == LAYERS - 1
    history = f"""
    {_projected(f"h{i}", i, "kv" if last else "uqkv")}
    h{i}_kr = Reshape (h{i}_k, rows_of_heads)
    h{i}_kt = Transpose <perm = [1, 2, 0]> (h{i}_kr)
    h{i}_vr = Reshape (h{i}_v, rows_of_heads)
    h{i}_vt = Transpose <perm = [1, 0, 2]> (h{i}_vr)"""
    of_history = f"""
    h{i}_qr = Reshape (h{i}_q, rows_of_heads)
    h{i}_qt = Transpose <perm = [1, 0, 2]> (h{i}_qr)
    h{i}_s = MatMul (h{i}_qt, h{i}_kt)
    {_silu(f"h{i}_s", f"h{i}_a")}
    h{i}_p = Mul (h{i}_a, history_mask)
    h{i}_pv = MatMul (h{i}_p, h{i}_vt)
    h{i}_back = Transpose <perm = [1, 0, 2]> (h{i}_pv)
    h{i}_mix = Reshape (h{i}_back, rows)
    {_gated("h", i)}"""
    heads = " ".join(f"c{i}_{p}r = Reshape (c{i}_{p}, rows_of_heads)" for p in "qkv")
    candidate = f"""
    {_projected(f"c{i}", i, "uqkv")} {heads}
    c{i}_qt = Transpose <perm = [1, 0, 2]> (c{i}_qr)
    c{i}_s = MatMul (c{i}_qt, h{i}_kt)
    {_silu(f"c{i}_s", f"c{i}_a")}
    c{i}_p = Mul (c{i}_a, share)
    c{i}_pv = MatMul (c{i}_p, h{i}_vt)
    c{i}_back = Transpose <perm = [1, 0, 2]> (c{i}_pv)
    c{i}_qk = Mul (c{i}_qr, c{i}_kr)
    c{i}_own = ReduceSum <keepdims = 1> (c{i}_qk, two)
    {_silu(f"c{i}_own", f"c{i}_owna")}
    c{i}_ownp = Mul (c{i}_owna, share)
    c{i}_ownv = Mul (c{i}_ownp, c{i}_vr)
    c{i}_sum = Add (c{i}_back, c{i}_ownv)
    c{i}_mix = Reshape (c{i}_sum, rows)
    {_gated("c", i)}"""
    return history + ("" if last else of_history) + candidate


def _layer(w: Weights, i: int) -> Constants:
    return {f"W_{p}{i}": w.matrix(SIZES.width, SIZES.width) for p in "uqkvo"}


def family() -> Family:
    mask = (np.tri(SIZES.steps) / SIZES.steps).astype(np.float32)
    return tokens.family(tokens.exported(_exported, SIZES), tokens.by_hand(_by_hand), mask, _layer, SIZES)
