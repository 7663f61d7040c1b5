"""The first things that a new user tries: one command, one function, and results that show themselves."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from synthetic import product, synthetic

import adamx
from adamx import __main__ as front
from adamx.inputs.errors import InputError

BOWL = {"curvature": 1, "noise": 1e-12, "target": 1e-12}
SMALL = {"problem": "quadratic", "problem_args": BOWL, "steps": 3000, "dtype": "float64"}


def python(code: str, cwd: Path | None = None) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_without_words_says_what_there_is(capsys):
    assert front.main([]) == front.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"adamx {name} " in out for name in front.COMMANDS)


def test_versions_are_those_of_adamx(capsys):
    assert front.main(["--version"]) == front.main(["sweep", "--version"]) == front.main(["why", "--version"]) == 0
    assert capsys.readouterr().out == f"adamx {adamx.__version__}\n" * 3


def test_a_command_that_there_is_not_is_one_line(capsys):
    assert front.main(["swep"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "'swep': did you mean 'sweep'?" in said


@pytest.mark.parametrize("name", sorted(set(front.COMMANDS) - {"sweep", "race"}))
def test_every_command_has_help(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(SystemExit) as left:
        front.main([name, "--help"])
    assert left.value.code == 0
    assert f"adamx.{name} [-h]" in capsys.readouterr().out


def test_commands_go_on_to_their_own_words(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    assert front.main(["problems", "beale"]) == 0
    assert "beale, a landscape" in capsys.readouterr().out
    assert front.main(["problems", "bale"]) == 2
    assert "did you mean 'beale'" in capsys.readouterr().err
    assert front.main(["problems"]) == 0
    assert "digits_mlp\ttask\thidden=[32] activation=relu norm=none batch=128" in capsys.readouterr().out


def test_help_starts_without_numba_and_mlflow():
    heavy = {"numba", "numpy", "mlflow", "hydra", "rich", "pandas"}
    code = f"import sys; from adamx.__main__ import main; main([]); print(sorted({heavy!r} & set(sys.modules)))"
    assert python(code).splitlines()[-1] == "[]"


def test_names_of_adamx_are_found_when_they_are_named():
    code = "import adamx; print(adamx.grid, adamx.problems.__name__, hasattr(adamx, 'nothing'), 'sweep' in dir(adamx))"
    assert "adamx.problems False True" in python(code)
    assert python("from adamx import *; print(simulate.__name__, callable(sweep))") == "simulate True\n"


# --- the function -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    ["import adamx", "import adamx.sweep.command", "from adamx.sweep import run", "from adamx import sweep"],
)
def test_sweep_is_a_function_and_a_package_in_every_order_of_import(order):
    code = f"""{order}
