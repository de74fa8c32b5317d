"""The tests, on every Python that is supported and on the lowest versions of the dependencies that are allowed.

    3.11, 3.12, 3.13    the newest dependencies; the versions are those of the classifiers in pyproject.toml
    lowest              the oldest of those Pythons, and of each `name>=1.2` in pyproject.toml the version 1.2

Each run has a virtual environment of its own in build/versions, made anew. An interpreter is looked for as
`python3.12` on the PATH, or where PYTHON_3_12 says. One that is missing is said and skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = ROOT / "build/versions"


def supported() -> list[str]:
    """The versions of Python that the project says it runs on, the oldest first."""
    found = (re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", c) for c in PROJECT["classifiers"])
    return [f"3.{minor}" for minor in sorted(int(match[1]) for match in found if match)]


def lowest() -> Iterator[str]:
    """A constraint for pip of each dependency, those of the extras too: `click>=8.2` becomes `click==8.2`.

    Of one that several extras have, the highest of their bounds is what all of them can be tried with.
    """
    found: dict[str, str] = {}
    for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in requirements:
            if requirement.startswith(f"{PROJECT['name']}["):
                continue  # an extra of our own, whose bounds are in its own list
            name, at_least, version = requirement.partition(">=")
            if not at_least or not version.replace(".", "").isdigit():
                raise ValueError(f"{requirement!r} is not of the form 'name>=1.2': which version is its lowest?")
            found[name] = max(found.get(name, "0"), version, key=numbers)
    yield from (f"{name}=={version}" for name, version in found.items())


def numbers(version: str) -> tuple[int, ...]:
    """A version in its order: 2.10 is later than 2.9."""
    return tuple(map(int, version.split(".")))


def interpreter(version: str, environment: Mapping[str, str]) -> str | None:
    """The path of this Python, from its variable or from the PATH."""
    return shutil.which(environment.get(f"PYTHON_{version.replace('.', '_')}", f"python{version}"))


def passes(name: str, python: str, *, constraints: Iterator[str] | None = None) -> bool:
    """Whether the tests pass in an environment of this name, which is made for it."""
    folder = BUILD / name
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    own = folder / "bin/python"
    install: list[str | Path] = [
        own,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--editable",
        f"{ROOT}[dev]",
    ]
    if constraints is not None:
        (folder / "constraints.txt").write_text("\n".join(constraints), encoding="utf-8")
        install += ["--constraint", folder / "constraints.txt"]
    subprocess.run(install, check=True)
    return subprocess.run([own, "-m", "pytest", "-q", "-n", "2", "tests"], cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Run them all; 1 where one of them fails, or where there is no Python to run them with."""
    there = {version: path for version in supported() if (path := interpreter(version, os.environ))}
    for version in supported():
        if version not in there:
            variable = f"PYTHON_{version.replace('.', '_')}"
            sys.stdout.write(f"Python {version} is skipped: there is no python{version}; {variable}=PATH names one\n")
    if not there:
        sys.stdout.write("no supported Python was found\n")
        return 1
    outcomes = {}
    for name, path in (*there.items(), ("lowest", next(iter(there.values())))):
        sys.stdout.write(f"\n== {name}: {path}\n")
        sys.stdout.flush()
        outcomes[name] = passes(name, path, constraints=lowest() if name == "lowest" else None)
    sys.stdout.write("\n" + "".join(f"{name:8}{'passed' if ok else 'failed'}\n" for name, ok in outcomes.items()))
    return int(not all(outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
