"""Which single knob would have saved a run: what is tried, what counts as the smallest change, and what is said."""

import contextlib
import dataclasses

import numpy as np
import pytest
from rich.console import Console
from synthetic import product, synthetic

from adamx import replay
from adamx.analysis.theory import eps_threshold
from adamx.engine import simulate as engine
from adamx.engine.launch import Launch
from adamx.optimizers import optimizers, rule
from adamx.problems import problem
from adamx.record import parent as record
from adamx.record import readback, store
from adamx.regimes import REGIMES
from adamx.why import __main__ as why
from adamx.why import explain, knobs
from adamx.why.cause import Cause, figure, sentences, table, words
from adamx.why.knobs import Change, Tried


def launch(optimizer="adam", **hyper):
    _, hyper, seeds = engine.columns(optimizer, hyper, 7)
    settings = {"curvature": 1.0, "noise": 1e-12}
    its_problem = problem("quadratic", settings)
    return Launch(
        rule(optimizer), its_problem, settings, hyper, seeds, 20000, 200, "float64", "cpu", "constant", {}, (), {}
    )


def in_regime(regime):
    """A made-up run of that regime."""
    start = {"start": np.ones(1), "best": np.ones(1), "smooth": np.ones(1), "popped": np.zeros(1, int)}
    start |= {name: np.zeros(1, int) for name in ("spikes", "overshoots", "best_step")}
    start |= {name: np.full(1, -1) for name in ("first_spike_step", "reached_step", "diverged_step")}
    figures = {
        "converged": {"smooth": np.full(1, 1e-9), "reached_step": np.full(1, 1234)},
        "slow": {},
        "spiking": {"spikes": np.full(1, 3), "first_spike_step": np.full(1, 2345)},
        "oscillating": {"best": np.full(1, 0.1)},
        "diverged": {"diverged_step": np.full(1, 345)},
    }[regime]
    made = synthetic(product(lr=[0.1]))
    made = dataclasses.replace(made, figures={**made.figures, **start, **figures})
    assert made.regime[0] == regime
    return made


def tries(letters, old=1.0, kind="factor", knob="lr"):
    """Changes of one knob to 2, 3, ... with the regimes of these first letters."""
    regimes = {name[0]: name for name in REGIMES}
    return [Tried(Change(knob, kind, old, old + i), in_regime(regimes[c])) for i, c in enumerate(letters, 1)]


@pytest.mark.parametrize("name", optimizers())
def test_changes_of_every_rule(name):
    base = launch(name)
    changes = list(knobs.changes(base, "float64"))
    numbers = [c for c in changes if c.kind != "choice"]
    (together, *others) = knobs.launches(base, changes)
    engine.columns(name, {**together.hyper, "seed": together.seeds})  # all in their ranges
    assert {c.knob for c in changes} >= {*rule(name).Hyper._fields, "lr_warmup", "dtype"}
    assert len(together) == 1 + len(numbers) and set(together.seeds) == {7}
    for row, change in enumerate([None, *numbers]):
        differ = [k for k, v in together.hyper.items() if v[row] != base.hyper[k][0]]
        assert differ == ([change.knob] if change else [])
        assert change is None or together.hyper[change.knob][row] == change.new != change.old
    assert len({(c.knob, c.new) for c in changes}) == len(changes)
    assert len(others) == len(changes) - len(numbers)


def test_choices_are_kernels():
    changes = [c for c in knobs.changes(launch(), "float64") if c.kind == "choice"]
    _, *others = knobs.launches(launch(), changes)
    assert [(x.optimizer, x.dtype, x.storage) for x in others] == [
        ("adam", "float32", {}),
        ("adam", "bfloat16", {}),
        ("adam", "float16", {}),
        ("amsgrad", "float64", {}),
    ]
    mixed = dataclasses.replace(launch(), dtype="float32", storage={"state": "bfloat16"})
    names = [c.new for c in knobs.changes(mixed, "float32 state=bfloat16") if c.knob == "dtype"]
    assert names == list(engine.DTYPES)


