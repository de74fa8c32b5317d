"""Attention on the batches that its inputs have, and with the candidates as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.reasons import side
from mari_onnx.ir.extents import symbol
from tests.graphs import STYLES, Rewritten, Session, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
CLOSE: dict[str, Any] = {"rtol": 1e-5}
"""Softmax is not exact, and onnxruntime's Attention does not take an empty batch."""

B = symbol("B")
HEADS = "q_num_heads = 2, kv_num_heads = 2"


def queries(result: Rewritten) -> tuple[Any, ...]:
    """The shape of q in the node that is left."""
    (node,) = result.nodes("Attention")
    infos = {v.name: v for v in onnx.shape_inference.infer_shapes(result.model).graph.value_info}
    dims = infos[node.input[0]].type.tensor_type.shape.dim
    return tuple(d.dim_value or d.dim_param or None for d in dims)


def of_target(style: str, node: str, *, width: int = 4, opset: int = 23, **constants: Any) -> Rewritten:
    """The candidate's query against the user's history."""
    body = f"q = Unsqueeze (item, one) a = {node} y = Squeeze (a, one)"
    model = ranking(
        style,
        body,
        user=f"float[5, {width}]",
        item="float[4]",
        output="float[B, 4] y",
        opset=opset,
        one=[1],
        **constants,
    )
    return rewrite_and_check(model, **CLOSE)


@pytest.mark.parametrize("style", ["one", "tiled"])
@pytest.mark.parametrize("opset", [23, 24, 25])
@pytest.mark.parametrize("attributes", ["", ", scale = 0.5", ", softcap = 2.0"])
def test_candidates_become_rows(style: str, opset: int, attributes: str) -> None:
    result = of_target(style, f"Attention <{HEADS}{attributes}> (q, user, user)", opset=opset)
    assert "Expand" not in result.ops
    assert queries(result)[0] == 1
    assert result.program.values["a"].array.tensor.known_shape[1:] == (B, 4)


def test_keys_that_an_index_selects_are_gathered() -> None:
    result = of_target("requests", f"Attention <{HEADS}> (q, user, user)")
    assert result.program.values["a"].array.tensor.known_shape == (B, 1, 4)


@styles
def test_groups_of_queries(style: str) -> None:
    """Two heads of queries for one of keys."""
    of_target(style, "Attention <q_num_heads = 2, kv_num_heads = 1> (q, user, user)", width=2)


@styles
@pytest.mark.parametrize(("shape", "dtype"), [((1, 5), bool), ((1, 1, 1, 5), bool), ((1, 2, 1, 5), np.float32)])
def test_a_mask_of_the_request(style: str, shape: tuple[int, ...], dtype: type) -> None:
    mask = np.arange(np.prod(shape)).reshape(shape) % 3 != 0
    result = of_target(style, f"Attention <{HEADS}> (q, user, user, m)", m=mask.astype(dtype))
    assert style == "requests" or queries(result)[0] == 1


@styles
@pytest.mark.parametrize("mask", ["user", "item"])
def test_a_mask_that_is_computed(style: str, mask: str) -> None:
    """From the history, or from the candidate."""
    source = "h = ReduceMax <keepdims = 0> (user, last)" if mask == "user" else "h = Expand (item, five)"
    body = f"""{source} g = Greater (h, zero_) m = Unsqueeze (g, middle) q = Unsqueeze (item4, one)
               a = Attention <{HEADS}> (q, user, user, m) y = Squeeze (a, one)"""
    if mask == "item":
        body = body.replace("item4", "k").replace("q = ", "k = Expand (item, four) q = ")
    else:
        body = body.replace("item4", "item")
    constants: dict[str, Any] = {"one": [1], "zero_": np.float32(-1), "middle": [1, 2]}
    constants |= {"last": [2]} if mask == "user" else {"five": [1, 5], "four": [1, 4]}
    model = ranking(
        style, body, user="float[5, 4]", item="float[4]" if mask == "user" else "float[1]", output="float[B, 4] y",
        opset=23, **constants,
    )  # fmt: skip
    result = rewrite_and_check(model, **CLOSE)
    assert style == "requests" or queries(result)[0] == 1


