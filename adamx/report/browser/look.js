// The look of all plots: fonts, axes with the ticks that Python chose, paler colors.

const UNUSED = ["select2d", "lasso2d", "autoScale2d", ...(self === top ? [] : ["toImage"])];  // a sandbox cannot save
const CONFIG = {responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: UNUSED};
const SMALL = {...CONFIG, displayModeBar: false};
const FONT = {family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "#1c2024"};
const layout = (more) => ({font: FONT, margin: {l: 74, r: 12, t: 10, b: 52}, showlegend: false, hovermode: "closest",
  paper_bgcolor: "#fff", plot_bgcolor: "#fff", hoverlabel: {bgcolor: "#fff", align: "left", font: FONT}, ...more});
const scaleAxis = (ticks, title, more) => ({tickvals: ticks[0], ticktext: ticks[1], title: {text: title, standoff: 8},
  zeroline: false, tickangle: 0, showline: true, linecolor: "#60666d", ticks: "outside", ticklen: 4, tickcolor: "#60666d",
  ticklabeloverflow: "allow", gridcolor: "#eceef0", ...more});

const lossAxis = (more) => {
  const {low, high, above, ticks, label} = launch.curve, margin = (above - high) / 2;
  return scaleAxis(ticks, label, {range: [low - margin, high + margin], ...more});
};
const stepAxis = (more) => scaleAxis(launch.steps.ticks, "step", {range: [0, launch.steps.places.at(-1)], ...more});

const mixed = (color, white) => "rgb(" + [1, 3, 5].map((i) => {
  const c = parseInt(color.slice(i, i + 2), 16);
  return Math.round(c + (255 - c) * white);
}) + ")";