def test_scales():
    made = {}
    for change in knobs.changes(launch(beta2=0.9995, eps=1e-8), "float64"):
        made.setdefault(change.knob, []).append(change)
    assert {c.kind for c in made["beta2"]} == {"rate"} and {c.kind for c in made["eps_root"]} == {"zero"}
    assert min(c.new for c in made["beta2"]) == 0 and max(c.new for c in made["beta2"]) == 1 - 1.2e-6
    assert max(c.new for c in made["eps"]) == 1 and min(c.new for c in made["eps"]) == 1e-16
    ratios = np.diff(np.log10(sorted(c.new for c in made["eps"])))
    assert ratios.max() < 0.26 and np.median(ratios) == pytest.approx(1 / 8, abs=0.02)
    assert [c.new for c in made["bias_correction"]] == [0.0]
    assert [c.new for c in made["lr_warmup"]] == [2.0**k for k in range(1, 14)]


def test_smallest():
    def found(*ways):
        return [t.change.new for t in knobs.smallest([t for way in ways for t in way], lambda r: r == "converged")]

    assert found(tries("ssccccs")) == [4]
    assert found(tries("sccscccs")) == [6], "an island is no advice"
    assert found(tries("sssc")) == found(tries("ssscc")) == [5], "the last have no next"
    assert found(tries("ssss")) == []
    assert found(tries("sscc"), tries("ccc", knob="eps", old=10.0)) == [11, 4], "the smallest factor first"
    down = [
        Tried(Change("lr", "factor", 9.0, new), t.run) for new, t in zip((1, 2, 3, 4, 5), tries("ccccs"), strict=True)
    ]
    assert found(down) == [4], "downward from where the run is"
    assert found(tries("scss", kind="choice", knob="dtype")) == [3], "a choice stands alone"


def test_words():
    assert words(Change("eps", "factor", 1e-8, 2.4e-4)) == "raising eps 24,000x to 0.00024"
    assert words(Change("lr", "factor", 0.1, 0.042)) == "lowering lr 2.4x to 0.042"
    assert words(Change("beta2", "rate", 0.99, 0.9987)) == "raising beta2 to 0.9987"
    assert words(Change("eps_root", "zero", 0.0, 1e-5)) == "raising eps_root to 1e-05"
    assert words(Change("lr_warmup", "steps", 0.0, 2048.0)) == "a warm-up of 2,048 steps"
    assert words(Change("bias_correction", "switch", 1.0, 0.0)) == "bias_correction=false"
    assert words(Change("dtype", "choice", "float32", "float64")) == "dtype=float64"
    assert Change("beta1", "rate", 0.9, 0.99).decades == pytest.approx(1)


