"""python -m docs.generate: write again what is generated in README.md and docs, and the pictures in docs.

Each block stands between `<!-- generated: NAME -->` and `<!-- end -->`, in any of the documents. Timings are measured
on request alone. `--check` writes nothing: it prints what is out of date, and ends with exit code 1 if anything is.
"""

from __future__ import annotations

import argparse
import re
import sys
from difflib import unified_diff
from pathlib import Path

from docs.blocks import BLOCKS, PICTURES, TIMED
from docs.links import documents

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(?<=<!-- generated: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
ROUNDING = re.compile(r"^( [ \w]+ \d+  \w+| +\w+ +\d+% of \d+) .*$", re.MULTILINE)
"""A line of the verification's tables: its numbers are rounding, which differs from one processor to another."""


def written(text: str, *, timings: bool) -> str:
    """A document with its blocks as they should be. Raises KeyError for a block that nothing writes."""
    made = {**BLOCKS, **TIMED}

    def block(found: re.Match[str]) -> str:
        name, marker = found.groups()
        return found[0] if name in TIMED and not timings else f"{name}{marker}{made[name]()}\n"

    return BLOCK.sub(block, text)


def main() -> int:
    """Write, or check, every block and every picture."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=(__doc__ or "").partition(":")[2])
    parser.add_argument("--check", action="store_true", help="write nothing, and tell what is out of date")
    parser.add_argument("--timings", action="store_true", help="run the benchmarks too, which takes minutes")
    given = parser.parse_args()
    old = {path: path.read_text(encoding="utf-8") for path in documents()}
    there = [name for text in old.values() for name, _ in BLOCK.findall(text)]
    if sorted(there) != sorted({*BLOCKS, *TIMED}):
        sys.exit(f"each block has to be in one document; the documents have {', '.join(sorted(there))}")
    # The times come first: other documents quote them.
    order = sorted(old, key=lambda path: not any(name in TIMED for name, _ in BLOCK.findall(old[path])))
    stale = False
    for path in order:
        stale |= _differs(path, written(old[path], timings=given.timings), write=not given.check)
    for name, draw in PICTURES.items():
        stale |= _differs(DOCS / name, draw(), write=not given.check)
    return int(stale and given.check)


def _differs(path: Path, content: str, *, write: bool) -> bool:
    """Whether a file is out of date; it is written, or the difference is shown."""
    if write:
        path.write_text(content, encoding="utf-8")
        return True
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    a, b = (ROUNDING.sub(r"\1", each).splitlines(keepends=True) for each in (before, content))
    difference = "".join(unified_diff(a, b, f"{path.name} as it is", f"{path.name} as it should be"))
    sys.stdout.write(difference)
    return bool(difference)


if __name__ == "__main__":
    sys.exit(main())
