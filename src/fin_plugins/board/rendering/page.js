"use strict";
// The page works without this script, which adds sorting, filtering, the view of two models and the documents.
// Names and texts are only inserted as text nodes, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const METRICS = Object.keys(data.metrics);
const PAGE = 10; // documents shown at a time
const PAIR_HEADS = ["Column", "First", "Second", "Second minus first", "Both right", "Only first", "Only second"];
PAIR_HEADS.push("Neither", "p", "p, Holm", "Detectable");
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Numbers in words, as the templates write them.
function percent(value, signed = false) {
  if (value === null || value === undefined) return "–";
  const text = (100 * Math.abs(value)).toFixed(1);
  const sign = text === "0.0" ? "" : value < 0 ? "−" : signed ? "+" : "";
  return sign + text;
}
const pValue = (p) => (p < 0.001 ? "< 0.001" : p.toFixed(3));
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

// Sorting: a column of all tables of its block, so that changing the metric keeps the order's column.
function addButtons(table) {
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const title = head.querySelector(".title") ?? head;
    const button = make("button", { type: "button" }, ...title.childNodes);
    button.addEventListener("click", () => sortBlock(table, place));
    title.replaceChildren(button);
  });
}

function sortBlock(clicked, place) {
  const now = clicked.tHead.rows[0].cells[place].getAttribute("aria-sort");
  const first = place ? "descending" : "ascending";
  const order = now === null ? first : now === "descending" ? "ascending" : "descending";
  for (const table of all("table.board", clicked.closest(".block") ?? clicked.parentElement)) {
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[place].setAttribute("aria-sort", order);
    for (const body of table.tBodies) sortRows(body, place, order === "ascending" ? 1 : -1);
  }
}

function sortRows(body, place, direction) {
  const key = (row) => (place ? Number(row.cells[place].dataset.v ?? NaN) : row.cells[0].textContent.toLowerCase());
  const rows = all("tr:not(.apart)", body).map((row) => [key(row), row]);
  rows.sort(([first], [second]) => {
    if (Number.isNaN(first) || Number.isNaN(second)) return Number.isNaN(first) - Number.isNaN(second); // missing figures last
    return first < second ? -direction : first > second ? direction : 0;
  });
  body.append(...rows.map(([, row]) => row));
}

// Filters
function filter() {
  const values = ["model", "task", "protocol", "data"].map((name) => [name, byId(`filter-${name}`).value]);
  const filters = Object.fromEntries(values);
  const models = new Set();
  let columns = 0;
  for (const block of all(".block")) {
    const heads = [...(block.querySelector("table.board")?.tHead.rows[0].cells ?? [])];
    const hide = heads.map((head, place) => place > 0 && filters.task !== "" && head.dataset.task !== filters.task);
    const matches = ["protocol", "data"].every((name) => !filters[name] || block.dataset[name] === filters[name]);
    block.hidden = !matches || (filters.task !== "" && hide.slice(1).every(Boolean));
    for (const table of all("table.board", block)) filterTable(table, hide, filters.model.toLowerCase());
    if (block.hidden || block.matches(".published")) continue;
    columns += heads.filter((head, place) => head.dataset.task && !hide[place]).length;
    const rows = all(".metric tbody:not(.published) tr:not([hidden])", block);
    for (const row of rows) models.add(row.cells[0].textContent);
  }
  byId("status").textContent = `${count(models.size, "model")} on ${count(columns, "column")} shown.`;
}

function filterTable(table, hide, name) {
  for (const row of table.rows) {
    if (row.matches(".apart")) continue;
    [...row.cells].forEach((cell, place) => (cell.hidden = hide[place]));
    if (row.parentElement !== table.tHead) row.hidden = !row.cells[0].textContent.toLowerCase().includes(name);
  }
}

// Two models: the board's contrast if listed, else counts and the exact test from the answers.
function decode(text, width) {
  const codes = [...text].map((sign) => data.alphabet.indexOf(sign));
  const answers = [];
  for (let at = 0; at < codes.length; at += width) {
    answers.push(codes.slice(at, at + width).reduce((sum, code) => 64 * sum + code, 0));
  }
  return answers;
}

