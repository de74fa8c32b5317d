"""Writing: whatever stops it, nothing that was there is lost, and external data follows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mari_onnx.document.external import is_external
from mari_onnx.document.read import load
from mari_onnx.document.save import check_output, save, write_file
from mari_onnx.errors import UserError
from tests.document.files import TABLE, changed, everything, model, write


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


def test_data_that_is_linked_is_copied_into_another_folder_and_no_use_in_the_same(
    with_data: Path, tmp_path: Path
) -> None:
    """A hub's folder of links: onnxruntime follows them for a model that is a link itself, and for no other."""
    hub, out = tmp_path / "hub", tmp_path / "out"
    hub.mkdir()
    out.mkdir()
    (hub / "model.onnx").symlink_to(with_data)
    (hub / "model.data").symlink_to(with_data.parent / "model.data")
    loaded = load(hub / "model.onnx")
    save(loaded, changed(loaded.proto), out / "out.onnx")
    assert not (out / "model.data").is_symlink()
    assert everything(out)["model.data"] == everything(with_data.parent)["model.data"]
    load(out / "out.onnx")
    with pytest.raises(UserError, match=r"could not read .*model\.data, a symbolic link out of its folder"):
        save(loaded, changed(loaded.proto), hub / "out.onnx")


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
