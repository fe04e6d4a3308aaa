// ---- What a change is made of: a picture of two readings, tables, and what the models say ----

const READINGS = ["as the model answers", "with a fitted label prior"];

function noted(given, level) {
  return [
    el(level, null, visible(given.title)),
    table(
      given.columns.map((c) => ({ name: visible(c.name), number: c.number })),
      given.rows,
    ),
    given.note ? el("p", { class: "note", dir: "auto" }, visible(given.note)) : null,
  ];
}

function readingPicture(given) {
  const controls = given.lines.filter((line) => line.kind === "control");
  const tone = (line) =>
    line.kind === "untouched"
      ? "var(--soft)"
      : line.kind === "truncated"
        ? "var(--worse)"
        : "var(--better)";
  const series = given.lines.map((line) => ({
    name: line.name,
    colour: tone(line),
    mark:
      line.kind === "untouched"
        ? "circle"
        : line.kind === "truncated"
          ? "square"
          : MARK_NAMES[(2 + controls.indexOf(line)) % MARK_NAMES.length],
    dash: line.kind === "control" ? "2 3" : null,
    connected: true,
    points: line.values.map((value, i) => ({
      x: i,
      y: value,
      lines: [visible(line.name), READINGS[i], `accuracy ${fixed(value)}`],
    })),
  }));
  const on = new Set(series.map((s) => s.name));
  const picture = chart("Accuracy as the model answers and with a fitted label prior");
  const draw = () => {
    const drawn = series.filter((s) => on.has(s.name));
    const values = drawn.flatMap((s) => s.points.map((p) => p.y));
    const rules =
      given.majority !== null && values.length && given.majority > Math.min(...values) - 0.1
        ? [{ y: given.majority, text: "commonest label" }]
        : [];
    picture.update({
      x: READINGS,
      xLabel: "",
      yLabel: "test accuracy",
      series: drawn,
      rules,
      bars: false,
      range: values.length ? range(drawn, rules, { axis: "chance", bars: false }) : [0, 1],
    });
  };
  queueMicrotask(draw);
  return [
    el(
      "div",
      { class: "controls" },
      el(
        "fieldset",
        { "data-key": "models" },
        el("legend", null, "Models"),
        series.map((s) =>
          check(
            visible(s.name),
            true,
            (checked) => {
              on[checked ? "add" : "delete"](s.name);
              draw();
            },
            swatch(s),
          ),
        ),
      ),
    ),
    el(
      "figure",
      null,
      picture.root,
      el(
        "figcaption",
        null,
        "Lines that are apart on the left and meet on the right differ by the label prior alone.",
      ),
    ),
  ];
}

function explanation(given) {
  section(
    `Is it real? What changed: ${given.verdict}`,
    readingPicture(given),
    given.text.map((line) => el("p", { dir: "auto" }, visible(line))),
    given.tables.flatMap((one) => noted(one, "h3")),
  );
}

function answers(given) {
  const [, ...rest] = noted(given, "h3");
  section(visible(given.title), rest);
}
