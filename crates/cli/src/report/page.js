"use strict";
// The theme toggle and the three browsers. Text from the run is only ever set as text, never as markup.

const make = (name, options = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "text") element.textContent = value;
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};
const fixed = (value, digits) => value.toFixed(digits).replace("-", "−");
const count = (number, one, many) => `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;

// ---- Theme: the system's choice until the button is pressed; #dark and #light force one, for prints and pictures.
const theme = () => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  const forced = { "#dark": "dark", "#light": "light" }[location.hash];
  const wanted = forced || stored;
  if (wanted === "dark" || wanted === "light") root.dataset.theme = wanted;
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { button.textContent = isDark() ? "Light colours" : "Dark colours"; };
  button.hidden = false;
  label();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* not allowed for files in some browsers */ }
    label();
  });
};

// ---- One browser: controls, a count, a page of items, a pager.
const select = (label, options) => {
  const control = make("select", {}, ...options.map(([value, text]) => make("option", { value, text })));
  return { control, field: make("label", { text: label }, control) };
};
const searchField = () => {
  const control = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  return { control, field: make("label", { text: "Search" }, control) };
};

const browser = (root, { tools, matching, show, noun, pageSize = 10 }) => {
  let page = 0;
  const bar = make("div", { class: "tools", role: "search" }, ...tools.map((tool) => tool.field));
  const status = make("p", { class: "count", role: "status" });
  const hint = make("p", { class: "note" });
  const list = make("div");
  const back = make("button", { type: "button", text: "Previous" });
  const forward = make("button", { type: "button", text: "Next" });
  const place = make("span");
  root.append(bar, status, hint, list, make("div", { class: "pager" }, back, forward, place));
  const refresh = () => {
    const { items, total, summary, about } = matching();
    const pages = Math.max(1, Math.ceil(items.length / pageSize));
    page = Math.min(page, pages - 1);
    const shown = items.slice(page * pageSize, (page + 1) * pageSize);
    status.textContent = `${items.length === total ? "" : `${items.length.toLocaleString("en-US")} of `}${count(total, noun[0], noun[1])}${summary ? `. ${summary}` : ""}`;
    hint.textContent = about || "";
    hint.hidden = !about;
    list.replaceChildren(...(shown.length ? shown.map(show) : [make("p", { class: "absent", text: "Nothing matches. Widen the filter or clear the search." })]));
    back.disabled = page === 0;
    forward.disabled = page >= pages - 1;
    place.textContent = `page ${page + 1} of ${pages}`;
  };
  const turn = (by) => () => {
    page += by;
    refresh();
    root.scrollIntoView({ block: "start" });
  };
  back.addEventListener("click", turn(-1));
  forward.addEventListener("click", turn(1));
  for (const tool of tools) {
    tool.control.addEventListener("input", () => { page = 0; refresh(); });
  }
  return refresh;
};
const contains = (text, query) => !query || text.toLowerCase().includes(query.trim().toLowerCase());

const field = (label, text) => {
  if (!text || !String(text).trim()) return null;
  const long = text.length > 900;
  return make("div", { class: long ? "field long" : "field", tabindex: long ? "0" : null, role: long ? "region" : null, "aria-label": long ? label : null },
    label ? make("b", { text: label }) : null, document.createTextNode(text));
};

// ---- Single predictions.
const EPSILON = 1e-9;
const change = (left, right, metric) => {
  if (!left || !right || left.score === null || right.score === null) return { key: "unknown", words: "not answered by both", mark: "" };
  const delta = right.score - left.score;
  const differs = JSON.stringify([left.choice, left.text, left.parsed]) !== JSON.stringify([right.choice, right.text, right.parsed]);
  if (metric === "correct") {
    if (delta > EPSILON) return { key: "up", words: "fixed", mark: "up", differs };
    if (delta < -EPSILON) return { key: "down", words: "broken", mark: "down", differs };
    return { key: "same", words: left.score ? "both right" : "both wrong", mark: "", differs };
  }
  const by = `${delta < 0 ? "−" : "+"}${(100 * Math.abs(delta)).toFixed(1)}`;
  if (delta > EPSILON) return { key: "up", words: `better by ${by.slice(1)}`, mark: "up", differs };
  if (delta < -EPSILON) return { key: "down", words: `worse by ${by.slice(1)}`, mark: "down", differs };
  return { key: "same", words: "same score", mark: "", differs };
};

const fold = (text) => text.toLowerCase().replace(/\s+/g, " ").trim();
const chips = (answer, target) => {
  const wanted = new Set(target.map(fold));
  const found = Array.isArray(answer.parsed) ? answer.parsed : [];
  const given = new Set(found.map(fold));
  const list = make("div", { class: "text" });
  for (const text of found) {
    const hit = wanted.has(fold(text));
    list.append(make("span", { class: `chip ${hit ? "hit" : "extra"}` }, make("span", { class: "unseen", text: hit ? "expected: " : "not expected: " }), text));
  }
  for (const text of target.filter((text) => !given.has(fold(text)))) {
    list.append(make("span", { class: "chip missed" }, make("span", { class: "unseen", text: "missing: " }), text));
  }
  if (!list.childNodes.length) list.textContent = "nothing given, nothing expected";
  return list;
};

const METRICS = { span_f1: "span F1", span_precision: "precision", span_recall: "recall", rouge1: "ROUGE-1", rouge2: "ROUGE-2", rougeL: "ROUGE-L" };
const marks = (answer) => {
  const parts = [];
  if (answer.correct !== undefined) parts.push(answer.correct ? "right" : "wrong");
  for (const [name, value] of Object.entries(answer.metrics || {})) parts.push(`${METRICS[name] || name} ${fixed(100 * value, 1)}`);
  if (answer.unparsed) parts.push("could not be read");
  if (answer.finish === "length") parts.push("cut off");
  if (answer.tie) parts.push("tie between options");
  if (answer.truncated_tokens) parts.push(`prompt lost ${count(answer.truncated_tokens, "token", "tokens")}`);
  return parts.join(" · ");
};

// Log-likelihoods of the options as shares of their sum, which can be read off a bar.
const shares = (values) => {
  const top = Math.max(...values);
  const weights = values.map((value) => Math.exp(value - top));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
};
const level = (share, role, chosen) => {
  const bar = document.getElementById("level").content.cloneNode(true);
  const fill = bar.querySelector(".fill");
  fill.classList.add(role === "tuned" ? "tuned" : "base");
  fill.setAttribute("width", `${(100 * share).toFixed(1)}%`);
  return make("td", { class: chosen ? "level chosen" : "level" }, make("div", {}, bar, make("small", { text: `${(100 * share).toFixed(0)}\u00a0%` })));
};
const options = (item, sides) => {
  const known = Math.max(item.choices.length, ...sides.map(({ answer }) => (answer?.loglikelihoods || []).length));
  const columns = sides.map(({ answer }) => answer?.loglikelihoods ? shares(answer.loglikelihoods) : null);
  const rows = [];
  for (let at = 0; at < known; at += 1) {
    const [label, text] = item.choices[at] || [String.fromCharCode(65 + at), ""];
    const right = label === item.target;
    const row = make("tr", { class: right ? "right" : null },
      make("th", { scope: "row", text: label }),
      make("td", { text: right ? `${text} (right answer)` : text }));
    columns.forEach((column, side) => row.append(column ? level(column[at], sides[side].series.role, sides[side].answer.choice === label) : make("td", { text: "–" })));
    rows.push(row);
  }
  const heading = ({ series, answer }) => make("th", { scope: "col", text: series.label },
    make("small", { text: answer ? [`chose ${answer.choice}`, marks(answer)].filter(Boolean).join(" · ") : "no answer yet" }));
  const head = make("tr", {}, make("td"), make("th", { scope: "col", text: "Option" }), ...sides.map(heading));
  return make("table", { class: "options" }, make("thead", {}, head), make("tbody", {}, ...rows));
};

const answerBox = (item, { series, answer }) => {
  const box = make("div", { class: `answer ${series.role}` }, make("b", { text: series.label }));
  if (!answer) {
    box.append(make("p", { class: "marks", text: "no answer yet" }));
    return box;
  }
  if (Array.isArray(item.target) && !answer.unparsed) box.append(chips(answer, item.target));
  else if (answer.text !== undefined) box.append(make("div", { class: "text", text: answer.text || "(empty answer)" }));
  if (Array.isArray(item.target) && answer.text) {
    box.append(make("details", {}, make("summary", { text: "As written" }), make("div", { class: "text", text: answer.text })));
  }
  box.append(make("div", { class: "marks", text: marks(answer) }));
  return box;
};

const prediction = (group, [left, right]) => ({ item, state }) => {
  const sides = [left, right].filter((at, place, all) => all.indexOf(at) === place)
    .map((at) => ({ series: group.series[at], answer: item.answers[at] }));
  const box = make("article", { class: "item" },
    make("h4", {}, make("span", { text: item.id }), state.words && sides.length > 1 ? make("span", { class: `state ${state.mark}`, text: state.words }) : null));
  const fields = item.fields || [];
  for (const [name, text] of fields) box.append(field(fields.length > 1 ? name : "", text) || "");
  if (sides.some(({ answer }) => answer?.loglikelihoods)) {
    box.append(options(item, sides));
    return box;
  }
  if (typeof item.target === "string") box.append(field("reference", item.target) || "");
  box.append(make("div", { class: "answers" }, ...sides.map((side) => answerBox(item, side))));
  return box;
};

const explain = (items) => {
  if (items.some(({ target }) => Array.isArray(target))) return "Framed: given and expected. Dashed: given, not expected. Struck through: expected, not given.";
  if (items.some(({ answers }) => answers.some((answer) => answer?.loglikelihoods))) return "Bars: how the model shares its belief among the options; the largest share is its choice.";
  return "";
};

const predictions = (root, groups) => {
  const task = select("Task", groups.map((group, at) => [at, `${group.title}${groups.some((other) => other !== group && other.title === group.title) ? ` (${group.profile}, ${group.shots} shots)` : ""}`]));
  const left = select("Left", []);
  const right = select("Right", []);
  const filter = select("Show", [["all", "all items"], ["differs", "changed answers"], ["up", "fixed or better"], ["down", "broken or worse"]]);
  const search = searchField();
  const group = () => groups[Number(task.control.value)];
  const offer = () => {
    const { series } = group();
    const entries = series.map(({ label }, at) => [at, label]);
    for (const side of [left, right]) side.control.replaceChildren(...entries.map(([value, text]) => make("option", { value, text })));
    const base = series.findIndex(({ role }) => role === "base");
    const tuned = series.findIndex(({ role }) => role === "tuned");
    left.control.value = String(Math.max(base, 0));
    right.control.value = String(tuned >= 0 ? tuned : series.length - 1);
  };
  offer();
  task.control.addEventListener("input", offer);
  const sides = () => [Number(left.control.value), Number(right.control.value)];
  const refresh = browser(root, {
    tools: [task, left, right, filter, search],
    noun: ["item", "items"],
    matching: () => {
      const { items, metric } = group();
      const [first, second] = sides();
      const judged = items.map((item) => ({ item, state: change(item.answers[first], item.answers[second], metric) }));
      const wanted = filter.control.value;
      const query = search.control.value;
      const kept = judged.filter(({ item, state }) => {
        const passes = wanted === "all" || (wanted === "differs" ? state.differs : state.key === wanted);
        if (!passes) return false;
        if (!query) return true;
        const texts = [item.id, ...(item.fields || []).map(([, text]) => text), ...(item.choices || []).map(([, text]) => text), JSON.stringify(item.target || ""),
          ...[first, second].map((at) => item.answers[at]?.text || "")];
        return contains(texts.join("\n"), query);
      });
      const tally = (key) => judged.filter(({ state }) => state.key === key).length;
      const [better, worse] = metric === "correct" ? ["fixed", "broken"] : ["better", "worse"];
      const summary = first === second ? "" : `From left to right: ${tally("up")} ${better}, ${tally("down")} ${worse}, ${tally("same")} with the same score`;
      return { items: kept, total: items.length, summary, about: explain(items) };
    },
    show: (judged) => prediction(group(), sides())(judged),
  });
  refresh();
};

// ---- Dataset rows and rejects.
const texts = (row) => ["instruction", "input", "output", "text", "raw"].filter((name) => row[name]).map((name) => field(name, row[name]));
const provenance = (row) => {
  const parts = [];
  if (row.run) parts.push(`run ${row.run}`);
  if (row.source) parts.push(`source ${row.source}`);
  if (row.model) parts.push(`written by ${row.model}`);
  if (row.request) parts.push(`request ${row.request}`);
  if (row.exemplars?.length) parts.push(`shown examples ${row.exemplars.join(", ")}`);
  if (row.licence) parts.push(`licence ${row.licence}`);
  if (row.place) parts.push(row.place);
  return make("div", { class: "source", text: parts.join(" · ") });
};
const rowText = (row) => [row.id, row.instruction, row.input, row.output, row.text, row.raw, row.reason, row.source, row.request].filter(Boolean).join("\n");
const distinct = (rows, name) => [...new Set(rows.map((row) => row[name]).filter(Boolean))].sort();

const simple = (root, rows, filters, noun, heading) => {
  const selects = filters.map(([name, label, words]) => ({ name, ...select(label, [["", "all"], ...distinct(rows, name).map((value) => [value, words?.[value] || value])]) }));
  const search = searchField();
  browser(root, {
    tools: [...selects.filter(({ control }) => control.options.length > 2), search],
    noun,
    matching: () => ({
      items: rows.filter((row) => selects.every(({ name, control }) => !control.value || row[name] === control.value) && contains(rowText(row), search.control.value)),
      total: rows.length,
      summary: "",
    }),
    show: (row) => make("article", { class: "item" }, heading(row),
      ...(row.restricted ? [make("p", { class: "note", text: "Under a data-use agreement: the text is not shown." })] : texts(row)), provenance(row)),
  })();
};

const CATEGORY = { qa: "question answering", ie: "information extraction", generation: "text generation", other: "other" };
const SPLIT = { train: "train", dev: "held out (dev)" };
const rowHeading = (row) => make("h4", {}, make("span", { text: row.id }),
  make("small", { text: [SPLIT[row.split] || row.split, CATEGORY[row.category] || row.category].filter(Boolean).join(" · ") }));
const evidence = ({ evidence }) => {
  if (!evidence) return "";
  const like = evidence.f === undefined ? "the same as" : `ROUGE-L ${fixed(evidence.f, 2)} (${evidence.lcs} common words of ${evidence.m} and ${evidence.n}) with`;
  return `${like} ${evidence.nearest ?? "another row"}`;
};
const rejectHeading = (row) => make("h4", {}, row.id ? make("span", { text: row.id }) : null, make("span", { class: "state tag", text: row.filter }),
  make("small", { text: [row.stage, row.reason, evidence(row)].filter(Boolean).join(" · ") }));

// ---- Which section is being read.
const follow = () => {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries.filter(({ isIntersecting }) => isIntersecting)) {
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const id of links.keys()) {
    const section = document.getElementById(id);
    if (section) watch.observe(section);
  }
};

theme();
follow();
const data = JSON.parse(document.getElementById("data").textContent);
for (const root of document.querySelectorAll("[data-browser]")) {
  const kind = root.dataset.browser;
  if (kind === "predictions") predictions(root, data.predictions);
  if (kind === "rows") simple(root, data.rows, [["run", "Run"], ["split", "Part", SPLIT], ["category", "Kind", CATEGORY], ["family", "Source"]], ["row", "rows"], rowHeading);
  if (kind === "rejects") simple(root, data.rejects, [["run", "Run"], ["stage", "Stage"], ["filter", "Reason"]], ["rejected row", "rejected rows"], rejectHeading);
}
// A print holds what is folded on the screen.
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("main > section details")) part.open = true; });