@pytest.mark.parametrize("regime", REGIMES)
def test_sentences(regime):
    after = tries("sscc", old=2.0) + tries("s", kind="choice", knob="optimizer")
    if regime == "converged":
        after = tries("ccdd", old=2.0)
    cause = Cause(in_regime(regime), "theory: so it is", after)
    said, theory = sentences(cause)
    assert theory == "theory: so it is"
    if regime == "converged":
        assert said.startswith("It converged (under its target first at step 1,234): nothing to explain.")
        assert said.endswith("that spoil it: raising lr 2.5x to 5 (diverged).")
    else:
        assert said.endswith("Raising lr 2.5x to 5 would have saved it. Nothing did for optimizer.")
    did = {"spiking": "spiked 3 times, first at step 2,345", "diverged": "not finite at step 345", "slow": "was slow"}
    assert did.get(regime, regime[:8]) in said
    nothing = sentences(Cause(cause.run, None, tries("ss")))
    assert len(nothing) == 1 and ("No change of a single knob" in nothing[0]) == (regime != "converged")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two recorded runs of Adam on x^2 / 2, one that spikes and one that does not: (folder, parent, children)."""
    folder = tmp_path_factory.mktemp("why")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        results = replay.run([launch(lr=0.1, eps=[1e-8, 1e-2])], Console(quiet=True))
        assert results[0].regime.tolist() == ["spiking", "converged"]
        opened = store.open()
        made = record.start(opened, "test", {}, [])
        made.write(results, ["eps"])
        made.finish()
        found = opened.client.search_runs(
            [opened.experiment.experiment_id], f"tags.mlflow.parentRunId = '{made.run_id}'", order_by=["metrics.eps"]
        )
    return folder, made.run_id, [run.info.run_id for run in found]


@pytest.fixture
def there(sweep, monkeypatch):
    monkeypatch.chdir(sweep[0])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return sweep[1:]


def test_a_spiking_run(there, capsys):
    """The eps that saves it is theory's, to the resolution of the values tried."""
    _, (spiking, _) = there
    found = readback.read(spiking)
    cause = explain.explain(found, ["eps", "bias_correction"], Console(quiet=True))
    (saved,) = cause.turning
    assert saved.change.knob == "eps" and saved.run.regime[0] == "converged"
    assert 1 <= saved.change.new / eps_threshold(0.1, 0.9, 1.0) <= 10 ** (1 / knobs.A_DECADE) * 1.05
    assert not replay.identical(found, [saved.run]).any() and replay.identical(found, [cause.run]).all()

    assert why.main([spiking, "eps", "bias_correction"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "It spiked" in said and "Raising eps 320,000x to 0.0032 would have saved it." in said
    assert "Nothing did for bias_correction." in said and "theory: " in said and "0.00263" in said
    client = store.open().client
    assert [f.path for f in client.list_artifacts(spiking)] == ["why.png"]
    assert "eps 320,000x" in client.get_run(spiking).data.tags["why"]


def test_a_converged_row_and_a_figure_elsewhere(there, capsys, tmp_path):
    parent, _ = there
    assert why.main([f"{parent}:1", "eps", "--out", str(tmp_path / "mine.png")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "nothing to explain. The smallest changes that spoil it: lowering eps 4.2x to 0.0024 (spiking)" in said
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")
    assert "why_1.png" not in [f.path for f in store.open().client.list_artifacts(parent)]
    assert why.main([f"{parent}:1", "eps"]) == 0
    assert "why_1.png" in [f.path for f in store.open().client.list_artifacts(parent)]


def test_mistakes_are_said_in_one_line(there, capsys):
    parent, (spiking, _) = there
    mistakes = (
        ([spiking, "esp"], "did you mean 'eps'"),
        ([parent], f"such as {parent}:0"),
        (["no"], "no run"),
        ([spiking, "--out", "nowhere/mine.png"], "a folder that exists"),
    )
    for typed, said in mistakes:
        assert why.main(typed) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_the_figure_has_a_strip_for_every_knob():
    after = tries("sscc", old=2.0) + tries("scc", old=0.0, kind="zero", knob="eps_root")
    after += tries("s", kind="switch", knob="bias_correction") + [
        Tried(Change("dtype", "choice", "float32", name), in_regime("slow")) for name in ("float64", "bfloat16")
    ]
    cause = Cause(in_regime("spiking"), None, after)
    drawn = figure(cause)
    top, *strips = drawn.axes
    assert [line.get_label() for line in top.get_lines()] == [
        "the run: spiking",
        "raising lr 2.5x to 5",
        "raising eps_root to 2",
    ]
    assert [axes.get_ylabel().split()[0] for axes in strips] == ["lr", "eps_root", "other"]
    assert [label.get_text() for label in strips[2].get_xticklabels()] == [
        "bias_correction=true",
        "float64",
        "bfloat16",
    ]
    rows = table(cause)
    assert [*rows.columns[0].cells] == ["lr", "eps_root", "bias_correction", "dtype"]
    assert [*rows.columns[2].cells] == ["3 to 6", "1 to 3", "true", "float64, bfloat16"]
    assert [*rows.columns[3].cells] == ["raising lr 2.5x to 5", "raising eps_root to 2", "-", "-"]
