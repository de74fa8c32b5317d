"""Einsum lacks the letters that its operands lack."""

from __future__ import annotations

from typing import Any

import pytest

from mari_onnx.analysis.interpret import interpret
from mari_onnx.analysis.premises import NOTHING
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.cost import CostModel
from tests.graphs import STYLES, integers, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


@styles
@pytest.mark.parametrize(
    ("equation", "operands", "constants", "output"),
    [
        ("bd,df->bf", "user, w", {"w": integers(4, 3)}, "B, 3"),
        ("bd,fd->bf", "user, w", {"w": integers(3, 4)}, "B, 3"),
        ("bd,d->b", "user, w", {"w": integers(4)}, "B"),
        ("bd,fdh->bfh", "user, w", {"w": integers(2, 4, 3)}, "B, 2, 3"),
        ("bd->db", "user", {}, "4, B"),
        (" b d , d f -> b f ", "user, w", {"w": integers(4, 3)}, "B, 3"),
    ],
)
def test_the_user_and_a_weight(
    style: str, equation: str, operands: str, constants: dict[str, Any], output: str
) -> None:
    body = f'e = Einsum <equation = "{equation}"> ({operands}) m = ReduceMax <keepdims = 0> (e) y = Add (m, item)'
    result = rewrite_and_check(ranking(style, body, **constants))
    assert result.refusals("Einsum") == []
    shape = result.program.values["e"].array.tensor.known_shape
    assert "B" not in map(str, shape)


@styles
@pytest.mark.parametrize(
    ("equation", "operands", "weight", "output"),
    [
        ("bd,df->bf", "x, w", (7, 3), "B, 3"),
        ("bd,dhe->bhe", "x, w", (7, 2, 3), "B, 2, 3"),
        ("bd,hed->bhe", "x, w", (2, 3, 7), "B, 2, 3"),
        ("fd,bd->bf", "w, x", (3, 7), "B, 3"),
        ("bd,dhe->hbe", "x, w", (7, 2, 3), "2, B, 3"),
        ("bd,df->fb", "x, w", (7, 3), "3, B"),
        ("bd,d->b", "x, w", (7,), "B"),
    ],
)
def test_columns_of_both_and_a_weight(
    style: str, equation: str, operands: str, weight: tuple[int, ...], output: str
) -> None:
    """A product with a weight is split by whose columns they are, whatever it is called."""
    body = f'x = Concat <axis = 1> (user, item) y = Einsum <equation = "{equation}"> ({operands})'
    result = rewrite_and_check(ranking(style, body, output=f"float[{output}] y", w=integers(*weight)))
    (remark,) = (r for r in result.remarks if r.op_type == "Einsum")
    assert remark.status == "applied", remark
    assert "Einsum" not in result.ops


@styles
@pytest.mark.parametrize("equation", ["bld,de->ble", "bld,lde->be", "bld,lde->bde", "bld,le->bde"])
def test_rows_of_both_and_a_weight(style: str, equation: str) -> None:
    """Parts along the length: a letter that is summed, or not; more letters may be summed, and some with no weight."""
    lengths = {"l": "7", "d": "4", "e": "2", "b": "B"}
    w = integers(*(int(lengths[letter]) for letter in equation[4:].partition("->")[0]))
    shape = ", ".join(lengths[letter] for letter in equation.partition("->")[2])
    body = f'x = Concat <axis = 1> (user, item) y = Einsum <equation = "{equation}"> (x, w)'
    types: dict[str, Any] = {"user": "float[4, 4]", "item": "float[3, 4]", "output": f"float[{shape}] y"}
    rewrite_and_check(ranking(style, body, **types, w=w))


