"""DIEN: a GRU over the user's history, attention of the candidate to its states, a second GRU over what that weighs.

The second is AIGRU, whose input is scaled by the weights; it varies with the candidate. By hand: the first GRU runs on
the user's row, and the weights are one product of all candidates with all states.
"""

from __future__ import annotations

from benchmarks.handmade.family import Constants, Family, Weights, expand, mlp

LENGTH, WIDTH, STATE, FIELDS = 30, 32, 32, 8
PROFILE = FIELDS * WIDTH
CELL = f"<hidden_size = {STATE}, linear_before_reset = 1>"


def gru(name: str, x: str) -> str:
    """torch.nn.GRU with batch_first, as TorchScript writes it."""
    return f"""
    {name}_x = Transpose <perm = [1, 0, 2]> ({x})
    {name}_x_shape = Shape ({name}_x)
    {name}_rows = Gather ({name}_x_shape, one)
    {name}_h_shape = Concat <axis = 0> (one, {name}_rows, state)
    {name}_h = ConstantOfShape ({name}_h_shape)
    {name}_y, {name}_last = GRU {CELL} ({name}_x, {name}_W, {name}_R, {name}_B, , {name}_h)
    """


EXPORT = f"""
    {expand("user_ids", "user_rows", "item_id", FIELDS)}
    {expand("history_ids", "history_rows", "item_id", LENGTH)}
    profile = Gather (user_table, user_rows)
    user = Flatten (profile)
    q = Gather (item_table, item_id)
    steps = Gather (item_table, history_rows)
    {gru("extract", "steps")}
    extract_s = Squeeze (extract_y, one)
    states = Transpose <perm = [1, 0, 2]> (extract_s)
    keys = MatMul (states, W_att)
    q1 = Unsqueeze (q, two)
    products = MatMul (keys, q1)
    logits = Squeeze (products, two)
    padding = Constant <value = int64 {{0}}> ()
    is_padding = Equal (history_rows, padding)
    low = Constant <value = float {{-1e9}}> ()
    masked = Where (is_padding, low, logits)
    weights = Softmax <axis = 1> (masked)
    weights1 = Unsqueeze (weights, two)
    weighted = Mul (states, weights1)
    {gru("evolve", "weighted")}
    interest = Squeeze (evolve_last, zero)
    x = Concat <axis = 1> (user, interest, q)
    {mlp("fc", "x", "logit", 3)}
    score = Sigmoid (logit)"""

BY_HAND = f"""
    profile = Gather (user_table, user_ids)
    user = Flatten (profile)
    q = Gather (item_table, item_id)
    steps1 = Gather (item_table, history_ids)
    steps = Transpose <perm = [1, 0, 2]> (steps1)
    extract_y = GRU {CELL} (steps, extract_W, extract_R, extract_B)
    states = Reshape (extract_y, state_rows)
    keys = MatMul (states, W_att)
    q_t = Transpose (q)
    logits = MatMul (keys, q_t)
    padding = Constant <value = int64 {{0}}> ()
    is_padding = Equal (history_ids, padding)
    low = Constant <value = float {{-1e9}}> ()
    zero_f = Constant <value = float {{0}}> ()
    mask = Where (is_padding, low, zero_f)
    mask_t = Transpose (mask)
    masked = Add (logits, mask_t)
    weights = Softmax <axis = 0> (masked)
    weights1 = Unsqueeze (weights, two)
    states1 = Unsqueeze (states, one)
    weighted = Mul (states1, weights1)
    evolve_y, evolve_last = GRU {CELL} (weighted, evolve_W, evolve_R, evolve_B)
    interest = Squeeze (evolve_last, zero)
    candidate = Concat <axis = 1> (interest, q)
    once = Gemm (user, fc_W1_user, fc_b1)
    g = Gemm (candidate, fc_W1_item, once)
    h = Relu (g)
    {mlp("fc", "h", "logit", 3, first=2)}
    score = Sigmoid (logit)"""


def family() -> Family:
    w = Weights()
    constants: Constants = {"user_table": w.table(WIDTH), "item_table": w.table(WIDTH), "W_att": w.matrix(STATE, WIDTH)}
    constants |= {"zero": [0], "one": [1], "two": [2], "state": [STATE], "state_rows": [-1, STATE]}
    for name, width in (("extract", WIDTH), ("evolve", STATE)):
        constants |= {
            f"{name}_W": w.matrix(width, 3 * STATE).T[None],
            f"{name}_R": w.matrix(STATE, 3 * STATE).T[None],
            f"{name}_B": w.bias(6 * STATE)[None],
        }
    constants |= w.layers("fc", PROFILE + STATE + WIDTH, 200, 80, 1)
    constants |= {"fc_W1_user": constants["fc_W1"][:PROFILE], "fc_W1_item": constants["fc_W1"][PROFILE:]}
    inputs = f"int64[1, {FIELDS}] user_ids, int64[1, {LENGTH}] history_ids, int64[batch] item_id"
    return Family(f"({inputs}) => (float[batch, 1] score)", EXPORT, BY_HAND, constants)
