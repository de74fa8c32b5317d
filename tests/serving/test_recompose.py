"""Models that are called otherwise, compared with the original: what is right passes, and what is wrong does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mari_onnx import UserError, optimize, verify
from mari_onnx.document.provenance import Origin, read, stamp
from mari_onnx.document.read import from_proto
from mari_onnx.serving.recompose import together
from mari_onnx.serving.single_row import SingleRow
from mari_onnx.serving.tiled import AS_EXPORTED
from tests.graphs import assert_same, integers, parse

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
TYPES = "int64[B] i, int64[B] user_id, float[B, 4] user, float[B, 3] item"

SERVINGS: list[dict[str, Any]] = [
    {},
    {"user_batch": "one"},
    {"user_batch": "requests"},
    {"request_index": "i"},
    {"request_key": ["user_id"]},
    {"guard": "nan"},
    {"guard": "output"},
    {"request_key": ["user_id"], "guard": "output"},
]


@pytest.fixture
def model() -> onnx.ModelProto:
    return parse(f"g ({TYPES}) => (float[B, 2] y) {{ {BODY} }}", w=integers(7, 2), b=integers(2))


def passed(reference: onnx.ModelProto, result: onnx.ModelProto, serving: dict[str, Any], **more: Any) -> bool:
    names = {name: serving[name] for name in ("request_index", "request_key") if name in serving}
    report = verify(reference, result, user_inputs=["user*"], **names, **more)
    assert report.verification is not None
    return report.verification.passed


def spoiled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight a little larger."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.01), tensor.name))
    return out


@pytest.mark.parametrize("serving", SERVINGS, ids=str)
def test_each_way_of_serving(model: onnx.ModelProto, serving: dict[str, Any]) -> None:
    result = optimize(model, user_inputs=["user*"], **serving)
    assert result.changed == (serving not in ({}, {"request_key": ["user_id"]}))
    assert result.report.verification is None or result.report.verification.passed
    assert passed(model, result.model, serving)
    assert not passed(model, spoiled(result.model), serving)


@pytest.mark.parametrize(
    "serving", [{"user_batch": "one"}, {"user_batch": "requests"}, {"request_index": "i"}], ids=str
)
@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 13, 18, 21])
def test_every_opset(serving: dict[str, Any], opset: int) -> None:
    """Range and ScatterElements are of opset 11, a Slice backwards of 10, and ConstantOfShape and NonZero of 9."""
    model = parse(f"g ({TYPES}) => (float[B, 2] y) {{ {BODY} }}", opset=opset, w=integers(7, 2), b=integers(2))
    result = optimize(model, user_inputs=["user*"], **serving)
    assert result.changed
    assert result.report.verification is not None
    assert result.report.verification.passed
    assert passed(model, result.model, serving, batches=[0, 5])
    assert not passed(model, spoiled(result.model), serving)


@pytest.mark.parametrize(
    "serving", [{"user_batch": "one"}, {"user_batch": "requests"}, {"request_index": "i"}], ids=str
)
def test_rows_of_strings(serving: dict[str, Any]) -> None:
    """Of each row that onnxruntime gathers along the first axis, the first string alone is there."""
    encode = "ai.onnx.ml.LabelEncoder <keys_strings = {}, values_int64s = {}, default_int64 = 0>"
    keys, values = '["w0", "w1", "w2", "w3", "w4"]', "[1, 2, 3, 4, 5]"
    model = parse(
        f"""g (int64[B] i, string[B, 3] user, float[B, 3] item) => (float[B, 4] y) {{
            n = {encode.replace("{}", keys, 1).replace("{}", values, 1)} (user) e = Gather (table, n)
            f = Flatten (e) x = Concat <axis = 1> (f, item) y = MatMul (x, w) }}""",
        domains=', "ai.onnx.ml" : 3', table=integers(6, 8), w=integers(27, 4),
    )  # fmt: skip
    result = optimize(model, user_inputs=["user*"], **serving)
    assert result.changed
    assert result.report.verification is not None
    assert result.report.verification.passed


def test_a_call_without_candidates(model: onnx.ModelProto) -> None:
    servings: list[dict[str, Any]] = [
        {"user_batch": "one"},
        {"user_batch": "requests"},
        {"request_index": "i"},
        {"guard": "output"},
    ]
    for serving in servings:
        assert passed(model, optimize(model, user_inputs=["user*"], **serving).model, serving, batches=[0])


def test_rows_of_the_wrong_request(model: onnx.ModelProto) -> None:
    """An index that is off by one selects rows that are there, and wrong."""
    right = optimize(model, user_inputs=["user*"], user_batch="requests").model
    wrong = onnx.ModelProto()
    wrong.CopyFrom(right)
    for node in wrong.graph.node:
        node.input[:] = ["shifted" if name == "request_index" else name for name in node.input]
    wrong.graph.node.insert(0, onnx.helper.make_node("Add", ["request_index", "one"], ["shifted"]))
    wrong.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    assert passed(model, right, {"user_batch": "requests"})
    assert not passed(model, wrong, {"user_batch": "requests"})


def test_the_first_row_for_all_of_several_requests(model: onnx.ModelProto) -> None:
    tiled = optimize(model, user_inputs=["user*"], guard="nan").model
    assert passed(model, tiled, {})
    assert not passed(model, tiled, {"request_key": ["user_id"]})


def test_a_guard_that_always_speaks(model: onnx.ModelProto) -> None:
    guarded = optimize(model, user_inputs=["user*"], guard="output").model
    for node in guarded.graph.node:
        if node.output[0] == "mari_guard":
            node.op_type = "Not"
            del node.input[1:]
    assert not passed(model, guarded, {})


def test_a_guarded_output_that_is_listed_twice(model: onnx.ModelProto) -> None:
    twice = onnx.ModelProto()
    twice.CopyFrom(model)
    twice.graph.output.append(twice.graph.output[0])
    assert passed(twice, optimize(twice, user_inputs=["user*"], guard="output").model, {"guard": "output"})


def test_a_guard_that_was_there_is_an_output_like_others(model: onnx.ModelProto) -> None:
    guarded = optimize(model, user_inputs=["user*"], guard="output").model
    result = optimize(guarded, user_inputs=["user*"], user_batch="one")
    assert result.report.verification is not None
    assert result.report.verification.passed
    assert passed(guarded, result.model, {})


def test_one_row_is_wrong_for_calls_that_mix_requests(model: onnx.ModelProto) -> None:
    one = optimize(model, user_inputs=["user*"], user_batch="one").model
    assert passed(model, one, {})
    assert not passed(model, one, {"request_key": ["user_id"]})


def test_a_new_index_for_calls_that_mix_requests(model: onnx.ModelProto) -> None:
    several = optimize(model, user_inputs=["user*"], user_batch="requests").model
    assert passed(model, several, {"request_key": ["user_id"]})


def test_what_is_called_alike_stays_as_it_is(model: onnx.ModelProto) -> None:
    document = from_proto(model)
    assert together(document, [document], AS_EXPORTED) is document


# Parts

USER = "g (float[1, 4] user) => (float[1, 2] h) { u = MatMul (user, w) h = Add (u, b) }"
RANK = "g (float[1, 2] h, float[B, 3] item) => (float[B, 2] y) { v = MatMul (item, w) s = Add (v, h) y = Relu (s) }"
ITEM = "g (float[B, 3] item) => (float[B, 2] v) { v = MatMul (item, w) }"


def parts() -> Sequence[onnx.ModelProto]:
    """The user's part, the ranking model and the original; tensors and weights of one name that are not the same."""
    w, b = integers(7, 2), integers(2)
    whole = parse(f"g (float[B, 4] user, float[B, 3] item) => (float[B, 2] y) {{ {BODY} }}", w=w, b=b)
    return parse(USER, w=w[:4], b=b), parse(RANK, w=w[4:]), whole


