// Reads files with the page's own modules, and prepares them for a network; prints what it has made of each case, a line
// of JSON. node read.mjs FOLDER CASES, both paths: the page's files; JSON of [{"files": [FILE], "given": {...},
// "meta": model.json, "tables": tables.json}].

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, cases] = process.argv.slice(2);
const own = (name) => import(pathToFileURL(join(folder, name)).href);
const { Model, demographics } = await own("model.js");
const { readAll } = await own("recordings.js");
const { coveringWindows, cutWindows, ratio, toFloat16 } = await own("prepare.js");

const encode = (values) => Buffer.from(Float32Array.from(values).buffer).toString("base64");
const buffer = (path) => new Uint8Array(readFileSync(path)).buffer;

for (const { files, given, meta, tables, numbers, ratios } of JSON.parse(readFileSync(cases))) {
  if (numbers) {
    console.log(JSON.stringify({ halves: numbers.map(toFloat16), ratios: ratios.map(ratio) }));
    continue;
  }
  const model = new Model(meta, tables, null);
  const found = readAll(
    files.map((path) => ({ name: basename(path), data: buffer(path) })),
    model.leads,
    given ?? {},
  );
  const told = found.map(({ name, recording, error }) => {
    if (error) return { name, error };
    const result = { ...recording, signals: recording.signals.map(encode) };
    try {
      const { prepared, notes } = model.prepare(recording);
      const starts = coveringWindows(prepared[0].length, meta.window);
      const windows = encode(cutWindows(prepared, starts, meta.window));
      return { ...result, starts, windows, derived: notes, person: demographics(recording.age, recording.sex) };
    } catch (failure) {
      return { ...result, error: failure.message };
    }
  });
  console.log(JSON.stringify(told));
}
