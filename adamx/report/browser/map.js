// The map: regimes over two axes, sliders for the others, theory, and what lies under the pointer.

/** The runs of a launch with the values that are held: a position for each of some axes, but x and y. */
function slice(of, x, y, positions) {
  const held = [...positions].filter(([axis]) => axis !== x && axis !== y);
  const runs = new Uint32Array(of.runs);
  let count = 0;
  for (let run = 0; run < of.runs; run++) {
    if (held.every(([axis, at]) => axis.index[run] === at)) runs[count++] = run;
  }
  return runs.subarray(0, count);
}

/** The regime of most of some runs, and of two equally common the worse. */
function majority(of, runs) {
  const counts = new Array(K).fill(0);
  for (const run of runs) counts[of.arrays.regime[run]]++;
  return counts.lastIndexOf(Math.max(...counts));
}

/** regime + 0.05 ... 0.95, the higher the paler: the median final loss of converged and slow runs. */
function tone(of, runs) {
  const regime = majority(of, runs), shade = of.shade[REGIMES[regime]];
  if (!shade) return regime + 0.05;
  const middle = median(Array.from(runs, of.loss.place));
  return regime + 0.05 + 0.9 * Math.min(1, Math.max(0, (middle - shade[0]) / Math.max(shade[1] - shade[0], 1e-9)));
}
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const COLORSCALE = COLORS.flatMap((color, k) => {
  const pale = REGIMES[k] === "converged" || REGIMES[k] === "slow" ? mixed(color, PALEST) : color;
  return [[k / K, color], [(k + 0.05) / K, color], [(k + 0.95) / K, pale], [(k + 1) / K, pale]];
});

function map() {
  $("tip").hidden = true;
  shown = slice(launch, x, y, fixed);
  const gridded = x.gridded && y.gridded;
  const asPoints = !gridded && shown.length <= POINTS;
  cells = asPoints ? null : cellsOf(launch, x, y, shown);
  const traces = [asPoints ? points(launch, x, y, shown) : heat(launch, x, y, cells)];
  const theory = theoryLines(), mixed = gridded && cells.mixed.length <= POINTS ? cells.mixed : [];
  traces.push({x: mixed.map(x.place), y: mixed.map(y.place), mode: "markers", hoverinfo: "skip",
    marker: {size: 4, color: "#fff", line: {color: "#000", width: 0.6}}});
  for (const line of theory) {
    const at = {x: line.x, y: line.y, mode: "lines", hoverinfo: "skip"};
    traces.push({...at, line: {color: "#fff", width: 4}}, {...at, line: {color: "#000", width: 2, dash: "dash"}});
  }
  if (shown.includes(launch.best) && Number.isFinite(launch.loss.value(launch.best))) {
    traces.push({x: [x.place(launch.best)], y: [y.place(launch.best)], mode: "markers", hoverinfo: "skip",
      cliponaxis: false, marker: {symbol: "star", size: 15, color: "#fff", line: {color: "#000", width: 1.2}}});
  }
  Plotly.react("map", traces, layout({margin: {l: 74, r: 12, t: 30, b: 52},
    xaxis: scaleAxis(x.ticks, x.label, {range: ends(x), showgrid: asPoints}),
    yaxis: scaleAxis(y.ticks, y.label, {range: ends(y), showgrid: asPoints}),
    shapes: shapes(), uirevision: `${x.name} ${y.name} ${launch.title}`}), CONFIG);
  if (!$("map").dataset.ready) {
    $("map").dataset.ready = "yes";
    $("map").on("plotly_hover", ({points: [point], event}) => tip(under(point), event));
    $("map").on("plotly_unhover", () => { $("tip").hidden = true; });
    $("map").on("plotly_click", ({points: [point]}) => {
      choose(point.data.type === "heatmap" ? under(point) : setting(point.customdata));
    });
  }
  legend();
  const drawn = launch.axes.filter((axis) => axis !== x && axis !== y && !axis.gridded).map((axis) => axis.name);
  const notes = [
    asPoints || gridded ? "" : `axes of drawn values are in ${BINS} bands`,
    asPoints || shown.length === cells.filled ? ""
      : coloring ? "" : "a cell has the regime of most of its runs, of two equally common the worse",
    mixed.length ? "dots: they disagree" : "",
    coloring ? `color: ${asPoints ? "" : "median "}${coloring.said}; blank: none, such as of lost runs`
      : asPoints ? "" : "the darker, the lower the final loss",
    drawn.length ? `${drawn.join(", ")} ${drawn.length > 1 ? "vary" : "varies"} from point to point` : "",
    `★ is the best setting${launch.bests.size > 1 ? ` by ${$("rank").value.replaceAll("_", " ")}` : ""}; click for the curves`,
  ].filter(Boolean).join("; ");
  const dashes = [...new Set(theory.map((line) => `${line.label} (${line.source})`))];
  const dashed = dashes.map((words) => element("div", {}, element("i", {className: "dash"}), words));
  $("notes").replaceChildren(...dashed, element("div", {textContent: notes}));
}

