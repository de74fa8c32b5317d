"""What a changed model says of itself: where it comes from, and which parts of a split belong together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx import UserError
from mari_onnx.document.metadata import PREFIX, put, value
from mari_onnx.document.passport import (
    DATA,
    FINGERPRINT,
    OPTIONS,
    PART,
    ROLES,
    SHA256,
    VERSION,
    Passport,
    check_parts,
    fingerprint,
)
from mari_onnx.document.provenance import RULE, SOURCE
from mari_onnx.document.read import from_proto
from mari_onnx.document.scopes import all_nodes
from mari_onnx.report.split import Role
from mari_onnx.version import __version__
from tests.graphs import Array, assert_same, integers, parse, ranking

TOWER = ranking(
    "tiled", "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)", user="float[256]",
    w=integers(259, 32), b=integers(32),
)  # fmt: skip
ITEMS_ONLY = parse("g (float[B, 3] item) => (float[B, 2] y) { y = MatMul (item, w) }", w=integers(3, 2))


def with_weight(seed: int) -> onnx.ModelProto:
    """Another training of the same model."""
    return ranking(
        "tiled", "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)", user="float[256]",
        w=integers(259, 32, seed=seed), b=integers(32),
    )  # fmt: skip


def said(message: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in message.metadata_props if entry.key.startswith(PREFIX)}


def split(model: Any, **options: Any) -> dict[Role, onnx.ModelProto]:
    return dict(mari_onnx.split(model, user_inputs=["user"], verify=False, **options).models)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_says_what_it_was_made_from(tmp_path: Path) -> None:
    path = saved(TOWER, tmp_path / "in.onnx")
    found = said(mari_onnx.optimize(path, user_inputs=["user"], guard="nan", verify=False).model)
    assert (found[VERSION], found[SHA256]) == (__version__, hashlib.sha256(path.read_bytes()).hexdigest())
    assert json.loads(found[ROLES]) == {"user": "tiled"}
    options = json.loads(found[OPTIONS])
    assert (options["user_inputs"], options["guard"], options["batch"]) == (["user"], "nan", 500)
    assert {DATA, PART, FINGERPRINT, "metadata"}.isdisjoint({*found, *options})
    assert str(tmp_path) not in "".join(found.values())


def test_a_node_says_its_rule_and_its_source() -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(TOWER)
    proto.graph.node[1].name = "fc1"
    nodes = mari_onnx.optimize(proto, user_inputs=["user"], verify=False).model.graph.node
    by_output = {node.output[0]: said(node) for node in nodes}
    assert by_output["h"] == by_output["h.user"] == {RULE: "linear", SOURCE: "Gemm fc1"}
    assert by_output["user.user"] == {RULE: "rows", SOURCE: "input user"}
    assert by_output["y"] == {}, "the same node on the same input is the original, byte for byte"


def test_a_model_that_stays_as_it_is_says_nothing(tmp_path: Path) -> None:
    path = saved(ITEMS_ONLY, tmp_path / "in.onnx")
    result = mari_onnx.optimize(path)
    assert not result.changed
    result.save(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == path.read_bytes()


def test_what_is_optimized_again_stays_as_it_is() -> None:
    once = mari_onnx.optimize(TOWER, user_inputs=["user"], verify=False).model
    again = mari_onnx.optimize(once, user_inputs=["user"], verify=False)
    assert not again.changed
    assert again.model.SerializeToString() == once.SerializeToString()


def test_a_second_run_speaks_of_its_own_source_and_nodes_of_the_first() -> None:
    once = mari_onnx.optimize(TOWER, user_inputs=["user"], verify=False).model
    digest = hashlib.sha256(once.SerializeToString()).hexdigest()
    put(once, {DATA: "{}", "author": "me"})
    again = mari_onnx.optimize(once, user_inputs=["user"], user_batch="one", verify=False).model
    found = said(again)
    assert found[SHA256] not in ("", digest)
    assert DATA not in found
    assert value(again, "author") == "me"
    assert json.loads(found[OPTIONS])["user_batch"] == "one"
    assert {said(node).get(SOURCE) for node in again.graph.node if node.op_type == "Gemm"} == {"Gemm h"}


@pytest.mark.parametrize("model", [TOWER, None])
def test_no_metadata_leaves_it_out(model: onnx.ModelProto | None) -> None:
    """Also that of an earlier run, which would say what is no longer true."""
    given = mari_onnx.optimize(TOWER, user_inputs=["user"], verify=False).model if model is None else model
    result = mari_onnx.optimize(given, user_inputs=["user"], guard="nan", metadata=False)
    assert result.report.passed
    assert said(result.model) == {}
    assert [said(node) for node in result.model.graph.node if said(node)] == []
    assert_same(TOWER, result.model)
    assert result.report.optimized is not None
    assert result.report.optimized.bytes == result.model.ByteSize()


def test_no_metadata_in_a_branch_either() -> None:
    """For few candidates the graph runs as it was exported, and both graphs are branches of an If."""
    model = ranking(
        "tiled", "a = Relu (user) c = Relu (item) x = Concat <axis = 1> (a, c) h = Gemm (x, w, b) y = Relu (h)",
        user="float[256]", w=integers(259, 32), b=integers(32),
    )  # fmt: skip
    for metadata in (True, False):
        made = mari_onnx.optimize(model, user_inputs=["user"], batch=[1, 500], metadata=metadata).model
        found = [said(node) for node in all_nodes(made.graph) if said(node)]
        assert bool(found) == metadata


def test_what_was_vouched_for_is_said_in_any_case() -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(TOWER)
    put(proto, {"mari_onnx.assumed": '{"before":["p"]}', "mari_onnx.version": "0.0.1"})
    made = mari_onnx.optimize(proto, user_inputs=["user"], metadata=False, verify=False).model
    assert said(made) == {"mari_onnx.assumed": '{"before":["p"]}'}


def test_external_data_has_its_digest(tmp_path: Path) -> None:
    copy, path = onnx.ModelProto(), tmp_path / "in.onnx"
    copy.CopyFrom(TOWER)
    onnx.save_model(copy, path, save_as_external_data=True, location="w.data", size_threshold=0)
    result = mari_onnx.optimize(path, user_inputs=["user"])
    assert result.report.passed
    found = said(result.model)
    assert json.loads(found[DATA]) == {"w.data": hashlib.sha256((tmp_path / "w.data").read_bytes()).hexdigest()}
    assert found[SHA256] == hashlib.sha256(path.read_bytes()).hexdigest()
    result.save(tmp_path / "out.onnx")
    assert_same(TOWER, onnx.load(tmp_path / "out.onnx"))


def test_a_model_with_functions() -> None:
    """A call that is read as the nodes of its function: `h` of the call that makes `y` is `y/h`."""
    text = """<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
        g (float[B, 256] user, float[B, 3] item) => (float[B, 32] y) {
            x = Concat <axis = 1> (user, item)
            y = f.fc (x, w, b)
        }
        <domain: "f", opset_import: ["" : 17]> fc (x, w, b) => (y) { h = Gemm (x, w, b) y = Relu (h) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(a, n) for n, a in (("w", integers(259, 32)), ("b", integers(32)))
    )
    result = mari_onnx.optimize(proto, user_inputs=["user"])
    assert result.changed and result.report.passed
    onnx.checker.check_model(result.model, full_check=True)
    assert_same(proto, result.model)
    assert all(said(node).keys() in ({}.keys(), {RULE, SOURCE}) for node in result.model.graph.node)
    assert {said(node).get(SOURCE) for node in result.model.graph.node if node.op_type == "Gemm"} == {"y/h"}


