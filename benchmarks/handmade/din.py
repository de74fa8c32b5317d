"""DIN: each candidate weighs the 100 steps of the user's history by a small MLP over [q, k, q-k, q*k].

By hand: all of it is one product of the candidates with weights that each step scales, `(q*k) @ W = q @ (k*W)`, and
those of q and of q-k are added to them. What is the same for all candidates is one more row of these weights, for a
column of ones. The weighted sum of the steps is a product too.
"""

from __future__ import annotations

import numpy as np

from benchmarks.handmade.family import Constants, Family, Weights, expand, mlp

LENGTH, WIDTH, HIDDEN, SECOND = 100, 32, 64, 16
FIELDS = 8
PROFILE = FIELDS * WIDTH

EXPORT = f"""
    {expand("user_ids", "user_rows", "item_id", FIELDS)}
    {expand("history_ids", "history_rows", "item_id", LENGTH)}
    profile = Gather (user_table, user_rows)
    user = Flatten (profile)
    q = Gather (item_table, item_id)
    k = Gather (item_table, history_rows)
    q1 = Unsqueeze (q, one)
    k_shape = Shape (k)
    qe = Expand (q1, k_shape)
    difference = Sub (qe, k)
    both = Mul (qe, k)
    x = Concat <axis = -1> (qe, k, difference, both)
    m1 = MatMul (x, att_W1)
    g1 = Add (m1, att_b1)
    h1 = Sigmoid (g1)
    m2 = MatMul (h1, att_W2)
    g2 = Add (m2, att_b2)
    h2 = Sigmoid (g2)
    m3 = MatMul (h2, att_W3)
    weight = Add (m3, att_b3)
    padding = Constant <value = int64 {{0}}> ()
    is_padding = Equal (history_rows, padding)
    is_step = Not (is_padding)
    mask = Cast <to = 1> (is_step)
    mask1 = Unsqueeze (mask, two)
    masked = Mul (weight, mask1)
    weighted = Mul (masked, k)
    interest = ReduceSum <keepdims = 0> (weighted, one)
    all = Concat <axis = 1> (user, interest, q)
    {mlp("fc", "all", "logit", 3)}
    score = Sigmoid (logit)"""

BY_HAND = f"""
    profile = Gather (user_table, user_ids)
    user = Flatten (profile)
    q = Gather (item_table, item_id)
    k1 = Gather (item_table, history_ids)
    k = Squeeze (k1, zero)
    k2 = Unsqueeze (k, two)
    W_scaled = Mul (k2, W_both)
    W_candidate = Add (W_q, W_difference)
    W_pair = Add (W_scaled, W_candidate)
    W_step = Sub (W_k, W_difference)
    g_step = Gemm (k, W_step, att_b1)
    g_step1 = Unsqueeze (g_step, one)
    W = Concat <axis = 1> (W_pair, g_step1)
    batch = Shape <start = 0, end = 1> (q)
    ones_shape = Concat <axis = 0> (batch, one)
    ones = Expand (number_one, ones_shape)
    rows = Concat <axis = 1> (q, ones)
    g1 = MatMul (rows, W)
    h1 = Sigmoid (g1)
    h1_rows = Reshape (h1, pairs)
    g2 = Gemm (h1_rows, att_W2, att_b2)
    h2 = Sigmoid (g2)
    g3 = Gemm (h2, att_W3, att_b3)
    weight_t = Reshape (g3, steps)
    weight = Transpose (weight_t)
    padding = Constant <value = int64 {{0}}> ()
    is_padding = Equal (history_ids, padding)
    is_step = Not (is_padding)
    mask = Cast <to = 1> (is_step)
    mask1 = Reshape (mask, column)
    masked = Mul (k, mask1)
    interest = MatMul (weight, masked)
    candidate = Concat <axis = 1> (interest, q)
    first = Gemm (user, fc_W1_user, fc_b1)
    f1 = Gemm (candidate, fc_W1_item, first)
    fh = Relu (f1)
    {mlp("fc", "fh", "logit", 3, first=2)}
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    constants: Constants = {"user_table": w.table(WIDTH), "item_table": w.table(WIDTH)}
    constants |= {"zero": [0], "one": [1], "two": [2], "column": [-1, 1]}
    constants |= {"pairs": [-1, HIDDEN], "steps": [LENGTH, -1], "number_one": w.scalar(1)}
    constants |= w.layers("att", 4 * WIDTH, HIDDEN, SECOND, 1)
    constants |= w.layers("fc", PROFILE + 2 * WIDTH, 200, 80, 1)
    for name, rows in zip(("W_q", "W_k", "W_difference", "W_both"), np.split(constants["att_W1"], 4), strict=True):
        constants[name] = rows
    constants |= {"fc_W1_user": constants["fc_W1"][:PROFILE], "fc_W1_item": constants["fc_W1"][PROFILE:]}
    inputs = f"int64[1, {FIELDS}] user_ids, int64[1, {LENGTH}] history_ids, int64[batch] item_id"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
