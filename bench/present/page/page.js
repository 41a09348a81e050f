"use strict";
// Draws the pictures, and lets tables be sorted, filtered and copied. No request leaves this page.

const root = document.documentElement;
const plots = [...document.querySelectorAll(".plot")];
const waiting = [...plots];

// -- colours ------------------------------------------------------------------------------------

function isDark() {
  const chosen = root.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function themed(layout) {
  const style = getComputedStyle(root);
  const ink = style.getPropertyValue("--ink").trim();
  const soft = style.getPropertyValue("--soft").trim();
  const grid = style.getPropertyValue("--grid").trim();
  const ground = style.getPropertyValue("--ground").trim();
  const patch = {
    "font.color": soft,
    "hoverlabel.bgcolor": ground,
    "hoverlabel.bordercolor": soft,
    "hoverlabel.font.color": ink,
  };
  for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    patch[axis + ".gridcolor"] = grid;
    patch[axis + ".linecolor"] = grid;
  }
  // A label keeps the line behind it from running through its letters.
  (layout.annotations || []).forEach((_, i) => { patch[`annotations[${i}].bgcolor`] = ground; });
  return patch;
}

function recolour() {
  for (const plot of plots) if (plot.data) Plotly.relayout(plot, themed(plot.layout));
}

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("bench-theme", root.dataset.theme); } catch { /* a private window */ }
  recolour();
});
try {
  const kept = localStorage.getItem("bench-theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
} catch { /* a private window */ }
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

// -- pictures -----------------------------------------------------------------------------------

const config = { displayModeBar: false, responsive: true, doubleClick: false, showTips: false };

function set(target, path, value) {
  const keys = path.replaceAll("[", ".").replaceAll("]", "").split(".");
  const last = keys.pop();
  for (const key of keys) target = target[key] = target[key] || {};
  target[last] = value;
}

function draw(plot) {
  const figure = JSON.parse(document.getElementById(plot.dataset.spec).textContent);
  for (const [path, value] of Object.entries(themed(figure.layout))) set(figure.layout, path, value);
  Plotly.newPlot(plot, figure.data, figure.layout, config);
  plot.dataset.drawn = "yes";
}

const later = window.requestIdleCallback || ((work) => setTimeout(work, 1));
function drawNext() {
  const plot = waiting.shift();
  if (plot) { draw(plot); later(drawNext); }
}
drawNext();

// Paper is white and narrower than most screens.
let before = null;
addEventListener("beforeprint", () => {
  while (waiting.length) draw(waiting.shift());
  if (before !== null) return;
  before = root.dataset.theme || "";
  root.dataset.theme = "light";
  for (const plot of plots) {
    Plotly.relayout(plot, { ...themed(plot.layout), width: 640 });
  }
});
addEventListener("afterprint", () => {
  if (before) root.dataset.theme = before; else delete root.dataset.theme;
  before = null;
  for (const plot of plots) Plotly.relayout(plot, { ...themed(plot.layout), width: null, autosize: true });
});

// A link to data opens what hides it.
function reveal() {
  const id = decodeURIComponent(location.hash.slice(1));
  const target = id && document.getElementById(id);
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", reveal);
reveal();

// -- tables -------------------------------------------------------------------------------------

const collator = new Intl.Collator("en", { numeric: true });

function sortKey(cell, numeric) {
  if (!numeric) return cell.textContent.trim();
  const text = (cell.dataset.v || "").split(" ")[0];
  return text === "" ? null : Number(text);
}

function sortBy(table, place, ascending) {
  const numeric = table.tHead.rows[0].cells[place].classList.contains("n");
  const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[place], numeric), row]);
  const sign = ascending ? 1 : -1;
  rows.sort(([a], [b]) => {
    // What is absent stays last, whichever way it is sorted.
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : collator.compare(a, b));
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(table, place, ascending);
    });
  });
}

const results = document.getElementById("results-table");
if (results) {
  const find = document.getElementById("find");
  const menus = [...document.querySelectorAll(".filters select")];
  const count = document.getElementById("count");
  const rows = [...results.tBodies[0].rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = words.every((word) => texts.get(row).includes(word)) && menus.every((menu) =>
        !menu.value || row.cells[menu.dataset.column].firstChild.textContent.trim() === menu.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  };
  find.addEventListener("input", filter);
  for (const menu of menus) menu.addEventListener("change", filter);
  document.getElementById("clear").addEventListener("click", () => {
    find.value = "";
    for (const menu of menus) menu.value = "";
    filter();
    find.focus();
  });
}

// -- copying ------------------------------------------------------------------------------------

function visibleRows(table) {
  return [...table.tBodies[0].rows].filter((row) => !row.hidden);
}

function textOf(cell) {
  if (cell.dataset.text !== undefined) return cell.dataset.text;
  return [...cell.childNodes].filter((node) => node.nodeName !== "DETAILS")
    .map((node) => node.textContent).join("").replace(/\s+/g, " ").trim();
}

function asMarkdown(table) {
  const escaped = (text) => text.replace(/[\\|<>`*_[\]]/g, "\\$&");
  const heads = [...table.tHead.rows[0].cells].filter((head) => !head.hidden);
  const line = (cells) => "| " + cells.join(" | ") + " |";
  const rule = heads.map((head) => (head.classList.contains("n") ? "---:" : "---"));
  const body = visibleRows(table).map((row) => line([...row.cells].filter((c) => !c.hidden).map((c) => escaped(textOf(c)))));
  return [line(heads.map((head) => escaped(textOf(head)))), line(rule), ...body].join("\n") + "\n";
}

function csvField(text, isText) {
  // A spreadsheet computes what begins so; a name is no formula (OWASP, "CSV injection").
  const safe = isText && /^[=+\-@\t\r]/.test(text) ? "'" + text : text;
  return /[",\n\r]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

function asCsv(table) {
  const heads = [...table.tHead.rows[0].cells];
  const keys = heads.map((head) => (head.querySelector("button") ? head.dataset.keys.split(" ") : [head.dataset.keys]));
  const body = visibleRows(table).map((row) => [...row.cells].flatMap((cell, place) => {
    if (cell.dataset.v === undefined) {
      const text = csvField(textOf(cell), true);
      return [text, ...Array(keys[place].length - 1).fill("")];
    }
    const values = cell.dataset.v.split(" ");
    return keys[place].map((_, i) => csvField(values[i] || "", false));
  }));
  const head = keys.flat().map((key) => csvField(key, true));
  return [head, ...body].map((fields) => fields.join(",")).join("\r\n") + "\r\n";
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No permission, or an old browser: by way of a selection.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("refused");
  }
}

function tell(button, words) {
  const place = button.parentElement.querySelector(".said");
  place.textContent = words;
  setTimeout(() => { if (place.textContent === words) place.textContent = ""; }, 4000);
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const table = document.getElementById(button.dataset.table + "-table");
    const markdown = button.dataset.copy === "markdown";
    const many = visibleRows(table).length;
    try {
      await copy(markdown ? asMarkdown(table) : asCsv(table));
      tell(button, `Copied ${many} rows`);
    } catch {
      tell(button, "The browser refused to copy; download the CSV instead.");
    }
  });
}
for (const button of document.querySelectorAll("button[data-download]")) {
  button.addEventListener("click", () => {
    const table = document.getElementById(button.dataset.download + "-table");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([asCsv(table)], { type: "text/csv;charset=utf-8" }));
    link.download = button.dataset.download + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
