"""DLRM: products of all pairs of fields, below the diagonal, with the dense features' vector, into an MLP.

By hand: pairs of user fields once, pairs of a user and an item field as one product, pairs of item fields for each
candidate. The MLP's rows are put in that order.
"""

from __future__ import annotations

import numpy as np

from benchmarks.handmade.family import Constants, Family, Weights, expand, mlp

DENSE, USER_FIELDS, ITEM_FIELDS, WIDTH = 13, 9, 10, 32
USER_ROWS = USER_FIELDS + 1
ROWS = USER_ROWS + ITEM_FIELDS
BELOW = [(i, j) for i in range(ROWS) for j in range(i)]
PAIRS = len(BELOW)

EXPORT = f"""
    {mlp("bottom", "dense", "dense_g", 2)}
    dense_x = Relu (dense_g)
    user_f = Gather (user_table, user_ids)
    {expand("dense_x", "dense_xe", "item_ids", WIDTH)}
    {expand("user_f", "user_fe", "item_ids", USER_FIELDS, WIDTH)}
    item_f = Gather (item_table, item_ids)
    dense1 = Unsqueeze (dense_xe, one)
    fields = Concat <axis = 1> (dense1, user_fe, item_f)
    turned = Transpose <perm = [0, 2, 1]> (fields)
    products = MatMul (fields, turned)
    flat = Reshape (products, flat_shape)
    pairs = Gather <axis = 1> (flat, below)
    x = Concat <axis = 1> (dense_xe, pairs)
    {mlp("fc", "x", "logit", 3)}
    score = Sigmoid (logit)"""

BY_HAND = f"""
    {mlp("bottom", "dense", "dense_g", 2)}
    dense_x = Relu (dense_g)
    user_f = Gather (user_table, user_ids)
    dense1 = Unsqueeze (dense_x, one)
    user3 = Concat <axis = 1> (dense1, user_f)
    user = Squeeze (user3, zero)
    user_t = Transpose (user)
    user_products = MatMul (user, user_t)
    user_flat = Reshape (user_products, row)
    user_x = Concat <axis = 1> (dense_x, user_flat)
    once = Gemm (user_x, W_user, fc_b1)

    item = Gather (item_table, item_ids)
    cross = MatMul (item, user_t)
    cross_x = Reshape (cross, cross_shape)
    item_t = Transpose <perm = [0, 2, 1]> (item)
    item_products = MatMul (item, item_t)
    item_flat = Reshape (item_products, item_shape)
    item_x = Gather <axis = 1> (item_flat, item_below)
    both = Concat <axis = 1> (cross_x, item_x)
    g = Gemm (both, W_both, once)
    h = Relu (g)
    {mlp("fc", "h", "logit", 3, first=2)}
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    constants: Constants = {"user_table": w.table(WIDTH), "item_table": w.table(WIDTH), "zero": [0], "one": [1]}
    constants |= {"flat_shape": [-1, ROWS * ROWS], "below": [i * ROWS + j for i, j in BELOW]}
    constants |= {"row": [1, -1], "cross_shape": [-1, ITEM_FIELDS * USER_ROWS], "item_shape": [-1, ITEM_FIELDS**2]}
    constants |= {"item_below": [i * ITEM_FIELDS + j for i in range(ITEM_FIELDS) for j in range(i)]}
    constants |= w.layers("bottom", DENSE, 64, WIDTH) | w.layers("fc", WIDTH + PAIRS, 256, 128, 1)
    row = dict(zip(BELOW, constants["fc_W1"][WIDTH:], strict=True))
    nothing = np.zeros_like(constants["fc_W1"][0])
    user = [row.get((i, j), nothing) for i in range(USER_ROWS) for j in range(USER_ROWS)]
    cross = [row[USER_ROWS + i, j] for i in range(ITEM_FIELDS) for j in range(USER_ROWS)]
    item = [row[USER_ROWS + i, USER_ROWS + j] for i in range(ITEM_FIELDS) for j in range(i)]
    constants |= {"W_user": [*constants["fc_W1"][:WIDTH], *user], "W_both": [*cross, *item]}
    inputs = f"float[1, {DENSE}] dense, int64[1, {USER_FIELDS}] user_ids, int64[batch, {ITEM_FIELDS}] item_ids"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
