"""A store: what a model computed of the rows of a table, as Parquet files in a folder.

    part-3f2a9c41d2e0b7a5.parquet    the rows of one row group: the key, and a list of numbers for each output
    _mari-onnx.json                  which parts there are, and of which model; written last

The name of a part is that of what it was computed from: the model, the columns, and the row group of the file. So a
part that is there need not be computed again, and one that was computed from something else has another name. A part is
written under a temporary name, and so it is whole; a store without `_mari-onnx.json` is not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mari_onnx.document.document import Document
from mari_onnx.document.passport import fingerprint
from mari_onnx.document.staging import write_file
from mari_onnx.errors import UserError
from mari_onnx.report.precompute import StoredOutput
from mari_onnx.traffic.arrow import pa, parquet
from mari_onnx.traffic.cells import Array

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MANIFEST = "_mari-onnx.json"
"""Names that begin so are no data to those who read a folder of Parquet files."""

PREFIX = "mari_onnx."
"""The beginning of the keys in the metadata of a part's schema."""


@dataclass(frozen=True)
class Model:
    """What a store says of the model: the SHA-256 of its file and data, and the fingerprint of its split."""

    sha256: str
    fingerprint: str | None

    @classmethod
    def of(cls, document: Document) -> Model:
        """That of a model."""
        data = document.data_sha256
        own = document.sha256
        if data:
            own = hashlib.sha256(json.dumps([own, dict(sorted(data.items()))]).encode()).hexdigest()
        return cls(own, fingerprint(document.proto))


def part_name(model: Model, columns: str, state: str, group: int) -> str:
    """The name of the part of a row group, of a file in this state, whose columns are read so."""
    content = json.dumps([model.sha256, columns, state, group])
    return f"part-{hashlib.sha256(content.encode()).hexdigest()[:16]}.parquet"


def schema(model: Model, key: Any, outputs: Mapping[str, Array]) -> Any:
    """The schema of a part; `key` is the field of the keys, and `outputs` are those of a few rows."""
    fields = [key]
    for name, values in outputs.items():
        if name == key.name:
            raise UserError(f"`{name}` is an output and the key", "Give the key another name in the table.")
        kind = pa.from_numpy_dtype(values.dtype)
        width = int(values[:1].size)
        fields.append(pa.field(name, pa.list_(kind, width) if values.ndim > 1 else kind))
    shapes = {name: values.shape[1:] for name, values in outputs.items()}
    said = {"sha256": model.sha256, "fingerprint": model.fingerprint or "", "shapes": json.dumps(shapes)}
    return pa.schema(fields, {f"{PREFIX}{name}": value for name, value in said.items()})


def table(of: Any, keys: Any, outputs: Mapping[str, Array]) -> Any:
    """The rows of a part."""
    columns = [keys]
    for name, values in outputs.items():
        flat = pa.array(values.reshape(-1))
        kind = of.field(name).type
        columns.append(pa.FixedSizeListArray.from_arrays(flat, type=kind) if values.ndim > 1 else flat)
    return pa.table(columns, schema=of)


def stored_outputs(part: Path) -> tuple[StoredOutput, ...]:
    """The outputs in a part."""
    read = parquet.read_schema(part)
    shapes = json.loads(read.metadata[f"{PREFIX}shapes".encode()])
    kinds = {name: read.field(name).type for name in shapes}
    return tuple(
        StoredOutput(name, str(kinds[name].value_type if shape else kinds[name]), tuple(shape))
        for name, shape in shapes.items()
    )


def check(folder: Path, wanted: Collection[str], *, overwrite: bool) -> list[Path]:
    """The parts in a folder that are not among the `wanted`, which are removed in the end.

    Raises UserError where there are such, unless they may be removed. Holds as long as the run is `alone`: before that,
    another one may still write its parts.
    """
    others = [path for path in sorted(folder.glob("part-*.parquet")) if path.name not in wanted]
    if others and not overwrite:
        raise UserError(
            f"{folder} has {len(others)} parts of another model or table, such as {others[0].name}",
            "Add --overwrite to remove them in the end, or give another folder.",
        )
    return others


def write_manifest(folder: Path, model: Model, key: str, rows: int, parts: Iterable[str]) -> None:
    """Say that the store is complete."""
    content = {"model": asdict(model), "key": key, "rows": rows, "parts": sorted(parts)}
    write_file(folder / MANIFEST, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make the folder, where it is not there, and keep it for this run, which removes what others left unfinished.

    A folder that was made and stays empty is removed again. Raises UserError where it cannot be a store, and where
    another run is writing to it. The lock ends with the process, however that ends; Windows has none.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder", "Give the name of a folder.")
    if not folder.parent.is_dir():
        raise UserError(f"the folder {folder.parent} does not exist", f"Make it: mkdir -p {folder.parent}")
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    with ExitStack() as kept:
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY)
            kept.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f"another run is writing to {folder}", "Wait until it has ended, or give another folder."
                ) from error
        try:
            yield
        except BaseException:
            if made and not any(folder.iterdir()):
                folder.rmdir()
            raise
