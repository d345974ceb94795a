// What the network says of a recording: what deploy/model.py does, step by step.

import { UserError } from "./errors.js";
import { Leads } from "./leads.js";
import { coveringWindows, cutWindows, preprocess } from "./prepare.js";
import { countMissing } from "./recordings.js";

const BATCH = 8; // windows at a time
const CLIPPED_SHARE = 0.02;
const SPAN = [0.1, 20]; // mV

export class Model {
  // meta: model.json; tables: tables.json; run: async (signal, person, windows) -> probabilities, Float32Arrays.
  constructor(meta, tables, run) {
    Object.assign(this, { meta, tables, run, leads: new Leads(tables) });
  }

  // {signals: the model's leads in millivolts, prepared: what the network reads, notes}
  prepare(recording) {
    const { signals, notes } = this.leads.select(recording, this.meta.leads);
    const missing = this.meta.leads.flatMap((lead, i) => {
      const count = countMissing(signals[i]);
      return count ? [`${count} of lead ${lead}`] : [];
    });
    if (missing.length) {
      throw new UserError(`lacks samples (${missing.join(", ")}, of ${signals[0].length}); cut them off`);
    }
    const prepared = preprocess(signals, recording.rate, this.meta.preprocess_options, this.tables.filter);
    return { signals, prepared, notes };
  }

  // onProgress: awaited with the share that is done.
  async predict(recording, onProgress = () => {}) {
    const { signals, prepared, notes } = this.prepare(recording);
    const { window, leads, classes } = this.meta;
    const samples = prepared[0].length;
    const starts = coveringWindows(samples, window);
    const person = demographics(recording.age, recording.sex);
    const sums = new Float64Array(classes.length);
    for (let first = 0; first < starts.length; first += BATCH) {
      const some = starts.slice(first, first + BATCH);
      const people = Float32Array.from({ length: 5 * some.length }, (_, i) => person[i % 5]);
      const found = await this.run(cutWindows(prepared, some, window), people, some.length);
      found.forEach((value, i) => (sums[i % classes.length] += value));
      await onProgress((first + some.length) / starts.length);
    }
    const probabilities = sums.map((sum) => Math.fround(sum / starts.length));
    if (!probabilities.every(Number.isFinite)) throw new UserError("the network answers no number for it");
    const thresholds = this.tables.exclusive ? null : (this.meta.thresholds ?? classes.map(() => this.tables.unfitted));
    const best = probabilities.indexOf(Math.max(...probabilities));
    const decisions = Array.from(probabilities, (p, i) => (thresholds ? p >= thresholds[i] : i === best));
    const decided = this.meta.class_names.filter((_, i) => decisions[i]);
    const words =
      decided.join(", ") || `none; most probable: ${this.meta.class_names[best]} (${probabilities[best].toFixed(2)})`;
    const rate = this.meta.preprocess_options.rate;
    const seconds = (count) => (count / rate).toFixed(1);
    const padded =
      samples < window
        ? [`shorter than the network's window: ${seconds(samples)} s, padded with zeros to ${seconds(window)} s`]
        : [];
    return {
      probabilities: Array.from(probabilities),
      thresholds,
      decisions,
      words,
      notes: [...recording.notes, ...notes, ...marks(signals, leads), ...this.unseen(recording), ...padded],
    };
  }

  // How a recording's rate and length differ from what the network has learned from, if its card says that.
  unseen({ rate, signals }) {
    const { rates, seconds } = this.meta.card?.seen ?? {};
    const length = signals[0].length / rate;
    const plain = (value) => Number(value.toPrecision(4));
    const span = ([low, high]) => (low === high ? plain(low) : `${plain(low)} to ${plain(high)}`);
    const outside = (value, range) => range && !(value >= range[0] && value <= range[1]);
    const long = "an hour or a day is better answered along time, as lrhnet-jax predict does";
    return [
      ...(length > this.tables.long ? [`the answer is the mean over ${plain(length)} s: ${long}`] : []),
      ...(outside(rate, rates) ? [`recorded at ${plain(rate)} Hz: the network has seen ${span(rates)} Hz`] : []),
      ...(outside(length, seconds) ? [`${plain(length)} s long: the network has seen ${span(seconds)} s`] : []),
    ];
  }
}

// The age/sex vector that the networks read.
export function demographics(age, sex) {
  if (age !== null && age >= 300 && age <= 330) age = 90;
  const known = age !== null && age >= 0 && age <= 120;
  const letter = (sex ?? "").trim().toLowerCase();
  const female = ["female", "f"].includes(letter);
  const male = ["male", "m"].includes(letter);
  return [known ? age / 100 : 0, known, female, male, female || male].map(Number);
}

// Leads that carry nothing, or not what they say: see ecg/quality.py.
function marks(signals, leads) {
  const found = { flat: [], clipped: [], scale: [] };
  signals.forEach((signal, i) => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of signal) [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (!(low < high)) found.flat.push(leads[i]);
    else {
      if (held(signal, low) || held(signal, high)) found.clipped.push(leads[i]);
      if (high - low < SPAN[0] || high - low > SPAN[1]) found.scale.push(leads[i]);
    }
  });
  if (found.flat.length === leads.length)
    return [`no signal (${leads.join(", ")}): every lead is flat: nothing was recorded`];
  const texts = {
    flat: "the lead has one value throughout: it was off, or is at a rail of the converter",
    clipped: "the lead stays at its highest or lowest value: its amplitude was beyond the converter's range",
    scale: "the lead spans less than 0.1 mV or more than 20 mV: its gain or unit may be wrong",
  };
  return Object.entries(found).flatMap(([mark, names]) =>
    names.length ? [`${mark} (${names.join(", ")}): ${texts[mark]}`] : [],
  );
}

function held(signal, value) {
  let count = 0;
  for (let i = 2; i < signal.length; i++) {
    if (signal[i] === value && signal[i - 1] === value && signal[i - 2] === value) count += 1;
  }
  return count > CLIPPED_SHARE * signal.length;
}
