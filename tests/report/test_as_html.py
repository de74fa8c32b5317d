"""Reports as pages: what is in the file, and what a browser makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import mari_onnx
from mari_onnx.report import render
from mari_onnx.report.graph import Dependence, Graph, GraphNode
from mari_onnx.report.model import Remark, Report, TensorFacts
from tests.report import reports
from tests.report.page.browser import CHROMIUM, NARROW, WIDE, chromium, opened

pytest.importorskip("bokeh")
pytest.importorskip("igraph")

SAMPLES = Path(__file__).parents[2] / "sample_models"

MOST_BYTES, MOST_SECONDS = 3_000_000, 2.0

EVIL = "<img src=x onerror=alert(1)>&\"'</script>$$x$$"


def large(scoped: bool) -> Report:
    """A report on a graph of 5,000 nodes, in modules of modules or without any."""
    nodes = [GraphNode("", "", (), (f"user_{i}",), "request") for i in range(20)]
    nodes += [GraphNode("", "", (), (f"item_{i}",), "candidates") for i in range(20)]
    remarks = []
    for i in range(5_000):
        layer, step = divmod(i, 250)
        name = f"/model/layers.{layer}/block_{step // 50}/op_{step % 50}/MatMul"
        reads = {nodes[len(nodes) - 1 - back].outputs[0] for back in (i * 7 % 9, i * 13 % 40)}
        scope = ("model", f"layers.{layer}", f"block_{step // 50}") if scoped else ()
        follows: Dependence = "request" if i < 1_000 else "both"
        nodes.append(GraphNode(name, "MatMul", tuple(sorted(reads)), (f"{name}_0",), follows, scope, i, f"{name}_0"))
        if i % 4 == 0:
            because = tuple(f"{name}/because_{j}" for j in range(20))
            remarks.append(
                Remark("applied", "product", name, "MatMul", f"{name}_0", "why", "[B 8]", None, because, 9, i)
            )
    graph = Graph("before", tuple(nodes), nodes[-1].outputs)
    return replace(reports.OPTIMIZED, graphs=(graph, replace(graph, title="after")), remarks=tuple(remarks))


@pytest.fixture(scope="module")
def din() -> Report:
    return mari_onnx.optimize(SAMPLES / "din_vanilla.onnx", user_inputs="user_*").report


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with chromium() as started:
        yield started


@pytest.fixture
def page(tmp_path: Path, din: Report) -> Path:
    return written(tmp_path, din)


def written(folder: Path, report: Report) -> Path:
    path = folder / "report.html"
    path.write_text(render(report, "html"), encoding="utf-8")
    return path


class Elements(HTMLParser):
    """The elements of a page and the attributes that lead elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.leading: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.leading += [
            (name, value) for name, value in attrs if name in ("src", "href", "action") or name[:2] == "on"
        ]


# The file


@pytest.mark.parametrize("name", reports.EVERY)
def test_every_report_is_a_page(name: str) -> None:
    found = Elements(render(reports.EVERY[name], "html"))
    assert (found.tags["h1"], found.tags["script"], found.leading) == (1, 3, [])


def evil(report: Report) -> Report:
    """The report of a model that has HTML in all its names."""
    named = Graph(
        EVIL,
        (
            GraphNode("", "", (), (EVIL,), "request"),
            GraphNode(EVIL, EVIL, (EVIL,), (f"{EVIL}1",), "request", (EVIL,), 5, f"{EVIL}1"),
            GraphNode(EVIL, EVIL, (f"{EVIL}1",), (f"{EVIL}2",), "both", (EVIL,), None, EVIL),
        ),
        (f"{EVIL}2",),
    )
    remark = Remark("applied", EVIL, EVIL, EVIL, f"{EVIL}1", EVIL, EVIL, EVIL, (EVIL,), 9, 5)
    model = replace(report.model, path=EVIL, inputs=(TensorFacts(EVIL, EVIL, (EVIL,)),), producer=EVIL)
    return replace(report, graphs=(named,), remarks=(remark,), model=model, calls=(EVIL,), written=EVIL)