@styles
def test_values_of_another_width(style: str) -> None:
    body = f"v = MatMul (user, w) q = Unsqueeze (item, one) a = Attention <{HEADS}> (q, user, v) y = Squeeze (a, one)"
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 6] y"}
    result = rewrite_and_check(ranking(style, body, **types, opset=23, one=[1], w=integers(4, 6)), **CLOSE)
    assert style == "requests" or queries(result)[0] == 1


@styles
def test_keys_that_are_answered(style: str) -> None:
    """Rows of one attention have one cache, and each candidate had its own."""
    body = f"""q = Unsqueeze (item, one) a, k, v = Attention <{HEADS}> (q, user, user) b = Squeeze (a, one)
               f = Flatten (k) m = ReduceMax (f, one) y = Add (b, m)"""
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 4] y"}
    result = rewrite_and_check(ranking(style, body, **types, opset=23, one=[1]), **CLOSE)
    assert queries(result)[0] != 1


@styles
@pytest.mark.parametrize("attributes", ["", ", is_causal = 1"])
def test_attention_of_the_user_is_done_once(style: str, attributes: str) -> None:
    body = f"""a = Attention <{HEADS}{attributes}> (user, user, user) s = ReduceSum <keepdims = 0> (a, one)
               y = Add (s, item)"""
    result = rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[4]", opset=23, one=[1]), **CLOSE)
    assert "Expand" not in result.ops
    assert B not in result.program.values["a"].array.tensor.known_shape


@styles
def test_in_four_dimensions(style: str) -> None:
    body = """h = Reshape (user, heads) k = Transpose <perm = [0, 2, 1, 3]> (h)
              i = Reshape (item, query) a = Attention (i, k, k) y = Flatten (a)"""
    model = ranking(
        style, body, user="float[5, 4]", item="float[4]", opset=23, heads=[-1, 5, 2, 2], query=[-1, 2, 1, 2]
    )
    result = rewrite_and_check(model, **CLOSE)
    assert style == "requests" or queries(result)[0] == 1


def test_several_queries_for_each_candidate() -> None:
    body = f"q = Reshape (item, query) a = Attention <{HEADS}> (q, user, user) y = Flatten (a)"
    model = ranking("one", body, user="float[5, 4]", item="float[8]", opset=23, query=[-1, 2, 4])
    assert queries(rewrite_and_check(model, **CLOSE))[0] == 1


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        (f"Attention <{HEADS}, is_causal = 1> (q, user, user)", 23),
        pytest.param(
            f"Attention <{HEADS}, left_window_size = 2> (q, user, user)",
            25,
            marks=pytest.mark.skipif(
                "left_window_size" not in onnx.defs.get_schema("Attention", 25).attributes,
                reason="before 1.23 onnx knows no windows of Attention",
            ),
        ),
    ],
)
def test_rows_that_depend_on_where_they_are_stay_rows_of_their_own(node: str, opset: int) -> None:
    result = of_target("one", node, opset=opset)
    assert queries(result)[0] != 1


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_caches(style: str) -> None:
    """Past keys and values of the user, new ones of the candidate; and both of the user."""
    body = f"""h = Reshape (user, heads) p = Transpose <perm = [0, 2, 1, 3]> (h) i = Unsqueeze (item, one)
               a, k, v = Attention <{HEADS}> (i, i, i, , p, p) y = Flatten (a)"""
    model = ranking(style, body, user="float[5, 4]", item="float[4]", opset=23, heads=[-1, 5, 2, 2], one=[1])
    rewrite_and_check(model, **CLOSE)
    alone = body.replace("Unsqueeze (item, one)", "ReduceMax (user, one)").replace(
        "y = Flatten (a)", "f = Flatten (a) y = Add (f, item)"
    )
    model = ranking(style, alone, user="float[5, 4]", item="float[4]", opset=23, heads=[-1, 5, 2, 2], one=[1])
    result = rewrite_and_check(model, **CLOSE)
    assert B not in result.program.values["k"].array.tensor.known_shape


