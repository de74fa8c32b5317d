"""The README as the home page of the site, and the files that documents link to as files of the site.

mkdocs calls these functions while it builds (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HOME = "index.md"
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
SHOWN = {".md", ".json", ".svg"}
"""Suffixes that a browser shows; to any other file one more is added, with which it is shown as text."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, and every file outside of docs that a document links to."""
    sources = {HOME: ROOT / "README.md"}
    documents = [ROOT / "README.md", *DOCS.rglob("*.md")]
    for path in documents:  # grows: what is linked to may link further
        for link in LINK.findall(path.read_text(encoding="utf-8")):
            target = (path.parent / link).resolve()
            if target.is_file() and DOCS not in target.parents and _place(target) not in sources:
                sources[_place(target)] = target
                documents += [target] if target.suffix == ".md" else []
    for place, source in sources.items():
        files.append(File.generated(config, place, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link to where its target is on the site; a folder is none of its pages, and only named."""
    source = page.file.abs_src_path
    if source is None:
        return markdown

    def target(found: re.Match[str]) -> str:
        path = (Path(source).parent / found[1]).resolve()
        return relpath(_place(path), str(PurePosixPath(page.file.src_uri).parent))

    def named(found: re.Match[str]) -> str:
        return found[1] if (Path(source).parent / found[2]).resolve().is_dir() else found[0]

    return LINK.sub(target, re.sub(r"\[([^\]]+)\]\((?!https?:)([^)\s#]+)\)", named, markdown))


def _place(path: Path) -> str:
    """Where a file of the repository is among those of the site."""
    if path == ROOT / "README.md":
        return HOME
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    place = f"repository/{path.relative_to(ROOT).as_posix()}"
    return place if path.suffix in SHOWN else f"{place}.txt"
