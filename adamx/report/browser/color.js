// Color: what colors the runs of maps, their regime or one of their figures.

const WHOLE = "regime", SCALE = "Viridis", MANY = 100;  // times the least, from which a figure is drawn in decades

/** Figures that a launch's runs can be colored by: numbers that are not all the same. */
const colorable = (of) => of.figures.filter((name) => {
  const column = of.arrays[`figure.${name}`];
  return !(column instanceof Uint8Array) && name !== "seed" && new Set(column.filter((v) => known(column, v))).size > 1;
});
/** Counts are -1 where they never came. */
const known = (column, value) => Number.isFinite(value) && !(column instanceof Int32Array && value < 0);

/** Color by what is chosen; the other launches are read only where their figures count. */
async function recolor() {
  const name = $("color").value;
  coloring = name === WHOLE ? null : coloringBy(name, await comparable());
}

/** How a figure colors the runs of some launches: {said, ends, ticks, at: the place of a run, NaN where it has none}. */
function coloringBy(name, launches) {
  const values = launches.flatMap((of) => Array.from(of.arrays[`figure.${name}`] ?? []).filter(
    (value) => known(of.arrays[`figure.${name}`], value))).sort((a, b) => a - b);
  const low = values[0], high = values.at(-1), log = low > 0 && high > MANY * low;
  const place = (value) => (log ? Math.log10(value) : value), said = name.replaceAll("_", " ");
  const ends = [place(low), place(high)], tickvals = [0, 1, 2, 3, 4].map((k) => ends[0] + k * (ends[1] - ends[0]) / 4);
  return {
    said, ends, ticks: {tickvals, ticktext: tickvals.map((at) => short(log ? 10 ** at : at))},
    at: (of, run) => {
      const column = of.arrays[`figure.${name}`];
      return column && known(column, column[run]) ? place(column[run]) : NaN;
    },
  };
}

/** The bar that says which color is which number. */
const colorbar = ({said, ticks}) => ({...ticks, thickness: 11, outlinewidth: 0, xpad: 6, title: {text: said, side: "right"}});
