// Data: unpacks what packing.py packed, with the places where values are drawn and the words for them.

const $ = (id) => document.getElementById(id);

const unzip = async (id) => {
  const text = atob($(id).textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
};

const TYPES = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array,
  float32: Float32Array, float64: Float64Array};

const unpack = async (id) => {
  const bytes = new Uint8Array(await (await unzip(id)).arrayBuffer());
  const end = 4 + new DataView(bytes.buffer).getUint32(0, true);
  const {meta, arrays} = JSON.parse(new TextDecoder().decode(bytes.subarray(4, end)));
  const unpacked = {};
  let at = end;
  for (const [name, type, length] of arrays) {
    const array = new TYPES[type](length), size = array.BYTES_PER_ELEMENT, out = new Uint8Array(array.buffer);
    for (let k = 0; k < size; k++) for (let i = 0; i < length; i++) out[i * size + k] = bytes[at++];
    unpacked[name] = array;
  }
  return {...meta, arrays: unpacked};
};

const index = await unpack("index");
const library = document.createElement("script");
library.textContent = await (await unzip("plotly")).text();
document.head.append(library);

const REGIMES = Object.keys(index.colors), COLORS = Object.values(index.colors), K = REGIMES.length;
const BANDS = index.bands, PALEST = 0.45, POINTS = 4000, BINS = 120, NEIGHBOURS = 8;

/** Launch i with its axes ready to draw; the last axis is the final loss. */
const loaded = new Map();
const load = (i) => loaded.get(i) ?? loaded.set(i, loading(i)).get(i);
const loading = async (i) => {
  const launch = await unpack(`launch-${i}`), {arrays, runs} = launch;
  launch.kept = new Map();
  for (const axis of launch.axes) {
    const column = arrays[`axis.${axis.name}`];
    axis.index = axis.gridded ? column : null;
    axis.value = axis.gridded ? (run) => axis.values[column[run]] : (run) => column[run];
    axis.at = axis.gridded ? Float64Array.from(axis.places) : Float64Array.from(column, (v) => place(axis, v));
    axis.place = axis.gridded ? (run) => axis.at[column[run]] : (run) => axis.at[run];
  }
  const final = launch.final, loss = arrays["figure.final_loss"];
  const at = Float64Array.from(loss, (v) => lossPlace(final, v));
  launch.loss = {...final, name: "final_loss", label: `final ${final.label}`, gridded: false,
    low: final.below, high: final.above, at,
    place: (run) => at[run], value: (run) => loss[run],
    few: final.ticks, ticks: [[...final.ticks[0], final.above], [...final.ticks[1], "beyond"]]};
  for (const axis of [...launch.axes, launch.loss]) divide(axis, runs);
  launch.bests = new Map(launch.bests);
  launch.best = launch.bests.get(index.rank) ?? launch.bests.get("final_loss");
  const {kept, codes} = await unpack(`curves-${i}`).then((curves) => curves.arrays);
  const records = launch.steps.values.length;
  launch.codes = codes;
  for (let k = 0; k < codes.length; k++) if (k % records) codes[k] += codes[k - 1];
  kept.forEach((run, k) => launch.kept.set(run, k * records));
  return launch;
};

const place = ({spacing, low}, value) =>
  spacing === "linear" ? value : spacing === "log" ? (value > 0 ? Math.log10(value) : low) : -Math.log10(1 - value);

const lossPlace = (scale, loss) => {
  if (!Number.isFinite(loss)) return scale.above;
  const at = scale.positive ? Math.log10(Math.max(loss - scale.minimum, 1e-300))
    : Math.sign(loss) * Math.log10(1 + Math.abs(loss) / scale.start);
  return Math.max(scale.below, Math.min(scale.above, at));
};

const lossAt = (scale, at) =>
  scale.positive ? 10 ** at + scale.minimum : Math.sign(at) * (10 ** Math.abs(at) - 1) * scale.start;

/** Cells of an axis, one for each value of a grid, else `BINS` bands: axis.edges, and axis.cell for each run. */
const divide = (axis, runs) => {
  if (axis.gridded) { axis.cell = axis.index; return; }
  const low = axis.low, width = (axis.high - low) / BINS || 1;
  axis.edges = Array.from({length: BINS + 1}, (_, i) => low + i * width);
  const cellOf = (run) => Math.min(BINS - 1, Math.max(0, Math.floor((axis.place(run) - low) / width)));
  axis.cell = Uint16Array.from({length: runs}, (_, run) => cellOf(run));
};

const short = (value) => {
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "lost" : value > 0 ? "∞" : "−∞";
  if (value > 0.9 && value < 1) return String(+value.toFixed(2 - Math.floor(Math.log10(1 - value) + 1e-9) - 1));
  if ((Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5) || value === 0) return String(+value.toPrecision(3));
  return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
};
const whole = (n) => n.toLocaleString("en-US");
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
