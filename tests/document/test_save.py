"""Writing: whatever stops it, nothing that was there is lost, and external data follows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime import InferenceSession

from mari_onnx.document.data_files import OURS
from mari_onnx.document.external import external_tensors, is_external, slice_of
from mari_onnx.document.read import load
from mari_onnx.document.save import check_output, save, save_all
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
    with pytest.raises(UserError, match="- is not the name of a file"):
        check_output("-", plain, overwrite=True)


def test_unwritable_folder(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("nothing is unwritable for this user")
    with pytest.raises(UserError, match="is not writable"):
        check_output(tmp_path / "locked" / "out.onnx", plain)


def test_external_data_stays_where_it_is(with_data: Path) -> None:
    loaded = load(with_data)
    save(loaded, changed(loaded.proto), with_data.parent / "out.onnx")
    assert sorted(everything(with_data.parent)) == ["model.data", "model.onnx", "out.onnx"]
    np.testing.assert_array_equal(
        numpy_helper.to_array(onnx.load(with_data.parent / "out.onnx").graph.initializer[0]), TABLE
    )


def data_of(path: Path) -> list[str]:
    """The files that a model says its external data is in."""
    return sorted({slice_of(tensor).location for tensor in external_tensors(onnx.load(path, load_external_data=False))})


@pytest.mark.parametrize("in_kernel", [True, False])
def test_external_data_follows(
    with_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_kernel: bool
) -> None:
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    out = tmp_path / "out"
    out.mkdir()
    loaded = load(with_data)
    save(loaded, changed(loaded.proto), out / "out.onnx")
    save(loaded, loaded.proto, out / "second.onnx")  # the same data: shared
    (data,) = data_of(out / "out.onnx")
    assert OURS.search(data)
    assert sorted(everything(out)) == sorted([data, "out.onnx", "second.onnx"])
    assert (out / data).read_bytes() == (with_data.parent / "model.data").read_bytes()
    for written in ("out.onnx", "second.onnx"):
        onnx.checker.check_model(str(out / written))
    assert data_of(with_data) == ["model.data"]  # the document is as it was


def test_the_name_of_data_is_the_same_every_time(with_data: Path, tmp_path: Path) -> None:
    loaded = load(with_data)
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(loaded, changed(loaded.proto), tmp_path / name / "out.onnx")
        written.append(everything(tmp_path / name))
    again = load(tmp_path / "a" / "out.onnx")
    (tmp_path / "c").mkdir()
    save(again, again.proto, tmp_path / "c" / "out.onnx")
    assert written[0] == written[1] == everything(tmp_path / "c")


def test_external_data_in_a_subfolder_follows(with_data: Path, tmp_path: Path) -> None:
    (with_data.parent / "data").mkdir()
    (with_data.parent / "model.data").rename(with_data.parent / "data" / "w")
    proto = onnx.load(with_data, load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = "data/w"  # the location
    loaded = load(write(with_data, proto))
    (tmp_path / "out").mkdir()
    save(loaded, loaded.proto, tmp_path / "out" / "out.onnx")
    (data,) = data_of(tmp_path / "out" / "out.onnx")
    assert data.startswith("w.mari-")
    assert sorted(everything(tmp_path / "out")) == sorted(["out.onnx", data])


def test_external_data_that_is_no_longer_used_does_not_follow(with_data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    save(load(with_data), model(), tmp_path / "out" / "out.onnx")
    assert sorted(everything(tmp_path / "out")) == ["out.onnx"]


@pytest.mark.parametrize("folder", ["hub", "out"])
def test_data_that_is_linked_is_copied(with_data: Path, tmp_path: Path, folder: str) -> None:
    """A hub's folder of links: onnxruntime follows them for a model that is a link itself, and for no other."""
    hub = tmp_path / "hub"
    hub.mkdir()
    (tmp_path / "out").mkdir()
    (hub / "model.onnx").symlink_to(with_data)
    (hub / "model.data").symlink_to(with_data.parent / "model.data")
    loaded = load(hub / "model.onnx")
    out = tmp_path / folder / "out.onnx"
    save(loaded, changed(loaded.proto), out)
    (data,) = data_of(out)
    assert not (out.parent / data).is_symlink()
    assert (out.parent / data).read_bytes() == (with_data.parent / "model.data").read_bytes()
    load(out)


