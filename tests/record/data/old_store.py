"""Makes mlflow_3.13.db.gz: a store with one finished run, as the oldest MLflow that adamx admits leaves it.

In an environment of its own, since a newer MLflow would migrate what it opens:

    pip install 'mlflow==3.13.*' && python tests/record/data/old_store.py
"""

import gzip
import os
import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param, RunTag

if __name__ == "__main__":
    assert mlflow.__version__.startswith("3.13."), mlflow.__version__
    target = Path(__file__).resolve().with_name("mlflow_3.13.db.gz")
    os.chdir(tempfile.mkdtemp())
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    experiment = client.create_experiment("old", artifact_location="s3://nowhere/old")
    run = client.create_run(experiment, 1000, {"mlflow.user": "me"}, "before").info.run_id
    metrics = [Metric("loss", 1.0 / (step + 1), 2000, step) for step in range(5)]
    client.log_batch(run, metrics, [Param("lr", "0.001")], [RunTag("regime", "slow")])
    client.set_terminated(run, end_time=2000)
    target.write_bytes(gzip.compress(Path("mlflow.db").read_bytes(), mtime=0))
