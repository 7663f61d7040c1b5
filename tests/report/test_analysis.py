"""Regime maps, curves and the summary, from made-up sweeps: their structure, not their pixels."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from rich.console import Console
from synthetic import product, synthetic

from adamx.analysis import COLORS, plots, slices
from adamx.analysis.scales import Scale, short
from adamx.analysis.summary import findings, summary, threshold
from adamx.engine.results import Results
from adamx.engine.settings import best_run, ranked
from adamx.inputs.errors import InputError
from adamx.regimes import REGIMES

pytestmark = pytest.mark.filterwarnings("error")

LR, EPS = np.logspace(-4, 0, 9), np.logspace(-12, 0, 7)
BETA1, BETA2 = np.array([0, 0.9, 0.99]), np.array([0.9, 0.99, 0.999])


def drawn(results: Results, **axes: str):
    """The regime map, rendered, so that warnings of the layout come up too."""
    figure = plots.regime_map(results, **axes)
    assert figure is not None
    figure.canvas.draw()
    return figure


def printed(results: list[Results], width: int = 100, terminal: bool = False) -> str:
    console = Console(width=width, force_terminal=terminal, color_system=None)
    with console.capture() as capture:
        console.print(summary(results), soft_wrap=not terminal)
    return capture.get()


def scatter(runs: int = 64) -> Results:
    rng = np.random.default_rng(0)
    return synthetic({"lr": 10 ** rng.uniform(-4, 0, runs), "eps": 10 ** rng.uniform(-12, 0, runs)})


def star(figure):
    """The panels that have a star, and the star's place."""
    return [
        (i, *line.get_xydata()[0]) for i, a in enumerate(figure.axes) for line in a.lines if line.get_marker() == "*"
    ]


def test_every_regime_has_its_own_color():
    assert tuple(COLORS) == REGIMES
    assert len(set(COLORS.values())) == len(REGIMES)


# --- settings and slices ---------------------------------------------------------------------------------------------


def test_seeds_and_constants_are_not_swept():
    assert slices.swept(synthetic(product(lr=LR, eps=EPS, seed=range(3)))) == ["lr", "eps"]


def test_a_setting_is_the_regime_of_most_runs_and_the_worse_of_two():
    results = synthetic(product(lr=[0.001, 0.01], seed=range(4)))
    object.__setattr__(results, "regime", np.array(["slow", "slow", "slow", "diverged", *["converged", "spiking"] * 2]))
    table = slices.settings(results).set_index("lr")
    assert table.loc[0.001, "regime"] == "slow"
    assert table.loc[0.01, "regime"] == "spiking"
    assert not table["agree"].any()
    assert (table["runs"] == 4).all()


def test_settings_are_best_first_by_the_median_with_lost_runs_as_infinite():
    results = synthetic(product(lr=[0.001, 0.01, 0.1], seed=range(3)))
    loss = results.loss.copy()
    loss[-1] = [5, 1, 3, np.nan, np.inf, 0, 2, 2, np.nan]
    table = slices.settings(replace(results, loss=loss))
    assert table["lr"].tolist() == [0.1, 0.001, 0.01]
    assert table["final_loss"].tolist() == [2, 3, np.inf]


def test_too_many_panels_are_thinned_around_the_best_and_it_is_said():
    view = slices.cut(synthetic(product(lr=LR, eps=EPS, beta1=np.linspace(0, 0.9, 7), beta2=np.linspace(0.5, 0.99, 6))))
    assert view is not None
    assert len(view.panels) == 16 and view.rows == view.across == 4
    assert view.notes == ["4 of 7 values of beta1", "4 of 6 values of beta2"]
    everything = slices.settings(
        synthetic(product(lr=LR, eps=EPS, beta1=np.linspace(0, 0.9, 7), beta2=np.linspace(0.5, 0.99, 6)))
    )
    assert view.settings["final_loss"].iloc[0] == everything["final_loss"].iloc[0]


def test_a_fifth_axis_is_held_at_the_best():
    results = synthetic(product(lr=LR, eps=EPS[:3], beta1=BETA1, beta2=BETA2, eps_root=[0, 1e-8]))
    view = slices.cut(results)
    assert view is not None
    assert len(view.panels) == 9
    assert view.settings["eps_root"].nunique() == 1
    assert any("eps_root" in note for note in view.notes)


# --- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "spacing"),
    [
        ("lr", LR, "log"),
        ("lr", np.linspace(0.01, 0.1, 10), "linear"),
        ("lr", np.array([1e-3, 1e-2]), "log"),
        ("eps", np.r_[0, EPS], "log"),
        ("beta2", 1 - np.logspace(-5, -1, 9), "one-minus"),
        ("beta1", np.array([0, 0.9]), "one-minus"),
        ("beta1", np.linspace(0, 0.9, 10), "linear"),
        ("bias_correction", np.array([0.0, 1.0]), "log"),
    ],
)
def test_the_spacing_is_found(name, values, spacing):
    assert Scale(name, np.unique(values)).spacing == spacing