@pytest.mark.parametrize("name", reports.EVERY)
def test_names_are_no_html(name: str) -> None:
    found = Elements(render(evil(reports.EVERY[name]), "html"))
    assert "img" not in found.tags
    assert (found.tags["script"], found.leading) == (3, [])


@pytest.mark.parametrize("scoped", [True, False])
def test_a_large_graph_is_a_small_file(scoped: bool) -> None:
    assert len(render(large(scoped), "html").encode()) < MOST_BYTES


def test_nothing_is_loaded_from_elsewhere(din: Report) -> None:
    text = render(din, "html")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "http" not in policy
    assert len(text.encode()) < MOST_BYTES


# In a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_opens(browser: Any, page: Path, width: int, scheme: str) -> None:
    with opened(browser, page, width=width, scheme=scheme) as found:
        assert (found.said, found.asked) == ([], [])
        assert found.page.evaluate("document.documentElement.scrollWidth") == width
        ground = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
        assert found.drawn("blocks", "x")


def seconds_to_the_graph(browser: Any, path: Path) -> float:
    with opened(browser, path) as found:
        assert (found.said, found.asked) == ([], [])
        return float(found.page.evaluate("performance.getEntriesByName('graph')[0].startTime")) / 1000


def test_a_graph_is_drawn_soon(browser: Any, page: Path) -> None:
    assert any(seconds_to_the_graph(browser, page) < MOST_SECONDS for _ in range(4))


@pytest.mark.parametrize("scoped", [True, False])
def test_a_large_graph_is_drawn_soon(browser: Any, tmp_path: Path, scoped: bool) -> None:
    path = written(tmp_path, large(scoped))
    # The machine may have other work to do.
    assert any(seconds_to_the_graph(browser, path) < MOST_SECONDS for _ in range(4))
    with opened(browser, path) as found:
        found.page.fill("#search", "layers.7/block_3/op_11/")
        found.page.press("#search", "Enter")
        assert "/model/layers.7/block_3/op_11/MatMul" in found.told()
        assert found.labels(lambda names: any("op_11" in name for name in names))


def test_every_kind_of_report_opens(browser: Any, tmp_path: Path) -> None:
    for name in ("bare", "located", "verified", "timed", "surveyed", "replayed"):
        with opened(browser, written(tmp_path, reports.EVERY[name])) as found:
            assert (name, found.said, found.asked) == (name, [], [])


def test_html_in_names_is_shown_as_text(browser: Any, tmp_path: Path) -> None:
    with opened(browser, written(tmp_path, evil(reports.TIMED))) as found:
        found.page.click("#graph", position={"x": 5, "y": 5})
        found.page.focus("#graph")
        for key in ("ArrowDown", "ArrowDown", "Enter", "ArrowDown"):
            found.page.keyboard.press(key)
        found.page.fill("#search", "<img")
        found.page.click("#found button")
        assert EVIL in found.told()
        found.page.mouse.move(*found.place(found.chosen()[0]))
        found.page.wait_for_timeout(200)
        assert found.page.locator("img").count() == 0
        assert (found.said, found.asked) == ([], [])


def test_a_click_tells_what_was_done(browser: Any, page: Path, din: Report) -> None:
    with opened(browser, page) as found:
        found.page.select_option("#fold", index=found.page.locator("#fold option").count() - 1)
        found.page.fill("#search", "attention_layers.0/attention/mlp/mlp.0/Gemm")
        found.page.click("#found button")
        (block,) = found.chosen()
        found.page.fill("#search", "")
        found.page.press("#graph", "Escape")
        assert found.chosen() == []
        found.page.mouse.click(*found.place(block))
        assert found.chosen() == [block]
        told = found.told()
        name = "/model/attention_layers.0/attention/mlp/mlp.0/Gemm_output_0"
        (remark,) = (each for each in din.remarks if each.tensor == name)
        assert remark.status == "applied" and len(remark.because) > 3
        known = (name, remark.reason, remark.forms, *remark.because)
        for words in (*known, "rewritten (product)", "41 M → 11.3 M", "the request and the candidates"):
            assert words in told, words