# Splits


def test_the_parts_of_a_split_have_one_fingerprint() -> None:
    result = mari_onnx.split(TOWER, user_inputs=["user"], verify=False)
    found = {role: said(part) for role, part in result.models.items()}
    assert {role: entries[PART] for role, entries in found.items()} == {"user": "user", "rank": "rank"}
    assert {entries[FINGERPRINT] for entries in found.values()} == {result.report.split.fingerprint}  # type: ignore[union-attr]
    assert [part.bytes for part in result.report.split.parts] == [m.ByteSize() for m in result.models.values()]  # type: ignore[union-attr]
    assert mari_onnx.check_pair(result.models["user"], result.models["rank"]) == found["user"][FINGERPRINT]


def test_the_same_split_twice_is_one_and_another_model_another(tmp_path: Path) -> None:
    parts, again, other = split(TOWER), split(TOWER), split(with_weight(7))
    assert parts == again
    assert mari_onnx.check_pair(saved(parts["user"], tmp_path / "u.onnx"), again["rank"]) == fingerprint(parts["user"])
    with pytest.raises(UserError, match=r"not those of one split: the user model .* has the fingerprint"):
        mari_onnx.check_pair(tmp_path / "u.onnx", other["rank"])


def test_a_split_is_another_where_the_external_data_alone_is(tmp_path: Path) -> None:
    """The files of both models are the same, byte for byte."""
    found = []
    for folder, model in (("a", TOWER), ("b", with_weight(7))):
        (tmp_path / folder).mkdir()
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        path = tmp_path / folder / "in.onnx"
        onnx.save_model(copy, path, save_as_external_data=True, location="w.data", size_threshold=0)
        found.append((path.read_bytes(), split(path)))
    assert found[0][0] == found[1][0]
    with pytest.raises(UserError, match="not those of one split"):
        mari_onnx.check_pair(found[0][1]["user"], found[1][1]["rank"])


