// From millivolts at any rate to the windows that the network reads: what ecg/preprocess.py and data/store.py do.

const MAX_DENOMINATOR = 10000n; // of the ratio of two rates
const KAISER = 5;

// Returns the prepared leads, Float32Array each, of values that float16 holds.
// leads: Float32Array each, millivolts; options: {rate, resample, filter}, of model.json and tables.json.
export function preprocess(leads, rate, options, filter) {
  return leads.map((lead) => {
    if (lead.every((value) => value === lead[0])) {
      return new Float32Array(resampledLength(lead.length, rate, options));
    }
    let values = resample(lead, rate, options);
    if (filter) values = Float32Array.from(filterBothWays(values, filter));
    return zscore(values).map(toFloat16);
  });
}

function resampledLength(samples, rate, options) {
  if (rate === options.rate) return samples;
  if (options.resample === "interp") return Math.trunc((samples / rate) * options.rate);
  const [up, down] = ratio(options.rate / rate);
  return Math.ceil((samples * up) / down);
}

function resample(lead, rate, options) {
  if (rate === options.rate) return lead;
  return (options.resample === "interp" ? interpolate : polyphase)(lead, rate, options.rate);
}

// Like scipy.signal.resample_poly with padtype="line", of a lead that begins at 0.
function polyphase(lead, rate, target) {
  const [up, down] = ratio(target / rate);
  const last = lead.length - 1;
  const values = lead.map((value) => value - lead[0]);
  if (up === down) return lead;
  const slope = values[last] / last;
  const at = (i) => (i < 0 ? i * slope : i > last ? values[last] + (i - last) * slope : values[i]);
  const taps = lowpass(up, down);
  const half = (taps.length - 1) / 2;
  const result = new Float32Array(Math.ceil((lead.length * up) / down));
  for (let m = 0; m < result.length; m++) {
    const centre = m * down + half;
    const newest = Math.floor(centre / up);
    const oldest = Math.ceil((centre - taps.length + 1) / up);
    let sum = 0;
    for (let n = oldest; n <= newest; n++) sum += at(n) * taps[centre - n * up];
    result[m] = sum * up + lead[0];
  }
  return result;
}

// scipy.signal.firwin(20 * slowest + 1, 1 / slowest, window=("kaiser", 5.0)) in float32.
function lowpass(up, down) {
  const slowest = Math.max(up, down);
  const half = 10 * slowest;
  const taps = new Float64Array(2 * half + 1);
  for (let i = 0; i < taps.length; i++) {
    const x = ((i - half) / slowest) * Math.PI;
    const sinc = x === 0 ? 1 : Math.sin(x) / x;
    taps[i] = sinc * bessel(KAISER * Math.sqrt(Math.max(0, 1 - ((i - half) / half) ** 2)));
  }
  const sum = taps.reduce((a, b) => a + b, 0);
  return Float32Array.from(taps, (tap) => tap / sum);
}

function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

// The fraction of limited denominator that is nearest to a number, as Python's fractions.Fraction finds it.
export function ratio(number) {
  let numerator = number;
  let denominator = 1n;
  while (!Number.isInteger(numerator)) {
    numerator *= 2;
    denominator *= 2n;
  }
  numerator = BigInt(numerator);
  let [p0, q0, p1, q1] = [0n, 1n, 1n, 0n];
  let [n, d] = [numerator, denominator];
  while (d !== 0n) {
    const a = n / d;
    if (q0 + a * q1 > MAX_DENOMINATOR) {
      const k = (MAX_DENOMINATOR - q0) / q1;
      const bound1 = [p0 + k * p1, q0 + k * q1];
      const bound2 = [p1, q1];
      const off = ([p, q]) => {
        const difference = p * denominator - numerator * q;
        return [difference < 0n ? -difference : difference, q];
      };
      const [off1, den1] = off(bound1);
      const [off2, den2] = off(bound2);
      return (off2 * den1 <= off1 * den2 ? bound2 : bound1).map(Number);
    }
    [p0, q0, p1, q1] = [p1, q1, p0 + a * p1, q0 + a * q1];
    [n, d] = [d, n - a * d];
  }
  return [Number(p1), Number(q1)];
}

// The reference's linear interpolation, on time axes that are stretched by a sample.
function interpolate(lead, rate, target) {
  const samples = lead.length;
  const length = Math.trunc((samples / rate) * target);
  const axis = (i, n, by) => (n === 1 ? 0 : i === n - 1 ? n / by : (i * (n / (n - 1))) / by);
  const result = new Float32Array(length);
  let right = 1;
  for (let i = 0; i < length; i++) {
    const x = axis(i, length, target);
    while (right < samples - 1 && axis(right, samples, rate) <= x) right++;
    const [x0, x1] = [axis(right - 1, samples, rate), axis(right, samples, rate)];
    const slope = (lead[right] - lead[right - 1]) / (x1 - x0);
    result[i] = x >= x1 ? lead[right] : slope * (x - x0) + lead[right - 1];
  }
  return result;
}

// Forwards and backwards through sections, as scipy's sosfiltfilt and filtfilt go, with the ends continued by odd
// reflection. filter: {edge, sections: [{b, a, zi}]}.
function filterBothWays(lead, { edge, sections }) {
  const last = lead.length - 1;
  const extended = new Float64Array(lead.length + 2 * edge);
  for (let i = 0; i < edge; i++) {
    extended[i] = 2 * lead[0] - lead[edge - i];
    extended[edge + lead.length + i] = 2 * lead[last] - lead[last - 1 - i];
  }
  extended.set(lead, edge);
  return once(once(extended, sections).reverse(), sections)
    .reverse()
    .subarray(edge, edge + lead.length);
}

function once(input, sections) {
  const start = input[0];
  let values = input;
  for (const { b, a, zi } of sections) {
    const state = Float64Array.from([...zi.map((z) => z * start), 0]);
    values = values.map((x) => {
      const y = state[0] + b[0] * x;
      for (let i = 1; i < b.length; i++) state[i - 1] = state[i] + b[i] * x - a[i] * y;
      return y;
    });
  }
  return values;
}

function zscore(lead) {
  const mean = Math.fround(lead.reduce((a, b) => a + b, 0) / lead.length);
  const centred = lead.map((value) => value - mean);
  const power = centred.reduce((a, b) => a + b * b, 0) / lead.length;
  if (centred.every((value) => value === centred[0])) return new Float32Array(lead.length);
  const scale = Math.fround(1 / Math.sqrt(power));
  return centred.map((value) => value * scale);
}

// The nearest number that float16 holds, of two the even one.
export function toFloat16(value) {
  if (value === 0 || !Number.isFinite(value)) return value;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), -14);
  const step = 2 ** (exponent - 10);
  return roundHalfEven(value / step) * step;
}

function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

// First samples of the fewest evenly spread windows that cover a record; a short record sits in the middle of one.
export function coveringWindows(length, window) {
  if (length <= window) return [-Math.floor((window - length) / 2)];
  const count = Math.ceil(length / window);
  const step = (length - window) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? length - window : roundHalfEven(i * step)));
}

// Windows (count, window, leads) as one Float32Array; what lies outside the record is zero.
export function cutWindows(leads, starts, window) {
  const result = new Float32Array(starts.length * window * leads.length);
  starts.forEach((start, w) => {
    leads.forEach((lead, column) => {
      const begin = Math.max(start, 0);
      const end = Math.min(start + window, lead.length);
      for (let i = begin; i < end; i++) result[(w * window + i - start) * leads.length + column] = lead[i];
    });
  });
  return result;
}
