"""Which single knob would have saved a run: what is tried, what counts as the smallest change, and what is said."""

import contextlib
import dataclasses

import numpy as np
import pytest
from rich.console import Console
from synthetic import product, synthetic

from adamx import replay
from adamx.analysis.theory import bounds, eps_threshold
from adamx.engine import simulate as engine
from adamx.engine.launch import Launch
from adamx.optimizers import optimizers, rule
from adamx.problems import problem
from adamx.record import parent as record
from adamx.record import readback, store
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
    start |= {name: np.zeros(1, int) for name in ("spikes", "overshoots", "best_step", "lost", "high", "rose")}
    start |= {name: np.full(1, -1) for name in ("first_spike_step", "reached_step", "diverged_step")}
    figures = {
        "converged": {"smooth": np.full(1, 1e-9), "reached_step": np.full(1, 1234)},
        "slow": {},
        "spiking": {"spikes": np.full(1, 3), "first_spike_step": np.full(1, 2345)},
        "oscillating": {"rose": np.full(1, 1)},
        "diverged": {"diverged_step": np.full(1, 345)},
    }[regime]
    made = synthetic(product(lr=[0.1]))
    made = dataclasses.replace(made, figures={**made.figures, **start, **figures})
    assert made.regime[0] == regime
    return made


def tries(letters, old=1.0, kind="factor", knob="lr"):
    """Changes of one knob, each by a factor of 1.5 or a step of 1, with the regimes of these first letters.

    A capital letter is one that has converged over the run's own steps, and is that at twice the steps.
    """
    regimes = {"c": "converged", "s": "spiking", "d": "diverged"}
    after = {**{c: (r,) for c, r in regimes.items()}, "c": ("converged",) * 3}
    after |= {c.upper(): ("converged", regime) for c, regime in regimes.items()}
    return [
        Tried(Change(knob, kind, old, old * 1.5**i if old else float(i)), in_regime(after[c][0]), after[c])
        for i, c in enumerate(letters, 1)
    ]


def values(*regimes):
    """Changes of lr from 1 to each value, with the regime it has over all lengths."""
    return [Tried(Change("lr", "factor", 1.0, new), in_regime(name), (name,) * 3) for new, name in regimes]


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


def test_theorys_bound_is_among_the_tries():
    """On both sides: just inside, where the minimum is kept, and 10 % outside."""

    def tried(base, problem="quadratic", settings=None):
        hyper = {name: float(v[0]) for name, v in base.hyper.items()}
        beside = bounds(base.rule.name, problem, settings or {"curvature": 1.0}, hyper)
        return {knob: {c.new for c in knobs.changes(base, "float64", beside) if c.knob == knob} for knob in beside}

    found = tried(launch(eps=1e-30, lr=0.1))
    assert {0.00266, 0.00239} <= found["eps"] and max(found["eps"]) == 1, (
        "28 decades up, where the value is so far away"
    )
    spiking_for_ever = 1 - 15.6 * 0.1**3.07
    assert any(0.97 < (1 - b) / (1 - spiking_for_ever) < 1.03 and b < spiking_for_ever for b in found["beta2"])
    found = tried(launch("sgd", lr=2.05))
    assert {1.98, 2.2} <= found["lr"]
    found = tried(launch(eps=0.0, beta1=0.95, beta2=0.93), "power", {"k": 4.0})
    assert {0.9293, 0.9364} <= found["beta1"], "stable for beta1 < beta2"


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
        turns = knobs.smallest([t for way in ways for t in way], lambda t: t.outcome == "converged")
        return [(round(t.tried.change.new, 2), t.alone) for t in turns]

    assert found(tries("ssccs")) == [(3.38, False)], "two neighbours are a range that a value may be taken from"
    assert found(tries("sscss")) == [(3.38, True)], "one value is isolated, and said to be"
    assert found(tries("scscscc")) == [(2.25, True), (11.39, False)], "the first isolated one, and the first that lasts"
    assert found(tries("sssc")) == [(5.06, False)], "the last has no next"
    assert found(tries("ssss")) == []
    assert found(tries("sSccs")) == [(3.38, False)] and found(tries("sSDSs")) == [], "a delay is none"
    assert found(tries("sscc"), tries("ccc", knob="eps", old=10.0)) == [(15, False), (3.38, False)], "smallest first"
    down = values((0.9, "spiking"), (0.85, "converged"), (0.7, "converged"), (0.6, "slow"), (0.5, "converged"))
    assert found(down) == [(0.85, False)], "downward from where the run is"
    assert found(tries("scss", kind="choice", knob="dtype")) == [(2.25, False)], "a choice stands alone"


