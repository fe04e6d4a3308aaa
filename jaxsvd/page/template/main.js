// ---- The page ----

function conditions(given) {
  const number = (value) => (typeof value === "number" ? value : null);
  const pairs = given.matrices.flatMap((matrix, j) =>
    given.values.map((row, i) => ({ matrix, i, value: number(row[j]) })),
  );
  const finite = pairs
    .filter((p) => p.value !== null && p.value > 0)
    .map((p) => Math.log10(p.value));
  const title = given.chosen === null ? "Condition numbers" : "How the layer was chosen";
  const text = (value) =>
    typeof value === "number"
      ? Number(value.toPrecision(5)).toLocaleString("en-US", { maximumSignificantDigits: 5 })
      : value === null
        ? ""
        : String(value);
  const rows = given.layers.map((layer, i) => [String(layer), ...given.values[i].map(text)]);
  const rule =
    given.chosen === null
      ? null
      : el(
          "p",
          null,
          `Layer ${given.chosen} is the deepest of the layers with the largest condition number of the module: ${given.top.join(", ")}.`,
        );
  const figure = [];
  if (finite.length) {
    const low = Math.min(...finite),
      high = Math.max(...finite),
      room = Math.max(0.1, (high - low) * 0.06);
    const picture = chart("Condition numbers by layer");
    const series = given.matrices.map((matrix, j) => ({
      name: matrix,
      colour: colour(j, given.matrices.length),
      mark: MARK_NAMES[j % MARK_NAMES.length],
      dash: DASHES[j % DASHES.length],
      connected: true,
      points: pairs
        .filter((p) => p.matrix === matrix && p.value > 0)
        .map((p) => ({
          x: p.i,
          y: Math.log10(p.value),
          lines: [`${matrix} of layer ${given.layers[p.i]}`, `condition number ${text(p.value)}`],
        })),
    }));
    const on = new Set(given.matrices);
    const draw = () =>
      picture.update({
        x: given.layers.map(String),
        xLabel: "layer",
        yLabel: "condition number (2-norm)",
        log: true,
        range: [low - room, high + room],
        series: series.filter((s) => on.has(s.name)),
      });
    figure.push(
      el(
        "div",
        { class: "controls" },
        el(
          "fieldset",
          null,
          el("legend", null, "Matrices"),
          series.map((s) =>
            check(
              s.name,
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
        el("figcaption", null, "Largest over smallest singular value, logarithmic."),
      ),
    );
    queueMicrotask(draw);
  }
  section(
    title,
    rule,
    figure,
    table(
      [{ name: "layer", number: true }, ...given.matrices.map((name) => ({ name, number: true }))],
      rows,
      { chosen: (i) => given.layers[i] === given.chosen },
    ),
  );
}

function plainTables(tables) {
  if (!tables.length) return;
  const numeric = (rows, j) =>
    rows.every((row) => /^[\s\d.,eE+\u2212\u2013-]*$|^-?inf$|^nan$/.test(row[j]));
  const parts = tables.flatMap((t) => [
    el("h3", null, visible(t.title)),
    table(
      t.columns.map((name, j) => ({
        name: visible(name),
        number: t.columns.length > 2 && numeric(t.rows, j),
      })),
      t.rows,
    ),
    t.left_out
      ? el("p", { class: "left-out" }, `${grouped(t.left_out)} more rows are in result.json.`)
      : null,
  ]);
  section(
    data.curves || data.conditions ? "What else result.json holds" : "What it measured",
    parts,
  );
}

// Lines break at spaces only: a hyphen at the end of a line would be mistaken for its own.
function wholeWords(line) {
  return line
    .split(" ")
    .flatMap((word, i) => [i ? " " : null, el("span", { class: "word" }, word)]);
}

function repetition(repeat, versions) {
  const part = section("To repeat it");
  if (repeat.command)
    part.append(el("pre", { class: "command", tabindex: 0 }, wholeWords(visible(repeat.command))));
  part.append(...repeat.notes.map((note) => el("p", { class: "note" }, visible(note))));
  if (versions.length) part.append(table([{ name: "measured with" }, { name: "" }], versions));
}

const facts = data.facts.flatMap(([name, value]) => [
  el("dt", null, name),
  el("dd", { dir: "auto" }, visible(value)),
]);
document
  .getElementById("page")
  .append(
    el("dl", { class: "facts" }, facts),
    ...data.notices.map((notice) =>
      el("p", { class: "note", dir: "auto" }, `Note: ${visible(notice)}`),
    ),
  );
if (data.curves) curves(data.curves);
if (data.explanation) explanation(data.explanation);
if (data.answers) answers(data.answers);
if (data.flips) flips(data.flips);
if (data.conditions) conditions(data.conditions);
plainTables(data.tables);
repetition(data.repeat, data.versions);
document.documentElement.dataset.ready = "yes";
