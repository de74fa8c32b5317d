"""Files appear whole or not at all, and several together, whatever ends the process."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mari_onnx.document.staging import LONGEST_NAME, cut_name, real_path, staging, write_file
from mari_onnx.errors import UserError
from tests.document.files import everything


def test_a_file(tmp_path: Path) -> None:
    told: list[Path] = []
    write_file(tmp_path / "report.json", b"{}", told.extend)
    assert everything(tmp_path) == {"report.json": b"{}"}
    assert told == [tmp_path / "report.json"]


def test_permissions(tmp_path: Path) -> None:
    """Those of the umask for a new file; one that is replaced keeps its own."""
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    write_file(tmp_path / "new", b"new")
    assert (tmp_path / "new").stat().st_mode == usual.stat().st_mode
    usual.chmod(0o640)
    write_file(usual, b"new")
    assert usual.stat().st_mode & 0o777 == 0o640
    assert usual.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "€" * 85, os.fsdecode(b"\xff\xfe.onnx")])
def test_a_name_of_any_length(tmp_path: Path, name: str) -> None:
    write_file(tmp_path / name, b"content")
    assert everything(tmp_path) == {name: b"content"}


def test_names_are_cut_by_bytes() -> None:
    assert cut_name("ü" * 200, LONGEST_NAME) == "ü" * 127
    assert cut_name("short", 100) == "short"


def test_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_file(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"
    assert real_path(tmp_path / "link") == (tmp_path / "file").resolve()


def _write(folder: Path, *names: str) -> None:
    """Write data and files with these names, together."""
    with staging() as staged:

        def data(file: object) -> str:
            staged.write(file, b"new data")  # type: ignore[arg-type]
            return "new.data"

        staged.add_data(folder, data)
        for name in names:
            staged.add(folder / name, lambda file: staged.write(file, b"new"))


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_whatever_fails_all_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], call: str
) -> None:
    for name in names[:2]:  # the third is new
        (tmp_path / name).write_bytes(b"precious")
    before, fails, calls = everything(tmp_path), 0, 0
    owner: Any = os if call == "fsync" else Path
    real = getattr(owner, call)

    def failing(*given: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == fails:
            raise OSError(28, "No space left on device")
        return real(*given, **named)

    while True:
        fails, calls = fails + 1, 0
        with monkeypatch.context() as patched:
            patched.setattr(owner, call, failing)
            try:
                _write(tmp_path, *names)
            except UserError:
                pass
            else:
                break  # also where a folder cannot be flushed
        assert everything(tmp_path) == before
    assert fails > len(names)
    assert everything(tmp_path) == {**dict.fromkeys(names, b"new"), "new.data": b"new data"}


def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"file cannot be written: File too large") as caught:
            write_file(tmp_path / "file", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.next_step
    assert everything(tmp_path) == {"file": b"precious"}


@contextmanager
def _handled(number: int) -> Iterator[list[int]]:
    """A handler that lets the process go on, as a server may have one."""
    came: list[int] = []

    def handler(number: int, _: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(number, handler)
    try:
        yield came
    finally:
        assert signal.signal(number, before) is handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_files_are_in_place_leaves_nothing(tmp_path: Path, number: int) -> None:
    told: list[Path] = []
    with _handled(number) as came:
        with pytest.raises(KeyboardInterrupt), staging(lambda: told.append(tmp_path)) as staged:  # noqa: PT012
            staged.add(tmp_path / "file", lambda file: file.write(b"part"))
            signal.raise_signal(number)
            assert came == []
        assert came == [number]
    assert (everything(tmp_path), told) == ({}, [])


def test_a_signal_between_two_pieces(tmp_path: Path) -> None:
    with _handled(signal.SIGTERM), pytest.raises(KeyboardInterrupt), staging() as staged:  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        staged.add(tmp_path / "file", lambda file: staged.write(file, b"content"))
        pytest.fail("the signal was not seen")
    assert everything(tmp_path) == {}


def test_a_signal_while_files_are_put_in_place_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def interrupted(path: Path, new: Path) -> Path:
        signal.raise_signal(signal.SIGTERM)
        return replace(path, new)

    monkeypatch.setattr(Path, "replace", interrupted)
    told: list[Path] = []
    with _handled(signal.SIGTERM) as came, pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"content", told.extend)
    assert came == [signal.SIGTERM]
    assert told == [tmp_path / "file"]
    assert everything(tmp_path) == {"file": b"content"}


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with staging() as staged:
            signal.raise_signal(signal.SIGHUP)
            staged.add(tmp_path / "file", lambda file: staged.write(file, b"content"))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert everything(tmp_path) == {"file": b"content"}


def test_in_another_thread(tmp_path: Path) -> None:
    thread = threading.Thread(target=write_file, args=(tmp_path / "file", b"content"))
    thread.start()
    thread.join()
    assert everything(tmp_path) == {"file": b"content"}