def test_modules_unfold(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        folded = found.drawn("blocks", "full")
        assert any(re.fullmatch(r"\d+ nodes", head) for head in found.drawn("blocks", "operator"))
        block = folded.index("model/mlp")
        found.page.mouse.click(*found.place(block))
        assert "35 nodes" in found.told()
        found.page.click("#about button:has-text('Unfold')")
        assert len(found.drawn("blocks", "full")) > len(folded)
        assert "model/mlp" not in found.drawn("blocks", "full")


def test_before_and_after(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        before = found.drawn("blocks", "full")
        found.page.click("#which button:has-text('after')")
        assert found.drawn("blocks", "full") != before
        found.page.select_option("#fold", index=found.page.locator("#fold option").count() - 1)
        found.page.fill("#search", "Gemm_output_0.user")
        found.page.click("#found button")
        assert "a form of" in found.told()
        found.page.click("#about dd > button")
        assert found.page.get_attribute("#which button", "aria-pressed") == "true"


def test_keys(browser: Any, page: Path) -> None:
    """Arrows go from block to block, and the picture follows."""
    with opened(browser, page) as found:
        found.page.focus("#graph")
        seen = []
        for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"):
            found.page.keyboard.press(key)
            seen += found.chosen()
        assert len(seen) == 5 and len(set(seen)) >= 3
        graph = "Bokeh.documents[0].get_model_by_name('graph')"
        start, end = (found.page.evaluate(f"{graph}.x_range.{which}") for which in ("start", "end"))
        found.page.keyboard.press("+")
        assert found.page.evaluate(f"{graph}.x_range.start") > start
        assert found.page.evaluate(f"{graph}.x_range.end") < end
        found.page.keyboard.press("Escape")
        assert found.chosen() == []


def test_a_deep_graph_begins_where_it_is_read(browser: Any, tmp_path: Path) -> None:
    nodes = [GraphNode("", "", (), ("n0",), "request")]
    nodes += [GraphNode(f"n{i}", "Relu", (f"n{i - 1}",), (f"n{i}",), "request") for i in range(1, 300)]
    graph = Graph("before", tuple(nodes), ("n299",))
    with opened(browser, written(tmp_path, replace(reports.OPTIMIZED, graphs=(graph,)))) as found:
        assert found.labels({"n0", "n1", "n2"}.issubset)
        found.page.click("#zoom button:has-text('Fit')")
        assert found.labels(lambda names: not names)


def test_dark_on_demand(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        boxes = "Bokeh.documents[0].get_model_by_name('graph').renderers.find((each) => each.name === 'boxes')"
        line = f"{boxes}.glyph.line_color.value"
        light = found.page.evaluate(line)
        found.page.click("#theme")
        assert found.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert found.page.evaluate(line) != light
        assert found.said == []


CONTRAST = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => parts(colour).slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        const { backgroundColor } = getComputedStyle(element);
        return (parts(backgroundColor)[3] ?? 1) > 0 ? backgroundColor : ground(element.parentElement);
    };
    const texts = [...document.querySelectorAll("main *, .corner *")].filter((element) => element.checkVisibility()
        && [...element.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim()));
    return texts.map((element) => {
        const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 80)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_seen_on_its_ground(browser: Any, tmp_path: Path, scheme: str) -> None:
    for report in (reports.LOCATED, reports.TIMED, reports.LEFT_OUT):
        with opened(browser, written(tmp_path, report), scheme=scheme) as found:
            ratios = found.page.evaluate(CONTRAST)
            assert len(ratios) > 50
            assert [each for each in ratios if each[0] < 4.5] == []
