"""DCN v2: three cross layers, x' = x0 * (x @ W + b) + x, beside an MLP.

By hand: what multiplies x0 = [user item] is split. From the second cross layer on all varies.
"""

from __future__ import annotations

from benchmarks.handmade.family import Constants, Family, Weights, expand, mlp

USER_FIELDS, ITEM_FIELDS, WIDTH = 16, 8, 16
USER, ITEM = USER_FIELDS * WIDTH, ITEM_FIELDS * WIDTH
BOTH, LAYERS, HIDDEN = USER + ITEM, 3, 256

EXPORT = f"""
    user_fields = Gather (table, user_ids)
    user = Flatten (user_fields)
    {expand("user", "users", "item_ids", USER)}
    item_fields = Gather (table, item_ids)
    item = Flatten (item_fields)
    x0 = Concat <axis = 1> (users, item)
    {
    " ".join(
        f'''
    cross_g{i} = Gemm (x{i - 1}, cross_W{i}, cross_b{i})
    cross_m{i} = Mul (x0, cross_g{i})
    x{i} = Add (cross_m{i}, x{i - 1})'''
        for i in range(1, LAYERS + 1)
    )
}
    {mlp("fc", "x0", "deep_g", 2)}
    deep = Relu (deep_g)
    both = Concat <axis = 1> (x{LAYERS}, deep)
    logit = Gemm (both, out_W1, out_b1)
    score = Sigmoid (logit)"""

BY_HAND = f"""
    user_fields = Gather (table, user_ids)
    user = Flatten (user_fields)
    {expand("user", "users", "item_ids", USER)}
    item_fields = Gather (table, item_ids)
    item = Flatten (item_fields)
    x0 = Concat <axis = 1> (users, item)
    cross_once = Gemm (user, cross_W1_user, cross_b1)
    cross_g1 = Gemm (item, cross_W1_item, cross_once)
    fc_once = Gemm (user, fc_W1_user, fc_b1)
    fc_g1 = Gemm (item, fc_W1_item, fc_once)
    cross_m1 = Mul (x0, cross_g1)
    x1 = Add (cross_m1, x0)
    {
    " ".join(
        f'''
    cross_g{i} = Gemm (x{i - 1}, cross_W{i}, cross_b{i})
    cross_m{i} = Mul (x0, cross_g{i})
    x{i} = Add (cross_m{i}, x{i - 1})'''
        for i in range(2, LAYERS + 1)
    )
}
    fc_h1 = Relu (fc_g1)
    {mlp("fc", "fc_h1", "deep_g", 2, first=2)}
    deep = Relu (deep_g)
    logit_deep = Gemm (deep, out_deep, out_b1)
    logit = Gemm (x{LAYERS}, out_cross, logit_deep)
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    constants: Constants = {"table": w.table(WIDTH)}
    constants |= w.layers("cross", *[BOTH] * (LAYERS + 1)) | w.layers("fc", BOTH, HIDDEN, 128)
    constants |= w.layers("out", BOTH + 128, 1)
    for name in ("cross_W1", "fc_W1"):
        constants |= {f"{name}_user": constants[name][:USER], f"{name}_item": constants[name][USER:]}
    constants |= {"out_cross": constants["out_W1"][:BOTH], "out_deep": constants["out_W1"][BOTH:]}
    inputs = f"int64[1, {USER_FIELDS}] user_ids, int64[batch, {ITEM_FIELDS}] item_ids"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