def test_zero_has_a_tick_of_its_own_before_the_others():
    scale = Scale("eps", np.r_[0, np.logspace(-12, 0, 60)])
    places, labels = scale.ticks(6)
    assert labels[0] == "0" and labels[-1] == "1"
    assert (np.diff(places) > 0).all()
    assert (np.diff(scale.edges()) > 0).all()
    assert len(scale.edges()) == 62


def test_ticks_of_a_one_minus_axis_are_betas():
    _, labels = Scale("beta2", np.unique(1 - np.logspace(-5, -1, 9))).ticks(6)
    assert labels == ["0.9", "0.99", "0.999", "0.9999", "0.99999"]


@pytest.mark.parametrize("text", ["1e-08", "0.9", "0.999", "0.99999", "0.001", "0", "1", "0.95", "1e+03", "inf"])
def test_short_numbers(text):
    assert short(float(text)) == text


# --- the map ---------------------------------------------------------------------------------------------------------


def test_a_grid_has_a_panel_for_each_pair_of_the_other_axes():
    figure = drawn(synthetic(product(lr=LR, eps=EPS, beta1=BETA1, beta2=BETA2)))
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 9
    assert titles[1] == r"$\beta_1$ = 0.9   $\beta_2$ = 0.9"
    assert figure.axes[-1].get_xlabel() == r"lr  $\eta$"
    assert figure.axes[0].get_ylabel() == r"eps  $\varepsilon$"
    assert figure.get_suptitle() == "adam on digits_mlp: 567 runs, 400 steps, float32"