import copy, inspect, pickle, adamx, adamx.sweep.command, adamx.sweep as named
from adamx import sweep
assert sweep is named is adamx.sweep and callable(sweep) and callable(adamx.sweep.command.main)
assert pickle.loads(pickle.dumps(sweep)) is sweep is copy.deepcopy(sweep)
assert "optimizer" in inspect.signature(sweep).parameters and not hasattr(sweep, "nothing")
assert pickle.loads(pickle.dumps(adamx.sweep.command.main)) is adamx.sweep.command.main
"""
    python(code)


@pytest.fixture
def words(monkeypatch):
    """The overrides that a call comes to."""
    from adamx.sweep import python as called

    monkeypatch.setattr(called, "_perform", lambda overrides, progress, callback: overrides)
    return called.sweep


@pytest.mark.parametrize(
    ("given", "typed"),
    [
        ({"lr": 0.1}, "optimizer.lr=0.1"),
        ({"lr": "log:1e-4:1:9"}, "optimizer.lr=log:1e-4:1:9"),
        ({"eps": [0, "log:1e-12:1:7"]}, "optimizer.eps=0,log:1e-12:1:7"),
        ({"lr": np.array([0.1, 1 / 3])}, "optimizer.lr=0.1,0.3333333333333333"),
        ({"beta1": np.float32(0.5)}, "optimizer.beta1=0.5"),
        ({"bias_correction": [True, False]}, "optimizer.bias_correction=true,false"),
        ({"seed": range(3)}, "seed=range(0,3,1)"),
        ({"seed": (1, 2)}, "seed=1,2"),
        ({"problem_args": {"hidden": [64, 32]}}, "problem.hidden=[64,32]"),
        ({"problem_args": {"target_column": None}}, "problem.target_column=null"),
        ({"problem": "./my file.py"}, "problem='./my file.py'"),
        ({"optimizer": ["adam", "amsgrad"]}, "optimizer=adam,amsgrad"),
        ({"instruments": "grad_norm"}, "instruments=[grad_norm]"),
        ({"storage": {"state": "bfloat16"}}, "storage.state=bfloat16"),
        ({"regimes": {"spike_ratio": 100}}, "regimes.spike_ratio=100"),
        ({"dry_run": True}, "dry_run=true"),
    ],
)
def test_arguments_become_what_is_typed(words, given, typed):
    assert words(**given) == [typed]


def test_what_is_typed_goes_as_it_is(words):
    assert words("problem.batch=32,64", lr=0.1) == ["optimizer.lr=0.1", "problem.batch=32,64"]


def test_objects_and_empty_axes_are_said(words):
    with pytest.raises(InputError, match=r"adamx\.simulate runs objects"):
        words(problem=object())
    with pytest.raises(InputError, match="lr has no values"):
        words(lr=[])


def plan(typed):
    from adamx.inputs.files import only_typed
    from adamx.sweep.arguments import read
    from adamx.sweep.plan import planned

    with only_typed(typed), planned(read(typed)) as found:
        return found[0]


def test_a_plan_has_every_digit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lr = np.geomspace(1e-5, 1, 7) * np.pi
    typed = [
        "problem=beale",
        "problem.noise=1e-3",
        "optimizer.lr=" + ",".join(map(repr, lr.tolist())),
        "seed=range(0,2,1)",
        "dtype=float32",
    ]
    (launch,), overrides, resumed = plan(typed)
    assert overrides == typed and resumed is None
    assert np.array_equal(launch.hyper["lr"], np.tile(lr, 2)) and launch.seeds.tolist() == [0] * 7 + [1] * 7
    assert sum(map(len, plan([])[0])) == 567, "the default grid"
    with pytest.raises(InputError, match="did you mean 'beta1'"):
        plan(["optimizer.betta1=1"])
    with pytest.raises(InputError, match="did you mean 'adam'"):
        plan(["optimizer=adm"])


def test_quoted_paths_reach_their_files(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for name in ("./my file.py", "./it's (mine), too.py"):
        Path(name).write_text((Path(adamx.__file__).parent / "problems" / "beale.py").read_text())
        (launch,), *_ = plan(words(problem=name, lr=0.1))
        assert launch.problem.source.name == Path(name).name


def test_somebody_s_hydra_stays_as_it_was(tmp_path):
    code = """
from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from pathlib import Path
Path("own.yaml").write_text("a: 1")
with initialize_config_dir(str(Path.cwd()), version_base="1.2"):
    before, base = GlobalHydra.instance(), str(version.getbase())
    from adamx.sweep.arguments import read
    from adamx.sweep.plan import planned
    with planned(read(["problem=beale", "optimizer.lr=0.1"])) as (plan, _):
        assert len(plan.launches) == 1
    assert GlobalHydra.instance() is before and str(version.getbase()) == base == "1.2"
    assert compose("own").a == 1
with planned(read(["problem=beale", "optimizer.lr=0.1"])) as (plan, _):
    assert len(plan.launches) == 1
assert not GlobalHydra.instance().is_initialized()
"""
    python(code, tmp_path)


def test_the_type_of_floats_is_the_same_everywhere():
    conf = Path(__file__).parents[2] / "conf"
    typed = {yaml.safe_load((conf / f"{name}.yaml").read_text())["dtype"] for name in ("sweep", "race")}
    assert typed == {inspect.signature(adamx.simulate).parameters["dtype"].default}


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep in a folder of its own, and the chunks that its callback was given."""
    chunks: list[adamx.Results] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("front"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        sweep = adamx.sweep(
            **SMALL, lr="log:1e-2:1:5", eps=[1e-8, 0.1], seed=[0, 1], progress=False, callback=chunks.append
        )
        yield sweep, chunks


def test_a_sweep_comes_back_as_it_is_loaded_later(swept):
    sweep, chunks = swept
    assert sum(map(len, chunks)) == len(sweep) == 20
    assert set(sweep.results[0].regime) >= {"converged", "spiking"}
    for address in ("last", sweep.run_id):
        again = adamx.load(address)
        assert again.run_id == sweep.run_id and again.table.equals(sweep.table)
        assert np.array_equal(again.results[0].loss, sweep.results[0].loss)
    assert np.array_equal(sweep.results[0].loss, np.concatenate([c.loss for c in chunks], axis=1))
    one = adamx.load("last:3")
    assert len(one) == 1 and one.table.index.tolist() == [3]
    assert one.table["lr"].item() == sweep.table["lr"][3]
    command = sweep.recorded.parent.data.tags["command"]
    assert command.startswith("python -m adamx.sweep problem=quadratic steps=3000 'seed=0,1'") or "seed=0,1" in command
    with pytest.raises(InputError, match="no run 'nothing'"):
        adamx.load("nothing")


def test_ctrl_c_keeps_what_was_finished_and_resume_goes_on(here):
    def stop(chunk: adamx.Results) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="2 of 4 runs were finished"):
        adamx.sweep(problem="beale", lr=[0.1, 0.2], steps=[20, 40], progress=False, callback=stop)
    assert len(adamx.load()) == 2
    whole = adamx.sweep(resume="last", progress=False)
    assert whole is not None and len(whole) == 4 and adamx.load().run_id == whole.run_id
    assert [int(r.steps[-1]) for r in whole.results] == [20, 40]
    with pytest.raises(InputError, match=r"several parts.*\[1\] adam on beale"):
        whole.map()
    assert adamx.sweep(problem="beale", lr=[0.1, 0.2], steps=20, skip="recorded", progress=False) is None


