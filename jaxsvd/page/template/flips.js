// ---- Examples that turned, with their prompts ----

const PAGE = 50;
const GAINED = "wrong \u2192 right",
  LOST = "right \u2192 wrong";

function flips(given) {
  const rows = given.rows.map(([cell, index, gold, before, after, text]) => ({
    ...given.cells[cell],
    index,
    gold,
    before,
    after,
    direction: after === gold ? GAINED : LOST,
    text: text === null ? null : given.texts[text],
  }));
  const varying = new Set(
    ["module", "layer", "shots", "seed"].filter((key) => distinct(rows, key).length > 1),
  );
  const wanted = {};
  let words = "",
    found = [],
    limit = PAGE;
  const list = el("ol", { class: "flips" });
  const count = el("p", { class: "note unprinted", role: "status" });
  const more = el(
    "button",
    {
      type: "button",
      class: "unprinted",
      click: () => {
        limit += PAGE;
        draw();
      },
    },
    `Show ${PAGE} more`,
  );

  function draw() {
    list.replaceChildren(...found.slice(0, limit).map((row) => flipItem(row, given, varying)));
    count.textContent = `${grouped(Math.min(limit, found.length))} shown of ${grouped(found.length)} that match.`;
    more.hidden = found.length <= limit;
  }

  function filter() {
    limit = PAGE;
    found = rows.filter(
      (row) =>
        Object.entries(wanted).every(([key, value]) => value === null || row[key] === value) &&
        (!words || haystack(row, given).includes(words)),
    );
    draw();
  }

  const search = el("input", {
    type: "search",
    placeholder: "Search the prompts",
    "aria-label": "Search the prompts",
    input: () => {
      words = search.value.toLowerCase();
      filter();
    },
  });
  const selects = [
    ["direction", "direction"],
    ["split", "set"],
    ["module", "module"],
    ["layer", "layer"],
    ["rate", "rate"],
    ["shots", "shots"],
    ["seed", "seed"],
  ]
    .map(([key, name]) => [key, name, distinct(rows, key).filter((v) => v !== null)])
    .filter(([, , values]) => values.length > 1)
    .map(([key, name, values]) =>
      choose(name, [[null, "any"], ...values.map((v) => [v, String(v)])], (value) => {
        wanted[key] = value;
        filter();
      }),
    );
  section(
    "Examples that turned against rate 0",
    el("p", null, flipCounts(given)),
    el("div", { class: "controls flip-controls" }, given.texts.length ? search : null, selects),
    count,
    list,
    more,
  );
  filter();
}

function flipCounts(given) {
  const sum = (key) => given.cells.reduce((total, cell) => total + cell[key], 0);
  const counts = `${grouped(sum("gained"))} ${GAINED}, ${grouped(sum("lost"))} ${LOST}, counted once for each truncated model.`;
  const kept =
    given.shown < given.total
      ? ` This page holds ${grouped(given.shown)} of these ${grouped(given.total)}: the first of each truncated model and direction, in even shares.`
      : "";
  const left = given.texts_left_out
    ? ` ${grouped(given.texts_left_out)} prompts were left out to keep the page small.`
    : "";
  const saved = given.prompts_saved ? "" : " The run has no prompts; --save-prompts keeps them.";
  return counts + kept + left + saved;
}

function candidateName(row, given, i) {
  const own = row.text && row.text.candidates[i];
  return own ? own.head.trim() : given.labels[i] === undefined ? `candidate ${i}` : given.labels[i];
}

function haystack(row, given) {
  const text = row.text;
  if (!text) return given.labels.join(" ").toLowerCase();
  if (text.searched === undefined)
    text.searched = [text.head, text.tail, ...text.candidates.map((c) => c.head)]
      .join("\n")
      .toLowerCase();
  return text.searched;
}

// The end of a prompt is its question: as many of its last lines as make a phrase.
function excerpt(text) {
  const lines = (text.omitted ? text.tail : text.head + text.tail).slice(-600).split("\n");
  let end = "";
  while (lines.length && end.length < 20) end = `${lines.pop().trim()} ${end}`.trim();
  return end.length > 130 ? "\u2026" + end.slice(-130) : end;
}

function placeText(row, varying) {
  const parts = [`${row.split} ${row.index}`];
  if (!row.edits && (varying.has("module") || varying.has("layer")))
    parts.push(`${row.module} of layer ${row.layer}`);
  if (varying.has("shots")) parts.push(`${row.shots} shots`);
  if (varying.has("seed")) parts.push(`seed ${row.seed}`);
  return [...parts, variantName(row)].join(", ");
}

// Several edits at once have no rate of their own.
function variantName(row) {
  return row.edits || `rate ${row.rate}`;
}

function flipItem(row, given, varying) {
  const short = (i) => {
    const name = candidateName(row, given, i);
    return name.length > 24 ? name.slice(0, 23) + "\u2026" : name;
  };
  const turn = `${short(row.before)} \u2192 ${short(row.after)}`;
  const details = el(
    "details",
    {
      toggle: () => {
        if (details.open && details.childElementCount === 1) details.append(flipBody(row, given));
      },
    },
    el(
      "summary",
      null,
      el("span", { class: row.direction === GAINED ? "gained" : "lost" }, row.direction),
      el("span", { class: "where" }, placeText(row, varying)),
      el(
        "span",
        { class: "excerpt" },
        el("bdi", null, visible(row.text ? excerpt(row.text) : turn)),
      ),
    ),
  );
  return el("li", null, details);
}

function flipBody(row, given) {
  const count = Math.max(
    given.labels.length,
    row.text ? row.text.candidates.length : 0,
    row.gold + 1,
    row.before + 1,
    row.after + 1,
  );
  const roles = [...Array(count).keys()].map((i) => {
    const told = [
      i === row.gold && "right answer",
      i === row.before && "preferred at rate 0",
      i === row.after && `preferred at ${variantName(row)}`,
    ].filter(Boolean);
    return el(
      "li",
      null,
      el("bdi", null, visible(candidateName(row, given, i))),
      told.length ? ` (${told.join(", ")})` : "",
    );
  });
  const parts = [];
  if (row.text) {
    const prefix = given.prefixes[row.text.prefix];
    if (prefix.head)
      parts.push(
        el(
          "details",
          null,
          el("summary", null, "Demonstrations before it, the same for every prompt of this draw"),
          prompt(prefix),
        ),
      );
    parts.push(prompt(row.text));
  } else if (given.prompts_saved)
    parts.push(el("p", { class: "note" }, "The prompt was left out to keep the page small."));
  return el("div", { class: "opened" }, parts, el("ul", { class: "candidates" }, roles));
}

function prompt(text) {
  const cut = text.omitted
    ? [el("span", { class: "cut" }, ` [${grouped(text.omitted)} characters left out here] `)]
    : [];
  return el("pre", { dir: "auto", tabindex: 0 }, visible(text.head), cut, visible(text.tail));
}
