// ---- Accuracy over the clipping rate ----

const MANY_LAYERS = 8;

// How a series looks: colour by layer, mark and dash by module; by what differs where one is single.
// Of many layers a few shown have distinct colours, which the swatches follow.
function look(selection, point, shown) {
  const { layers, modules, splits } = selection;
  const module = modules.indexOf(point.module),
    split = splits.indexOf(point.split);
  const kind = layers.length > 1 || modules.length > 1 ? module : split;
  const drawn =
    layers.length > QUALITATIVE && shown.size <= QUALITATIVE
      ? layers.filter((layer) => shown.has(layer))
      : layers;
  const tone =
    layers.length > 1
      ? drawn.includes(point.layer)
        ? colour(drawn.indexOf(point.layer), drawn.length)
        : "var(--rule)"
      : modules.length > 1
        ? colour(module, modules.length)
        : colour(split, splits.length);
  return {
    colour: tone,
    mark: MARK_NAMES[kind % MARK_NAMES.length],
    dash: DASHES[kind % DASHES.length],
    connected: point.split !== "test",
  };
}

function curves(given) {
  const selection = new Selection(given.points);
  const { layers, modules, splits, rates } = selection;
  const ends = new Set(
    layers.length > MANY_LAYERS ? [...layers.slice(0, 2), ...layers.slice(-2)] : layers,
  );
  const on = { layer: ends, module: new Set(modules), split: new Set(splits) };
  const view = { bars: true, axis: "chance" };
  const picture = chart("Accuracy over the clipping rate");
  const caption = el("figcaption", null);

  function draw() {
    const names = [...selection.summaries()].filter(
      ([, [p]]) => on.layer.has(p.layer) && on.module.has(p.module) && on.split.has(p.split),
    );
    const series = names.map(([name, points]) => ({
      name,
      ...look(selection, points[0], on.layer),
      points: points.map((p) => ({
        x: rates.indexOf(p.rate),
        y: p.value,
        low: p.low,
        high: p.high,
        hollow: p.split === "test" && p.rate === 0,
        lines: p.lines,
      })),
    }));
    const rules = given.chance === null ? [] : [{ y: given.chance, text: "chance" }];
    picture.update({
      x: rates.map(String),
      xLabel: "clipping rate of the rank",
      yLabel: "accuracy",
      series,
      rules,
      bars: view.bars,
      range: range(series, rules, view),
    });
    sets.forEach((set) => set && set.repaint());
    caption.textContent = captionText(selection, rules.length > 0);
  }

  selection.listeners.push(draw);
  const sets = [
    toggles("Layers", layers, on, "layer", selection, draw),
    toggles("Modules", modules, on, "module", selection, draw),
    toggles("Sets", splits, on, "split", selection, draw),
  ];
  const part = section(
    "Accuracy over the clipping rate",
    el(
      "div",
      { class: "controls" },
      sets.map((set) => set && set.root),
      selection.controls(),
      check("intervals", true, (value) => {
        view.bars = value;
        draw();
      }),
      choose(
        "axis",
        [
          ["chance", "with chance"],
          ["data", "close up"],
          ["unit", "0 to 1"],
        ],
        (value) => {
          view.axis = value;
          draw();
        },
      ),
    ),
    el("figure", null, picture.root, caption),
  );
  if (given.heat_map) heatMaps(selection);
  (given.heat_map ? document.getElementById("page").lastElementChild : part).append(
    numbers(selection, given),
  );
  selection.changed();
}