def test_a_wrong_word_is_said_before_anything_is_done(here):
    with pytest.raises(InputError, match="open is 'maybe': true or false is needed"):
        adamx.sweep("open=maybe", problem="beale", progress=False)
    assert not list(here.iterdir())


def test_it_shows_itself(swept):
    sweep, _ = swept
    for each in (sweep, sweep.results[0]):
        lines = repr(each).splitlines()
        assert len(lines) <= 10 and max(map(len, lines)) <= 120
        counts = sweep.table["regime"].value_counts()
        assert {f"converged {counts['converged']}", f"spiking {counts['spiking']}"} <= {*map(str.strip, lines[1:3])} | {
            part.strip() for line in lines for part in line.split("  ")
        }
        html = each._repr_html_()
        assert f">spiking {counts['spiking']}<" in html and "data:image/png;base64,iVBOR" in html
    assert sweep.run_id in repr(sweep) and sweep.report in sweep._repr_html_()


def test_best_settings_are_those_of_the_table(swept):
    sweep, _ = swept
    best = sweep.best(3)
    medians = sweep.table.groupby(["lr", "eps"])["final_loss"].median().sort_values()
    assert best["final_loss"].tolist() == medians.head(3).tolist()
    assert list(best.columns) == ["lr", "eps", "final_loss", "regime", "runs"] and best["runs"].tolist() == [2, 2, 2]


def test_figures_are_returned_or_drawn_on_axes(swept):
    from matplotlib.figure import Figure

    sweep, _ = swept
    for figure in (sweep.map("lr", "eps"), sweep.map(), sweep.plot(), sweep.plot(by="eps")):
        assert isinstance(figure, Figure) and figure._repr_png_().startswith(b"\x89PNG")
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert sweep.map("lr", "eps", ax=left) is figure is sweep.plot(by="regime", ax=right)
    assert (
        left.get_xlabel().startswith("lr") and left.collections and len(right.lines) == len(set(sweep.table["regime"]))
    )
    (line,) = (line for line in sweep.plot(by="eps").axes[0].lines if line.get_label().startswith("1e-08"))
    runs = (sweep.table["eps"] == 1e-8).to_numpy()
    middle = np.quantile(sweep.results[0].loss[:, runs], 0.5, axis=1, method="nearest")
    assert np.array_equal(line.get_ydata(), middle)
    with pytest.raises(InputError, match="did you mean 'eps'"):
        sweep.plot(by="epss")
    with pytest.raises(InputError, match="lr"):
        sweep.map("lrr", "eps")


def test_several_parts_are_told_apart():
    results = [synthetic(product(lr=[1e-3, 1e-2]), optimizer=name) for name in ("adam", "amsgrad")]
    from adamx.analysis import shown
    from adamx.engine.settings import best

    empty = results[0].take(np.arange(0))
    assert repr(empty) == empty.title and empty._repr_html_() == ""
    assert set(best(results, 4)["optimizer"]) == {"adam", "amsgrad"}
    assert len(shown.text(results).splitlines()) <= 10 and shown.html(results).count("<img") == 2


def test_a_replay_and_a_reason(swept, capsys):
    sweep, _ = swept
    again = sweep.replay()
    assert again.same.all() and len(again.same) == 20
    assert repr(again).startswith("20 of 20 runs are bit-identical to the record")
    row = int(np.argmax(sweep.table["regime"] == "spiking"))
    cause = sweep.why(row, "eps")
    assert cause.run.regime[0] == "spiking" and cause.turning[0].tried.change.knob == "eps"
    assert "Raising eps" in repr(cause) and "data:image/png" in cause._repr_html_()
    with pytest.raises(InputError, match="a row from 0 to 19"):
        sweep.why(20)
    with pytest.raises(InputError, match="one of them is needed"):
        sweep.why()


def test_open_opens_the_last_report(swept, monkeypatch, capsys):
    import webbrowser

    from adamx import open as opening

    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert opening.main([]) == opening.main([swept[0].run_id]) == 0
    assert opened == [swept[0].report] * 2 and Path(opened[0].removeprefix("file://")).is_file()
    assert opening.main(["nothing"]) == 2