def test_parts_say_where_their_tensors_come_from() -> None:
    """A tensor that a part has a name of its own for keeps its origin; one of an earlier part gets a prefix."""
    user, rank, whole = parts()
    stamp(user, {"u": Origin("fc", "user", "linear")})
    stamp(rank, {"s": Origin("fc", "whole", "linear"), "y": Origin("y", "whole", "")})
    found = read(together(from_proto(whole), [from_proto(user), from_proto(rank)], SingleRow()).proto)
    assert found["part0/u"] == Origin("fc", "user", "linear")
    assert found["part0/h"] == Origin("h", "whole", "")
    assert (found["s"], found["y"]) == (Origin("fc", "whole", "linear"), Origin("y", "whole", ""))
    assert "v" not in found  # the original's, by its name


def test_a_user_model() -> None:
    user, rank, whole = parts()
    joined = together(from_proto(whole), [from_proto(user), from_proto(rank)], SingleRow())
    assert [i.name for i in joined.proto.graph.input] == ["user", "item"]
    assert_same(whole, joined.proto)
    report = verify(whole, rank, user_inputs=["user"], user_model=user)
    assert report.verification is not None
    assert report.verification.passed
    with pytest.raises(UserError, match="`user` is only in the reference model"):
        verify(whole, rank, user_inputs=["user"])


