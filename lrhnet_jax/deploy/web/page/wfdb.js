// WFDB records of one segment in format 16: a header (.hea) and its signal file (.dat, or the Challenges' .mat).

import { UserError } from "./errors.js";

const MISSING = -32768;
const DEFAULT_RATE = 250;
const DEFAULT_GAIN = 200;
const HIGHEST = 1000; // mV
const RECORD =
  /^([^ \t/]+)(?:\/([0-9]+))?[ \t]+([0-9]+)(?:[ \t]+([-+0-9.eE]+)(?:\/\S*)?(?:[ \t]+([0-9]+)(?:[ \t].*)?)?)?$/;
const FORMAT = /^([0-9]+)(?:x([0-9]+))?(?::([0-9]+))?(?:\+([0-9]+))?$/;
const GAIN = /^([-+0-9.eE]+)(?:\(([-+]?[0-9]+)\))?(?:\/(\S+))?$/;
const CALL_PREDICT = "which this page does not read; lrhnet-jax predict does";

// name: of the header file; header: its text; files: Map of name -> ArrayBuffer, of what was dropped beside it.
export function readWfdb(name, header, files, leads) {
  const lines = [];
  const comments = [];
  for (const raw of header.replace(/^\uFEFF/, "").split("\n")) {
    const line = raw.trim();
    if (line.startsWith("#")) comments.push(line.slice(1));
    else if (line) lines.push(line);
  }
  const record = RECORD.exec(lines[0] ?? "");
  if (!record) throw new UserError("is not a WFDB header (first line: name, leads, rate and samples expected)");
  if (record[2]) throw new UserError(`is a record in several segments, ${CALL_PREDICT}`);
  const count = Number(record[3]);
  if (!count || lines.length - 1 < count) {
    throw new UserError(`wrong lead count: ${count} announced, ${lines.length - 1} described`);
  }
  const specs = lines.slice(1, 1 + count).map((line) => signal(line, leads));
  const rate = Number(record[4] ?? DEFAULT_RATE);
  let samples = Number(record[5] ?? 0);
  const summed = samples > 0 && specs.some((spec) => spec.checksum);
  const signals = new Array(count);
  for (const file of new Set(specs.map((spec) => spec.file))) {
    const group = specs.filter((spec) => spec.file === file);
    const data = files.get(file);
    if (!data) throw new UserError(`needs the signal file ${file}; choose both files together`);
    const start = group[0].offset;
    const there = Math.floor((data.byteLength - start) / (2 * group.length));
    samples ||= there;
    if (file.toLowerCase().endsWith(".mat")) checkMatrix(data, group, samples);
    if (there < samples) throw new UserError(`short signal: ${Math.max(there, 0)} of ${samples} samples in ${file}`);
    const view = new DataView(data);
    group.forEach((spec, i) => {
      const values = new Float32Array(samples);
      const gain = Math.fround(spec.gain);
      let sum = 0;
      for (let t = 0; t < samples; t++) {
        const value = view.getInt16(start + 2 * (t * group.length + i), true);
        sum += value;
        values[t] = value === MISSING ? NaN : Math.fround(value - spec.baseline) / gain;
      }
      if (summed && spec.checksum !== null && (spec.checksum - sum) % 65536 !== 0) {
        throw new UserError(`checksum mismatch in lead ${spec.lead}; copy the file again`);
      }
      if (values.some((value) => Math.abs(value) > HIGHEST)) {
        throw new UserError(
          `lead ${spec.lead} reaches more than ${HIGHEST} mV: its gain or its baseline makes no sense`,
        );
      }
      signals[specs.indexOf(spec)] = values;
    });
  }
  const { age, sex } = person(comments);
  return { name, signals, rate, leads: specs.map((spec) => leads.name(spec.lead)), age, sex, notes: [] };
}

function signal(line, leads) {
  const fields = line.split(/[ \t]+/);
  const format = FORMAT.exec(fields[1] ?? "");
  if (!format) throw new UserError(`unreadable header (signal line ${line.slice(0, 80)})`);
  if (Number(format[1]) !== 16) throw new UserError(`is of WFDB's storage format ${format[1]}, ${CALL_PREDICT}`);
  if (Number(format[2] ?? 1) > 1 || Number(format[3] ?? 0)) {
    throw new UserError(`has several samples a frame, or skewed signals, ${CALL_PREDICT}`);
  }
  const gain = GAIN.exec(fields[2] ?? "0");
  const scale = gain && leads.millivolts(gain[3] ?? "mV");
  if (!scale) throw new UserError(`unreadable header (gain ${fields[2]}): a voltage is expected`);
  const perMillivolt = (Number(gain[1]) || DEFAULT_GAIN) / scale;
  if (!(perMillivolt > 0 && Number.isFinite(perMillivolt))) throw new UserError(`gain ${gain[1]} makes no sense`);
  return {
    file: fields[0],
    offset: Number(format[4] ?? 0),
    gain: perMillivolt,
    baseline: Number(gain[2] ?? fields[4] ?? 0),
    checksum: fields[6] === undefined ? null : Number(fields[6]),
    lead: fields.slice(8).join(" "),
  };
}

// The Challenges' files are MATLAB's version 4, a matrix (leads x samples) of int16 behind a header.
function checkMatrix(data, group, samples) {
  const view = new DataView(data);
  const plain = data.byteLength >= 20 && view.getInt32(0, true) === 30 && !view.getInt32(12, true);
  if (!plain || group[0].offset !== 20 + view.getInt32(16, true)) {
    throw new UserError(`has a MATLAB file of another kind than the Challenges', ${CALL_PREDICT}`);
  }
  const [rows, columns] = [view.getInt32(4, true), view.getInt32(8, true)];
  if (rows !== group.length) {
    throw new UserError(`wrong lead count: ${rows} in the signal file, ${group.length} in the header`);
  }
  if (columns !== samples) throw new UserError(`${columns} samples in the signal file, ${samples} in the header`);
}

function person(comments) {
  const found = {};
  for (const line of comments) {
    const [, key, value] = /^([^:]*):(.*)$/.exec(line) ?? [];
    const kind = { age: "age", "patient age": "age", sex: "sex", gender: "sex", "patient sex": "sex" }[
      key?.trim().toLowerCase()
    ];
    if (kind && value.trim()) found[kind] ??= value.trim();
  }
  return { age: parseAge(found.age), sex: found.sex ?? null };
}

// Years, of "61", "61 years", "061Y" or "89+"; null if that is not what is written.
export function parseAge(text) {
  const match = /^([0-9]{1,6}(?:\.[0-9]*)?)(\+)? ?(?:y|yr|yrs|years?|yo)?\.?$/i.exec((text ?? "").trim());
  if (!match) return null;
  const years = Number(match[1]);
  if (match[2]) return years >= 89 && years <= 120 ? 90 : null;
  return years <= 120 || (years >= 300 && years <= 330) ? years : null;
}
