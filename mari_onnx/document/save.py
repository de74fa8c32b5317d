"""Writing of models, whole or not at all, with the external data that they refer to.

A document refers to external data and does not contain it. A model with tables of many gigabytes is therefore written
in the memory that its graph takes.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO

import onnx

from mari_onnx.document.document import Document
from mari_onnx.document.external import LARGE, PROTOBUF_LIMIT, external_tensors, leads_outside, slice_of
from mari_onnx.document.serialized import pieces, size
from mari_onnx.errors import UserError

PAGE = 4096
"""The multiple of bytes at which tensors start in a data file, so that a runtime can map them."""


def check_output(path: str | Path, source: str | Path | Document, *, overwrite: bool = False) -> None:
    """Raise `UserError` unless a result can be written to `path`.

    The result must not replace the model that is read (`source`), and an existing file only with `overwrite`. The check
    is made before any work is done.
    """
    path = Path(path)
    for used in _files(source):
        if path.exists() and used.exists() and path.samefile(used):
            raise UserError(f"{path} is the model that is read, and would be lost", "Give the result another name.")
    check_writable(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists", "Add --overwrite to replace it, or give another name.")


def check_writable(path: Path) -> None:
    """Raise `UserError` unless a file can be made, or replaced, at this path."""
    if path.is_dir():
        raise UserError(f"{path} is a folder", "Give the name of a file.")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file, and would be replaced by one", "Give the name of a file.")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist", f"Make it: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"the folder {path.parent} is not writable", "Check its permissions, or write elsewhere.")


def save(document: Document, proto: onnx.ModelProto, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a model that was made from a document, whole or not at all.

    An unchanged model is copied byte for byte. External data that the model still refers to is copied into its folder,
    unless it is there. If anything fails or interrupts this, files that existed before are left whole. Raises UserError
    where a file cannot be written, or exists and `overwrite` is not set.
    """
    save_all(document, {Path(path): proto}, overwrite=overwrite)


def save_all(document: Document, models: Mapping[Path, onnx.ModelProto], *, overwrite: bool = False) -> None:
    """Write several models that were made from one document, as `save` does: all of them or none."""
    for path in models:
        check_output(path, document, overwrite=overwrite)
    with _Staged() as staged:
        copies = {
            target: source
            for path, proto in models.items()
            for source, target in _external_copies(document, proto, path, overwrite=overwrite)
        }
        for target, source in copies.items():
            staged.write(target, partial(_copy, source))
        for path, proto in models.items():
            if document.path is not None and proto == document.proto:
                staged.write(path, partial(_copy, document.path))
            else:
                _stage_model(staged, proto, path, overwrite=overwrite)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Raises UserError where it cannot be written."""
    with _Staged() as staged:
        staged.write(path, lambda file: file.write(data))


class _Staged:
    """Files that are written under temporary names beside their places, and renamed when all of them are complete."""

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    def __enter__(self) -> _Staged:
        return self

    def write(self, path: Path, fill: Callable[[IO[bytes]], object]) -> None:
        temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
        self._files.append((temporary, path))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(path, error) from error

    def __exit__(self, failure: object, *_: object) -> None:
        try:
            for temporary, path in self._files if failure is None else ():
                try:
                    temporary.replace(path)
                except OSError as error:
                    raise _cannot_write(path, error) from error
        finally:
            for temporary, _path in self._files:
                with contextlib.suppress(OSError):
                    temporary.unlink()


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be written: {error.strerror}", "Check the disk and the folder's permissions.")


def _stage_model(staged: _Staged, proto: onnx.ModelProto, path: Path, *, overwrite: bool) -> None:
    if size(proto) > PROTOBUF_LIMIT:
        proto = _spill(staged, proto, path.with_name(path.name + ".data"), overwrite=overwrite)
        if size(proto) > PROTOBUF_LIMIT:
            raise UserError(
                f"the result does not fit into {path}: ONNX allows 2 GB without external data",
                "Export the model with external data, and optimize that.",
            )
    staged.write(path, lambda file: file.writelines(pieces(proto)))


def _spill(staged: _Staged, proto: onnx.ModelProto, path: Path, *, overwrite: bool) -> onnx.ModelProto:
    """A copy of the model whose large tensors lie in the data file `path`, which is staged as well."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists", "Add --overwrite to replace it, or give the result another name.")
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)

    def fill(file: IO[bytes]) -> None:
        for tensor in copy.graph.initializer:
            if len(tensor.raw_data) < LARGE:
                continue
            offset = file.seek(-file.tell() % PAGE, os.SEEK_CUR)
            length = file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", path.name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))

    staged.write(path, fill)
    return copy


def _external_copies(
    document: Document, proto: onnx.ModelProto, path: Path, *, overwrite: bool
) -> Iterator[tuple[Path, Path]]:
    """The files of external data that have to be copied for a result at `path`, each with its source and its target."""
    base_dir = document.base_dir
    locations = sorted({slice_of(tensor).location for tensor in external_tensors(proto)})
    if base_dir is None:
        return
    if path.parent.samefile(base_dir):
        for link in leads_outside(proto, base_dir):
            raise UserError(
                f"a model at {path} could not read {link}, a symbolic link out of its folder",
                "Write to another folder.",
            )
        return
    for location in locations:
        source, target = base_dir / location, path.parent / location
        if target == path:
            raise UserError(f"{path} is also the name of the model's external data", "Give the result another name.")
        if target.exists():
            if target.samefile(source) or filecmp.cmp(source, target, shallow=False):
                continue
            if not overwrite or any(used.exists() and target.samefile(used) for used in _files(document)):
                raise UserError(
                    f"{target} already exists, and is not the external data of this model",
                    "Write into another folder" + ("." if overwrite else ", or add --overwrite to replace it."),
                )
        yield source, target


def _files(source: str | Path | Document) -> list[Path]:
    """The files that a model consists of; of a path that was not read, the file itself."""
    if not isinstance(source, Document):
        return [Path(source)]
    base_dir = source.base_dir
    model = [source.path] if source.path else []
    locations = Counter(slice_of(tensor).location for tensor in external_tensors(source.proto))
    return model + [base_dir / location for location in locations] if base_dir else model


def _copy(source: Path, target: IO[bytes]) -> None:
    """Copy a file, within the kernel where that is possible, so that gigabytes do not pass through this process."""
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if hasattr(os, "copy_file_range"):
            with contextlib.suppress(OSError):  # another file system, or one that cannot
                while os.copy_file_range(file.fileno(), target.fileno(), size):
                    pass
        # copy_file_range moved the positions of both files, so this copies what is left
        file.seek(os.lseek(file.fileno(), 0, os.SEEK_CUR))
        shutil.copyfileobj(file, target, 1 << 20)
