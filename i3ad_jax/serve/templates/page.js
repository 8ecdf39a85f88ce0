"use strict";
const SUFFIXES = /\.(png|jpe?g|bmp|tiff?)$/i; // of images in folders
const TOGETHER = 4; // requests at once
const WORDS = {
  waiting: "waiting",
  normal: "✓ Normal",
  anomalous: "✗ Anomalous",
  unusable: "? Unusable",
  failed: "! Not scored",
};
const get = (id) => document.getElementById(id);
const [rows, dots] = [document.querySelector("#history tbody"), get("dots")];

const items = []; // every image of the session: file, name, state, row, radio, dot, result, heat
let queue = []; // items to score
let workers = 0;
let refused = false; // the token is missing or wrong
let shown = null;
let waitsToBeShown = false; // the first image of a batch that is scored
let rule = null; // score, threshold, pixel_threshold, heat_limit
let skipped = 0; // other files in folders
let addresses = []; // of the blobs in the pictures that are shown

function element(name, { text = "", className = "" } = {}, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  made.append(...children);
  return made;
}

const shortened = (value) => String(Number(value.toPrecision(4)));
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

async function post(query, { file, name }) {
  const [headers, body] = [{}, new FormData()];
  body.append("images", file, name);
  const token = get("token").value;
  // HTTP carries bytes: those of UTF-8, each as a character.
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  if (token) headers.Authorization = `Bearer ${bytes}`;
  for (;;) {
    const response = await fetch(`/score?${query}`, { method: "POST", body, headers }).catch(() => {
      throw new Error("the service does not answer, or the file cannot be read any more");
    });
    if (response.status === 503) {
      const seconds = Number(response.headers.get("Retry-After") || 1);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    } else if (response.ok) {
      return response;
    } else {
      const { detail } = await response.json();
      throw Object.assign(new Error(detail), { isToken: response.status === 401 });
    }
  }
}

/* Queue */

function add(files) {
  const added = files.map(({ file, name }) => {
    const radio = Object.assign(element("input"), { type: "radio", name: "shown", disabled: true });
    const label = element("label", {}, radio, element("span", { text: name }));
    const row = element("tr", {}, element("td", {}, label));
    for (const text of [WORDS.waiting, "", ""]) row.append(element("td", { text }));
    const item = { file, name, row, radio, state: "waiting" };
    radio.addEventListener("change", () => show(item));
    return item;
  });
  if (!added.length) return report();
  if (!queue.length && !workers) waitsToBeShown = true;
  items.push(...added);
  queue.push(...added);
  rows.prepend(...added.map((item) => item.row));
  get("history").hidden = false;
  start();
}

function start() {
  for (let i = workers; i < TOGETHER; i++) work();
  report();
}

async function work() {
  workers++;
  while (queue.length && !refused) await score(queue.shift());
  workers--;
  report();
}

async function score(item) {
  try {
    const found = await (await post("outlines=true", item)).json();
    rule = found;
    item.result = found.images[0];
    const { anomalous, unusable } = item.result;
    item.state = unusable !== null ? "unusable" : anomalous ? "anomalous" : "normal";
  } catch (error) {
    if (error.isToken) {
      queue.unshift(item);
      askForToken();
      return;
    }
    item.state = "failed";
    item.problem = error.message;
  }
  const [name, verdict, value, time] = item.row.cells;
  verdict.textContent = WORDS[item.state];
  verdict.className = item.state;
  time.textContent = new Date().toLocaleTimeString();
  const reason = item.problem ?? item.result.unusable;
  if (reason) name.append(element("small", { text: reason }));
  if (item.result) {
    value.textContent = shortened(item.result.score);
    item.radio.disabled = false;
    item.dot = element("i", { className: `dot ${item.state}` });
    dots.append(item.dot);
    if (waitsToBeShown) show(item);
    else drawScale();
  }
  report();
}

function askForToken() {
  refused = true;
  get("token-field").hidden = false;
  get("token").focus();
}

function giveToken() {
  refused = false;
  start();
}

function report() {
  const count = (state) => items.filter((item) => item.state === state).length;
  const parts = [`${count("normal")} normal`, `${count("anomalous")} anomalous`];
  if (count("unusable")) parts.push(`${count("unusable")} unusable`);
  if (count("failed")) parts.push(`${count("failed")} not scored`);
  const done = items.length - count("waiting");
  get("counts").textContent = `${plural(items.length, "image")}: ${parts.join(", ")}.`;
  const progress = { max: items.length || 1, value: done, hidden: done === items.length };
  Object.assign(get("progress"), progress);
  let status = "";
  if (refused) status = "The service needs its token: enter it above.";
  else if (done < items.length) status = `Scoring ${plural(items.length, "image")} …`;
  else if (items.length) status = `Scored: ${parts.join(", ")}.`;
  if (skipped) status += ` Skipped ${plural(skipped, "file")} of other types.`;
  if (get("status").textContent !== status) get("status").textContent = status;
}

/* Result */

function show(item) {
  const { result } = item;
  waitsToBeShown = false;
  shown = item;
  item.radio.checked = true;
  get("result").hidden = false;
  get("verdict").textContent = WORDS[item.state];
  get("verdict").className = item.state;
  get("name").textContent = item.name;
  const side = result.score > rule.threshold ? "above" : "not above";
  const reason = result.unusable === null ? "" : `${result.unusable}. `;
  const threshold = shortened(rule.threshold);
  get("sentence").textContent =
    `${reason}Score ${rule.score} ${shortened(result.score)}, ${side} the threshold ${threshold}.`;
  fill("scores", Object.entries(result.scores).map(([name, value]) => [name, shortened(value)]));
  showRegions(result);
  drawScale();
  showPictures(item);
}

