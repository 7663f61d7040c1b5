"""MLflow's own pages in a real browser: what a sweep left there can be found, read and compared."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from packaging.version import Version
from serving import serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome is installed")

SWEEP = (
    "problem=quadratic problem.curvature=1 problem.noise=1e-12 optimizer.lr=log:1e-3:1:4 optimizer.beta1=0.9,0.99 "
    "optimizer.eps=log:1e-9:1:4 steps=10000 record_every=100 dtype=float64"
)
EPS = ("1e-09", "1e-06", "0.001", "1")
RUNS = 32
PATIENCE = 30_000  # milliseconds for anything to appear
PANELS = """for (const [name, open] of [["fab.autoOpenedOnFirstLoad", true], ["panelOpen", false]])
    try { localStorage.setItem(`mlflow.assistant.${name}_v1`, open) } catch {}"""  # else a panel covers a third


class Site(NamedTuple):
    """A running UI on the store of one sweep."""

    address: str
    client: MlflowClient
    experiment: str
    parent: str

    def children(self, where: str = "") -> list:
        """The sweep's runs, the best first."""
        own = f"tags.mlflow.parentRunId = '{self.parent}'"
        return self.client.search_runs([self.experiment], f"{own} {where}", order_by=["metrics.final_loss ASC"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    env = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")}
    subprocess.run([sys.executable, "-m", "adamx.sweep", *SWEEP.split()], cwd=folder, env=env, check=True, timeout=120)
    with contextlib.chdir(folder):  # where a client makes its folder of artifacts
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        client.search_experiments()
    experiment = client.get_experiment_by_name("adamx").experiment_id
    (parent,) = client.search_runs([experiment], "metrics.runs > 0")
    with serving(folder) as address:
        yield Site(address, client, experiment, parent.info.run_id)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, site: Site):
    """A page without a history; at the end, no console errors but of requests to MLflow itself."""
    context = browser.new_context(viewport={"width": 1500, "height": 1000}, base_url=site.address)
    context.set_default_timeout(PATIENCE)
    playwright.expect.set_options(timeout=PATIENCE)
    context.add_init_script(PANELS)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(f"{said.text} {said.location}") if said.type == "error" else None)
    yield page
    context.close()
    assert not [error for error in errors if "/ajax-api/" not in error]


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """The folder of the screenshots."""
    folder = Path(os.environ.get("ADAMX_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_experiment_lists_the_sweep_and_its_runs(page, site: Site, shots: Path) -> None:
    page.goto(f"/#/experiments/{site.experiment}/runs?workflowType=machine_learning")
    playwright.expect(page.get_by_text("Sweeps by adamx")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="adam on quadratic")
    row.get_by_role("button").first.click()  # unfolds it
    names = page.get_by_role("link", name=re.compile("^lr="))
    playwright.expect(names.first).to_have_text("lr=0.001 beta1=0.9 eps=1e-09")
    shown = names.all_inner_texts()
    grid = [f"lr={lr} beta1={b} eps={e}" for lr in ("0.001", "0.01", "0.1", "1") for b in ("0.9", "0.99") for e in EPS]
    assert shown == grid[: len(shown)] and len(shown) > 10
    page.screenshot(path=shots / "experiment.png")


def test_a_search_in_the_page_finds_what_it_should(page, site: Site, shots: Path) -> None:
    query = "metrics.eps < 1e-6 and tags.regime = 'spiking'"
    found = {run.info.run_name for run in site.children(f"and {query}")}
    runs = site.children()
    assert found == {
        r.info.run_name for r in runs if r.data.metrics["eps"] < 1e-6 and r.data.tags["regime"] == "spiking"
    }
    assert 0 < len(found) < RUNS == len(runs)
    page.goto(f"/#/experiments/{site.experiment}/runs?workflowType=machine_learning")
    count = page.get_by_text("matching runs")
    playwright.expect(count).to_have_text(f"{RUNS + 1} matching runs")  # settled: a page that loads empties its box
    box = page.get_by_placeholder(re.compile("metrics.rmse"))
    box.fill(query)
    box.press("Enter")
    playwright.expect(count).to_have_text(f"{len(found) + 1} matching runs")  # MLflow counts their parent
    page.get_by_role("row").filter(has_text="adam on quadratic").get_by_role("button").first.click()
    playwright.expect(page.get_by_role("link", name=re.compile("^lr="))).to_have_count(len(found))
    assert set(page.get_by_role("link", name=re.compile("^lr=")).all_inner_texts()) == found
    page.screenshot(path=shots / "search.png")


def test_the_parent_says_what_it_is_and_links_to_its_runs(page, site: Site, shots: Path) -> None:
    page.goto(f"/#/experiments/{site.experiment}/runs/{site.parent}")
    playwright.expect(page.get_by_role("heading", name="adam on quadratic")).to_be_visible()
    playwright.expect(page.get_by_text("python -m adamx.sweep problem=quadratic").first).to_be_visible()
    page.screenshot(path=shots / "parent.png")
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Compare its runs").click()
    charts = popup.value
    playwright.expect(charts.get_by_text("matching runs")).to_have_text(f"{RUNS} matching runs")
    best = site.children()[0]
    playwright.expect(charts.get_by_role("link", name=re.compile("^lr=")).first).to_have_text(best.info.run_name)
    for title in ("log10_loss", "Parallel Coordinates", "log10_lr vs. log10_loss"):
        playwright.expect(charts.get_by_text(title, exact=True).first).to_be_visible()
    playwright.expect(charts.locator(".scatterlayer path.js-line").nth(2 * 20 - 1)).to_be_attached()  # 20 curves
    playwright.expect(charts.locator(".parcoords")).to_have_count(1)
    charts.screenshot(path=shots / "charts.png")


VIEWS = ("All sweeps", "Last sweep: curves", "Last sweep: by regime", "Last sweep: lr × eps")


@pytest.mark.skipif(
    Version(mlflow.__version__) < Version("3.15"), reason="the menu of views is not installed: MLflow 3.15 has it"
)
def test_the_menu_has_named_views(page, site: Site, shots: Path) -> None:
    page.goto(f"/#/experiments/{site.experiment}/runs?workflowType=machine_learning")
    for name in VIEWS:
        page.get_by_role("button", name=re.compile("^Views|^All sweeps|^Last sweep")).first.click()
        for other in VIEWS:
            playwright.expect(page.get_by_text(other, exact=True).first).to_be_visible()
        page.get_by_text(name, exact=True).last.click()
        count = 1 if name == VIEWS[0] else RUNS
        playwright.expect(page.get_by_text(re.compile("matching run"))).to_have_text(
            f"{count} matching run{'s'[: count - 1]}"
        )
        if name == "Last sweep: by regime":
            playwright.expect(page.get_by_text(re.compile("^(regime: )?spiking$")).first).to_be_visible()
        page.screenshot(path=shots / f"view {VIEWS.index(name)}.png")


def test_the_best_run_opens_on_its_loss(page, site: Site, shots: Path) -> None:
    best = site.client.get_run(site.parent).data.tags["best_run_id"]
    page.goto(f"/#/experiments/{site.experiment}/runs/{site.parent}")
    with page.expect_popup() as popup:
        page.get_by_role("link", name=re.compile("^lr=.*eps=")).first.click()
    curves = popup.value
    playwright.expect(curves.get_by_text(site.client.get_run(best).info.run_name).first).to_be_visible()
    playwright.expect(curves.locator(".scatterlayer path.js-line").first).to_be_attached()
    curves.screenshot(path=shots / "best.png")
    assert best in curves.url


@pytest.mark.parametrize("name", ["regime_map.png", "curves.png"])
def test_figures_render(page, site: Site, shots: Path, name: str) -> None:
    page.goto(f"/#/experiments/{site.experiment}/runs/{site.parent}/artifacts/{name}")
    image = page.locator("img[src^='blob:'], img[src*='get-artifact']").first
    playwright.expect(image).to_be_visible()
    page.wait_for_function("() => [...document.images].some(i => i.naturalWidth > 500)", timeout=PATIENCE)
    page.screenshot(path=shots / name)


def test_the_report_renders_and_its_slider_changes_the_map(page, site: Site, shots: Path) -> None:
    page.goto(f"/#/experiments/{site.experiment}/runs/{site.parent}/artifacts/report.html")
    report = page.frame_locator("iframe")
    marks, legend = report.locator("#map .heatmaplayer image"), report.locator("#legend")
    playwright.expect(marks).to_have_count(1)
    before, counts = marks.get_attribute("xlink:href"), legend.inner_text()
    assert f"{RUNS // 2} of {RUNS} runs" in counts
    page.screenshot(path=shots / "report.png")
    report.locator(".axis-slider").press("ArrowRight")
    playwright.expect(legend).not_to_have_text(counts)
    playwright.expect(marks).not_to_have_attribute("xlink:href", before)
    for chart in ("#curves", "#fan", "#shares", "#importance"):
        playwright.expect(report.locator(f"{chart} svg").first).to_be_attached()
    report.locator("#parallel").scroll_into_view_if_needed()
    page.screenshot(path=shots / "report_below.png")


def test_two_children_compare_with_overlaid_curves(page, site: Site, shots: Path) -> None:
    page.goto(f"/#/experiments/{site.experiment}/runs?workflowType=machine_learning&viewStateShareKey={site.parent}")
    playwright.expect(page.get_by_text("matching runs")).to_have_text(f"{RUNS} matching runs")
    page.screenshot(path=shots / "table.png")
    losses = [run.data.metrics["final_loss"] for run in site.children()]
    other = next(row for row, loss in enumerate(losses) if loss > 1.05 * losses[0])  # equal ones come in any order
    for row in (0, other):
        page.get_by_role("checkbox", name=re.compile("toggle row selection")).nth(row).check()
    page.get_by_role("button", name="Compare").click()
    playwright.expect(page.get_by_text("Comparing 2 Runs")).to_be_visible()
    page.screenshot(path=shots / "compare.png")
    compared = re.findall('(?:%22|")([0-9a-f]{32})', page.url)
    picked = [site.client.get_run(run_id) for run_id in compared]
    assert len(picked) == 2
    page.get_by_role("link", name="log10_loss").press("Enter")  # the page still moves: a click may miss
    for run in picked:
        playwright.expect(page.get_by_text(f"{run.info.run_name} (log10_loss)")).to_be_visible()
    lines = page.locator(".scatterlayer path.js-line")
    playwright.expect(lines.nth(1)).to_be_attached()
    assert len({line.get_attribute("d") for line in lines.all()}) == 2  # each is drawn twice, for its hover
    page.screenshot(path=shots / "overlay.png")
