"""A watched training in MLflow, read back: `why`, `report` and `open` on it, and the rescue from its record."""

from __future__ import annotations

import csv
import webbrowser
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import mlflow  # noqa: E402

import adamx  # noqa: E402
from adamx.inputs.errors import InputError  # noqa: E402
from adamx.open import main as open_  # noqa: E402
from adamx.report.__main__ import main as report  # noqa: E402
from adamx.why.__main__ import main as why  # noqa: E402

BAD, STEPS = 110, 160
TRAINING = f"""
import torch

def batch(step):
    draw = torch.Generator().manual_seed(step)
    x = torch.randn(32, 5, generator=draw)
    y = x.sum(1) + 0.1 * torch.randn(32, generator=draw)
    return x, y + 1e4 if step == {BAD} else y

def loss(params, batch):
    x, y = batch
    return ((x @ params["w"] - y) ** 2).mean()
"""
CODE: dict = {}
exec(TRAINING, CODE)


def train(times=1.0, lr=0.05, keep=True, record=True):
    """Plain momentum on least squares with one bad batch, watched; the watch."""
    w = torch.nn.Parameter(torch.zeros(5))
    optimizer = torch.optim.SGD([("w", w)], lr=lr, momentum=0.5)
    with adamx.watch(optimizer, mlflow=record) as seen:
        if keep:
            seen.checkpoint(every=20, keep=2)
        for step in range(1, STEPS + 1):
            x, y = CODE["batch"](step if times else 1)
            optimizer.zero_grad()
            loss = CODE["loss"]({"w": w}, (x, y))
            seen.loss(loss)
            loss.backward()
            optimizer.step()
    return seen


@pytest.fixture
def stored(opened):
    mlflow.set_tracking_uri(opened.uri)
    mlflow.set_experiment("somebody's")
    return opened


def test_the_state_from_before_the_spike_stays(tmp_path):
    seen = train(record=False)
    assert [c.step for c in seen.checkpoints] == [80, 140, 160]
    assert seen.before_spike.step == 80, "that of 100 is too near to see a level from"
    assert seen.before_spike.kind == "SGD" and seen.before_spike.names == ["w"]
    seen.before_spike.write(tmp_path / "saved.pt")
    again = adamx.torch.Checkpoint.read(tmp_path / "saved.pt")
    assert again.step == 80 and torch.equal(again.params[0], seen.before_spike.params[0])
    assert again.state.keys() == seen.before_spike.state.keys()
    assert train(times=0, record=False).before_spike is None
    (tmp_path / "other.pt").write_text("print('no')")
    with pytest.raises(InputError, match="is no checkpoint of a watch"):
        adamx.torch.Checkpoint.read(tmp_path / "other.pt")
    with pytest.raises(InputError, match="cannot be read"):
        adamx.torch.Checkpoint.read(tmp_path / "nowhere.pt")


def test_why_says_the_verdict_again_and_how_to_rescue(stored, capsys):
    seen = train()
    run_id = seen.recording.run_id
    assert why(["last"]) == 0
    said = capsys.readouterr().out
    assert str(seen.verdict) in said and f"steps 1 to {STEPS}" in said and "watch.html" in said
    assert f"after step 80, {BAD - 80} steps before the loss goes wrong at step {BAD}" in said
    assert f"python -m adamx.why {run_id} --rescue FILE.py" in said and "steps 81 to 210" in said
    train(keep=False)
    assert why(["last"]) == 0 and "w.checkpoint(every=100) in the training" in capsys.readouterr().out
    train(times=0)
    assert why(["last"]) == 0
    healthy = capsys.readouterr().out
    assert "Healthy" in healthy and "checkpoint" not in healthy


def test_the_rescue_runs_from_the_record_and_is_kept_there(stored, here, capsys):
    run_id = train().recording.run_id
    (here / "mine.py").write_text(TRAINING)
    assert why([run_id, "--rescue", "mine.py"]) == 0
    made = capsys.readouterr().out
    assert f"From the state after step 80, where steps count from: 30 is step {BAD}." in made
    assert "skipping batches    30" in made and "high loss before any update by it" in made
    assert why([run_id]) == 0
    again = capsys.readouterr().out
    assert made.splitlines()[2:] == [line for line in again.splitlines() if line in made.splitlines()[2:]]
    assert "rescue.html" in again and "--rescue" not in again
    file = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="rescue.csv")
    rows = list(csv.DictReader(Path(file).read_text().splitlines()))
    assert rows[0]["change"] == "" and rows[0]["avoids_spike"] == "False"
    assert {r["knob"] for r in rows if r["avoids_spike"] == "True"} >= {"skipping batches", "clipping"}