function tally(column, firstModel, secondModel) {
  const texts = [column.gold, column.answers[firstModel], column.answers[secondModel]];
  const [gold, first, second] = texts.map((text) => decode(text, column.width));
  const counts = { both: 0, first: 0, second: 0, neither: 0, n: 0 };
  gold.forEach((label, at) => {
    if (!first[at] || !second[at]) return; // a model lacks this document
    const correct = [first[at] === label, second[at] === label];
    counts[correct[0] ? (correct[1] ? "both" : "first") : correct[1] ? "second" : "neither"] += 1;
    counts.n += 1;
  });
  return counts;
}

// Two-sided: twice the lower tail of a binomial of one half. In logarithms, as 2^-n is 0 from n = 1075 on.
function mcnemar(onlyFirst, onlySecond) {
  const n = onlyFirst + onlySecond;
  let term = -n * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= Math.min(onlyFirst, onlySecond); k += 1) {
    tail += Math.exp(term);
    term += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}

function contrastOf(place, first, second, metric) {
  const isPair = (a, b) => (a === first && b === second) || (a === second && b === first);
  const contrast = data.contrasts.find(([column, a, b]) => column === place && isPair(a, b));
  if (!contrast) return null;
  const [, listedFirst, , p, holm, detectable, differences] = contrast;
  let ends = differences[metric];
  if (ends && listedFirst !== first) ends = [ends[0], ends[2], ends[1]].map((end) => (end === null ? null : -end));
  return { p, holm, detectable, ends };
}

function pairRow(column, place, first, second, metric) {
  const [before, after] = [first, second].map((model) => column.figures[model]?.[metric] ?? null);
  const contrast = contrastOf(place, first, second, metric);
  const counts = column.answers[first] && column.answers[second] ? tally(column, first, second) : null;
  const point = before === null || after === null ? null : after - before;
  const p = contrast ? contrast.p : counts && counts.n ? mcnemar(counts.first, counts.second) : null;
  return { column, before, after, counts, p, contrast, ends: contrast?.ends ?? [point, null, null] };
}

function showPair() {
  const [first, second] = [Number(byId("first").value), Number(byId("second").value)];
  const metric = Number(byId("pair-metric").value);
  const rows = data.columns
    .map((column, place) => pairRow(column, place, first, second, metric))
    .filter(({ column }) => first in column.figures && second in column.figures);
  if (first === second || !rows.length) {
    const why = first === second ? "Choose two different models." : "These two share no column.";
    byId("pair-result").replaceChildren(make("p", { className: "about" }, why));
    return;
  }
  const reach = Math.max(0.01, ...rows.flatMap(({ ends }) => ends.map((end) => Math.abs(end ?? 0)))) * 1.06;
  const heads = PAIR_HEADS.map((text, place) => make("th", { scope: "col", className: place ? "" : "first" }, text));
  const names = [make("bdi", {}, data.models[second]), " minus ", make("bdi", {}, data.models[first])];
  const caption = make("caption", {}, `${data.metrics[METRICS[metric]]}: `, ...names);
  const body = make("tbody", {}, ...rows.map((row) => pairCells(row, reach)));
  const table = make("table", { className: "board wide" }, caption, make("thead", {}, make("tr", {}, ...heads)), body);
  const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "The two models" }, table);
  byId("pair-result").replaceChildren(scroll, ...pairNotes(rows));
}

function pairCells({ column, before, after, counts, p, contrast, ends }, reach) {
  const name = make("th", { scope: "row" }, make("bdi", {}, column.title), make("small", {}, column.about));
  const change = make("td", {}, make("b", {}, percent(ends[0], true)));
  if (ends[1] !== null) {
    change.append(make("small", {}, `${percent(ends[1], true)} to ${percent(ends[2], true)}`), bar(ends, reach));
  } else if (ends[0] !== null) change.append(make("small", {}, "no interval"));
  const cells = [percent(before), percent(after), change];
  for (const part of ["both", "first", "second", "neither"]) cells.push(counts ? String(counts[part]) : "–");
  cells.push(p === null ? "–" : pValue(p));
  cells.push(...(contrast ? [pValue(contrast.holm), percent(contrast.detectable)] : ["–", "–"]));
  return make("tr", {}, name, ...cells.map((cell) => (cell instanceof Node ? cell : make("td", {}, cell))));
}