def test_models_in_another_place_or_without_a_fingerprint() -> None:
    parts, bare = split(TOWER), split(TOWER, metadata=False)
    with pytest.raises(UserError, match="the user model is the ranking model of a split"):
        mari_onnx.check_pair(parts["rank"], parts["rank"])
    with pytest.raises(UserError, match="the ranking model has no fingerprint") as caught:
        mari_onnx.check_pair(parts["user"], bare["rank"])
    assert "--no-metadata" in str(caught.value.next_step)
    with pytest.raises(UserError, match="the item model has no fingerprint"):
        mari_onnx.check_pair(parts["user"], parts["rank"], item_model=TOWER)
    found = check_parts({"user": from_proto(bare["user"]), "rank": from_proto(parts["rank"])}, complete=False)
    assert found == fingerprint(parts["rank"])
    assert check_parts({role: from_proto(part) for role, part in bare.items()}, complete=False) is None


def test_verifying_refuses_parts_of_two_splits() -> None:
    parts, other, bare = split(TOWER), split(with_weight(7)), split(TOWER, metadata=False)

    def verified(user: onnx.ModelProto, rank: onnx.ModelProto) -> bool:
        return mari_onnx.verify(TOWER, rank, user_inputs=["user"], user_model=user, effort="quick").passed

    assert verified(parts["user"], parts["rank"])
    assert verified(bare["user"], bare["rank"])
    with pytest.raises(UserError, match="not those of one split"):
        verified(other["user"], parts["rank"])
    with pytest.raises(UserError, match="is the user model of a split"):
        verified(parts["user"], parts["user"])


def test_a_part_that_is_optimized_again_belongs_to_its_pair() -> None:
    parts = split(TOWER)
    own = fingerprint(parts["rank"])
    Passport("9.9", from_proto(parts["rank"]), {}, {}).stamp({"rank": parts["rank"]})
    assert value(parts["rank"], VERSION) == "9.9"
    assert mari_onnx.check_pair(parts["user"], parts["rank"]) == own


def test_a_runtime_reads_the_fingerprint() -> None:
    import onnxruntime as ort

    part = split(TOWER)["rank"]
    session = ort.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map[FINGERPRINT] == fingerprint(part)
    feeds: dict[str, Array] = {
        each.name: np.zeros([d if isinstance(d, int) else 2 for d in each.shape], np.float32)
        for each in session.get_inputs()
    }
    assert session.run(None, feeds)[0].shape == (2, 32)
