"""BST: a transformer layer over the user's history with the candidate as its last step; then an MLP over all steps.

By hand: each head has products of its own, so that none is transposed; those of the history are had once. A residual is
added by Sum: Add and LayerNormalization are fused by onnxruntime into a node that takes three times as long as both.
"""

from __future__ import annotations

from benchmarks.handmade.family import Constants, Family, Weights, expand, mlp

LENGTH, WIDTH, HEADS, INNER, FIELDS = 20, 32, 2, 64, 8
STEPS, HEAD, PROFILE = LENGTH + 1, WIDTH // HEADS, FIELDS * WIDTH

PRODUCTS = [f"{p}{h}" for p in "qkv" for h in range(HEADS)]
"""Queries, keys and values, by head."""

EXPORT = f"""
    {expand("user_ids", "user_rows", "item_id", FIELDS)}
    {expand("history_ids", "history_rows", "item_id", LENGTH)}
    profile = Gather (user_table, user_rows)
    user = Flatten (profile)
    item1 = Unsqueeze (item_id, one)
    ids = Concat <axis = 1> (history_rows, item1)
    embedded = Gather (item_table, ids)
    x = Add (embedded, position)
    {
    " ".join(
        f'''
    {p}_m = MatMul (x, W_{p})
    {p}_g = Add ({p}_m, b_{p})
    {p}_r = Reshape ({p}_g, heads)
    {p} = Transpose <perm = [0, 2, 1, 3]> ({p}_r)'''
        for p in "qkv"
    )
}
    kt = Transpose <perm = [0, 1, 3, 2]> (k)
    products = MatMul (q, kt)
    scale = Constant <value = float {{{HEAD**-0.5}}}> ()
    scores = Mul (products, scale)
    weights = Softmax <axis = -1> (scores)
    mixed = MatMul (weights, v)
    back = Transpose <perm = [0, 2, 1, 3]> (mixed)
    merged = Reshape (back, whole)
    out_m = MatMul (merged, W_o)
    out = Add (out_m, b_o)
    sum1 = Add (x, out)
    x1 = LayerNormalization (sum1, norm1_W, norm1_b)
    inner_m = MatMul (x1, ffn_W1)
    inner_g = Add (inner_m, ffn_b1)
    inner = Relu (inner_g)
    outer_m = MatMul (inner, ffn_W2)
    outer = Add (outer_m, ffn_b2)
    sum2 = Add (x1, outer)
    x2 = LayerNormalization (sum2, norm2_W, norm2_b)
    flat = Flatten (x2)
    all = Concat <axis = 1> (user, flat)
    {mlp("fc", "all", "logit", 3)}
    score = Sigmoid (logit)"""

BY_HAND = f"""
    profile = Gather (user_table, user_ids)
    user = Flatten (profile)
    history_e = Gather (item_table, history_ids)
    history = Add (history_e, history_position)
    steps = Squeeze (history, zero)
    item_e = Gather (item_table, item_id)
    item = Add (item_e, item_position)
    item1 = Unsqueeze (item, one)
    {expand("history", "history_x", "item_id", LENGTH, WIDTH)}
    x = Concat <axis = 1> (history_x, item1)
    scale = Constant <value = float {{{HEAD**-0.5}}}> ()
    {
    " ".join(
        f'''
    history_{p} = Gemm (steps, W_{p}, b_{p})
    {expand(f"history_{p}", f"history_{p}x", "item_id", LENGTH, HEAD)}
    item_{p} = Gemm (item, W_{p}, b_{p})
    item_{p}1 = Unsqueeze (item_{p}, one)
    {p} = Concat <axis = 1> (history_{p}x, item_{p}1)'''
        for p in PRODUCTS
    )
}
    {
    " ".join(
        f'''
    kt{h} = Transpose <perm = [0, 2, 1]> (k{h})
    products{h} = MatMul (q{h}, kt{h})
    scores{h} = Mul (products{h}, scale)
    weights{h} = Softmax <axis = -1> (scores{h})
    mixed{h} = MatMul (weights{h}, v{h})
    rows{h} = Reshape (mixed{h}, head_rows)'''
        for h in range(HEADS)
    )
}
    out0 = Gemm (rows0, W_o0, b_o)
    out1 = Gemm (rows1, W_o1, out0)
    out = Reshape (out1, whole)
    sum1 = Sum (x, out)
    x1 = LayerNormalization (sum1, norm1_W, norm1_b)
    x1_rows = Reshape (x1, step_rows)
    inner_g = Gemm (x1_rows, ffn_W1, ffn_b1)
    inner = Relu (inner_g)
    outer_g = Gemm (inner, ffn_W2, ffn_b2)
    outer = Reshape (outer_g, whole)
    sum2 = Sum (x1, outer)
    x2 = LayerNormalization (sum2, norm2_W, norm2_b)
    flat = Flatten (x2)
    once = Gemm (user, fc_W1_user, fc_b1)
    g = Gemm (flat, fc_W1_flat, once)
    h = Relu (g)
    {mlp("fc", "h", "logit", 3, first=2)}
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    constants: Constants = {"user_table": w.table(WIDTH), "item_table": w.table(WIDTH), "one": [1]}
    position = w.table(WIDTH, STEPS)
    constants |= {
        "position": position[None],
        "history_position": position[None, :LENGTH],
        "item_position": position[LENGTH:],
    }
    constants |= {"heads": [0, STEPS, HEADS, HEAD], "whole": [-1, STEPS, WIDTH]}
    constants |= {"zero": [0], "head_rows": [-1, HEAD], "step_rows": [-1, WIDTH]}
    constants |= {f"W_{p}": w.matrix(WIDTH, WIDTH) for p in "qkvo"} | {f"b_{p}": w.bias(WIDTH) for p in "qkvo"}
    for h in range(HEADS):
        columns = slice(h * HEAD, (h + 1) * HEAD)
        constants |= {f"{x}_{p}{h}": constants[f"{x}_{p}"][..., columns] for x in "Wb" for p in "qkv"}
        constants[f"W_o{h}"] = constants["W_o"][columns]
    constants |= w.layers("ffn", WIDTH, INNER, WIDTH) | w.layers("fc", PROFILE + STEPS * WIDTH, 256, 64, 1)
    for i in (1, 2):
        constants |= {f"norm{i}_W": 1 + w.bias(WIDTH), f"norm{i}_b": w.bias(WIDTH)}
    constants |= {"fc_W1_user": constants["fc_W1"][:PROFILE], "fc_W1_flat": constants["fc_W1"][PROFILE:]}
    inputs = f"int64[1, {FIELDS}] user_ids, int64[1, {LENGTH}] history_ids, int64[batch] item_id"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
