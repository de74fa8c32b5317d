"""The lowest versions of the dependencies that pyproject.toml allows, as constraints for pip.

    click>=8.2  is printed as  click==8.2

`make check-versions` runs the tests on them: a lower bound that is only claimed and never tried is soon wrong.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def lowest(pyproject: Path) -> Iterator[str]:
    """A constraint for each dependency of the project and of its extras."""
    project = tomllib.loads(pyproject.read_text())["project"]
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in requirements:
            name, at_least, version = requirement.partition(">=")
            if not at_least or not version.replace(".", "").isdigit():
                raise ValueError(f"{requirement!r} is not of the form 'name>=1.2': which version is its lowest?")
            yield f"{name}=={version}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lowest(Path(sys.argv[1])))
