// Sides: launches on the same problem side by side: a map of each over the axes chosen above, the best curve of each.

const OWN = ["#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499", "#999933", "#44AA99", "#882255", "#DDCC77"];

/** What stands for an axis that a launch has not. */
const noAxis = (name) => ({name, label: `no ${name}`, edges: [0, 1], cell: [], place: () => 0.5, ticks: [[], []], few: [[], []],
  gridded: true});

/** The launches on the problem of the one that is shown: their losses compare. */
async function comparable() {
  const all = await Promise.all(index.launches.map((_, i) => load(i)));
  return all.filter((of) => of.names.problem === launch.names.problem);
}

async function sides() {
  const now = launch, same = await comparable();
  if (now !== launch) return;  // another was chosen meanwhile
  $("beside").hidden = same.length < 2;
  if (same.length < 2) return;
  const telling = Object.keys(now.names).filter((key) => same.some((of) => of.names[key] !== now.names[key]));
  const called = (of) => telling.map((key) => of.names[key]).join(", ");
  const key = same.map((of) => `${of.title} ${of.best}`).join("\n");
  if ($("sides").dataset.key !== key) {  // else a slider was moved
    $("sides").dataset.key = key;
    for (const part of $("sides").children) Plotly.purge(part);
    $("sides").replaceChildren(...same.map(() => element("div")));
    bestCurves(same, called);
  }
  same.forEach((of, i) => sideMap($("sides").children[i], of, called(of)));
}

function sideMap(div, of, name) {
  const own = (axis) => [...of.axes, of.loss].find((other) => other.name === axis.name) ?? noAxis(axis.name);
  const [ownX, ownY] = [own(x), own(y)];
  const positions = new Map(of.axes.filter((axis) => axis.gridded).map((axis) => [axis, positionOf(of, axis)]));
  const runs = slice(of, ownX, ownY, positions);
  for (const axis of [ownX, ownY]) if (!of.axes.includes(axis) && axis !== of.loss) axis.cell = new Uint8Array(of.runs);
  const asPoints = !(ownX.gridded && ownY.gridded) && runs.length <= POINTS;
  const trace = asPoints ? points(of, ownX, ownY, runs) : heat(of, ownX, ownY, cellsOf(of, ownX, ownY, runs));
  if (asPoints) trace.marker = {...trace.marker, size: 5, showscale: false};
  const title = {text: plain(name), font: {size: 13}, y: 0.97};
  const drawn = div.on !== undefined;
  Plotly.react(div, [{...trace, showscale: false}], layout({margin: {l: 66, r: 14, t: 28, b: 46}, title,
    xaxis: scaleAxis(ownX.few, ownX.label, {range: ends(ownX), showgrid: false}),
    yaxis: scaleAxis(ownY.few, ownY.label, {range: ends(ownY), showgrid: false})}), SMALL);
  if (drawn) return;
  div.style.cursor = "pointer";
  div.on("plotly_click", async () => {
    const i = (await Promise.all(index.launches.map((_, k) => load(k)))).indexOf(of);
    $("launch").value = i;
    start(i);
  });
}

/** Where an axis of a launch is held: at the value of the slider above, or of its own best setting. */
function positionOf(of, axis) {
  const here = launch.axes.find((other) => other.name === axis.name && fixed.has(other));
  const at = here ? axis.values.indexOf(here.values[fixed.get(here)]) : -1;
  return at < 0 ? axis.index[of.best] : at;
}

function bestCurves(same, called) {
  const placeOf = (loss) => (loss === null ? null : lossPlace({...launch.curve, below: -1e9, above: 1e9}, loss));
  const traces = same.filter((of) => of.kept.has(of.best)).map((of, i) => {
    const {losses, text} = recorded(of, of.best), color = OWN[i % OWN.length];
    const setting = of.axes.map((axis) => `${axis.name} = ${short(axis.value(of.best))}`).join(", ");
    return {x: of.steps.places, y: losses.map(placeOf), text, mode: "lines", line: {color, width: 2.2},
      name: plain(`${called(of)}: ${setting}`), hovertemplate: `${plain(called(of))}<br>%{text}<extra></extra>`};
  });
  const ticks = new Map(same.flatMap((of) => of.curve.ticks[0].map((at, k) => [+at.toFixed(6), of.curve.ticks[1][k]])));
  const places = traces.flatMap((trace) => trace.y).filter(Number.isFinite), high = Math.max(...places), low = Math.min(...places);
  const [at, labels] = launch.curve.positive ? [[...ticks.keys()], [...ticks.values()]] : launch.curve.ticks;
  Plotly.react("best-curves", traces, layout({margin: {l: 74, r: 20, t: 8, b: 46}, showlegend: true,
    legend: {orientation: "h", y: -0.2, yanchor: "top"}, xaxis: stepAxis(),
    yaxis: scaleAxis([at, labels], launch.curve.label, {range: [low - 0.05 * (high - low), high + 0.05 * (high - low)]})}), SMALL);
}
