"""Files of external data that a written model gets, under names of their content.

    weights.data  ->  weights.data.mari-3f2a9c41d2e0b7a5.data

A model that is written again has its data under another name where the data is another, so that the model which was
there before can be read until the new one takes its place. Models with the same data share the file. It is removed when
the last of them is written again, with other data.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

import onnx

from mari_onnx.document.external import PROTOBUF_LIMIT
from mari_onnx.document.staging import CHUNK, LONGEST_NAME, cut_name

OURS = re.compile(r"\.mari-[0-9a-f]{16}\.data$")
"""The end of the names that are given here."""


class Digest:
    """The name of data, from all of its bytes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, data: bytes | memoryview) -> None:
        self._hash.update(data)

    def name(self, base: str) -> str:
        """A name that begins with that of another file, `base`, without what such a name had added to it before."""
        ending = f".mari-{self._hash.hexdigest()[:16]}.data"
        return cut_name(OURS.sub("", PurePosixPath(base).name), LONGEST_NAME - len(ending)) + ending


def content_name(file: Path, base: str, look: Callable[[], None]) -> str:
    """The name for a copy of a file; `look` is called now and then."""
    digest = Digest()
    with file.open("rb") as opened:
        while piece := opened.read(CHUNK):
            look()
            digest.add(piece)
    return digest.name(base)


def named_by(model: Path) -> list[Path]:
    """The files with names of their content that a model names as external data, in its folder.

    None where the model is not there, or cannot be read.
    """
    with contextlib.suppress(OSError):
        return [file for file in _of_content(model.parent) if _contains(model, _as_location(file.name))]
    return []


def remove_unused(files: Collection[Path], read: Collection[Path]) -> None:
    """Remove those of the files that nothing beside them names, and that are none of the files `read`.

    Whatever cannot be read may name them, and what mentions a name anywhere does.
    """
    for file in files:
        if any(used.exists() and file.exists() and used.samefile(file) for used in read):
            continue
        name = file.name.encode("utf-8")
        with contextlib.suppress(OSError):
            if not any(_contains(other, name) for other in _may_be_models(file.parent)):
                file.unlink()


def _of_content(folder: Path) -> Iterator[Path]:
    return (file for file in folder.iterdir() if OURS.search(file.name) and file.is_file() and not file.is_symlink())


def _may_be_models(folder: Path) -> Iterator[Path]:
    """The files that may be models, whatever they are called; also temporary ones, which another process writes."""
    for file in folder.iterdir():
        if file.is_file() and not OURS.search(file.name) and file.stat().st_size <= PROTOBUF_LIMIT:
            yield file


def _as_location(name: str) -> bytes:
    """What is in a model whose external data has this name."""
    found: bytes = onnx.StringStringEntryProto(key="location", value=name).SerializeToString()
    return found


def _contains(file: Path, found: bytes) -> bool:
    """Whether these bytes are in a file. Its content is mapped, and not held in memory."""
    with file.open("rb") as opened:
        if not file.stat().st_size:
            return False
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return mapped.find(found) >= 0
