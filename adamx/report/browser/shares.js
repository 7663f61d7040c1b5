// Shares of regimes along each axis, importance of each, and the axes of parallel.js.

function shares() {
  const dotted = launch.runs <= POINTS ? launch.axes.filter((axis) => !axis.gridded).length : 0;
  const banded = launch.axes.some((axis) => (axis.gridded ? axis.values.length > BANDS : !dotted));
  $("share-notes").textContent = "Of all runs, whatever their other hyperparameters"
    + (banded ? `; axes with more than ${BANDS} values in ${BANDS} bands` : "")
    + (dotted ? "; where values were drawn, a dot a run at its final loss" : "") + ".";
  $("shares").replaceChildren(...launch.axes.map(() => element("div")));
  launch.axes.forEach((axis, i) => {
    if (!axis.gridded && launch.runs <= POINTS) { dots($("shares").children[i], axis); return; }
    const {edges, runs} = axis.shares, width = edges.slice(1).map((edge, k) => edge - edges[k]);
    const middles = width.map((w, k) => edges[k] + w / 2);
    const total = width.map((_, k) => runs.reduce((sum, row) => sum + row[k], 0));
    const traces = REGIMES.map((name, r) => ({type: "bar", x: middles, width,
      y: runs[r].map((count, k) => (total[k] ? 100 * count / total[k] : 0)),
      marker: {color: COLORS[r], line: {width: 0}}, customdata: runs[r].map(whole),
      hovertemplate: `${name}: %{y:.3g} %, %{customdata} runs<extra></extra>`}));
    Plotly.newPlot($("shares").children[i], traces, layout({margin: {l: 58, r: 10, t: 8, b: 48}, barmode: "stack", bargap: 0,
      xaxis: scaleAxis(axis.few, axis.label, {range: [edges[0], edges.at(-1)], showgrid: false}),
      yaxis: {title: {text: "share of runs, %", standoff: 6}, range: [0, 100], showgrid: false, zeroline: false}}), SMALL);
  });
}

/** A dot for each run of an axis whose values were drawn. */
function dots(div, axis) {
  const runs = Array.from({length: launch.runs}, (_, run) => run), size = Math.min(7, Math.max(3, 160 / Math.sqrt(runs.length)));
  const trace = {mode: "markers", x: runs.map(axis.place), y: runs.map(launch.loss.place), hoverinfo: "skip",
    cliponaxis: false, marker: {size, color: runs.map((run) => COLORS[launch.arrays.regime[run]]), opacity: 0.8}};
  Plotly.newPlot(div, [trace], layout({margin: {l: 66, r: 14, t: 8, b: 48},
    xaxis: scaleAxis(axis.few, axis.label, {range: ends(axis)}),
    yaxis: scaleAxis(launch.loss.ticks, launch.loss.label, {range: ends(launch.loss)})}), SMALL);
}

function importances() {
  const rows = [...launch.importance].reverse(), label = rows.map(([name]) => plain(name));
  if (!rows.length) return;
  const bar = (k, color, words) => ({type: "bar", orientation: "h", y: label, x: rows.map((row) => row[k]), width: 0.62,
    marker: {color}, hovertemplate: `%{y}, ${words}: %{x:.2f}<extra></extra>`});
  $("importance").style.height = `${90 + 30 * rows.length}px`;
  Plotly.react("importance", [bar(2, "#a9cfe6", "with its interactions"), bar(1, "#0072B2", "alone")],
    layout({margin: {l: 110, r: 20, t: 6, b: 44}, barmode: "overlay",
      xaxis: {title: {text: "share of variance", standoff: 6}, range: [0, 1.02], gridcolor: "#eceef0", zeroline: false},
      yaxis: {type: "category", showgrid: false}}), SMALL);
}

function parallel() {
  const {runs, arrays} = launch;
  const axes = [...launch.axes, launch.loss].map((axis) => {
    const few = axis.gridded && axis.values.length <= BANDS, width = (axis.high - axis.low) / BANDS || 1;
    const inBand = (run) => Math.min(BANDS - 1, Math.max(0, Math.floor((axis.place(run) - axis.low) / width)));
    return {name: axis.name.replace("_", " "), low: axis.low, high: axis.high, ticks: axis.ticks,
      at: few ? axis.places : Array.from({length: BANDS}, (_, i) => axis.low + (i + 0.5) * width),
      band: few ? axis.index : Uint8Array.from({length: runs}, (_, run) => inBand(run))};
  });
  const at = REGIMES.map((_, k) => K - 1 - k);
  axes.push({name: "regime", low: 0, high: K - 1, ticks: [at, REGIMES], at, band: arrays.regime});
  parallelCoordinates($("parallel"), axes, arrays.regime, COLORS, FONT, (picked) => {
    $("parallel-notes").textContent = `Every line stands for all runs that join two bands (at most ${BANDS} an axis), `
      + "the stronger the more they are, in the color of their regime. Drag along an axis to select, click it to release: "
      + `${whole(picked)} of ${whole(runs)} runs.`;
  });
}
