"""The command line: which launches it expands to, what it says about mistakes, and how a sweep ends."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from synthetic import synthetic

from adamx.engine import simulate as engine
from adamx.engine.launch import swept
from adamx.optimizers import optimizers, rule
from adamx.problems import problem, settings
from adamx.schedules import Schedule
from adamx.sweep import command as sweep
from adamx.sweep import compose
from adamx.sweep import run as running
from adamx.sweep.sources import plain

MINE = """
from typing import NamedTuple
from adamx.portable import portable

class Params(NamedTuple):
    a: float = 1.0

start = (1.0,)

@portable
def value_and_grad(x, p):
    return p.a * x[0] * x[0], (2 * p.a * x[0],)
"""


def columns(launch, *names):
    return np.column_stack([{**launch.hyper, "seed": launch.seeds}[name] for name in names]).tolist()


def test_bare_command_runs_the_default_grid(expand, type_):
    (bare,) = expand()
    assert (bare.optimizer, bare.problem.name) == ("adam", "digits_mlp")
    assert len(bare) >= 500
    assert swept([bare]) == ["lr", "beta1", "beta2", "eps"]
    assert bare.config["optimizer"]["lr"].startswith("log:")
    shorter, double = expand("steps=7", "seed=3", "dtype=float32,float64")
    assert len(shorter) == len(double) == len(bare)
    assert shorter.steps == 7
    assert set(shorter.seeds) == {3}


@pytest.mark.parametrize("typed", ["problem=beale", "optimizer=adam", "optimizer.lr=0.1", "problem.batch=8"])
def test_naming_a_part_leaves_the_default_grid_out(expand, typed):
    (launch,) = expand(typed)
    assert len(launch) == 1


def test_an_axis_of_seeds_is_an_axis(expand):
    assert [len(x) for x in expand("seed=0,1,2")] == [3]
    assert [len(x) for x in expand("seed=[0,1,2]")] == [3]
    assert [len(x) for x in expand("seed=lin:0:2:3")] == [3]


def test_single_run_has_the_defaults_of_the_rule(expand):
    (launch,) = expand("problem=rosenbrock")
    assert {name: column.tolist() for name, column in launch.hyper.items()} == {
        name: [default] for name, default in {**rule("adam").defaults, **Schedule._field_defaults}.items()
    }
    assert (launch.seeds.tolist(), launch.problem.name, launch.backend) == ([0], "rosenbrock", "cpu")


def test_axes_cross_with_the_last_fastest_and_seeds_slowest(expand):
    (launch,) = expand(
        *(
            "problem=beale",
            "problem.noise=1e-3",
            "optimizer.eps=0,log:1e-8:1:2",
            "seed=range(5,7)",
            "optimizer.lr=0.1,0.2",
        )
    )
    grid = [[lr, eps] for lr in (0.1, 0.2) for eps in (0, 1e-8, 1)]
    assert columns(launch, "seed", "lr", "eps") == [[seed, *point] for seed in (5, 6) for point in grid]
    assert launch.seeds.dtype == np.int64
    assert launch.config["seed"] == "range(5,7)"


@pytest.mark.parametrize(
    ("typed", "once"),
    [
        (["problem=beale"], True),
        (["problem=beale", "problem.noise=1e-3"], False),
        (["problem=beale", "dtype=float32", "storage.state=bfloat16"], True),
        (["problem=beale", "dtype=float32", "storage.state=bfloat16", "storage.rounding=stochastic"], False),
        (["problem=beale", "optimizer.eps=${seed}"], False),
        (["problem=moons_logistic"], True),
        (["problem=moons_logistic", "problem.batch=32"], False),
        (["problem=moons_logistic", "problem.hidden=[4]"], False),
    ],
)
def test_seeds_that_draw_nothing_run_once(expand, typed, once):
    """And where they are run, two of them do differ."""
    (launch,) = expand(*typed, "seed=3,4", "optimizer.lr=0.1", "steps=3")
    assert launch.seeds.tolist() == ([3] if once else [3, 4]) and launch.config["seed"] == (3 if once else "3,4")
    kept = dataclasses.replace(
        launch, hyper={k: np.repeat(v[:1], 2) for k, v in launch.hyper.items()}, seeds=np.array([3, 4])
    )
    losses = np.concatenate([r.loss for r in kept.stream()], axis=1)
    if typed[-1] != "optimizer.eps=${seed}":
        assert (losses[:, 0] == losses[:, 1]).all() == once


def test_hydras_own_sweeps(expand):
    (launch,) = expand(
        "optimizer.beta1=choice(0.5,0.9)", "optimizer.eps=range(1,4)", "optimizer.bias_correction=true,false"
    )
    assert len(launch) == 12
    assert sorted(set(launch.hyper["eps"])) == [1, 2, 3]
    assert sorted(set(launch.hyper["bias_correction"])) == [0, 1]


def test_the_last_override_of_a_key_counts(expand):
    (launch,) = expand("optimizer.lr=0.1,0.2", "optimizer.lr=0.3", "problem=beale,rosenbrock", "problem=beale")
    assert launch.hyper["lr"].tolist() == [0.3]
    assert launch.problem.name == "beale"
    (launch,) = expand("optimizer.lr=0.3", "optimizer.lr=0.1,0.2")
    assert launch.hyper["lr"].tolist() == [0.1, 0.2]


def test_choices_of_kernel_are_launches(expand):
    launches = expand("optimizer=adam,amsgrad", "problem=beale,rosenbrock,beale", "dtype=float32,float64", "steps=5,9")
    assert [(x.optimizer, x.problem.name, x.dtype, x.steps) for x in launches] == [
        (optimizer, problem, dtype, steps)
        for optimizer in ("adam", "amsgrad")
        for problem in ("beale", "rosenbrock")
        for dtype in ("float32", "float64")
        for steps in (5, 9)
    ]
    assert swept(launches) == ["optimizer", "problem", "dtype"]


def test_storage_in_16_bits_is_a_choice_of_kernel(expand):
    launches = expand("problem=beale", "dtype=float32", "storage.state=null,bfloat16", "optimizer.lr=0.1,0.2")
    assert [x.storage["state"] for x in launches] == [None, "bfloat16"]
    assert swept(launches) == ["dtype", "lr"]


def test_settings_of_the_problem_are_launches(expand):
    launches = expand("problem.batch=32,64", "problem.hidden=[16,16]", "optimizer.lr=log:1e-3:1:4")
    assert [(x.problem_args["hidden"], x.problem_args["batch"]) for x in launches] == [([16, 16], 32), ([16, 16], 64)]
    assert [len(x) for x in launches] == [4, 4]
    assert swept(launches) == ["batch", "lr"]


def test_a_rule_without_a_field_runs_once_for_its_values_and_that_is_said(type_, monkeypatch):
    seen = []
    monkeypatch.setattr(running, "run", lambda launches, *_: seen.extend(launches))
    both = ("optimizer.eps=1e-8,1e-4", "optimizer.beta1=0.5", "optimizer.lr=0.1,0.2", "problem=beale")
    code, out, error = type_("optimizer=adam,sgd", *both)
    said = "sgd has no eps and no beta1: it runs once for all values of optimizer.eps and optimizer.beta1\n"
    assert (code, out, error) == (0, said, "")
    adam, sgd = seen
    assert columns(adam, "lr", "eps", "beta1") == [[lr, eps, 0.5] for lr in (0.1, 0.2) for eps in (1e-8, 1e-4)]
    assert columns(sgd, "lr") == [[0.1], [0.2]]
    assert sgd.config["optimizer"] == {"name": "sgd", "lr": "0.1,0.2"}
    seen.clear()
    assert type_("optimizer=adam,sgd", "optimizer.eps=interval(0,1)", "samples=4", "problem=beale")[0] == 0
    assert [len(launch) for launch in seen] == [4, 1]


def test_a_setting_of_one_optimizer(expand, tmp_path):
    adam, sgd = expand("optimizer=adam,sgd", "adam.eps=1e-8,1e-4", "sgd.lr=0.3", "problem=beale")
    assert columns(adam, "lr", "eps") == [[0.001, 1e-8], [0.001, 1e-4]]
    assert columns(sgd, "lr") == [[0.3]]
    (alone,) = expand("adam.eps=1e-8,1e-4")
    assert (len(alone), alone.problem.name) == (2, "digits_mlp")
    typed = ("optimizer=adam,sgd", "adam.lr=0.1", "optimizer.lr=0.2", "sgd.lr=0.3")
    assert [columns(each, "lr") for each in expand(*typed)] == [[[0.2]], [[0.3]]], "the last that is typed counts"


def test_whole_numbers_may_be_written_as_floats(expand):
    (launch,) = expand("steps=1e2", "record_every=1e1", "problem.batch=3.2e1", "problem.hidden=[8.0]", "seed=1e0,2")
    assert (launch.steps, launch.record_every, launch.problem.batch) == (100, 10, 32)
    assert launch.problem.model.widths[1] == 8 and launch.seeds.tolist() == [1, 2]
    assert [type(launch.config[key]) for key in ("steps", "record_every")] == [int, int]
    (same,) = expand("steps=100", "record_every=10", "problem.batch=32", "problem.hidden=[8]", "seed=1,2")
    assert (launch.problem.digest, launch.steps) == (same.problem.digest, same.steps)


def test_a_space_between_values_is_said(type_):
    code, _, error = type_("optimizer.eps=1e-8 1e-6")
    assert code == 2 and error.endswith("is needed; several values have commas between them\n")


def test_options_may_stand_anywhere(expand):
    assert [x.steps for x in expand("problem=beale", "--multirun", "steps=3")] == [3]
    assert [x.steps for x in expand("problem=beale", "-m", "steps=3", "seed=0")] == [3]


def test_an_axis_that_the_default_optimizer_lacks(expand):
    launches = expand("optimizer=momentum,nesterov", "optimizer.momentum=0.5,0.9")
    assert [x.hyper["momentum"].tolist() for x in launches] == [[0.5, 0.9]] * 2


def test_intervals_are_sampled_and_cross_with_axes_and_seeds(expand):
    typed = ("optimizer.lr=tag(log,interval(1e-4,1))", "optimizer.beta1=interval(0.5,0.9)", "samples=8")
    (launch,) = expand(*typed, "seed=1,2", "optimizer.eps=0,1")
    points = columns(launch, "lr", "beta1")
    assert len(launch) == 32
    assert points[:16] == points[16:], "every seed has the same points"
    assert points[0:16:2] == points[1:16:2], "so has every point of the grid"
    assert len({tuple(p) for p in points}) == 8
    assert (launch.hyper["lr"] >= 1e-4).all()
    assert (launch.hyper["beta1"] <= 0.9).all()
    (random,) = expand(*typed, "sampler=random")
    assert columns(random, "lr") != points[:16:2]


def test_an_axis_without_a_number_of_points_is_an_interval(expand):
    typed = expand("optimizer.lr=log:1e-4:1", "optimizer.beta2=1-log:1e-4:0.1", "samples=8")
    tagged = expand(
        "optimizer.lr=tag(log,interval(1e-4,1))", "optimizer.beta2=tag(1-log,interval(1e-4,0.1))", "samples=8"
    )
    assert columns(typed[0], "lr", "beta2") == columns(tagged[0], "lr", "beta2")


def test_a_preset_is_a_sweep_of_its_own(expand):
    (wide,) = expand("preset=wide_grid")
    assert (len(wide), wide.problem.name, swept([wide])) == (4096, "digits_mlp", ["lr", "beta1", "beta2", "eps"])
    assert ((wide.hyper["beta2"] >= 0) & (wide.hyper["beta2"] <= 1 - 1e-6)).all()
    (fixed,) = expand("preset=wide_grid", "problem=beale", "optimizer.eps=1e-8,1e-4", "samples=16")
    assert (len(fixed), fixed.problem.name, set(fixed.hyper["eps"])) == (32, "beale", {1e-8, 1e-4})


def test_thresholds_of_the_regimes_are_configuration(expand):
    (launch,) = expand("problem=beale", "regimes.spike_ratio=100", "regimes.blowup=3")
    criteria, usual = launch.problem.criteria, problem("beale").criteria
    assert (criteria.spike_ratio, criteria.blowup) == (100, 3)
    assert criteria._replace(spike_ratio=usual.spike_ratio, blowup=usual.blowup) == usual
    (task,) = expand("regimes.keep=0.5")
    assert task.problem.criteria == problem("digits_mlp").criteria._replace(keep=0.5)


def test_axes_may_stand_in_a_config_file(expand, tmp_path):
    (tmp_path / "conf/optimizer").mkdir(parents=True)
    (tmp_path / "conf/optimizer/mine.yaml").write_text("name: adam\nlr: log:1e-3:1:4\nbeta1: [0.5, 0.9]\n")
    (launch,) = expand("--config-dir", "conf", "optimizer=mine")
    assert len(launch) == 8
    assert launch.hyper["lr"][-1] == 1


@pytest.mark.parametrize("path", ["mine.py", "./mine.py", "{here}/mine.py"])
def test_a_file_is_an_option(expand, tmp_path, path):
    path = path.format(here=tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    launches = expand(f"problem={path},beale", "problem.noise=0.5")
    assert [(x.problem.name, x.problem_args["noise"]) for x in launches] == [("mine", 0.5), ("beale", 0.5)]


def test_single_mode_of_hydra(expand):
    (launch,) = expand("hydra.mode=RUN", "problem=beale", "optimizer.lr=log:1e-3:1:4")
    assert len(launch) == 4


@pytest.mark.parametrize("name", optimizers())
def test_an_optimizers_settings_are_those_of_its_file(name, expand):
    (launch,) = expand(f"optimizer={name}", "problem=beale")
    assert {k: v for k, v in launch.hyper.items() if k in rule(name).defaults} == rule(name).defaults


def test_a_problems_yaml_has_the_defaults_of_its_file():
    for path in (sweep.CONF / "problem").glob("*.yaml"):
        assert yaml.safe_load(path.read_text()) == {"name": path.stem, **plain(settings(path.stem))}


def test_a_folder_of_ones_own_does_not_take_a_shipped_name(expand, tmp_path):
    (tmp_path / "conf/optimizer").mkdir(parents=True)
    (tmp_path / "conf/optimizer/adam.yaml").write_text("name: adam\nlr: 5\n")
    (tmp_path / "conf/optimizer/mine.yaml").write_text("defaults: [adam, _self_]\nlr: 5\n")
    launches = expand("--config-dir", "conf", "optimizer=adam,mine", "problem=beale")
    assert [launch.hyper["lr"][0] for launch in launches] == [0.001, 5]
    assert launches[1].hyper["beta2"][0] == 0.999


MISTAKES = {
    "optimizer=adm": "did you mean 'adam'",
    "optimizer=adm,sgd": "did you mean 'adam'",
    "problem=bale": "did you mean 'beale'",
    "backend=gpu": "unknown backend 'gpu': did you mean 'cuda'",
    "backend=[]": "backend is None: a name is needed",
    "backend.devices=2": "allowed: backend.engine, backend.name, backend.threads",
    "+backend.devices=2": "unknown setting of backend cpu 'devices'",
    "record=[]": "record is None: a name is needed",
    "record.figures=maybe": "true or false is needed",
    "dry_run=maybe problem=beale": "dry_run is 'maybe': true or false is needed",
    "lr=0.1": "unknown key 'lr': did you mean 'optimizer.lr'",
    "+lr=0.1": "unknown key 'lr': did you mean 'optimizer.lr'",
    "++lr=0.1,0.2": "unknown key 'lr': did you mean 'optimizer.lr'",
    "+stepps=1": "unknown key 'stepps': did you mean 'steps'",
    "+foo=1": "unknown key 'foo': allowed",
    "++foo=1": "unknown key 'foo': allowed",
    "+record.limmit=1": "unknown key 'record.limmit': did you mean 'record.limit'",
    "+problem.curvatur=1 problem=quadratic": "did you mean 'curvature'",
    "+optimizer.learning_rate=1": "did you mean 'lr'",
    "optimizer.learning_rate=1": "did you mean 'lr'",
    "optimizer@mine=adam": "Did you mean to override optimizer",
    "optimizer.name=sgd": "type optimizer=sgd",
    "problem.name=./mine.py": "type problem=./mine.py",
    "adm.lr=0.1": "did you mean 'adam'",
    "sgd.lr=0.1": "sgd is not among the optimizers, adam",
    "sgd=0.1": "such as sgd.lr=0.1",
    "optimizer.lr.x=1": "a hyperparameter is a number",
    "record=al": "did you mean 'all'",
    "optimizer.betta1=0.9": "did you mean 'beta1'",
    "optimizer.betta1=0.9,0.5": "did you mean 'beta1'",
    "optimizer=adam,sgd optimizer.betta1=0.5,0.9": "unknown hyperparameter of adam 'betta1': did you mean 'beta1'",
    "optimizer=adam,sgd sgd.beta1=0.5,0.9": "unknown hyperparameter of sgd 'beta1'",
    "problem=beale problem.nois=1": "did you mean 'noise'",
    "stepps=10": "did you mean 'steps'",
    "stepps=10,20": "did you mean 'steps'",
    "optimizer=adam,sgd stepps=10": "did you mean 'steps'",
    "optimiser=adam": "did you mean 'optimizer'",
    "record.limmit=3": "did you mean 'record.limit'",
    "record.limit=0": "record.limit is 0",
    "record.children=some": "unknown record mode 'some'",
    "record=all,top": "one for the whole sweep",
    "backend.threads=0": "backend.threads is 0",
    "backend.threads=100000": "backend.threads is 100000: there are",
    "steps=0": "steps is 0",
    "steps=ten": "steps is 'ten'",
    "steps=1.5": "steps is 1.5",
    "record_every=-1": "record_every is -1",
    "record_every=1e400": "record_every is inf",
    "regimes=1": "regimes is 1: thresholds are needed",
    "dtype=float61": "did you mean 'float64'",
    "seed=interval(0,3)": "seed cannot be drawn",
    "seed=range(0,100000000)": "more than 10,000,000 values",
    "optimizer.lr=0": "lr > 0 is needed",
    "optimizer.lr=fast": "optimizer.lr is 'fast'",
    "optimizer.lr=0.1,fast": "optimizer.lr is 'fast'",
    "optimizer.lr=null": "lr",
    "optimizer.beta1=0.9,1": "0 <= beta1 < 1",
    "optimizer.eps=-1e-8": "eps >= 0",
    "optimizer.eps=1e-8 1e-6": "'1e-6' is no KEY=VALUE: several values have commas between them",
    "ä": "'ä' is no KEY=VALUE",
    "optimizer.lr=ä": "'ä' needs quotes",
    "problem.noise=${optimizer.lr} problem=beale optimizer.lr=0.1,0.2": "only a hyperparameter can follow another",
    "optimizer.eps=1${optimizer.lr} optimizer.lr=0.1,0.2": "only a hyperparameter can follow another",
    "steps=${seed} seed=1,2": "steps depends on seed",
    "optimizer.lr=${dtype}": "which is 'float64': one number is needed",
    "default_grid=3": "default_grid is 3: a list of overrides is needed",
    "--steps 3": "there is no option --steps: without dashes it is steps=VALUE",
    "--mutirun problem=beale": "did you mean --multirun",
    "-x problem=beale": "unrecognized arguments: -x",
    "--info problem=beale": "invalid choice: 'problem=beale'",
    "--config-dir": "expected one argument",
    "--resolve": "go with --cfg",
    "resume=last steps=3": "resume=last goes alone",
    "hydra.run.dir=x": "hydra.run.dir=x: adamx makes no folder for a run",
    "hydra.sweep.dir=x": "hydra.sweep.dir=x: adamx makes no folder for a run",
    "hydra.output_subdir=x": "adamx makes no folder for a run",
    "hydra.job.chdir=true": "adamx computes where it is started",
    "+hydra.job.env_set.A=b": "adamx computes where it is started, in the environment that it finds",
    "hydra.verbose=1": "hydra.verbose=1: adamx writes no log",
    "hydra/job_logging=default": "hydra/job_logging=default: adamx writes no log",
    "hydra/launcher=joblib": "hydra/launcher=joblib: adamx starts no jobs",
    "hydra.launcher.n_jobs=2": "adamx starts no jobs",
    "hydra/sweeper=optuna": "adamx has its own sweeper",
    "+hydra.callbacks.a._target_=os.system": "adamx calls no code that a configuration names",
    "hydra/callbacks=mine": "adamx calls no code that a configuration names",
    "hydra.searchpath=[nowhere]": "is not available",
    "optimizer.eps=lgo:1e-12:1:3": "did you mean 'log'",
    "optimizer.eps=log:1:1e-12:3": "reversed",
    "optimizer.eps=range(1,0)": "no points",
    "optimizer.eps=range(0,1,0)": "needs a step",
    "optimizer.eps=range(a,b)": "optimizer.eps=range(a,b)",
    "optimizer.eps=interval(0,1)": "samples=N is needed",
    "regimes.spike_ration=3": "did you mean 'regimes.spike_ratio'",
    "regimes.spike_ratio=-3": "a number >= 0 is needed",
    "regimes.keep=1": "a number >= 0 and < 1 is needed",
    "regimes.blowup=much": "a number or a list of numbers is needed",
    "optimizer.eps=log:1e-12:1": "samples=N is needed",
    "optimizer.eps=log:1:1e-12 samples=2": "reversed",
    "seed=lin:0:3 samples=2": "seed cannot be drawn",
    "preset=wide_gird": "did you mean 'wide_grid'",
    "optimizer.eps=interval(1,0) samples=2": "reversed",
    "optimizer.eps=tag(ln,interval(1,2)) samples=2": "scale 'ln'",
    "optimizer.eps=interval(0,1) samples=0": "samples is 0",
    "optimizer.eps=interval(0,1) samples=2 sampler=soboll": "did you mean 'sobol'",
    "samples=3": "no axis is an interval",
    "problem.batch=interval(0,1)": "drawn from an interval",
    "optimizer.lr=[": "optimizer.lr=[",
    "optimizer": "optimizer",
    "optimizer=3": "must be a string",
    "~steps": "nothing can be removed",
    "~optimizer.eps": "nothing can be removed",
    "problem=./bounds.py": "problem bounds.bounds is ('low', 'high'): a number or a list of numbers is needed",
    "problem=./missing.py": "does not exist",
    "problem=./broken.py": "raises ZeroDivisionError",
}


@pytest.mark.parametrize(("typed", "said"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_code_2_and_leaves_nothing(type_, tmp_path, typed, said):
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "bounds.py").write_text(MINE + "\nbounds = ('low', 'high')\n")
    code, out, error = type_(*typed.split())
    assert (code, out) == (2, "")
    assert said in error
    assert error.startswith("adamx: ")
    assert error.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == {"broken.py", "bounds.py"}


def test_a_bug_keeps_its_traceback(type_, monkeypatch):
    def bug(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(running, "run", bug)
    with pytest.raises(ValueError, match="a bug"):
        type_("problem=beale")


def test_help_config_and_completion(type_, monkeypatch):
    code, out, _ = type_("--help")
    assert code == 0
    assert "optimizer.eps=log:1e-12:1:25" in out
    assert "adam_eps, adamax, adamw" in out
    assert "python -m adamx.optimizers" in out
    code, out, _ = type_("--cfg", "job", "problem=./mine.py", "problem.a=2", "optimizer.lr=log:1e-3:1:4")
    config = yaml.safe_load(out)
    assert config["problem"] == {"name": "./mine.py", "a": 2}
    assert config["optimizer"]["lr"] == "log:1e-3:1:4"
    monkeypatch.setenv("COMP_LINE", "adamx-sweep problem=be")
    assert "problem=beale" in type_("-sc", "query=bash")[1]


@pytest.fixture
def fake_engine(monkeypatch):
    """Chunks of four runs, made by a formula in place of a kernel; it stops by Ctrl-C after `fake_engine.chunks`."""
    state = type("State", (), {"chunks": 10**9})

    def stream(optimizer, problem, hyper, steps, *_, dtype, tick, **__):
        for i in range(0, len(hyper["seed"]), 4):
            if i // 4 >= state.chunks:
                raise KeyboardInterrupt
            part = {name: column[i : i + 4] for name, column in hyper.items()}
            tick(len(part["lr"]) * steps // 2)
            results = synthetic(part, optimizer.name, problem.name, dtype, steps)
            yield dataclasses.replace(results, settings=problem.settings)

    monkeypatch.setattr(engine, "stream", stream)
    return state


def parent_and_children():
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{os.getcwd()}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("adamx").experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    names = {item.path for item in client.list_artifacts(parent.info.run_id)}
    return parent, [run for run in runs if run is not parent], names


SMALL = ("problem=beale", "steps=40", "optimizer.lr=log:1e-3:1:6")


def test_a_sweep_is_recorded_and_summed_up(type_, fake_engine):
    code, out, _ = type_(*SMALL, "optimizer=adam,amsgrad")
    assert code == 0
    assert "mlflow ui" in out
    assert "adam on beale, 6 runs of 40 steps" in out
    parent, children, artifacts = parent_and_children()
    assert parent.info.status == "FINISHED"
    assert len(children) == 12
    assert parent.info.run_name == "adam, amsgrad on beale"
    assert parent.data.params["problem.name"] == "beale"
    assert parent.data.params["optimizer"].count("log:1e-3:1:6") == 2
    assert {"table.parquet", "curves_0_adam_beale_float64.png", "curves_1_amsgrad_beale_float64.png"} <= artifacts


def test_ctrl_c_keeps_what_was_finished(type_, fake_engine):
    fake_engine.chunks = 1
    code, out, _ = type_(*SMALL)
    assert code == 130
    assert "4 of 6 runs were finished" in out
    assert "mlflow ui" in out
    parent, children, artifacts = parent_and_children()
    assert parent.info.status == "KILLED"
    assert len(children) == 4
    assert "table.parquet" in artifacts


def test_ctrl_c_before_anything_was_finished(type_, fake_engine):
    fake_engine.chunks = 0
    code, out, _ = type_(*SMALL)
    assert code == 130
    assert "0 of 6 runs were finished" in out
    parent, children, _ = parent_and_children()
    assert parent.info.status == "KILLED"
    assert not children


def test_no_figures(type_, fake_engine):
    assert type_(*SMALL, "record.figures=false", "record=parent")[0] == 0
    _, children, artifacts = parent_and_children()
    assert not children
    assert not any(name.endswith(".png") for name in artifacts)


def test_a_dry_run_says_what_it_would_take_and_records_nothing(type_, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    code, out, _ = type_("dry_run=true", "problem=./mine.py", "optimizer.lr=log:1e-3:1:3000")
    assert code == 0
    assert "3,000 runs in 1 launch" in out
    for what in (r"time +about \d+ s", r"memory +about [\d.]+ MB", r"database +about [\d.]+ MB for 2,000 child runs"):
        assert re.search(what, out)
    assert not (tmp_path / "mlflow.db").exists()


def run(*arguments, cwd, **environment):
    command = [sys.executable, "-m", "adamx.sweep", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"} | environment
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_exit_codes_of_a_process_in_another_directory(tmp_path):
    bad = run("optimizer=adm", cwd=tmp_path)
    assert bad.returncode == 2
    assert bad.stderr.count("\n") == 1
    assert "did you mean 'adam'" in bad.stderr
    assert run("--cfg", "job", cwd=tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())


def test_layout_of_an_installed_package(tmp_path):
    """As the wheel has it: conf/ inside the package, and nothing of the checkout in sight."""
    package = tmp_path / "site" / "adamx"
    shutil.copytree(compose.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "conf"))
    shutil.copytree(sweep.CONF, package / "conf")
    (tmp_path / "work").mkdir()
    shown = run("--info", "searchpath", cwd=tmp_path / "work", PYTHONPATH=str(tmp_path / "site"))
    assert shown.returncode == 0
    assert f"file://{package}/conf" in shown.stdout
