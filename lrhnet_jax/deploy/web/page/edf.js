// EDF, EDF+ and BDF: a text header, then data records of every signal's 16-bit (BDF: 24-bit) samples.

import { UserError } from "./errors.js";

const BLOCK = 256;
const WIDTHS = [16, 80, 8, 8, 8, 8, 8, 80, 8, 32];
const MAX_SIGNALS = 4096;
const ANNOTATIONS = ["EDF Annotations", "BDF Annotations"];
const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

export function isEdf(head) {
  const text = latin1(head);
  return text.startsWith("\xffBIOSEMI") || (text.startsWith("0       ") && /^\d+$/.test(text.slice(184, 192).trim()));
}

// data: Uint8Array of the file; given: {unit}, what the user says of it.
export function readEdf(name, data, leads, given = {}) {
  const text = latin1(data.subarray(0, BLOCK));
  claim(BLOCK, data.length, "an EDF header");
  const count = whole(text.slice(252, 256), "number of signals");
  if (!(count >= 1 && count <= MAX_SIGNALS)) throw broken(`${count} signals`);
  const start = BLOCK * (count + 1);
  claim(start, data.length, "its EDF header");
  const described = describe(latin1(data.subarray(BLOCK, start)), count, given);
  const { kept, notes } = choose(described, leads);
  const duration = number(text.slice(244, 252), "duration of a data record");
  const rate = kept[0].length / duration;
  if (!(duration > 0 && rate > 0 && Number.isFinite(rate))) throw broken(`data records of ${duration} s`);
  const width = data[0] === 0xff ? 3 : 2;
  const length = described.reduce((sum, signal) => sum + signal.length, 0);
  const there = Math.floor((data.length - start) / (width * length));
  let records = whole(text.slice(236, 244), "number of data records");
  if (records < 0) records = there;
  claim(start + Math.max(records, 1) * width * length, data.length, "its EDF header");
  if (there > records)
    notes.push(`${there - records} data records behind those that the header announces are not read`);
  if (/^[EB]DF\+D/.test(text.slice(192, 197))) {
    notes.push("recorded with interruptions, which are not kept: its parts are read one after another");
  }
  const signals = kept.map((signal) => {
    const values = new Float32Array(records * signal.length);
    const scale = leads.millivolts(signal.unit);
    const [gain, offset] = [Math.fround(signal.gain * scale), Math.fround(signal.offset * scale)];
    for (let record = 0; record < records; record++) {
      for (let i = 0; i < signal.length; i++) {
        const at = start + width * (record * length + signal.start + i);
        const low = data[at] | (data[at + 1] << 8);
        const value = width === 2 ? (low << 16) >> 16 : ((low | (data[at + 2] << 16)) << 8) >> 8;
        values[record * signal.length + i] = Math.fround(value * gain) + offset;
      }
    }
    return values;
  });
  return { name, signals, rate, leads: kept.map((signal) => leads.name(signal.label)), ...patient(text), notes };
}

function describe(text, count, given) {
  const fields = [];
  let at = 0;
  for (const width of WIDTHS) {
    fields.push(Array.from({ length: count }, (_, i) => text.slice(at + i * width, at + (i + 1) * width).trim()));
    at += width * count;
  }
  let start = 0;
  return Array.from({ length: count }, (_, i) => {
    const [label, , unit, low, high, digitalLow, digitalHigh, , samples] = fields.map((field) => field[i]);
    const length = whole(samples, `number of samples of ${label}`);
    if (length < 0) throw broken(`${length} samples of ${label} in a data record`);
    const signal = { label, unit: unit || given.unit || "", gain: 0, offset: 0, start, length };
    start += length;
    if (!ANNOTATIONS.includes(label)) {
      const limits = [low, high, digitalLow, digitalHigh].map((field) => number(field, `range of ${label}`));
      if (limits[2] === limits[3]) throw broken(`${label} has a digital range of nothing`);
      signal.gain = (limits[1] - limits[0]) / (limits[3] - limits[2]);
      signal.offset = limits[0] - signal.gain * limits[2];
    }
    return signal;
  });
}

// The voltages that are sampled as the ECG leads are.
function choose(described, leads) {
  const data = described.filter((signal) => !ANNOTATIONS.includes(signal.label));
  const voltages = data.filter((signal) => leads.millivolts(signal.unit) && signal.length);
  if (!voltages.length) {
    const kinds = data.slice(0, 12).map((signal) => `${signal.label} (${signal.unit || "no unit"})`);
    throw new UserError(`holds no ECG leads, that is no voltages; it has ${kinds.join(", ") || "annotations only"}`);
  }
  let ecg = voltages.filter((signal) => leads.canonical(signal.label));
  if (!ecg.length) ecg = voltages.filter((signal) => /ecg|ekg|lead/i.test(signal.label));
  if (!ecg.length) ecg = voltages;
  const counts = new Map();
  for (const { length } of ecg) counts.set(length, (counts.get(length) ?? 0) + 1);
  const [most] = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best));
  const kept = voltages.filter((signal) => signal.length === most);
  const left = data.filter((signal) => !kept.includes(signal)).map((signal) => signal.label);
  const notes = left.length ? [`not read, being no voltage or of another sampling rate: ${left.join(", ")}`] : [];
  return { kept, notes };
}

function patient(text) {
  const fields = text.slice(8, 88).split(/\s+/).filter(Boolean);
  if (fields.length < 3 || !["F", "M", "X"].includes(fields[1])) return { age: null, sex: null };
  const day = /^(\d\d)\.(\d\d)\.(\d\d)$/.exec(text.slice(168, 176));
  const born = /^(\d\d)-([A-Za-z]{3})-(\d{4})$/.exec(fields[2]);
  let age = null;
  if (day && born) {
    const month = MONTHS.indexOf(born[2].toUpperCase()) + 1;
    const year = Number(day[3]) + (Number(day[3]) >= 85 ? 1900 : 2000);
    const earlier = Number(day[2]) < month || (Number(day[2]) === month && Number(day[1]) < Number(born[1]));
    const years = year - Number(born[3]) - (earlier ? 1 : 0);
    age = month && years >= 0 && years <= 120 ? years : null;
  }
  return { age, sex: fields[1] === "X" ? null : fields[1] };
}

function claim(needed, there, what) {
  if (needed > there) {
    throw new UserError(`truncated: ${what} claims ${needed} bytes, and ${there} are there; export it again`);
  }
}

function number(text, what) {
  const value = Number(text.trim().replace(",", ".") || NaN);
  if (!Number.isFinite(value)) throw broken(`"${text}" for the ${what}`);
  return value;
}

function whole(text, what) {
  return Math.round(number(text, what));
}

function broken(what) {
  return new UserError(`broken EDF header: ${what}; export it again`);
}

function latin1(bytes) {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