def test_cells_have_the_color_of_their_regime():
    results = synthetic(product(lr=LR, eps=EPS))
    mesh = drawn(results).axes[0].collections[0]
    image = np.asarray(mesh.get_array())
    assert image.shape == (len(EPS), len(LR), 4)
    for k, regime in enumerate(results.regime):
        color = image[k % len(EPS), k // len(EPS), :3]
        pure = np.array(to_rgb(COLORS[regime]))
        share = (color - pure) / (1 - pure)
        assert np.allclose(share, share[0]) and -1e-9 <= share[0] <= plots.PALEST + 1e-9
        if regime not in plots.SHADED:
            assert share[0] == pytest.approx(0)


def test_a_grid_that_was_stopped_leaves_its_cells_empty():
    results = synthetic(product(lr=LR, eps=EPS)).take(np.arange(40))
    image = np.asarray(drawn(results).axes[0].collections[0].get_array())
    assert (image[..., 3] == 1).sum() == 40
    assert (image[..., 3] == 0).sum() == 2


def test_the_star_is_on_the_least_final_loss():
    results = synthetic(product(lr=LR, eps=EPS, beta1=BETA1))
    best = int(np.nanargmin(results.loss[-1]))
    ((panel, x, y),) = star(drawn(results))
    assert panel == list(BETA1).index(results.columns["beta1"][best])
    assert (x, y) == pytest.approx([np.log10(results.columns[name][best]) for name in ("lr", "eps")])
    assert short(results.loss[-1, best]) in drawn(results).legends[0].get_title().get_text()


def test_the_legend_counts_the_regimes():
    results = synthetic(product(lr=LR, eps=EPS))
    labels = [text.get_text() for text in drawn(results).legends[0].get_texts()]
    counts = {name: (results.regime == name).sum() for name in REGIMES}
    assert labels == [f"{name} {count}" for name, count in counts.items() if count]


def test_cells_whose_seeds_disagree_are_marked():
    results = synthetic(product(lr=LR, eps=EPS, seed=range(3)))
    mixed = (~slices.settings(results)["agree"]).sum()
    assert mixed
    figure = drawn(results)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(dots[0].get_xydata()) == mixed
    assert figure.legends[0].get_texts()[-1].get_text() == "seeds disagree"


def test_other_axes_can_be_chosen():
    figure = drawn(
        synthetic(product(lr=LR[:3], beta1=1 - np.logspace(-3, -1, 5), beta2=1 - np.logspace(-5, -1, 5))),
        x="beta1",
        y="beta2",
    )
    assert len(figure.axes) == 3
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0.9", "0.99", "0.999"]


@pytest.mark.parametrize(
    ("x", "y", "words"), [("beta3", None, "beta"), ("lr", "lr", "different"), ("beta1", None, "lr")]
)
def test_axes_that_were_not_swept_are_refused(x, y, words):
    with pytest.raises(InputError, match=words):
        plots.regime_map(synthetic(product(lr=LR, eps=EPS)), x, y)


def test_one_axis_shows_the_final_loss_of_every_run():
    results = synthetic(product(lr=LR, seed=range(3)))
    (axes,) = drawn(results).axes
    assert sum(len(c.get_offsets()) for c in axes.collections) == len(results)
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "final loss"
    left, right = axes.get_xlim()
    assert left < -4 and right > 0  # the lost runs, at the largest lr, are inside
    assert len(star(axes.figure)) == 1


def test_sampled_points_are_points():
    results = scatter()
    (axes,) = drawn(results).axes
    (points,) = axes.collections
    assert len(points.get_offsets()) == len(results)
    order = slices.settings(results)["regime"]
    assert np.allclose(points.get_facecolors()[:, :3], [to_rgb(COLORS[name]) for name in order])


def test_nothing_swept_is_no_map():
    assert plots.regime_map(synthetic(product(lr=0.01, seed=range(4)))) is None
    assert plots.regime_map(synthetic(product(lr=0.01))) is None


def test_all_runs_lost_is_a_map_without_a_star():
    results = synthetic(product(lr=LR, eps=EPS))
    lost = replace(results, loss=np.where(results.steps[:, None] > 0, np.nan, results.loss))
    assert not star(drawn(lost))
    assert not star(drawn(lost.take(lost.columns["eps"] == 1)))
    plots.curves(lost).canvas.draw()


# --- curves ----------------------------------------------------------------------------------------------------------


def test_curves_have_a_panel_for_each_regime_that_occurred():
    results = synthetic(product(lr=LR, eps=EPS, beta1=BETA1))
    figure = plots.curves(results)
    figure.canvas.draw()
    titles = [axes.get_title().split(",")[0] for axes in figure.axes]
    assert titles == [name for name in REGIMES if (results.regime == name).any()]
    assert all(axes.get_yscale() == "log" for axes in figure.axes)
    assert "its val_loss" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_end_at_the_last_finite_point():
    results = synthetic(product(lr=LR, eps=EPS))
    (panel,) = (axes for axes in plots.curves(results).axes if axes.get_title().startswith("diverged"))
    ends = [np.isfinite(line.get_ydata()).sum() for line in panel.lines]
    assert min(ends) < len(results.steps)


def test_gaps_are_logarithmic_and_goals_that_can_be_passed_are_not():
    results = synthetic(product(lr=LR, eps=EPS), problem="styblinski_tang", minimum=-39.0, accuracy=False)
    figure = plots.curves(results)
    assert figure.axes[0].get_yscale() == "log" and figure.axes[0].get_ylabel() == "loss - minimum"
    below = replace(results, loss=results.loss - np.linspace(0, 50, len(results.steps))[:, None])
    figure = plots.curves(below)
    figure.canvas.draw()
    assert figure.axes[0].get_yscale() == "symlog" and figure.axes[0].get_ylabel() == "loss"
    drawn(below.take(below.columns["eps"] == 1))


def test_a_single_run_has_curves():
    plots.curves(synthetic(product(lr=0.01))).canvas.draw()


# --- the summary -----------------------------------------------------------------------------------------------------


def test_a_threshold_is_found_and_chance_is_not():
    values = np.repeat(LR, 8)
    split = threshold(values, values > 0.2)
    assert split is not None
    assert (split.words, split.opposite, split.share, split.other) == (">= 0.316", "below", 1.0, 0.0)
    low = threshold(values, values < 0.002)
    assert low is not None and (low.words, low.opposite) == ("<= 0.001", "above")
    ends = threshold(values, values == 1), threshold(values, values == 1e-4)
    assert [split and split.words for split in ends] == ["1", "0.0001"]
    assert threshold(values, np.arange(len(values)) % 2 == 0) is None
    assert threshold(values, np.zeros(len(values), dtype=bool)) is None
    assert threshold(values, np.ones(len(values), dtype=bool)) is None


def test_a_single_run_is_no_finding():
    values = np.geomspace(1e-4, 1, 64)
    assert threshold(values, values == 1) is None, "one run of 64"
    assert threshold(values, values >= values[-5]).words == f">= {short(values[-5])}", "five of 64 are no chance"
    seeds = np.repeat(values[:12], 8)
    assert threshold(seeds, seeds >= values[11], repeats=8) is None, "eight seeds of one setting say one thing"
    assert threshold(seeds, seeds >= values[6], repeats=8) is not None


def test_chance_is_named_in_few_summaries():
    """Marks drawn blindly, 20 questions of one summary: something is named in less than 1 of 20 summaries."""
    rng = np.random.default_rng(0)
    values = np.sort(rng.random(64))
    named = [any(threshold(values, rng.random(64) < 0.3, questions=20) for _ in range(20)) for _ in range(60)]
    assert np.mean(named) <= 0.05


def test_equal_losses_are_told_apart_by_the_held_out_loss():
    results = synthetic(product(lr=[0.001, 0.003, 0.01]))
    loss, held_out = results.loss.copy(), results.curves["val_loss"].copy()
    loss[-1], held_out[-1] = [0.0, 0.0, 1.0], [0.5, 0.3, 0.1]
    results = replace(results, loss=loss, curves={**results.curves, "val_loss": held_out})
    assert slices.settings(results)["lr"].tolist() == [0.003, 0.001, 0.01]
    assert best_run([results]) == (0, 1)
    assert ranked([results.take(np.array([0])), results.take(np.array([1, 2]))])["of"].tolist() == [1, 0, 1]


def test_the_best_is_one_run_everywhere():
    """The star of a map, the first line of the terminal and the best run: a setting by the median of its seeds."""
    results = synthetic(product(lr=LR, eps=EPS, seed=range(3)))
    loss = results.loss.copy()
    loss[-1, 7] = 0.0  # one lucky seed of a setting
    results = replace(results, loss=loss)
    _, run = best_run([results])
    first = slices.settings(results).iloc[0]
    assert run != 7 and (results.columns["lr"][run], results.columns["eps"][run]) == (first["lr"], first["eps"])
    assert results.loss[-1, run] == first["final_loss"]
    lost = replace(results, loss=np.full_like(loss, np.nan))
    assert best_run([lost]) is None


def test_findings_say_where_runs_fail():
    results = synthetic(product(lr=LR, eps=EPS, beta1=[0.5, 0.6], beta2=BETA2))
    lr, eps, beta1, beta2 = (
        next(x for x in findings(results) if x.startswith(n)) for n in ("lr", "eps", "beta1", "beta2")
    )
    assert "diverge, below" in lr and "best at" in lr
    assert "eps: at <= " in eps and "spike, above" in eps
    assert beta1.startswith("beta1: no clear difference")
    assert "beta2: at >= 0.99" in beta2


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_the_summary_fits_its_window(width):
    results = synthetic(product(lr=LR, eps=EPS, beta1=BETA1, beta2=BETA2, seed=range(2)))
    text = printed([results], width, terminal=True)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    text = " ".join(text.split())
    assert "adam on digits_mlp: 1,134 runs, 400 steps, float32" in text and "…" not in text
    for name in REGIMES:
        count = (results.regime == name).sum()
        assert (f"{name} {count}" in text) == bool(count)
    best = slices.settings(results).iloc[0]
    assert short(best["final_loss"]) in text
    assert "val_acc" in text and "\x1b" not in text


def test_a_piped_table_is_whole_in_any_width():
    results = synthetic(product(lr=LR, eps=EPS, beta1=BETA1, beta2=BETA2, seed=range(2)))
    words = [line.split() for line in printed([results], 20).splitlines()]
    rows = words[words.index([]) + 1 :][:6]
    assert rows[0] == ["lr", "beta1", "beta2", "eps", "loss", "val_acc", "regime"]
    assert {len(row) for row in rows} == {7} and {row[-1] for row in rows[1:]} <= set(REGIMES)


def test_several_sweeps_are_a_row_each_and_the_best_per_problem():
    grid = product(lr=LR, eps=EPS)
    sweeps = [
        synthetic(grid, o, p, accuracy=p == "digits_mlp") for o in ("adam", "amsgrad") for p in ("beale", "digits_mlp")
    ]
    sweeps.append(synthetic(product(lr=LR), "sgd", "beale", accuracy=False))
    present = [name for name in REGIMES if any((r.regime == name).any() for r in sweeps)]
    text = printed(sweeps, 60)
    lines = text.splitlines()
    assert lines[0].split() == ["optimizer", "problem", *(name[:4] for name in present), "best"]
    assert lines[5].split()[:2] == ["sgd", "beale"]
    assert "best on beale" in text and "best on digits_mlp" in text
    assert len(lines) == 6 + 2 * 8
    assert max(len(line.rstrip()) for line in lines) <= 60


@pytest.mark.parametrize(
    "columns", [product(lr=0.01), product(lr=LR), {"lr": np.full(3, 1.0), "beta1": np.full(3, 0.99)}]
)
def test_small_sweeps_have_a_summary(columns):
    assert "adam on digits_mlp" in printed([synthetic(columns)])


def test_neither_adamx_nor_the_summary_imports_matplotlib():
    code = "import adamx, adamx.analysis.summary, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