def test_lengths_of_the_keys() -> None:
    body = f"""n = ReduceMax <keepdims = 0> (user, both) a_ = Abs (n) c = Cast <to = 7> (a_) l = Add (c, one)
               q = Unsqueeze (item, one) a = Attention <{HEADS}> (q, user, user, , , , l) y = Squeeze (a, one)"""
    model = ranking(
        "one", body, user="float[5, 4]", item="float[4]", output="float[B, 4] y", opset=24, one=[1], both=[1, 2]
    )
    rewrite_and_check(model, **CLOSE)


def test_what_is_refused() -> None:
    text = "g (float[1, 5, D] user, float[B, 1, D] item) => (float[B, 1, D] y)"
    body = f"s = Shape (item) k = Expand (user, s) y = Attention <{HEADS}> (item, k, k)"
    result = rewrite(parse(f"{text} {{ {body} }}", opset=23, ir=10))
    assert any("widths or numbers of heads" in reason for reason in result.refusals("Attention"))


def test_a_batch_of_one_is_no_batch_of_all() -> None:
    """The model runs where there is one candidate, and its history may be one of several."""
    node = f"y = Attention <{HEADS}> (q, user, user)"
    constant = integers(1, 1, 4)
    result = rewrite(ranking("requests", node, user="float[5, 4]", output="float[B, 1, 4] y", opset=23, q=constant))
    assert result.refusals("Attention") == ["the batches of the inputs of Attention are 1 and B"]
    given = {"rows": integers(3, 5, 4), "index": np.array([2]), "item": integers(1, 3)}
    (found,) = Session(result.model).run(given)
    assert found.shape == (1, 1, 4)


# Domain com.microsoft

FUSED: dict[str, Any] = {"domains": ', "com.microsoft" : 1', "opset": 17}


@styles
@pytest.mark.parametrize("bias", [False, True])
def test_heads_of_candidates_become_rows(style: str, bias: bool) -> None:
    inputs = "q, user, user, b" if bias else "q, user, user"
    body = f"""q = Unsqueeze (item, one) a = com.microsoft.MultiHeadAttention <num_heads = 2> ({inputs})
               y = Squeeze (a, one)"""
    constants: dict[str, Any] = {"one": [1]} | ({"b": np.ones(12, np.float32)} if bias else {})
    model = ranking(style, body, user="float[5, 4]", item="float[4]", output="float[B, 4] y", **FUSED, **constants)
    result = rewrite_and_check(model, **CLOSE)
    shape = result.program.values["a"].array.tensor.known_shape
    assert style == "requests" or shape == (1, B, 4)


@styles
@pytest.mark.parametrize("sizes", [[4, 4, 4], [4, 4, 8]])
@pytest.mark.parametrize("stored", ["5, 4", "5, 1", "1, 4"])
def test_projections_within_attention(style: str, sizes: list[int], stored: str) -> None:
    """Steps and columns are those of the whole, stored or not."""
    body = f"""x = Expand (user, wide) a = com.microsoft.Attention <num_heads = 2, qkv_hidden_sizes = {sizes}> (x, w, b)
               s = ReduceSum <keepdims = 0> (a, one) y = Add (s, item)"""
    width = sum(sizes)
    constants: dict[str, Any] = {"w": integers(4, width) / 4, "b": integers(width) / 4, "one": [1], "wide": [1, 5, 4]}
    model = ranking(style, body, user=f"float[{stored}]", item=f"float[{sizes[2]}]", **FUSED, **constants)
    result = rewrite_and_check(model, **CLOSE)
    assert B not in result.program.values["a"].array.tensor.known_shape


