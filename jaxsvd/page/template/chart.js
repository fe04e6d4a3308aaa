// ---- A chart: curves over named places, read with the pointer or the arrow keys. ----

const MARKS = {
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  square: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  triangle: (r) => `M0,${-1.2 * r}L${1.1 * r},${0.9 * r}H${-1.1 * r}Z`,
  diamond: (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0Z`,
  tip: (r) => `M0,${1.2 * r}L${1.1 * r},${-0.9 * r}H${-1.1 * r}Z`,
};
const MARK_NAMES = Object.keys(MARKS);
const DASHES = [null, "6 3", "2 3", "8 3 2 3", "12 4"];
const QUALITATIVE = 5,
  RAMP = 5;

// A few series get distinct colours, many a ramp from the first to the last.
function colour(i, count) {
  if (count <= QUALITATIVE) return `var(--c${i})`;
  const at = (i / (count - 1)) * (RAMP - 1),
    low = Math.min(Math.floor(at), RAMP - 2);
  return `color-mix(in oklab, var(--r${low + 1}) ${(100 * (at - low)).toFixed(1)}%, var(--r${low}))`;
}

function mark(name, x, y, r, tone, hollow) {
  const path = svg("path", {
    class: "mark",
    d: MARKS[name](r),
    transform: `translate(${x} ${y})`,
    "stroke-width": 1.6,
  });
  path.style.stroke = tone;
  path.style.fill = hollow ? "var(--page)" : tone;
  return path;
}

function swatch(series) {
  const picture = svg("svg", { class: "swatch", viewBox: "0 0 26 12", "aria-hidden": "true" });
  if (series.connected) {
    const line = svg("line", {
      x1: 0,
      x2: 26,
      y1: 6,
      y2: 6,
      "stroke-width": 1.6,
      "stroke-dasharray": series.dash,
    });
    line.style.stroke = series.colour;
    picture.append(line);
  }
  if (series.mark) picture.append(mark(series.mark, 13, 6, 3.4, series.colour, false));
  return picture;
}

function ticksBetween(low, high, wanted) {
  const rough = (high - low) / wanted,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    ticks.push(i * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// Places and texts of the marks of an axis.
function axisTicks(low, high, log) {
  if (!log) {
    const { ticks, digits } = ticksBetween(low, high, 6);
    return ticks.map((tick) => [tick, tick.toFixed(digits)]);
  }
  const span = high - low;
  const steps =
    span > 3 ? [1] : span > 1.2 ? [1, 3] : span > 0.6 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  const found = [];
  for (let e = Math.floor(low); e <= high; e++)
    for (const step of steps) {
      const at = e + Math.log10(step);
      if (at < low || at > high) continue;
      const plain = grouped(Number((step * 10 ** e).toPrecision(2)));
      found.push([at, plain]);
    }
  return found;
}

// spec: {x: names, xLabel, yLabel, range: [low, high], log, rules: [{y, text}],
//        series: [{name, colour, mark, dash, connected, points: [{x, y, low, high, hollow, lines}]}]}
// y, low, high and range are in the units of the axis: decades where it is logarithmic.
function chart(label) {
  const tip = el("div", { class: "tip", role: "status" });
  const canvas = svg("svg", {
    tabindex: 0,
    role: "group",
    "aria-roledescription": "chart",
    "aria-label": `${label}. Arrow keys go from point to point.`,
  });
  const root = el("div", { class: "chart" }, canvas, tip);
  let spec = null,
    width = 0,
    places = [],
    shown = null;

  function draw() {
    if (!spec || !root.clientWidth) return;
    width = root.clientWidth;
    const height = Math.round(Math.max(270, Math.min(400, width * 0.46)));
    const box = { left: spec.log ? 84 : 68, right: width - 10, top: 14, bottom: height - 46 };
    const [low, high] = spec.range;
    const slot = (box.right - box.left) / spec.x.length;
    const X = (i) => box.left + slot * (i + 0.5);
    const Y = (v) => box.bottom - ((v - low) / (high - low)) * (box.bottom - box.top);
    canvas.replaceChildren();
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.setAttribute("height", height);
    frame(canvas, spec, box, X, Y, slot);
    places = [];
    // Bars side by side can be read; marks alone need no room.
    const gaps = spec.series.length - 1;
    const apart = !spec.bars || gaps > 11 ? 0 : Math.min(9, (0.5 * slot) / Math.max(gaps, 1));
    spec.series.forEach((series, s) => {
      const shift = apart * (s - gaps / 2);
      const group = svg("g", { class: "series", "data-name": series.name });
      const at = series.points.map((p) => ({ ...p, px: X(p.x) + shift, py: Y(p.y), series }));
      if (series.connected) {
        const line = svg("path", {
          class: "curve",
          "stroke-dasharray": series.dash,
          d: at.map((p, i) => `${i ? "L" : "M"}${p.px.toFixed(1)},${p.py.toFixed(1)}`).join(""),
        });
        line.style.stroke = series.colour;
        group.append(line);
      }
      for (const p of at) {
        if (spec.bars && p.low !== undefined) {
          const bar = svg("path", {
            class: "bar",
            fill: "none",
            d: `M${p.px},${Y(p.low)}V${Y(p.high)}M${p.px - 3},${Y(p.low)}h6M${p.px - 3},${Y(p.high)}h6`,
          });
          bar.style.stroke = series.colour;
          group.append(bar);
        }
        group.append(mark(series.mark, p.px, p.py, 3.4, series.colour, p.hollow));
      }
      canvas.append(group);
      places.push(...at);
    });
    show(null);
  }

  function show(place) {
    shown = place;
    canvas.querySelectorAll(".halo").forEach((old) => old.remove());
    tip.replaceChildren(...(place ? place.lines.map((line) => el("div", null, line)) : []));
    if (!place) return;
    canvas.append(svg("circle", { class: "halo", cx: place.px, cy: place.py, r: 7 }));
    const w = tip.offsetWidth,
      h = tip.offsetHeight;
    const beside = place.px + 14 + w > width ? place.px - 14 - w : place.px + 14;
    tip.style.left = `${Math.max(0, Math.min(width - w, beside))}px`;
    tip.style.top = `${Math.max(0, place.py - h - 10 < 0 ? place.py + 14 : place.py - h - 10)}px`;
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const x = event.clientX - box.left,
      y = event.clientY - box.top;
    let best = null,
      least = 40 ** 2;
    for (const p of places) {
      const d = (p.px - x) ** 2 + (p.py - y) ** 2;
      if (d < least) [best, least] = [p, d];
    }
    show(best);
  }

  function step(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") show(null);
    if (!(event.key in moves) || !places.length) return;
    event.preventDefault();
    if (!shown) return show(places[0]);
    const [along, across] = moves[event.key];
    const all = spec.series.filter((s) => s.points.length);
    const series = all[(all.indexOf(shown.series) + across + all.length) % all.length];
    const own = places.filter((p) => p.series === series);
    const near = own.reduce((a, b) => (Math.abs(b.x - shown.x) < Math.abs(a.x - shown.x) ? b : a));
    show(along ? own[Math.max(0, Math.min(own.length - 1, own.indexOf(near) + along))] : near);
  }

  canvas.addEventListener("pointermove", nearest);
  canvas.addEventListener("pointerdown", nearest);
  canvas.addEventListener("pointerleave", () => show(null));
  canvas.addEventListener("blur", () => show(null));
  canvas.addEventListener("keydown", step);
  new ResizeObserver(() => {
    if (root.clientWidth !== width) draw();
  }).observe(root);
  return {
    root,
    update(next) {
      spec = next;
      draw();
    },
  };
}

function frame(canvas, spec, box, X, Y, slot) {
  const [low, high] = spec.range;
  for (const [tick, text] of axisTicks(low, high, spec.log)) {
    canvas.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: Y(tick), y2: Y(tick) }),
      svg("text", { x: box.left - 8, y: Y(tick) + 4, "text-anchor": "end" }, text),
    );
  }
  const every = Math.ceil(34 / slot);
  spec.x.forEach((name, i) => {
    if (i % every) return;
    canvas.append(svg("text", { x: X(i), y: box.bottom + 17, "text-anchor": "middle" }, name));
  });
  canvas.append(
    svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    svg(
      "text",
      { class: "soft", x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" },
      spec.xLabel,
    ),
    svg(
      "text",
      {
        class: "soft",
        transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`,
        "text-anchor": "middle",
      },
      spec.yLabel,
    ),
  );
  for (const rule of spec.rules || []) {
    if (rule.y < low || rule.y > high) continue;
    canvas.append(
      svg("line", { class: "rule", x1: box.left, x2: box.right, y1: Y(rule.y), y2: Y(rule.y) }),
      svg(
        "text",
        { class: "soft", x: box.right, y: Y(rule.y) - 5, "text-anchor": "end" },
        rule.text,
      ),
    );
  }
}
