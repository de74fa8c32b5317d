"""A page in headless Chromium, with everything that it said and asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

WIDE, NARROW = 1280, 390


@dataclass
class Opened:
    """An open page. `said` are errors and warnings of its console, `asked` what it wanted from elsewhere."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def drawn(self, source: str, column: str) -> list[Any]:
        """A column of what is drawn in the graph."""
        found: list[Any] = self.page.evaluate(
            f"Array.from(Bokeh.documents[0].get_model_by_name('{source}').data['{column}'])"
        )
        return found

    def labels(self, holds: Callable[[list[Any]], bool]) -> bool:
        """Whether the labels in sight, which are written with the next picture, come to be so."""
        for _ in range(100):
            if holds(self.drawn("labels", "name")):
                return True
            self.page.wait_for_timeout(50)
        return False

    def chosen(self) -> list[int]:
        """The blocks that are marked."""
        found: list[int] = self.page.evaluate("Bokeh.documents[0].get_model_by_name('blocks').selected.indices")
        return found

    def told(self) -> str:
        """What is told of the block that was chosen."""
        return str(self.page.inner_text("#about"))

    def place(self, block: int) -> tuple[float, float]:
        """Where a block is on the screen."""
        found: list[float] = self.page.evaluate(
            """(block) => {
                const [plot, blocks] = ["graph", "blocks"].map((name) => Bokeh.documents[0].get_model_by_name(name));
                const { x, y } = blocks.data, { x_range: h, y_range: v } = plot;
                const box = document.getElementById("graph").getBoundingClientRect();
                return [box.left + (x[block] - h.start) / (h.end - h.start) * box.width,
                        box.top + (v.end - y[block]) / (v.end - v.start) * box.height];
            }""",
            block,
        )
        return found[0], found[1]


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser. Raises ImportError or OSError where there is nothing to drive it with, or none."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise FileNotFoundError("there is no Chromium: apt-get install chromium")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, path: Path, *, width: int = WIDE, scheme: str = "light") -> Iterator[Opened]:
    """A page that has drawn everything."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = Opened(page)
    page.on("console", lambda said: found.said.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("request", lambda asked: found.asked.append(asked.url) if asked.url != path.as_uri() else None)
    try:
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
        yield found
    finally:
        page.close()