/** Cells of a map with their runs as linked lists: first by cell, next by run. filled: how many have any; mixed: a run
 * of each whose runs disagree. */
function cellsOf(of, x, y, runs) {
  const across = x.edges.length - 1, up = y.edges.length - 1;
  const cells = {across, up, filled: 0, mixed: [],
    first: new Int32Array(across * up).fill(-1), next: new Int32Array(of.runs).fill(-1)};
  for (const run of runs) {
    const cell = y.cell[run] * across + x.cell[run];
    cells.next[run] = cells.first[cell];
    cells.first[cell] = run;
  }
  cells.first.forEach((first, cell) => {
    if (first < 0) return;
    cells.filled++;
    const {regime} = of.arrays;
    if (inCell(cells, cell).some((run) => regime[run] !== regime[first])) cells.mixed.push(first);
  });
  return cells;
}
function inCell(cells, cell) {
  const runs = [];
  for (let run = cells.first[cell]; run >= 0; run = cells.next[run]) runs.push(run);
  return runs;
}

function heat(of, x, y, cells) {
  const color = (runs) => {
    if (!runs.length) return null;
    if (!coloring) return tone(of, runs);
    const places = runs.map((run) => coloring.at(of, run)).filter(Number.isFinite);
    return places.length ? median(places) : null;
  };
  const z = Array.from({length: cells.up}, (_, row) => Array.from({length: cells.across}, (_, column) =>
    color(inCell(cells, row * cells.across + column))));
  const scale = coloring ? {zmin: coloring.ends[0], zmax: coloring.ends[1], colorscale: SCALE, colorbar: colorbar(coloring)}
    : {zmin: 0, zmax: K, colorscale: COLORSCALE};
  return {type: "heatmap", x: x.edges, y: y.edges, z, showscale: !!coloring, hoverinfo: "none", ...scale};
}

function points(of, x, y, shown) {
  const runs = Array.from(shown), size = Math.min(11, Math.max(5, 240 / Math.sqrt(runs.length)));
  const scale = coloring ? {cmin: coloring.ends[0], cmax: coloring.ends[1], colorscale: SCALE, showscale: true,
    colorbar: colorbar(coloring)} : {};
  const color = runs.map((run) => {
    if (!coloring) return COLORS[of.arrays.regime[run]];
    const at = coloring.at(of, run);
    return Number.isFinite(at) ? at : null;
  });
  return {type: "scatter", mode: "markers", x: runs.map(x.place), y: runs.map(y.place), customdata: runs,
    hoverinfo: "none", cliponaxis: false, marker: {size, color, ...scale, line: {color: "#fff", width: 0.6}}};
}

/** The ends of an axis in a map. */
const ends = (axis) => axis.gridded ? [axis.edges[0], axis.edges.at(-1)]
  : [axis.low - 0.02 * (axis.high - axis.low), axis.high + 0.02 * (axis.high - axis.low)];

/** The runs under a point of the map. */
function under(point) {
  if (point.data.type === "heatmap") {
    const [row, column] = point.pointIndex ?? point.pointNumber;
    return inCell(cells, row * cells.across + column);
  }
  return [point.customdata];
}

function theoryLines() {
  const axes = [x.name, y.name];
  const known = launch.theory.findIndex((t) => axes.includes(t.x) && axes.includes(t.y));
  if (known < 0) return [];
  const {over, lines, x: first} = launch.theory[known], points = launch.arrays[`theory.${known}`];
  const at = over.map((name) => fixed.get(axisNamed(name)));
  let from = 0;
  return lines.map((line) => {
    const middle = from + line.points, end = middle + line.points;
    const one = Array.from(points.subarray(from, middle)), other = Array.from(points.subarray(middle, end));
    from = end;
    return first === x.name ? {...line, x: one, y: other} : {...line, x: other, y: one};
  }).filter((line) => line.at.every((position, k) => position === at[k]));
}