@styles
@pytest.mark.parametrize(
    ("equation", "operands"),
    [
        ("bd,de,be->b", "user, w, item"),
        ("be,de,bd->b", "item, w, user"),
        ("bd,be,de->b", "user, item, w"),
        ("bd,de,be->be", "user, w, item"),
        ("bd,de,be,b->eb", "user, w, item, k"),
    ],
)
def test_a_bilinear_form_of_the_user_and_the_item(style: str, equation: str, operands: str) -> None:
    """The user's product with the weight is computed once."""
    result = equation.partition("->")[2]
    output = ", ".join({"b": "B", "e": "16"}[letter] for letter in result)
    body = f'k = ReduceSum <keepdims = 0> (item, one_) y = Einsum <equation = "{equation}"> ({operands})'
    model = ranking(
        style, body, user="float[32]", item="float[16]", output=f"float[{output}] y", w=integers(32, 16), one_=[1]
    )
    found = rewrite_and_check(model)
    (remark,) = (r for r in found.remarks if r.op_type == "Einsum")
    assert remark.status == "applied", remark
    assert remark.macs_after < remark.macs_before / 8


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_a_bilinear_form_of_columns_of_both(style: str) -> None:
    """[user item] W is split as any product with a weight is, and then multiplied by what differs."""
    body = 'x = Concat <axis = 1> (user, item) y = Einsum <equation = "bd,de,be->b"> (x, w, other)'
    model = ranking(style, f"other = Sin (item) {body}", user="float[32]", output="float[B] y", w=integers(35, 3))
    found = rewrite_and_check(model, rtol=1e-5)
    (remark,) = (r for r in found.remarks if r.op_type == "Einsum")
    assert remark.status == "applied", remark


def test_a_pair_whose_product_is_one_number() -> None:
    """It has no width, by which the remark would count what it saves."""
    body = """first = Slice (item, zero, one, one) i4 = Concat <axis = 1> (item, first) m = Mul (user, i4)
        x = Concat <axis = 1> (user, i4, m) r = Gather (w, i) y = Einsum <equation = "ab,ab,cd->d"> (r, r, x)"""
    constants: dict[str, Any] = {"w": integers(2, 2), "i": [0, 1, 0], "zero": [0], "one": [1]}
    model = ranking("requests", body, output="float[12] y", **constants)
    rewrite_and_check(model)
    before_roles = interpret(Model(from_proto(model)), NOTHING, CostModel(500))  # which finds what axes are equal
    assert not [r.reason for r in before_roles.context.remarks if r.status == "broken"]


def test_operands_of_the_item_alone_stay_together() -> None:
    body = 'e = Einsum <equation = "bd,de,be->b"> (item, w, item) u = Unsqueeze (e, one) y = Add (u, user)'
    assert rewrite_and_check(ranking("one", body, w=integers(3, 3), one=[1])).ops.count("Einsum") == 1


@styles
@pytest.mark.parametrize("equation", ["bld,bd->bl", "bd,bld->bl", "bd,bld->bld"])
def test_attention_scores(style: str, equation: str) -> None:
    first, second = ("user", "item") if equation.startswith("bld") else ("item", "user")
    output = "float[B, 5, 4] y" if equation.endswith("bld") else "float[B, 5] y"
    body = f'y = Einsum <equation = "{equation}"> ({first}, {second})'
    result = rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[4]", output=output))
    assert "Expand" not in result.ops


def test_letters_that_an_operand_lacks_are_left_out() -> None:
    """A letter stands for one extent: (b l) has no b where all candidates have one history."""
    body = 'y = Einsum <equation = "bld,bd->bl"> (user, item)'
    model = ranking("one", body, user="float[5, 4]", item="float[4]", output="float[B, 5] y")
    (node,) = rewrite_and_check(model).nodes("Einsum")
    assert node.attribute[0].s == b"ld,bd->bl"


@styles
@pytest.mark.parametrize("equation", ["bd->b", "bd,bd->b", "bd,bd->bd"])
def test_what_is_summed_counts_as_often_as_it_repeats(style: str, equation: str) -> None:
    operands = "e, e" if "," in equation else "e"
    body = f'e = Expand (user, wide) s = Einsum <equation = "{equation}"> ({operands}) r = Reshape (s, shape)'
    columns = 4 if equation.endswith("bd") else 1
    model = ranking(
        style, f"{body} y = Mul (r, item)", user="float[1]", item=f"float[{columns}]", wide=[1, 4], shape=[-1, columns]
    )
    rewrite_and_check(model)


@styles
def test_a_value_that_meets_itself(style: str) -> None:
    body = 'g = Einsum <equation = "bid,bjd->bij"> (user, user) s = ReduceSum <keepdims = 0> (g, one) y = Mul (s, item)'
    result = rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[5]", one=[1]))
    assert "Expand" not in result.ops


