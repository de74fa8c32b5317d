"""Writing of models, whole or not at all, with the external data that they refer to.

A document refers to external data and does not contain it. A model with tables of many gigabytes is therefore written
in the memory that its graph takes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import onnx

from mari_onnx.document.data_files import Digest, content_name, named_by, remove_unused
from mari_onnx.document.document import Document
from mari_onnx.document.external import (
    LARGE,
    PROTOBUF_LIMIT,
    external_tensors,
    has_external_data,
    leads_outside,
    slice_of,
)
from mari_onnx.document.serialized import pieces, size
from mari_onnx.document.staging import Staging, Written, real_path, staging
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
    """Raise `UserError` unless a file can be made, or replaced, at this path or where a link there leads."""
    if str(path) == "-":
        raise UserError(
            "- is not the name of a file, and files are not written to the standard output",
            "Give the name of a file; ./- is one.",
        )
    if path.is_dir():
        raise UserError(f"{path} is a folder", "Give the name of a file.")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file, and would be replaced by one", "Give the name of a file.")
    folder = (real_path(path) if path.is_symlink() else path).parent
    if not folder.is_dir():
        raise UserError(f"the folder {folder} does not exist", f"Make it: mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"the folder {folder} is not writable", "Check its permissions, or write elsewhere.")


def save(
    document: Document,
    proto: onnx.ModelProto,
    path: str | Path,
    *,
    overwrite: bool = False,
    written: Written | None = None,
) -> None:
    """Write a model that was made from a document, whole or not at all.

    An unchanged model is copied byte for byte. External data that the model still refers to stays where it is, or is
    copied into the model's folder under a name of its content. If anything fails or interrupts this, files that existed
    before are left whole. Where a model is replaced, data that it alone needed is removed, if it was written here.
    `written` is told which models were written. Raises UserError where a file cannot be written, or exists and
    `overwrite` is not set.
    """
    save_all(document, {Path(path): proto}, overwrite=overwrite, written=written)


def save_all(
    document: Document,
    models: Mapping[Path, onnx.ModelProto],
    *,
    overwrite: bool = False,
    written: Written | None = None,
) -> None:
    """Write several models that were made from one document, as `save` does: all of them or none."""
    for path in models:
        check_output(path, document, overwrite=overwrite)
    replaced = [data for path in models for data in named_by(real_path(path))]
    with staging(lambda: written and written(list(models))) as staged:
        writer = _Writer(document, staged)
        for path, proto in models.items():
            writer.add(path, proto)
    remove_unused(replaced, _files(document))


@dataclass
class _Writer:
    """Stages the models that are made from a document, each with its data."""

    document: Document
    staged: Staging
    names: dict[Path, str] = field(default_factory=dict)
    """Of files of the document that are copied, the names that their content gives."""
    copied: set[Path] = field(default_factory=set)

    def add(self, link: Path, proto: onnx.ModelProto) -> None:
        """Stage a model at the path to which `link` leads."""
        path = real_path(link)
        locations = self._locations(path, proto)
        if not locations and self.document.path is not None and proto == self.document.proto:
            source = self.document.path
            self.staged.add(path, lambda file: self.staged.copy(source, file))
            return
        proto = _with_locations(proto, locations)
        if size(proto) > PROTOBUF_LIMIT:
            proto = self._spilled(proto, path)
            if size(proto) > PROTOBUF_LIMIT:
                raise UserError(
                    f"the result does not fit into {path}: ONNX allows 2 GB without external data",
                    "Export the model with external data, and optimize that.",
                )
        if not link.parent.samefile(path.parent) and has_external_data(proto):
            raise UserError(
                f"{link} is a symbolic link to {path}, and onnxruntime would look for external data beside the link",
                "Write to the path that it leads to.",
            )

        def fill(file: IO[bytes]) -> None:
            for piece in pieces(proto):
                self.staged.write(file, piece)

        self.staged.add(path, fill)

    def _locations(self, path: Path, proto: onnx.ModelProto) -> dict[str, str]:
        """The locations of external data whose files are copied into the folder of `path`, with their new names.

        None are in the folder of the document, where a runtime finds them. It does not follow links out of the folder.
        """
        base_dir = self.document.base_dir
        if base_dir is None or (path.parent.samefile(base_dir) and not leads_outside(proto, base_dir)):
            return {}
        found = sorted({slice_of(tensor).location for tensor in external_tensors(proto)})
        return {location: self._copied(base_dir / location, path.parent) for location in found}

    def _copied(self, source: Path, folder: Path) -> str:
        """The name that the file gets in the folder; it is staged unless it is there already."""
        look = self.staged.look
        if source not in self.names:
            self.names[source] = content_name(source, source.name, look)
        name = self.names[source]
        target = folder / name
        there = target.is_file() and content_name(target, name, look) == name

        def fill(file: IO[bytes]) -> str:
            self.staged.copy(source, file)
            return name

        if not there and target not in self.copied:
            self.staged.add_data(folder, fill)
        self.copied.add(target)
        return name

    def _spilled(self, proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
        """A copy of the model whose large tensors lie in a data file beside `path`, which is staged as well."""
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        moved = [tensor for tensor in copy.graph.initializer if len(tensor.raw_data) >= LARGE]

        def fill(file: IO[bytes]) -> str:
            digest = Digest()
            for tensor in moved:
                offset = file.tell() + -file.tell() % PAGE
                for piece in (bytes(offset - file.tell()), tensor.raw_data):
                    self.staged.write(file, piece)
                    digest.add(piece)
                _set_external(tensor, offset, len(tensor.raw_data))
            return digest.name(path.name)

        name = self.staged.add_data(path.parent, fill)
        for tensor in moved:
            tensor.external_data.add(key="location", value=name)
        return copy


def _set_external(tensor: onnx.TensorProto, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _with_locations(proto: onnx.ModelProto, locations: Mapping[str, str]) -> onnx.ModelProto:
    """The model with other locations of its external data; the same object where none is another."""
    if not locations:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in external_tensors(copy):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = locations[slice_of(tensor).location]
    return copy


def _files(source: str | Path | Document) -> list[Path]:
    """The files that a model consists of; of a path that was not read, the file itself."""
    if not isinstance(source, Document):
        return [Path(source)]
    base_dir = source.base_dir
    model = [source.path] if source.path else []
    locations = Counter(slice_of(tensor).location for tensor in external_tensors(source.proto))
    return model + [base_dir / location for location in locations] if base_dir else model
