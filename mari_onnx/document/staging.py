"""Files that appear whole or not at all, several together, whatever ends the process meanwhile.

Files are written under temporary names beside their places, flushed to the disk, and renamed when all are complete:

    .out.onnx.9f31c2aa.tmp  ->  out.onnx

Signals that end the process wait for points where it is known what has been written. Only what no process can see
coming, such as SIGKILL and a power failure, leaves temporary files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from mari_onnx.errors import UserError

CHUNK = 1 << 24
"""The bytes after which a signal is looked for."""

LONGEST_NAME = 255
"""The bytes that the name of a file may have, on all usual file systems."""

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a process to end."""

Written = Callable[[Sequence[Path]], object]
"""Is told which files were written, before a signal that came meanwhile ends the process."""


def real_path(path: Path) -> Path:
    """The path of the file that is written: links are followed, and stay. Raises `UserError` for one to itself."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():
        raise UserError(f"{path} is a symbolic link that leads to itself", "Remove it, or give another name.")
    return real


def cut_name(name: str, room: int) -> str:
    """The name in at most `room` bytes, as file systems count them. What is not UTF-8 in it is left out."""
    return name.encode("utf-8", "ignore")[:room].decode("utf-8", "ignore")


def write_file(path: Path, data: bytes, written: Written | None = None) -> None:
    """Write a file, whole or not at all. Raises `UserError` where it cannot be written."""
    with staging(lambda: written and written([path])) as staged:
        staged.add(real_path(path), lambda file: staged.write(file, data))


@contextlib.contextmanager
def staging(done: Callable[[], object] = lambda: None) -> Iterator[Staging]:
    """Gather files, and put all of them in their places at the end, unless anything is raised.

    Signals that end the process wait inside. One that came before the files are in place stops the work, and nothing
    was written; one that came later is raised when `done` was called.
    """
    with _held() as signals:
        staged = Staging(signals)
        try:
            yield staged
            signals.look()
            staged.put_in_place()
            done()
        finally:
            staged.clean_up()


class Staging:
    """Files that are written under temporary names, in the order in which they get their own.

    Files of data come before the models that name them. They are new: their names are those of their content.
    """

    def __init__(self, signals: _Signals) -> None:
        self._signals = signals
        self._data: list[tuple[Path, Path]] = []
        self._files: list[tuple[Path, Path]] = []
        self._temporary: list[Path] = []

    def add(self, path: Path, fill: Callable[[IO[bytes]], object]) -> None:
        """Stage the file `path`, whose content `fill` writes. One that is there already keeps its permissions.

        Raises `UserError` if it cannot be written.
        """
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        self._files.append((self._write(path, fill, mode), path))

    def add_data(self, folder: Path, fill: Callable[[IO[bytes]], str]) -> str:
        """Stage a file of data in a folder. `fill` writes the content and returns the name that the file gets."""
        names: list[str] = []
        temporary = self._write(folder / "data", lambda file: names.append(fill(file)))
        self._data.append((temporary, folder / names[0]))
        return names[0]

    def _write(self, path: Path, fill: Callable[[IO[bytes]], object], mode: int | None = None) -> Path:
        ending = f".{secrets.token_hex(4)}.tmp"
        temporary = path.with_name(f".{cut_name(path.name, LONGEST_NAME - len(ending) - 1)}{ending}")
        self._temporary.append(temporary)
        with _words_for(path), temporary.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    def write(self, file: IO[bytes], data: bytes | memoryview) -> None:
        """Write bytes, in pieces between which a signal is looked for."""
        whole = memoryview(data)
        for start in range(0, len(whole), CHUNK):
            self.look()
            file.write(whole[start : start + CHUNK])

    def copy(self, source: Path, target: IO[bytes]) -> None:
        """Copy a file, within the kernel where that is possible, so that gigabytes do not pass through this process."""
        with source.open("rb") as file:
            if hasattr(os, "copy_file_range"):
                with contextlib.suppress(OSError):  # another file system, or one that cannot
                    while os.copy_file_range(file.fileno(), target.fileno(), CHUNK):
                        self.look()
            # copy_file_range moved the positions of both files, so this copies what is left
            file.seek(os.lseek(file.fileno(), 0, os.SEEK_CUR))
            while piece := file.read(CHUNK):
                self.write(target, piece)

    def look(self) -> None:
        """Stop here if a signal has come."""
        self._signals.look()

    def put_in_place(self) -> None:
        """Rename all files. Where one cannot be renamed, all is as it was before, and UserError is raised.

        Several files, as the models of a split, are one: an old one beside a new one may run, and be wrong. So the old
        ones are set aside first, and a process that dies between two renames leaves too few files and no mixture.
        """
        several, undo, aside = len(self._files) > 1, contextlib.ExitStack(), list[Path]()
        with undo:
            for temporary, path in self._data:
                new = not path.exists()
                _rename(temporary, path)
                if new:
                    undo.callback(path.unlink)
            _sync(path for _, path in self._data)
            for temporary, path in self._files if several else ():
                if path.exists():
                    aside.append(temporary.with_suffix(".old"))
                    _rename(path, aside[-1])
                    undo.callback(aside[-1].rename, path)
            for temporary, path in self._files:
                _rename(temporary, path)
                if several:
                    undo.callback(path.unlink)
            undo.pop_all()
        _sync(path for _, path in self._files)
        for old in aside:
            with contextlib.suppress(OSError):
                old.unlink()

    def clean_up(self) -> None:
        """Remove the temporary files that are left."""
        for temporary in self._temporary:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _rename(path: Path, new: Path) -> None:
    with _words_for(new):
        path.replace(new)


@contextlib.contextmanager
def _words_for(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}", "Check the disk and the folder's permissions."
        ) from error


def _sync(paths: Iterator[Path]) -> None:
    """Make the names of these files last, which their folders have; not all file systems can."""
    for folder in {path.parent for path in paths}:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class _StoppedError(Exception):
    """A signal came, and nothing has been put in its place yet."""


class _Signals:
    """The signals that came while they were held."""

    def __init__(self) -> None:
        self.came: list[int] = []

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.came.append(number)

    def look(self) -> None:
        if self.came:
            raise _StoppedError


@contextlib.contextmanager
def _held() -> Iterator[_Signals]:
    """Hold the signals that end the process; at the end the first that came does what it did before.

    Handlers run in the main thread, and so they disturb no other.
    """
    signals = _Signals()
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ENDING} if main else {}
    held = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in held:
            signal.signal(number, signals.note)
        yield signals
    except _StoppedError:
        pass
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        if signals.came:
            signal.raise_signal(signals.came[0])
    if signals.came:
        raise KeyboardInterrupt  # the handler of the process let it go on
