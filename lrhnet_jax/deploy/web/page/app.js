// The page: files in, answers out. Nothing here sends anything anywhere; the page's policy would not let it.

import * as ort from "./ort/ort.wasm.min.js";
import { UserError } from "./errors.js";
import { Model } from "./model.js";
import { drawPaper, shownSeconds } from "./paper.js";
import { readAll } from "./recordings.js";
import { chosen, explain } from "./saliency.js";

const MOST_DRAWN = 6; // leads of a recording that has fewer than twelve
const MAX_BYTES = 2 ** 30; // of a file: a day of twelve leads at 500 Hz
const byId = (id) => document.getElementById(id);
let model;

async function load() {
  const [meta, tables] = await Promise.all(["model.json", "tables.json"].map(fetchJson));
  const place = (name) => new URL(`./ort/ort-wasm-simd-threaded.${name}`, import.meta.url).href;
  ort.env.wasm.wasmPaths = { mjs: place("js"), wasm: place("wasm") };
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  const session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  const run = async (signal, person, count) => {
    const inputs = {
      signal: new ort.Tensor("float32", signal, [count, meta.window, meta.leads.length]),
      demographics: new ort.Tensor("float32", person, [count, 5]),
    };
    return (await session.run(inputs)).probabilities.data;
  };
  return new Model(meta, tables, run);
}

async function fetchJson(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response.json();
}

function describe({ meta, tables }) {
  const rate = meta.preprocess_options.rate;
  const rows = {
    name: meta.name,
    architecture: `${meta.model}, ${meta.parameters.toLocaleString("en")} parameters`,
    task: `${meta.task}, ${meta.classes.length} classes`,
    reads: `leads ${meta.leads.join(", ")}; ${Number((meta.window / rate).toPrecision(3))} s at a time, at ${rate} Hz`,
    "trained on": meta.trained_on,
    decides: meta.decision + (!tables.exclusive && !meta.thresholds ? `, ${tables.unfitted}: none were fitted` : ""),
  };
  for (const [name, text] of Object.entries({ ...rows, ...card(meta.card, tables.metrics) })) {
    byId("facts").append(make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "text" }, text)));
  }
  byId("reads").textContent = `The network reads ${meta.leads.length > 1 ? "leads" : "lead"} ${meta.leads.join(", ")}.`;
  byId("synthetic").hidden = !meta.synthetic;
  byId("synthetic").textContent = meta.synthetic ? tables.synthetic : "";
}

// What a model's card says, of one that has a card.
function card(card, names) {
  if (!card) return {};
  const figure = (value) => (value === null ? "?" : value.toFixed(3));
  const measured = card.measured.map(({ metrics, records, on }) => {
    const known = Object.entries(metrics).filter(([key]) => names[key]);
    const figures = known.map(
      ([key, { value, low, high }]) => `${names[key]} ${figure(value)} (${figure(low)} to ${figure(high)})`,
    );
    return `${figures.join(", ")}; ${records} records: ${on}`;
  });
  return {
    "learned from": card.trained_on
      .map((part) => `${part.source} (${part.records} records, ${part.licence})`)
      .join("\n"),
    measured: measured.join("\n"),
    "not for": card.not_for.join("\n"),
    licence: card.licence,
    attribution: card.attribution.join("\n"),
  };
}

function given() {
  const text = (id) => byId(id).value.trim();
  const number = (id) => (/[0-9]/.test(text(id)) ? Number(text(id).replace(",", ".")) : null);
  const leads = text("leads")
    .split(/[\s,;]+/)
    .filter(Boolean);
  return {
    rate: number("rate"),
    leads: leads.length ? leads : null,
    unit: text("unit") || null,
    age: number("age"),
    sex: text("sex") || null,
  };
}

async function answerAll(list) {
  const dropped = [...list];
  if (!dropped.length) return;
  byId("files").disabled = true;
  byId("answers").replaceChildren();
  say(`Reading ${dropped.length === 1 ? dropped[0].name : `${dropped.length} files`} …`);
  await painted();
  try {
    const fitting = dropped.filter((file) => file.size <= MAX_BYTES);
    const files = await Promise.all(fitting.map(async (file) => ({ name: file.name, data: await file.arrayBuffer() })));
    const said = given();
    const tooLarge = dropped.filter((file) => file.size > MAX_BYTES);
    const error = "is too large for a browser (1 GB at most); cut it into parts, or use lrhnet-jax predict";
    const found = [...readAll(files, model.leads, said), ...tooLarge.map(({ name }) => ({ name, error }))];
    let answered = 0;
    for (const one of found) answered += await answerOne(one, said);
    say(`${answered} of ${found.length} ${found.length === 1 ? "recording" : "recordings"} answered.`);
    byId("answers").querySelector("h2")?.focus();
  } catch (error) {
    console.error(error);
    say(`The files could not be read: ${error.message}`);
  } finally {
    byId("files").disabled = false;
  }
}

