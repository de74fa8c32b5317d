"""DeepFM: a linear part, all pairs of fields by the squares of their sums, and an MLP over all fields.

By hand: sums over the user's fields once, and the MLP's first layer split.
"""

from __future__ import annotations

from benchmarks.handmade.family import IDS, Constants, Family, Weights, expand, mlp

USER_FIELDS, ITEM_FIELDS, WIDTH = 14, 10, 16
FIELDS = USER_FIELDS + ITEM_FIELDS
USER = USER_FIELDS * WIDTH
WIDTHS = (FIELDS * WIDTH, 256, 128, 1)

EXPORT = f"""
    {expand("user_ids", "users", "item_ids", USER_FIELDS)}
    raw = Concat <axis = 1> (users, item_ids)
    ids = Add (raw, offsets)
    biases = Gather (bias_table, ids)
    linear = ReduceSum <keepdims = 0> (biases, one)
    fields = Gather (table, ids)
    sum = ReduceSum <keepdims = 0> (fields, one)
    square_of_sum = Pow (sum, square)
    squares = Pow (fields, square)
    sum_of_squares = ReduceSum <keepdims = 0> (squares, one)
    twice = Sub (square_of_sum, sum_of_squares)
    pairs2 = ReduceSum <keepdims = 1> (twice, one)
    pairs = Mul (pairs2, half)
    x = Flatten (fields)
    {mlp("fc", "x", "deep", 3)}
    wide = Add (linear, pairs)
    logit = Add (wide, deep)
    score = Sigmoid (logit)"""

BY_HAND = f"""
    user_o = Add (user_ids, user_offsets)
    user_b = Gather (bias_table, user_o)
    user_linear = ReduceSum <keepdims = 0> (user_b, one)
    user_f = Gather (table, user_o)
    user_sum = ReduceSum <keepdims = 0> (user_f, one)
    user_s = Mul (user_f, user_f)
    user_squares = ReduceSum <keepdims = 0> (user_s, one)
    user = Flatten (user_f)
    once = Gemm (user, fc_W1_user, fc_b1)

    item_o = Add (item_ids, item_offsets)
    item_b = Gather (bias_table, item_o)
    item_linear = ReduceSum <keepdims = 0> (item_b, one)
    item_f = Gather (table, item_o)
    item_sum = ReduceSum <keepdims = 0> (item_f, one)
    item_s = Mul (item_f, item_f)
    item_squares = ReduceSum <keepdims = 0> (item_s, one)
    item = Flatten (item_f)
    g = Gemm (item, fc_W1_item, once)
    h = Relu (g)
    {mlp("fc", "h", "deep", 3, first=2)}

    sum = Add (user_sum, item_sum)
    square_of_sum = Mul (sum, sum)
    sum_of_squares = Add (user_squares, item_squares)
    twice = Sub (square_of_sum, sum_of_squares)
    pairs2 = ReduceSum <keepdims = 1> (twice, one)
    pairs = Mul (pairs2, half)
    linear = Add (user_linear, item_linear)
    wide = Add (linear, pairs)
    logit = Add (wide, deep)
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    offsets = [IDS * i for i in range(FIELDS)]
    constants: Constants = {"table": w.table(WIDTH, FIELDS * IDS), "bias_table": w.table(1, FIELDS * IDS)}
    constants |= {
        "offsets": [offsets],
        "user_offsets": [offsets[:USER_FIELDS]],
        "item_offsets": [offsets[USER_FIELDS:]],
    }
    constants |= {"one": [1], "square": w.scalar(2), "half": w.scalar(0.5)}
    constants |= w.layers("fc", *WIDTHS)
    constants |= {"fc_W1_user": constants["fc_W1"][:USER], "fc_W1_item": constants["fc_W1"][USER:]}
    inputs = f"int64[1, {USER_FIELDS}] user_ids, int64[batch, {ITEM_FIELDS}] item_ids"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
