"""[a b] @ [Wa; Wb] = a@Wa + b@Wb: one product for the columns of the user, one for those of the item."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.graphs import STYLES, Array, Rewritten, integers, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


def without_sources(result: Rewritten) -> list[str]:
    """The operators, less what takes the user's rows from an input or gives them to the candidates."""
    return [op for op in result.ops if op not in ("Slice", "Gather")]


def weight(result: Rewritten, name: str) -> Array:
    return numpy_helper.to_array(next(t for t in result.model.graph.initializer if t.name == name))


@styles
@pytest.mark.parametrize("trans", [0, 1])
def test_concat_and_gemm(style: str, trans: int) -> None:
    w, b = integers(7, 2), integers(2, seed=1)
    body = f"x = Concat <axis = 1> (user, item) y = Gemm <transB = {trans}> (x, w, b)"
    result = rewrite_and_check(ranking(style, body, w=w.T.copy() if trans else w, b=b))
    assert without_sources(result) == ["Gemm", "Gemm"]
    user, item = result.nodes("Gemm")
    assert weight(result, user.input[1]).shape == ((2, 4) if trans else (4, 2))
    np.testing.assert_array_equal(weight(result, user.input[2]).ravel(), b)
    assert list(item.input)[:2] == ["item", "w.item"]
    assert item.output[0] == "y"
    if style != "requests":
        assert item.input[2] == user.output[0]  # the user's row is the bias of the items' product


def test_the_graph() -> None:
    w, b = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([6, 7], np.float32)
    body = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
    model = ranking("one", body, user="float[1]", item="float[2]", output="float[B, 2] y", w=w, b=b)
    expected = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 1] user_row, float[B, 2] item) => (float[B, 2] y)
        <float[1, 2] "w.user" = {0, 1}, float[1, 2] "b.part" = {6, 7}, float[2, 2] "w.item" = {2, 3, 4, 5}> {
            "y.user" = Gemm (user_row, "w.user", "b.part")
            y = Gemm (item, "w.item", "y.user")
        }""")
    found = rewrite_and_check(model).model
    shown = [[(n.op_type, len(n.input), n.output[0] == "y") for n in m.graph.node] for m in (found, expected)]
    assert shown[0] == shown[1]
    stored = [sorted(numpy_helper.to_array(t).tolist() for t in m.graph.initializer) for m in (found, expected)]
    assert stored[0] == stored[1]
    assert (found.graph.input, found.graph.output) == (expected.graph.input, expected.graph.output)


@styles
def test_interleaved_parts_are_gathered(style: str) -> None:
    """[user item user item] is two products, their rows of the weight put together (the neat layout)."""
    w = integers(14, 2)
    body = "x = Concat <axis = 1> (user, item, user, item) y = Gemm (x, w)"
    result = rewrite_and_check(ranking(style, body, w=w))
    assert result.ops.count("Gemm") == 2
    stored = sorted(numpy_helper.to_array(t).shape for t in result.model.graph.initializer if t.data_type == 1)
    assert stored == [(6, 2), (8, 2)]


@styles
def test_merged_and_cut_rows(style: str) -> None:
    """[B, L, K] goes through a Linear as [(B L), K]: the user's part keeps L rows, the items' B."""
    body = """
        q = Unsqueeze (item, one) qe = Expand (q, length) x = Concat <axis = 2> (qe, user) r = Reshape (x, flat)
        p = Gemm (r, w, b) y = Reshape (p, back)
    """
    model = ranking(
        style,
        body,
        user="float[5, 64]",
        item="float[64]",
        output="float[B, 5, 8] y",
        w=integers(128, 8),
        b=integers(8),
        one=[1],
        length=[1, 5, 1],
        flat=[-1, 128],
        back=[-1, 5, 8],
    )
    result = rewrite_and_check(model)
    assert result.ops.count("Gemm") + result.ops.count("MatMul") == 2


@styles
def test_attention_unit_of_din(style: str) -> None:
    """[q, k, q-k, q*k] through a Linear: q's and k's products once each, only q*k's for every pair."""
    body = """
        q = Unsqueeze (item, one) qe = Expand (q, length)
        d = Sub (qe, user) m = Mul (qe, user) x = Concat <axis = 2> (qe, user, d, m)
        p = MatMul (x, w) s = Add (p, b) y = Relu (s)
    """
    model = ranking(
        style,
        body,
        user="float[5, 32]",
        item="float[32]",
        output="float[B, 5, 6] y",
        w=integers(128, 6),
        b=integers(6),
        one=[1],
        length=[1, 5, 1],
    )
    result = rewrite_and_check(model)
    (remark,) = [r for r in result.remarks if r.op_type == "MatMul"]
    assert remark.status == "applied"
    assert remark.macs_after < 0.6 * remark.macs_before
    assert "Concat" not in [n.op_type for n in result.model.graph.node if "x" in n.output]


@styles
def test_a_part_that_saves_less_than_a_launch_stays_with_the_next(style: str) -> None:
    """At two candidates one column of the user's is not worth a product of its own."""
    model = ranking(style, "x = Concat <axis = 1> (user, item) y = Gemm (x, w)", user="float[1]", w=integers(4, 2))
    assert rewrite(model, batch=2).ops.count("Gemm") == 1
    assert rewrite(model).ops.count("Gemm") == 2
