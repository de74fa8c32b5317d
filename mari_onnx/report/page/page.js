// Draws the graphs and the charts of the page, and tells of the block that is chosen. Whatever comes from a model is
// written as text, never as HTML.
(async () => {
  "use strict";

  const $ = (id) => document.getElementById(id);
  const packed = Uint8Array.from(atob($("data").textContent), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = JSON.parse(await new Response(unpacked).text());

  // Colours

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function paint(document_) {
    for (const model of document_._all_models.values()) {
      for (const tag of model.tags ?? []) {
        const [property, variable] = String(tag).split("=");
        const value = colour(variable);
        model[property] = property.startsWith("label_") || model.type === "Span" ? value : { value };
      }
    }
  }

  const repaint = () => Bokeh.documents.forEach((document_) => {
    paint(document_);
    for (const root of document_.roots()) root.change?.emit();
  });

  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    repaint();
  });
  dark.addEventListener("change", repaint);

  async function embed(item, id) {
    await Bokeh.embed.embed_item(item, id);
    const document_ = Bokeh.documents.at(-1);
    paint(document_);
    return document_;
  }

  if (data.drawing) await showGraphs();
  performance.mark("graph");
  for (const [id, item] of Object.entries(data.charts)) await embed(item, id);
  document.documentElement.dataset.ready = "yes";

  // The graph

  async function showGraphs() {
    const FULL = 700, SEEN = 0.3, LABELS = 0.45, FIELD = { width: 132, height: 40 };
    const drawn = await embed(data.drawing, "graph");
    const plot = drawn.get_model_by_name("graph");
    const [blocks, edges, labels] = ["blocks", "edges", "labels"].map((name) => drawn.get_model_by_name(name));
    const [boxes, ...written] = ["boxes", "operators", "names"].map((name) =>
      plot.renderers.find((renderer) => renderer.name === name));
    const frame = $("graph");
    let graph, fold, blockOf, chosen = -1, asked = 0, wasNear;

    const first = (node) => graph.tensors[node][0] ?? "";
    const short = (name, most = 17) => (name.length <= most ? name : `…${name.slice(1 - most)}`);
    const operator = (node) => graph.operator[node] || "input";

    function follows(block) {
      const found = new Set(fold.blocks[block].map((node) => graph.follows[node]));
      if (found.has("both") || (found.has("request") && found.has("candidates"))) return "both";
      return ["request", "candidates"].find((side) => found.has(side)) ?? "neither";
    }

    const isRewritten = (node) => graph.remark[node] >= 0 && data.remarks[graph.remark[node]].status === "applied";
    const isFolded = (block) => fold.names[block] !== "";
    const sum = (numbers) => numbers.reduce((a, b) => a + (b ?? 0), 0);

    function draw(whichGraph, whichFold) {
      graph = data.graphs[whichGraph];
      fold = graph.folds[whichFold];
      blockOf = [];
      fold.blocks.forEach((nodes, block) => nodes.forEach((node) => { blockOf[node] = block; }));
      const all = fold.blocks.map((_, block) => block);
      const count = (block) => `${fold.blocks[block].length} nodes`;
      const head = (block) => fold.blocks[block][0];
      blocks.selected.indices = [];
      labels.data = { x: [], y: [], operator: [], name: [] };
      edges.data = { xs: fold.xs, ys: fold.ys };
      blocks.data = {
        x: fold.x, y: fold.y,
        fill: all.map((block) => colour(follows(block))),
        width: all.map((block) => (fold.blocks[block].some(isRewritten) ? 3 : 0.8)),
        operator: all.map((block) => (isFolded(block) ? count(block) : operator(head(block)))),
        full: all.map((block) => (isFolded(block) ? fold.names[block] : first(head(block)))),
        module: all.map((block) => (isFolded(block) ? "" : graph.module[head(block)])),
      };
      $("which").querySelectorAll("button").forEach((b, i) => b.setAttribute("aria-pressed", String(i === whichGraph)));
      const options = graph.folds.map((each, i) => {
        const option = document.createElement("option");
        option.value = String(i);
        option.textContent = each.title;
        return option;
      });
      $("fold").replaceChildren(...options);
      $("fold").value = String(whichFold);
      chosen = -1;
    }

    // The fold that is shown first: of those that are seen well as a whole, the one with the most blocks.
    function firstFold(whichGraph) {
      const { width, height } = size(), { folds } = data.graphs[whichGraph];
      const isSeen = ({ x, y, blocks: all }) => {
        const at = box(all.keys(), { x, y });
        return all.length <= FULL && Math.min(width / at.width, height / at.height) >= SEEN;
      };
      return Math.max(0, folds.findLastIndex(isSeen));
    }

    // Where it is looked at: the middle, and pixels for each unit

    const size = () => ({ width: frame.clientWidth, height: frame.clientHeight });
    const scale = () => size().width / (plot.x_range.end - plot.x_range.start);

    function look(x, y, zoom) {
      const { width, height } = size();
      plot.x_range.setv({ start: x - width / zoom / 2, end: x + width / zoom / 2 });
      plot.y_range.setv({ start: y - height / zoom / 2, end: y + height / zoom / 2 });
    }

    function box(which, { x, y } = fold) {
      const several = [...which], xs = several.map((block) => x[block]), ys = several.map((block) => y[block]);
      const least = (a) => a.reduce((m, v) => Math.min(m, v), Infinity);
      const most = (a) => a.reduce((m, v) => Math.max(m, v), -Infinity);
      const [left, right, bottom, top] = [least(xs), most(xs), least(ys), most(ys)];
      return { x: (left + right) / 2, y: (top + bottom) / 2, width: right - left + 1.3 * FIELD.width,
        height: top - bottom + 2 * FIELD.height, top };
    }

    function fit(which = fold.blocks.keys(), least = 0) {
      const at = box(which), { width, height } = size();
      const zoom = Math.max(least, Math.min(width / at.width, height / at.height, 1.2));
      const below = at.top + FIELD.height - height / zoom / 2;
      look(at.x, at.height * zoom > height ? below : at.y, zoom);
    }

    // At first: all of it, or as much of its beginning as is read well where it is deep.
    const open = () => fit(undefined, Math.min(size().width / box(fold.blocks.keys()).width, LABELS + 0.05));

    const zoomBy = (factor) => {
      const { start, end } = plot.x_range, y = plot.y_range;
      look((start + end) / 2, (y.start + y.end) / 2, scale() * factor);
    };

    function writeLabels() {
      asked = 0;
      const zoom = scale(), isNear = zoom >= LABELS, { x_range: h, y_range: v } = plot;
      const sight = !isNear ? [] : [...fold.x.keys()].filter((block) =>
        Math.abs(2 * fold.x[block] - h.start - h.end) < h.end - h.start + FIELD.width
        && Math.abs(2 * fold.y[block] - v.start - v.end) < v.end - v.start + FIELD.height);
      if (isNear !== wasNear) {
        const line = isNear ? { field: "width" } : { value: 0.5 };
        for (const each of [boxes.glyph, boxes.nonselection_glyph]) each.line_width = line;
      }
      wasNear = isNear;
      if (!sight.length && !labels.data.x.length) return;
      for (const { glyph, name } of written) {
        glyph.text_font_size = { value: `${Math.min(22, 12 * zoom).toFixed(1)}px` };
        glyph.y_offset = { value: (name === "operators" ? -8 : 8) * zoom };
      }
      labels.data = {
        x: sight.map((block) => fold.x[block]), y: sight.map((block) => fold.y[block]),
        operator: sight.map((block) => short(blocks.data.operator[block])),
        name: sight.map((block) => short(blocks.data.full[block])),
      };
    }
    const writeSoon = () => { asked ||= requestAnimationFrame(writeLabels); };
    for (const range of [plot.x_range, plot.y_range]) range.change.connect(writeSoon);

    // What is told of a block

    function number(n) {
      const [unit, suffix] = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]].find(([u]) => n >= 0.9995 * u) ?? [1, ""];
      return Number((n / unit).toPrecision(3)) + suffix;
    }

    function element(tag, text, ...children) {
      const made = document.createElement(tag);
      if (text) made.textContent = text;
      made.append(...children);
      return made;
    }

    function link(text, act) {
      const made = element("button", text);
      made.type = "button";
      made.addEventListener("click", act);
      return made;
    }

    function list(facts) {
      const made = element("dl");
      for (const [term, said] of facts) {
        if (said === "" || said === undefined || said === null) continue;
        made.append(element("dt", term), said instanceof Node ? element("dd", "", said) : element("dd", String(said)));
      }
      return made;
    }

    function items(tag, entries) {
      return element(tag, "", ...entries.map((each) => (each instanceof Node ? element("li", "", each) : element("li", each))));
    }

    const FOLLOWS = { request: "the request alone", candidates: "the candidates alone", both: "the request and the candidates",
      neither: "shapes and constants" };
    const DONE = { applied: "rewritten", refused: "refused", broken: "left as it is after an error in its rule",
      "as is": "left as it is" };

    function toNode(node) {
      return link(`${operator(node)} ${first(node)}`, () => choose(blockOf[node], true));
    }

    function ofNode(node) {
      const remark = data.remarks[graph.remark[node]];
      const macs = graph.macs[node];
      const readers = [...graph.reads.keys()].filter((other) => graph.reads[other].includes(node));
      const original = graph.original[node];
      const before = original && data.graphs[0].tensors.findIndex((made) => made.includes(original));
      const facts = [
        ["node", graph.name[node]], ["module", graph.module[node]],
        ["follows from", FOLLOWS[graph.follows[node]]],
        ["multiply-adds", macs ? number(macs) : ""],
        ["measured", graph.time[node] === null ? "" : `${graph.time[node].toPrecision(3)} µs`],
        ["a form of", original && (before >= 0 ? link(original, () => show(0, before)) : original)],
      ];
      if (remark) {
        const product = original ? `of ${remark.tensor}: ` : "";
        facts.push(
          ["done", `${DONE[remark.status]} (${remark.rule})`], ["form", remark.forms], ["why", remark.reason],
          ["product", remark.macs_before ? `${product}${number(remark.macs_before)} → ${number(remark.macs_after)}` : ""],
          ["next step", remark.next_step], ["because", remark.because.length ? items("ol", remark.because) : ""],
        );
      }
      facts.push(
        ["reads", graph.reads[node].length ? items("ul", graph.reads[node].map(toNode)) : ""],
        ["read by", readers.length ? items("ul", readers.map(toNode)) : ""],
        ["output of the model", graph.tensors[node].some((name) => graph.outputs.includes(name)) ? "yes" : ""],
      );
      return [element("h3", `${operator(node)} ${graph.tensors[node].join(", ")}`), list(facts)];
    }

    function ofModule(block) {
      const nodes = fold.blocks[block], MOST = 60;
      const ordered = [...nodes].sort((a, b) => (graph.macs[b] ?? 0) - (graph.macs[a] ?? 0));
      const macs = sum(nodes.map((node) => graph.macs[node])), time = sum(nodes.map((node) => graph.time[node]));
      const facts = [
        ["follows from", FOLLOWS[follows(block)]], ["multiply-adds", macs ? number(macs) : ""],
        ["measured", time ? `${time.toPrecision(3)} µs` : ""], ["", link("Unfold", () => unfold(block))],
        [`${nodes.length} nodes`, items("ul", ordered.slice(0, MOST).map((node) => {
          const known = graph.macs[node] ? `, ${number(graph.macs[node])} multiply-adds` : "";
          return link(`${operator(node)} ${first(node)}${known}`, () => show(data.graphs.indexOf(graph), node));
        }))],
        ["", nodes.length > MOST ? `and ${nodes.length - MOST} more` : ""],
      ];
      return [element("h3", fold.names[block]), list(facts)];
    }

    function choose(block, move = false) {
      chosen = block;
      blocks.selected.indices = block < 0 ? [] : [block];
      if (block < 0) return;
      $("about").replaceChildren(...(isFolded(block) ? ofModule(block) : ofNode(fold.blocks[block][0])));
      $("about").scrollTop = 0;
      if (move) look(fold.x[block], fold.y[block], Math.max(scale(), 0.8));
    }

    function show(whichGraph, node) {
      const last = data.graphs[whichGraph].folds.length - 1;
      if (graph !== data.graphs[whichGraph] || fold !== graph.folds[last]) draw(whichGraph, last);
      choose(blockOf[node], true);
    }

    function unfold(block) {
      const nodes = fold.blocks[block], at = graph.folds.indexOf(fold);
      const next = graph.folds.findIndex((each, i) => i > at && each.blocks.length > fold.blocks.length
        && !each.blocks.some((other) => other.length === nodes.length && other[0] === nodes[0]));
      draw(data.graphs.indexOf(graph), next < 0 ? graph.folds.length - 1 : next);
      fit([...new Set(nodes.map((node) => blockOf[node]))], LABELS);
      frame.focus({ preventScroll: true });
    }

    // Search

    function search() {
      const words = $("search").value.trim().toLowerCase(), MOST = 30;
      const found = [];
      if (words) {
        for (let node = 0; node < graph.name.length; node++) {
          const names = [graph.name[node], graph.module[node], graph.original[node], ...graph.tensors[node]];
          if (names.some((name) => name.toLowerCase().includes(words))) found.push(node);
        }
      }
      const entries = found.slice(0, MOST).map((node) => element("li", "", link(`${operator(node)} ${first(node)}`,
        () => show(data.graphs.indexOf(graph), node))));
      const said = !words ? "" : found.length > MOST ? `${found.length - MOST} more` : found.length ? "" : "Nothing is called so.";
      $("found").replaceChildren(...entries, ...(said ? [element("li", said)] : []));
      blocks.selected.indices = words ? [...new Set(found.map((node) => blockOf[node]))] : chosen < 0 ? [] : [chosen];
    }

    // Keys, in the picture

    function step(x, y) {
      if (chosen < 0) return choose(0, true);
      let best = -1, least = Infinity;
      fold.x.forEach((_, block) => {
        const across = fold.x[block] - fold.x[chosen], down = fold.y[block] - fold.y[chosen];
        const ahead = across * x + down * y, aside = Math.abs(across * y) + Math.abs(down * x);
        const far = ahead + 3 * aside;
        if (ahead > 1 && far < least) [best, least] = [block, far];
      });
      if (best >= 0) choose(best, true);
    }

    const KEYS = {
      ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, 1), ArrowDown: () => step(0, -1),
      "+": () => zoomBy(1.4), "=": () => zoomBy(1.4), "-": () => zoomBy(1 / 1.4), "0": () => fit(),
      Enter: () => chosen >= 0 && isFolded(chosen) && unfold(chosen), Escape: () => choose(-1),
    };
    frame.addEventListener("keydown", (event) => {
      const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : KEYS[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });

    blocks.selected.change.connect(() => {
      const now = blocks.selected.indices;
      if (now.length === 1 && now[0] !== chosen) choose(now[0]);
    });
    $("which").querySelectorAll("button").forEach((button, i) => button.addEventListener("click", () => {
      graph = data.graphs[i];
      draw(i, firstFold(i));
      open();
      search();
    }));
    $("fold").addEventListener("change", () => {
      draw(data.graphs.indexOf(graph), Number($("fold").value));
      open();
      search();
    });
    $("search").addEventListener("input", search);
    $("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter") $("found").querySelector("button")?.click();
    });
    const acts = [() => zoomBy(1.4), () => zoomBy(1 / 1.4), () => fit()];
    $("zoom").querySelectorAll("button").forEach((button, i) => button.addEventListener("click", acts[i]));
    dark.addEventListener("change", () => draw(data.graphs.indexOf(graph), graph.folds.indexOf(fold)));

    graph = data.graphs[0];
    draw(0, firstFold(0));
    open();
    writeLabels();
    new ResizeObserver(() => {
      const y = plot.y_range;
      look((plot.x_range.start + plot.x_range.end) / 2, (y.start + y.end) / 2, Math.max(scale(), 0.02));
    }).observe(frame);
  }
})();
