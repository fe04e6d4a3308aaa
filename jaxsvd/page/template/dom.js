// ---- Elements: text reaches the page through text nodes only. ----

const data = JSON.parse(document.getElementById("data").textContent);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// Control characters become their pictures; what would turn the reading direction is named, and so
// is half of a pair that lacks its other half.
function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/g, "\u2421")
    .replace(
      /[\u0080-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\p{Surrogate}]/gu,
      (c) => "\u27e8U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9",
    );
}

function section(title, ...children) {
  const part = el("section", null, el("h2", null, title), ...children);
  document.getElementById("page").append(part);
  return part;
}

function table(columns, rows, options = {}) {
  // Columns: {name, number}; a row is a list of texts.
  const head = columns.map((c) =>
    el("th", { scope: "col", class: c.number ? "number" : null }, c.name),
  );
  const body = rows.map((row, i) =>
    el(
      "tr",
      { class: options.chosen && options.chosen(i) ? "chosen" : null },
      row.map((cell, j) =>
        el(
          "td",
          { class: columns[j].number ? "number" : null, dir: columns[j].number ? null : "auto" },
          visible(cell),
        ),
      ),
    ),
  );
  const caption = options.caption ? el("caption", null, options.caption) : null;
  return el(
    "div",
    { class: "scroll" },
    el("table", null, caption, el("thead", null, el("tr", null, head)), el("tbody", null, body)),
  );
}

function choose(name, options, change) {
  // Options: [value, text] pairs; the first is chosen.
  const select = el(
    "select",
    { "aria-label": name, change: () => change(options[select.selectedIndex][0]) },
    options.map(([, text]) => el("option", null, text)),
  );
  return el("label", null, el("span", { class: "name" }, name), select);
}

function check(text, on, change, swatch) {
  const box = el("input", { type: "checkbox", change: () => change(box.checked) });
  box.checked = on;
  return el("label", null, box, swatch, text);
}

// ---- Numbers ----

const DASH = "\u2013",
  MINUS = "\u2212";

function distinct(items, key) {
  const values = [...new Set(items.map((item) => item[key]))];
  return values.sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : 0));
}

function fixed(value, digits = 4) {
  return typeof value === "number" ? value.toFixed(digits) : DASH;
}

function signed(value, digits = 4) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : (value < 0 ? MINUS : "+") + text;
}

function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

function probability(p) {
  return p >= 0.001 ? p.toPrecision(3) : p.toExponential(1);
}