def test_last_is_a_sweep_wherever_a_run_is_named(swept, capsys, tmp_path):
    from adamx import replay
    from adamx.report import __main__ as report
    from adamx.why import __main__ as why

    assert replay.main(["last:3"]) == 0
    assert "the run is bit-identical" in capsys.readouterr().out
    assert report.main(["last", "--out", str(tmp_path)]) == 0
    assert why.main(["last:3", "eps", "--out", str(tmp_path / "why.png")]) == 0
    assert (tmp_path / "why.png").is_file() and (tmp_path / "report.html").is_file()


def test_a_sweep_nests_and_goes_where_mlflow_says(here):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{here}/elsewhere.db")
    mlflow.set_experiment("mine")
    with mlflow.start_run() as active:
        sweep = adamx.sweep(problem="beale", steps=20, lr=[0.1, 0.2], progress=False)
    parent = sweep.recorded.parent
    assert parent.data.tags["mlflow.parentRunId"] == active.info.run_id
    assert mlflow.get_experiment(parent.info.experiment_id).name == "mine"
    assert adamx.load("last").table.equals(sweep.table) and len(adamx.load(f"{sweep.run_id}:1")) == 1


# --- what the terminal says -------------------------------------------------------------------------------------------


def test_a_spike_to_explain_is_a_real_row():
    from adamx.sweep.run import spiked

    results = [
        synthetic(product(lr=[1e-3, 1e-2, 1.0], eps=[1e-8, 1e-2], seed=[0, 1]), optimizer=n) for n in ("adam", "lion")
    ]
    regimes = np.concatenate([r.regime for r in results])
    row = spiked(results)
    assert row is not None and regimes[row] == "spiking"
    best = np.concatenate([r.figures["best"] for r in results])
    assert best[row] == best[regimes == "spiking"].min()
    calm = [r.take(r.regime != "spiking") for r in results]
    assert spiked(calm) is None and spiked([]) is None


def test_the_end_of_a_sweep_says_where_it_is(swept, monkeypatch):
    from rich.console import Console

    from adamx.sweep import run

    sweep, _ = swept
    done = run.Done(sweep.recorded.store, sweep.run_id, sweep.results, 20, "all 20 runs are children")
    opened = []
    monkeypatch.setattr(run.webbrowser, "open", lambda address: opened.append(address) or True)
    out = io.StringIO()
    for line in run.addresses(done, browse=True):
        Console(file=out, width=40, force_terminal=True).print(line, soft_wrap=True)
    said = out.getvalue()
    assert opened == [sweep.report] and said.count(f"{sweep.report}\x1b\\") == 1, "a link"
    assert sweep.run_id in said and "mlflow ui" in said
    row = int(said.partition("adamx.why last:")[2].partition("\x1b")[0])
    assert sweep.table["regime"][row] == "spiking"
    quiet = run.Done(sweep.recorded.store, sweep.run_id, [], 20, "")
    assert not any("why" in line.plain for line in run.addresses(quiet)) and len(opened) == 1


def test_waiting_is_one_line_and_for_terminals(monkeypatch):
    from adamx.sweep import waiting

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, dumb in ((Terminal(), False), (Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
        waiting.say("importing")
        waiting.clear()
        seen = isinstance(out, Terminal) and not dumb
        assert out.getvalue() == ("\r\x1b[2Kimporting ...\r\x1b[2K" if seen else "")


def test_a_notebook_has_a_bar(monkeypatch):
    from rich.console import Console

    from adamx.sweep import notebook, progress

    shown = []

    class Handle:
        update = staticmethod(lambda html: shown.append(html._repr_html_()))

    class Work:
        steps = 10

        def __len__(self) -> int:
            return 12

        def __str__(self) -> str:
            return "adam on <mine>"

    module = type(sys)("IPython.display")
    module.display = lambda html, display_id: Handle()
    monkeypatch.setitem(sys.modules, "IPython", type(sys)("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(notebook, "SECONDS", 0.0)
    console = Console(file=io.StringIO(), force_jupyter=True)
    chunk = synthetic(product(lr=np.geomspace(1e-4, 1, 12)))
    with progress.SweepProgress([Work(), Work()], console) as each:
        each.launch(Work(), compiled=False)
        each.finished(chunk)
        each.launch(Work(), compiled=True)
    assert "adam on &lt;mine&gt;" in shown[0] and "compiling its kernel 1 of 2" in shown[0]
    assert 'value="12" max="24"' in shown[1] and "loading its kernel 2 of 2" in shown[2]
    assert shown[-1] == "" and console.file.getvalue() == ""


def test_the_doctor_helps_without_an_examination(monkeypatch, capsys):
    from adamx import doctor

    monkeypatch.setattr(doctor, "PARTS", (lambda: pytest.fail("it ran"),))
    with pytest.raises(SystemExit):
        doctor.main(["--help"])
    assert "usage" in capsys.readouterr().out
