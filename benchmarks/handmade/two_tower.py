"""Two towers, and an MLP over [user, item, user*item] on top; the caller repeats the user's row for each candidate.

By hand: the user's tower once, on row 0. The product with the user is one with weights that the user scales,
`(u*i) @ W = i @ (u*W)`, so that the item's two parts are multiplied at once.
"""

from __future__ import annotations

from benchmarks.handmade.family import Constants, Family, Weights, mlp

USER_FIELDS, ITEM_FIELDS, WIDTH, OUT = 16, 8, 16, 64
USER, ITEM = USER_FIELDS * WIDTH, ITEM_FIELDS * WIDTH

EXPORT = f"""
    user_fields = Gather (table, user_ids)
    user_x = Flatten (user_fields)
    {mlp("user", "user_x", "u", 3)}
    item_fields = Gather (table, item_ids)
    item_x = Flatten (item_fields)
    {mlp("item", "item_x", "i", 3)}
    both = Mul (u, i)
    x = Concat <axis = 1> (u, i, both)
    {mlp("fc", "x", "logit", 3)}
    score = Sigmoid (logit)"""

BY_HAND = f"""
    user_row = Slice (user_ids, zero, one, zero)
    user_fields = Gather (table, user_row)
    user_x = Flatten (user_fields)
    {mlp("user", "user_x", "u", 3)}
    item_fields = Gather (table, item_ids)
    item_x = Flatten (item_fields)
    {mlp("item", "item_x", "i", 3)}
    column = Reshape (u, column_shape)
    scaled = Mul (column, fc_W1_both)
    W = Add (scaled, fc_W1_item)
    once = Gemm (u, fc_W1_user, fc_b1)
    g = Gemm (i, W, once)
    h = Relu (g)
    {mlp("fc", "h", "logit", 3, first=2)}
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    constants: Constants = {"table": w.table(WIDTH), "zero": [0], "one": [1], "column_shape": [-1, 1]}
    constants |= w.layers("user", USER, 256, 128, OUT) | w.layers("item", ITEM, 256, 128, OUT)
    constants |= w.layers("fc", 3 * OUT, 256, 128, 1)
    for i, side in enumerate(("user", "item", "both")):
        constants[f"fc_W1_{side}"] = constants["fc_W1"][i * OUT : (i + 1) * OUT]
    inputs = f"int64[batch, {USER_FIELDS}] user_ids, int64[batch, {ITEM_FIELDS}] item_ids"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants, tiled=("user_ids",))