function fill(id, lines) {
  const body = document.querySelector(`#${id} tbody`);
  const row = (line) => element("tr", {}, ...line.map((text) => element("td", { text })));
  body.replaceChildren(...lines.map(row));
}

function showRegions({ regions, outline, width, height }) {
  const known = regions ?? [];
  get("marks").hidden = get("regions").hidden = !known.length;
  const box = (own) => `M${own.left} ${own.top}h${own.width}v${own.height}h${-own.width}z`;
  for (const svg of document.querySelectorAll(".picture svg")) {
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.querySelector(".outline").setAttribute("d", outline ?? "");
    svg.querySelector(".box").setAttribute("d", known.map(box).join(""));
  }
  document.querySelector("#regions summary").textContent =
    `${plural(known.length, "region")} in pixels of the image`;
  fill("regions", known.map((own) => [
    `${own.left}, ${own.top}`, `${own.width} × ${own.height}`, own.area, shortened(own.peak),
  ]));
  const limit = rule.pixel_threshold;
  get("pixel-mark").hidden = limit === null;
  const share = Math.min(1, Math.max(0, limit / rule.heat_limit));
  get("pixel-mark").style.setProperty("--at", `${100 * share}%`);
  get("heat-limit").textContent = `${shortened(rule.heat_limit)} and more`;
  const none = known.length ? "" : " This image has none.";
  get("region-rule").textContent = limit === null
    ? "No regions: the run has no pixel threshold."
    : `Regions: map above ${shortened(limit)}, the mark on the colours.${none}`;
}

async function showPictures(item) {
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [];
  put("original", item.file, `Image ${item.name}`);
  get("heat").hidden = true;
  try {
    item.heat ??= await (await post("output=heatmap", item)).blob();
    if (shown === item) put("heat", item.heat, `Image ${item.name} in grey under its heat map`);
  } catch (error) {
    if (shown === item) get("region-rule").textContent = `No heat map: ${error.message}`;
  }
}

function put(id, blob, description) {
  const figure = get(id);
  const image = figure.querySelector("img");
  addresses.push(image.src = URL.createObjectURL(blob));
  image.alt = description;
  figure.hidden = false;
  image.onerror = () => (figure.hidden = true); // such as TIFF, which only the service can read
}

let isDrawing = false;
function drawScale() {
  if (isDrawing) return; // once for all results until the next frame
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    const scored = items.filter((item) => item.result);
    // One picture without light may have a hundred times the score of a defect.
    const usable = scored.filter((item) => item.state !== "unusable");
    const values = [rule.threshold, ...usable.map((item) => item.result.score)];
    let low = values.reduce((a, b) => Math.min(a, b), 0);
    let high = values.reduce((a, b) => Math.max(a, b), 0);
    if (low < 0) low -= 0.08 * (high - low);
    if (high > 0) high += 0.08 * (high - low);
    const percent = (value) => (100 * (value - low)) / (high - low || 1);
    const place = (value) => `${Math.min(99, Math.max(1, percent(value)))}%`;
    document.querySelector(".scale").style.setProperty("--at", place(rule.threshold));
    scored.forEach(({ dot, result }, i) => {
      dot.style.left = place(result.score);
      dot.style.top = `${20 + ((i * 37) % 61)}%`; // apart: equal scores hide none
    });
    dots.querySelector(".shown")?.classList.remove("shown");
    shown?.dot.classList.add("shown");
    get("lowest").textContent = shortened(low);
    get("highest").textContent = shortened(high);
    const threshold = `threshold ${shortened(rule.threshold)}`;
    get("at-line").textContent = threshold;
    const own = shown ? `, this image ${shortened(shown.result.score)}` : "";
    const label = `Scores ${rule.score} of ${plural(scored.length, "image")}: ${threshold}${own}`;
    get("scale").setAttribute("aria-label", label);
  });
}

/* Files */

const byName = (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });

function imagesAmong(files) {
  const found = files.filter(({ name }) => SUFFIXES.test(name)).sort(byName);
  skipped += files.length - found.length;
  return found;
}

async function filesUnder(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [{ file, name: entry.fullPath.slice(1) }];
  }
  const [reader, entries] = [entry.createReader(), []];
  for (;;) { // the browser gives a part of a folder's entries at a time
    const part = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!part.length) break;
    entries.push(...part);
  }
  return (await Promise.all(entries.map(filesUnder))).flat();
}

async function dropped(transfer) {
  // All entries are taken before the first wait: the browser empties the transfer then.
  const given = [...transfer.items].filter((item) => item.kind === "file");
  const taken = given.map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  const found = [];
  for (const [entry, file] of taken) {
    if (entry?.isDirectory) found.push(...imagesAmong(await filesUnder(entry)));
    else found.push({ file, name: file.name });
  }
  add(found);
}

get("form").addEventListener("submit", (event) => event.preventDefault());
get("images").addEventListener("change", (event) => {
  add([...event.target.files].map((file) => ({ file, name: file.name })));
  event.target.value = ""; // the same file may be chosen again
});
get("folder").addEventListener("change", (event) => {
  const named = (file) => ({ file, name: file.webkitRelativePath || file.name });
  add(imagesAmong([...event.target.files].map(named)));
  event.target.value = "";
});
get("token").addEventListener("change", giveToken);
for (const name of ["dragover", "dragleave", "drop"]) {
  // Anywhere on the page: else the browser would leave it and open the file.
  document.addEventListener(name, (event) => {
    event.preventDefault();
    get("form").classList.toggle("over", name === "dragover");
    if (name === "drop") dropped(event.dataTransfer);
  });
}
fetch("/health").then((response) => response.json()).then((health) => {
  get("about").textContent = `i3ad_jax ${health.version}, method ${health.method}.`;
  if (health.token) get("token-field").hidden = false;
});