// Returns whether there is an answer.
async function answerOne({ name, recording, error }, said) {
  const heading = make("h2", { tabindex: "-1" }, name);
  const article = make("article", {}, heading);
  byId("answers").append(article);
  if (!error) {
    try {
      const known = { ...recording, age: said.age ?? recording.age, sex: said.sex ?? recording.sex };
      const progress = async (share) => {
        say(`${name}: ${Math.round(100 * share)} %`);
        await painted();
      };
      const answer = await model.predict(known, progress);
      article.append(...answered(known, answer));
      return true;
    } catch (failure) {
      if (!(failure instanceof UserError)) console.error(failure);
      error = failure.message;
    }
  }
  article.append(make("p", { class: "error", role: "alert" }, `${name}: ${error}`));
  return false;
}

function answered(recording, answer) {
  const seconds = recording.signals[0].length / recording.rate;
  const age =
    recording.age === null ? "" : recording.age <= 120 ? `${Math.round(recording.age)} years` : "over 89 years";
  const sex = { f: "female", m: "male" }[(recording.sex ?? "").trim().toLowerCase()[0]] ?? "";
  const person = [age, sex].filter(Boolean).join(", ") || "age and sex unknown";
  const scroll = {
    class: "paper",
    tabindex: "0",
    role: "region",
    "aria-label": "The ECG on squared paper, which scrolls sideways",
  };
  const paper = make("div", scroll, drawing(recording));
  const notes = answer.notes.length ? answer.notes : ["nothing to note"];
  return [
    make("p", { class: "decision" }, answer.words),
    make(
      "p",
      {},
      `${person}; ${Number(seconds.toPrecision(4)).toLocaleString("en")} s at ${Number(recording.rate.toPrecision(6))} Hz`,
    ),
    paper,
    make("p", {}, "25 mm/s, 10 mm/mV; blue: read by the network."),
    asking(recording, answer, paper),
    make("h3", {}, "Notes on the recording"),
    make("ul", {}, ...notes.map((note) => make("li", {}, note))),
    table(answer),
  ];
}

// A button that shades the paper where covering the signal changes the answer.
function asking(recording, answer, paper) {
  const button = make("button", { type: "button" }, "Show what the network looked at");
  const told = make("p", { role: "status" }, button);
  button.addEventListener("click", async () => {
    button.disabled = true;
    const shown = shownSeconds(drawnLeads(recording), recording.signals[0].length / recording.rate);
    const progress = async (share) => {
      button.textContent = `Covering one piece after another: ${Math.round(100 * share)} %`;
      await painted();
    };
    try {
      const looked = await explain(model, recording, chosen(answer), shown, progress);
      paper.replaceChildren(drawing(recording, looked));
      told.replaceChildren(looked.words);
      told.dataset.covered = JSON.stringify(looked.covered);
      told.dataset.silent = JSON.stringify(looked.silent);
    } catch (failure) {
      console.error(failure);
      told.replaceChildren(`This could not be found out: ${failure.message}`);
    }
  });
  return told;
}

function drawnLeads(recording) {
  const known = model.leads.available(recording);
  const own = model.meta.leads;
  const others = known.filter((lead) => !own.includes(lead));
  return known.length === 12 ? known : [...own, ...others.slice(0, Math.max(MOST_DRAWN - own.length, 0))];
}

function drawing(recording, looked = null) {
  const leads = drawnLeads(recording);
  const { signals } = model.leads.select(recording, leads);
  return drawPaper(signals, leads, recording.rate, model.meta.leads, looked);
}

function table({ probabilities, thresholds, decisions }) {
  const order = [...probabilities.keys()].sort(
    (a, b) => decisions[b] - decisions[a] || probabilities[b] - probabilities[a],
  );
  const body = make("tbody");
  for (const i of order) {
    const bar = make("div", { class: "bar", "aria-hidden": "true" }, make("span"));
    bar.firstChild.style.width = `${100 * probabilities[i]}%`;
    if (thresholds) bar.append(make("i"));
    if (thresholds) bar.lastChild.style.left = `${100 * Math.min(Math.max(thresholds[i], 0), 1)}%`;
    body.append(
      make(
        "tr",
        {
          class: decisions[i] ? "yes" : "no",
          "data-class": model.meta.classes[i],
          "data-probability": probabilities[i],
        },
        make("th", { scope: "row" }, model.meta.class_names[i], bar),
        make("td", { class: "number" }, probabilities[i].toFixed(3)),
        make("td", { class: "number" }, thresholds ? thresholds[i].toFixed(3) : "-"),
        make("td", {}, decisions[i] ? "yes" : "no"),
      ),
    );
  }
  const heads = ["class", "probability", "threshold", "decision"].map((name) => make("th", { scope: "col" }, name));
  return make("table", {}, make("caption", {}, "Probabilities"), make("thead", {}, make("tr", {}, ...heads)), body);
}

// An element; text in it is text, whatever a file's name holds.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function say(text) {
  byId("status").textContent = text;
}

function painted() {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

function listen() {
  byId("files").addEventListener("click", (event) => (event.target.value = "")); // the same file may be chosen again
  byId("files").addEventListener("change", (event) => answerAll(event.target.files));
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      byId("drop").classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      byId("drop").classList.remove("over");
    });
  }
  addEventListener("drop", (event) => {
    if (!byId("files").disabled) answerAll(event.dataTransfer.files);
  });
}

try {
  model = await load();
  describe(model);
  listen();
  byId("files").disabled = false;
  say("Ready.");
} catch (error) {
  console.error(error);
  byId("status").setAttribute("role", "alert");
  say(`The network could not be loaded (${error.message}). Is the whole folder there, and served by a web server?`);
}