function pairNotes(rows) {
  const notes = [];
  if (rows.some(({ contrast, p }) => !contrast && p !== null)) {
    notes.push(
      "Where “p, Holm” is empty, the board lists no such test: counts and p were computed here, p is not corrected, " +
        "and there is no interval; intervals are given for the contrasts that the board lists.",
    );
  }
  if (rows.some(({ counts }) => !counts)) {
    notes.push("Without both models’ sample files there are no counts and no test.");
  }
  return notes.map((text) => make("p", { className: "about" }, text));
}

function bar([value, low, high], reach) {
  const place = (number) => `${50 + (50 * number) / reach}%`;
  const draw = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, text] of Object.entries(attributes)) element.setAttribute(name, text);
    return element;
  };
  const svg = draw("svg", { class: "bar", "aria-hidden": "true" });
  svg.append(
    draw("path", { d: "M0 5.5h999" }),
    draw("rect", { class: "zero", x: "50%", width: 1.5, height: 11 }),
    draw("rect", { class: "range", x: place(low), y: 4, width: `${(50 * (high - low)) / reach}%`, height: 3, rx: 1.5 }),
    draw("circle", { cx: place(value), cy: 5.5, r: 2.5 }),
  );
  return svg;
}

// The documents a model got wrong, where the page holds texts: a few at a time.
function addDocuments(box) {
  const column = data.columns[box.dataset.column];
  const model = box.dataset.model;
  if (!data.texts || !column.answers[model]) return;
  const gold = decode(column.gold, column.width);
  const answers = decode(column.answers[model], column.width);
  const wrong = [...gold.keys()].filter((at) => answers[at] && answers[at] !== gold[at] && column.texts[at] !== null);
  if (!wrong.length) return;
  const list = make("ol", { className: "documents" });
  const where = make("span", { role: "status" });
  const [back, on] = [make("button", { type: "button" }, "Previous"), make("button", { type: "button" }, "Next")];
  const named = (code) => ["no such document", "no label", "several labels"][code] ?? column.labels[code - 3];
  let start = 0;
  const show = (to) => {
    start = to;
    list.start = start + 1;
    const shown = wrong.slice(start, start + PAGE);
    list.replaceChildren(...shown.map((at) => documentItem(column, model, at, named(gold[at]), named(answers[at]))));
    where.textContent = `${start + 1}–${Math.min(start + PAGE, wrong.length)} of ${wrong.length}`;
    back.disabled = start === 0;
    on.disabled = start + PAGE >= wrong.length;
  };
  back.addEventListener("click", () => show(start - PAGE));
  on.addEventListener("click", () => show(start + PAGE));
  const summary = make("summary", {}, `${count(wrong.length, "document")} it got wrong`);
  const details = make("details", {}, summary, list, make("div", { className: "pager" }, back, on, where));
  details.addEventListener("toggle", () => list.childElementCount || show(0));
  box.append(details);
}

function documentItem(column, model, at, gold, answer) {
  const labels = ["Gold: ", make("bdi", {}, gold), ", answered: ", make("bdi", {}, answer)];
  const item = make("li", {}, make("p", { className: "about" }, ...labels));
  item.append(make("p", { dir: "auto" }, data.texts[column.texts[at]]));
  const reply = column.replies[model]?.[at];
  if (reply !== undefined) item.append(make("p", { className: "about" }, "It wrote: ", make("bdi", {}, reply)));
  return item;
}

// A link to a model leads to a folded view: unfold it.
function openModel(hash) {
  const target = hash.startsWith("#model-") && byId(hash.slice(1));
  if (target) target.open = true;
}

for (const part of all("[data-script]")) part.hidden = false;
const sortable = all(".block table.board, #forgetting table.board");
sortable.forEach(addButtons);
// Chromium leaves buttons out where it repeats a table's head on the next sheet.
addEventListener("beforeprint", () => all("th button").forEach((button) => button.replaceWith(...button.childNodes)));
addEventListener("afterprint", () => sortable.forEach(addButtons));
if (byId("controls")) {
  byId("controls").addEventListener("input", filter);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  filter();
}
if (byId("pair")) {
  byId("pair").addEventListener("change", showPair);
  byId("swap").addEventListener("click", () => {
    [byId("first").value, byId("second").value] = [byId("second").value, byId("first").value];
    showPair();
  });
  showPair();
}
all(".answers").forEach(addDocuments);
addEventListener("click", (event) => openModel(event.target.closest?.("a")?.hash ?? ""));
openModel(location.hash);
