// The page: what is shown now, and what happens when something else is chosen.

// shown: runs of the slice; cells: its runs by cell; chosen: runs; coloring: of color.js
let launch, x, y, fixed, shown, cells, chosen, coloring = null;

/** A run, and the others of its setting: they differ in the seed alone. */
function setting(one) {
  const runs = [one], values = launch.axes.map((axis) => axis.value(one));
  for (let run = 0; run < launch.runs; run++) {
    if (run !== one && launch.axes.every((axis, i) => axis.value(run) === values[i])) runs.push(run);
  }
  return runs;
}

const names = (runs) => launch.axes.map((axis) => `${axis.name} = ${short(axis.value(runs[0]))}`).join(", ");
const axisNamed = (name) => [...launch.axes, launch.loss].find((axis) => axis.name === name);

async function start(i) {
  launch = await load(i);
  $("title").textContent = launch.title;
  const settings = [...launch.fixed.map(([name, value]) => `${name} = ${value}`),
    ...Object.entries(launch.problem).map(([name, value]) => `${name} = ${value}`)];
  $("found").replaceChildren(...launch.found.map((textContent) => element("li", {textContent})));
  $("setting").textContent = settings.length ? `the same for all runs: ${settings.join(", ")}` : "";
  const swept = launch.axes.length > 0;
  for (const part of document.querySelectorAll(".swept")) part.hidden = !swept;
  $("where").hidden = !swept;
  $("importances").hidden = !launch.importance.length;
  const preferred = [...launch.axes].sort((a, b) => rank(a) - rank(b));
  for (const id of ["x", "y"]) {
    const offered = id === "x" ? launch.axes : [...(launch.axes.length > 1 ? launch.axes : []), launch.loss];
    $(id).replaceChildren(...offered.map(({name}) => element("option", {value: name, textContent: name.replace("_", " ")})));
  }
  offer("color", [WHOLE, ...colorable(launch)]);
  offer("rank", [...launch.bests.keys()]);
  await recolor();
  launch.best = launch.bests.get($("rank").value);
  fixed = new Map(launch.axes.filter((axis) => axis.gridded).map((axis) => [axis, axis.index[launch.best]]));
  chosen = setting(launch.best);
  const again = (axis) => axis && launch.axes.find(({name}) => name === axis.name);  // of the launch before
  const across = again(x) ?? preferred[0];
  if (swept) axesChosen(across, again(y) ?? preferred.find((axis) => axis !== across) ?? launch.loss);
  curves();
  fans();
  if (swept) { shares(); importances(); parallel(); }
}

/** The choices of a select; the one that was chosen stays where it is among them. */
function offer(id, names) {
  const before = $(id).value || (id === "rank" ? index.rank : WHOLE);
  $(id).replaceChildren(...names.map((name) => element("option", {value: name, textContent: name.replaceAll("_", " ")})));
  $(id).value = names.includes(before) ? before : names[0];
  $(id).parentElement.hidden = names.length < 2;
}

/** lr and eps first, then the axes with the most values; last those with so few that they make no map. */
function rank({name, gridded, values}) {
  const size = gridded ? values.length : launch.runs;
  return (size < 4 ? 9 : 0) + (name === "lr" ? 0 : name === "eps" ? 1 : 2 - size / 1e9);
}

function axesChosen(newX, newY) {
  if (newX === newY) [newX, newY] = newX === x ? [y, newY] : [newX, x];
  if (newX === launch.loss) newX = launch.axes.find((axis) => axis !== newY);
  [x, y] = [newX, newY];
  $("x").value = x.name;
  $("y").value = y.name;
  const others = launch.axes.filter((axis) => axis !== x && axis !== y && axis.gridded);
  $("sliders").replaceChildren(...others.map((axis) => {
    const said = element("output", {textContent: short(axis.values[fixed.get(axis)])});
    const slider = element("input", {type: "range", className: "axis-slider", min: 0, max: axis.values.length - 1});
    slider.value = fixed.get(axis);
    slider.dataset.axis = axis.name;
    slider.addEventListener("input", () => {
      fixed.set(axis, +slider.value);
      said.textContent = short(axis.values[slider.value]);
      soon(maps);
    });
    return element("label", {}, axis.name, slider, said);
  }));
  maps();
}

function maps() {
  map();
  sides();
}

let due = null;
const soon = (draw) => { due ??= requestAnimationFrame(() => { due = null; draw(); }); };

index.launches.forEach((title, i) => $("launch").append(element("option", {value: i, textContent: title})));
$("pick").hidden = index.launches.length < 2;
$("launch").addEventListener("change", () => start(+$("launch").value));
$("color").addEventListener("change", async () => {
  await recolor();
  maps();
});
$("rank").addEventListener("change", () => {
  index.rank = $("rank").value;
  for (const of of loaded.values()) of.then((each) => { each.best = each.bests.get(index.rank) ?? each.best; });
  start(+$("launch").value);
});
$("about").replaceChildren(...index.about.map(([name, textContent]) =>
  element("tr", {}, element("td", {textContent: name}), element("td", {textContent}))));
$("meanings").replaceChildren(...index.meanings.map(([name, textContent], k) => {
  const swatch = element("i");
  swatch.style.background = COLORS[k];
  return element("tr", {}, element("td", {}, swatch, name), element("td", {textContent}));
}));
$("x").addEventListener("change", () => axesChosen(axisNamed($("x").value), y));
$("y").addEventListener("change", () => axesChosen(x, axisNamed($("y").value)));
$("loading").hidden = true;
document.querySelector("main").hidden = false;
await start(0);
document.body.dataset.ready = "yes";
