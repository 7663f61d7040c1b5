"""Data sets as inputs of a sweep, and the load of the machine where MLflow is asked for it."""

import shutil

import mlflow
import numpy as np
import pytest
from mlflow.data.sources import LocalArtifactDatasetSource

import adamx
from adamx.problems import problem
from adamx.record.data import inputs


@pytest.fixture
def stored(fresh, here):
    """A working directory with an empty store."""
    shutil.copy(fresh, here)


def data_of(run_id):
    found = mlflow.get_run(run_id).inputs.dataset_inputs
    return {i.tags[0].value: i.dataset for i in found}, len(found)


def test_a_sweep_says_what_it_was_trained_on(stored):
    done = adamx.sweep(optimizer="adam", problem="moons_logistic", lr=[0.1, 0.2], steps=5)
    found, count = data_of(done.run_id)
    assert count == 2 and {d.name for d in found.values()} == {"moons_logistic"}
    task = problem("moons_logistic")
    assert f'"features_shape": [{len(task.x)}, 2]' in found["training"].profile
    assert f'"features_shape": [{len(task.val_x)}, 2]' in found["validation"].profile
    again, _ = data_of(adamx.sweep(optimizer="sgd", problem="moons_logistic", lr=0.1, steps=5).run_id)
    assert again["training"].digest == found["training"].digest != found["validation"].digest


def test_a_file_is_its_path_and_its_content(stored):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    digests = []
    for shift in (0, 1):
        np.savetxt(
            "mine.csv", np.column_stack([rows + shift, rows[:, 0] > 0]), delimiter=",", header="a,b,c,y", comments=""
        )
        p = problem("dataset", {"path": "mine.csv", "loss": "logistic", "standardize": False, "held_out": 0})
        (only,) = inputs([p, p])
        digests.append(only.dataset.digest)
        assert only.dataset.name == "mine"
        assert LocalArtifactDatasetSource.from_json(only.dataset.source).uri == "mine.csv"
    assert len(set(digests)) == 2


def test_a_model_of_ones_own_has_data_and_a_landscape_has_none():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.arange(6.0).reshape(3, 2)
    model = adamx.Model(lambda p, b: ((b[0] @ p["w"]) ** 2).mean(), lambda seed: {"w": torch.ones(2)}, (x,), name="own")
    (one,) = inputs([model, problem("rosenbrock")])
    assert one.dataset.name == "own" and '"features_shape": [3, 2]' in one.dataset.profile


def test_the_load_of_the_machine_is_recorded_where_mlflow_is_asked_for_it(stored, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    for asked in ("false", "true"):
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", asked)
        done = adamx.sweep(optimizer="adam", problem="rosenbrock", lr=[0.1, 0.2], steps=3_000_000, record_every=300_000)
        metrics = mlflow.get_run(done.run_id).data.metrics
        assert any(name.startswith("system/cpu") for name in metrics) == (asked == "true")
