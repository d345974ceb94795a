// Draws an ECG on squared paper, 25 mm/s and 10 mm/mV, as SVG: what ecg/squared_paper.py does.

const SVG = "http://www.w3.org/2000/svg";
const ROWS = [
  ["I", "aVR", "V1", "V4"],
  ["II", "aVL", "V2", "V5"],
  ["III", "aVF", "V3", "V6"],
];
const SECONDS = 10;
const ROW_MM = 30;
const MOST_ROWS = 6;
const DARKEST = 0.55; // opacity

// signals, leads: what to draw; marked: leads that the model reads, in blue, on paper that is darker where `looked` (of
// saliency.js) says so. Returns an SVG element.
export function drawPaper(signals, leads, rate, marked, looked = null) {
  const seconds = signals[0].length / rate;
  const strips = layout(leads, seconds, marked.includes("II") ? "II" : marked[0]);
  const height = (Math.max(...strips.map((strip) => strip.row)) + 1) * ROW_MM;
  const width = SECONDS * 25;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const shown = shownSeconds(leads, seconds);
  const title = element("title");
  const read = `the network reads ${marked.join(", ")}`;
  title.textContent = `${shown.toFixed(1)} s of the ECG, leads ${leads.join(", ")}; ${read}`;
  svg.append(title, grid(width, height));
  if (looked)
    svg.append(...strips.filter((strip) => marked.includes(strip.lead)).flatMap((strip) => shaded(strip, looked)));
  for (const strip of strips) {
    const signal = signals[leads.indexOf(strip.lead)];
    const level = median(signal.subarray(0, Math.round(MOST_ROWS * SECONDS * rate)));
    const first = Math.ceil(strip.start * rate);
    const last = Math.min(Math.ceil((strip.start + strip.seconds) * rate), signal.length);
    const points = [];
    let pen = "M";
    for (let i = first; i < last; i++) {
      if (!Number.isFinite(signal[i])) {
        pen = "M";
        continue;
      }
      const x = (strip.left + i / rate - strip.start) * 25;
      const y = (strip.row + 0.5) * ROW_MM - (signal[i] - level) * 10;
      points.push(`${pen}${x.toFixed(2)} ${y.toFixed(2)}`);
      pen = "L";
    }
    const kind = marked.includes(strip.lead) ? "read" : "other";
    svg.append(element("path", { d: points.join(""), class: `trace ${kind}` }));
    const label = element("text", { x: strip.left * 25 + 1, y: strip.row * ROW_MM + 8, class: `lead ${kind}` });
    label.textContent = strip.left === 0 && strip.start ? `${strip.lead}  ${strip.start} s` : strip.lead;
    svg.append(label);
  }
  return svg;
}

// How much of a recording of that length is drawn.
export function shownSeconds(leads, seconds) {
  return Math.min(seconds, Math.max(...layout(leads, seconds).map((strip) => strip.start + strip.seconds)));
}

// A rectangle for each piece of a strip that is not white.
function shaded(strip, { times, shade }) {
  const half = (times[1] - times[0]) / 2 || 0.05;
  return times.flatMap((time, i) => {
    const [left, right] = [Math.max(time - half, strip.start), Math.min(time + half, strip.start + strip.seconds)];
    if (!(right > left) || shade[i] < 0.01) return [];
    const place = {
      x: (strip.left + left - strip.start) * 25,
      y: strip.row * ROW_MM,
      width: (right - left) * 25,
      height: ROW_MM,
    };
    return [element("rect", { ...place, class: "shade", "fill-opacity": (DARKEST * shade[i]).toFixed(3) })];
  });
}

function layout(leads, seconds, long) {
  if (ROWS.flat().every((lead) => leads.includes(lead))) {
    const column = SECONDS / 4;
    const short = ROWS.flatMap((names, row) =>
      names.map((lead, i) => ({ lead, row, left: i * column, start: i * column, seconds: column })),
    );
    return [...short, { lead: long, row: ROWS.length, left: 0, start: 0, seconds: SECONDS }];
  }
  const parts = Math.max(1, Math.min(Math.ceil(seconds / SECONDS - 0.01), Math.floor(MOST_ROWS / leads.length)));
  return Array.from({ length: parts }, (_, part) => part).flatMap((part) =>
    leads.map((lead, i) => ({ lead, row: part * leads.length + i, left: 0, start: part * SECONDS, seconds: SECONDS })),
  );
}

function grid(width, height) {
  const group = element("g", { class: "grid", "aria-hidden": "true" });
  for (const [step, kind] of [
    [1, "fine"],
    [5, "coarse"],
  ]) {
    const lines = [];
    for (let x = 0; x <= width; x += step) lines.push(`M${x} 0V${height}`);
    for (let y = 0; y <= height; y += step) lines.push(`M0 ${y}H${width}`);
    group.append(element("path", { d: lines.join(""), class: kind }));
  }
  return group;
}

function median(values) {
  const sorted = values.filter(Number.isFinite).sort();
  return sorted.length ? sorted[sorted.length >> 1] : 0;
}

function element(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