def test_data_of_a_name_that_is_there_is_not_touched(with_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.data").write_bytes(b"another model's")
    loaded = load(with_data)
    save(loaded, changed(loaded.proto), out / "out.onnx")
    assert (out / "model.data").read_bytes() == b"another model's"
    onnx.checker.check_model(str(out / "out.onnx"))


def test_data_that_is_damaged_is_written_again(with_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    loaded = load(with_data)
    save(loaded, loaded.proto, out / "out.onnx")
    before = everything(out)
    (out / data_of(out / "out.onnx")[0]).write_bytes(b"cut")
    save(loaded, loaded.proto, out / "out.onnx", overwrite=True)
    assert everything(out) == before


def test_data_of_the_model_that_was_there_is_removed(with_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old = load(with_data)
    for name in ("first.onnx", "second.onnx"):
        save(old, old.proto, out / name)
    (before,) = data_of(out / "first.onnx")
    (with_data.parent / "model.data").write_bytes(b"\1" * 200)
    new = load(with_data)
    save(new, new.proto, out / "first.onnx", overwrite=True)
    (after,) = data_of(out / "first.onnx")
    assert sorted(everything(out)) == sorted([before, after, "first.onnx", "second.onnx"])  # the second has it
    save(new, model(), out / "second.onnx", overwrite=True)
    assert sorted(everything(out)) == sorted([after, "first.onnx", "second.onnx"])


def test_a_model_that_reads_what_it_replaces(with_data: Path, tmp_path: Path) -> None:
    """The data of the model that was there is that of the model that is read: it stays."""
    out = tmp_path / "out"
    out.mkdir()
    loaded = load(with_data)
    save(loaded, loaded.proto, out / "in.onnx")
    save(loaded, loaded.proto, out / "out.onnx")
    written = load(out / "in.onnx")
    (out / "in.onnx").rename(tmp_path / "in.onnx")  # it is read, and lies elsewhere by now
    before = set(everything(out))
    save(written, model(), out / "out.onnx", overwrite=True)
    assert set(everything(out)) == before


def test_several_models_with_the_same_data(with_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    loaded = load(with_data)
    paths = [out / "user.onnx", out / "rank.onnx"]
    told: list[Path] = []
    save_all(loaded, dict.fromkeys(paths, loaded.proto), written=told.extend)
    assert told == paths
    assert len(everything(out)) == 3
    assert data_of(paths[0]) == data_of(paths[1])


def test_what_does_not_fit_into_one_message_is_spilled(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mari_onnx.document.save.PROTOBUF_LIMIT", 1000)
    monkeypatch.setattr("mari_onnx.document.save.LARGE", 64)
    proto = model("z = MatMul(x, w)\nv = MatMul(x, w2)\ny = Sub(z, v)")
    proto.graph.initializer.extend(
        [numpy_helper.from_array(np.tile(TABLE, 9) + i, n) for i, n in enumerate(["w", "w2"])]
    )
    out = tmp_path / "out.onnx"
    save(load(plain), proto, out)
    read = onnx.load(out)
    (data,) = data_of(out)
    assert data.startswith("out.onnx.mari-")
    assert (tmp_path / data).stat().st_size == 4096 + 4 * 24 * 9
    for before, after in zip(proto.graph.initializer, read.graph.initializer, strict=True):
        assert not is_external(before)
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))
    proto.graph.initializer[0].raw_data = bytes(4 * 24 * 9)
    save(load(plain), proto, out, overwrite=True)
    assert data_of(out) != [data]
    assert sorted(everything(tmp_path)) == sorted(["model.onnx", "out.onnx", *data_of(out)])


def test_a_link_is_written_through(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    target, link = tmp_path / "versions" / "7.onnx", tmp_path / "latest.onnx"
    link.symlink_to("versions/7.onnx")
    loaded = load(plain)
    save(loaded, loaded.proto, link)  # it led nowhere
    assert link.is_symlink()
    assert target.read_bytes() == plain.read_bytes()
    with pytest.raises(UserError, match="already exists"):
        save(loaded, loaded.proto, link)
    save(loaded, changed(loaded.proto), link, overwrite=True)
    assert link.is_symlink()
    assert onnx.load(target).doc_string == "changed"
    link.unlink()
    link.symlink_to("nowhere/7.onnx")
    with pytest.raises(UserError, match=r"the folder .*nowhere does not exist"):
        check_output(link, plain)
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(UserError, match="a symbolic link that leads to itself"):
        check_output(link, plain)


def test_a_link_into_another_folder_finds_no_data(with_data: Path, tmp_path: Path) -> None:
    """onnxruntime looks beside the link."""
    (tmp_path / "versions").mkdir()
    link = tmp_path / "latest.onnx"
    link.symlink_to("versions/7.onnx")
    loaded = load(with_data)
    with pytest.raises(UserError, match=r"latest\.onnx is a symbolic link to .*7\.onnx, .* beside the link"):
        save(loaded, changed(loaded.proto), link)
    assert everything(tmp_path / "versions") == {}
    beside = tmp_path / "versions" / "latest.onnx"
    beside.symlink_to("7.onnx")
    save(loaded, changed(loaded.proto), beside)
    load(beside)
    InferenceSession(str(beside), providers=["CPUExecutionProvider"])