/** A ring around what was clicked, and a white line beside the zero of a logarithmic axis. */
function shapes() {
  const drawn = [], zero = {type: "line", line: {color: "#fff", width: 3}}, seen = chosen.find((run) => shown.includes(run));
  if (x.zero && y.gridded) drawn.push({...zero, x0: x.edges[1], x1: x.edges[1], y0: 0, y1: 1, yref: "paper"});
  if (y.zero && x.gridded) drawn.push({...zero, y0: y.edges[1], y1: y.edges[1], x0: 0, x1: 1, xref: "paper"});
  if (seen !== undefined) {
    drawn.push({type: "circle", xsizemode: "pixel", ysizemode: "pixel", xanchor: x.place(seen), yanchor: y.place(seen),
      x0: -11, x1: 11, y0: -11, y1: 11, line: {color: "#000", width: 2}});
  }
  return drawn;
}

function legend() {
  const here = new Array(K).fill(0);
  for (const run of shown) here[launch.arrays.regime[run]]++;
  $("legend").replaceChildren(...REGIMES.flatMap((name, k) => {
    if (!here[k]) return [];
    const swatch = element("i");
    swatch.style.background = COLORS[k];
    swatch.hidden = !!coloring;
    return [element("span", {}, swatch, `${name} ${whole(here[k])}`)];
  }));
  if (shown.length === launch.runs) return;
  const share = `${whole(shown.length)} of ${whole(launch.runs)} runs at these values`;
  $("legend").append(element("span", {className: "soft"}, share));
}

/** Settings and figures of some runs as a table; the range where they differ. */
function facts(runs) {
  const rows = launch.axes.map((axis) => [axis.name, range(runs.map(axis.value))]);
  const count = (k) => runs.filter((run) => launch.arrays.regime[run] === k).length;
  const counts = REGIMES.map((name, k) => [name, count(k)]).filter(([, n]) => n);
  rows.push(["regime", counts.map(([name, n]) => (runs.length > 1 ? `${n} ${name}` : name)).join(", ")]);
  for (const name of launch.figures) {
    const column = launch.arrays[`figure.${name}`];
    let values = runs.map((run) => column[run]);
    if (column instanceof Int32Array) values = values.filter((value) => value >= 0);
    else if (column instanceof Uint8Array) values = [["no", "some", "yes"][values.some(Boolean) + values.every(Boolean)]];
    else if (name === "largest_spike") values = values.filter(Number.isFinite);
    if (values.length) rows.push([name.replaceAll("_", " "), range(values)]);
  }
  return element("table", {className: "facts"}, ...rows.map(([name, value]) =>
    element("tr", {}, element("td", {textContent: name}), element("td", {textContent: value}))));
}
function range(values) {
  if (typeof values[0] === "string") return values[0];
  const lost = values.some((value) => !Number.isFinite(value)), finite = values.filter(Number.isFinite);
  if (!finite.length) return "lost";
  const say = (value) => (Number.isInteger(value) && value < 1e9 ? whole(value) : short(value));
  const [low, high] = [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))];
  return (low === high ? say(low) : `${say(low)} … ${say(high)}`) + (lost ? " … lost" : "");
}

function tip(runs, event) {
  if (!runs.length) { $("tip").hidden = true; return; }
  $("tip").replaceChildren(facts(runs));
  $("tip").hidden = false;
  const {width, height} = $("tip").getBoundingClientRect(), {left, right} = $("map").getBoundingClientRect();
  const inside = (at, size, end) => Math.max(4, Math.min(at, end - size - 4));
  const beside = event.clientX - 14 - width >= left ? event.clientX - 14 - width  // within the map: no panel is covered
    : event.clientX + 18 + width <= right ? event.clientX + 18 : null;
  const above = event.clientY - height - 18;
  $("tip").style.left = `${inside(beside ?? event.clientX - width / 2, width, innerWidth)}px`;
  $("tip").style.top = `${inside(beside !== null ? event.clientY - height / 2 : above >= 4 ? above : event.clientY + 18,
    height, innerHeight)}px`;
}

function choose(runs) {
  if (!runs.length) return;
  chosen = runs;
  Plotly.relayout("map", {shapes: shapes()});
  curves();
}
