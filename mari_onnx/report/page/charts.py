"""The charts of a page, as bokeh describes figures to its script.

Their colours are variables of the page's style. Where bokeh takes none, a tag such as `line_color=ink` tells the page's
script to set the property to the variable, and to set it again where the page turns dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bokeh.core.properties import value
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, FixedTicker, InlineStyleSheet, NumeralTickFormatter, Range1d, Span, Text
from bokeh.plotting import figure

from mari_onnx.report.benchmark import Benchmark, Calls, Timing
from mari_onnx.report.histogram import Bin
from mari_onnx.report.model import Ranking, Remark, Report
from mari_onnx.report.numbers import count, small

BEFORE, AFTER = "#7a869a", "#0f9d8a"
"""The colours of what was before and of what is after, which are seen on white and on black."""

FONT = value("system-ui, sans-serif")

PRODUCTS = 20
"""How many products are shown at most, those with the most arithmetic."""

OUTPUTS = 4
"""Of how many outputs histograms are shown at most."""

LABELS = 8
"""How many bins of a histogram have their number written below."""

LONGEST = 46
"""The characters of a name that are shown; the end of a path tells more than its beginning."""

STYLE = """
:host {
  --bk-background-fill-color: transparent; --bk-border-fill-color: transparent; --bk-outline-line-color: transparent;
  --bk-major-label-text-color: var(--ink); --bk-axis-label-text-color: var(--ink); --bk-text-color: var(--ink);
  --bk-axis-line-color: var(--line); --bk-major-tick-line-color: var(--line); --bk-minor-tick-line-color: transparent;
  --bk-grid-line-color: var(--line); --bk-label-text-color: var(--ink);
}
"""
"""The colours of what is no glyph."""


def charts(report: Report) -> dict[str, Any]:
    """The charts that a report has numbers for, by the element that they are drawn in."""
    found = {}
    if products := [remark for remark in report.remarks if remark.macs_before]:
        found["products"] = _products(products)
    if report.benchmark:
        found["latency"] = _latency(report.benchmark)
        found["speedup"] = _speedup(report.benchmark)
    for i, ranking in enumerate(ranked(report)):
        found[f"differences-{i}"] = _histogram(ranking.differences, small)
        found[f"moves-{i}"] = _histogram(ranking.moves, lambda places: f"{places:,.0f}")
    return {name: json_item(plot) for name, plot in found.items()}


def ranked(report: Report) -> tuple[Ranking, ...]:
    """The outputs whose histograms are shown."""
    rankings = report.verification.rankings if report.verification else ()
    return tuple(each for each in rankings if each.differences)[:OUTPUTS]


def shown(name: str) -> str:
    """The end of a name, if it is long."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def plot(height: int | None, **more: Any) -> figure:
    """A figure without tools, as wide as its frame, and as high too where it has no height of its own."""
    sizing = {"sizing_mode": "stretch_both"} if height is None else {"sizing_mode": "stretch_width", "height": height}
    made = figure(toolbar_location=None, tools="", **sizing, **more)
    made.stylesheets = [InlineStyleSheet(css=STYLE)]
    made.min_border = 4
    return made


def _products(remarks: Sequence[Remark]) -> figure:
    """Two bars for each product, with its name and numbers above."""
    largest = sorted(remarks, key=lambda remark: -remark.macs_before)[:PRODUCTS]
    most = max(remark.macs_before for remark in largest)
    made = plot(46 * len(largest) + 30, x_range=Range1d(0, most), y_range=Range1d(0.4 - len(largest), 0.6))
    rows = [float(-i) for i in range(len(largest))]
    made.hbar(y=rows, right=[r.macs_before for r in largest], height=0.2, color=BEFORE)
    made.hbar(y=[y - 0.24 for y in rows], right=[r.macs_after for r in largest], height=0.2, color=AFTER)
    said = [f"{count(r.macs_before)} → {count(r.macs_after)}  {r.op_type} {shown(r.tensor)}" for r in largest]
    source = ColumnDataSource({"x": [0.0] * len(rows), "y": [y + 0.14 for y in rows], "said": said})
    made.add_glyph(
        source, Text(x="x", y="y", text="said", text_font_size="12px", text_font=FONT, tags=["text_color=ink"])
    )
    made.axis.visible = False
    made.grid.visible = False
    return made


