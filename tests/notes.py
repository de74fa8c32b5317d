"""The words of notes."""

from __future__ import annotations

from collections.abc import Iterable

from mari_onnx.report.note import Note


def said(notes: Iterable[Note]) -> tuple[str, ...]:
    return tuple(note.text for note in notes)
