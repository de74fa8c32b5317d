"""What a model computed of the rows of a table, as part of a report."""

from __future__ import annotations

from dataclasses import dataclass

from mari_onnx.report.replay import StoppedGroup


@dataclass(frozen=True)
class StoredOutput:
    """An output as it is stored for each row: its element type, and its shape without the axis of rows."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Precomputed:
    """The outputs of a model for `rows` rows of a table, in `parts` files of a folder.

    `kept` of the files were there already. `key` is the column that tells rows apart. `fingerprint` is that of the
    split whose part the model is, None for another model. The store is complete, and can be read, unless row groups of
    the table `stopped`.
    """

    folder: str
    key: str
    rows: int
    parts: int
    kept: int
    bytes: int
    outputs: tuple[StoredOutput, ...]
    sha256: str
    fingerprint: str | None
    stopped: tuple[StoppedGroup, ...] = ()
