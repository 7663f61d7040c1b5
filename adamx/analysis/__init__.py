"""Figures and summaries for people: regime maps and curves (`plots`), a sweep's findings in a few lines (`summary`)."""

# One color per regime, used by every figure and table. Told apart with every kind of color blindness, in print, and
# when `converged` and `slow` are mixed with up to 45 % of white.
COLORS = {
    "converged": "#0072B2",
    "slow": "#B8B8B8",
    "unjudged": "#56B4E9",
    "unbounded": "#CC79A7",
    "spiking": "#F0C000",
    "oscillating": "#D55E00",
    "diverged": "#222222",
}