def _histogram(bins: Sequence[Bin], name: Callable[[float], str]) -> figure:
    """A bar for each bin, evenly spaced, because each is twice as wide as the one before; that of zero stands first."""
    zero = min((round(math.log2(each.low)) for each in bins if each.low), default=1) - 1
    places = {round(math.log2(each.low)) if each.low else zero: each for each in bins}
    made = plot(200, x_range=Range1d(zero - 0.6, max(places) + 0.6))
    made.vbar(x=list(places), top=[each.count for each in places.values()], width=0.9, color=AFTER)
    every = -(-(max(places) - zero) // LABELS) or 1
    ticks = [zero, *range(zero + 1, max(places) + 1, every)]
    made.xaxis.ticker = FixedTicker(ticks=ticks)
    made.xaxis.major_label_overrides = {tick: name(2.0**tick) if tick != zero else "0" for tick in ticks}
    made.y_range.start = 0
    made.xgrid.visible = False
    return made


def _series(benchmark: Benchmark) -> Iterator[tuple[str, list[Timing]]]:
    """The timings over candidates, and on how many threads and at how many calls at once: `, 2 threads`."""
    for threads, callers in dict.fromkeys((t.threads, t.concurrency) for t in benchmark.timings):
        place = f", {threads} threads" * (threads != 1) + f", {callers} at once" * (callers != 1)
        yield place, [t for t in benchmark.timings if (t.threads, t.concurrency) == (threads, callers)]


def _latency(benchmark: Benchmark) -> figure:
    """The median time of calls over candidates, with a line up to the time in which 95 % of them end."""
    made = plot(320, x_axis_type="log", y_axis_type="log", x_axis_label="candidates", y_axis_label="µs")
    dashes = iter(("solid", "dashed", "dotted", "dotdash", "dashdot"))
    for place, timings in _series(benchmark):
        dash, x = next(dashes, "solid"), [timing.batch for timing in timings]
        for which, color in (("before", BEFORE), ("after", AFTER)):
            calls: list[Calls] = [getattr(timing, which) for timing in timings]
            median = [each.median_us for each in calls]
            named = f"{which}{place}"
            made.line(x, median, color=color, line_width=2, line_dash=dash, legend_label=named)
            made.scatter(x, median, color=color, size=7)
            made.segment(x, median, x, [each.p95_us for each in calls], color=color, line_width=2)
    made.legend.location = "top_left"
    made.legend.background_fill_alpha = 0.0
    made.legend.tags = ["label_text_color=ink"]
    made.yaxis.formatter = NumeralTickFormatter(format="0,0")
    _at_batches(made, benchmark)
    return made


def _at_batches(made: figure, benchmark: Benchmark) -> None:
    """Ticks at the numbers of candidates that were measured."""
    batches = sorted({timing.batch for timing in benchmark.timings})
    made.xaxis.ticker = FixedTicker(ticks=batches)
    made.xaxis.major_label_overrides = {batch: f"{batch:,}" for batch in batches}


def _speedup(benchmark: Benchmark) -> figure:
    """The speed-up over candidates with its interval; a line at 1, below which the optimized model is slower."""
    made = plot(260, x_axis_type="log", x_axis_label="candidates", y_axis_label="times faster")
    made.add_layout(Span(location=1, dimension="width", line_dash="dashed", tags=["line_color=ink"]))
    dashes = iter(("solid", "dashed", "dotted", "dotdash", "dashdot"))
    for _, timings in _series(benchmark):
        x = [timing.batch for timing in timings]
        made.line(x, [timing.speedup for timing in timings], color=AFTER, line_width=2, line_dash=next(dashes, "solid"))
        made.scatter(x, [timing.speedup for timing in timings], color=AFTER, size=7)
        made.segment(x, [t.low for t in timings], x, [t.high for t in timings], color=AFTER, line_width=6, alpha=0.4)
    _at_batches(made, benchmark)
    return made