@styles
@pytest.mark.parametrize(
    "mask",
    ["t = Cast <to = 6> (there)", "c = Cast <to = 6> (there) t = ReduceSum <keepdims = 0> (c, one)"],
    ids=["tokens", "lengths"],
)
def test_projections_under_a_mask_of_the_user(style: str, mask: str) -> None:
    """The mask has a row for each row of the input, so both stand on the same candidates."""
    body = f"""there = Greater (user, none) {mask} h = Unsqueeze (user, two) x = Expand (h, wide)
               a = com.microsoft.Attention <num_heads = 2> (x, w, b, t) s = ReduceSum <keepdims = 0> (a, one)
               y = Add (s, item)"""
    constants: dict[str, Any] = {"w": integers(4, 12) / 4, "b": integers(12) / 4, "one": [1], "two": [2]}
    constants |= {"wide": [1, 5, 4], "none": np.float32(-3)}
    model = ranking(style, body, user="float[5]", item="float[4]", **FUSED, **constants)
    result = rewrite_and_check(model, **CLOSE)
    assert B not in result.program.values["a"].array.tensor.known_shape


@styles
def test_a_mask_of_the_candidates(style: str) -> None:
    """The tokens are the user's, and each candidate sees others of them."""
    body = """h = Unsqueeze (user, two) x = Expand (h, wide) c = Cast <to = 6> (item)
              a = com.microsoft.Attention <num_heads = 2> (x, w, b, c) y = ReduceSum <keepdims = 0> (a, one)"""
    constants: dict[str, Any] = {"w": integers(4, 12) / 4, "b": integers(12) / 4, "one": [1], "two": [2]}
    model = ranking(style, body, user="float[5]", item="float[5]", **FUSED, **constants, wide=[1, 5, 4])
    assert "Attention" in rewrite_and_check(model, **CLOSE).ops


def test_a_padding_mask_is_refused() -> None:
    body = """q = Unsqueeze (item, one) m = Shape (q) k = Cast <to = 6> (m)
              a = com.microsoft.MultiHeadAttention <num_heads = 2> (q, user, user, , k) y = Squeeze (a, one)"""
    model = ranking("one", body, user="float[5, 4]", item="float[4]", output="float[B, 4] y", **FUSED, one=[1])
    assert rewrite(model).refusals("MultiHeadAttention") == [
        "MultiHeadAttention with lengths of the keys, or with a cache"
    ]


def test_the_graph() -> None:
    """The candidates are the rows of one attention."""
    result = of_target("one", f"Attention <{HEADS}> (q, user, user)")
    assert result.graph == [
        "item.reshape [1 B 4] = Reshape (item)",
        "a.item [1 B 4] = Attention (item.reshape, user_row, user_row)",
        "y [B 4] = Reshape (a.item)",
    ]


@styles
def test_columns_that_are_repeated(style: str) -> None:
    """Of a width that is computed onnx makes 0: the shape of what Attention reads is written down."""
    body = """c = Gather <axis = 1> (user, places) t = Reshape (c, square)
        a = Attention <kv_num_heads = 1, q_num_heads = 1> (t, t, t)
        d = Attention <kv_num_heads = 1, q_num_heads = 1, scale = 2.0> (t, t, t) s = Add (a, d) y = MatMul (s, w)"""
    types: dict[str, Any] = {"user": "float[1]", "item": "float[3]", "output": "float[B, 2, 3] y"}
    constants: dict[str, Any] = {"places": np.zeros(4, np.int64), "square": [-1, 2, 2], "w": integers(2, 3)}
    result = rewrite_and_check(ranking(style, body, **types, opset=24, **constants), rtol=1e-5)
    described = [info.name for info in result.model.graph.value_info]
    assert len(described) == len(set(described))


def test_the_width_of_what_is_reshaped_for_attention() -> None:
    """To two extents that are symbols a Reshape is computed, and onnx does not see how wide its result is."""
    body = """t = Concat <axis = 2> (item, item, item) a = Attention <kv_num_heads = 1, q_num_heads = 1> (t, t, t)
              y = MatMul (a, w)"""
    text = f"g (float[B, L, 2] item) => (float[B, L, 3] y) {{ {body} }}"
    rewrite_and_check(parse(text, opset=24, w=integers(6, 3)), rtol=1e-5)


# Grouped queries

