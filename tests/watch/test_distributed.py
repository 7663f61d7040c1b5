"""The watch on two processes that train together, under DDP and with FSDP's shards, on the CPU with gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("torch.distributed.fsdp")

SCRIPT = Path(__file__).parents[1] / "helpers" / "two_processes.py"


def test_each_process_sees_its_own_and_the_first_writes(opened, tmp_path):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": opened.uri, "GLOO_SOCKET_IFNAME": "lo"}
    both = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), str(tmp_path)], env=environment) for rank in range(2)
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for kind, says in {"ddp": "gradients, parameters and", "fsdp": "parameters are sharded"}.items():
        for rank, mine in enumerate((first[kind], second[kind])):
            assert mine["norm"] == pytest.approx(mine["norms"], rel=1e-5)
            assert mine["step_rms"] == pytest.approx(mine["steps"], rel=1e-3)
            assert mine["rows"] == [1, 2, 3, 4, 5, 10, 15, 20, 25, 30] and mine["checkpoints"] == [10, 20, 30]
            said = f"Process {rank} of 2: {says}"
            assert said in " ".join(mine["verdict"].split()) and said in mine["page"]
        same = first[kind]["norm"] == pytest.approx(second[kind]["norm"], rel=1e-6)
        assert same == (kind == "ddp") and second[kind]["run"] is None
    runs = opened.client.search_runs([e.experiment_id for e in opened.client.search_experiments()])
    assert {run.info.run_id for run in runs} == {first["ddp"]["run"], first["fsdp"]["run"]}
    for run in runs:
        assert len(opened.client.get_metric_history(run.info.run_id, "watch/grad_norm")) == len(first["ddp"]["rows"])
