"""python -m docs.links: whether every link in the documents leads somewhere, and every path that they name exists.

Checked are links to files and to headings, pictures, and paths in `code` that begin with a folder of the repository.
Links to the web are not followed. The exit code is 1 if anything leads nowhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = "mari_onnx|tests|docs|sample_models|examples|benchmarks"

CODE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?:\]\(|href=\"|src=\")([^)\"\s]+)[)\"]")
PATH = re.compile(rf"`((?:{FOLDERS})/[\w/.*-]+)`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def documents() -> list[Path]:
    """The documents of the project: the README, and all of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchor(heading: str) -> str:
    """What a heading is linked by: lower case, without punctuation, with hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(path: Path) -> set[str]:
    """The anchors of all headings of a document."""
    return {anchor(heading) for heading in HEADING.findall(CODE.sub("", path.read_text(encoding="utf-8")))}


def broken(path: Path, root: Path = ROOT) -> Iterator[str]:
    """What leads nowhere in a document; a path in code is one of the repository, which `root` holds."""
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        file, _, heading = link.partition("#")
        if re.match(r"https?:|mailto:", link):
            continue
        target = (path.parent / file).resolve() if file else path
        if not target.exists():
            yield f"{link}: there is no such file"
        elif heading and heading not in anchors(target):
            yield f"{link}: there is no such heading"
    for name in PATH.findall(text):
        if not any(root.glob(name.rstrip("/"))):
            yield f"{name}: there is no such path"


def main() -> int:
    """Print what leads nowhere."""
    found = [f"{path.relative_to(ROOT)}: {problem}" for path in documents() for problem in broken(path)]
    print("\n".join(found) or f"{len(documents())} documents: every link leads somewhere")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