def test_words():
    assert words(Change("eps", "factor", 1e-8, 2.4e-4)) == "raising eps 24,000x to 0.00024"
    assert words(Change("eps", "factor", 1e-30, 2.6e-3)) == "raising eps 2.6e+27x to 0.0026"
    assert words(Change("lr", "factor", 0.1, 0.042)) == "lowering lr 2.4x to 0.042"
    assert words(Change("lr", "factor", 0.00118, 0.0012)) == "raising lr 1.017x to 0.0012", "no factor is 1"
    assert words(Change("lr", "factor", 0.0205, 0.0196)) == "lowering lr 1.046x to 0.0196"
    assert words(Change("beta2", "rate", 0.99, 0.9987)) == "raising beta2 to 0.9987"
    assert words(Change("eps_root", "zero", 0.0, 1e-5)) == "raising eps_root to 1e-05"
    assert words(Change("lr_warmup", "steps", 0.0, 2048.0)) == "a warm-up of 2,048 steps"
    assert words(Change("bias_correction", "switch", 1.0, 0.0)) == "bias_correction=false"
    assert words(Change("dtype", "choice", "float32", "float64")) == "dtype=float64"
    assert Change("beta1", "rate", 0.9, 0.99).decades == pytest.approx(1)


@pytest.mark.parametrize("regime", ["converged", "slow", "spiking", "oscillating", "diverged"])
def test_sentences(regime):
    did = {"spiking": "spiked 3 times, first at step 2,345", "diverged": "not finite at step 345", "slow": "was slow"}
    after = tries("ccdd", old=2.0) if regime == "converged" else tries("sscc", old=2.0)
    after += tries("s", kind="choice", knob="optimizer") * (regime != "converged")
    cause = Cause(in_regime(regime), "theory: so it is", after, (regime,) * 3)
    said, theory = sentences(cause)
    assert theory == "theory: so it is" and did.get(regime, regime[:8]) in said
    if regime == "converged":
        assert said == (
            "It converged (under its target first at step 1,234). It does so at 2 and 4 times the steps too: nothing "
            "to explain. The smallest changes that spoil it: raising lr 3.4x to 6.75 (diverged)."
        )
    else:
        assert said.endswith(
            " Raising lr 3.4x to 6.75 would have saved it. Run at 2 and 4 times the steps each of these converges too. "
            "Nothing tried did for optimizer."
        )
    nothing = sentences(Cause(cause.run, None, tries("cc" if regime == "converged" else "ss"), (regime,) * 3))
    words = "No change tried spoils it." if regime == "converged" else "No change of a single knob that was tried would"
    assert len(nothing) == 1 and words in nothing[0]


def said_of(regimes, *after):
    return sentences(Cause(in_regime(regimes[0]), None, [t for way in after for t in way], regimes))[0]


