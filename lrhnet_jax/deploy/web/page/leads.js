// What files call the twelve leads, their units, and the limb leads that follow from I and II: see tables.json.

import { UserError } from "./errors.js";

const LONGEST_NAME = 100;

export class Leads {
  constructor(tables) {
    this.tables = tables;
  }

  // Which of the twelve leads a name means for certain, or null.
  canonical(name) {
    if (name.length > LONGEST_NAME || name.trimStart().startsWith("-")) return null;
    let text = name
      .normalize("NFKC")
      .toLowerCase()
      .replace(/[_\-.]/g, " ")
      .trim()
      .replace(/\+$/, "");
    text = text.split(/\s+/).filter(Boolean).join(" ");
    for (const suffix of this.tables.suffixes) {
      if (text.endsWith(suffix)) text = text.slice(0, text.length - suffix.length);
      text = text.replace(/[ ,]+$/, "");
    }
    return Object.hasOwn(this.tables.aliases, text) ? this.tables.aliases[text] : null;
  }

  name(text) {
    return this.canonical(text) ?? (text.split(/\s+/).filter(Boolean).join(" ") || "unnamed");
  }

  // How many millivolts a unit is, or null if it is not a voltage.
  millivolts(unit) {
    const text = unit
      .slice(0, 20)
      .normalize("NFKC")
      .replace(/^[ [\]()]+|[ [\]()]+$/g, "")
      .toLowerCase();
    return Object.hasOwn(this.tables.millivolts, text) ? this.tables.millivolts[text] : null;
  }

  // The wanted leads of a recording, {signals, notes}; III, aVR, aVL and aVF are derived where they are missing.
  select(recording, wanted) {
    const known = recording.leads.map((name) => (this.canonical(name) ?? name.trim()).toLowerCase());
    const derived = known.includes("i") && known.includes("ii") ? this.tables.derived : {};
    const missing = wanted.filter((lead) => !known.includes(lead.toLowerCase()) && !derived[lead]);
    if (missing.length) {
      throw new UserError(
        `lacks lead ${missing.join(", ")} (it has ${listed(recording.leads)}); the network reads ${wanted.join(", ")}`,
      );
    }
    const notes = [];
    const signals = wanted.map((lead) => {
      const there = known.includes(lead.toLowerCase());
      if (there) return recording.signals[column(lead, known, recording.leads)];
      notes.push(`lead ${lead} derived from leads I and II`);
      const [one, two] = ["I", "II"].map((name) => recording.signals[column(name, known, recording.leads)]);
      const [a, b] = derived[lead];
      return one.map((value, i) => Math.fround(a * value) + Math.fround(b * two[i]));
    });
    return { signals, notes };
  }

  // Those of the twelve leads that `select` can give.
  available(recording) {
    return this.tables.leads.filter((lead) => {
      try {
        this.select(recording, [lead]);
        return true;
      } catch {
        return false;
      }
    });
  }
}

function column(lead, known, names) {
  const columns = known.flatMap((name, i) => (name === lead.toLowerCase() ? [i] : []));
  if (columns.length > 1) throw new UserError(`names a lead twice (${listed(columns.map((i) => names[i]))})`);
  return columns[0];
}

export function listed(names) {
  const shown = names.slice(0, 20).map((name) => name.slice(0, 40));
  return [...shown, ...(names.length > 20 ? [`and ${names.length - 20} more`] : [])].join(", ") || "none";
}
