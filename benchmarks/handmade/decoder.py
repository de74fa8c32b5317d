"""A Llama-like decoder that ranks: RMSNorm, rotary positions and a gated MLP, two layers over history and candidate.

By hand: the history runs through the layers once. A candidate's row is turned by the angle of its one position, and
meets the keys of the history and its own key under one Softmax.
"""

from __future__ import annotations

import numpy as np

from benchmarks.handmade import tokens
from benchmarks.handmade.family import Constants, Family, Weights
from benchmarks.handmade.tokens import LAYERS, SIZES

WIDTH, INNER, STEPS, HEAD = SIZES.width, 2 * SIZES.width, SIZES.steps, SIZES.head


def _norm(x: str, y: str, weight: str) -> str:
    """RMSNorm, as it is written out."""
    return f"""
    {y}_q = Pow ({x}, square) {y}_m = ReduceMean ({y}_q, minus_one) {y}_e = Add ({y}_m, epsilon)
    {y}_r = Sqrt ({y}_e) {y}_d = Div ({x}, {y}_r) {y} = Mul ({y}_d, {weight})"""


def _rotated(x: str, y: str, cos: str, sin: str) -> str:
    """The halves of each head turned by the angle of its step."""
    return f"""
    {y}_a, {y}_b = Split <axis = -1, num_outputs = 2> ({x})
    {y}_n = Neg ({y}_b) {y}_t = Concat <axis = -1> ({y}_n, {y}_a)
    {y}_c = Mul ({x}, {cos}) {y}_s = Mul ({y}_t, {sin}) {y} = Add ({y}_c, {y}_s)"""


def _gated(x: str, y: str, i: int) -> str:
    """SwiGLU behind a norm, and the residual."""
    return f"""
    {_norm(x, f"{y}_m", f"norm{i}_b")}
    {y}_g = MatMul ({y}_m, W_1{i}) {y}_s = Sigmoid ({y}_g) {y}_act = Mul ({y}_g, {y}_s)
    {y}_up = MatMul ({y}_m, W_3{i}) {y}_in = Mul ({y}_act, {y}_up) {y}_outer = MatMul ({y}_in, W_2{i})
    {y} = Add ({x}, {y}_outer)"""


def _exported(i: int) -> str:
    """Layer i as an exporter writes it, from x{i} to x{i+1}, both [batch, steps, width]."""
    projected = " ".join(
        f"""{p}{i}_m = MatMul (n{i}, W_{p}{i}) {p}{i}_r = Reshape ({p}{i}_m, heads)
            {p}{i} = Transpose <perm = [0, 2, 1, 3]> ({p}{i}_r)"""
        for p in "qkv"
    )
    return f"""
    {_norm(f"x{i}", f"n{i}", f"norm{i}_W")} {projected}
    {_rotated(f"q{i}", f"qr{i}", "cos", "sin")} {_rotated(f"k{i}", f"kr{i}", "cos", "sin")}
    kt{i} = Transpose <perm = [0, 1, 3, 2]> (kr{i})
    products{i} = MatMul (qr{i}, kt{i})
    scores{i} = Mul (products{i}, scale)
    masked{i} = Add (scores{i}, mask)
    weights{i} = Softmax <axis = -1> (masked{i})
    mixed{i} = MatMul (weights{i}, v{i})
    back{i} = Transpose <perm = [0, 2, 1, 3]> (mixed{i})
    merged{i} = Reshape (back{i}, whole)
    out{i} = MatMul (merged{i}, W_o{i})
    y{i} = Add (x{i}, out{i})
    {_gated(f"y{i}", f"x{i + 1}", i)}"""


def _by_hand(i: int) -> str:
    """Layer i of the history h [length, width] and of the candidates c [batch, width]."""
    last = i == LAYERS - 1
    history = f"""
    {_norm(f"h{i}_x", f"h{i}_n", f"norm{i}_W")}
    h{i}_km = MatMul (h{i}_n, W_k{i})
    h{i}_kr = Reshape (h{i}_km, rows_of_heads)
    {_rotated(f"h{i}_kr", f"h{i}_kt", "history_cos", "history_sin")}
    h{i}_k = Transpose <perm = [1, 2, 0]> (h{i}_kt)
    h{i}_vm = MatMul (h{i}_n, W_v{i})
    h{i}_vr = Reshape (h{i}_vm, rows_of_heads)
    h{i}_v = Transpose <perm = [1, 0, 2]> (h{i}_vr)"""
    of_history = f"""
    h{i}_qm = MatMul (h{i}_n, W_q{i})
    h{i}_qr = Reshape (h{i}_qm, rows_of_heads)
    {_rotated(f"h{i}_qr", f"h{i}_qt", "history_cos", "history_sin")}
    h{i}_q = Transpose <perm = [1, 0, 2]> (h{i}_qt)
    {tokens.history_attends(i)}
    h{i}_out = MatMul (h{i}_mix, W_o{i})
    h{i}_y = Add (h{i}_x, h{i}_out)
    {_gated(f"h{i}_y", f"h{i + 1}_x", i)}"""
    candidate = f"""
    {_norm(f"c{i}_x", f"c{i}_n", f"norm{i}_W")}
    {" ".join(f"c{i}_{p}m = MatMul (c{i}_n, W_{p}{i}) c{i}_{p}r = Reshape (c{i}_{p}m, rows_of_heads)" for p in "qkv")}
    {_rotated(f"c{i}_qr", f"c{i}_q", "item_cos", "item_sin")} {_rotated(f"c{i}_kr", f"c{i}_k", "item_cos", "item_sin")}
    {tokens.candidate_attends(i, f"c{i}_vr")}
    c{i}_out = MatMul (c{i}_mix, W_o{i})
    c{i}_y = Add (c{i}_x, c{i}_out)
    {_gated(f"c{i}_y", f"c{i + 1}_x", i)}"""
    return history + ("" if last else of_history) + candidate


def _layer(w: Weights, i: int) -> Constants:
    constants: Constants = {f"W_{p}{i}": w.matrix(WIDTH, WIDTH) for p in "qkvo"}
    return constants | {f"W_1{i}": w.matrix(WIDTH, INNER), f"W_3{i}": w.matrix(WIDTH, INNER),
                        f"W_2{i}": w.matrix(INNER, WIDTH)}  # fmt: skip


def _angles() -> Constants:
    """The cosines and sines of all steps [steps, head], of the history with an axis for the heads, and of the item."""
    angles = np.outer(np.arange(STEPS), 100.0 ** -(np.arange(HEAD // 2) * 2 / HEAD))
    found: Constants = {"square": Weights.scalar(2), "epsilon": Weights.scalar(1e-6), "minus_one": [-1]}
    for name, of in (("cos", np.cos), ("sin", np.sin)):
        turned = np.tile(of(angles), 2).astype(np.float32)
        found |= {name: turned, f"history_{name}": turned[: SIZES.length, None], f"item_{name}": turned[SIZES.length]}
    return found


def family() -> Family:
    mask = np.where(np.tri(STEPS, dtype=bool), 0, -np.inf).astype(np.float32)
    made = tokens.family(tokens.exported(_exported, SIZES), tokens.by_hand(_by_hand), mask, _layer, SIZES)
    made.constants.update(_angles())
    return made
