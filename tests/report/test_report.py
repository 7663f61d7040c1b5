"""The report: what is in the file, and in a headless browser what a person sees of it and can do with it."""

import base64
import contextlib
import gzip
import json
import os
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from synthetic import product, synthetic

from adamx.analysis.scales import Scale
from adamx.analysis.summary import findings
from adamx.analysis.theory import lines
from adamx.engine.settings import best_run
from adamx.inputs.axes import values
from adamx.record import parent, readback
from adamx.regimes import MEANINGS, REGIMES
from adamx.report import __main__ as command
from adamx.report import page
from adamx.report.content import content
from adamx.report.packing import pack, rounded
from adamx.report.places import ABOVE, LEVELS, LOST, loss_scale, markup

LR, EPS = np.logspace(-4, 0, 9), np.logspace(-12, 0, 7)


def grid(**axes):
    return synthetic(product(**({"lr": LR, "eps": EPS} | axes)))


def scatter(runs=64):
    rng = np.random.default_rng(0)
    return synthetic({"lr": 10 ** rng.uniform(-4, 0, runs), "eps": 10 ** rng.uniform(-12, 0, runs)})


def lost():
    """All runs diverged at the first record."""
    r = grid(lr=[0.1, 1.0])
    loss = np.where(np.arange(len(r.steps))[:, None] > 0, np.inf, r.loss)
    return replace(r, loss=loss, figures={**r.figures, "diverged_step": np.ones(len(r), dtype=int)})


def unpacked(text):
    """Unpack as the page does: meta and arrays."""
    raw = gzip.decompress(base64.b64decode(text))
    end = 4 + int.from_bytes(raw[:4], "little")
    said, at, arrays = json.loads(raw[4:end]), end, {}
    for name, dtype, size in said["arrays"]:
        width = np.dtype(dtype).itemsize
        block = np.frombuffer(raw[at : at + width * size], np.uint8).reshape(width, size)
        arrays[name] = np.ascontiguousarray(block.T).view(dtype).ravel()
        at += width * size
    assert at == len(raw)
    return said["meta"], arrays


# --- what is packed --------------------------------------------------------------------------------------------------


