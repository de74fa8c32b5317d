"""What `optimize` and `split` return, and the error for a result that did not pass."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from mari_onnx.document.document import Document, ModelLike
from mari_onnx.document.save import save, save_all
from mari_onnx.errors import UserError
from mari_onnx.report import render
from mari_onnx.report.model import Report
from mari_onnx.report.split import Role
from mari_onnx.report.words import judged

Place = str | os.PathLike[str]
OnFailure = Literal["report", "raise"]
"""What becomes of a result that did not pass: the report says so, or an error is raised."""

ON_FAILURE: tuple[OnFailure, ...] = ("report", "raise")


class FailedError(UserError):
    """A result did not pass: its verification failed, or a policy is not met. `report` tells which."""

    def __init__(self, report: Report) -> None:
        super().__init__(judged(report)[2], "mari_onnx.render(error.report, 'text') tells more.")
        self.report = report


@dataclass(frozen=True)
class Optimized:
    """The result of `optimize`: the model, and the report on how it was made.

    `model` is the original where `changed` is false. Check `report.passed` before you use it, or let `save` check it.
    """

    model: onnx.ModelProto
    report: Report
    document: Document

    @property
    def changed(self) -> bool:
        return self.report.changed

    def _repr_html_(self) -> str:
        return render(self.report, "notebook")

    def save(self, path: Place, *, overwrite: bool = False, failed: bool = False) -> None:
        """Write the model with its external data, whole or not at all; an unchanged model byte for byte.

        Raises FailedError if the result did not pass, unless `failed` allows that, and UserError where the file cannot
        be written: it is that of the original, it exists and `overwrite` is not set, or there is no folder for it.
        """
        check(self.report, failed=failed)
        save(self.document, self.model, Path(path), overwrite=overwrite)


def model_of(given: ModelLike | Optimized) -> ModelLike:
    """The model of a result; a model that is given as one is itself."""
    return given.document.with_proto(given.model) if isinstance(given, Optimized) else given


@dataclass(frozen=True)
class SplitModels:
    """The result of `split`: models by role ("user", "rank", and "item" if asked for), and the report.

    Check `report.passed` before you use them, or let `save` check it.
    """

    models: Mapping[Role, onnx.ModelProto]
    report: Report
    document: Document

    def save(self, paths: Mapping[Role, Place], *, overwrite: bool = False, failed: bool = False) -> None:
        """Write the models to a path for each role, all of them or none. Raises as `Optimized.save` does.

        Raises UserError where a role has no path, and for a path of a role that there is not.
        """
        if set(paths) != set(self.models):
            given = ", ".join(sorted(paths)) or "no model"
            raise UserError(f"there are paths for {given}", f"Give one for each of {', '.join(self.models)}.")
        check(self.report, failed=failed)
        save_all(self.document, {Path(paths[role]): self.models[role] for role in self.models}, overwrite=overwrite)


def check(report: Report, *, failed: bool = False) -> None:
    """Raise FailedError if a result did not pass, unless `failed` allows that."""
    if not report.passed and not failed:
        raise FailedError(report)
