"""How a service ranks with a store: what `mari-onnx precompute` wrote of the item model of a split.

mari-onnx split model.onnx --user-model user.onnx --item-model item.onnx --rank-model rank.onnx -u 'user_*' ...
mari-onnx precompute item.onnx --table 'items/*.parquet' --out store --key item_id

store = Store.read(Path("store"), onnx.load("rank.onnx"))
computed = store.rows(np.array([17, 4, 12]))       # inputs of the ranking model for three candidates
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from pyarrow import parquet

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Store:
    """The rows of a store in memory: the keys in order, and for each output an array with a row for each key."""

    keys: Array
    outputs: Mapping[str, Array]

    @classmethod
    def read(cls, folder: Path, rank_model: onnx.ModelProto) -> Store:
        """Read a store for a ranking model.

        Raises ValueError where the store is not complete, where a key has several rows that differ, and where any of
        its files is not of the ranking model's split: numbers that another item model computed mean nothing to it.
        """
        manifest = folder / "_mari-onnx.json"
        if not manifest.exists():
            raise ValueError(f"{folder} is not complete: run mari-onnx precompute again")
        stored = json.loads(manifest.read_text(encoding="utf-8"))
        entries = {entry.key: entry.value for entry in rank_model.metadata_props}
        wanted = entries.get("mari_onnx.fingerprint", "")
        tables = [parquet.read_table(folder / part) for part in stored["parts"]]
        for part, table in zip(stored["parts"], tables, strict=True):
            own = table.schema.metadata[b"mari_onnx.fingerprint"].decode()
            if not own or own != wanted:
                raise ValueError(f"{folder / part} has the fingerprint {own!r}, and the ranking model {wanted!r}")
        keys = np.concatenate([table.column(stored["key"]).to_numpy() for table in tables])
        order = np.argsort(keys, kind="stable")
        shapes = json.loads(tables[0].schema.metadata[b"mari_onnx.shapes"])
        outputs = {}
        for name, shape in shapes.items():
            columns = [table.column(name).combine_chunks() for table in tables]
            flat = [(column.flatten() if shape else column).to_numpy(zero_copy_only=False) for column in columns]
            outputs[name] = np.concatenate(flat).reshape(len(keys), *shape)[order]
        store = cls(keys[order], outputs)
        again = np.flatnonzero(store.keys[1:] == store.keys[:-1])
        for values in outputs.values():
            if (differ := again[[not np.array_equal(values[i], values[i + 1], equal_nan=True) for i in again]]).size:
                raise ValueError(f"{folder} has several rows of the key {store.keys[differ[0]]}, and they differ")
        return store

    def rows(self, keys: Array) -> dict[str, Array]:
        """What was computed of the items with these keys. Raises KeyError for one that is not stored."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        if (missing := keys[self.keys[at] != keys]).size:
            raise KeyError(missing[0])
        return {name: values[at] for name, values in self.outputs.items()}