function toggles(title, values, on, key, selection, draw) {
  if (values.length < 2) return null;
  const mine = on[key],
    many = selection.layers.length > 1;
  const picture = (value) => {
    const like = {
      layer: selection.layers[0],
      module: selection.modules[0],
      split: selection.splits[0],
      [key]: value,
    };
    const full = look(selection, like, on.layer);
    // A layer's sample shows only its colour, a module's only its mark and dash.
    return swatch(
      many && key === "layer"
        ? { ...full, mark: null, dash: null, connected: true }
        : many && key === "module"
          ? { ...full, colour: "var(--soft)" }
          : full,
    );
  };
  const set = (value, checked) => mine[checked ? "add" : "delete"](value);
  const boxes = values.map((value) =>
    check(
      String(value),
      mine.has(value),
      (checked) => {
        set(value, checked);
        draw();
      },
      picture(value),
    ),
  );
  const every = (checked) => () => {
    values.forEach((value, i) => {
      set(value, checked);
      boxes[i].querySelector("input").checked = checked;
    });
    draw();
  };
  const all =
    values.length > 3
      ? [
          el("button", { type: "button", class: "plain", click: every(true) }, "all"),
          el("button", { type: "button", class: "plain", click: every(false) }, "none"),
        ]
      : [];
  return {
    root: el("fieldset", { "data-key": key }, el("legend", null, title), boxes, all),
    repaint: () =>
      boxes.forEach((box, i) => box.querySelector(".swatch").replaceWith(picture(values[i]))),
  };
}

function range(series, rules, view) {
  if (view.axis === "unit") return [0, 1];
  const ends = series.flatMap((s) =>
    s.points.flatMap((p) => (view.bars ? [p.low, p.high] : [p.y])),
  );
  if (view.axis === "chance") ends.push(...rules.map((rule) => rule.y));
  if (!ends.length) return [0, 1];
  const low = Math.min(...ends),
    high = Math.max(...ends);
  const room = Math.max((high - low) * 0.06, 0.004);
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

function captionText(selection, chance) {
  const several = selection.seed === ALL_SEEDS;
  const bars = several
    ? `Points are means over ${selection.seeds.length} seeds, bars go from the lowest to the highest of them.`
    : "Bars are 95 % Wilson intervals of a single draw.";
  const tested = selection.splits.includes("test")
    ? " Squares are the test set: hollow untouched, filled at the chosen rate."
    : "";
  const chosen = selection.drawText();
  return `${chosen ? `Shown: ${chosen}. ` : ""}${bars}${tested} Rates are evenly spaced, not to scale; rate 0 is the untouched model.${chance ? " The dashed line is chance." : ""}`;
}

function numbers(selection, given) {
  const columns = ["set", "module", "layer", "shots", "seed"]
    .map((name) => ({
      name,
      key: name === "set" ? "split" : name,
      number: !["set", "module"].includes(name),
    }))
    .filter((c) => distinct(selection.points, c.key).length > 1);
  const measured = [
    "rate",
    "rank",
    "right",
    "accuracy",
    "95 % interval",
    "change",
    "95 % interval",
    "gained",
    "lost",
    "p",
  ].map((name) => ({ name, number: true }));
  const row = (p) => {
    const c = p.rate > 0 ? p.change : null;
    const pair = c
      ? [
          signed(c.difference),
          `${signed(c.interval[0])} to ${signed(c.interval[1])}`,
          grouped(c.gained),
          grouped(c.lost),
          probability(c.p_value),
        ]
      : ["", "", "", "", ""];
    return [
      ...columns.map((k) => String(p[k.key])),
      String(p.rate),
      p.rank === null ? "full" : String(p.rank),
      `${grouped(p.correct)} / ${grouped(p.total)}`,
      fixed(p.accuracy),
      intervalText(p),
      ...pair,
    ];
  };
  const body = el("div", null);
  const open = () => {
    if (body.childElementCount) return;
    const chosen = (i) => given.chosen > 0 && selection.points[i].rate === given.chosen;
    body.append(
      table([...columns, ...measured], selection.points.map(row), { chosen }),
      el(
        "p",
        { class: "note" },
        "Change, gained, lost and p (exact McNemar, one comparison at a time) are against rate 0 on the same examples.",
      ),
    );
  };
  const details = el(
    "details",
    { toggle: open },
    el("summary", null, `Numbers behind the curves (${grouped(selection.points.length)})`),
    body,
  );
  if (selection.points.length <= 20) details.open = true;
  return details;
}
