// Curves: of the chosen runs beside their neighbours, and of all runs of each regime.

/** How far two runs lie from each other: in steps of a grid, in typical distances of drawn points. */
function distance(a, b) {
  let sum = 0;
  for (const axis of launch.axes) {
    const step = axis.gridded ? axis.index[a] - axis.index[b]
      : (axis.at[a] - axis.at[b]) / (axis.high - axis.low) * Math.sqrt(launch.runs);
    sum += step * step;
  }
  return sum;
}

/** The nearest other runs of the slice whose curves are here, nearest first. */
function neighbours() {
  const own = new Set(chosen), near = [];
  for (const run of shown ?? []) {
    if (!launch.kept.has(run) || own.has(run)) continue;
    const far = distance(run, chosen[0]);
    if (near.length === NEIGHBOURS && far >= near.at(-1)[0]) continue;
    near.push([far, run]);
    near.sort((a, b) => a[0] - b[0]);
    near.length = Math.min(near.length, NEIGHBOURS);
  }
  return near.map(([, run]) => run);
}

/** A run's curve: the place of each record, null where it is lost, the loss itself, and in words. */
function recorded(of, run) {
  const {steps, codes, curve: scale} = of, from = of.kept.get(run), at = [], losses = [], text = [];
  for (let k = 0; k < steps.values.length; k++) {
    const code = codes[from + k], lost = code > index.levels + 1, above = code > index.levels, below = code === 0;
    const level = scale.low + Math.min(1, code / index.levels) * (scale.high - scale.low);
    at.push(lost ? null : above ? scale.above : below ? scale.below : level);
    losses.push(lost ? null : lossAt(scale, at.at(-1)));
    text.push(`step ${whole(steps.values[k])}, loss ${above ? "> " : below ? "≤ " : ""}${short(lossAt(scale, level))}`);
  }
  return {at, losses, text};
}

function curve(run, width) {
  const {at, text} = recorded(launch, run), color = COLORS[launch.arrays.regime[run]];
  return {x: launch.steps.places, y: at, text, mode: "lines", line: {color, width}, opacity: width > 2 ? 1 : 0.75,
    hovertemplate: `${plain(names([run]))}<br>%{text}<extra>${REGIMES[launch.arrays.regime[run]]}</extra>`};
}

function curves() {
  const near = neighbours(), own = chosen.filter((run) => launch.kept.has(run)).slice(0, 2 * NEIGHBOURS);
  const traces = [...near.map((run) => curve(run, 1.3)), ...own.map((run) => curve(run, 3.2))];
  const margin = {l: 74, r: 20, t: 30, b: 46};
  Plotly.react("curves", traces, layout({margin, xaxis: stepAxis(), yaxis: lossAxis()}), CONFIG);
  const several = launch.axes.some((axis) => chosen.some((run) => axis.value(run) !== axis.value(chosen[0])));
  const whose = (several ? `${whole(chosen.length)} runs near ` : "") + names(chosen);
  $("chosen").textContent = whose || (launch.runs > 1 ? "All runs" : "The run");
  const all = launch.kept.size === launch.runs;
  const notes = [
    !own.length ? "its own curve is not in the file" : several ? `thick: ${own.length} of them` : "thick: this setting",
    traces.every((trace) => trace.y.filter((at) => at !== null).length < 2) ? "lost before the second record" : "",
    near.length ? `thin: its ${near.length} nearest neighbours${all ? "" : " among the curves in the file"}` : "",
    all ? "" : `this file has ${whole(launch.kept.size)} of ${whole(launch.runs)} curves, drawn at random; `
      + "curves.parquet has all",
  ];
  $("curve-notes").textContent = launch.runs > 1 ? notes.filter(Boolean).join("; ") : "";
  $("details").replaceChildren(facts(chosen));
}

/** Median and band of the loss over all runs of each regime. */
function fans() {
  const {steps, fan, arrays, curve: scale} = launch, n = steps.values.length;
  const say = (at) => (at > scale.high || at < scale.low ? "beyond" : short(lossAt(scale, at)));
  $("fan").replaceChildren(...fan.map(() => element("div")));
  fan.forEach(([name, runs], i) => {
    const [low, middle, high] = [0, 1, 2].map((q) => Array.from(arrays.fan.subarray((3 * i + q) * n, (3 * i + q + 1) * n)));
    const color = index.colors[name], common = {x: steps.places, mode: "lines", hoverinfo: "skip"};
    const text = steps.values.map((step, k) =>
      `step ${whole(step)}<br>90 %: ${say(high[k])}<br>median: ${say(middle[k])}<br>10 %: ${say(low[k])}`);
    const title = {text: `${name}, ${whole(runs)} run${runs > 1 ? "s" : ""}`, font: {size: 13}, y: 0.97};
    Plotly.newPlot($("fan").children[i], [
      {...common, y: low, line: {width: 0}},
      {...common, y: high, line: {width: 0}, fill: "tonexty", fillcolor: mixed(color, 0.68)},
      {...common, y: middle, text, line: {color, width: 2.4}, hoverinfo: "text", hovertemplate: "%{text}<extra></extra>"},
    ], layout({margin: {l: 70, r: 20, t: 28, b: 42}, hovermode: "x", xaxis: stepAxis(), yaxis: lossAxis(), title}), SMALL);
  });
}
