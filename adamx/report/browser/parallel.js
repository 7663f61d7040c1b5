// Parallel coordinates in which every run counts: of two neighbouring axes, all runs that join the same two bands are
// one line for each class. A canvas draws these few thousand lines at once for any number of runs.

const TOP = 34, BOTTOM = 16, LEFT = 66, RIGHT = 92;  // around the axes; labels of the last stand right of it
const NARROWEST = 84;  // pixels between two axes
const UNPICKED = "#c9cdd2";

/** Draw into a canvas, and again when it is resized or an axis is brushed.
 *
 * axes: {name, low, high, at: the place of each band, band: (runs,) its band, ticks: [places, labels]}.
 * classes: (runs,) the class of each run; colors: of the classes. tell: called with the number of selected runs.
 */
function parallelCoordinates(canvas, axes, classes, colors, font, tell) {
  const runs = classes.length, K = colors.length, brushes = new Map();
  canvas.style.minWidth = `${LEFT + RIGHT + NARROWEST * (axes.length - 1)}px`;  // a narrow page scrolls it
  let width, height, held = null, due = null;
  const across = (i) => LEFT + i * (width - LEFT - RIGHT) / (axes.length - 1);
  const length = () => height - TOP - BOTTOM;
  const up = (axis, at) => height - BOTTOM - (at - axis.low) / (axis.high - axis.low || 1) * length();
  const placeAt = (axis, y) => axis.low + (height - BOTTOM - y) / length() * (axis.high - axis.low);
  const soon = () => { due ??= requestAnimationFrame(() => { due = null; draw(); }); };

  function draw() {
    const ratio = devicePixelRatio || 1, pen = canvas.getContext("2d");
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    pen.scale(ratio, ratio);
    const picked = selected();
    for (let i = 0; i + 1 < axes.length; i++) bundle(pen, axes[i], axes[i + 1], across(i), across(i + 1), picked);
    axes.forEach((axis, i) => ruler(pen, axis, across(i), i === axes.length - 1));
    tell(picked.reduce((sum, one) => sum + one, 0));
  }

  /** (runs,) 1 for the runs inside every brush. */
  function selected() {
    const picked = new Uint8Array(runs).fill(1);
    for (const [axis, [low, high]] of brushes) {
      const inside = axis.at.map((at) => at >= low && at <= high);
      for (let run = 0; run < runs; run++) if (!inside[axis.band[run]]) picked[run] = 0;
    }
    return picked;
  }

  /** The lines between two axes: runs counted by both bands and class; the last class is what is not selected. */
  function bundle(pen, a, b, from, to, picked) {
    const size = b.at.length, counts = new Uint32Array(a.at.length * size * (K + 1));
    const totals = new Array(K + 1).fill(0), most = new Array(K + 1).fill(0);
    for (let run = 0; run < runs; run++) {
      counts[(a.band[run] * size + b.band[run]) * (K + 1) + (picked[run] ? classes[run] : K)]++;
    }
    let drawn = 0;
    counts.forEach((count, i) => {
      totals[i % (K + 1)] += count;
      most[i % (K + 1)] = Math.max(most[i % (K + 1)], count);
      drawn += count > 0;
    });
    const strongest = Math.min(0.6, Math.max(0.1, 600 / drawn));
    const apart = Math.min(2.5, length() / Math.max(a.at.length, size) / (K + 1));  // the classes of one pair of bands
    const order = [K, ...colors.keys()].filter((k) => totals[k]);
    order.sort((p, q) => (q === K) - (p === K) || totals[q] - totals[p]);  // the rarest on top
    for (const k of order) {
      const shift = k === K ? 0 : (k - (K - 1) / 2) * apart;
      pen.strokeStyle = k === K ? UNPICKED : colors[k];
      for (let pair = 0; pair < a.at.length * size; pair++) {
        const count = counts[pair * (K + 1) + k];
        if (!count) continue;
        const strength = Math.sqrt(count / most[k]);
        pen.globalAlpha = strongest * (0.15 + 0.85 * strength);
        pen.lineWidth = 0.6 + 1.4 * strength;
        pen.beginPath();
        pen.moveTo(from, up(a, a.at[Math.floor(pair / size)]) + shift);
        pen.lineTo(to, up(b, b.at[pair % size]) + shift);
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
  }

  /** An axis with its name, its ticks and its brush. */
  function ruler(pen, axis, at, last) {
    pen.strokeStyle = pen.fillStyle = font.color;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(at, TOP);
    pen.lineTo(at, height - BOTTOM);
    pen.stroke();
    pen.font = `${font.size}px ${font.family}`;
    pen.textAlign = "center";
    pen.fillText(axis.name, at, 14);
    axis.ticks[0].forEach((place, i) => tick(pen, axis.ticks[1][i], at, up(axis, place) + 4, last));
    if (brushes.has(axis)) {
      const [low, high] = brushes.get(axis).map((place) => up(axis, place));
      pen.fillStyle = "#0072b250";
      pen.fillRect(at - 6, high, 12, Math.max(3, low - high));
    }
  }

  /** A label such as 10<sup>3</sup>, left of an axis or right of the last. */
  function tick(pen, label, at, y, last) {
    const [base, power] = label.replace("</sup>", "").split("<sup>").concat("");
    const write = (words, x, up, size) => {
      pen.font = `${size}px ${font.family}`;
      pen.strokeText(words, x, y - up);
      pen.fillText(words, x, y - up);
    };
    pen.font = `9px ${font.family}`;
    const small = pen.measureText(power).width;
    pen.font = `11px ${font.family}`;
    const start = last ? at + 7 : at - 7 - small - pen.measureText(base).width, end = start + pen.measureText(base).width;
    pen.textAlign = "left";
    pen.lineWidth = 3.5;
    pen.strokeStyle = "#ffffffd0";
    write(base, start, 0, 11);
    write(power, end, 4, 9);
  }

  canvas.onpointerdown = (event) => {
    const axis = axes[Math.round((event.offsetX - LEFT) / (across(1) - LEFT))];
    if (!axis) return;
    held = {axis, from: placeAt(axis, event.offsetY)};
    brushes.delete(axis);
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!held) return;
    brushes.set(held.axis, [held.from, placeAt(held.axis, event.offsetY)].sort((a, b) => a - b));
    soon();
  };
  canvas.onpointerup = () => { held = null; soon(); };
  canvas.resized?.disconnect();
  canvas.resized = new ResizeObserver(soon);
  canvas.resized.observe(canvas);
}