def test_a_delay_is_no_cure():
    warm_up = tries("sDccs", old=0.0, kind="steps", knob="lr_warmup")
    assert "so would a warm-up of 3 steps" in said_of(("spiking",) * 3, tries("sscc"), warm_up)
    assert "(the warm-up at 8 and 16 times too)" in said_of(("spiking",) * 3, tries("sscc"), warm_up)
    assert said_of(("spiking",) * 3, tries("sscc"), tries("sDDs", old=0.0, kind="steps", knob="lr_warmup")).endswith(
        "too. Only a delay: a warm-up of 2 steps (diverged at 2 times the steps)."
    )
    only = said_of(("spiking",) * 3, tries("ssSS"))
    assert only.endswith(
        "tried would have saved it. Only a delay: raising lr 3.4x to 3.38 (spiking at 2 times the steps)."
    )


def test_an_isolated_value_is_called_isolated():
    assert "steps. Isolated" not in said_of(("spiking",) * 3, tries("sscc"))
    assert "Isolated, with neighbours that do not: raising lr 2.2x to 2.25 would have saved it. Run at" in said_of(
        ("spiking",) * 3, tries("scss")
    )
    assert "Isolated, with neighbours that do not: raising lr 2.2x to 2.25 did too." in said_of(
        ("spiking",) * 3, tries("scscc")
    )
    assert "raising lr 2.2x to 2.25 (diverged, isolated)" in said_of(("converged",) * 3, tries("cdcc"))


def test_what_more_steps_do_is_said():
    assert "It was slow: its loss ended at" in said_of(("slow", "converged", "converged"), tries("ss"))
    assert "; at 2 times the steps converged, at 4 times the steps converged." in said_of(
        ("slow", "converged", "converged"), tries("ss")
    )
    popped = said_of(("converged", "converged", "spiking"), tries("sscc"))
    assert popped.startswith(
        "It converged (under its target first at step 1,234); at 2 times the steps converged, at 4 "
    )
    assert "Raising lr 3.4x to 3.38 would have saved it." in popped, "what pops later is not left unexplained"
    slow = [dataclasses.replace(t, regimes=("slow", "converged", "converged")) for t in tries("dd")]
    assert "(slow, converged at 2 times the steps)" in said_of(("converged",) * 3, slow)


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
    (turn,) = cause.turning
    saved = turn.tried
    assert (saved.change.knob, saved.regimes, turn.alone) == ("eps", ("converged",) * 3, False)
    assert 1 <= saved.change.new / eps_threshold(0.1, 0.9, 1.0) <= 1.02, "beside theory's bound"
    assert not replay.identical(found, [saved.run]).any() and replay.identical(found, [cause.run]).all()

    assert why.main([spiking, "eps", "bias_correction"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "It spiked" in said and "Raising eps 270,000x to 0.00266 would have saved it." in said
    assert (
        "each of these converges too" in said
        and "Nothing tried did for bias_correction." in said
        and "theory: " in said
        and "0.00263" in said
    )
    client = store.open().client
    assert [f.path for f in client.list_artifacts(spiking)] == ["why.png"]
    assert "eps 270,000x" in client.get_run(spiking).data.tags["why"]


def test_a_converged_row_and_a_figure_elsewhere(there, capsys, tmp_path):
    parent, _ = there
    assert why.main([f"{parent}:1", "eps", "--out", str(tmp_path / "mine.png")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "nothing to explain. The smallest changes that spoil it: lowering eps 4.2x to 0.0024 (spiking" in said
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
        Tried(Change("dtype", "choice", "float32", name), in_regime("slow"), ("slow",))
        for name in ("float64", "bfloat16")
    ]
    cause = Cause(in_regime("spiking"), None, after, ("spiking",) * 3)
    drawn = figure(cause)
    top, *strips = drawn.axes
    assert [line.get_label() for line in top.get_lines()] == [
        "the run: spiking",
        "raising lr 3.4x to 6.75",
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
    assert [*rows.columns[2].cells] == ["3 to 10.1", "1 to 3", "true", "float64, bfloat16"]
    assert [*rows.columns[3].cells] == ["raising lr 3.4x to 6.75", "raising eps_root to 2", "-", "-"]