def test_a_rescue_from_python_goes_to_the_active_run(stored):
    saved = train().before_spike

    batches = [CODE["batch"](saved.step + 1 + t) for t in range(80)]

    def rescued():
        return adamx.rescue(CODE["loss"], {"w": saved.params[0]}, batches, state=saved.state, steps=80)

    with mlflow.start_run() as run:
        found = rescued()
    assert {a.path for a in stored.client.list_artifacts(run.info.run_id)} == {
        "rescue.txt",
        "rescue.csv",
        "rescue.html",
    }
    assert found.own == BAD - saved.step - 1 and found.answers["skipping batches"] is not None
    count = len(stored.client.search_runs([run.info.experiment_id]))
    rescued()
    assert len(stored.client.search_runs([run.info.experiment_id])) == count, "no run is begun for it"


def test_the_report_and_the_browser_find_the_page(stored, here, monkeypatch, capsys):
    run_id = train().recording.run_id
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert report([run_id]) == 0 and "watch.html" in capsys.readouterr().out
    assert report(["last", "--out", "copy"]) == 0 and b"jumps at step 110" in (here / "copy/watch.html").read_bytes()
    assert open_(["last"]) == 0 and opened[0].startswith("file://") and opened[0].endswith("watch.html")


def test_the_last_is_the_one_begun_last(stored, sweep, capsys):
    from adamx.record import parent, store

    train(times=0)
    begun = parent.start(store.open(experiment="somebody's"), "a sweep", {}, [])
    begun.write([sweep], ["lr", "eps"])
    begun.finish()
    assert why(["last"]) == 2 and "that is a sweep of" in capsys.readouterr().err
    train(times=0)
    assert why(["last"]) == 0 and "Healthy" in capsys.readouterr().out


def test_what_cannot_be_said_is_one_line(stored, here, capsys):
    with mlflow.start_run() as plain:
        pass
    run_id = train().recording.run_id
    (here / "none.py").write_text("x = 3\n")
    (here / "names.py").write_text(TRAINING + "names = ['w', 'b']\n")
    (here / "wrong.py").write_text(TRAINING.replace('params["w"]', 'params["v"]'))
    for typed, line in {
        (plain.info.run_id,): "was recorded neither by a sweep of adamx nor by adamx.watch(..., mlflow=True)",
        (run_id, "eps"): "is a watched training: its only options",
        (run_id, "--rescue", "mine.txt"): "--rescue is 'mine.txt': a .py file is needed",
        (run_id, "--rescue", "nowhere.py"): "rescue file 'nowhere.py' does not exist",
        (run_id, "--rescue", "none.py"): "none.py has no function `loss`",
        (run_id, "--rescue", "names.py"): "`names` has 2 names, and 1 parameters are saved",
        (run_id, "--rescue", "wrong.py"): "rescue file 'wrong.py' raises KeyError: 'v'",
        (run_id, "--rescue", "wrong.py", "--steps", "3"): "--steps is 3: a whole number >= 20",
        ("nonsense",): "no run 'nonsense' in this MLflow store",
        ("nonsense", "--rescue", "none.py"): "--rescue is for a training that adamx.watch recorded",
    }.items():
        assert why(list(typed)) == 2, typed
        said = capsys.readouterr().err
        assert line in said and said.count("\n") == 1
    stored.client.set_tag(run_id, "watch", "open")
    for command in (why, report, open_):
        assert command([run_id]) == 2
        assert f"has no verdict (curves up to step {STEPS})" in capsys.readouterr().err
    keepless = train(keep=False).recording.run_id
    assert why([keepless, "--rescue", "mine.py"]) == 2 and "has no state from before a spike" in capsys.readouterr().err
