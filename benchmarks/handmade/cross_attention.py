"""Target cross attention: each candidate attends to the user's 100 steps with 4 heads; then an MLP.

By hand: keys and values once, and the candidates are the rows of one product for each head.
"""

from __future__ import annotations

from benchmarks.handmade.family import Constants, Family, Weights, expand, mlp

LENGTH, WIDTH, HEADS = 100, 64, 4
HEAD = WIDTH // HEADS

EXPORT = f"""
    {expand("history", "steps", "item", LENGTH, WIDTH)}
    item1 = Unsqueeze (item, one)
    {
    " ".join(
        f'''
    {y}_m = MatMul ({x}, W_{y})
    {y}_g = Add ({y}_m, b_{y})
    {y}_r = Reshape ({y}_g, cut_{y})
    {y} = Transpose <perm = [0, 2, 1, 3]> ({y}_r)'''
        for x, y in (("item1", "q"), ("steps", "k"), ("steps", "v"))
    )
}
    kt = Transpose <perm = [0, 1, 3, 2]> (k)
    products = MatMul (q, kt)
    root = Constant <value = float {{{HEAD**0.5}}}> ()
    scores = Div (products, root)
    weights = Softmax <axis = -1> (scores)
    mixed = MatMul (weights, v)
    back = Transpose <perm = [0, 2, 1, 3]> (mixed)
    merged = Reshape (back, whole)
    out_m = MatMul (merged, W_o)
    out = Add (out_m, b_o)
    interest = Squeeze (out, one)
    x = Concat <axis = 1> (interest, item)
    {mlp("fc", "x", "score", 2)}"""

BY_HAND = f"""
    k_rows = Reshape (history, rows)
    k_g = Gemm (k_rows, W_k, b_k)
    v_g = Gemm (k_rows, W_v, b_v)
    q_g = Gemm (item, W_q, b_q)
    q_r = Reshape (q_g, heads)
    k_r = Reshape (k_g, heads)
    v_r = Reshape (v_g, heads)
    q = Transpose <perm = [1, 0, 2]> (q_r)
    k = Transpose <perm = [1, 2, 0]> (k_r)
    v = Transpose <perm = [1, 0, 2]> (v_r)
    products = MatMul (q, k)
    root = Constant <value = float {{{HEAD**0.5}}}> ()
    scores = Div (products, root)
    weights = Softmax <axis = -1> (scores)
    mixed = MatMul (weights, v)
    back = Transpose <perm = [1, 0, 2]> (mixed)
    merged = Reshape (back, rows)
    interest = Gemm (merged, W_o, b_o)
    x = Concat <axis = 1> (interest, item)
    {mlp("fc", "x", "score", 2)}"""


def family() -> Family:
    w = Weights()
    constants: Constants = {f"W_{y}": w.matrix(WIDTH, WIDTH) for y in "qkvo"} | {
        f"b_{y}": w.bias(WIDTH) for y in "qkvo"
    }
    constants |= {"one": [1], "rows": [-1, WIDTH], "heads": [-1, HEADS, HEAD], "whole": [0, 1, WIDTH]}
    constants |= {"cut_q": [0, 1, HEADS, HEAD], "cut_k": [0, LENGTH, HEADS, HEAD], "cut_v": [0, LENGTH, HEADS, HEAD]}
    constants |= w.layers("fc", 2 * WIDTH, 128, 1)
    inputs = f"float[1, {LENGTH}, {WIDTH}] history, float[batch, {WIDTH}] item"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
