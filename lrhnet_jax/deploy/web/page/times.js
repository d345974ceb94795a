// The column of times in a table: from what it says to a sampling rate.

import { UserError } from "./errors.js";

const NAME = /^(elapsed\s*)?(time(stamp)?|t|date(time)?|sec(ond)?s?|ms|milli(second)?s?)\b.*$/i;
const INDEX = /^(sample|index|idx|frame|row|n|no|nr|#|unnamed.*|)\W*\d*$/i;
const UNITS = {
  s: 1,
  sec: 1,
  second: 1,
  ms: 1e-3,
  milli: 1e-3,
  msec: 1e-3,
  millisecond: 1e-3,
  us: 1e-6,
  usec: 1e-6,
  microsecond: 1e-6,
  ns: 1e-9,
};
const CLOCK = /^(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)$/;
const SNAP = 2e-4; // of a rate: times are rounded
const GUESSES = [
  [0.05, 1, "seconds"],
  [200, 1e-3, "milliseconds"],
  [2e5, 1e-6, "microseconds"],
  [Infinity, 1e-9, "ns"],
];

export function isTime(name) {
  return NAME.test(name.replaceAll("_", " ").trim());
}

export function isIndex(name) {
  return INDEX.test(name.trim());
}

export function isClock(text) {
  return text.includes(":") && /[0-9]/.test(text);
}

// The seconds of the unit of time that a text names last, or null.
export function unitSeconds(text) {
  const words =
    text
      .replace(/[µμ]/g, "u")
      .toLowerCase()
      .match(/[a-z]+/g) ?? [];
  for (const word of words.reverse()) {
    const one = Object.hasOwn(UNITS, word) ? word : word.replace(/s$/, "");
    if (Object.hasOwn(UNITS, one)) return UNITS[one];
  }
  return null;
}

export function stepsEvenly(values) {
  if (values.length < 3 || !values.every(Number.isFinite)) return false;
  const step = (values.at(-1) - values[0]) / (values.length - 1);
  return step > 0 && values.every((value, i) => i === 0 || Math.abs(value - values[i - 1] - step) < 0.6 * step);
}

// Seconds, of "0:00.004", "12:30:00.004" or dates with times.
export function parseTimes(texts) {
  return Float64Array.from(texts, (text, i) => {
    const plain = text.replace(/^['"[\] ]+|['"[\] ]+$/g, "");
    const clock = CLOCK.exec(plain);
    const seconds = clock
      ? Number(clock[1] ?? 0) * 3600 + Number(clock[2]) * 60 + Number(clock[3].replace(",", "."))
      : Date.parse(plain.replace(",", ".")) / 1000;
    if (!Number.isFinite(seconds)) throw new UserError(`time ${plain} in row ${i + 1} of the table is not read`);
    return seconds;
  });
}

// Hz, or null if the column only counts samples. seconds: of its unit, or null: then it is guessed, and noted.
export function rateFromTimes(times, seconds, notes) {
  const steps = times.slice(1).map((time, i) => time - times[i]);
  const sorted = steps.toSorted ? steps.toSorted() : steps.slice().sort();
  const middle = sorted.length >> 1;
  const step = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  if (!times.every(Number.isFinite) || !(step > 0) || sorted[0] < 0) {
    throw new UserError("its column of times does not grow from row to row; remove it, and give the rate");
  }
  if (seconds === null) {
    if (step === 1 && sorted.at(-1) === 1) return null;
    const [, guess, unit] = GUESSES.find(([limit]) => step < limit);
    seconds = guess;
    notes.push(`the column of times does not say its unit: taken as ${unit}`);
  }
  const gaps = [...steps.keys()].filter((i) => steps[i] > 2.5 * step);
  let typical = step;
  if (gaps.length) {
    const first = ((times[gaps[0]] - times[0]) * seconds).toFixed(2);
    notes.push(`${gaps.length} gaps in the times (first after ${first} s) are closed: what follows is moved up`);
  } else {
    typical = (times.at(-1) - times[0]) / steps.length;
  }
  const rate = 1 / (typical * seconds);
  return Math.abs(rate - Math.round(rate)) < SNAP * rate ? Math.round(rate) : rate;
}