@styles
def test_merged_axes(style: str) -> None:
    """(B L) that only one side has all of."""
    body = """
        a = Reshape (user, flat) q = Unsqueeze (item, one) qe = Expand (q, length) b = Reshape (qe, flat)
        y = Einsum <equation = "nd,nd->n"> (a, b)
    """
    constants: dict[str, Any] = {"flat": [-1, 4], "one": [1], "length": [1, 5, 1]}
    rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[4]", output="float[M] y", **constants))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("equation", "weight", "result"),
    [
        ("bfe,fee->bfe", (3, 4, 4), "3, 4"),
        ("bfe,eef->bfe", (4, 4, 3), "3, 4"),
        ("bfe,ffee->bfe", (3, 3, 4, 4), "3, 4"),
        ("bfe,oeo->bo", (5, 4, 5), "5"),
    ],
)
def test_the_diagonal_of_a_weight(style: str, equation: str, weight: tuple[int, ...], result: str) -> None:
    """torch takes it in its einsum, and so FiBiNET of MLGB is exported."""
    body = f'p = Mul (user, item) y = Einsum <equation = "{equation}"> (p, w)'
    types: dict[str, Any] = {"user": "float[3, 4]", "item": "float[3, 4]", "output": f"float[B, {result}] y"}
    result_ = rewrite_and_check(ranking(style, body, **types, w=integers(*weight)))
    assert not result_.refusals("Einsum")
    assert ("Einsum" in result_.ops) == equation.endswith("->bo")


@pytest.mark.parametrize("equation", ["...d,df->...f", "bd,df", "bb,bf->f"])
def test_equations_that_are_refused(equation: str) -> None:
    width = 4 if "df" in equation else 3
    einsum = f'r = Relu (user) e = Einsum <equation = "{equation}"> (r, w)'
    body = f"{einsum} m = ReduceMax <keepdims = 0> (e) y = Add (m, item)"
    model = ranking("one", body, w=integers(4, width))
    (reason,) = rewrite(model).refusals("Einsum")
    assert reason == f"Einsum of {equation}: an ellipsis, a diagonal or no explicit result"


def test_an_axis_of_the_result_that_no_input_has() -> None:
    """onnxruntime loads that where the axis is no letter, and does not run it."""
    model = ranking("one", 'e = Einsum <equation = "bd,df->b_"> (user, w) y = Add (e, item)', w=integers(4, 3))
    (reason,) = rewrite(model).refusals("Einsum")
    assert reason == "Einsum of bd,df->b_: the result has an axis that no input has"


def test_the_graph() -> None:
    """The history has no letter for the candidates."""
    body = 'y = Einsum <equation = "bld,bd->bl"> (user, item)'
    model = ranking("one", body, user="float[5, 4]", item="float[4]", output="float[B, 5] y")
    result = rewrite_and_check(model)
    assert result.graph == [
        "user_row.reshape [5 4] = Reshape (user_row)",
        "y [B 5] = Einsum (user_row.reshape, item)",
    ]


def test_the_graph_of_experts() -> None:
    """One product for the user, one for the items, and the experts are told apart in the end."""
    body = 'x = Concat <axis = 1> (user, item) y = Einsum <equation = "bd,dhe->bhe"> (x, w)'
    model = ranking("one", body, output="float[B, 2, 3] y", w=integers(7, 2, 3))
    assert rewrite_and_check(model).graph == [
        "y.user [1 6] = Gemm (user_row, w.user)",
        "y.item [B 6] = Gemm (item, w.item, y.user)",
        "y [B 2 3] = Reshape (y.item)",
    ]


@pytest.mark.parametrize(("kind", "ops"), [(1, "MatMul"), (11, "MatMul"), (6, "Einsum")])
def test_a_product_of_rows_is_a_matmul_where_onnxruntime_has_one(kind: int, ops: str) -> None:
    body = f"""x = Concat <axis = 1> (user, item) a = Cast <to = {kind}> (x)
        s = Einsum <equation = "bqd,bkd->bqk"> (a, a) y = Cast <to = 1> (s)"""
    model = ranking("tiled", body, user="float[2, 4]", item="float[1, 4]", output="float[B, 3, 3] y")
    assert ops in rewrite(model).ops
