"""The pictures of a page in docs/report.md: `python -m docs.screenshots` opens one in Chromium and takes them."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import mari_onnx
from tests.report.page.browser import NARROW, WIDE, chromium, opened

DOCS = Path(__file__).parent
SAMPLE = DOCS.parent / "sample_models" / "din_vanilla.onnx"

CHOSEN = "model/attention_layers.0"
"""The module of the sample that is chosen in the pictures."""

PICTURES = {"page-light": (WIDE, "light"), "page-dark": (WIDE, "dark"), "page-narrow": (NARROW, "light")}
"""The pictures by name: how wide the window is, and whether it is light or dark."""


def main() -> int:
    """Take the pictures."""
    report = mari_onnx.optimize(SAMPLE, user_inputs="user_*").report
    with TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "page.html"
        path.write_text(report.to_html(), encoding="utf-8")
        for name, (width, scheme) in PICTURES.items():
            with opened(browser, path, width=width, scheme=scheme) as found:
                if width == NARROW:
                    found.page.evaluate("document.querySelector('#which').scrollIntoView()")
                    found.page.wait_for_timeout(300)
                found.page.mouse.click(*found.place(found.drawn("blocks", "full").index(CHOSEN)))
                found.page.mouse.move(0, 0)  # off the block, so that no hint covers others
                found.page.wait_for_timeout(500)  # until all of it is drawn
                found.page.screenshot(path=DOCS / f"{name}.png")
    sys.stdout.write("".join(f"docs/{name}.png\n" for name in PICTURES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
