"""What a changed model says of itself: entries of its metadata.

    mari_onnx.version          the version of mari-onnx that wrote it
    mari_onnx.source.sha256    the SHA-256 of the file that it was made from, as `sha256sum` prints it
    mari_onnx.source.data      where that has external data: {location: SHA-256}
    mari_onnx.options          the options that decide what is written
    mari_onnx.roles            the inputs that belong to the request: {name: rows}
    mari_onnx.part             of the models of a split: user, item or rank
    mari_onnx.fingerprint      of the models of a split: the same in all of them, and in those of no other split

Objects are JSON. `provenance.py` describes the entries on tensors and nodes. A model that is written as it was gets
none of these.

A part of a split that is optimized again belongs to its pair as before, and keeps the last two entries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from mari_onnx.document.document import Document
from mari_onnx.document.metadata import PREFIX, Message, keep, put, value
from mari_onnx.document.provenance import ASSUMED
from mari_onnx.document.scopes import all_nodes
from mari_onnx.document.serialized import pieces
from mari_onnx.errors import UserError
from mari_onnx.report.split import Role

VERSION, SHA256, DATA = f"{PREFIX}version", f"{PREFIX}source.sha256", f"{PREFIX}source.data"
OPTIONS, ROLES = f"{PREFIX}options", f"{PREFIX}roles"
PART, FINGERPRINT = f"{PREFIX}part", f"{PREFIX}fingerprint"

DIGITS = 32
"""The hexadecimal digits of a fingerprint."""

CALLED = MappingProxyType({"user": "the user model", "item": "the item model", "rank": "the ranking model"})
"""What the parts of a split are called in messages."""


@dataclass(frozen=True)
class Passport:
    """What is said of all models of a result: what made them from what. `roles` has the rows of inputs by name."""

    version: str
    source: Document
    options: Mapping[str, object]
    roles: Mapping[str, str]

    def stamp(self, models: Mapping[Role, onnx.ModelProto]) -> None:
        """Write the entries into the models of a result, in place of earlier ones; several models are those of a split.

        The fingerprint is that of the content of all: it is another wherever one of them, or its source, is another.
        """
        data = self.source.data_sha256
        entries = {
            VERSION: self.version,
            SHA256: self.source.sha256,
            **({DATA: _json(data)} if data else {}),
            OPTIONS: _json(self.options),
            ROLES: _json(self.roles),
        }
        for role, proto in models.items():
            put(proto, entries | ({PART: role} if len(models) > 1 else {}), instead=[DATA])
        if len(models) > 1:
            digest = hashlib.sha256()
            for proto in models.values():
                keep(proto, [entry.key for entry in proto.metadata_props if entry.key != FINGERPRINT])
                for piece in pieces(proto):
                    digest.update(piece)
            for proto in models.values():
                put(proto, {FINGERPRINT: digest.hexdigest()[:DIGITS]})


def without_metadata(proto: onnx.ModelProto) -> None:
    """Remove what is written into metadata, except what the caller vouched for, because the model relies on that."""
    messages: list[Message] = [proto, *all_nodes(proto.graph)]
    for message in messages:
        keys = [entry.key for entry in message.metadata_props]
        keep(message, [key for key in keys if not key.startswith(PREFIX) or key == ASSUMED])


def fingerprint(proto: onnx.ModelProto) -> str | None:
    """The fingerprint of a part of a split; None for another model, or one that was written without metadata."""
    return value(proto, FINGERPRINT)


def request_inputs(proto: onnx.ModelProto) -> frozenset[str]:
    """The inputs of a written model that belong to the request; none of a model that says nothing about it."""
    names = json.loads(value(proto, ROLES) or "{}")
    return frozenset(names) & {info.name for info in proto.graph.input}


def check_parts(parts: Mapping[Role, Document], *, complete: bool) -> str | None:
    """The fingerprint that all models of a split have. Models without one are passed over, unless it is `complete`.

    Raises UserError for a model that is another part than it is said to be, for two different fingerprints, and, if
    the check is to be `complete`, for a model without one.
    """
    found: dict[str, str] = {}
    for role, document in parts.items():
        name = f"{CALLED[role]}{f' {document.path}' if document.path else ''}"
        part = value(document.proto, PART)
        if part is not None and part != role:
            raise UserError(f"{name} is {CALLED.get(part, part)} of a split", "Give each model in its own place.")
        own = fingerprint(document.proto)
        if own is not None:
            found[name] = own
        elif complete:
            raise UserError(
                f"{name} has no fingerprint, so that nothing says which models belong to it",
                "`mari-onnx split` writes one, unless it is given --no-metadata.",
            )
    if len(set(found.values())) > 1:
        said = ", ".join(f"{name} has the fingerprint {own}" for name, own in found.items())
        raise UserError(
            f"the models are not those of one split: {said}",
            "What one computes means nothing to the other. Give the models that one run of `mari-onnx split` wrote.",
        )
    return next(iter(found.values()), None)


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
