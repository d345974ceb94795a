// From files that were dropped to recordings: {name, signals: Float32Array[], rate, leads, age, sex, notes}.

import { isEdf, readEdf } from "./edf.js";
import { UserError } from "./errors.js";
import { decode, looksLikeTable, readTable } from "./table.js";
import { readWfdb } from "./wfdb.js";

const MIN_SECONDS = 1;
const MAX_LEADS = 1000;
const NAMELESS = /^(ecg|ekg|lead|channel|ch|signal|unnamed)?\W*[01]?$/i;
const PREDICT = "which this page does not read; lrhnet-jax predict does, or export it as CSV or EDF";
const KNOWN = [
  [/^%PDF/, "is a PDF of an ECG, not its samples; export these, as CSV or EDF"],
  [/^(\x89PNG|\xff\xd8\xff|II\*\0)/, "is a picture of an ECG, not its samples; export these, as CSV or EDF"],
  [/^PK\x03\x04/, "is a ZIP archive or a spreadsheet; unpack it, or export the samples as CSV"],
  [/^\x93NUMPY/, `is a NumPy array, ${PREDICT}`],
  [/^[\s\S]{128}DICM/, `is DICOM, ${PREDICT}`],
  [/^(\xef\xbb\xbf)?\s*</, `is XML, ${PREDICT}`],
];

// files: [{name, data: ArrayBuffer}]. Returns [{name, recording}] or [{name, error}], one for each recording.
export function readAll(files, leads, given = {}) {
  const byName = new Map(files.map((file) => [file.name, file.data]));
  const headers = files.filter((file) => /\.hea$/i.test(file.name));
  const used = new Set(headers.flatMap((file) => signalFiles(file)));
  const left = files.filter((file) => headers.includes(file) || !used.has(file.name));
  return left.map((file) => {
    try {
      const recording = headers.includes(file)
        ? readWfdb(file.name, decode(new Uint8Array(file.data)), byName, leads)
        : readOne(file, leads, given);
      return { name: file.name, recording: checked(named(recording, given), leads.tables) };
    } catch (error) {
      if (!(error instanceof UserError)) console.error(error);
      const reason = error instanceof UserError ? error.message : `is damaged (${error.message}); export it again`;
      return { name: file.name, error: reason };
    }
  });
}

// Names of the files that a WFDB header says hold its signals.
function signalFiles(file) {
  const lines = decode(new Uint8Array(file.data))
    .split("\n")
    .map((line) => line.trim());
  return lines
    .filter((line) => line && !line.startsWith("#"))
    .slice(1)
    .map((line) => line.split(/\s+/)[0]);
}

function readOne(file, leads, given) {
  const data = new Uint8Array(file.data);
  if (!data.length) throw new UserError("is empty (0 bytes); export it again");
  const head = Array.from(data.subarray(0, 512), (byte) => String.fromCharCode(byte)).join("");
  if (isEdf(data.subarray(0, 256))) return readEdf(file.name, data, leads, given);
  if (/\.(dat|mat)$/i.test(file.name)) {
    const header = file.name.replace(/\.[^.]*$/, ".hea");
    throw new UserError(`is a signal file without its header; choose ${header} together with it`);
  }
  const known = KNOWN.find(([magic]) => magic.test(head));
  if (known) throw new UserError(known[1]);
  const text = decode(data);
  if (!looksLikeTable(text)) {
    throw new UserError("is not an ECG file that this page reads: CSV, EDF, or WFDB (a .hea with its .dat or .mat)");
  }
  return readTable(file.name, text, leads, given);
}

// The only lead of a device that names none is lead I, or what the user says.
function named(recording, given) {
  if (recording.leads.length !== 1 || !NAMELESS.test(recording.leads[0])) return recording;
  const name = given.leads?.[0] ?? "I";
  const note = `its only signal, '${recording.leads[0]}', is read as lead ${name}`;
  return { ...recording, leads: [name], notes: [...recording.notes, note] };
}

function checked(recording, tables) {
  const { signals, rate } = recording;
  if (!signals.length || signals.length > MAX_LEADS)
    throw new UserError(`holds no ECG leads (${signals.length} signals)`);
  const [low, high] = tables.rates;
  if (!(rate >= low && rate <= high)) {
    throw new UserError(`a rate of ${rate} Hz is not that of an ECG (${low} to ${high} Hz)`);
  }
  const samples = signals[0].length;
  if (samples < MIN_SECONDS * rate) {
    throw new UserError(`short signal: ${samples} samples at ${rate} Hz; ${MIN_SECONDS} s is needed`);
  }
  if (signals.every((signal) => signal.every((value) => !Number.isFinite(value)))) {
    throw new UserError("holds no samples that are numbers: every one is missing; export it again");
  }
  const notes = [...recording.notes];
  signals.forEach((signal, i) => {
    const missing = countMissing(signal);
    if (missing) notes.push(`${missing} missing samples in lead ${recording.leads[i]}`);
  });
  return { ...recording, notes: [...new Set(notes)] };
}

export function countMissing(signal) {
  return signal.reduce((count, value) => count + (Number.isFinite(value) ? 0 : 1), 0);
}
