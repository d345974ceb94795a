// Tables of numbers as text: CSV and TSV in most dialects, a row a sample and a column a lead.

import { UserError } from "./errors.js";
import { listed } from "./leads.js";
import { isClock, isIndex, isTime, parseTimes, rateFromTimes, stepsEvenly, unitSeconds } from "./times.js";
import { parseAge } from "./wfdb.js";

const MAX_PREAMBLE = 200;
const MAX_COLUMNS = 1000;
const LOOK = 50; // rows that tell the dialect
const LONGEST_LINE = 300;
const NUMBERS = /^[0-9+\-.,;:|/[\]\s"'eETZ]+$/;
const MISSING_WORD = /\b(nan|n\/?a|null|none)\b/gi;
const MISSING = ["", "-", "nan", "na", "n/a", "null", "none"];
const HERTZ = /([0-9]+(?:[.,][0-9]+)?)\s*(?:hz|hertz|hercios?|герц|гц|赫|ヘルツ|헤르츠)/i;
const RATE_KEY = /^(fs|sfreq|rate|freq.*|sampl\w*[ _-]*(rate|freq.*))$/i;
const FILTER = /filter|pass|notch|mains|cut|band/i;
const STATEMENT = /^[#%\s]*([^,;:=\t]+?)\s*[,;:=\t]\s*(.*?)[,;\s]*$/;
const NAME_AND_UNIT = /^(.*?)(?:[\s_]*[[(]\s*([^\])]+?)\s*[\])]|[\s_]+([munµμ]V))$/i;

// Returns the text of a file: UTF-16 if its byte order mark says so, else UTF-8, else Latin-1.
export function decode(data) {
  const utf16 = { "255,254": "utf-16le", "254,255": "utf-16be" }[`${data[0]},${data[1]}`];
  if (utf16) return new TextDecoder(utf16).decode(data);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch {
    return new TextDecoder("latin1").decode(data);
  }
}

export function looksLikeTable(text) {
  return !text.includes("\0") && findRow(text.split("\n", MAX_PREAMBLE + LOOK).map(trimmed)) !== null;
}