GROUPED: dict[str, Any] = {
    "total": np.array(6, np.int32), "last": np.array([5], np.int32), "one": [1], "place": np.array(-1),
    "w": integers(64, 2), "wq": integers(16, 64) / 64, "wk": integers(16, 32, seed=1) / 64,
    "wv": integers(16, 32, seed=2) / 64, "short": np.array([4], np.int32), "bias": np.ones((1, 1, 6, 6), np.float32),
    "cos": np.ones((8, 8), np.float32), "sin": np.zeros((8, 8), np.float32),
}  # fmt: skip


def grouped(
    attributes: str = "", lengths: str = "last", more: str = "", style: str = "tiled", after: str = ""
) -> Rewritten:
    """Four heads of queries and two of keys, over five tokens of the user and the candidate's.

    onnxruntime asks for heads of a multiple of 8 columns, and of 16 where it rotates them.
    """
    op = "com.microsoft.GroupQueryAttention"
    body = f"""new = Unsqueeze (item, one) x = Concat <axis = 1> (user, new) n = Shape <start = 0, end = 1> (item)
        q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv) lengths = Expand ({lengths}, n)
        c, pk, pv = {op} <num_heads = 4, kv_num_heads = 2{attributes}> (q, k, v, , , lengths, total{more})
        z = Gather <axis = 1> (c, place) y = MatMul (z, w) {after}"""
    used = {name: a for name, a in GROUPED.items() if name in body}
    output = "float[B, 2] y" + (", float[B, 2, 6, 16] keys, float[B, 2, 6, 16] values" if after else "")
    model = ranking(style, body, user="float[5, 16]", item="float[16]", output=output, **FUSED, **used)
    return rewrite_and_check(model, **CLOSE)


@styles
@pytest.mark.parametrize(
    "attributes", ["", ", scale = 0.5", ", softcap = 2.0", ", local_window_size = 1", ", local_window_size = 3"]
)
def test_grouped_queries_are_a_causal_attention(style: str, attributes: str) -> None:
    """The keys of the history are the user's, also those that are returned as a cache."""
    result = grouped(attributes, style=style)
    assert "GroupQueryAttention" not in result.ops
    parts = result.program.values["c"].parts
    assert parts is not None
    assert [side(result.program.context, array) for _, array in parts.pieces] == ["user", "item"]


def test_keys_of_grouped_queries_are_outputs() -> None:
    result = grouped(after="keys = Identity (pk) values = Identity (pv)")
    assert "GroupQueryAttention" not in result.ops


@pytest.mark.parametrize(
    ("attributes", "lengths", "more", "why"),
    [
        ("", "short", "", "whose `seqlens_k` is not proven to be 5, the last token, in all rows"),
        (", causal = 0", "last", "", "with `causal` of 0"),
        (", smooth_softmax = 1", "last", "", "with `smooth_softmax` of 1"),
        (", local_window_size = 0", "last", "", "with `local_window_size` of 0"),
        (", softcap = -2.0", "last", "", "with `softcap` of -2.0"),
        (", do_rotary = 1", "last", ", cos, sin", "with `do_rotary` of 1"),
        ("", "last", ", , , , bias", "with a cache, of packed inputs, or with more than queries, keys and values"),
    ],
)
def test_what_grouped_queries_are_left_with(attributes: str, lengths: str, more: str, why: str) -> None:
    """onnxruntime gives a row behind its length other numbers, and for a window of 0 those of no token."""
    result = grouped(attributes, lengths, more)
    assert result.refusals("GroupQueryAttention") == [f"GroupQueryAttention {why}"]
    assert "GroupQueryAttention" in result.ops


def test_lengths_that_are_sent_prove_nothing() -> None:
    body = """new = Unsqueeze (item, one) x = Concat <axis = 1> (user, new)
        a = com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 2> (x, x, x, , , lengths, total)
        y = Gather <axis = 1> (a, place)"""
    text = f"g (float[B, 5, 16] user, float[B, 16] item, int32[B] lengths) => (float[B, 16] y) {{ {body} }}"
    used = {name: GROUPED[name] for name in ("one", "total", "place")}
    (said,) = rewrite(parse(text, **FUSED, **used)).refusals("GroupQueryAttention")
    assert "`seqlens_k`" in said
