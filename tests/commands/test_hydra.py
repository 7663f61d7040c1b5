"""Expectations of a user of Hydra: files with a sweep in them, interpolations, options; and what files cannot do."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from adamx.engine.launch import swept
from adamx.sweep.compose import ALREADY, CANNOT

MINE = """# @package _global_
defaults:
  - override /problem: quadratic
optimizer:
  lr: 0.05,0.1
  eps: 1e-3
steps: 50
"""
PARAMS = """# @package _global_
hydra:
  sweeper:
    params:
      optimizer.lr: 0.1,0.2
      problem: quadratic,beale
      seed: range(0,3)
steps: 30
"""
NOISY = ("problem=quadratic", "problem.noise=1e-3")  # where seeds differ
HEAD = "# @package _global_\n"


@pytest.fixture
def write(here):
    """Writes files into the folder `conf`, named as in Hydra: experiment/mine."""

    def write(**files):
        for name, text in files.items():
            path = here / "conf" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def grid(launch, *names):
    return np.column_stack([{**launch.hyper, "seed": launch.seeds}[name] for name in names]).tolist()


# --- files with a sweep in them --------------------------------------------------------------------------------------


def test_an_experiment_file_is_the_sweep(expand, write):
    write(experiment__mine=MINE)
    (launch,) = expand("--config-dir", "conf", "+experiment=mine")
    assert (launch.problem.name, launch.steps, launch.optimizer) == ("quadratic", 50, "adam")
    assert grid(launch, "lr", "eps") == [[0.05, 1e-3], [0.1, 1e-3]], "the default grid is left out"
    assert launch.config["optimizer"]["lr"] == "0.05,0.1"


def test_what_is_typed_counts_more_than_the_file(expand, write):
    write(experiment__mine=MINE)
    (launch,) = expand("--config-dir", "conf", "+experiment=mine", "optimizer.lr=0.3", "steps=7", "problem=beale")
    assert (launch.problem.name, launch.steps) == ("beale", 7)
    assert grid(launch, "lr", "eps") == [[0.3, 1e-3]]


@pytest.mark.parametrize(
    ("written", "points"),
    [
        ("log:1e-4:1:3", [1e-4, 1e-2, 1]),
        ("0.1,log:1e-4:1:2", [0.1, 1e-4, 1]),
        ("range(1,4)", [1, 2, 3]),
        ("choice(0.1,0.5)", [0.1, 0.5]),
        ("[0.1, 0.5]", [0.1, 0.5]),
        ("'0.25'", [0.25]),
    ],
)
def test_axes_in_a_file_are_those_of_the_command_line(expand, write, written, points):
    write(experiment__mine=f"{HEAD}optimizer:\n  lr: {written}\n")
    (launch,) = expand("--config-dir", "conf", "+experiment=mine", "problem=beale")
    assert launch.hyper["lr"].tolist() == points


def test_intervals_and_seeds_in_a_file(expand, write):
    write(experiment__mine=f"{HEAD}optimizer: {{lr: 'log:1e-4:1', eps: 'interval(0,1)'}}\nsamples: 4\nseed: 0,1\n")
    (launch,) = expand("--config-dir", "conf", "+experiment=mine", "problem=beale")
    typed = ("optimizer.lr=log:1e-4:1", "optimizer.eps=interval(0,1)", "samples=4", "seed=0,1", "problem=beale")
    assert grid(launch, "seed", "lr", "eps") == grid(expand(*typed)[0], "seed", "lr", "eps")


def test_the_sweepers_params_are_a_sweep(expand, write):
    write(experiment__mine=PARAMS)
    launches = expand("--config-dir", "conf", "+experiment=mine", "problem.noise=1e-3")
    assert [(x.problem.name, x.steps) for x in launches] == [("quadratic", 30), ("beale", 30)]
    assert grid(launches[0], "seed", "lr") == [[seed, lr] for seed in range(3) for lr in (0.1, 0.2)]
    (launch,) = expand("--config-dir", "conf", "+experiment=mine", "optimizer.lr=0.7", "problem=beale", "seed=5")
    assert grid(launch, "seed", "lr") == [[5, 0.7]], "the command line counts more"


def test_several_experiments_are_launches(expand, type_, write):
    other = f"{HEAD}defaults:\n  - override /problem: beale\noptimizer: {{lr: '0.3,0.4'}}\n"
    write(experiment__mine=MINE, experiment__other=other, experiment__params=PARAMS)
    launches = expand("--config-dir", "conf", "+experiment=mine,other")
    assert [(x.problem.name, grid(x, "lr")) for x in launches] == [
        ("quadratic", [[0.05], [0.1]]),
        ("beale", [[0.3], [0.4]]),
    ]
    assert "is to be swept alone" in type_("--config-dir", "conf", "+experiment=mine,params")[2]


def test_a_primary_configuration_of_ones_own(expand, type_, write):
    write(mine="defaults: [sweep, _self_]\noptimizer: {lr: [0.3, 0.4]}\nsteps: 5\n", alone="steps: 5\n")
    (launch,) = expand("--config-dir", "conf", "--config-name", "mine")
    assert (launch.steps, launch.hyper["lr"].tolist()) == (5, [0.3, 0.4])
    assert "its defaults begin with adamx's own" in type_("--config-dir", "conf", "--config-name", "alone")[2]


def test_a_searched_folder(expand, write, here):
    write(experiment__mine=MINE)
    (launch,) = expand(f"hydra.searchpath=[file://{here}/conf]", "+experiment=mine", "problem=beale")
    assert grid(launch, "lr") == [[0.05], [0.1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}stepps: 3", "unknown key 'stepps': did you mean 'steps'"),
        (f"{HEAD}record: {{limmit: 3}}", "did you mean 'record.limit'"),
        (f"{HEAD}optimizer: {{betta1: 0.9}}", "did you mean 'beta1'"),
        ("steps: 3", "its file begins with `# @package _global_`"),
        (f"{HEAD}steps: 10,20", "steps is '10,20'"),
        (f"{HEAD}optimizer: {{lr: fast}}", "optimizer.lr is 'fast'"),
        (f"{HEAD}hydra: {{sweeper: {{params: {{stepps: '1,2'}}}}}}", "did you mean 'steps'"),
        (f"{HEAD}hydra: {{sweeper: {{params: {{optimizer: 'adam,[' }}}}}}", "cannot be read"),
    ],
)
def test_nothing_in_a_file_is_ignored(type_, write, text, said):
    write(experiment__mine=text)
    code, _, error = type_("--config-dir", "conf", "+experiment=mine")
    assert (code, error.count("\n")) == (2, 1) and said in error


# --- interpolations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["${optimizer.lr}", "${.lr}", "${oc.select:optimizer.lr}"])
@pytest.mark.parametrize("axis", ["0.1,0.2", "log:0.1:0.2:2", "[0.1,0.2]", "choice(0.1,0.2)"])
def test_a_hyperparameter_follows_an_axis_row_by_row(expand, written, axis):
    (launch,) = expand(*NOISY, f"optimizer.lr={axis}", f"optimizer.eps={written}", "seed=0,1")
    assert grid(launch, "seed", "lr", "eps") == [[seed, lr, lr] for seed in (0, 1) for lr in (0.1, 0.2)]
    assert launch.config["optimizer"]["eps"] == written


def test_what_follows_may_be_followed(expand):
    typed = ("optimizer.beta1=${optimizer.beta2}", "optimizer.beta2=${optimizer.eps}", "optimizer.eps=0.1,0.2")
    (launch,) = expand("problem=quadratic", *typed, "optimizer.lr=0.5,1")
    assert grid(launch, "lr", "beta1", "beta2", "eps") == [[lr, e, e, e] for lr in (0.5, 1) for e in (0.1, 0.2)]


def test_drawn_points_and_seeds_are_followed(expand):
    (launch,) = expand("optimizer.lr=log:1e-4:1", "samples=8", "optimizer.eps=${optimizer.lr}", "optimizer.beta1=0,0.9")
    assert len(set(launch.hyper["lr"])) == 8 and len(launch) == 16
    np.testing.assert_array_equal(launch.hyper["eps"], launch.hyper["lr"])
    (launch,) = expand("seed=1,2", "optimizer.lr=${seed}", "problem=beale")
    assert grid(launch, "seed", "lr") == [[1, 1], [2, 2]]


def test_an_axis_of_a_file_is_followed(expand, write):
    write(experiment__mine=HEAD + "optimizer: {lr: 'log:1e-3:1e-1:3', eps: '${.lr}'}\n")
    (launch,) = expand("--config-dir", "conf", "+experiment=mine", "problem=beale")
    assert grid(launch, "lr", "eps") == [[1e-3, 1e-3], [1e-2, 1e-2], [1e-1, 1e-1]]
    (launch,) = expand("--config-dir", "conf", "+experiment=mine", "problem=beale", "optimizer.lr=0.5")
    assert grid(launch, "lr", "eps") == [[0.5, 0.5]]


def test_one_value_may_be_anywhere(expand):
    (launch,) = expand("problem=beale", "optimizer.lr=0.1", "problem.noise=${optimizer.lr}", "optimizer.eps=${steps}")
    assert launch.problem.noise == 0.1 and launch.hyper["eps"].tolist() == [1000]
    assert swept([launch]) == []


def test_environment_variables_are_numbers(expand, monkeypatch):
    for name, value in {"LR": "0.03", "STEPS": "50", "NOISE": "1e-2", "FIX": "true"}.items():
        monkeypatch.setenv(name, value)
    typed = ("optimizer.lr=${oc.env:LR}", "steps=${oc.env:STEPS}", "problem.noise=${oc.env:NOISE}")
    (launch,) = expand("problem=beale", *typed, "optimizer.bias_correction=${oc.env:FIX}", "optimizer.eps=${.lr}")
    assert (launch.hyper["lr"][0], launch.steps, launch.problem.noise) == (0.03, 50, 0.01)
    assert (launch.hyper["bias_correction"][0], launch.hyper["eps"][0]) == (1, 0.03)


def test_hydras_own_resolver(type_, here):
    _, _, error = type_("problem=dataset", "problem.path=${hydra:runtime.cwd}/no.csv")
    assert f"dataset '{here}/no.csv' does not exist" in error


# --- what files cannot do --------------------------------------------------------------------------------------------

CODE = {
    "callbacks: {a: {_target_: evil.Now}}": "hydra.callbacks.a: adamx calls no code",
    "job_logging: {handlers: {x: {class: evil.Now}}}": "adamx writes no log",
    "hydra_logging: {handlers: {x: {'()': evil.Now}}}": "adamx writes no log",
    "sweeper: {_target_: evil.Now}": "adamx has its own sweeper",
    "launcher: {_target_: evil.Now}": "adamx starts no jobs",
    "run: {dir: pwned}": "adamx makes no folder for a run",
    "sweep: {subdir: pwned}": "adamx makes no folder for a run",
    "job: {env_set: {A: b}}": "adamx computes where it is started",
    "verbose: true": "adamx writes no log",
    "sweeper: {params: {problem: ./evil.py}}": "problem file './evil.py' is code that has not run here",
}


@pytest.fixture
def evil(here, monkeypatch):
    """Code that a file names though nobody typed it: it would leave a file behind if it ran."""
    monkeypatch.syspath_prepend(str(here))
    (here / "evil.py").write_text("from pathlib import Path\nPath('pwned').touch()\nclass Now: pass\n")
    yield
    assert not (here / "pwned").exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize(("text", "said"), CODE.items(), ids=CODE)
@pytest.mark.parametrize("shown", [[], ["--help"], ["--cfg", "job"], ["--run"]], ids=str)
def test_code_runs_only_where_it_is_typed(type_, write, evil, text, said, shown):
    write(experiment__mine=f"{HEAD}hydra: {{{text}}}\n")
    code, _, error = type_("--config-dir", "conf", "+experiment=mine", *shown)
    if "problem" in text and shown:  # it is shown, or is no sweep
        return
    assert (code, error.count("\n")) == (2, 1) and said in error


def test_groups_and_packages_of_a_folder_do_not_run_either(type_, write, evil):
    call, log = "a: {_target_: evil.Now}\n", "version: 1\nhandlers: {x: {'()': evil.Now}}\n"
    search = "defaults: [sweep, _self_]\nhydra: {searchpath: ['pkg://evil']}\n"
    chosen = f"{HEAD}defaults:\n  - override /hydra/callbacks: evil\n"
    write(hydra__callbacks__evil=call, hydra__hydra_logging__evil=log, search=search, experiment__mine=chosen)
    for typed in (
        "hydra/callbacks=evil", "--help hydra/hydra_logging=evil", "--hydra-help hydra/hydra_logging=evil",
        "--config-name search", "--config-name search --help", "--config-name search --info", "+experiment=mine",
    ):  # fmt: skip
        code, _, error = type_("--config-dir", "conf", *typed.split())
        assert (code, error.count("\n")) == (2, 1), typed


def test_hydra_is_as_it_was_installed(expand):
    expand("problem=beale")
    assert ConfigLoaderImpl.load_configuration.__module__ == "hydra._internal.config_loader_impl"
    assert not hasattr(ConfigLoaderImpl.load_configuration, "__wrapped__")


def test_every_setting_of_hydras_is_honoured_or_refused():
    from hydra.conf import HydraConf

    from adamx.sweep.compose import MAY

    known = {key.split(".")[0] for key in (*MAY, *CANNOT, *ALREADY)}
    assert {field for field in HydraConf.__dataclass_fields__ if field != "defaults"} <= known


@pytest.mark.parametrize("typed", ["hydra.job.chdir=false", "hydra.output_subdir=null", "hydra.verbose=false"])
def test_what_is_so_already_may_be_typed(expand, typed):
    assert len(expand("problem=beale", typed)) == 1


# --- the real command ------------------------------------------------------------------------------------------------


def run(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *shlex.split(line)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


def test_an_experiment_is_recorded_and_resumes_with_its_folder(type_, interrupted, here, write):
    import mlflow
    import pandas as pd

    write(experiment__mine=MINE.replace("1e-3", "${.lr}"))
    assert type_("--config-dir", "conf", "+experiment=mine", "record.figures=false")[0] == 130
    interrupted(1)
    assert type_("resume=last")[0] == 0
    client = mlflow.MlflowClient(f"sqlite:///{here}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("adamx").experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    table = pd.read_parquet(client.download_artifacts(parent.info.run_id, "table.parquet"))
    assert table[["lr", "eps"]].to_numpy().tolist() == [[0.05, 0.05], [0.1, 0.1]]
    assert (parent.data.params["optimizer.lr"], parent.data.params["optimizer.eps"]) == ("0.05,0.1", "${.lr}")
    assert shlex.split(parent.data.tags["command"])[3:] == [
        f"--config-dir={here}/conf",
        "+experiment=mine",
        "record.figures=false",
    ]


def test_mistakes_of_a_process(here):
    for line, said in {
        "adamx.sweep +lr=0.1": "did you mean 'optimizer.lr'",
        "adamx.sweep hydra.verbose=1": "adamx writes no log",
        "adamx.race hydra.mode=RUN": "a race has several racers",
    }.items():
        bad = run(line, here)
        assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1) and said in bad.stderr
    assert not list(here.iterdir())


def test_hydra_can_be_used_afterwards(expand, tmp_path):
    (tmp_path / "app.yaml").write_text("a: 1\n")
    expand("problem=beale")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert hydra.compose("app", ["a=2"]) == {"a": 2}