def test_an_item_model() -> None:
    user, _, whole = parts()
    item = parse(ITEM, w=integers(7, 2)[4:])
    rank = parse("g (float[1, 2] h, float[B, 2] v) => (float[B, 2] y) { s = Add (v, h) y = Relu (s) }")
    joined = together(from_proto(whole), [from_proto(part) for part in (user, item, rank)], SingleRow())
    assert_same(whole, joined.proto)


def test_an_input_that_the_reference_lacks_is_one_of_the_whole() -> None:
    """What is wrong with it is for the comparison to say."""
    user, _, whole = parts()
    rank = parse("g (float[1, 2] h, float[B, 2] v) => (float[B, 2] y) { s = Add (v, h) y = Relu (s) }")
    joined = together(from_proto(whole), [from_proto(user), from_proto(rank)], SingleRow())
    onnx.checker.check_model(joined.proto, full_check=True)
    assert [i.name for i in joined.proto.graph.input] == ["user", "item", "v"]
    with pytest.raises(UserError, match="`v` is only in the optimized model"):
        verify(whole, rank, user_inputs=["user"], user_model=user)


def test_an_input_of_another_rank(model: onnx.ModelProto) -> None:
    """The row of one user [1, 4] beside a reference that takes [B, 2, 4]; it was put together to what does not load."""
    result = optimize(model, user_inputs=["user*"], user_batch="one")
    types = TYPES.replace("float[B, 4] user", "float[B, 2, 4] user")
    body = f"one = ReduceMax <axes = [1], keepdims = 0> (user) {BODY.replace('user,', 'one,')}"
    reference = parse(f"g ({types}) => (float[B, 2] y) {{ {body} }}", opset=17, w=integers(7, 2), b=integers(2))
    with pytest.raises(UserError, match="the input `user` has rank 2, and that of the reference has rank 3"):
        verify(reference, result.model, user_inputs=["user*"])


def test_bodies_keep_what_they_capture() -> None:
    """A name of the outer graph that an If reads is called otherwise there too."""
    user = parse(
        """g (float[1, 4] user) => (float[1, 2] h) {
            u = MatMul (user, w)
            c = ReduceMax <keepdims = 0> (u)
            p = Greater (c, zero)
            h = If (p) <
                then_branch = t () => (float[1, 2] a) { a = Add (u, b) },
                else_branch = e () => (float[1, 2] d) { d = Sub (u, b) }
            >
        }""",
        w=integers(4, 2), b=integers(2), zero=np.float32(0),
    )  # fmt: skip
    _, rank, whole = parts()
    joined = together(from_proto(whole), [from_proto(user), from_proto(rank)], SingleRow())
    onnx.checker.check_model(joined.proto, full_check=True)
