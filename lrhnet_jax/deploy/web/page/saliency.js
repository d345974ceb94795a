// What the network looked at: how its answer changes where pieces of a recording, or whole leads, are covered: what
// deploy/saliency.py does, step by step.

import { demographics } from "./model.js";
import { coveringWindows, cutWindows, toFloat16 } from "./prepare.js";

const STEP = 0.1; // s, from a piece to the next
const PIECE = 4 * STEP;
const CONTEXT = 60; // s, of a longer recording
const WEAK = 0.05; // of log-odds
const MISSED = 3; // leads that are told of
const FINEST = 1e-6;
const BATCH = 8;

// Of the classes decided for, or else of all, the most probable one.
export function chosen({ probabilities, decisions }) {
  const all = [...probabilities.keys()];
  const among = decisions.some(Boolean) ? all.filter((i) => decisions[i]) : all;
  return among.reduce((best, i) => (probabilities[i] > probabilities[best] ? i : best));
}

// Covers each piece of the first `seconds` in turn, and asks again. Returns {name, probability, times, covered, shade,
// silent, words}: probabilities where a piece is covered, how dark to draw it, and probabilities without each lead.
export async function explain(model, recording, index, seconds = CONTEXT, onProgress = () => {}) {
  const head = Math.round(CONTEXT * recording.rate);
  const begin = { ...recording, signals: recording.signals.map((signal) => signal.subarray(0, head)) };
  const { prepared } = model.prepare(begin);
  const { window, leads } = model.meta;
  const rate = model.meta.preprocess_options.rate;
  const starts = coveringWindows(prepared[0].length, window);
  const width = window * leads.length;
  const windows = cutWindows(prepared, starts, window);
  const person = demographics(recording.age, recording.sex);

  const end = Math.min(seconds, prepared[0].length / rate);
  const times = Array.from({ length: Math.ceil((end - STEP / 2) / STEP) }, (_, i) => STEP / 2 + i * STEP);
  const variants = starts.map((_, which) => ({ which, change: (value) => value }));
  const owners = [];
  starts.forEach((start, which) => {
    times.forEach((time, piece) => {
      if (time * rate < start || time * rate > start + window - 1) return;
      owners.push({ piece, which });
      const dip = Float64Array.from({ length: window }, (_, t) => dipAt((start + t) / rate - time));
      variants.push({ which, change: (value, t) => toFloat16(value * dip[t]) });
    });
  });
  const silenced = leads.length > 1 ? leads.map((_, column) => column) : [];
  for (const column of silenced) {
    starts.forEach((_, which) => variants.push({ which, change: (value, t, lead) => (lead === column ? 0 : value) }));
  }

  const answers = [];
  for (let first = 0; first < variants.length; first += BATCH) {
    const some = variants.slice(first, first + BATCH);
    const input = new Float32Array(some.length * width);
    some.forEach(({ which, change }, row) => {
      for (let i = 0; i < width; i++) {
        const lead = i % leads.length;
        input[row * width + i] = change(windows[which * width + i], (i - lead) / leads.length, lead);
      }
    });
    const people = Float32Array.from({ length: 5 * some.length }, (_, i) => person[i % 5]);
    const found = await model.run(input, people, some.length);
    some.forEach((_, row) => answers.push(found[row * model.meta.classes.length + index]));
    await onProgress(answers.length / variants.length);
  }

  const count = starts.length;
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const probability = mean(answers.slice(0, count));
  const covered = times.map(() => probability);
  owners.forEach(({ piece, which }, i) => (covered[piece] += (answers[count + i] - answers[which]) / count));
  const without = answers.slice(count + owners.length);
  const silent = Object.fromEntries(
    silenced.map((column) => [leads[column], mean(without.slice(column * count, (column + 1) * count))]),
  );
  const bounded = covered.map((value) => Math.min(Math.max(value, 0), 1));
  const relevance = bounded.map((value) => Math.max(logOdds(probability) - logOdds(value), 0));
  const most = Math.max(0, ...relevance);
  const shade = relevance.map((value) => (most > WEAK ? value / most : 0));
  const result = { name: model.meta.class_names[index], probability, times, covered: bounded, shade, silent };
  return { ...result, words: inWords(result) };
}

// A Hann window, upside down: what a piece whose middle is at 0 is covered with.
function dipAt(seconds) {
  return Math.abs(seconds) < PIECE / 2 ? 1 - Math.cos((Math.PI * seconds) / PIECE) ** 2 : 1;
}

function logOdds(probability) {
  const bounded = Math.min(Math.max(probability, FINEST), 1 - FINEST);
  return Math.log(bounded / (1 - bounded));
}

function inWords({ name, probability, covered, shade, silent }) {
  if (!shade.some(Boolean)) {
    return `No single piece of the signal speaks for ${name}: covering any leaves the answer as it is.`;
  }
  const least = Math.min(...covered).toFixed(3);
  const change = `from ${probability.toFixed(3)} to ${least}`;
  const told = `Shaded: what spoke for ${name}. Covering the darkest piece lowers its probability ${change}.`;
  const missed = Object.entries(silent).sort((a, b) => a[1] - b[1]);
  const leads = missed.slice(0, MISSED).map(([lead, value]) => `${value.toFixed(3)} without lead ${lead}`);
  const rest = missed.length > MISSED ? ", and more without any other" : "";
  return leads.length ? `${told} It is ${leads.join(", ")}${rest}.` : told;
}
