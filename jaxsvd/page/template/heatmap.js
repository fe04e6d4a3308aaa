// ---- Layer by rate, a map for each module ----

function heatMaps(selection) {
  const view = { shows: "change" };
  const maps = el("div", { class: "maps" });
  const caption = el("figcaption", null);
  const tip = el("div", { class: "tip", role: "status" });
  const holder = el("div", { class: "chart" }, maps, tip);

  function draw() {
    const summaries = [...selection.summaries().values()].filter(
      ([p]) => p.split === selection.splits[0],
    );
    const shown = [];
    for (const points of summaries) {
      const base = points.find((p) => p.rate === 0);
      for (const p of points) {
        const value =
          view.shows === "accuracy" ? p.value : base && p.rate > 0 ? p.value - base.value : null;
        const mean =
          base && p.rate > 0 && selection.seed === ALL_SEEDS
            ? [`mean change against rate 0: ${signed(p.value - base.value)}`]
            : [];
        if (value !== null) shown.push({ ...p, cell: value, lines: [...p.lines, ...mean] });
      }
    }
    const largest = Math.max(...shown.map((p) => Math.abs(p.cell)), 1e-9);
    maps.replaceChildren(
      ...selection.modules.map((module) =>
        heatMap(
          module,
          shown.filter((p) => p.module === module),
          largest,
          view,
          selection,
          tip,
          holder,
        ),
      ),
    );
    caption.textContent = mapCaption(selection, view);
  }

  selection.listeners.push(draw);
  section(
    "Layer by rate",
    el(
      "div",
      { class: "controls" },
      selection.controls(),
      choose(
        "cells show",
        [
          ["change", "change against rate 0"],
          ["accuracy", "accuracy"],
        ],
        (value) => {
          view.shows = value;
          draw();
        },
      ),
    ),
    el("figure", null, holder, caption),
  );
}

function mapCaption(selection, view) {
  const draw = selection.drawText(),
    shown = draw ? `Shown: ${draw}. ` : "";
  const several = selection.seed === ALL_SEEDS;
  if (view.shows === "accuracy")
    return `${shown}${several ? "Mean accuracy over seeds" : "Accuracy"}; the darker the higher.`;
  const noise = several
    ? ""
    : " Bold and underlined: beyond noise (exact McNemar, Holm\u2019s correction at 5 % over all truncated models of the run).";
  return `${shown}${several ? "Mean change" : "Change"} in accuracy against the untouched model: blue is better, orange worse.${noise}`;
}

function heatMap(module, points, largest, view, selection, tip, holder) {
  const rates = selection.rates.filter((rate) => points.some((p) => p.rate === rate));
  const digits = view.shows === "accuracy" || largest >= 0.01 ? 3 : 4;
  const text = (p) =>
    (view.shows === "accuracy" ? p.cell.toFixed(digits) : signed(p.cell, digits)).replace(
      "0.",
      ".",
    );
  const rows = selection.layers
    .filter((layer) => points.some((p) => p.layer === layer))
    .map((layer) =>
      el(
        "tr",
        null,
        el("th", { scope: "row" }, String(layer)),
        rates.map((rate) => {
          const p = points.find((q) => q.layer === layer && q.rate === rate);
          return p ? mapCell(p, text(p), largest, view, tip, holder) : el("td", null);
        }),
      ),
    );
  const head = el(
    "tr",
    null,
    el("th", { scope: "col" }, "layer"),
    rates.map((rate) => el("th", { scope: "col" }, String(rate))),
  );
  const made = el(
    "table",
    { class: "map" },
    el("caption", null, `${module}, by layer and clipping rate`),
    el("thead", null, head),
    el("tbody", null, rows),
  );
  walkable(made, tip);
  return el("div", { class: "scroll" }, made);
}

function mapCell(p, text, largest, view, tip, holder) {
  const show = () => {
    tip.replaceChildren(...p.lines.map((line) => el("div", null, line)));
    const at = cell.getBoundingClientRect(),
      box = holder.getBoundingClientRect();
    const left = Math.min(at.left - box.left, box.width - tip.offsetWidth);
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${at.bottom - box.top + 6}px`;
  };
  const hide = () => tip.replaceChildren();
  const beyond = view.shows === "change" && p.beyond_noise;
  const cell = el(
    "td",
    {
      class: beyond ? "beyond" : null,
      tabindex: -1,
      pointerenter: show,
      pointerleave: hide,
      focus: show,
      blur: hide,
    },
    text,
  );
  cell.style.setProperty("--tone", p.cell < 0 ? "var(--worse)" : "var(--better)");
  cell.style.setProperty(
    "--depth",
    `${(60 * Math.min(1, Math.abs(p.cell) / largest)).toFixed(1)}%`,
  );
  return cell;
}

// One stop for the tab key; arrows go from cell to cell.
function walkable(made, tip) {
  const cells = [...made.tBodies[0].rows].map((row) => [...row.cells].slice(1));
  if (!cells.length || !cells[0].length) return;
  cells[0][0].tabIndex = 0;
  made.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Escape") tip.replaceChildren();
    if (!(event.key in moves)) return;
    const i = cells.findIndex((row) => row.includes(event.target));
    if (i < 0) return;
    const [down, right] = moves[event.key];
    const next = (cells[i + down] || [])[cells[i].indexOf(event.target) + right];
    event.preventDefault();
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