def test_packing_is_undone():
    rng = np.random.default_rng(1)
    arrays = {"a": rng.normal(size=9), "b": np.arange(5, dtype=np.int32) - 2, "c": np.zeros(0, np.uint16)}
    meta, again = unpacked(pack({"x": [1, "é"]}, arrays))
    assert meta == {"x": [1, "é"]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype


def test_rounding_keeps_six_digits_and_what_is_not_finite():
    values = np.array([1.2345678901, -9.87654321e-300, 3e300, 0.0, np.inf, -np.inf, np.nan, 5e-324])
    finite = np.abs(values) > 1e-300
    np.testing.assert_allclose(rounded(values)[finite], values[finite], rtol=5e-7)
    np.testing.assert_array_equal(rounded(values)[3:7], values[3:7])


@pytest.mark.parametrize("minimum", [0.0, -3.0])
def test_a_curve_comes_back_to_a_thousandth(minimum):
    r = synthetic(product(lr=LR, eps=EPS), minimum=minimum)
    scale = loss_scale(r, r.loss)
    codes = np.cumsum(scale.codes(r.loss.T), axis=1, dtype=np.uint16).T
    low, high = scale.ends
    on = (codes > 0) & (codes <= LEVELS)
    again = 10 ** (low + codes[on] / LEVELS * (high - low)) + minimum
    np.testing.assert_allclose(again - minimum, (r.loss - minimum)[on], rtol=1e-3)
    np.testing.assert_array_equal(codes == LOST, ~np.isfinite(r.loss))
    assert (r.loss[codes == ABOVE] - minimum > 1e3 * (r.loss[0] - minimum).min()).all()
    assert on.mean() > 0.7


def test_losses_of_both_signs_have_places():
    r = synthetic(product(lr=LR))
    r = replace(r, loss=-r.loss * np.linspace(-1, 50, len(r.steps))[:, None], minimum=0.0)
    scale = loss_scale(r, r.loss)
    inside = (np.isfinite(r.loss)) & (scale.place(r.loss) > scale.below) & (scale.place(r.loss) < scale.above)
    at, loss = scale.place(r.loss)[inside], r.loss[inside]
    order = np.argsort(loss)
    assert (np.diff(at[order]) >= 0).all() and (np.sign(at) == np.sign(loss)).all()
    assert scale.said()["ticks"][1].count("0") == 1


def test_mathtext_becomes_markup_and_everything_else_is_escaped():
    assert markup(r"beta1  $\beta_1$") == "beta1  β<sub>1</sub>"
    assert markup("$10^{-3}$") == "10<sup>−3</sup>"
    assert markup(r"eps_root  $\varepsilon_\mathrm{root}$") == "eps_root  ε<sub>root</sub>"
    assert markup("<script>") == "&lt;script&gt;"


def test_content_is_the_table():
    r = grid(beta1=[0, 0.9], seed=range(2))
    meta, arrays = content(r, loss_scale(r, r.loss))
    table = r.table
    assert [axis["name"] for axis in meta["axes"]] == ["lr", "beta1", "eps"]
    for axis in meta["axes"]:
        np.testing.assert_array_equal(np.array(axis["values"])[arrays[f"axis.{axis['name']}"]], table[axis["name"]])
        shares = np.array(axis["shares"]["runs"])
        counts = pd.crosstab(table["regime"], table[axis["name"]]).reindex(REGIMES, fill_value=0)
        np.testing.assert_array_equal(shares, counts)
    assert [REGIMES[code] for code in arrays["regime"]] == list(table["regime"])
    np.testing.assert_allclose(arrays["figure.final_loss"], table["final_loss"], rtol=1e-6)
    np.testing.assert_array_equal(arrays["figure.diverged_step"], table["diverged_step"].fillna(-1))
    assert dict(meta["bests"])["final_loss"] in np.flatnonzero(r.loss[-1] <= np.nanquantile(r.loss[-1], 0.1))
    assert dict(meta["fixed"]) == {"beta2": "0.999"}


def test_a_fan_has_the_quantiles_of_all_runs_of_a_regime():
    r = grid(lr=np.logspace(-4, 0, 30))
    scale = loss_scale(r, r.loss)
    meta, arrays = content(r, scale)
    fan = arrays["fan"].reshape(len(meta["fan"]), 3, -1)
    for (name, runs), bands in zip(meta["fan"], fan, strict=True):
        inside = r.loss[-1, r.regime == name]
        assert runs == len(inside)
        middle = np.sort(np.where(np.isfinite(inside), inside, np.inf))[round((len(inside) - 1) / 2 + 1e-9)]
        want = scale.place(middle) if np.isfinite(middle) else scale.above
        assert bands[1, -1] == pytest.approx(want, abs=0.05 * (scale.above - scale.below))


def test_theory_is_there_for_every_slider_position():
    r = synthetic(product(lr=LR, eps=EPS, beta1=[0, 0.9]), problem="quadratic", accuracy=False)
    r = replace(r, settings={"curvature": 1.0, "noise": 0.0})
    meta, arrays = content(r, loss_scale(r, r.loss))
    i = next(i for i, t in enumerate(meta["theory"]) if (t["x"], t["y"]) == ("lr", "eps"))
    known = meta["theory"][i]
    assert known["over"] == ["beta1"] and [line["at"] for line in known["lines"]] == [[0], [1]]
    points, start = arrays[f"theory.{i}"], 0
    x, y = Scale("lr", LR), Scale("eps", EPS)
    for line, beta1 in zip(known["lines"], [0, 0.9], strict=True):
        drawn = points[start : start + 2 * line["points"]].reshape(2, -1)
        start += 2 * line["points"]
        (want,) = lines("adam", "quadratic", r.settings, x, y, {"beta1": beta1})
        assert (line["label"], line["source"]) == (want.label, want.source)
        np.testing.assert_allclose(drawn, [x.place(want.x), y.place(want.y)], rtol=1e-6)


def test_the_file_keeps_its_limit_and_says_so(monkeypatch):
    r = synthetic(product(lr=np.logspace(-4, 0, 60), eps=np.logspace(-12, 0, 50)), records=100)
    assert len(page.report([r])) > 2_400_000
    monkeypatch.setattr(page, "LIMIT", 2_400_000)
    text = page.report([r]).decode()
    assert len(text) < 2_400_000
    _, arrays = unpacked(text.split('id="curves-0">')[1].split("<")[0])
    assert 100 < len(arrays["kept"]) < 3000 and len(arrays["codes"]) == 101 * len(arrays["kept"])


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no Chromium: install one, or name it in CHROMIUM")
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the report of some results from disk; at the end there must have been no error and no request."""
    seen = []

    def open_(*results, width=1000, about=()):
        path = tmp_path / "report.html"
        path.write_bytes(page.report(results, about))
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.on("console", lambda message: seen.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: seen.append(str(error)))
        tab.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: seen.append(request.url) if request.url.startswith("http") else None)
        tab.goto(path.as_uri())
        tab.wait_for_selector("body[data-ready]")
        return tab

    yield open_
    assert seen == []


def cells(tab):
    """The numbers of the map, row by row; None where there is no run."""
    return tab.evaluate("document.getElementById('map').data[0].z.map((row) => Array.from(row))")


def regimes(tab):
    return np.array([[np.nan if z is None else np.floor(z) for z in row] for row in cells(tab)])


def test_the_map_has_the_regime_of_every_cell_and_its_slider_moves(opened):
    r = grid(beta1=[0, 0.99])
    tab = opened(r)
    lr, eps, beta1 = (r.columns[name] for name in ("lr", "eps", "beta1"))
    codes = pd.Categorical(r.regime, REGIMES).codes
    slider = tab.query_selector(".axis-slider")
    assert slider.get_attribute("data-axis") == "beta1"
    for position, value in enumerate([0, 0.99]):
        slider.evaluate(f"s => {{ s.value = {position}; s.dispatchEvent(new Event('input')) }}")
        tab.wait_for_timeout(100)
        want = np.array([[codes[(lr == x) & (eps == y) & (beta1 == value)][0] for x in LR] for y in EPS])
        np.testing.assert_array_equal(regimes(tab), want)


def test_two_seeds_show_the_regime_of_most_and_the_worse_of_two(opened):
    r = grid(seed=range(3))
    tab = opened(r)
    codes = pd.Categorical(r.regime, REGIMES).codes
    for row, y in zip(regimes(tab), EPS, strict=True):
        for z, x in zip(row, LR, strict=True):
            counts = np.bincount(codes[(r.columns["lr"] == x) & (r.columns["eps"] == y)], minlength=len(REGIMES))
            assert z == len(REGIMES) - 1 - counts[::-1].argmax()


def test_nothing_offers_to_send_the_data_away(opened):
    tab = opened(grid())
    titles = tab.eval_on_selector_all(".modebar-btn", "buttons => buttons.map((b) => b.dataset.title)")
    assert set(titles) == {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}
    assert tab.query_selector_all("a[href^=http], [src^=http], link[href^=http]") == []


def test_axes_are_chosen_and_swapped(opened):
    tab = opened(grid(beta1=[0, 0.5, 0.9, 0.99]))
    tab.select_option("#x", "beta1")
    assert np.shape(cells(tab)) == (7, 4)
    tab.select_option("#y", "beta1")
    assert (tab.input_value("#x"), tab.input_value("#y")) == ("eps", "beta1")
    assert np.shape(cells(tab)) == (4, 7)
    tab.select_option("#y", "final_loss")
    assert len(tab.evaluate("document.getElementById('map').data[0].x")) == 7


def test_hover_tells_and_click_draws_the_curve_beside_its_neighbours(opened):
    r = grid()
    tab = opened(r)
    box = tab.query_selector("#map .nsewdrag").bounding_box()
    at = box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5
    tab.mouse.move(*at)
    tab.wait_for_selector("#tip:not([hidden])")
    middle = (r.columns["lr"] == LR[4]) & (r.columns["eps"] == EPS[3])
    tip = tab.inner_text("#tip")
    assert "lr\t0.01" in tip and "eps\t1e-6" in tip and r.regime[middle][0] in tip
    tab.mouse.click(*at)
    tab.wait_for_function("document.getElementById('chosen').textContent === 'lr = 0.01, eps = 1e-6'")
    curves = tab.evaluate("document.getElementById('curves').data.map((t) => [Array.from(t.y), t.line.width])")
    assert len(curves) == 9 and curves[-1][1] > curves[0][1]
    drawn = np.array(curves[-1][0], dtype=float)
    np.testing.assert_allclose(10**drawn, r.loss[:, middle][:, 0], rtol=2e-3)
    assert tab.evaluate("document.getElementById('curves').data[0].text[3]").startswith("step 24, loss ")


def test_parallel_coordinates_select_among_all_runs(opened):
    r = grid()
    tab = opened(r)
    tab.query_selector("#parallel").scroll_into_view_if_needed()
    assert "63 of 63 runs" in tab.inner_text("#parallel-notes")
    box = tab.query_selector("#parallel").bounding_box()
    tab.mouse.move(box["x"] + 66, box["y"] + 30)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 66, box["y"] + 34 + (box["height"] - 50) / 2 + 3)
    tab.mouse.up()
    tab.wait_for_function("document.getElementById('parallel-notes').textContent.includes('35 of 63 runs')")


@pytest.mark.parametrize("width", [800, 1400])
@pytest.mark.parametrize(
    "make", [lambda: grid(lr=[1e-3], eps=[1e-8]), lambda: grid(eps=[1e-8], seed=range(3)), scatter, lost], ids="1nsl"
)
def test_every_kind_of_sweep_has_a_page(opened, make, width):
    r = make()
    tab = opened(r, width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert len(tab.evaluate("document.getElementById('curves').data")) == min(len(r), 9) or len(r) == 27
    assert tab.evaluate("document.getElementById('fan').children.length") == len(set(r.regime))
    if len(r) == 1:
        assert not tab.is_visible("#map")
    else:
        marks = tab.evaluate("document.getElementById('map').data[0]")
        drawn = np.size(marks["z"]) if marks["type"] == "heatmap" else len(marks["x"])
        assert drawn == len(r)


def test_many_drawn_points_are_drawn_in_bands(opened):
    r = scatter(6000)
    tab = opened(r)
    filled = sum(z is not None for row in cells(tab) for z in row)
    assert 4000 < filled <= 6000 and "bands" in tab.inner_text("#notes")


def test_launches_are_chosen_and_no_name_is_markup(opened):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    named = synthetic(product(lr=LR), optimizer=evil, problem=evil)
    tab = opened(grid(), replace(named, settings={"<b>k</b>": evil}))
    tab.select_option("#launch", "1")
    tab.wait_for_function("document.getElementById('title').textContent.includes('onerror')")
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.images.length") == 0 and evil in tab.inner_text("#setting")


def beside():
    """Two optimizers on one problem, of which the second has no eps, and one on another."""
    finals = {"val_loss": lambda r: r.loss[::-1], "val_accuracy": lambda r: 1 / (1 + r.loss)}
    both = [grid(), synthetic(product(lr=LR), optimizer="lion")]
    made = [replace(r, curves={name: figure(r) for name, figure in finals.items()}) for r in both]
    return [*made, synthetic(product(lr=LR), problem="beale")]


def test_any_figure_colors_the_map(opened):
    first = beside()[0]
    tab = opened(first)
    tab.select_option("#color", "final_val_accuracy")
    tab.wait_for_function("document.getElementById('map').data[0].colorbar?.title.text === 'final val accuracy'")
    want = first.curves["val_accuracy"][-1].reshape(len(LR), len(EPS)).T
    np.testing.assert_allclose(np.array(cells(tab), float), want, rtol=1e-5)
    tab.select_option("#color", "final_loss")  # decades
    tab.wait_for_function("document.getElementById('map').data[0].colorbar.title.text === 'final loss'")
    lost = ~np.isfinite(first.loss[-1]).reshape(len(LR), len(EPS)).T
    np.testing.assert_array_equal(np.isnan(np.array(cells(tab), float)), lost)


def test_what_is_best_is_chosen(opened):
    first = beside()[0]
    tab = opened(first)
    for rank in ("final_val_loss", "final_val_accuracy", "final_loss"):
        tab.select_option("#rank", rank)
        tab.wait_for_timeout(500)
        said = re.fullmatch("lr = (.+), eps = (.+)", tab.inner_text("#chosen"))
        best = first.best(1, rank).iloc[0]
        np.testing.assert_allclose([float(x) for x in said.groups()], [best["lr"], best["eps"]], rtol=1e-2)
        assert f"by {rank.replace('_', ' ')}" in tab.inner_text("#notes")


def test_launches_on_one_problem_stand_side_by_side(opened):
    first, second, third = beside()
    tab = opened(first, second, third)
    tab.wait_for_selector("#sides .main-svg")
    drawn = tab.evaluate("[...document.querySelectorAll('#sides > *')].map((d) => [d.layout.title.text, d.data[0].z])")
    assert [name for name, _ in drawn] == [first.optimizer, "lion"]
    assert np.shape(drawn[0][1]) == (len(EPS), len(LR)) and np.shape(drawn[1][1]) == (1, len(LR))
    codes = pd.Categorical(second.regime, REGIMES).codes
    np.testing.assert_array_equal(np.floor(drawn[1][1])[0], codes)
    curves = tab.evaluate("document.getElementById('best-curves').data.map((t) => t.y)")
    np.testing.assert_allclose(10 ** np.array(curves[1], float), second.loss[:, best_run([second])[1]], rtol=2e-3)
    tab.click("#sides > :nth-child(2) .nsewdrag")
    tab.wait_for_function("document.getElementById('title').textContent.startsWith('lion')")
    assert tab.input_value("#launch") == "1"
    tab.select_option("#launch", "2")
    tab.wait_for_selector("#beside", state="hidden")


def test_the_page_says_what_was_found_and_how_it_was_run(opened):
    r = grid()
    tab = opened(r, about=[("command", "python -m adamx.sweep 'a<b>'")])
    assert tab.evaluate("[...document.querySelectorAll('#found li')].map((li) => li.textContent)") == findings(r)
    tab.click("summary")
    assert "python -m adamx.sweep 'a<b>'" in tab.inner_text("#about")
    assert list(MEANINGS) == list(REGIMES) and all(words in tab.inner_text("#meanings") for words in MEANINGS.values())


def test_the_tip_covers_no_other_panel_and_parallel_axes_stay_apart(opened):
    tab = opened(grid(beta1=[0, 0.9], beta2=[0.9, 0.99]), width=1400)
    box = tab.query_selector("#map .nsewdrag").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5)
    tab.wait_for_selector("#tip:not([hidden])")
    tip = tab.query_selector("#tip").bounding_box()
    assert tip["x"] + tip["width"] <= tab.query_selector("#curves").bounding_box()["x"]
    tab = opened(grid(beta1=[0, 0.9], beta2=[0.9, 0.99]), width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.query_selector("#parallel").bounding_box()["width"] >= 5 * 84


def test_every_axis_of_steps_has_its_last_tick(opened):
    r = grid()
    tab = opened(r)
    shown = tab.evaluate("""[...document.querySelectorAll('#fan > *')].map((d) => [...d.querySelectorAll('.xtick text')]
        .filter(({style}) => style.opacity !== '0' && style.display !== 'none').at(-1).textContent)""")
    assert set(shown) == {f"{r.steps[-1]:,}"}


# --- python -m adamx.report ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A recorded sweep: (folder, parent's id, results)."""
    folder = tmp_path_factory.mktemp("swept")
    results = [grid(seed=range(2)), replace(lost(), problem="./mine.py")]
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        sweep = parent.start(parent.open(), "adam on digits_mlp", {"steps": 400}, [])
        sweep.write(results, ["lr", "eps", "seed"], "top", 3)
        sweep.finish()
    return folder, sweep.run_id, results


@pytest.fixture
def inside(swept, monkeypatch):
    monkeypatch.chdir(swept[0])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return swept


@pytest.mark.parametrize("named", ["id", "last"])
def test_every_figure_is_drawn_again_from_the_tables(inside, named, tmp_path, capsys):
    _, run_id, results = inside
    assert command.main([run_id if named == "id" else "last", "--out", str(tmp_path / "again")]) == 0
    (tmp_path / "first").mkdir()
    run = mlflow.get_run(run_id)
    names = command.draw(results, tmp_path / "first", page.how_run(run.data.tags, run.info.start_time))
    assert len(names) == 5 and all(name in capsys.readouterr().out for name in names[:1])
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name


def test_figures_become_artifacts(inside):
    _, run_id, _ = inside
    assert command.main([run_id]) == 0
    artifacts = {file.path for file in readback.open().client.list_artifacts(run_id)}
    assert {"report.html", "table.parquet"} <= artifacts and sum(name.endswith(".png") for name in artifacts) == 4


@pytest.mark.parametrize("typed", ["nothing", "CHILD", "PARENT:0"])
def test_what_is_no_sweep_is_said_in_a_line(inside, typed, capsys):
    _, run_id, _ = inside
    store = readback.open()
    (child, *_) = store.client.search_runs([store.experiment.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    address = typed.replace("CHILD", child.info.run_id).replace("PARENT", run_id)
    assert command.main([address]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and (typed == "nothing" or run_id in said)


def test_last_of_an_empty_store_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    parent.open()
    assert command.main(["last"]) == 2
    assert "no sweep is recorded" in capsys.readouterr().err


# --- experiments/maps.py ---------------------------------------------------------------------------------------------

MAPS = Path(__file__).parents[2] / "experiments" / "maps.py"


def test_the_flagship_maps_are_as_theory_says():
    maps = runpy.run_path(str(MAPS))
    _, bowl, [(lr, border, _)] = maps["eps"](24)
    eps_star = np.interp(bowl.columns["lr"], lr, border)
    ratio = bowl.columns["eps"] / eps_star
    soon = bowl.columns["lr"] > 5e-3  # smaller ones have not had the time to come back
    assert (bowl.regime[soon & (ratio < 0.9)] == "spiking").all()
    assert (bowl.regime[soon & (ratio > 1.1)] == "converged").all()
    _, quartic, _ = maps["betas"](24)
    stable, clear = (
        quartic.columns["beta1"] < quartic.columns["beta2"],
        quartic.columns["beta1"] != quartic.columns["beta2"],
    )
    assert ((quartic.regime == "converged") == stable)[clear].all()


def test_a_flagship_map_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["maps.py", "eps", "--points", "12", "--out", str(tmp_path)])
    runpy.run_path(str(MAPS), run_name="__main__")
    width = int.from_bytes((tmp_path / "eps_map.png").read_bytes()[16:20], "big")
    assert width == 1610 and "144 runs of 20,000 steps" in capsys.readouterr().out


@pytest.mark.parametrize("count", [48, 49, 50, 97])
def test_evenly_spaced_values_leave_no_band_of_shares_empty(count):
    results = synthetic(product(lr=values("lr", f"log:1e-4:1:{count}"), eps=[1e-8, 1e-4]))
    meta, _ = content(results, loss_scale(results, results.loss))
    (lr, _) = meta["axes"]
    runs = np.sum(lr["shares"]["runs"], axis=0)
    assert len(runs) == len(lr["shares"]["edges"]) - 1 == 48 and runs.sum() == 2 * count
    assert (runs > 0).all()
