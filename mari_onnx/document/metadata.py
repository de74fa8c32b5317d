"""Entries of the metadata of a model or of a node: a list of keys and values, in which a key may stand once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx

PREFIX = "mari_onnx."
"""The beginning of the keys of all entries that are written here."""

Message = onnx.ModelProto | onnx.NodeProto


def value(message: Message, key: str) -> str | None:
    """The value of an entry; None where there is none."""
    return next((entry.value for entry in message.metadata_props if entry.key == key), None)


def put(message: Message, entries: Mapping[str, str], instead: Collection[str] = ()) -> None:
    """Write entries behind those that are there, in place of any with these keys, and with the keys in `instead`."""
    keep(message, [entry.key for entry in message.metadata_props if entry.key not in {*entries, *instead}])
    for key, content in entries.items():
        message.metadata_props.add(key=key, value=content)


def keep(message: Message, keys: Collection[str]) -> None:
    """Remove all entries with other keys."""
    kept = [entry for entry in message.metadata_props if entry.key in keys]
    if len(kept) < len(message.metadata_props):
        copies = [onnx.StringStringEntryProto(key=entry.key, value=entry.value) for entry in kept]
        del message.metadata_props[:]
        message.metadata_props.extend(copies)