// given: {rate, leads, unit}, what the user says of the file; it counts where the file itself does not say it.
export function readTable(name, text, leads, given = {}) {
  const table = findTable(text, leads);
  const notes = [];
  const said = table.preamble.flatMap((line) => {
    const match = STATEMENT.exec(line);
    return match ? [[match[1], match[2].replace(/^['" ]+|['" ]+$/g, "")]] : [];
  });
  const named = table.names.some(Boolean);
  const all = table.names.map((_, i) => i);
  let times = named ? all.filter((i) => isTime(table.names[i])) : [];
  const counters = named ? all.filter((i) => isIndex(table.names[i])) : [];
  if (!named && all.length > 1 && (!given.leads || all.length === given.leads.length + 1)) {
    times = stepsEvenly(table.columns[0]) ? [0] : [];
  }
  let rate = null;
  if (times.length) {
    const what = `${table.names[times[0]]} ${table.units[times[0]]}`;
    const seconds = unitSeconds(table.units[times[0]]) ?? unitSeconds(what);
    if (seconds !== null || !given.rate) rate = rateFromTimes(table.columns[times[0]], seconds, notes);
  }
  rate ??= statedRate(table.preamble, said) ?? given.rate;
  if (!rate) throw new UserError("does not say its sampling rate; write it below “If the file does not say it”");
  const columns = all.filter((i) => !times.includes(i) && !counters.includes(i));
  const labels = named ? columns.map((i) => table.names[i]) : labelsOf(columns.length, said, given, leads);
  const kept = chooseColumns(labels, leads, notes);
  const stated = said.map(([, value]) => value).find((value) => leads.millivolts(value));
  const signals = kept.map((i) => {
    const scale = scaleOf(table.units[columns[i]] || stated, given, leads, notes);
    return Float32Array.from(table.columns[columns[i]], (value) => value * scale);
  });
  const facts = Object.fromEntries(said.map(([key, value]) => [key.toLowerCase(), value]));
  return {
    name,
    signals,
    rate,
    leads: kept.map((i) => leads.name(labels[i])),
    age: parseAge(facts.age) ?? yearsBetween(facts["date of birth"], facts["recorded date"]),
    sex: facts.sex || facts.gender || null,
    notes: [...new Set(notes)],
  };
}

// {columns: Float64Array[], names, units, preamble} of a file's text.
function findTable(text, leads) {
  if (text.includes("\0")) throw new UserError("is binary data of a format that this page does not read");
  const lines = text.split("\n");
  const top = lines.slice(0, MAX_PREAMBLE + LOOK).map(trimmed);
  let first = findRow(top);
  if (first === null) {
    throw new UserError("holds no table of numbers; a row a sample, and a column a lead, are expected");
  }
  if (countsColumns(top.slice(first, first + 3))) {
    top[first] = "";
    first += 1;
  }
  const rows = lines
    .slice(first)
    .map((line) => line.trim())
    .filter(Boolean);
  const sample = top.slice(first, first + LOOK).filter(Boolean);
  const [separator, comma] = dialect(sample, top.slice(0, first), leads);
  const quoted = separator === "," && sample[0].includes('"');
  const fieldsOf = (row) => {
    if (comma) row = row.replaceAll(",", ".");
    else if (quoted) row = row.replace(/"([^"]*)"/g, (_, inside) => inside.replaceAll(",", "."));
    return split(row, separator);
  };
  const width = fieldsOf(rows[0]).length;
  if (width > MAX_COLUMNS) throw new UserError(`has rows of ${width} numbers; a row a sample is expected`);
  const { names, units, preamble } = headOf(top.slice(0, first), separator, width, leads);
  const firstFields = fieldsOf(rows[0]);
  const kept = [...firstFields.keys()].filter((i) => firstFields[i] || names[i]);
  const clocks = kept.filter((i) => isClock(firstFields[i]));
  const columns = kept.map(() => new Float64Array(rows.length));
  const texts = new Map(clocks.map((i) => [i, []]));
  rows.forEach((row, r) => {
    const fields = fieldsOf(row);
    kept.forEach((i, k) => {
      const field = fields[i];
      if (field === undefined) throw unlike(r, fields.length);
      if (texts.has(i)) return texts.get(i).push(field);
      const value = MISSING.includes(field.toLowerCase()) ? NaN : Number(field);
      if (Number.isNaN(value) && !MISSING.includes(field.toLowerCase())) throw unlike(r, field.slice(0, 20));
      columns[k][r] = value;
    });
  });
  for (const [i, clock] of texts) {
    units[i] = "s";
    columns[kept.indexOf(i)] = parseTimes(clock);
  }
  return { columns, names: kept.map((i) => names[i]), units: kept.map((i) => units[i]), preamble };
}

function unlike(row, what) {
  return new UserError(`its rows are not alike (row ${row + 1}: ${what}); it may be truncated: export it again`);
}

function trimmed(line) {
  return line.replace(/^[\r \uFEFF]+|[\r ]+$/g, "");
}

function isRow(line) {
  line = line.replace(MISSING_WORD, "0");
  return NUMBERS.test(line) && /[0-9]/.test(line);
}

// The first line that begins three of nothing but numbers (or the last two), or null.
function findRow(lines) {
  while (lines.length > 1 && !lines.at(-1)) lines = lines.slice(0, -1);
  const looks = lines.map(isRow);
  for (let i = 0; i < Math.min(looks.length - 1, MAX_PREAMBLE); i++) {
    if (looks.slice(i, i + 3).every(Boolean)) return i;
  }
  return null;
}

// Whether the first row is "0,1,2", as pandas numbers columns, and not samples.
function countsColumns(lines) {
  const fields = lines[0].split(/[,;\s]/).filter(Boolean);
  const counts = fields.length > 1 && fields.every((field, i) => field === String(i));
  return counts && lines.slice(1).some((line) => line.includes("."));
}

// [separator (null: blanks, or one column), whether numbers have a decimal comma]
function dialect(rows, above, leads) {
  const body = rows.join("\n");
  const comma = body.includes(",") && !body.includes(".");
  for (const separator of ["\t", ";"]) if (body.includes(separator)) return [separator, comma];
  if (!body.includes(",")) return [null, false];
  if (comma) {
    if (rows.every((row) => /[0-9]\s+[-+0-9]/.test(row))) return [null, true];
    if (rows.every((row) => split(row, ",").length === 1)) return [null, true];
    const counts = new Set(rows.map((row) => row.split(",").length - 1));
    const decimals = counts.size === 2 && counts.has(0) && counts.has(1);
    if (decimals || (counts.size === 1 && counts.has(1) && isOneSignal(above, leads))) return [null, true];
  }
  return [",", false];
}

function isOneSignal(above, leads) {
  const rate = above.some((line) => HERTZ.test(line.slice(0, LONGEST_LINE)));
  return rate && above.some((line) => leads.millivolts(line.slice(line.lastIndexOf(",") + 1)));
}

function headOf(above, separator, width, leads) {
  const names = new Array(width).fill("");
  let units = new Array(width).fill("");
  const isUnit = (text) => leads.millivolts(text) !== null || unitSeconds(text) !== null || text.includes("mm:ss");
  while (above.length && above.at(-1)) {
    const line = above.at(-1).replace(/^[#% ]+/, "");
    if (!line) {
      above = above.slice(0, -1);
      continue;
    }
    const fields = namesOf(line, separator, width);
    if (!fields || isStatement(above.at(-1), width, leads)) break;
    above = above.slice(0, -1);
    if (fields.every((field) => !field || isUnit(field))) {
      units = fields;
      continue;
    }
    fields.forEach((field, i) => {
      const match = NAME_AND_UNIT.exec(field.slice(0, 100));
      const unit = match ? (match[2] ?? match[3]) : "";
      const known = unit && isUnit(unit);
      names[i] = known ? match[1] : field.slice(0, 100);
      units[i] ||= known ? unit : "";
    });
    break;
  }
  return { names, units, preamble: above.map((line) => line.slice(0, LONGEST_LINE)) };
}

function namesOf(line, separator, width) {
  const splits = [separator, ",", ";", "\t"].map((one) => split(line, one));
  splits.push(line.split(/\s{2,}/));
  return splits.find((fields) => fields.length === width) ?? null;
}

function isStatement(line, width, leads) {
  const match = /^([^,;:=\t]*)[,;:=\t](.*)$/.exec(line.slice(0, LONGEST_LINE));
  if (width > 2 || !match) return false;
  const [key, value] = [match[1], match[2]].map((part) => part.replace(/^['" ]+|['" ]+$/g, ""));
  const named = isTime(key) || isIndex(key) || leads.canonical(key) !== null;
  const stated = HERTZ.test(value) || leads.millivolts(value) !== null || leads.canonical(value) !== null;
  return width === 1 || (stated && !named);
}

function split(line, separator) {
  const clean = (field) => field.replace(/^['" \r]+|['" \r]+$/g, "");
  if (separator === null) return line.split(/\s+/).filter(Boolean).map(clean);
  if (!line.includes('"')) return line.split(separator).map(clean);
  const pattern =
    separator === "\t" ? /("[^"]*"|[^\t]*)(\t|$)/g : new RegExp(`("[^"]*"|[^${separator}]*)(${separator}|$)`, "g");
  const fields = [];
  for (const [, field, end] of line.matchAll(pattern)) {
    fields.push(clean(field));
    if (!end) break;
  }
  return fields;
}

function statedRate(preamble, said) {
  const texts = said
    .filter(([key]) => RATE_KEY.test(key))
    .map(([, value]) => /^[0-9]+(?:[.,][0-9]+)?/.exec(value)?.[0]);
  texts.push(...preamble.filter((line) => !FILTER.test(line)).map((line) => HERTZ.exec(line)?.[1]));
  const first = texts.find(Boolean);
  return first ? Number(first.replace(",", ".")) : null;
}

function labelsOf(count, said, given, leads) {
  const last = said.map(([, value]) => value.split(/\s+/).at(-1)).filter((word) => word && leads.canonical(word));
  if (count === 1 && last.length) return last.slice(-1);
  if (!given.leads) {
    throw new UserError(
      `does not name its ${count} columns of samples; write the leads below “If the file does not say it”`,
    );
  }
  if (given.leads.length !== count) {
    throw new UserError(`has ${count} columns of samples, which ${given.leads.length} names do not fit`);
  }
  return given.leads;
}

function chooseColumns(labels, leads, notes) {
  const all = labels.map((_, i) => i);
  const known = all.filter((i) => leads.canonical(labels[i]) || /ecg|ekg|lead|ml/i.test(labels[i]));
  const left = all.filter((i) => !known.includes(i)).map((i) => labels[i]);
  if (known.length && left.length) notes.push(`columns that name no lead are not read: ${listed(left)}`);
  return known.length ? known : all;
}

function scaleOf(unit, given, leads, notes) {
  const text = unit || given.unit || "mV";
  const scale = leads.millivolts(text);
  if (!scale) throw new UserError(`unit ${text.slice(0, 40)} is not a voltage (mV, uV, nV or V)`);
  if (!unit && !given.unit) notes.push(`the file names no unit; its samples are taken as ${text}`);
  return scale;
}

// Of the Apple Watch's dates only the years are in a form that all languages share.
function yearsBetween(born, recorded) {
  const [first, last] = [born, recorded].map((text) => /\b(?:19|20)[0-9]{2}\b/.exec(text ?? "")?.[0]);
  return first && last ? Number(last) - Number(first) : null;
}
