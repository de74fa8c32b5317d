"""Files: everything that can be wrong with one is said in words, and nothing that was there is ever lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.external import is_external
from mari_onnx.document.facts import facts
from mari_onnx.document.read import from_proto, load
from mari_onnx.document.save import check_output, save, write_file
from mari_onnx.errors import ModelError, UserError

TABLE = np.arange(24, dtype=np.float32).reshape(4, 6)


def model(body: str = "y = Relu(x)", opsets: str = '"" : 17') -> onnx.ModelProto:
    return parser.parse_model(
        f"<ir_version: 8, opset_import: [{opsets}]> g (float[N, 4] x) => (float[N, M] y) {{ {body} }}"
    )


def external(name: str, location: str, array: np.ndarray, offset: int | str = 0, **entries: str) -> TensorProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": str(offset), **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def write(path: Path, proto: onnx.ModelProto) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", model())


@pytest.fixture
def with_data(tmp_path: Path) -> Path:
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(external("w", "model.data", TABLE, 8))
    path = write(tmp_path / "in" / "model.onnx", proto)
    (path.parent / "model.data").write_bytes(b"\0" * 8 + TABLE.tobytes())
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Reading


def test_loads_and_describes(plain: Path) -> None:
    loaded = load(plain)
    found = facts(loaded)
    assert (found.path, found.nodes, found.opsets) == (str(plain), 1, {"ai.onnx": 17})
    assert found.bytes == loaded.bytes == plain.stat().st_size
    assert (found.inputs[0].name, found.inputs[0].dtype, found.inputs[0].shape) == ("x", "float", ("N", 4))


def test_stored_tensors_are_not_inputs(tmp_path: Path) -> None:
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(numpy_helper.from_array(TABLE, "w"))
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 6]))
    assert [value.name for value in facts(from_proto(proto)).inputs] == ["x"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no model\n", "is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a text file"),
        (bytes(range(1, 200)), "is cut short, or is not an ONNX model"),
        (b"\x89PNG\r\n\x1a\n0000", "there is no graph in it"),
    ],
)
def test_what_is_no_model(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message) as caught:
        load(path)
    assert str(path) in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, kept: float) -> None:
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(numpy_helper.from_array(TABLE, "w"))
    data = proto.SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelError, match=r"cut short|no graph|not a valid"):
        load(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nowhere.onnx")
    with pytest.raises(UserError, match="is a folder"):
        load(tmp_path)


def test_over_two_gigabytes_is_said_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: takes no space
    with pytest.raises(ModelError, match=r"3\.2 GB in one file.*2 GB without external data"):
        load(path)


def stray(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "nowhere"


def twice(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(proto.graph.node[0])


def wrong_widths(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(TABLE.T, "w"))
    proto.graph.node[0].CopyFrom(onnx.helper.make_node("MatMul", ["x", "w"], ["y"]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(stray, "nowhere"), (twice, "single static assignment"), (wrong_widths, "Incompatible dimensions")],
)
def test_invalid_graphs(spoil: Callable[[onnx.ModelProto], None], reason: str) -> None:
    proto = model()
    spoil(proto)
    with pytest.raises(ModelError, match=f"not a valid ONNX model.*{reason}"):
        from_proto(proto)


@pytest.mark.parametrize("large", [1, 2**20])
def test_invalid_tensors(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr("mari_onnx.document.check.LARGE", large)
    proto = model("y = MatMul(x, w)")
    proto.graph.initializer.append(numpy_helper.from_array(TABLE, "w"))
    before = proto.SerializeToString()
    from_proto(proto)
    assert proto.SerializeToString() == before
    proto.graph.initializer.append(proto.graph.initializer[0])
    with pytest.raises(ModelError, match=r"not unique|multiple times"):
        from_proto(proto)
    del proto.graph.initializer[1:]
    proto.graph.initializer[0].raw_data = b"short"
    with pytest.raises(ModelError, match="its shape needs 96"):
        from_proto(proto)


def test_unknown_operators_are_valid_if_their_domain_is_imported() -> None:
    from_proto(model("z = acme.Secret(x)\ny = Relu(z)", '"" : 17, "acme" : 1'))
    with pytest.raises(ModelError, match="No opset import for domain 'acme'"):
        from_proto(model("y = acme.Secret(x)"))


def test_declared_shapes_that_a_runtime_overlooks_are_valid() -> None:
    proto = model("z = Abs(x)\ny = Relu(z)")
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5]))
    from_proto(proto)


# External data


def test_external_data_is_mapped(with_data: Path) -> None:
    loaded = load(with_data)
    assert loaded.bytes == with_data.stat().st_size + 8 + TABLE.nbytes
    array = tensor_array(loaded, loaded.proto.graph.initializer[0])
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, TABLE)
    assert not loaded.proto.graph.initializer[0].raw_data


def test_inline_and_narrow_types(tmp_path: Path) -> None:
    inline = numpy_helper.from_array(TABLE, "w")
    np.testing.assert_array_equal(tensor_array(from_proto(model()), inline), TABLE)
    values = onnx.helper.make_tensor("v", TensorProto.BFLOAT16, [3], [1.0, -2.0, 0.5])
    raw = numpy_helper.to_array(values).tobytes()
    (tmp_path / "v.bin").write_bytes(b"__" + raw)
    stored = TensorProto(name="v", data_type=TensorProto.BFLOAT16, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "v.bin", "offset": "2", "length": str(len(raw))}.items():
        stored.external_data.add(key=key, value=value)
    array = tensor_array(from_proto(model(), tmp_path), stored)
    np.testing.assert_array_equal(array.astype(np.float32), [1.0, -2.0, 0.5])


def test_no_elements(tmp_path: Path) -> None:
    (tmp_path / "e.bin").touch()
    empty = external("e", "e.bin", np.empty((0, 3), np.float32))
    assert tensor_array(from_proto(model(), tmp_path), empty).shape == (0, 3)


@pytest.mark.parametrize(
    ("location", "offset", "message"),
    [
        ("gone.data", 0, r"gone\.data, which does not exist"),
        ("../elsewhere.data", 0, "not inside the model's folder"),
        ("/etc/hostname", 0, "not inside the model's folder"),
        ("outside.data", 0, "not inside the model's folder"),
        ("model.data", 16, "too short for tensor 'w': 96 bytes are needed at offset 16 and 88 are there"),
        ("model.data", -1, "not a number of bytes"),
        ("model.data", "eight", "not a number of bytes"),
    ],
)
def test_external_data_that_is_not_there(with_data: Path, location: str, offset: int | str, message: str) -> None:
    outside = with_data.parent.parent / "elsewhere.data"
    outside.write_bytes(TABLE.tobytes())
    (with_data.parent / "outside.data").symlink_to(outside)
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].CopyFrom(external("w", location, TABLE, offset))
    with pytest.raises(ModelError, match=message):
        load(write(with_data, proto))


def test_length_is_checked(with_data: Path) -> None:
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].CopyFrom(external("w", "model.data", TABLE, length="16"))
    with pytest.raises(ModelError, match="too short"):
        load(write(with_data, proto))


def test_in_memory_there_is_nowhere_to_look(with_data: Path) -> None:
    proto = onnx.load(with_data, load_external_data=False)
    with pytest.raises(ModelError, match="no folder to look in"):
        from_proto(proto)
    assert from_proto(proto, with_data.parent).bytes > TABLE.nbytes


# Writing


def changed(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.doc_string = "changed"
    return copy


def test_saves_what_changed(plain: Path, tmp_path: Path) -> None:
    loaded = load(plain)
    out = tmp_path / "out.onnx"
    save(loaded, changed(loaded.proto), out)
    assert onnx.load(out).doc_string == "changed"
    assert sorted(everything(tmp_path)) == ["model.onnx", "out.onnx"]


def test_an_unchanged_model_is_the_same_file(plain: Path, tmp_path: Path) -> None:
    plain.write_bytes(plain.read_bytes() + b"\xfa\x07\x03new")  # a field of a later ONNX, at an unusual place
    save(load(plain), load(plain).proto, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == plain.read_bytes()


def test_modes_follow_the_umask(plain: Path, tmp_path: Path) -> None:
    loaded = load(plain)
    save(loaded, changed(loaded.proto), tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").stat().st_mode == plain.stat().st_mode


def test_existing_output(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"precious")
    loaded = load(plain)
    with pytest.raises(UserError, match="already exists") as caught:
        save(loaded, loaded.proto, out)
    assert "--overwrite" in (caught.value.next_step or "")
    assert out.read_bytes() == b"precious"
    save(loaded, loaded.proto, out, overwrite=True)
    assert out.read_bytes() == plain.read_bytes()


def test_output_that_cannot_be(plain: Path, with_data: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(plain)
    for same in (plain, link, plain.parent / "." / plain.name):
        with pytest.raises(UserError, match="is the model that is read"):
            check_output(same, plain, overwrite=True)
    with pytest.raises(UserError, match="is the model that is read"):
        check_output(with_data.parent / "model.data", load(with_data), overwrite=True)
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path, plain)
    with pytest.raises(UserError, match=r"the folder .*nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "out.onnx", plain)
    with pytest.raises(UserError, match="not a regular file"):
        check_output(os.devnull, plain, overwrite=True)


def test_unwritable_folder(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("nothing is unwritable for this user")
    with pytest.raises(UserError, match="is not writable"):
        check_output(tmp_path / "locked" / "out.onnx", plain)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_whatever_stops_it_nothing_is_lost(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    loaded = load(plain)
    (tmp_path / "out.onnx").write_bytes(b"precious")
    before = everything(tmp_path)

    def fsync(_: int) -> None:
        raise stop

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises((KeyboardInterrupt, UserError)):
        save(loaded, changed(loaded.proto), tmp_path / "out.onnx", overwrite=True)
    assert everything(tmp_path) == before


def test_external_data_stays_where_it_is(with_data: Path) -> None:
    loaded = load(with_data)
    save(loaded, changed(loaded.proto), with_data.parent / "out.onnx")
    assert sorted(everything(with_data.parent)) == ["model.data", "model.onnx", "out.onnx"]
    np.testing.assert_array_equal(
        numpy_helper.to_array(onnx.load(with_data.parent / "out.onnx").graph.initializer[0]), TABLE
    )


@pytest.mark.parametrize("in_kernel", [True, False])
def test_external_data_follows(
    with_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_kernel: bool
) -> None:
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    (tmp_path / "out").mkdir()
    loaded = load(with_data)
    save(loaded, changed(loaded.proto), tmp_path / "out" / "out.onnx")
    save(loaded, changed(loaded.proto), tmp_path / "out" / "second.onnx")  # the same data: shared
    assert sorted(everything(tmp_path / "out")) == ["model.data", "out.onnx", "second.onnx"]
    assert (tmp_path / "out" / "model.data").read_bytes() == (with_data.parent / "model.data").read_bytes()
    onnx.checker.check_model(str(tmp_path / "out" / "out.onnx"))


def test_external_data_in_a_subfolder_follows(with_data: Path, tmp_path: Path) -> None:
    (with_data.parent / "data").mkdir()
    (with_data.parent / "model.data").rename(with_data.parent / "data" / "w")
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = "data/w"  # the location
    loaded = load(write(with_data, proto))
    (tmp_path / "out").mkdir()
    save(loaded, loaded.proto, tmp_path / "out" / "out.onnx")
    assert sorted(everything(tmp_path / "out")) == ["data/w", "out.onnx"]


def test_external_data_that_is_no_longer_used_does_not_follow(with_data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    save(load(with_data), model(), tmp_path / "out" / "out.onnx")
    assert sorted(everything(tmp_path / "out")) == ["out.onnx"]


def test_other_data_of_that_name_is_kept(with_data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.data").write_bytes(b"another model's")
    before = everything(tmp_path)
    loaded = load(with_data)
    with pytest.raises(UserError, match=r"model\.data already exists, and is not the external data"):
        save(loaded, changed(loaded.proto), tmp_path / "out" / "out.onnx")
    with pytest.raises(UserError, match="also the name of the model's external data"):
        save(loaded, changed(loaded.proto), tmp_path / "out" / "model.data", overwrite=True)
    assert everything(tmp_path) == before
    save(loaded, changed(loaded.proto), tmp_path / "out" / "out.onnx", overwrite=True)
    onnx.checker.check_model(str(tmp_path / "out" / "out.onnx"))


def test_what_does_not_fit_into_one_message_is_spilled(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mari_onnx.document.save.PROTOBUF_LIMIT", 1000)
    monkeypatch.setattr("mari_onnx.document.save.LARGE", 64)
    proto = model("z = MatMul(x, w)\nv = MatMul(x, w2)\ny = Sub(z, v)")
    proto.graph.initializer.extend(
        [numpy_helper.from_array(np.tile(TABLE, 9) + i, n) for i, n in enumerate(["w", "w2"])]
    )
    save(load(plain), proto, tmp_path / "out.onnx")
    read = onnx.load(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").stat().st_size == 4096 + 4 * 24 * 9
    for before, after in zip(proto.graph.initializer, read.graph.initializer, strict=True):
        assert not is_external(before)
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))


def test_write_file(tmp_path: Path) -> None:
    write_file(tmp_path / "report.json", b"{}")
    assert everything(tmp_path) == {"report.json": b"{}"}


def test_attention_of_which_onnx_knows_no_width() -> None:
    """It is inferred to be 0 wide then; a sum with what is 4 wide is no mistake of the model."""
    text = """<ir_version: 10, opset_import: ["" : 23]>
        g (float[B, 3, 4] x, int64[3] shape, float[4] c) => (float[B, 3, 4] y) {
            q = Reshape (x, shape)
            a = Attention <q_num_heads = 2, kv_num_heads = 2> (q, q, q)
            y = Add (a, c)
        }"""
    from_proto(parser.parse_model(text))
