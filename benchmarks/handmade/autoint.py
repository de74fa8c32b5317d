"""AutoInt: two layers of self-attention over the fields of user and item, with a residual; then a Linear.

By hand: each head has products of its own, so that none is transposed. In the first layer, those of the user's fields
are had once; after it, all varies.
"""

from __future__ import annotations

import numpy as np

from benchmarks.handmade.family import Constants, Family, Weights, expand

USER_FIELDS, ITEM_FIELDS, WIDTH, HEADS, HEAD = 10, 6, 16, 2, 16
FIELDS, OUT = USER_FIELDS + ITEM_FIELDS, HEADS * HEAD


def attention(i: int, y: str) -> str:
    """One layer on what its Linears gave: heads, softmax, residual."""
    return f"""
    {
        " ".join(
            f'''
    {p}{i}_r = Reshape ({p}{i}_m, heads)
    {p}{i} = Transpose <perm = [0, 2, 1, 3]> ({p}{i}_r)'''
            for p in "qkv"
        )
    }
    kt{i} = Transpose <perm = [0, 1, 3, 2]> (k{i})
    scores{i} = MatMul (q{i}, kt{i})
    weights{i} = Softmax <axis = -1> (scores{i})
    mixed{i} = MatMul (weights{i}, v{i})
    back{i} = Transpose <perm = [0, 2, 1, 3]> (mixed{i})
    merged{i} = Reshape (back{i}, whole)
    sum{i} = Add (merged{i}, r{i}_m)
    {y} = Relu (sum{i})"""


def linears(i: int, x: str) -> str:
    """Queries, keys, values and the residual, each from a Linear without bias."""
    return " ".join(f"{p}{i}_m = MatMul ({x}, W_{p}{i})" for p in "qkvr")


EXPORT = f"""
    user_f = Gather (table, user_ids)
    {expand("user_f", "user_fe", "item_ids", USER_FIELDS, WIDTH)}
    item_f = Gather (table, item_ids)
    fields = Concat <axis = 1> (user_fe, item_f)
    {linears(1, "fields")} {attention(1, "x1")}
    {linears(2, "x1")} {attention(2, "x2")}
    x = Flatten (x2)
    logit = Gemm (x, out_W1, out_b1)
    score = Sigmoid (logit)"""


def attention_by_hand(i: int) -> str:
    """One layer from a query, key and value for each head, so that no head has to be moved."""
    return f"""
    {
        " ".join(
            f'''
    kt{i}{h} = Transpose <perm = [0, 2, 1]> (k{i}{h})
    scores{i}{h} = MatMul (q{i}{h}, kt{i}{h})
    weights{i}{h} = Softmax <axis = -1> (scores{i}{h})
    mixed{i}{h} = MatMul (weights{i}{h}, v{i}{h})'''
            for h in range(HEADS)
        )
    }
    merged{i} = Concat <axis = 2> ({", ".join(f"mixed{i}{h}" for h in range(HEADS))})
    sum{i} = Add (merged{i}, r{i})
    x{i} = Relu (sum{i})"""


PRODUCTS = [*((f"{p}{i}", HEAD) for p in "qkv" for i in range(HEADS)), ("r", OUT)]
"""Queries, keys and values by head, and the residual; and their widths."""


def named(product: str, layer: int) -> str:
    return f"{product[0]}{layer}{product[1:]}"


BY_HAND = f"""
    user_f = Gather (table, user_ids)
    item_f = Gather (table, item_ids)
    {
    " ".join(
        f'''
    user_{p} = MatMul (user_f, W_{named(p, 1)})
    {expand(f"user_{p}", f"users_{p}", "item_ids", USER_FIELDS, width)}
    item_{p} = MatMul (item_f, W_{named(p, 1)})
    {named(p, 1)} = Concat <axis = 1> (users_{p}, item_{p})'''
        for p, width in PRODUCTS
    )
}
    {attention_by_hand(1)}
    {" ".join(f"{named(p, 2)} = MatMul (x1, W_{named(p, 2)})" for p, _ in PRODUCTS)}
    {attention_by_hand(2)}
    x = Flatten (x2)
    logit = Gemm (x, out_W1, out_b1)
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    constants: Constants = {"table": w.table(WIDTH), "heads": [0, FIELDS, HEADS, HEAD], "whole": [0, FIELDS, OUT]}
    for i, width in ((1, WIDTH), (2, OUT)):
        constants |= {f"W_{p}{i}": w.matrix(width, OUT) for p in "qkvr"}
        for p in "qkv":
            for h, columns in enumerate(np.split(constants[f"W_{p}{i}"], HEADS, 1)):
                constants[f"W_{p}{i}{h}"] = columns
    constants |= w.layers("out", FIELDS * OUT, 1)
    inputs = f"int64[1, {USER_FIELDS}] user_ids, int64[batch, {ITEM_FIELDS}] item_ids"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
